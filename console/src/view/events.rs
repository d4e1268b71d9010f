//! The events: what happened, the youngest last.

use ratatui::style::Style;
use weir_control::EventRow;

use crate::model::Model;
use crate::model::events::Line;
use crate::theme::Theme;
use crate::units::{date, exact, folded, plural};
use crate::view::canvas::{Align, Canvas};
use crate::view::header::cut;

/// Selection and alarm.
const MARKS: u16 = 3;
const TIME: u16 = 11;
const SEVERITY: u16 = 6;
/// From this width on there is room for numbers and codes.
const WIDE: u16 = 110;
const NUMBER: u16 = 8;
const CODE: u16 = 24;
/// Where the values of details begin.
const VALUES: u16 = 16;

/// Draws them.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    if model.data.events.is_none() {
        canvas.put(1, 1, "asked, no answer yet", theme.plain());
        return;
    }
    let events = &model.events;
    if events.zoom
        && let Some(row) = events.at_cursor()
    {
        closely(model, row, canvas);
        return;
    }
    let width = canvas.width();
    let today = date(model.clock.unix);
    canvas.style(0, 0, width, theme.heading());
    let head = Cells {
        number: "NO",
        time: "TIME (UTC)",
        severity: "LEVEL",
        code: "EVENT",
    };
    let x = head.draw(0, theme.heading(), theme.heading(), canvas);
    canvas.put(x, 0, "WHAT HAPPENED", theme.heading());
    if events.lines.is_empty() {
        let text = if events.rows.is_empty() {
            "no events since the daemon's start"
        } else {
            "nothing matches the filter; Esc shows all"
        };
        canvas.put(MARKS, 2, text, theme.plain());
    }
    let seen = events.lines.iter().enumerate().skip(events.cursor.top);
    for (y, (at, line)) in (1..canvas.height()).zip(seen) {
        match line {
            Line::Event(place) => {
                if let Some(row) = events.rows.get(*place) {
                    event(row, &today, y, theme, canvas);
                }
            }
            Line::Gap(first, last) => {
                let text = gap(*first, *last, events.may_have_more());
                canvas.put(MARKS, y, &text, theme.dim());
            }
            Line::Restart => {
                let text = "-- weir was started anew: numbers begin with 1 --";
                canvas.put(MARKS, y, text, theme.warn());
            }
        }
        if at == events.cursor.index {
            canvas.put(0, y, ">", theme.strong());
            canvas.style(0, y, width, theme.selected());
        }
    }
}

struct Cells<'a> {
    number: &'a str,
    time: &'a str,
    severity: &'a str,
    code: &'a str,
}

impl Cells<'_> {
    /// Draws what stands before the sentence; returns where that begins.
    fn draw(&self, y: u16, plain: Style, severity: Style, canvas: &mut Canvas<'_>) -> u16 {
        let is_wide = canvas.width() >= WIDE;
        let mut x = MARKS;
        if is_wide {
            canvas.cell((x, y), NUMBER, Align::Right, self.number, plain);
            x += NUMBER + 1;
        }
        canvas.cell((x, y), TIME, Align::Right, self.time, plain);
        x += TIME + 1;
        canvas.cell((x, y), SEVERITY, Align::Left, self.severity, severity);
        x += SEVERITY + 1;
        if is_wide {
            canvas.cell((x, y), CODE, Align::Left, self.code, plain);
            x += CODE + 1;
        }
        x
    }
}

fn event(row: &EventRow, today: &str, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let (word, style) = severity(row, theme);
    if matches!(row.severity.as_str(), "error" | "warning") {
        canvas.put(1, y, "!", style);
    }
    let cells = Cells {
        number: &row.sequence.to_string(),
        time: &time(&row.at, today),
        severity: word,
        code: &row.code,
    };
    let x = cells.draw(y, theme.plain(), style, canvas);
    let mut end = canvas.width();
    if row.suppressed > 0 {
        let text = format!(" +{} like it", exact(row.suppressed));
        end = canvas.put_before(end, y, &text, theme.warn());
    }
    let room = end.saturating_sub(x);
    let text = cut(&row.text, usize::from(room));
    canvas.cell((x, y), room, Align::Left, &text, theme.plain());
}

/// Says how much it matters, in a word that is seen without colours.
fn severity(row: &EventRow, theme: Theme) -> (&str, Style) {
    match row.severity.as_str() {
        "error" => ("ERROR", theme.bad()),
        "warning" => ("WARN", theme.warn()),
        other => (other, theme.plain()),
    }
}

/// The time of today, or day and time of another day.
fn time(at: &str, today: &str) -> String {
    let Some((day, time)) = at.split_once('T') else {
        return at.to_owned();
    };
    if day == today {
        return time.get(..8).unwrap_or(time).to_owned();
    }
    let day = day.get(5..).unwrap_or(day);
    format!("{day} {}", time.get(..5).unwrap_or(time))
}

fn gap(first: u64, last: u64, may_have_more: bool) -> String {
    let count = last - first + 1;
    if first == 1 {
        let text = if may_have_more {
            "g asks the daemon for those it keeps"
        } else {
            "the daemon keeps them no longer"
        };
        return format!("-- {} before: {text} --", plural(count, "event"));
    }
    let why = if may_have_more {
        "not here"
    } else {
        "not kept"
    };
    let numbers = if first == last {
        format!("number {first}")
    } else {
        format!("numbers {first} to {last}")
    };
    format!("-- {} {why}: {numbers} --", plural(count, "event"))
}

/// One event with its facts.
fn closely(model: &Model, row: &EventRow, canvas: &mut Canvas<'_>) {
    let lines = details(row, usize::from(canvas.width()), model.theme);
    let height = usize::from(canvas.height());
    let top = model
        .events
        .zoom_top
        .min(lines.len().saturating_sub(height));
    let seen = lines.iter().skip(top).take(height);
    for (y, (name, value, style)) in (0..).zip(seen) {
        let at = (1, y);
        canvas.cell(at, VALUES - 2, Align::Left, name, model.theme.label());
        canvas.put(VALUES, y, value, *style);
    }
    let more = lines.len().saturating_sub(top + height);
    if more > 0 {
        let y = canvas.height().saturating_sub(1);
        canvas.inner(0, y, canvas.width(), 1).clear();
        let text = format!("{} more, PgDn shows them", plural(more as u64 + 1, "line"));
        canvas.put(VALUES, y, &text, model.theme.dim());
    }
}

/// Returns how many lines the event has that is looked at.
pub(crate) fn length(model: &Model) -> usize {
    let row = model.events.at_cursor();
    let width = usize::from(model.size.width);
    row.map_or(0, |row| details(row, width, model.theme).len())
}

fn details(row: &EventRow, width: usize, theme: Theme) -> Vec<(String, String, Style)> {
    let plain = theme.plain();
    let room = width.saturating_sub(usize::from(VALUES) + 1);
    let (word, style) = severity(row, theme);
    let mut lines = Vec::new();
    for (place, text) in folded(&row.text, room).into_iter().enumerate() {
        let name = if place == 0 { "what happened" } else { "" };
        lines.push((name.to_owned(), text, theme.strong()));
    }
    lines.push(("level".to_owned(), word.to_owned(), style));
    lines.push(("time".to_owned(), row.at.clone(), plain));
    lines.push(("event".to_owned(), row.code.clone(), plain));
    lines.push(("class".to_owned(), row.class.clone(), plain));
    let number = format!("{} since weir was started", exact(row.sequence));
    lines.push(("number".to_owned(), number, plain));
    let suppressed = match row.suppressed {
        0 => "none like it before it".to_owned(),
        count => format!("{} like it before it", plural(count, "event")),
    };
    let style = if row.suppressed > 0 {
        theme.warn()
    } else {
        plain
    };
    lines.push(("left out".to_owned(), suppressed, style));
    lines.push((String::new(), String::new(), plain));
    if row.fields.is_empty() {
        lines.push(("facts".to_owned(), "none".to_owned(), plain));
    }
    for (name, value) in &row.fields {
        for (place, text) in folded(value, room).into_iter().enumerate() {
            let name = if place == 0 {
                name.clone()
            } else {
                String::new()
            };
            lines.push((name, text, plain));
        }
    }
    lines
}

/// Returns how many there are, and whether new ones are followed.
pub(crate) fn status(model: &Model) -> String {
    if model.data.events.is_none() {
        return String::new();
    }
    let events = &model.events;
    if events.zoom {
        let at = events.cursor.index + 1;
        let of = events.lines.len();
        return format!("line {at} of {of}, Up and Down go on, Esc lists all");
    }
    let filter = events.filter.words();
    let is_event = |line: &&Line| matches!(line, Line::Event(_));
    let shown = events.lines.iter().filter(is_event).count() as u64;
    let follows = if events.follows {
        "new ones are followed".to_owned()
    } else {
        let unseen = match events.unseen {
            0 => String::new(),
            count => format!("{} new: ", exact(count as u64)),
        };
        format!("{unseen}stands still, G follows again")
    };
    format!(
        "{filter}{}, the youngest last; {follows}",
        plural(shown, "event")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_another_day_says_which() {
        let at = "2026-11-22T12:04:31.123Z";
        assert_eq!(time(at, "2026-11-22"), "12:04:31");
        assert_eq!(time(at, "2026-11-23"), "11-22 12:04");
        assert_eq!(time("?", "2026-11-23"), "?");
    }
}
