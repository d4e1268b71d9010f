//! The lines above every screen: who, since when, what is wrong, who you are; the totals; the screens.

use std::fmt::Write as _;

use ratatui::style::Style;
use weir_control::{Role, StatusRow};

use crate::model::Model;
use crate::model::link::State;
use crate::model::screen::{self, ScreenId};
use crate::theme::Theme;
use crate::units::{NONE, rate, si, span, time_of_day};
use crate::view::canvas::Canvas;

/// How late an answer may be before what is shown is called so: as long as the answer before took
/// twice, and this.
const LATE: std::time::Duration = std::time::Duration::from_secs(2);

/// A word that is longer may be cut.
const LONG: usize = 24;

/// As long as a daemon may take to come back before somebody wants to know why it does not.
const RESTART: std::time::Duration = std::time::Duration::from_secs(10);

/// Draws them.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    who(model, canvas);
    totals(model, canvas);
    tabs(model, canvas);
    rule(model, canvas);
}

fn who(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let clock = format!("{} UTC ", time_of_day(model.clock.unix));
    let width = canvas.width();
    let end = canvas.put_before(width, 0, &clock, theme.plain());
    let end = end.saturating_sub(2);
    let greeting = model.link.greeting.as_ref();
    let node = greeting.map_or("weir", |greeting| greeting.node.as_str());
    let x = canvas.put(1, 0, &cut(node, 24), theme.strong()) + 2;
    match model.link.state {
        State::Connecting => {
            let text = if model.link.why.is_empty() {
                "connecting".to_owned()
            } else {
                format!("NOT CONNECTED: {}", model.link.why)
            };
            let room = usize::from(end.saturating_sub(x + 2));
            canvas.put(x, 0, &cut(&text, room), theme.bad());
            return;
        }
        State::Lost => {
            let since = model.clock.up.saturating_sub(model.link.since);
            let text = format!(" LOST weir, {} ", span(since.as_secs()));
            let x = canvas.put(x, 0, &text, theme.alarm()) + 1;
            // A restart takes some seconds; what takes longer has a reason to look into.
            if since >= RESTART {
                let room = usize::from(end.saturating_sub(x + 1));
                canvas.put(x, 0, &cut(&model.link.why, room), theme.bad());
            }
            return;
        }
        State::Online => {}
    }
    let [everybody, you, role] = you(model);
    let status = model.data.status.as_ref().map(|told| &told.value);
    // Nothing is written over who you are: for how long it runs is missed least, then who else is
    // there, then the number of what is not confirmed.
    let room = |who: &str| {
        let gap = if who.is_empty() { 0 } else { 2 };
        usize::from(end.saturating_sub(x)).saturating_sub(who.chars().count() + gap)
    };
    let ways = [
        (&everybody, true, true),
        (&everybody, false, true),
        (&you, false, true),
        (&you, false, false),
        (&role, false, false),
    ];
    let mut ways = ways.into_iter().map(|(who, with_up, with_number)| {
        let parts = status.map_or_else(Vec::new, |status| {
            state(status, with_up, with_number, theme)
        });
        (who, parts)
    });
    let fitting = ways.find(|(who, parts)| width_of(parts) <= room(who));
    let (who, parts) = fitting.unwrap_or_else(|| {
        // What is wrong comes first where not even that fits.
        let parts = status.map_or_else(Vec::new, |status| state(status, false, false, theme));
        (&role, parts.into_iter().rev().collect())
    });
    let mut left = canvas.inner(x, 0, room(who) as u16, 1);
    let mut at = 0;
    for (text, style) in &parts {
        at = left.put(at, 0, text, *style) + 2;
    }
    canvas.put_before(end, 0, who, theme.plain());
}

/// How the appliance is, in words.
fn state(
    status: &StatusRow,
    with_up: bool,
    with_number: bool,
    theme: Theme,
) -> Vec<(String, Style)> {
    let mut parts = Vec::new();
    if with_up {
        parts.push((format!("up {}", span(status.uptime_s)), theme.plain()));
    }
    let generation = status.generation;
    match status.confirm_within_s {
        Some(left) => {
            let number = if with_number {
                format!("gen {generation} ")
            } else {
                String::new()
            };
            let text = format!("{number}UNCONFIRMED {}", span(left));
            parts.push((text, theme.warn()));
        }
        None if with_number => parts.push((format!("gen {generation}"), theme.plain())),
        None => {}
    }
    if status.maintenance {
        parts.push(("MAINT".to_owned(), theme.alarm()));
    }
    parts.push(match status.alarms {
        0 => ("no alarms".to_owned(), theme.good()),
        1 => ("1 ALARM !".to_owned(), theme.bad()),
        more => (format!("{more} ALARMS !"), theme.bad()),
    });
    parts
}

/// Returns how wide parts are with the gaps between them.
fn width_of(parts: &[(String, Style)]) -> usize {
    let all = parts.iter().map(|(text, _)| text.chars().count() + 2);
    all.sum::<usize>().saturating_sub(2)
}

/// Who you are, and how many others may change something; then shorter, then your role alone.
fn you(model: &Model) -> [String; 3] {
    let role = match model.link.role() {
        None => return <[String; 3]>::default(),
        Some(Role::Operator) if model.read_only || model.fell_back => Role::Viewer.name(),
        Some(role) => role.name(),
    };
    let name = model.link.identity.as_ref().map(|it| it.name.as_str());
    let status = model.data.status.as_ref().map(|told| &told.value);
    let others: Vec<&str> = status.map_or_else(Vec::new, |status| {
        let clients = status.clients.iter();
        clients
            .filter(|client| !client.you && client.role == Role::Operator.name())
            .map(|client| client.name.as_str())
            .collect()
    });
    let you = match name {
        Some(name) => format!("{role} {}", cut(name, 16)),
        None => role.to_owned(),
    };
    let mut text = you.clone();
    match others.as_slice() {
        [] => {}
        [one] if one.chars().count() <= 8 => {
            let _ = write!(text, " (also {one})");
        }
        more => {
            let _ = write!(text, " (+{} operators)", more.len());
        }
    }
    [text, you, role.to_owned()]
}

fn totals(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let none = StatusRow::default();
    let told = model.data.status.as_ref();
    let status = told.map_or(&none, |told| &told.value);
    let some = |value: String| {
        if told.is_some() {
            value
        } else {
            NONE.to_owned()
        }
    };
    let per_s = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), rate);
    let mut parts = vec![
        format!("sess {:>5}", some(si(status.sessions))),
        format!("new {:>5}/s", per_s(status.sessions_per_s)),
        format!(
            "in {:>5}pps {:>5}b/s",
            per_s(status.packets_in_per_s),
            per_s(status.bits_in_per_s)
        ),
        format!(
            "out {:>5}pps {:>5}b/s",
            per_s(status.packets_out_per_s),
            per_s(status.bits_out_per_s)
        ),
    ];
    if canvas.width() >= 120 {
        parts.push(format!("SYN {:>5}/s", per_s(status.syn_per_s)));
        parts.push(format!("drop {:>5}/s", per_s(status.dropped_per_s)));
    }
    if canvas.width() >= 132 {
        let busy = some(status.busy_percent.to_string());
        parts.push(format!("busy {busy:>3}%"));
    }
    let x = canvas.put(0, 1, &parts.join("  "), theme.plain());
    let (ledger, style) = match (told.is_some(), status.balanced) {
        (false, _) => ("ledger -", theme.plain()),
        (true, true) => ("ledger ok", theme.good()),
        (true, false) => ("LEDGER OFF", theme.alarm()),
    };
    canvas.put(x + 2, 1, ledger, style);
}

fn tabs(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let mut x = 0;
    for (place, screen) in ScreenId::ALL.into_iter().enumerate() {
        let style = if screen == model.screen {
            theme.selected()
        } else {
            theme.plain()
        };
        x = canvas.put(x, 2, &format!(" {} {} ", place + 1, screen.name()), style);
    }
    if model.paused.is_some() {
        canvas.put_before(canvas.width(), 2, " PAUSED ", theme.alarm());
    }
}

fn rule(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    canvas.fill(3, line(model), theme.dim());
    if let Some((at, why)) = stale(model) {
        let age = model.clock.up.saturating_sub(at).as_secs();
        let unix = model.clock.unix.saturating_sub(age);
        let text = format!(
            " {why}: values of {}, {} old ",
            time_of_day(unix),
            span(age)
        );
        canvas.put(2, 3, &text, theme.alarm());
    }
}

/// Returns what lines between parts are drawn with.
pub(crate) fn line(model: &Model) -> char {
    if model.theme.utf8 { '─' } else { '-' }
}

/// Says since when what the open screen shows is not so any more, as far as the console knows.
pub(crate) fn stale(model: &Model) -> Option<(std::time::Duration, &'static str)> {
    let wants = screen::wants(model);
    let told = wants
        .iter()
        .filter_map(|want| Some((model.data.at(want.what, &want.filter)?, want.every)));
    let (at, every) = told.min_by_key(|(at, _)| *at)?;
    let age = model.clock.up.saturating_sub(at);
    if model.link.is_lost() {
        return Some((at, "STALE"));
    }
    if model.paused.is_some() {
        return Some((at, "PAUSED"));
    }
    // Where answers take long they are asked for less often, which is not late.
    let took = model.link.took;
    let due = every.max(crate::link::pace(took));
    (age > due + took * 2 + LATE).then_some((at, "LATE"))
}

/// Returns a text in a length; one that is longer ends with `~`, behind a whole word where words are
/// not long.
pub(crate) fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(1)).collect();
    let next = text.chars().nth(length.saturating_sub(1));
    let whole = match kept.rsplit_once(' ') {
        Some((whole, word)) if next != Some(' ') && word.chars().count() <= LONG => whole,
        Some(_) | None => &kept,
    };
    let whole = whole.trim_end();
    let gap = if whole.len() < kept.len() { " " } else { "" };
    format!("{whole}{gap}~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_behind_a_word() {
        assert_eq!(
            cut("drained by otto (ssh 192.0.2.8)", 31),
            "drained by otto (ssh 192.0.2.8)"
        );
        assert_eq!(
            cut("drained by otto (ssh 192.0.2.8)", 28),
            "drained by otto (ssh ~"
        );
        assert_eq!(cut("drained by otto", 12), "drained by ~");
        assert_eq!(cut("drained by otto", 11), "drained by~");
        assert_eq!(cut("lb1.dc2.example.net", 8), "lb1.dc2~");
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("abc", 1), "~");
    }
}
