//! The confirmation ladder: what can be undone is done, what takes capacity asks for its verb, what
//! stops something asks for the object's name.

use weir_control::{ModeWish, Request, ServiceRealRow, ServiceRow, StatusRow};

use crate::model::dialog::{Ask, Deed, Dialog, Rung};
use crate::model::services::Name;
use crate::model::{Effect, Mode, Model, Tone};
use crate::term::input::Key;
use crate::units::{exact, plural, span};
use crate::update;

/// How long a configuration is tried where nobody says.
const TRIAL_MS: u64 = 120_000;

/// Takes a key in a dialog.
pub(crate) fn key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Mode::Dialog(dialog) = &mut model.mode else {
        return Vec::new();
    };
    if key == Key::Enter {
        return answer(model);
    }
    if matches!(key, Key::Esc | Key::Ctrl('c')) {
        model.mode = Mode::Screen;
        model.say(Tone::Good, "nothing was changed");
    } else {
        dialog.error = None;
        dialog.typed.key(key);
    }
    Vec::new()
}

/// Does what was asked, where the answer is the right one.
fn answer(model: &mut Model) -> Vec<Effect> {
    let anew = asked_anew(model);
    let Mode::Dialog(dialog) = &mut model.mode else {
        return Vec::new();
    };
    let typed = dialog.typed.text();
    let typed = typed.trim();
    if let Some(rung) = &dialog.rung
        && typed != rung.word()
    {
        let word = rung.word();
        dialog.error = Some(if typed.is_empty() {
            format!("type {word}, or Esc to change nothing")
        } else {
            format!("that is not {word}; nothing is changed yet")
        });
        return Vec::new();
    }
    if let Some(anew) = anew {
        **dialog = anew;
        dialog.error = Some("that changed meanwhile; nothing is changed yet".to_owned());
        return Vec::new();
    }
    let (what, request, undo) = match &dialog.deed {
        Deed::Send {
            what,
            request,
            undo,
        } => (what.clone(), request.clone(), undo.clone()),
        Deed::Ask(ask) => match asked(ask, typed) {
            Ok(sent) => sent,
            Err(sentence) => {
                dialog.error = Some(sentence);
                return Vec::new();
            }
        },
        Deed::BeOperator => {
            model.mode = Mode::Screen;
            model.fell_back = false;
            model.say(Tone::Good, "you are an operator again");
            return Vec::new();
        }
        Deed::Discard => {
            model.mode = Mode::Screen;
            update::config::drop_candidate(model);
            return Vec::new();
        }
        Deed::Leave => {
            model.mode = Mode::Screen;
            return vec![Effect::Leave];
        }
    };
    model.mode = Mode::Screen;
    // The role may have gone while the question stood there.
    if let Err(reason) = model.role() {
        model.say(Tone::Warn, format!("{what}: {reason}"));
        return Vec::new();
    }
    model.order(what, request, undo)
}

/// Returns the question as it is asked now, where a drain costs more or less than it did when it was
/// asked: the last real server that is left is not drained for the word of one of three.
fn asked_anew(model: &Model) -> Option<Dialog> {
    let Mode::Dialog(dialog) = &model.mode else {
        return None;
    };
    let Deed::Send { request, .. } = &dialog.deed else {
        return None;
    };
    let Request::Drain { service, real, .. } = request else {
        return None;
    };
    let name = Name {
        service: service.clone(),
        real: Some(real.clone()),
    };
    let (service, real) = model.data.real(&name)?;
    let anew = drain_question(service, real, request.clone());
    (anew.rung != dialog.rung).then_some(anew)
}

/// Makes a request of a value that was typed.
fn asked(ask: &Ask, typed: &str) -> Result<(String, Request, Option<Request>), String> {
    match ask {
        Ask::Weight {
            service,
            real,
            now,
            by_command,
        } => {
            let weight = if typed == "default" {
                None
            } else {
                let weight: Result<u16, _> = typed.parse();
                Some(weight.map_err(|_| "it is 0 to 65535, or default".to_owned())?)
            };
            let before = by_command.then_some(*now as u16);
            Ok((
                format!("weight of {real}@{service}"),
                weigh(service, real, weight),
                Some(weigh(service, real, before)),
            ))
        }
        Ask::Synproxy { service } => {
            let (mode, for_ms) = mode(typed)?;
            let service = service.clone();
            let undo = Request::Synproxy {
                service: service.clone(),
                mode: ModeWish::Default,
                for_ms: None,
            };
            let undo = (mode != ModeWish::Default).then_some(undo);
            Ok((
                format!("synproxy of {service}"),
                Request::Synproxy {
                    service,
                    mode,
                    for_ms,
                },
                undo,
            ))
        }
        Ask::Apply { word, texts, over } => {
            let mut words = typed.split_whitespace();
            let confirm_ms = match (words.next(), words.next(), words.next()) {
                (Some(first), None, _) if first == word => TRIAL_MS,
                (Some(first), Some(span), None) if first == word => milliseconds(span)?,
                (None, _, _) => return Err(format!("type {word}, or Esc to change nothing")),
                (Some(_), _, _) => {
                    return Err(format!("that is not {word}; nothing is changed yet"));
                }
            };
            let request = Request::Apply {
                texts: texts.clone(),
                confirm_ms: Some(confirm_ms),
                over: Some(over.clone()),
            };
            Ok(("apply of the candidate".to_owned(), request, None))
        }
    }
}

/// Returns the request that sets a weight.
fn weigh(service: &str, real: &str, weight: Option<u16>) -> Request {
    Request::Weight {
        service: service.to_owned(),
        real: real.to_owned(),
        weight,
    }
}

fn mode(typed: &str) -> Result<(ModeWish, Option<u64>), String> {
    const FORM: &str = "it is always, adaptive, off or default; `for 10m` may follow";
    let mut words = typed.split_whitespace();
    let mode = match words.next() {
        Some("always") => ModeWish::Always,
        Some("adaptive") => ModeWish::Adaptive,
        Some("off") => ModeWish::Off,
        Some("default") => ModeWish::Default,
        Some(_) | None => return Err(FORM.to_owned()),
    };
    let for_ms = match (words.next(), words.next(), words.next()) {
        (None, _, _) => None,
        (Some("for"), Some(span), None) | (Some(span), None, None) => Some(milliseconds(span)?),
        (Some(_), _, _) => return Err(FORM.to_owned()),
    };
    Ok((mode, for_ms))
}

/// Reads `90s`, `10m`, `2h`, `1d`.
fn milliseconds(span: &str) -> Result<u64, String> {
    let wrong = || format!("`{span}` is no time; e.g. 90s, 10m, 2h");
    let unit = span.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = span
        .strip_suffix(unit)
        .and_then(|number| number.parse().ok())
        .filter(|number| *number > 0)
        .ok_or_else(wrong)?;
    number.checked_mul(seconds * 1000).ok_or_else(wrong)
}

/// Asks before a real server gets no new sessions.
pub(crate) fn drain(model: &mut Model, service: &ServiceRow, real: &ServiceRealRow) -> Vec<Effect> {
    if real.state == "drain" {
        let text = format!("{} is drained already; e enables it", real.address);
        model.say(Tone::Warn, text);
        return Vec::new();
    }
    let request = Request::Drain {
        service: service.name.clone(),
        real: real.address.clone(),
        deadline_ms: None,
        then: None,
    };
    drain_as(model, service, real, request)
}

/// Asks before a real server is drained in a certain way.
pub(crate) fn drain_as(
    model: &mut Model,
    service: &ServiceRow,
    real: &ServiceRealRow,
    request: Request,
) -> Vec<Effect> {
    let question = drain_question(service, real, request);
    model.mode = Mode::Dialog(Box::new(question));
    Vec::new()
}

fn drain_question(service: &ServiceRow, real: &ServiceRealRow, request: Request) -> Dialog {
    let takes = |other: &&ServiceRealRow| other.state == "up" && other.address != real.address;
    let left = service.reals.iter().filter(takes).count();
    let all = service.reals.iter().filter(|other| other.state != "sorry");
    let weight_left: u32 = service.reals.iter().filter(takes).map(|it| it.weight).sum();
    let weight: u32 = all.clone().map(|it| it.weight).sum();
    let open = real.sessions + real.inactive;
    let stops = left == 0 && real.state == "up";
    let (mut lasts, mut then) = (None, None);
    if let Request::Drain {
        deadline_ms,
        then: ordered,
        ..
    } = &request
    {
        (lasts, then) = (*deadline_ms, ordered.as_deref());
    }
    let open = plural(open, "open session");
    let (lasts, then) = match (lasts, then) {
        (None, None) => (
            format!("{open} may go on as `drain` of"),
            "the service says, and are then reset or kept as it says.".to_owned(),
        ),
        (Some(ms), then) => (
            format!("{open} may go on for {},", span(ms.div_ceil(1000))),
            match then {
                Some(then) => format!("then: {then}."),
                None => "and are then reset or kept as `drain` of the service says.".to_owned(),
            },
        ),
        (None, Some(then)) => (
            format!("{open} may go on as `drain` of"),
            format!("the service says, then: {then}."),
        ),
    };
    let mut lines = vec![
        format!("{}   in service {}", real.address, service.name),
        String::new(),
        format!("New sessions stop now.  {lasts}"),
        then,
        format!(
            "What is left: {left} of {} real servers, weight {} of {}.",
            all.count(),
            exact(u64::from(weight_left)),
            exact(u64::from(weight))
        ),
    ];
    if stops {
        lines.push(format!(
            "NO REAL SERVER IS LEFT: {} refuses all new sessions.",
            service.name
        ));
    }
    lines.push("Undo with  e  at any time.".to_owned());
    let rung = if stops {
        Rung::Stops {
            object: service.name.clone(),
        }
    } else {
        Rung::Capacity {
            verb: "drain".to_owned(),
        }
    };
    let deed = Deed::Send {
        what: format!("drain of {}@{}", real.address, service.name),
        request,
        undo: Some(Request::Enable {
            service: service.name.clone(),
            real: real.address.clone(),
        }),
    };
    let title = "Drain real server".to_owned();
    Dialog::confirm(title, lines, rung, deed)
}

/// Gives a real server new sessions again: that takes nothing from anybody.
pub(crate) fn enable(
    model: &mut Model,
    service: &ServiceRow,
    real: &ServiceRealRow,
) -> Vec<Effect> {
    let request = Request::Enable {
        service: service.name.clone(),
        real: real.address.clone(),
    };
    let what = format!("enable of {}@{}", real.address, service.name);
    model.order(what, request, None)
}

/// Asks for the weight of a real server.
pub(crate) fn weight(
    model: &mut Model,
    service: &ServiceRow,
    real: &ServiceRealRow,
) -> Vec<Effect> {
    let all: u32 = service.reals.iter().map(|it| it.weight).sum();
    let by_command = real
        .by_command
        .iter()
        .any(|words| words.starts_with("has weight"));
    let lines = vec![
        format!("{}   in service {}", real.address, service.name),
        String::new(),
        format!("Its weight is {} of {all} of the service.", real.weight),
        "0 gives it no new sessions; default is what is configured.".to_owned(),
    ];
    let ask = Ask::Weight {
        service: service.name.clone(),
        real: real.address.clone(),
        now: real.weight,
        by_command,
    };
    let prompt = "Weight, 0 to 65535, or default:".to_owned();
    let title = "Weigh real server".to_owned();
    model.mode = Mode::Dialog(Box::new(Dialog::ask(title, lines, prompt, ask)));
    Vec::new()
}

/// Asks when a service is to answer SYNs with cookies.
pub(crate) fn synproxy(model: &mut Model, service: &str, now: &str) {
    let lines = vec![
        format!("SYNs of service {service} are answered with cookies: {now}."),
        String::new(),
        "always    every connection proves itself first".to_owned(),
        "adaptive  while there is a flood".to_owned(),
        "off       never: a flood reaches the real servers".to_owned(),
        "default   as configured".to_owned(),
        String::new(),
        "A time may follow, e.g. always for 10m.".to_owned(),
    ];
    let ask = Ask::Synproxy {
        service: service.to_owned(),
    };
    let title = "Override synproxy".to_owned();
    let prompt = "Mode:".to_owned();
    model.mode = Mode::Dialog(Box::new(Dialog::ask(title, lines, prompt, ask)));
}

/// Begins maintenance or ends it, as it is; ending it asks nothing.
pub(crate) fn maintenance(model: &mut Model) -> Vec<Effect> {
    let Some(status) = model.data.status.as_ref().map(|told| told.value.clone()) else {
        model.say(Tone::Warn, "the daemon did not say yet how it is");
        return Vec::new();
    };
    if status.maintenance {
        let request = Request::Maintenance { on: false };
        return model.order("end of maintenance", request, None);
    }
    begin_maintenance(model, &status);
    Vec::new()
}

/// Begins maintenance, where that is not so already: whoever types `on` never means `off`.
pub(crate) fn maintenance_on(model: &mut Model) {
    let Some(status) = model.data.status.as_ref().map(|told| told.value.clone()) else {
        model.say(Tone::Warn, "the daemon did not say yet how it is");
        return;
    };
    if status.maintenance {
        model.say(
            Tone::Warn,
            "maintenance has begun already; nothing was changed",
        );
    } else {
        begin_maintenance(model, &status);
    }
}

/// Asks before the appliance opens no new sessions.
fn begin_maintenance(model: &mut Model, status: &StatusRow) {
    let new = crate::units::rate_or_none(status.sessions_per_s);
    let lines = vec![
        format!("{} opens no new sessions from now on,", status.node),
        format!(
            "for all of its {} ({new} new sessions/s now).",
            plural(status.services, "service")
        ),
        format!("{} go on.", plural(status.sessions, "open session")),
        "m  ends it at any time.".to_owned(),
    ];
    let deed = Deed::Send {
        what: "maintenance".to_owned(),
        request: Request::Maintenance { on: true },
        undo: Some(Request::Maintenance { on: false }),
    };
    // An empty word would be typed by Enter alone.
    let object = match status.node.as_str() {
        "" => "maintenance".to_owned(),
        name => name.to_owned(),
    };
    let rung = Rung::Stops { object };
    let title = "Begin maintenance".to_owned();
    model.mode = Mode::Dialog(Box::new(Dialog::confirm(title, lines, rung, deed)));
}

/// Asks an operator who fell back whether that person is there.
pub(crate) fn be_operator(model: &mut Model) {
    let lines = vec![
        "Nobody touched a key for 10 minutes, so this console".to_owned(),
        "only views. Nothing was changed.".to_owned(),
    ];
    let rung = Rung::Capacity {
        verb: "operator".to_owned(),
    };
    let title = "Be an operator again".to_owned();
    let dialog = Dialog::confirm(title, lines, rung, Deed::BeOperator);
    model.mode = Mode::Dialog(Box::new(dialog));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_may_have_a_time() {
        assert_eq!(mode("always"), Ok((ModeWish::Always, None)));
        assert_eq!(mode("off for 90s"), Ok((ModeWish::Off, Some(90_000))));
        assert_eq!(mode("always 2h"), Ok((ModeWish::Always, Some(7_200_000))));
        for wrong in [
            "",
            "on",
            "always for",
            "always for ever",
            "always for 10m x",
            "off 0s",
        ] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}
