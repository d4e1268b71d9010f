//! An attempt: one check of one real server under way, whatever is done for it.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use weir_model::{ExecCheck, WeightFrom};

use super::datagram::Datagram;
use super::probe::Probe;
use super::runner::{End, Ran, Run};
use super::standing::{Answer, Cause, Outcome};

/// A check under way.
#[derive(Debug)]
pub(super) enum Attempt {
    /// A TCP handshake.
    Handshake(Probe),
    /// A datagram.
    Datagram(Datagram),
    /// Another thread fetches a page; the handshake before it has shown this.
    Page { ticket: u64, handshake: Answer },
    /// The child runs a program.
    Program { ticket: u64, check: ExecCheck },
}

impl Attempt {
    /// Returns the descriptor at which the answer shows, and whether it can be written to then.
    pub(super) fn descriptor(&self) -> Option<(RawFd, bool)> {
        use std::os::fd::AsFd;
        match self {
            Self::Handshake(probe) => Some((probe.as_fd().as_raw_fd(), true)),
            Self::Datagram(datagram) => Some((datagram.as_fd().as_raw_fd(), false)),
            Self::Page { .. } | Self::Program { .. } => None,
        }
    }

    /// Returns what became of it; none while that is still awaited.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Handshake(probe) => probe.outcome(),
            Self::Datagram(datagram) => datagram.outcome(),
            Self::Page { .. } | Self::Program { .. } => None,
        }
    }

    /// Returns what it means that nothing came in time.
    pub(super) fn overdue(&self) -> Outcome {
        match self {
            Self::Handshake(_) | Self::Page { .. } => Outcome::Silent,
            Self::Datagram(datagram) => datagram.overdue(),
            Self::Program { .. } => late(),
        }
    }
}

/// Returns what the child is asked for.
pub(super) fn run(ticket: u64, at: SocketAddr, check: &ExecCheck, timeout_ms: u64) -> Run {
    let environment = [
        ("WEIR_REAL_ADDRESS", at.ip().to_string()),
        ("WEIR_REAL_PORT", at.port().to_string()),
    ];
    Run {
        ticket,
        program: check.program.clone(),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
        timeout_ms,
        in_turn: false,
    }
}

/// Returns what it says of a real server that a program ended.
pub(super) fn judge(check: &ExecCheck, ran: &Ran) -> Outcome {
    let good = |weight| {
        Outcome::Answered(Answer {
            options: None,
            weight,
            rtt_us: None,
        })
    };
    match (&ran.end, check.weight_from) {
        (End::Exit(0), WeightFrom::None | WeightFrom::Exit) => good(None),
        (End::Exit(status @ 2..=255), WeightFrom::Exit) => good(u16::try_from(status - 2).ok()),
        (End::Exit(0), WeightFrom::FirstLine) => {
            let line = ran.output.lines().next().unwrap_or_default().trim();
            match line.parse() {
                Ok(weight) => good(Some(weight)),
                Err(_) => Outcome::Failed(Cause::Said(format!(
                    "the first line of the program's output, `{}`, is not a weight",
                    line.chars().take(40).collect::<String>().escape_debug()
                ))),
            }
        }
        (End::Exit(status), _) => said(format!("exit status {status}"), &ran.output),
        (End::Signal(signal), _) => said(format!("ended by signal {signal}"), &ran.output),
        (End::Late, _) => late(),
        (End::NotRun(sentence), _) => Outcome::Unable(Cause::Said(sentence.clone())),
    }
}

fn late() -> Outcome {
    Outcome::Failed(Cause::Said("the program did not end in time".to_owned()))
}

/// A sentence with what a program wrote, in one line.
fn said(what: String, output: &str) -> Outcome {
    let words: Vec<&str> = output.split_whitespace().collect();
    let mut sentence = what;
    if !words.is_empty() {
        sentence.push_str(": ");
        sentence.extend(words.join(" ").chars().filter(|c| !c.is_control()));
    }
    Outcome::Failed(Cause::Said(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(weight_from: WeightFrom, end: End, output: &str) -> Outcome {
        let check = ExecCheck {
            program: "/bin/check".to_owned(),
            weight_from,
        };
        let output = output.to_owned();
        let ticket = 1;
        judge(
            &check,
            &Ran {
                ticket,
                end,
                output,
            },
        )
    }

    fn up(weight: Option<u16>) -> Outcome {
        let options = None;
        Outcome::Answered(Answer {
            options,
            weight,
            rtt_us: None,
        })
    }

    fn down(sentence: &str) -> Outcome {
        Outcome::Failed(Cause::Said(sentence.to_owned()))
    }

    #[test]
    fn exit_status_zero_is_success_and_any_other_a_failure_with_what_was_written() {
        let none = WeightFrom::None;
        assert_eq!(judged(none, End::Exit(0), "fine"), up(None));
        assert_eq!(
            judged(none, End::Exit(2), "no\tdisk\nleft\x1b\n"),
            down("exit status 2: no disk left")
        );
        assert_eq!(judged(none, End::Signal(9), ""), down("ended by signal 9"));
        assert_eq!(
            judged(none, End::Late, ""),
            down("the program did not end in time")
        );
    }

    #[test]
    fn a_program_may_say_the_weight() {
        let (exit, line) = (WeightFrom::Exit, WeightFrom::FirstLine);
        assert_eq!(judged(exit, End::Exit(0), ""), up(None));
        assert_eq!(judged(exit, End::Exit(1), ""), down("exit status 1"));
        assert_eq!(judged(exit, End::Exit(2), ""), up(Some(0)));
        assert_eq!(judged(exit, End::Exit(12), ""), up(Some(10)));
        assert_eq!(judged(line, End::Exit(0), " 300 \nmore"), up(Some(300)));
        assert_eq!(
            judged(line, End::Exit(0), "70000"),
            down("the first line of the program's output, `70000`, is not a weight")
        );
        assert_eq!(judged(line, End::Exit(3), "5"), down("exit status 3: 5"));
    }

    #[test]
    fn a_program_that_cannot_be_run_says_nothing_of_the_real_server() {
        let end = End::NotRun("/x is not a program".to_owned());
        assert_eq!(
            judged(WeightFrom::None, end, ""),
            Outcome::Unable(Cause::Said("/x is not a program".to_owned()))
        );
    }
}
