//! The confirmation ladder: what can be undone is done, what takes capacity asks for its verb, what
//! stops something asks for the object's name.

pub(crate) mod defence;
pub(crate) mod real;

use weir_control::{Request, StatusRow};

use crate::model::dialog::{Ask, Deed, Dialog, Rung};
use crate::model::{Effect, Mode, Model, Tone};
use crate::term::input::Key;
use crate::units::plural;
use crate::update;

/// How long a configuration is tried where nobody says.
const TRIAL_MS: u64 = 120_000;

/// What comes of a value that was typed.
enum Next {
    /// A request, and what it is as a person says it.
    Send { what: String, request: Request },
    /// Another question.
    Question(Box<Dialog>),
}

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
    if let Some(mut anew) = anew {
        anew.error = Some("that changed meanwhile; nothing is changed yet".to_owned());
        model.question(anew);
        return Vec::new();
    }
    let (deed, seen) = (dialog.deed.clone(), dialog.seen);
    let next = match deed {
        Deed::Send { what, request } => Ok(Next::Send { what, request }),
        Deed::Ask(ask) => asked(model, &ask, typed),
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
    match next {
        Ok(Next::Send { what, request }) => {
            model.mode = Mode::Screen;
            // The role may have gone while the question stood there.
            if let Err(reason) = model.role() {
                model.say(Tone::Warn, format!("{what}: {reason}"));
                return Vec::new();
            }
            model.order_for(seen, what, request)
        }
        Ok(Next::Question(question)) => {
            model.question(*question);
            defence::count(model)
        }
        Err(sentence) => {
            if let Mode::Dialog(dialog) = &mut model.mode {
                dialog.error = Some(sentence);
            }
            Vec::new()
        }
    }
}

/// Returns the question as it is asked now, where what was asked costs more or less than it did
/// then: the last real server that is left is not drained for the word of one of three.
fn asked_anew(model: &Model) -> Option<Dialog> {
    let Mode::Dialog(dialog) = &model.mode else {
        return None;
    };
    let Deed::Send { request, .. } = &dialog.deed else {
        return None;
    };
    let anew = real::question(model, request)?;
    (anew.rung != dialog.rung).then_some(anew)
}

/// Makes a request of a value that was typed, or asks once more where that costs much.
fn asked(model: &Model, ask: &Ask, typed: &str) -> Result<Next, String> {
    match ask {
        Ask::Weight { service, real } => {
            let request = Request::Weight {
                service: service.clone(),
                real: real.clone(),
                weight: real::read_weight(typed)?,
            };
            if let Some(question) = real::question(model, &request) {
                return Ok(Next::Question(Box::new(question)));
            }
            let what = format!("weight of {real}@{service}");
            Ok(Next::Send { what, request })
        }
        Ask::Synproxy { service } => {
            let (mode, for_ms) = defence::mode(typed)?;
            let request = Request::Synproxy {
                service: service.clone(),
                mode,
                for_ms,
            };
            let what = format!("synproxy of {service}");
            Ok(Next::Send { what, request })
        }
        Ask::Deny { choices } => defence::denied(choices, typed),
        Ask::Capture { order, of } => defence::captured(order, of, typed),
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
            let what = "apply of the candidate".to_owned();
            Ok(Next::Send { what, request })
        }
    }
}

/// Asks before something that was typed is done, where it costs something; none where it does not.
pub(crate) fn before(model: &mut Model, request: &Request) -> Option<Vec<Effect>> {
    let question = if let Request::Deny {
        network, on: true, ..
    } = request
    {
        let network = defence::network_of(network);
        network.map(|network| defence::deny_question(request.clone(), network))
    } else {
        real::question(model, request)
    };
    model.question(question?);
    Some(defence::count(model))
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

/// Begins maintenance or ends it, as it is; ending it asks nothing.
pub(crate) fn maintenance(model: &mut Model) -> Vec<Effect> {
    let Some(status) = model.data.status.as_ref().map(|told| told.value.clone()) else {
        model.say(Tone::Warn, "the daemon did not say yet how it is");
        return Vec::new();
    };
    if status.maintenance {
        let request = Request::Maintenance { on: false };
        return model.order("end of maintenance", request);
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
    };
    // An empty word would be typed by Enter alone.
    let object = match status.node.as_str() {
        "" => "maintenance".to_owned(),
        name => name.to_owned(),
    };
    let rung = Rung::Stops { object };
    model.question(Dialog::confirm("Begin maintenance", lines, rung, deed));
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
    let deed = Deed::BeOperator;
    model.question(Dialog::confirm("Be an operator again", lines, rung, deed));
}
