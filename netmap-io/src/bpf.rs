//! Small eBPF programs, assembled in Rust and loaded with bpf(2): no compiler on the user's machine.
//!
//! A [`Map`] is shared between a program and the daemon, a [`Program`] is verified code in the
//! kernel, and a [`Link`] attaches it to a device for as long as the link's descriptor is open:
//! the kernel detaches the program when the process ends, however it ends.

mod asm;
mod link;
mod map;
mod program;
#[expect(unsafe_code, reason = "calls bpf(2) with pointers into our memory")]
mod sys;

pub use asm::{AssembleError, Assembler, Cond, Helper, Insn, Label, Op, Operand, Reg, Size};
pub use link::{Link, XdpMode};
pub use map::Map;
pub use program::{Program, ProgramKind, TestRun};

use nix::errno::Errno;

/// Says why the kernel refused a map, a program or a link.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// A map could not be made.
    #[error("the kernel refused the eBPF map `{name}`: {}", explain(*.cause))]
    Map {
        /// The map's name.
        name: String,
        /// What the kernel said.
        cause: Errno,
    },
    /// An element of a map could not be written, read or removed.
    #[error("the kernel refused to {action} an element of the eBPF map `{name}`: {cause}")]
    Element {
        /// The map's name.
        name: String,
        /// What was tried: `write`, `read` or `remove`.
        action: &'static str,
        /// What the kernel said.
        cause: Errno,
    },
    /// The code does not hang together.
    #[error("the eBPF program `{name}` cannot be assembled: {cause}")]
    Assemble {
        /// The program's name.
        name: String,
        /// What is wrong with it.
        cause: AssembleError,
    },
    /// The verifier or the kernel refused the program.
    #[error("the kernel refused the eBPF program `{name}`: {}{}", explain(*.cause), log_suffix(.log))]
    Load {
        /// The program's name.
        name: String,
        /// What the kernel said.
        cause: Errno,
        /// The verifier's own words, which may be empty.
        log: String,
    },
    /// The program could not be attached.
    #[error("the kernel refused to attach the eBPF program to interface {ifindex}: {}", explain(*.cause))]
    Attach {
        /// The interface's number.
        ifindex: u32,
        /// What the kernel said.
        cause: Errno,
    },
    /// The program could not be run on a packet.
    #[error("the kernel refused to run the eBPF program `{name}` on a packet: {cause}")]
    Run {
        /// The program's name.
        name: String,
        /// What the kernel said.
        cause: Errno,
    },
}

impl BpfError {
    /// Returns the kernel's error number, where the kernel was asked.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Map { cause, .. }
            | Self::Element { cause, .. }
            | Self::Load { cause, .. }
            | Self::Attach { cause, .. }
            | Self::Run { cause, .. } => Some(*cause),
            Self::Assemble { .. } => None,
        }
    }
}

fn explain(cause: Errno) -> String {
    if cause == Errno::EPERM {
        "CAP_BPF and CAP_NET_ADMIN are missing".to_owned()
    } else {
        cause.to_string()
    }
}

/// Keeps the end of the verifier's log, where the reason stands.
fn log_suffix(log: &str) -> String {
    let tail: Vec<&str> = log.lines().rev().take(4).collect();
    if tail.is_empty() {
        return String::new();
    }
    let lines: Vec<&str> = tail.into_iter().rev().collect();
    format!(" ({})", lines.join("; "))
}
