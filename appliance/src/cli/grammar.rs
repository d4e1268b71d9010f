//! The grammar of `weir` for the console's command line: the same words, read by the same reader.

use std::ffi::OsString;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use weir_console::{CAPTURE_SECONDS, Command, Grammar};
use weir_control::{CaptureOrder, Filter, Question, Request};

use super::arguments::{Arguments, ByCommand, CaptureArguments, Denial, ShowArguments, Turn, Verb};
use crate::overrides;

/// Words that leave the console.
const LEAVE: [&str; 3] = ["quit", "exit", "q"];

/// What stands for the file of a capture.
const NO_FILE: &str = "--write=-";

/// Returns the grammar.
pub(super) fn grammar() -> Grammar {
    Grammar::new(Arc::new(read), Arc::new(words))
}

fn read(words: &[String]) -> Result<Command, String> {
    if let [word] = words
        && LEAVE.contains(&word.as_str())
    {
        return Ok(Command::Leave);
    }
    // The console names the file of a capture itself.
    let file = words.first().is_some_and(|verb| verb == "capture");
    let file = file.then_some(NO_FILE);
    let all = ["weir"].into_iter().chain(words.iter().map(String::as_str));
    let all = super::words::with_for(all.chain(file).map(OsString::from).collect());
    let arguments = Arguments::try_parse_from(all).map_err(|error| first_line(&error))?;
    command(arguments.verb)
}

/// A line of the screen is all the room there is.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it is not understood").trim();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let mut tips = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: a similar "));
    match tips.next().and_then(|tip| tip.split('\'').nth(1)) {
        Some(near) => format!("{line}; did you mean `{near}`?"),
        None => line.to_owned(),
    }
}

fn command(verb: Verb) -> Result<Command, String> {
    Ok(match verb {
        Verb::Show(show) => match show.misplaced() {
            Some(sentence) => return Err(sentence),
            None => shown(show),
        },
        Verb::Drain {
            real,
            deadline,
            then,
            ..
        } => Command::Ask(
            format!("drain of {}@{}", real.real, real.service),
            Request::Drain {
                service: real.service,
                real: real.real,
                deadline_ms: deadline.map(milliseconds),
                then,
            },
        ),
        Verb::Enable { real, .. } => Command::Ask(
            format!("enable of {}@{}", real.real, real.service),
            Request::Enable {
                service: real.service,
                real: real.real,
            },
        ),
        Verb::Weight {
            real,
            weight: ByCommand(weight),
            ..
        } => Command::Ask(
            format!("weight of {}@{}", real.real, real.service),
            Request::Weight {
                service: real.service,
                real: real.real,
                weight,
            },
        ),
        Verb::Maintenance { turn, .. } => Command::Ask(
            "maintenance".to_owned(),
            Request::Maintenance {
                on: turn == Turn::On,
            },
        ),
        Verb::Synproxy {
            service,
            mode,
            span,
            ..
        } => Command::Ask(
            format!("synproxy of {service}"),
            Request::Synproxy {
                service,
                mode: mode.wish(),
                for_ms: overrides::span(&span)?.map(milliseconds),
            },
        ),
        Verb::Deny { turn } => denied(turn),
        Verb::Confirm { .. } => Command::Ask("confirm".to_owned(), Request::Confirm {}),
        Verb::Rollback { generation, .. } => {
            Command::Ask("rollback".to_owned(), Request::Rollback { generation })
        }
        Verb::Capture(capture) => captured(capture)?,
        Verb::Doctor(_) => Command::Ask("doctor".to_owned(), Request::Doctor {}),
        Verb::Explain(explain) => {
            let words = explain.words.iter().map(String::as_str);
            let question = Question::from_words(words, explain.flags);
            let question = question.map_err(|error| error.to_string())?;
            Command::Ask("explain".to_owned(), Request::Explain(question))
        }
        // What reads or writes files, or runs long, has no place on somebody's console.
        Verb::Run { .. } => return Err(not_here("run")),
        Verb::Check { .. } => return Err(not_here("check")),
        Verb::Diff { .. } => return Err(not_here("diff")),
        Verb::Apply { .. } => return Err(not_here("apply")),
        Verb::Support { .. } => return Err(not_here("support")),
        Verb::Console(_) => return Err(not_here("console")),
        Verb::Bench(_) => return Err(not_here("bench")),
        Verb::Import(_) => return Err(not_here("import")),
        Verb::Ipvsadm { .. } => return Err(not_here("ipvsadm")),
        Verb::Completion { .. } => return Err(not_here("completion")),
        Verb::Appliance(_) => return Err("it is for the shell of the appliance".to_owned()),
        Verb::Help { .. } => return Err("? is the help of the console".to_owned()),
    })
}

fn shown(show: ShowArguments) -> Command {
    let what = show.what.what();
    let filter = Filter {
        service: show.service,
        client: show.client,
        seconds: show.span.map(|span| span.as_secs()),
        ..Filter::default()
    };
    Command::Show(what, Request::Show { what, filter })
}

fn denied(turn: Denial) -> Command {
    match turn {
        Denial::Add { network, span, .. } => Command::Ask(
            format!("denial of {network}"),
            Request::Deny {
                network,
                on: true,
                for_ms: span.map(milliseconds),
            },
        ),
        Denial::Remove { network, .. } => Command::Ask(
            format!("end of the denial of {network}"),
            Request::Deny {
                network,
                on: false,
                for_ms: None,
            },
        ),
        Denial::List { .. } => {
            let what = weir_control::What::Overrides;
            let filter = Filter::default();
            Command::Show(what, Request::Show { what, filter })
        }
    }
}

fn captured(capture: CaptureArguments) -> Result<Command, String> {
    if capture.seconds > CAPTURE_SECONDS {
        return Err(format!(
            "a capture of the console takes {CAPTURE_SECONDS} s at most; `weir capture` in a shell has more"
        ));
    }
    let what = match (&capture.service, capture.client) {
        (_, Some(client)) => format!("capture of client {client}"),
        (Some(service), None) => format!("capture of service {service}"),
        (None, None) => "capture of all frames".to_owned(),
    };
    let order = CaptureOrder {
        service: capture.service,
        client: capture.client,
        dropped: capture.dropped,
        limit: capture.limit,
        seconds: capture.seconds,
    };
    Ok(Command::Ask(what, Request::Capture(order)))
}

fn milliseconds(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn not_here(verb: &str) -> String {
    format!("`weir {verb}` is for a shell, not for the console")
}

/// Verbs that the console understands, in the order of the alphabet.
const VERBS: [&str; 14] = [
    "capture",
    "confirm",
    "deny",
    "doctor",
    "drain",
    "enable",
    "explain",
    "maintenance",
    "quit",
    "rollback",
    "show",
    "synproxy",
    "weight",
    "exit",
];

/// Returns the words that may stand behind others: verbs, nouns, options.
fn words(before: &[String]) -> Vec<String> {
    let Some((verb, rest)) = before.split_first() else {
        return VERBS.iter().map(|verb| (*verb).to_owned()).collect();
    };
    let whole = Arguments::command();
    let Some(mut at) = whole.find_subcommand(verb) else {
        return Vec::new();
    };
    let mut place = 0;
    for word in rest {
        match at.find_subcommand(word) {
            Some(below) => at = below,
            None if word.starts_with('-') => {}
            None => place += 1,
        }
    }
    let mut words: Vec<String> = at
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    if let Some(argument) = at.get_positionals().nth(place) {
        let values = argument.get_possible_values();
        words.extend(values.iter().map(|value| value.get_name().to_owned()));
    }
    let options = at.get_arguments().filter_map(clap::Arg::get_long);
    // Where it listens and in which form it answers is settled here.
    let options =
        options.filter(|name| !["socket", "json", "watch", "help", "write"].contains(name));
    words.extend(options.map(|name| format!("--{name}")));
    words
}

#[cfg(test)]
mod tests {
    use weir_control::{ModeWish, What};

    use super::*;

    fn line(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_is_read_as_the_shell_would() {
        let drain = read(&line("drain 10.0.1.11:443@web --deadline 5m --then keep")).unwrap();
        let request = Request::Drain {
            service: "web".to_owned(),
            real: "10.0.1.11:443".to_owned(),
            deadline_ms: Some(300_000),
            then: Some("keep".to_owned()),
        };
        let what = "drain of 10.0.1.11:443@web".to_owned();
        assert_eq!(drain, Command::Ask(what, request));
        let synproxy = read(&line("synproxy web always for 10m")).unwrap();
        let request = Request::Synproxy {
            service: "web".to_owned(),
            mode: ModeWish::Always,
            for_ms: Some(600_000),
        };
        let what = "synproxy of web".to_owned();
        assert_eq!(synproxy, Command::Ask(what, request));
        let Ok(Command::Show(What::History, Request::Show { filter, .. })) =
            read(&line("show history --span 1h"))
        else {
            panic!("not the history");
        };
        assert_eq!(filter.seconds, Some(3600));
        assert_eq!(read(&line("quit")), Ok(Command::Leave));
    }

    #[test]
    fn a_capture_needs_no_file_and_is_short() {
        let read = |text: &str| read(&line(text));
        let order = CaptureOrder {
            service: Some("web".to_owned()),
            dropped: Some("any".to_owned()),
            limit: 10_000,
            seconds: 5,
            ..CaptureOrder::default()
        };
        let what = "capture of service web".to_owned();
        let expected = Command::Ask(what, Request::Capture(order));
        let typed = "capture --service web --seconds 5 --dropped";
        assert_eq!(read(typed), Ok(expected));
        assert!(read("capture --seconds 61").unwrap_err().contains("60 s"));
        assert!(read("capture -w /etc/passwd").is_err());
        assert!(!words(&line("capture")).contains(&"--write".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        for (text, part) in [
            ("drian", "'drian'; did you mean `drain`?"),
            ("drain", "required"),
            ("show", "WHAT"),
            ("run", "for a shell"),
            ("synproxy web always for ever", "ever"),
            ("show ports --service web", "--service"),
        ] {
            let error = read(&line(text)).unwrap_err();
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(
                error.contains(part) || text == "show" || text == "drain",
                "{error}"
            );
        }
    }

    #[test]
    fn verbs_nouns_and_options_are_offered() {
        assert!(words(&[]).contains(&"drain".to_owned()));
        assert!(words(&line("show")).contains(&"services".to_owned()));
        assert!(words(&line("drain a@b")).contains(&"--deadline".to_owned()));
        assert!(words(&line("deny")).contains(&"add".to_owned()));
        assert_eq!(words(&line("nonsense")), Vec::<String>::new());
        for verb in VERBS.iter().filter(|verb| !LEAVE.contains(verb)) {
            assert!(
                Arguments::command().find_subcommand(verb).is_some(),
                "{verb}"
            );
        }
    }
}
