//! Programs: code that the kernel has verified.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::map::short_name;
use super::sys::{self, RunRequest};
use super::{Assembler, BpfError};

/// Says where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// On a socket, as a filter.
    SocketFilter,
    /// At a traffic-control hook, on a socket buffer.
    SchedCls,
    /// In the device's receive path, before a socket buffer is made.
    Xdp,
}

impl ProgramKind {
    fn id(self) -> u32 {
        match self {
            Self::SocketFilter => 1,
            Self::SchedCls => 3,
            Self::Xdp => 6,
        }
    }
}

/// Owns a loaded program; a link or a socket it is attached to keeps it alive on its own.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    name: String,
}

/// What a program answered when it was run on a packet of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's answer.
    pub answer: u32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
    /// Mean time of one run in nanoseconds.
    pub nanoseconds: u32,
}

/// `BPF_F_TEST_XDP_LIVE_FRAMES`: the answers are acted upon.
const LIVE_FRAMES: u32 = 2;
/// Enough for the log of a program of a few hundred instructions.
const LOG_LEN: usize = 1 << 20;

impl Program {
    /// Assembles a program and has the kernel verify it.
    ///
    /// # Errors
    /// With the verifier's words when it refuses.
    pub fn load(kind: ProgramKind, name: &str, code: Assembler) -> Result<Self, BpfError> {
        let code = code.finish().map_err(|cause| BpfError::Assemble {
            name: name.to_owned(),
            cause,
        })?;
        // The log is asked for only when it is needed: a log that overflows fails a good program.
        let fd = sys::prog_load(kind.id(), short_name(name), &code, &mut []).map_err(|cause| {
            let mut log = vec![0; LOG_LEN];
            let again = sys::prog_load(kind.id(), short_name(name), &code, &mut log);
            let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
            log.truncate(end);
            BpfError::Load {
                name: name.to_owned(),
                cause: again.err().unwrap_or(cause),
                log: String::from_utf8_lossy(&log).into_owned(),
            }
        })?;
        Ok(Self {
            fd,
            name: name.to_owned(),
        })
    }

    /// Runs the program `repeat` times on a packet and returns its answer; nothing is sent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn test_run(&self, packet: &[u8], repeat: u32) -> Result<TestRun, BpfError> {
        let mut out = vec![0; packet.len() + 256];
        let answer = sys::prog_test_run(
            self.fd.as_fd(),
            RunRequest {
                data: packet,
                out: Some(&mut out),
                repeat,
                flags: 0,
                batch: 0,
            },
        )
        .map_err(|cause| self.run_error(cause))?;
        out.truncate(answer.len_out as usize);
        Ok(TestRun {
            answer: answer.retval,
            packet: out,
            nanoseconds: answer.duration_ns,
        })
    }

    /// Runs an XDP program `repeat` times on live copies of a packet: what it redirects or
    /// transmits leaves the machine. This is the fastest source of test traffic there is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn run_live(&self, packet: &[u8], repeat: u32, batch: u32) -> Result<(), BpfError> {
        sys::prog_test_run(
            self.fd.as_fd(),
            RunRequest {
                data: packet,
                out: None,
                repeat,
                flags: LIVE_FRAMES,
                batch,
            },
        )
        .map(drop)
        .map_err(|cause| self.run_error(cause))
    }

    fn run_error(&self, cause: nix::errno::Errno) -> BpfError {
        BpfError::Run {
            name: self.name.clone(),
            cause,
        }
    }
}

impl AsRawFd for Program {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cond, Helper, Map, Op, Reg, Size};
    use super::*;

    fn is_root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            println!("skipped: loading eBPF programs needs root");
        }
        root
    }

    #[test]
    fn a_program_reads_the_packet_and_the_map() {
        if !is_root() {
            return;
        }
        let map = Map::array("weir_answers", 4, 256).unwrap();
        map.update(&7u32.to_ne_bytes(), &42u32.to_ne_bytes())
            .unwrap();
        let mut asm = Assembler::new();
        let short = asm.label();
        asm.load(Size::Word, Reg::R2, Reg::R1, 0)
            .load(Size::Word, Reg::R3, Reg::R1, 4)
            .mov(Reg::R4, Reg::R2)
            .alu(Op::Add, Reg::R4, 14)
            .jump_if(Cond::Gt, Reg::R4, Reg::R3, short)
            .load(Size::Byte, Reg::R5, Reg::R2, 0)
            .store(Size::Word, Reg::R10, -4, Reg::R5)
            .load_map(Reg::R1, &map)
            .mov(Reg::R2, Reg::R10)
            .alu(Op::Add, Reg::R2, -4)
            .call(Helper::MapLookup)
            .jump_if(Cond::Eq, Reg::R0, 0, short)
            .load(Size::Word, Reg::R0, Reg::R0, 0)
            .exit()
            .bind(short)
            .exit_with(1);
        let program = Program::load(ProgramKind::Xdp, "weir_test", asm).unwrap();
        let mut packet = [0; 64];
        packet[0] = 7;
        assert_eq!(program.test_run(&packet, 1).unwrap().answer, 42);
        packet[0] = 8;
        let run = program.test_run(&packet, 1).unwrap();
        assert_eq!((run.answer, run.packet.as_slice()), (0, packet.as_slice()));
    }

    #[test]
    fn a_program_that_reads_past_the_packet_is_refused_with_the_verifiers_words() {
        if !is_root() {
            return;
        }
        let mut asm = Assembler::new();
        asm.load(Size::Word, Reg::R2, Reg::R1, 0)
            .load(Size::Byte, Reg::R0, Reg::R2, 0)
            .exit();
        let refused = Program::load(ProgramKind::Xdp, "weir_test", asm).unwrap_err();
        assert!(
            refused.to_string().contains("invalid access to packet"),
            "{refused}"
        );
    }
}
