//! The services, each with its real servers below it.

pub(crate) mod details;

use std::fmt::Write as _;

use ratatui::style::Style;
use weir_control::{ServiceRealRow, ServiceRow, TrafficRates};

use crate::model::Model;
use crate::model::services::{
    Line, Services, Sort, Widths, is_down, listen, name_of, others, real_state, state,
};
use crate::theme::Theme;
use crate::units::{NONE, or_none, plural, si};
use crate::view::canvas::{Align, Canvas};

/// Selection, alarm, fold.
const MARKS: u16 = 3;
/// Between columns.
const GAP: u16 = 2;
/// A name shorter than this is not cut.
const LEAST_NAME: u16 = 8;
/// A name longer than this is.
const MOST_NAME: u16 = 32;

/// A column behind the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Listen,
    State,
    Sessions,
    Inactive,
    New,
    Refused,
    BitsIn,
    BitsOut,
    PacketsIn,
    PacketsOut,
    Scheduler,
    Synproxy,
}

/// From left to right.
const ORDER: [Column; 12] = [
    Column::Listen,
    Column::State,
    Column::Sessions,
    Column::Inactive,
    Column::New,
    Column::Refused,
    Column::BitsIn,
    Column::BitsOut,
    Column::PacketsIn,
    Column::PacketsOut,
    Column::Scheduler,
    Column::Synproxy,
];

/// Which come first where there is little room.
const IMPORTANCE: [Column; 12] = [
    Column::State,
    Column::Listen,
    Column::Sessions,
    Column::New,
    Column::Refused,
    Column::BitsIn,
    Column::BitsOut,
    Column::Scheduler,
    Column::Synproxy,
    Column::Inactive,
    Column::PacketsIn,
    Column::PacketsOut,
];

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Listen => "LISTEN",
            Self::State => "STATE",
            Self::Sessions => "SESS",
            Self::Inactive => "INACT",
            Self::New => "NEW/s",
            Self::Refused => "REFUS/s",
            Self::BitsIn => "IN b/s",
            Self::BitsOut => "OUT b/s",
            Self::PacketsIn => "IN pps",
            Self::PacketsOut => "OUT pps",
            Self::Scheduler => "SCHED",
            Self::Synproxy => "SYNPROXY",
        }
    }

    fn align(self) -> Align {
        match self {
            Self::Listen | Self::State | Self::Scheduler | Self::Synproxy => Align::Left,
            Self::Sessions
            | Self::Inactive
            | Self::New
            | Self::Refused
            | Self::BitsIn
            | Self::BitsOut
            | Self::PacketsIn
            | Self::PacketsOut => Align::Right,
        }
    }

    fn width(self, widths: Widths) -> u16 {
        let least = self.head().chars().count() as u16;
        match self {
            Self::Listen => least.max(widths.listen as u16),
            // DRAIN and SORRY stand in it as well.
            Self::State => least.max(widths.state as u16).max(8),
            Self::Scheduler => 8,
            Self::Synproxy => 12,
            Self::Sessions
            | Self::Inactive
            | Self::New
            | Self::Refused
            | Self::BitsIn
            | Self::BitsOut
            | Self::PacketsIn
            | Self::PacketsOut => least.max(5),
        }
    }

    fn sort(self) -> Option<Sort> {
        match self {
            Self::State => Some(Sort::State),
            Self::Sessions => Some(Sort::Sessions),
            Self::New => Some(Sort::New),
            Self::Refused => Some(Sort::Refused),
            Self::BitsIn => Some(Sort::In),
            Self::BitsOut => Some(Sort::Out),
            Self::Listen
            | Self::Inactive
            | Self::PacketsIn
            | Self::PacketsOut
            | Self::Scheduler
            | Self::Synproxy => None,
        }
    }
}

/// Where the columns are.
struct Layout {
    name: u16,
    /// Each with where it begins and how wide it is.
    columns: Vec<(Column, u16, u16)>,
}

impl Layout {
    fn of(services: &Services, width: u16) -> Self {
        let widths = services.widths;
        let least = LEAST_NAME.max((widths.name as u16).min(14));
        let mut left = width.saturating_sub(MARKS + least);
        let mut taken = Vec::new();
        for column in IMPORTANCE {
            let needed = column.width(widths) + GAP;
            if needed > left {
                break;
            }
            left -= needed;
            taken.push(column);
        }
        // What is left over makes long names whole, and what is below them roomy.
        let name = (least + left).min(MOST_NAME.min(widths.name as u16 + 6).max(least));
        let mut x = MARKS + name;
        let columns = ORDER
            .into_iter()
            .filter(|column| taken.contains(column))
            .map(|column| {
                let width = column.width(widths);
                let at = x + GAP;
                x = at + width;
                (column, at, width)
            })
            .collect();
        Self { name, columns }
    }

    fn end_of(&self, wanted: Column) -> u16 {
        let mut columns = self.columns.iter();
        let found = columns.find(|(column, _, _)| *column == wanted);
        found.map_or(MARKS + self.name, |(_, x, width)| x + width)
    }

    fn has(&self, wanted: Column) -> bool {
        self.columns.iter().any(|(column, _, _)| *column == wanted)
    }
}

/// Draws them.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let Some(told) = &model.data.services else {
        let text = if model.link.greeting.is_some() {
            "asked, no answer yet"
        } else {
            "waiting for the daemon"
        };
        canvas.put(MARKS, 1, text, theme.plain());
        return;
    };
    if model.services.zoom.is_some() {
        details::draw(model, canvas);
        return;
    }
    let services = &model.services;
    let layout = Layout::of(services, canvas.width());
    heading(services, &layout, canvas, theme);
    if services.lines.is_empty() {
        let text = if told.value.is_empty() {
            "no services are configured"
        } else {
            "nothing matches the filter; Esc shows all"
        };
        canvas.put(MARKS, 2, text, theme.plain());
    }
    // Only what is seen is drawn, however many there are.
    let seen = services.lines.iter().enumerate().skip(services.cursor.top);
    for (y, (at, line)) in (1..canvas.height()).zip(seen) {
        let (Line::Service(place) | Line::Real(place, _) | Line::Others(place)) = *line;
        let Some(row) = told.value.get(place) else {
            continue;
        };
        match *line {
            Line::Service(_) => {
                let folded = services.is_folded(&row.name) && !row.reals.is_empty();
                service(row, folded, &layout, y, canvas, theme);
            }
            Line::Real(_, real) => {
                if let Some(one) = row.reals.get(real) {
                    server(one, &layout, y, canvas, theme);
                }
            }
            Line::Others(_) => {
                canvas.put(MARKS + 2, y, "at none of these", theme.plain());
                for (column, x, width) in &layout.columns {
                    if *column == Column::Sessions {
                        let text = si(others(row));
                        canvas.cell((*x, y), *width, Align::Right, &text, theme.plain());
                    }
                }
            }
        }
        if at == services.cursor.index {
            canvas.put(0, y, ">", theme.strong());
            canvas.style(0, y, canvas.width(), theme.selected());
        }
    }
}

fn heading(services: &Services, layout: &Layout, canvas: &mut Canvas<'_>, theme: Theme) {
    canvas.style(0, 0, canvas.width(), theme.heading());
    let mark = if services.sorting.reversed { "^" } else { "v" };
    let end = canvas.put(MARKS, 0, "SERVICE", theme.heading());
    if services.sorting.by == Sort::Name {
        canvas.put(end, 0, mark, theme.heading());
    }
    for (column, x, width) in &layout.columns {
        let head = column.head();
        canvas.cell((*x, 0), *width, column.align(), head, theme.heading());
        if column.sort() == Some(services.sorting.by) && services.sorting.by != Sort::File {
            // Beside the word, in the gap: the column stays where it is.
            let length = head.chars().count() as u16;
            let at = match column.align() {
                Align::Left => x + length,
                Align::Right => (x + width).saturating_sub(length + 1),
            };
            canvas.put(at, 0, mark, theme.heading());
        }
    }
}

fn service(
    row: &ServiceRow,
    folded: bool,
    layout: &Layout,
    y: u16,
    canvas: &mut Canvas<'_>,
    theme: Theme,
) {
    let (word, style) = (state(row), state_style(row, theme));
    let rate = |pick| rate_of(row.per_s, pick);
    let mark = match () {
        () if is_alarming(row) => "!",
        () if row.synproxy.active => "*",
        () => " ",
    };
    canvas.put(1, y, mark, style);
    canvas.put(2, y, if folded { "+" } else { " " }, theme.plain());
    let name_style = theme.strong();
    canvas.cell((MARKS, y), layout.name, Align::Left, &row.name, name_style);
    for (column, x, width) in &layout.columns {
        let (text, style) = match column {
            Column::Listen => (listen(row), theme.plain()),
            Column::State => (word.clone(), style),
            Column::Sessions => (si(row.sessions), theme.plain()),
            Column::Inactive => (si(row.inactive), theme.plain()),
            Column::New => (rate(|it| it.opened), theme.plain()),
            Column::Refused => {
                let refuses = row.per_s.is_some_and(|rates| rates.refused > 0);
                let style = if refuses { theme.warn() } else { theme.plain() };
                (rate(|it| it.refused), style)
            }
            Column::BitsIn => (rate(|it| it.bits_in), theme.plain()),
            Column::BitsOut => (rate(|it| it.bits_out), theme.plain()),
            Column::PacketsIn => (rate(|it| it.packets_in), theme.plain()),
            Column::PacketsOut => (rate(|it| it.packets_out), theme.plain()),
            Column::Scheduler => (row.scheduler.clone(), theme.plain()),
            Column::Synproxy => synproxy(row, theme),
        };
        canvas.cell((*x, y), *width, column.align(), &text, style);
    }
}

fn server(real: &ServiceRealRow, layout: &Layout, y: u16, canvas: &mut Canvas<'_>, theme: Theme) {
    let word = real_state(real);
    let style = real_style(real, theme);
    let rate = |pick| rate_of(real.per_s, pick);
    if is_down(real) || real.state == "full" {
        canvas.put(1, y, "!", style);
    }
    let end = layout.end_of(Column::Listen);
    let address = MARKS + 2;
    let room = usize::from(end.saturating_sub(address + 1));
    let free = room.saturating_sub(real.address.chars().count());
    let plain_weight = format!("weight {}", real.weight);
    let long = format!("by command  {plain_weight}");
    let weight = match real.by_command.as_slice() {
        [] => plain_weight,
        _ if long.chars().count() <= free => long,
        _ => format!("* {plain_weight}"),
    };
    let room = if layout.has(Column::Scheduler) {
        end.saturating_sub(address)
    } else {
        let begin = canvas.put_before(end, y, &weight, theme.plain());
        begin.saturating_sub(address + 1)
    };
    let at = (address, y);
    canvas.cell(at, room, Align::Left, &real.address, theme.plain());
    for (column, x, width) in &layout.columns {
        let plain = theme.plain();
        let (text, style) = match column {
            Column::Listen | Column::Refused | Column::Synproxy => continue,
            Column::State => (word.to_owned(), style),
            Column::Sessions => (si(real.sessions + real.inactive), plain),
            Column::Inactive => (si(real.inactive), plain),
            Column::New => (rate(|it| it.opened), plain),
            Column::BitsIn => (rate(|it| it.bits_in), plain),
            Column::BitsOut => (rate(|it| it.bits_out), plain),
            Column::PacketsIn => (rate(|it| it.packets_in), plain),
            Column::PacketsOut => (rate(|it| it.packets_out), plain),
            Column::Scheduler => {
                let mark = if real.by_command.is_empty() { "" } else { "*" };
                (format!("w {}{mark}", real.weight), plain)
            }
        };
        canvas.cell((*x, y), *width, column.align(), &text, style);
    }
}

/// Returns how much of something was carried in the last second.
pub(super) fn rate_of(rates: Option<TrafficRates>, pick: fn(&TrafficRates) -> u64) -> String {
    or_none(rates.as_ref().map(pick), si)
}

fn synproxy(row: &ServiceRow, theme: Theme) -> (String, Style) {
    match (row.protocol.as_str(), row.synproxy.active) {
        ("tcp", true) => (format!("{} ON", row.synproxy.mode), theme.warn()),
        ("tcp", false) => (row.synproxy.mode.clone(), theme.plain()),
        _ => (NONE.to_owned(), theme.plain()),
    }
}

/// Whether somebody must look at it.
fn is_alarming(row: &ServiceRow) -> bool {
    row.state != "up" || row.reals.iter().any(is_down)
}

fn state_style(row: &ServiceRow, theme: Theme) -> Style {
    match row.state.as_str() {
        "all-down" | "no-quorum" => theme.bad(),
        "sorry" => theme.warn(),
        _ if is_alarming(row) || row.synproxy.active => theme.warn(),
        _ => theme.good(),
    }
}

fn real_style(real: &ServiceRealRow, theme: Theme) -> Style {
    match real.state.as_str() {
        "down" | "inhibited" => theme.bad(),
        "drain" | "full" => theme.warn(),
        "up" if real.checked => theme.good(),
        _ => theme.plain(),
    }
}

/// Returns what is selected and why it is as it is, or else how many there are.
pub(crate) fn status(model: &Model) -> String {
    let services = &model.services;
    let Some(told) = &model.data.services else {
        return String::new();
    };
    if let Some(zoom) = &services.zoom {
        let name = zoom.real.as_ref().filter(|real| !real.is_empty());
        return match name {
            Some(real) => format!("real server {real} of {}; Esc goes back", zoom.service),
            None => format!("service {}; Esc goes back", zoom.service),
        };
    }
    let filter = &services.filter;
    let lines = services.lines.len();
    let mut text = match (filter.text.as_str(), filter.inverse) {
        ("", _) => String::new(),
        (text, false) => format!("{lines} lines with {text}; "),
        (text, true) => format!("{lines} lines without {text}; "),
    };
    if let Some(why) = why(model, &told.value) {
        text.push_str(&why);
        return text;
    }
    let totals = services.totals;
    text += &plural(totals.services, "service");
    text += ", ";
    text += &plural(totals.reals, "real server");
    for (count, word) in [(totals.down, "down"), (totals.draining, "draining")] {
        if count > 0 {
            let _ = write!(text, ", {count} {word}");
        }
    }
    let order = services.sorting.words(services.sorting.by.name());
    // Half of it would say nothing.
    if text.len() + order.len() + 4 <= usize::from(model.size.width) {
        let _ = write!(text, "; {order}");
    }
    text
}

/// Why the selected line is as it is, where there is something to say.
fn why(model: &Model, rows: &[ServiceRow]) -> Option<String> {
    let line = *model.services.lines.get(model.services.cursor.index)?;
    match line {
        Line::Service(place) => {
            let row = rows.get(place)?;
            Some(format!("{}: {}", row.name, row.reason.as_ref()?))
        }
        Line::Real(place, real) => {
            let row = rows.get(place)?.reals.get(real)?;
            let words = row.by_command.join("; ");
            (!words.is_empty()).then(|| format!("{}: {words}", row.address))
        }
        Line::Others(_) => {
            let name = name_of(rows, line)?;
            Some(format!(
                "sessions of {} at real servers that it no longer has",
                name.service
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_apply_brought_has_no_rate_yet_and_what_rests_has_nought() {
        let opened = |rates| rate_of(rates, |it| it.opened);
        assert_eq!(opened(None), "-");
        assert_eq!(opened(Some(TrafficRates::default())), "0");
    }
}
