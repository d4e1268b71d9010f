//! What can be run by SSH on the appliance is what this command line has, and reaches no file.

use std::any::TypeId;
use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory, Parser};
use weir_agent::cli::by_ssh;

use super::Arguments;

fn names_a_file(argument: &Arg) -> bool {
    argument.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// Calls with every argument of every command, and of the commands below them.
fn each(command: &Command, before: &str, call: &mut impl FnMut(&str, &Arg)) {
    for below in command.get_subcommands() {
        let line = format!("{before} {}", below.get_name());
        for argument in below.get_arguments() {
            call(line.trim(), argument);
        }
        each(below, &line, call);
    }
}

#[test]
fn no_argument_that_names_a_file_can_name_one_by_ssh() {
    let mut seen = 0;
    each(&Arguments::command(), "", &mut |line, argument| {
        if !names_a_file(argument) {
            return;
        }
        seen += 1;
        let mut lines = Vec::new();
        if argument.is_positional() {
            lines.push(format!("{line} /etc/shadow"));
            lines.push(format!("{line} - /etc/shadow"));
        }
        if let Some(long) = argument.get_long() {
            lines.push(format!("{line} --{long} /etc/shadow"));
            lines.push(format!("{line} --{long}=/etc/shadow"));
            lines.push(format!("{line} - --{long}=/etc/shadow"));
        }
        if let Some(short) = argument.get_short() {
            lines.push(format!("{line} -{short} /etc/shadow"));
            lines.push(format!("{line} -{short}/etc/shadow"));
        }
        for line in lines {
            let allowed = by_ssh(true, &line);
            assert!(allowed.is_err(), "{line}: {allowed:?}");
        }
    });
    assert!(seen > 20, "{seen}");
}

#[test]
fn what_ssh_lets_through_is_understood() {
    for line in [
        "show services --json",
        "show status --watch 1s",
        "show sessions --client 192.0.2.1 --service web",
        "check --format short",
        "diff",
        "doctor --json",
        "explain service=web client=192.0.2.1:1 --candidate - --flags S.",
        "help service.idle",
        "console --ascii --colour never",
        "apply --confirm 5m",
        "apply --from - --lip 10.0.0.1",
        "backup",
        "box --json",
        "capture --dropped any --limit 5 --seconds 5 --service web",
        "confirm --json",
        "deny add 192.0.2.0/24 --for 10m",
        "drain 10.0.1.11:443@web --deadline 1m --then reset --watch 1s",
        "enable 10.0.1.11:443@web",
        "factory-reset lb1",
        "import --port wan=eth0,198.51.100.2/24 --lip 10.0.0.1",
        "key add viewer 'ssh-ed25519 AAAA bob'",
        "key remove operator bob --last",
        "key list --json",
        "maintenance on",
        "poweroff",
        "reboot",
        "restart",
        "restart -",
        "restore",
        "rollback 3",
        "secret",
        "support",
        "synproxy web always for 10m",
        "update --older",
        "update --rollback",
        "weight 10.0.1.11:443@web 7",
    ] {
        let words = by_ssh(true, line).unwrap();
        let all = ["weir".to_owned()].into_iter().chain(words);
        let read = Arguments::try_parse_from(all);
        assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
    }
}
