//! The lines above every screen: who, since when, what is wrong, who you are; the totals; the screens.

use std::fmt::Write as _;

use weir_control::{Role, StatusRow};

use crate::model::Model;
use crate::model::link::State;
use crate::model::screen::{self, ScreenId};
use crate::theme::Theme;
use crate::units::{NONE, or_none, si, span, time_of_day, whole};
use crate::view::canvas::Canvas;
use crate::view::fields::{self, Field};

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

/// Who it is, how it is, and who you are: for how long it runs is missed least, then who else is
/// there, then the number of what runs; what is wrong is missed most.
fn who(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let greeting = model.link.greeting.as_ref();
    let node = greeting.map_or("weir", |greeting| greeting.node.as_str());
    let mut fields = vec![Field::new(4, cut(node, 12), theme.strong()).or(7, cut(node, LONG))];
    match model.link.state {
        State::Connecting if model.link.why.is_empty() => {
            fields.push(Field::new(0, "connecting", theme.bad()));
        }
        State::Connecting => {
            let text = format!("NOT CONNECTED: {}", model.link.why);
            fields.push(Field::new(0, "NOT CONNECTED", theme.bad()).filled(text));
        }
        State::Lost => {
            let since = model.clock.up.saturating_sub(model.link.since);
            let text = format!(" LOST weir, {} ", span(since.as_secs()));
            fields.push(Field::new(0, text, theme.alarm()));
            // A restart takes some seconds; what takes longer has a reason to look into.
            if since >= RESTART {
                fields.push(Field::new(8, "", theme.bad()).filled(&model.link.why));
            }
        }
        State::Online => {
            let status = model.data.status.as_ref();
            fields.extend(status.map_or_else(Vec::new, |told| state(&told.value, theme)));
            let [everybody, you, role] = you(model);
            let who = Field::new(5, role, theme.plain());
            fields.push(who.or(8, you).or(10, everybody).right());
        }
    }
    let clock = format!("{} UTC ", time_of_day(model.clock.unix));
    fields.push(Field::new(6, clock, theme.plain()).right());
    let width = canvas.width().saturating_sub(1);
    fields::draw(&fields, 0, 2, &mut canvas.inner(1, 0, width, 1));
}

/// How the appliance is, in words.
fn state(status: &StatusRow, theme: Theme) -> Vec<Field> {
    let up = format!("up {}", span(status.uptime_s));
    let mut fields = vec![Field::new(11, up, theme.plain())];
    let generation = status.generation;
    fields.push(match status.confirm_within_s {
        Some(left) => {
            let text = format!("UNCONFIRMED {}", span(left));
            let with_number = format!("gen {generation} {text}");
            Field::new(2, text, theme.warn()).or(9, with_number)
        }
        None => Field::new(9, format!("gen {generation}"), theme.plain()),
    });
    if status.maintenance {
        fields.push(Field::new(1, "MAINT", theme.alarm()));
    }
    fields.push(match status.alarms {
        0 => Field::new(3, "no alarms", theme.good()),
        1 => Field::new(0, "1 ALARM !", theme.bad()),
        more => Field::new(0, format!("{more} ALARMS !"), theme.bad()),
    });
    fields
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
    let plain = theme.plain();
    let none = StatusRow::default();
    let told = model.data.status.as_ref();
    let status = told.map_or(&none, |told| &told.value);
    let some = |value: String| told.map_or_else(|| NONE.to_owned(), |_| value);
    let either_way = |name: &str, ranks: [u8; 2], packets: Option<f64>, bits: Option<f64>| {
        let short = format!("{name} {:>5}pps", whole_or_none(packets));
        let long = format!("{short} {:>5}b/s", whole_or_none(bits));
        Field::new(ranks[0], short, plain).or(ranks[1], long)
    };
    let per_s = |rank: u8, name: &str, value: Option<f64>| {
        Field::new(rank, format!("{name} {:>5}/s", whole_or_none(value)), plain)
    };
    let (rank, ledger, style) = match (told.is_some(), status.balanced) {
        (false, _) => (2, "ledger -", plain),
        (true, true) => (2, "ledger ok", theme.good()),
        (true, false) => (0, "LEDGER OFF", theme.alarm()),
    };
    let (packets_in, bits_in) = (status.packets_in_per_s, status.bits_in_per_s);
    let (packets_out, bits_out) = (status.packets_out_per_s, status.bits_out_per_s);
    let busy = some(status.busy_percent.to_string());
    let fields = [
        Field::new(1, format!("sess {:>5}", some(si(status.sessions))), plain),
        per_s(3, "new", status.sessions_per_s),
        either_way("in", [4, 6], packets_in, bits_in),
        either_way("out", [5, 7], packets_out, bits_out),
        per_s(8, "SYN", status.syn_per_s),
        per_s(9, "drop", status.dropped_per_s),
        Field::new(10, format!("busy {busy:>3}%"), plain),
        Field::new(rank, ledger, style),
    ];
    fields::draw(&fields, 1, 2, canvas);
}

/// Returns a rate of the last second: in whole numbers, as its parts on the screens are.
fn whole_or_none(rate: Option<f64>) -> String {
    or_none(rate.map(whole), si)
}

/// The names of the screens: the open one's first, then the numbers of all, then more names.
fn tabs(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let tab = |(place, screen): (usize, ScreenId)| {
        let (number, name) = (place + 1, screen.name());
        let (short, long) = (format!(" {number} "), format!(" {number} {name} "));
        if screen == model.screen {
            Field::new(0, long, theme.selected())
        } else {
            Field::new(2, short, theme.plain()).or(3, long)
        }
    };
    let screens = ScreenId::ALL.into_iter().enumerate();
    let mut fields: Vec<Field> = screens.map(tab).collect();
    if model.paused.is_some() {
        fields.push(Field::new(1, " PAUSED ", theme.alarm()).right());
    }
    fields::draw(&fields, 2, 0, canvas);
}

fn rule(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    canvas.fill(3, line(model), theme.dim());
    if let Some((at, why)) = stale(model) {
        let age = model.clock.up.saturating_sub(at).as_secs();
        let unix = model.clock.unix.saturating_sub(age);
        let (since, age) = (time_of_day(unix), span(age));
        let field = Field::new(0, format!(" {why} "), theme.alarm())
            .or(1, format!(" {why}, {age} old "))
            .or(2, format!(" {why}: values of {since}, {age} old "));
        let width = canvas.width().saturating_sub(2);
        fields::draw(&[field], 0, 0, &mut canvas.inner(2, 3, width, 1));
    } else if let Some(told) = &model.data.status {
        alarm(&told.value, theme, canvas);
    }
}

/// What is wrong, in a sentence, on every screen: the worst, and how the others are seen.
fn alarm(status: &StatusRow, theme: Theme, canvas: &mut Canvas<'_>) {
    let Some(first) = status.alarm_list.first() else {
        return;
    };
    let style = if first.severity == "error" {
        theme.bad()
    } else {
        theme.warn()
    };
    let more = match status.alarms {
        1 => String::new(),
        all => format!(" A lists all {all} "),
    };
    let width = canvas.width().saturating_sub(4);
    let room = usize::from(width).saturating_sub(more.len() + 4);
    if room < LONG {
        return;
    }
    let text = format!(" {} ", cut(&first.text, room));
    let fields = [
        Field::new(0, text, style),
        Field::new(1, more, theme.plain()).right(),
    ];
    fields::draw(&fields, 0, 1, &mut canvas.inner(2, 3, width, 1));
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
