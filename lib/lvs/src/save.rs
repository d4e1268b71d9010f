//! Dumps: what `ipvsadm -S` writes and `-R` reads.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::command::{Command, Refusal};
use crate::listing::sorted;
use crate::names::Names;
use crate::service::Service;

/// Writes services as the commands that make them.
#[must_use]
pub fn save(services: &[Service]) -> String {
    let services = sorted(services, false);
    let mut text = String::new();
    for service in &services {
        let at = service.at.option();
        let scheduler = service.scheduler.as_str();
        let scheduler = crate::command::theirs(scheduler);
        let _ = write!(text, "-A {at} -s {scheduler}");
        if let Some(persist) = service.persist {
            let _ = write!(text, " -p {}", persist.seconds);
            let is_v4 = service.at.address.is_ipv4();
            if is_v4 && persist.prefix != 32 {
                let _ = write!(text, " -M {}", mask(persist.prefix));
            } else if !is_v4 && persist.prefix != 128 {
                let _ = write!(text, " -M {}", persist.prefix);
            }
        }
        let synproxy = if service.synproxy {
            "enable"
        } else {
            "disable"
        };
        let _ = write!(text, " -j {synproxy}");
        if service.idle_given {
            let _ = write!(text, " -V {}", service.idle);
        }
        text.push('\n');
        for real in &service.reals {
            let _ = write!(text, "-a {at} -r {} -b -w {}", real.at, real.weight);
            for (letter, limit) in [('x', real.upper), ('y', real.lower)] {
                if let Some(limit) = limit {
                    let _ = write!(text, " -{letter} {limit}");
                }
            }
            text.push('\n');
        }
    }
    for service in &services {
        let at = service.at.option();
        for local in &service.locals {
            let _ = writeln!(text, "-P {at} -z {local}");
        }
    }
    text
}

/// Writes a prefix length as a mask.
pub(crate) fn mask(prefix: u8) -> Ipv4Addr {
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32)));
    Ipv4Addr::from(bits.unwrap_or_default())
}

/// Reads a dump: for each line with a command its number, and the command or why there is none.
pub fn commands(text: &str, names: &dyn Names) -> Vec<(usize, Result<Command, Refusal>)> {
    let lines = text.lines().enumerate();
    let with_words = lines.filter_map(|(index, line)| {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|word| word.ends_with("ipvsadm")) {
            words.remove(0);
        }
        let empty = words.first().is_none_or(|word| word.starts_with('#'));
        (!empty).then_some((index + 1, words))
    });
    with_words
        .map(|(number, words)| {
            let command = Command::parse(&words, names).and_then(|command| {
                if command.is_reading() || command == Command::Restore {
                    let text = "it changes nothing and cannot stand in a dump";
                    return Err(Refusal::Syntax(text.to_owned()));
                }
                Ok(command)
            });
            (number, command)
        })
        .collect()
}
