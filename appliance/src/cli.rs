//! The command line.

mod arguments;
mod check;
mod completion;
mod console;
mod grammar;
mod help;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod remote;
mod words;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};
use weir_conf::{Purpose, Style};
use weir_control::{ClientError, Code, Question, Request};
use weir_lvs::{Given, Refusal};

use self::arguments::{
    Arguments, BenchArguments, ByCommand, CaptureArguments, DaemonArguments, Denial,
    DoctorArguments, ExplainArguments, ImportArguments, Mode, ReportFormat, ShowArguments, Turn,
    Verb,
};
use self::completion::CompletionShell;
use crate::daemon::machine;
use crate::state::State;
use crate::{
    apply, bench, capture, configuration, daemon, doctor, drain, explain, import, ipvsadm,
    overrides, show, support,
};

/// Done.
const DONE: u8 = 0;
/// It failed.
const FAILED: u8 = 1;
/// What was given is wrong.
const BAD_INPUT: u8 = 2;

/// Reads the words. A `WEIR_SOCKET` that is there and empty names no socket, as if it were not there.
fn parsed(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let is_empty = std::env::var_os("WEIR_SOCKET").is_some_and(|path| path.is_empty());
    let command = Arguments::command();
    let command = if is_empty { unasked(command) } else { command };
    let matches = command.try_get_matches_from(words)?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut Arguments::command()))
}

/// Has the environment name no socket.
fn unasked(command: Command) -> Command {
    let socket = |argument: Arg| match argument.get_id().as_str() {
        "socket" => argument.env(Resettable::Reset),
        _ => argument,
    };
    command.mut_args(socket).mut_subcommands(unasked)
}

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if words::is_called(&name, weir_agent::cli::LEASE) {
        return weir_agent::cli::lease();
    }
    if words::is_called(&name, "ipvsadm") {
        let words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return ExitCode::from(ipvsadm(&words));
    }
    // SSH calls a login shell with a dash in front where there is no command.
    if ["weir-login", "-weir-login"]
        .iter()
        .any(|login| words::is_called(&name, login))
    {
        return weir_agent::cli::login_shell(&words.collect::<Vec<_>>());
    }
    let words = words::with_for(words::ordered(std::env::args_os()));
    let arguments = match parsed(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes and go to stdout.
            match words::sentence(&error, &words) {
                Some(sentence) => drop(failed(sentence)),
                None => drop(error.print()),
            }
            return ExitCode::from(if error.use_stderr() { BAD_INPUT } else { DONE });
        }
    };
    ExitCode::from(match arguments.verb {
        Verb::Run { config, last_good } => run(&config, last_good),
        Verb::Check {
            file, format, json, ..
        } => check(&file, format, json),
        Verb::Diff { file, lvs, daemon } => changed(apply::diff(&daemon.into(), &lvs.source(file))),
        Verb::Apply {
            file,
            lvs,
            confirm,
            daemon,
        } => changed(apply::apply(&daemon.into(), &lvs.source(file), confirm)),
        Verb::Confirm { daemon } => changed(apply::confirm(&daemon.into())),
        Verb::Rollback { generation, daemon } => {
            changed(apply::rollback(&daemon.into(), generation))
        }
        Verb::Drain {
            real,
            deadline,
            then,
            watch,
            daemon,
        } => {
            let patience = drain::Patience {
                deadline,
                then,
                watch,
            };
            asked(drain::drain(&daemon.into(), real, &patience))
        }
        Verb::Enable { real, daemon } => asked(drain::enable(&daemon.into(), real)),
        Verb::Weight {
            real,
            weight: ByCommand(weight),
            daemon,
        } => asked(drain::weight(&daemon.into(), real, weight)),
        Verb::Maintenance { turn, daemon } => {
            let on = turn == Turn::On;
            changed(overrides::set(&daemon.into(), &Request::Maintenance { on }))
        }
        Verb::Synproxy {
            service,
            mode,
            span,
            daemon,
        } => synproxy(service, mode, &span, daemon),
        Verb::Deny { turn } => deny(turn),
        Verb::Support {
            output,
            force,
            socket,
        } => asked(support::support(&support::Order {
            file: output,
            force,
            socket,
        })),
        Verb::Show(arguments) => show(arguments),
        Verb::Console(arguments) => return console::console(arguments),
        Verb::Explain(arguments) => explain(arguments),
        Verb::Capture(arguments) => capture(arguments),
        Verb::Doctor(arguments) => doctor(arguments),
        Verb::Bench(arguments) => bench(arguments),
        Verb::Import(arguments) => import(&arguments),
        Verb::Ipvsadm { words } => ipvsadm(&words),
        Verb::Completion { shell } => completion(shell),
        Verb::Help { markdown: true, .. } => said(&weir_conf::reference()),
        Verb::Appliance(verb) => return weir_agent::cli::run(verb),
        Verb::Help { name, .. } => help(name.as_deref().unwrap_or_default()),
    })
}

fn run(file: &Path, last_good: bool) -> u8 {
    let state = State::of(file);
    let start = match configuration::start(file, &state) {
        Ok(start) => start,
        Err(report) => {
            // Where it starts all the same, it is not said that it did not.
            let purpose = if last_good {
                Purpose::Check
            } else {
                Purpose::Start
            };
            eprint!("{}", report.render(Style::long(purpose)));
            if !last_good {
                return BAD_INPUT;
            }
            match configuration::last_good(&state) {
                Ok(start) => start,
                Err(sentence) => {
                    failed(format!("--last-good: {sentence}"));
                    return BAD_INPUT;
                }
            }
        }
    };
    match daemon::run(file, state, start) {
        Ok(()) => DONE,
        Err(error) => failed(format!("{error:#}")),
    }
}

fn check(file: &Path, format: ReportFormat, json: bool) -> u8 {
    let told = match format {
        _ if json => check::Told::Json,
        ReportFormat::Long => check::Told::Text(Style::long(Purpose::Check)),
        ReportFormat::Short => check::Told::Text(Style::short()),
    };
    let (checked, is_good) = check::tell(file, told);
    eprint!("{}", checked.warned);
    match said(&checked.said) {
        DONE if !is_good => BAD_INPUT,
        status => status,
    }
}

fn synproxy(service: String, mode: Mode, span: &[String], daemon: DaemonArguments) -> u8 {
    let span = match overrides::span(span) {
        Ok(span) => span,
        Err(sentence) => {
            failed(sentence);
            return BAD_INPUT;
        }
    };
    let request = Request::Synproxy {
        service,
        mode: mode.wish(),
        for_ms: span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
    };
    changed(overrides::set(&daemon.into(), &request))
}

fn deny(turn: Denial) -> u8 {
    let (network, on, span, daemon) = match turn {
        Denial::Add {
            network,
            span,
            daemon,
        } => (network, true, span, daemon),
        Denial::Remove { network, daemon } => (network, false, None, daemon),
        Denial::List { daemon } => return asked(overrides::denied(&daemon.into())),
    };
    let for_ms = span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let request = Request::Deny {
        network,
        on,
        for_ms,
    };
    changed(overrides::set(&daemon.into(), &request))
}

fn show(arguments: ShowArguments) -> u8 {
    if let Some(sentence) = arguments.misplaced() {
        failed(sentence);
        return BAD_INPUT;
    }
    let shown = show::show(&show::Order {
        what: arguments.what.what(),
        json: arguments.json,
        watch: arguments.watch,
        service: arguments.service,
        client: arguments.client,
        span: arguments.span,
        socket: arguments.socket,
    });
    asked(shown)
}

fn explain(arguments: ExplainArguments) -> u8 {
    let words = arguments.words.iter().map(String::as_str);
    let mut question = match Question::from_words(words, arguments.flags) {
        Ok(question) => question,
        Err(error) => {
            failed(error);
            return BAD_INPUT;
        }
    };
    if let Some(file) = arguments.candidate {
        question.candidate = match apply::texts(Some(&file)) {
            Ok(texts) => Some(texts),
            Err(failure) => return changed(Err(failure)),
        };
    }
    changed(
        explain::explain(&explain::Order {
            question,
            json: arguments.json,
            socket: arguments.socket,
        })
        .map_err(apply::Failure::Other),
    )
}

fn capture(arguments: CaptureArguments) -> u8 {
    asked(capture::capture(&capture::Order {
        file: arguments.file,
        force: arguments.force,
        service: arguments.service,
        client: arguments.client,
        dropped: arguments.dropped,
        limit: arguments.limit,
        seconds: arguments.seconds,
        socket: arguments.socket,
    }))
}

/// Says 1 where something fails.
fn doctor(arguments: DoctorArguments) -> u8 {
    let order = doctor::Order {
        config: arguments.config,
        json: arguments.json,
        socket: arguments.socket,
    };
    match doctor::doctor(&order) {
        Ok(true) => DONE,
        Ok(false) => FAILED,
        Err(error) => asked(Err(error)),
    }
}

fn bench(arguments: BenchArguments) -> u8 {
    let cores = match arguments.cores.as_deref().map(cores).transpose() {
        Ok(cores) => cores,
        Err(sentence) => {
            failed(sentence);
            return BAD_INPUT;
        }
    };
    asked(bench::bench(&bench::Order {
        cores,
        seconds: arguments.seconds,
        json: arguments.json,
        socket: arguments.socket,
    }))
}

fn import(arguments: &ImportArguments) -> u8 {
    let given = Given {
        ports: arguments.ports.clone(),
        lips: arguments.lips.clone(),
    };
    match import::import(&arguments.file, &given) {
        Ok(true) => DONE,
        Ok(false) => BAD_INPUT,
        Err(error) => {
            failed(format!("{error:#}"));
            BAD_INPUT
        }
    }
}

fn ipvsadm(words: &[String]) -> u8 {
    let Err(error) = ipvsadm::run(words) else {
        return DONE;
    };
    if let Some(ClientError::Refused {
        code: Code::Mistakes,
        text,
    }) = error.downcast_ref()
    {
        eprint!("{text}");
        return BAD_INPUT;
    }
    eprintln!("ipvsadm: {error:#}");
    if error.is::<Refusal>() {
        BAD_INPUT
    } else {
        FAILED
    }
}

/// Reads which cores to measure on: those of this machine that this process may use.
fn cores(text: &str) -> Result<Vec<u16>, String> {
    let Some(mut cores) = machine::cpu_list(text).filter(|cores| !cores.is_empty()) else {
        return Err(format!("`{text}` names no cores; e.g. --cores 2-3,6"));
    };
    cores.sort_unstable();
    cores.dedup();
    let allowed = machine::allowed_cpus().map_err(|error| format!("{error:#}"))?;
    match cores.iter().find(|core| !allowed.contains(core)) {
        Some(foreign) => Err(format!(
            "--cores names core {foreign}, but this process may use {} only",
            machine::list(&allowed)
        )),
        None => Ok(cores),
    }
}

/// Tells what came of a change.
fn changed(result: Result<(), apply::Failure>) -> u8 {
    let error = match result {
        Ok(()) => return DONE,
        Err(apply::Failure::Mistakes(report)) => {
            eprint!("{report}");
            return BAD_INPUT;
        }
        Err(apply::Failure::Other(error)) => error,
    };
    if let Some(ClientError::Refused {
        code: Code::Mistakes,
        text,
    }) = error.downcast_ref()
    {
        eprint!("{text}");
        return BAD_INPUT;
    }
    asked(Err(error))
}

/// Tells what came of asking the daemon.
fn asked(result: anyhow::Result<()>) -> u8 {
    let Err(error) = result else {
        return DONE;
    };
    let bad_input = matches!(
        error.downcast_ref(),
        Some(ClientError::Refused {
            code: Code::UnknownName | Code::BadArgument,
            ..
        })
    );
    failed(format!("{error:#}"));
    if bad_input { BAD_INPUT } else { FAILED }
}

fn help(name: &str) -> u8 {
    match help::on(Arguments::command(), name) {
        Ok(text) => said(&text),
        Err(sentence) => {
            failed(sentence);
            BAD_INPUT
        }
    }
}

fn completion(shell: CompletionShell) -> u8 {
    match completion::print(Arguments::command(), shell) {
        Ok(()) => DONE,
        Err(error) => failed(format!("cannot write the script: {error}")),
    }
}

/// Writes an answer; whoever reads only its first lines closes the pipe early, which is no failure.
fn said(text: &str) -> u8 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            failed(format!("cannot write: {error}"))
        }
        Ok(()) | Err(_) => DONE,
    }
}

fn failed(sentence: impl Display) -> u8 {
    eprintln!("weir: {}", without_numbers(&sentence.to_string()));
    FAILED
}

/// Leaves out the numbers of the system's errors: they say nothing that its words do not.
fn without_numbers(sentence: &str) -> String {
    let mut parts = sentence.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((_, rest)) => text.push_str(rest),
            None => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_is_told_in_words() {
        let sentence = "cannot make x.tar: File exists (os error 17); nothing was written";
        let told = "cannot make x.tar: File exists; nothing was written";
        assert_eq!(without_numbers(sentence), told);
        assert_eq!(without_numbers("it is so (or not)"), "it is so (or not)");
    }
}
