//! The verbs of the command line that only the appliance has.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use weir_control::Role;

use crate::login;
use crate::protocol::{BoxRow, KeyRow, Request};
use crate::socket::client::{self, Failure};
use crate::tty;

/// Done.
const DONE: u8 = 0;
/// It failed.
const FAILED: u8 = 1;
/// What was given is wrong.
const BAD_INPUT: u8 = 2;
/// Standard input or output.
const DASH: &str = "-";
/// No key and no secret is longer.
const LINE_LIMIT: u64 = 16 * 1024;

/// What only the appliance can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Keeps the appliance running: network, daemon, SSH, clock, watchdog.
    #[command(hide = true)]
    Agent {
        /// What else it is asked to be.
        #[command(subcommand)]
        part: Option<Part>,
    },
    /// Shows the appliance image: version, slots, data partition, logins.
    Box {
        /// Writes JSON, as programs may rely on it.
        #[arg(long)]
        json: bool,
    },
    /// Writes an update to the other slot and starts it once on trial; it stays where it proves
    /// healthy.
    Update {
        /// The update file; `-` is the standard input.
        #[arg(value_name = "FILE", required_unless_present = "rollback")]
        file: Option<PathBuf>,
        /// Takes a version that is older than the one that runs, too.
        #[arg(long)]
        older: bool,
        /// Starts the other slot as it is, with its own configuration.
        #[arg(long, conflicts_with_all = ["file", "older"])]
        rollback: bool,
    },
    /// Says who may log in to the appliance by SSH.
    Key {
        /// What is done.
        #[command(subcommand)]
        turn: KeyTurn,
    },
    /// Sets the secret of the local consoles; reads it from the standard input.
    Secret,
    /// Writes configuration, keys and secrets of the appliance into one file. Keep it safe.
    Backup {
        /// The file, which must not exist yet; `-` is the standard output.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Takes a backup, all of it or nothing, and starts the appliance again.
    Restore {
        /// The file; `-` is the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Makes the appliance as it was delivered: no configuration, no keys, no secret.
    FactoryReset {
        /// The name of the appliance, typed by whoever means it.
        #[arg(value_name = "NAME")]
        node: String,
    },
    /// Starts the daemon again, which ends its sessions: for what `weir apply` cannot change.
    Restart {
        /// The configuration that it is to run on; `-` is the standard input.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Starts the appliance again.
    Reboot,
    /// Turns the appliance off.
    Poweroff,
}

/// What init and SSH run.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Has the agent end everything in order, for init at the end of the box.
    Stop,
    /// A local console: screen or serial line.
    Tty,
    /// What whoever logs in by SSH gets; also when called `weir-login`.
    Login {
        /// As whom: `operator` or `viewer`.
        #[arg(default_value = "viewer")]
        role: RoleWord,
        /// The name of the key.
        name: Option<String>,
    },
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyTurn {
    /// Lets somebody in.
    Add {
        /// As whom.
        role: RoleWord,
        /// The public key, as in `id_ed25519.pub`; `-` or nothing reads it from the standard input.
        #[arg(value_name = "KEY")]
        key: Vec<String>,
    },
    /// Lets somebody in no longer.
    Remove {
        /// As whom.
        role: RoleWord,
        /// The name of the key, or its fingerprint.
        #[arg(value_name = "NAME")]
        key: String,
        /// Also the last key of an operator: then only the local consoles are left.
        #[arg(long)]
        last: bool,
    },
    /// Shows who may log in.
    List {
        /// Writes JSON, as programs may rely on it.
        #[arg(long)]
        json: bool,
    },
}

/// A role on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// Reads and changes.
    Operator,
    /// Reads.
    Viewer,
}

impl RoleWord {
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Operator => Role::Operator,
            Self::Viewer => Role::Viewer,
        }
    }
}

/// Does what SSH wants of the login shell `weir-login`, and nothing else.
#[must_use]
pub fn login_shell(words: &[OsString]) -> ExitCode {
    login::shell(words)
}

/// Returns the words that the appliance runs for a command that came by SSH.
///
/// # Errors
/// Says why it runs nothing.
pub fn by_ssh(is_operator: bool, command: &str) -> Result<Vec<String>, String> {
    let role = if is_operator {
        Role::Operator
    } else {
        Role::Viewer
    };
    login::decide(role, Some(command))
}

/// The name by which busybox's udhcpc calls this program.
pub const LEASE: &str = crate::lease::NAME;

/// Takes what a DHCP server said, for the agent.
#[must_use]
pub fn lease() -> ExitCode {
    let event = std::env::args().nth(1).unwrap_or_default();
    let run = std::env::var_os("WEIR_LEASE").unwrap_or_else(|| "/run/weir".into());
    ExitCode::from(match crate::lease::called(Path::new(&run), &event) {
        Ok(()) => DONE,
        Err(error) => failed(error),
    })
}

/// Does what a verb asks for.
#[must_use]
pub fn run(verb: Verb) -> ExitCode {
    if let Verb::Agent { part } = verb {
        return agent(part.as_ref());
    }
    ExitCode::from(match verb {
        Verb::Agent { .. } => FAILED,
        Verb::Box { json } => rows(&Request::Status, json, &board),
        Verb::Update { rollback: true, .. } => done(&Request::Rollback, None),
        Verb::Update { file, older, .. } => {
            with_input(&Request::Update { older }, &file.unwrap_or_default())
        }
        Verb::Key { turn } => key(turn),
        Verb::Secret => secret(),
        Verb::Backup { file } => backup(&file),
        Verb::Restore { file } => with_input(&Request::Restore, &file),
        Verb::FactoryReset { node } => done(&Request::FactoryReset { node }, None),
        Verb::Restart { file: None } => done(&Request::Restart { configured: false }, None),
        Verb::Restart { file: Some(file) } => {
            with_input(&Request::Restart { configured: true }, &file)
        }
        Verb::Reboot => done(&Request::Reboot, None),
        Verb::Poweroff => done(&Request::Poweroff, None),
    })
}

fn agent(part: Option<&Part>) -> ExitCode {
    ExitCode::from(match part {
        None => ended(crate::agent::run()),
        Some(Part::Stop) => ended(crate::agent::stop()),
        Some(Part::Tty) => return tty::run(),
        Some(Part::Login { role, name }) => return login::forced(role.role(), name.as_deref()),
    })
}

fn ended(how: Result<(), String>) -> u8 {
    match how {
        Ok(()) => DONE,
        Err(sentence) => failed(sentence),
    }
}

fn key(turn: KeyTurn) -> u8 {
    let request = match turn {
        KeyTurn::List { json } => return rows(&Request::KeyList, json, &keys),
        KeyTurn::Add { role, key } => {
            let words = key.join(" ");
            let line = if words.is_empty() || words == DASH {
                first_line()
            } else {
                Ok(words)
            };
            match line {
                Ok(key) => Request::KeyAdd {
                    role: role.role(),
                    key,
                },
                Err(sentence) => return wrong(sentence),
            }
        }
        KeyTurn::Remove { role, key, last } => Request::KeyRemove {
            role: role.role(),
            key,
            last,
        },
    };
    done(&request, None)
}

fn secret() -> u8 {
    let given = if io::stdin().is_terminal() {
        hidden_secret()
    } else {
        first_line()
    };
    match given {
        Ok(secret) => done(&Request::Secret { secret }, None),
        Err(sentence) => wrong(sentence),
    }
}

/// Asks twice for what the terminal does not show.
fn hidden_secret() -> Result<String, String> {
    let ask = |question: &str| {
        eprint!("{question}");
        let line = tty::hidden_line();
        eprintln!();
        let line = line.map_err(|error| format!("the terminal cannot be read: {error}"))?;
        line.ok_or_else(|| "the terminal was closed".to_owned())
    };
    let first = ask("New local secret (not shown): ")?;
    let second = ask("Once more: ")?;
    if first != second {
        return Err("they are not the same".to_owned());
    }
    Ok(first.as_str().to_owned())
}

/// Reads the one line of the standard input.
fn first_line() -> Result<String, String> {
    let mut line = String::new();
    let read = io::stdin().lock().take(LINE_LIMIT).read_line(&mut line);
    read.map_err(|error| format!("the standard input cannot be read: {error}"))?;
    let line = line.trim();
    if line.is_empty() {
        return Err("the standard input is empty".to_owned());
    }
    Ok(line.to_owned())
}

fn backup(file: &Path) -> u8 {
    let output = if file == Path::new(DASH) {
        if io::stdout().is_terminal() {
            return wrong("a backup is no text for a terminal; redirect it into a file");
        }
        client::standard_output()
    } else {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(file);
        file.map(OwnedFd::from)
    };
    match output {
        Ok(output) => done(&Request::Backup, Some(output)),
        Err(error) => failed(format!("{}: {error}", file.display())),
    }
}

fn with_input(request: &Request, file: &Path) -> u8 {
    let input = if file == Path::new(DASH) {
        if io::stdin().is_terminal() {
            return wrong("there is no file on the standard input");
        }
        client::standard_input()
    } else {
        File::open(file).map(OwnedFd::from)
    };
    match input {
        Ok(input) => done(request, Some(input)),
        Err(error) => failed(format!("{}: {error}", file.display())),
    }
}

/// Asks, and shows rows as JSON lines or as a text.
fn rows(request: &Request, json: bool, text: &dyn Fn(&[serde_json::Value]) -> String) -> u8 {
    let rows = match client::ask(request, None, &mut |line| eprintln!("{line}")) {
        Ok(rows) => rows,
        Err(failure) => return refused(&failure),
    };
    let shown = if json {
        rows.iter()
            .fold(String::new(), |all, row| all + &row.to_string() + "\n")
    } else {
        text(&rows)
    };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            failed(format!("cannot write: {error}"))
        }
        Ok(()) | Err(_) => DONE,
    }
}

/// Asks for what is only done; progress goes to the standard error, so that the standard output is
/// the backup's alone.
fn done(request: &Request, file: Option<OwnedFd>) -> u8 {
    match client::ask(request, file, &mut |line| eprintln!("{line}")) {
        Ok(_) => DONE,
        Err(failure) => refused(&failure),
    }
}

fn refused(failure: &Failure) -> u8 {
    failed(failure)
}

fn failed(sentence: impl Display) -> u8 {
    eprintln!("weir: {sentence}");
    FAILED
}

fn wrong(sentence: impl Display) -> u8 {
    failed(sentence);
    BAD_INPUT
}

fn keys(rows: &[serde_json::Value]) -> String {
    if rows.is_empty() {
        return "nobody may log in by SSH\n".to_owned();
    }
    let mut table = weir_control::Table::new(&["ROLE", "NAME", "TYPE", "FINGERPRINT"]);
    for row in rows {
        let row: KeyRow = serde_json::from_value(row.clone()).unwrap_or_default();
        table.line([row.role, row.name, row.kind, row.fingerprint]);
    }
    table.render()
}

fn board(rows: &[serde_json::Value]) -> String {
    let row = rows.first().cloned().unwrap_or_default();
    let row: BoxRow = serde_json::from_value(row).unwrap_or_default();
    let megabytes = |bytes: u64| bytes / (1024 * 1024);
    let slot = format!("{}{}", row.slot, if row.trial { " (on trial)" } else { "" });
    let data = if row.data_fault.is_empty() {
        let (free, size) = (megabytes(row.data_free), megabytes(row.data_size));
        format!("{free} MB of {size} MB free")
    } else {
        row.data_fault
    };
    let or = |text: String, other: &str| {
        if text.is_empty() {
            other.to_owned()
        } else {
            text
        }
    };
    let uptime = row.uptime;
    let (days, hours, minutes) = (uptime / 86_400, uptime / 3600 % 24, uptime / 60 % 60);
    let lines = [
        ("version", row.version),
        ("kernel", row.kernel),
        ("slot", slot),
        ("starts next", row.next),
        ("other slot", or(row.other_version, "empty")),
        ("last update", or(row.last_update, "none")),
        ("data", data),
        ("modules", or(row.modules_fault, "loaded")),
        ("up", format!("{days} days {hours:02}:{minutes:02}")),
        (
            "daemon",
            if row.daemon {
                "runs"
            } else {
                "does not answer"
            }
            .to_owned(),
        ),
        ("set up", if row.set_up { "yes" } else { "no" }.to_owned()),
        (
            "logins",
            format!("{} operators, {} viewers", row.operators, row.viewers),
        ),
        (
            "local secret",
            if row.secret { "set" } else { "not set" }.to_owned(),
        ),
    ];
    let line = |(name, value): &(&str, String)| format!("{name:<13} {value}\n");
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        verb: Verb,
    }

    fn read(line: &str) -> Result<Verb, clap::Error> {
        let words = line.split(' ');
        Line::try_parse_from(["weir"].into_iter().chain(words)).map(|line| line.verb)
    }

    #[test]
    fn the_verbs_are_consistent() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn an_update_is_a_file_or_the_way_back() {
        assert!(matches!(
            read("update - --older").unwrap(),
            Verb::Update { older: true, rollback: false, file: Some(file) } if file == Path::new("-")
        ));
        assert!(matches!(
            read("update --rollback").unwrap(),
            Verb::Update {
                rollback: true,
                file: None,
                ..
            }
        ));
        assert!(read("update").is_err());
        assert!(read("update a --rollback").is_err());
    }

    #[test]
    fn a_key_may_be_words_of_the_line() {
        let Verb::Key {
            turn: KeyTurn::Add { role, key },
        } = read("key add viewer ssh-ed25519 AAAA bob").unwrap()
        else {
            panic!("no key");
        };
        assert_eq!(role, RoleWord::Viewer);
        assert_eq!(key.join(" "), "ssh-ed25519 AAAA bob");
        assert!(read("key add root ssh-ed25519 AAAA bob").is_err());
    }

    #[test]
    fn the_box_is_told_in_lines() {
        let row = BoxRow {
            version: "0.1.0+12".to_owned(),
            slot: "a".to_owned(),
            trial: true,
            data_size: 200 << 20,
            data_free: 100 << 20,
            uptime: 90_061,
            ..BoxRow::default()
        };
        let text = board(&[serde_json::to_value(row).unwrap()]);
        for line in [
            "version       0.1.0+12\n",
            "slot          a (on trial)\n",
            "other slot    empty\n",
            "data          100 MB of 200 MB free\n",
            "up            1 days 01:01\n",
            "local secret  not set\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
