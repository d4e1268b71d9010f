//! The command line: what `weir` understands, with the names that the daemon knows.

use weir_control::{Request, Role, What};

use crate::grammar::{Command, split};
use crate::model::dialog::{Deed, Dialog, Rung};
use crate::model::editline::EditLine;
use crate::model::screen::ScreenId;
use crate::model::undo;
use crate::model::{Effect, Mode, Model, Tone};
use crate::term::input::Key;
use crate::update::dialog;

/// How many commands are remembered.
const REMEMBERED: usize = 50;

/// Takes a key of the command line.
pub(crate) fn key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Mode::Command(line) = &mut model.mode else {
        return Vec::new();
    };
    if line.ends(key) {
        model.mode = Mode::Screen;
    } else if key == Key::Enter {
        let text = line.text();
        model.mode = Mode::Screen;
        return run(model, text.trim());
    } else if key == Key::Tab {
        complete(model);
    } else if matches!(key, Key::Up | Key::Down) {
        recall(model, key == Key::Up);
    } else {
        line.key(key);
    }
    Vec::new()
}

fn run(model: &mut Model, text: &str) -> Vec<Effect> {
    if text.is_empty() {
        return Vec::new();
    }
    if model.commands.last().is_none_or(|last| last != text) {
        model.commands.push(text.to_owned());
        let more = model.commands.len().saturating_sub(REMEMBERED);
        model.commands.drain(..more);
    }
    let command = match model.grammar.read(text) {
        Ok(command) => command,
        Err(sentence) => {
            // What was typed is not typed twice because of a letter.
            model.mode = Mode::Command(EditLine::with(text));
            model.say(Tone::Bad, sentence);
            return Vec::new();
        }
    };
    match command {
        Command::Leave => vec![Effect::Leave],
        Command::Show(what, request) => show(model, what, request),
        Command::Ask(what, request) => ask(model, what, request),
    }
}

/// What has a screen is shown there, unless something of it is asked for.
fn show(model: &mut Model, what: What, request: Request) -> Vec<Effect> {
    let narrowed = matches!(&request, Request::Show { filter, .. } if !filter.is_everything());
    let screen = match what {
        What::Services => ScreenId::Services,
        What::Pools => ScreenId::Pools,
        What::Flood => ScreenId::Flood,
        What::Sessions => ScreenId::Sessions,
        What::Ports | What::Workers | What::Ledger => ScreenId::Ports,
        What::Events => ScreenId::Events,
        What::Config => ScreenId::Config,
        What::Health
        | What::Syslog
        | What::Generations
        | What::History
        | What::Overrides
        | What::Status => return model.print(format!("show {}", what.name()), request),
    };
    if narrowed {
        return model.print(format!("show {}", what.name()), request);
    }
    super::go(model, screen);
    Vec::new()
}

/// Asks the daemon, and asks the operator first where the ladder wants it.
fn ask(model: &mut Model, what: String, request: Request) -> Vec<Effect> {
    if request.needs() == Role::Viewer {
        return model.print(what, request);
    }
    if let Err(reason) = model.role() {
        if model.fell_back {
            dialog::be_operator(model);
        } else {
            model.say(Tone::Warn, format!("{what}: {reason}"));
        }
        return Vec::new();
    }
    if let Some(effects) = dialog::before(model, &request) {
        return effects;
    }
    let rung = match &request {
        // The real server is not known here, or the prefix is none.
        Request::Drain { .. } => Rung::Capacity {
            verb: "drain".to_owned(),
        },
        Request::Deny { on: true, .. } => Rung::Capacity {
            verb: "deny".to_owned(),
        },
        Request::Rollback { .. } => Rung::Stops {
            object: "rollback".to_owned(),
        },
        Request::Maintenance { on: true } => {
            dialog::maintenance_on(model);
            return Vec::new();
        }
        Request::Show { .. }
        | Request::Hello(_)
        | Request::Explain(_)
        | Request::Doctor {}
        | Request::Apply { .. }
        | Request::Diff { .. }
        | Request::Capture(_)
        | Request::Confirm {}
        | Request::Maintenance { on: false }
        | Request::Synproxy { .. }
        | Request::Deny { on: false, .. }
        | Request::Enable { .. }
        | Request::Weight { .. }
        | Request::Draining { .. }
        | Request::Tell(_) => return model.order(what, request),
    };
    let mut lines = vec![what.clone(), String::new()];
    lines.push(match undo::of(model, &request) {
        Some(_) => "Undo with  u  once it is done.".to_owned(),
        None => "It cannot be undone with a key.".to_owned(),
    });
    let deed = Deed::Send { what, request };
    model.question(Dialog::confirm("Are you sure?", lines, rung, deed));
    Vec::new()
}

/// Completes the last word as far as it is plain, and tells what it can be.
fn complete(model: &mut Model) {
    let Mode::Command(line) = &model.mode else {
        return;
    };
    let text = line.text();
    let mut before = split(&text);
    let last = if text.ends_with(char::is_whitespace) || text.is_empty() {
        String::new()
    } else {
        before.pop().unwrap_or_default()
    };
    let mut all = model.grammar.words(&before);
    all.extend(names(model, &before));
    all.retain(|word| word.starts_with(&last));
    all.sort();
    all.dedup();
    let common = common(&all);
    let more = common.strip_prefix(&last).unwrap_or_default().to_owned();
    let end = if all.len() == 1 { " " } else { "" };
    if let Mode::Command(line) = &mut model.mode {
        line.key(Key::End);
        line.insert(&format!("{more}{end}"));
    }
    match all.as_slice() {
        [] => model.say(Tone::Warn, "nothing is known that could stand here"),
        [_] => model.toast = None,
        many if more.is_empty() => {
            let words = many.join("  ");
            model.say(Tone::Good, words);
        }
        _ => {}
    }
}

/// The names of services and real servers, where a verb takes them.
fn names(model: &Model, before: &[String]) -> Vec<String> {
    let Some(told) = &model.data.services else {
        return Vec::new();
    };
    let services = told.value.iter();
    match before {
        [verb] if ["drain", "enable", "weight"].contains(&verb.as_str()) => services
            .flat_map(|service| {
                let reals = service.reals.iter();
                reals.map(|real| format!("{}@{}", real.address, service.name))
            })
            .collect(),
        [verb] if verb == "synproxy" => services.map(|service| service.name.clone()).collect(),
        [.., option] if option == "--service" => {
            services.map(|service| service.name.clone()).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns how all of them begin.
fn common(words: &[String]) -> String {
    let Some((first, rest)) = words.split_first() else {
        return String::new();
    };
    let mut length = first.len();
    for word in rest {
        let same = first.bytes().zip(word.bytes()).take_while(|(a, b)| a == b);
        length = length.min(same.count());
    }
    first.get(..length).unwrap_or_default().to_owned()
}

/// Brings back what was typed before.
fn recall(model: &mut Model, older: bool) {
    let Mode::Command(line) = &mut model.mode else {
        return;
    };
    let text = line.text();
    let at = model.commands.iter().rposition(|command| *command == text);
    let at = match (at, older) {
        (None, true) => model.commands.len().checked_sub(1),
        (Some(at), true) => at.checked_sub(1).or(Some(0)),
        (Some(at), false) => Some(at + 1),
        (None, false) => None,
    };
    let text = at.and_then(|at| model.commands.get(at));
    *line = EditLine::with(text.map_or("", String::as_str));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_as_far_as_they_agree() {
        let words = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        assert_eq!(common(&words(&["drain", "draining"])), "drain");
        assert_eq!(common(&words(&["drain", "show"])), "");
        assert_eq!(common(&words(&["show"])), "show");
        assert_eq!(common(&[]), "");
    }
}
