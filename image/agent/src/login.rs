//! What SSH runs for whoever logs in: the console, or one verb of the role.
//!
//! There is no shell behind it. The words of the command are split here, checked here word by word,
//! and given to this same program; files are the standard input and output only, and of the
//! environment nothing is left but what is made here.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, getuid};
use weir_control::{Login, Role};

use crate::protocol::role_named;

pub(crate) mod watch;

mod unread;
mod verbs;

pub(crate) use verbs::decide;

/// The account of viewers; it never gets more, whatever its key's line says.
const VIEWER: Uid = Uid::from_raw(201);
/// The program itself.
const PROGRAM: &str = "/usr/bin/weir";
/// The longest command.
const LONGEST: usize = 16 * 1024;
/// Bad input.
const BAD_INPUT: u8 = 2;

/// As whom somebody is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) role: Role,
    pub(crate) name: Option<Login>,
}

impl Person {
    /// Reads the words behind `weir agent login`.
    pub(crate) fn of(role: &str, name: Option<&str>) -> Option<Self> {
        let name = name.map(|name| Login::try_from(name.to_owned()));
        Some(Self {
            role: role_named(role)?,
            name: name.transpose().ok()?,
        })
    }

    /// Reads the line that a key has in front of it; none for any other.
    fn of_forced(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let head = [PROGRAM, "agent", "login"];
        if !head.iter().all(|word| words.next() == Some(word)) {
            return None;
        }
        let person = Self::of(words.next()?, words.next());
        person.filter(|_| words.next().is_none())
    }
}

/// Lets in whom the line of a key names.
pub(crate) fn forced(role: Role, name: Option<&str>) -> ExitCode {
    match Person::of(role.name(), name) {
        Some(person) => enter(&person),
        None => refuse("the name of the key is none"),
    }
}

/// Does what SSH wants of the login shell: `weir-login -c LINE`, and nothing else.
#[must_use]
pub(crate) fn shell(words: &[OsString]) -> ExitCode {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let person = match words.as_deref() {
        Some(["-c", line]) => Person::of_forced(line),
        // Somebody came in without a key's line: only to look.
        Some([]) => Some(Person {
            role: Role::Viewer,
            name: None,
        }),
        Some(_) | None => None,
    };
    match person {
        Some(person) => enter(&person),
        None => refuse("this account runs `weir` only"),
    }
}

/// Runs what the person asks for in place of this process.
pub(crate) fn enter(person: &Person) -> ExitCode {
    let role = if getuid() == VIEWER {
        Role::Viewer
    } else {
        person.role
    };
    let asked = match std::env::var_os("SSH_ORIGINAL_COMMAND").map(OsString::into_string) {
        None => None,
        Some(Ok(line)) => Some(line),
        Some(Err(_)) => return refuse("the command is not text"),
    };
    let words = match decide(role, asked.as_deref()) {
        Ok(words) => words,
        Err(sentence) => return refuse(&sentence),
    };
    if words == ["restart"] && unread::is_configuration() {
        return refuse(
            "`restart` alone does not read the configuration on its standard input, and nothing was \
             done; `restart -` does",
        );
    }
    umask(Mode::from_bits_truncate(0o077));
    let kept = |name: &str| std::env::var(name).ok();
    let error = Command::new(PROGRAM)
        .args(&words)
        .env_clear()
        .envs(environment(person.name.as_ref(), kept))
        .current_dir("/")
        .exec();
    refuse(&format!("{PROGRAM}: {error}"))
}

fn refuse(sentence: &str) -> ExitCode {
    eprintln!("weir: {sentence}");
    ExitCode::from(BAD_INPUT)
}

/// Returns the whole environment of what is run.
fn environment(
    name: Option<&Login>,
    kept: impl Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String)> {
    let mut made = vec![
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("HOME", "/".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
    ];
    let is_term = |c: char| c.is_ascii_alphanumeric() || "-+._".contains(c);
    let term = kept("TERM").filter(|term| {
        (1..=32).contains(&term.len()) && !term.starts_with('.') && term.chars().all(is_term)
    });
    made.push(("TERM", term.unwrap_or_else(|| "dumb".to_owned())));
    let is_connection = |c: char| c.is_ascii_hexdigit() || " .:%".contains(c);
    let connection =
        kept("SSH_CONNECTION").filter(|text| text.len() <= 128 && text.chars().all(is_connection));
    made.extend(connection.map(|connection| ("SSH_CONNECTION", connection)));
    made.extend(name.map(|name| ("WEIR_OPERATOR", name.to_string())));
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_a_key_opens() {
        let alice = Person::of_forced("/usr/bin/weir agent login operator alice").unwrap();
        assert_eq!(alice.role, Role::Operator);
        assert_eq!(alice.name.unwrap().to_string(), "alice");
        for line in [
            "",
            "sh",
            "/usr/bin/weir agent login root alice",
            "/usr/bin/weir agent login operator alice bob",
            "/usr/bin/weir agent login operator  alice",
            "/usr/bin/weir agent login operator a;b",
            "/usr/bin/weir agent login",
            "/usr/bin/weir agent",
            "/usr/bin/weir run",
            "/bin/sh -c id",
            "weir agent login operator alice",
        ] {
            assert_eq!(Person::of_forced(line), None, "{line}");
        }
    }

    #[test]
    fn of_the_environment_nothing_is_left_but_what_is_known() {
        let given = [
            ("TERM", "xterm-256color"),
            ("LD_PRELOAD", "/tmp/evil.so"),
            ("WEIR_SOCKET", "/tmp/evil.sock"),
            ("WEIR_OPERATOR", "mallory"),
            ("SSH_CONNECTION", "192.0.2.1 50022 192.0.2.2 22"),
            ("STATE_DIRECTORY", "/tmp"),
        ];
        let kept = |name: &str| {
            let found = given.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let alice = Login::try_from("alice".to_owned()).unwrap();
        let made = environment(Some(&alice), kept);
        let names: Vec<&str> = made.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "PATH",
                "HOME",
                "LANG",
                "TERM",
                "SSH_CONNECTION",
                "WEIR_OPERATOR"
            ]
        );
        assert_eq!(made.last().unwrap().1, "alice");
        assert_eq!(environment(None, kept).len(), 5);
    }

    #[test]
    fn a_terminal_or_a_connection_that_is_none_is_dropped() {
        for term in ["", "../../etc/passwd", "x\u{1b}[2J", &"x".repeat(33)] {
            let made = environment(None, |name| (name == "TERM").then(|| term.to_owned()));
            assert_eq!(made.last(), Some(&("TERM", "dumb".to_owned())), "{term}");
        }
        let made = environment(None, |name| {
            (name == "SSH_CONNECTION").then(|| "$(reboot) 1 2 3".to_owned())
        });
        assert!(made.iter().all(|(name, _)| *name != "SSH_CONNECTION"));
    }
}
