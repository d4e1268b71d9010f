//! The words of a command line before and after clap: their order, and what is wrong with them in one
//! sentence.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;

/// The option that every command that asks the daemon has.
const SOCKET: &str = "--socket";

/// Moves `--socket PATH` behind the command when it stands before it.
pub(super) fn ordered(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let Some(first) = words.get(1) else {
        return words;
    };
    let count = if first == SOCKET {
        2
    } else if first.as_encoded_bytes().starts_with(b"--socket=") {
        1
    } else {
        return words;
    };
    if words.len() > 1 + count {
        // The command comes first; what belongs to it stays behind.
        words
            .get_mut(1..2 + count)
            .into_iter()
            .for_each(|it| it.rotate_right(1));
    }
    words
}

/// Takes `for 10m` and `--for 10m` for the same: one command has the one, another the other, and
/// nobody remembers which.
pub(super) fn with_for(mut words: Vec<OsString>) -> Vec<OsString> {
    let (said, meant) = match words.get(1).and_then(|verb| verb.to_str()) {
        Some("synproxy") => ("--for", "for"),
        Some("deny") => ("for", "--for"),
        Some(_) | None => return words,
    };
    for word in words.iter_mut().skip(2) {
        if word == said {
            *word = meant.into();
        }
    }
    words
}

/// Returns the sentence for a command line that cannot be read, with what to try next; none for what
/// is no mistake, and for no words at all.
pub(super) fn sentence(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let kind = error.kind();
    if !error.use_stderr() || kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let verb = words.get(1).and_then(|word| word.to_str());
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n");
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = one_line(paragraphs.next()?);
    let mut sentence = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    for paragraph in paragraphs {
        let paragraph = one_line(paragraph);
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            sentence = format!("{sentence}; {tip}");
        }
        let usage = paragraph.strip_prefix("Usage: ");
        if let (Some(usage), ErrorKind::MissingRequiredArgument) = (usage, kind) {
            sentence = format!("{sentence}; usage: {usage}");
        }
    }
    // Where the word behind `deny` is none, the list of commands is no help.
    let is_unknown =
        |verb: &str| kind == ErrorKind::InvalidSubcommand && first.ends_with(&format!("'{verb}'"));
    let known = verb.filter(|verb| !is_unknown(verb) && !verb.starts_with('-'));
    Some(match known {
        Some(verb) => format!("{sentence}; `weir {verb} --help` says more"),
        None => format!("{sentence}; `weir help` lists the commands"),
    })
}

/// Says whether the program was called by another name.
pub(super) fn is_called(name: &OsStr, other: &str) -> bool {
    std::path::Path::new(name).file_name() == Some(OsStr::new(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> String {
        let words = ordered(line.split(' ').map(OsString::from));
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        words.join(" ")
    }

    #[test]
    fn how_long_may_be_said_with_dashes_and_without() {
        for (line, expected) in [
            (
                "weir synproxy web always --for 10m",
                "weir synproxy web always for 10m",
            ),
            (
                "weir synproxy web always for 10m",
                "weir synproxy web always for 10m",
            ),
            (
                "weir deny add 192.0.2.9 for 10m",
                "weir deny add 192.0.2.9 --for 10m",
            ),
            ("weir drain for@web", "weir drain for@web"),
        ] {
            let words = with_for(line.split(' ').map(OsString::from).collect());
            let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
            assert_eq!(words.join(" "), expected);
        }
    }

    #[test]
    fn the_socket_may_stand_before_the_command() {
        for (line, expected) in [
            (
                "weir --socket /x show ports --json",
                "weir show --socket /x ports --json",
            ),
            ("weir --socket=/x show ports", "weir show --socket=/x ports"),
            (
                "weir --socket /x ipvsadm -ln",
                "weir ipvsadm --socket /x -ln",
            ),
            ("weir show ports --socket /x", "weir show ports --socket /x"),
            ("weir --socket /x", "weir --socket /x"),
            ("weir", "weir"),
        ] {
            assert_eq!(order(line), expected);
        }
    }
}
