//! The XDP programs of a flood: one that makes the frames, and one that counts the answers.

use netmap_io::bpf::{
    Assembler, BpfError, Cond, Helper, Link, Map, Op, Program, ProgramKind, Reg, Size, XdpMode,
};

use super::frame::{IP_ID, IP_SOURCE, IP_SUM, SOURCE_PORT, TCP_ACK, TCP_SEQ, TCP_SUM, Template};
use super::{NETWORK, Vector};

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
/// The ports that clients use: 1024 to 65535.
const PORTS: i32 = 64_512;

/// Sends copies of a template, each from another source.
#[derive(Debug)]
pub(super) struct Source {
    program: Program,
    counter: Map,
    template: Template,
    _link: Option<Link>,
}

/// Flows that come again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flows {
    /// Tells them from those of other programs.
    pub(super) group: u8,
    /// Two to the power of this many.
    pub(super) log2: u8,
}

impl Source {
    /// Loads the program that sends to what is behind interface `ifindex`; sources differ by the
    /// seed, and never come again without `flows`.
    ///
    /// Attached to some idle device, the program is among those that the kernel calls directly.
    /// Otherwise it would become one at the begin of each run and cease to be one at its end, which
    /// takes twenty milliseconds.
    pub(super) fn load(
        template: Template,
        ifindex: u32,
        (seed, flows): (u64, Option<Flows>),
        idle: Option<u32>,
    ) -> Result<Self, BpfError> {
        let counter = Map::array("weir_flood", 8, 1)?;
        counter.update(&0_u32.to_ne_bytes(), &seed.to_ne_bytes())?;
        let program = Program::load(
            ProgramKind::Xdp,
            "weir_flood",
            source(&template, &counter, ifindex, flows),
        )?;
        let link = idle.map(|device| Link::xdp(&program, device, XdpMode::Generic));
        Ok(Self {
            program,
            counter,
            template,
            _link: link.transpose()?,
        })
    }

    /// Sends `count` frames.
    pub(super) fn send(&self, count: u32) -> Result<(), BpfError> {
        self.program
            .run_live(&self.template.bytes, count, count.min(64))
    }

    /// Returns the seed plus the number of frames sent.
    pub(super) fn count(&self) -> u64 {
        read(&self.counter, 0)
    }
}

/// Counts and drops the answers to a flood that a device receives; passes everything else.
#[derive(Debug)]
pub(super) struct Sink {
    counters: Map,
    _link: Link,
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) syn_acks: u64,
    pub(super) resets: u64,
    pub(super) others: u64,
}

impl Answers {
    pub(super) fn all(self) -> u64 {
        self.syn_acks + self.resets + self.others
    }
}

/// What a sink takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// What goes to the flood's network.
    Answers,
    /// What goes to a port, of any protocol.
    Port(u16),
}

impl Sink {
    pub(super) fn open(ifindex: u32, what: What) -> Result<Self, BpfError> {
        let counters = Map::array("weir_sink", 8, 3)?;
        let program = Program::load(ProgramKind::Xdp, "weir_sink", sink(&counters, what))?;
        let link = Link::xdp(&program, ifindex, XdpMode::Native)?;
        Ok(Self {
            counters,
            _link: link,
        })
    }

    pub(super) fn answers(&self) -> Answers {
        Answers {
            syn_acks: read(&self.counters, 0),
            resets: read(&self.counters, 1),
            others: read(&self.counters, 2),
        }
    }
}

fn read(map: &Map, key: u32) -> u64 {
    let mut value = [0; 8];
    // A counter that cannot be read counts nothing.
    let _ = map.lookup(&key.to_ne_bytes(), &mut value);
    u64::from_ne_bytes(value)
}

/// Writes the whole template, because frames come back as their receivers left them, then the
/// fields that differ: all from a mixed counter, so that no source comes twice in 2^28 frames.
fn source(template: &Template, counter: &Map, ifindex: u32, flows: Option<Flows>) -> Assembler {
    let mut asm = Assembler::new();
    let short = asm.label();
    let length = (template.bytes.len() as u32).cast_signed();
    asm.mov(Reg::R6, Reg::R1)
        .mov(Reg::R7, 0)
        .store(Size::Word, Reg::R10, -4, 0);
    count_up(&mut asm, counter);
    asm.load(Size::Word, Reg::R2, Reg::R6, 0)
        .load(Size::Word, Reg::R3, Reg::R6, 4)
        .mov(Reg::R4, Reg::R2)
        .alu(Op::Add, Reg::R4, length)
        .jump_if(Cond::Gt, Reg::R4, Reg::R3, short);
    for (at, pair) in (0..).step_by(2).zip(template.bytes.chunks(2)) {
        let word = u16::from_ne_bytes(pair.try_into().unwrap_or_default());
        asm.store(Size::Half, Reg::R2, at, i32::from(word));
    }
    if let Some(flows) = flows {
        let unused = i32::from(64 - flows.log2.min(32));
        asm.alu(Op::Lsh, Reg::R8, unused)
            .alu(Op::Rsh, Reg::R8, unused)
            .mov64(Reg::R4, u64::from(flows.group) << 40)
            .alu(Op::Or, Reg::R8, Reg::R4);
    }
    mix(&mut asm);
    // R9 gathers the words that the checksums of the header and the segment share.
    asm.mov(Reg::R3, Reg::R8)
        .alu(Op::And, Reg::R3, 0x0fff_ffff)
        .alu(Op::Or, Reg::R3, i32::from(NETWORK) << 24)
        .mov(Reg::R9, 0);
    put_word(&mut asm, IP_SOURCE);
    asm.mov(Reg::R5, Reg::R9)
        .alu(Op::Add, Reg::R5, template.ip_sum().cast_signed());
    if template.vector == Vector::Fragments {
        asm.mov(Reg::R3, Reg::R8)
            .alu(Op::Rsh, Reg::R3, 48)
            .alu(Op::Add, Reg::R5, Reg::R3);
        put_half(&mut asm, IP_ID);
    }
    put_sum(&mut asm, IP_SUM);
    if template.vector != Vector::Fragments {
        asm.mov(Reg::R3, Reg::R8)
            .alu(Op::Rsh, Reg::R3, 40)
            .alu(Op::Mod, Reg::R3, PORTS)
            .alu(Op::Add, Reg::R3, 1024)
            .alu(Op::Add, Reg::R9, Reg::R3);
        put_half(&mut asm, SOURCE_PORT);
    }
    if template.is_tcp() {
        mix(&mut asm);
        asm.mov(Reg::R3, Reg::R8).alu(Op::Rsh, Reg::R3, 32);
        put_word(&mut asm, TCP_SEQ);
        if template.vector != Vector::Syn {
            asm.mov(Reg::R3, Reg::R8)
                .alu(Op::Lsh, Reg::R3, 32)
                .alu(Op::Rsh, Reg::R3, 32);
            put_word(&mut asm, TCP_ACK);
        }
        asm.mov(Reg::R5, Reg::R9)
            .alu(Op::Add, Reg::R5, template.tcp_sum().cast_signed());
        put_sum(&mut asm, TCP_SUM);
    }
    asm.mov(Reg::R1, ifindex.cast_signed())
        .mov(Reg::R2, 0)
        .call(Helper::Redirect)
        .exit()
        .bind(short)
        .exit_with(XDP_DROP);
    asm
}

/// Adds one to the counter under the key on the stack and leaves the new count in R7, mixed once
/// in R8.
fn count_up(asm: &mut Assembler, counter: &Map) {
    let missing = asm.label();
    asm.load_map(Reg::R1, counter)
        .mov(Reg::R2, Reg::R10)
        .alu(Op::Add, Reg::R2, -4)
        .call(Helper::MapLookup)
        .jump_if(Cond::Eq, Reg::R0, 0, missing)
        .load(Size::Double, Reg::R7, Reg::R0, 0)
        .alu(Op::Add, Reg::R7, 1)
        .store(Size::Double, Reg::R0, 0, Reg::R7)
        .bind(missing)
        .mov(Reg::R8, Reg::R7);
}

/// Mixes R8: a multiplication that spreads the bits upwards and a shift that brings them down.
fn mix(asm: &mut Assembler) {
    for factor in [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93] {
        asm.mov64(Reg::R4, factor)
            .alu(Op::Mul, Reg::R8, Reg::R4)
            .mov(Reg::R4, Reg::R8)
            .alu(Op::Rsh, Reg::R4, 32)
            .alu(Op::Xor, Reg::R8, Reg::R4);
    }
}

/// Stores the low 32 bits of R3 in network order and adds both words to R9.
fn put_word(asm: &mut Assembler, at: i16) {
    asm.mov(Reg::R4, Reg::R3)
        .alu(Op::Rsh, Reg::R4, 16)
        .alu(Op::Add, Reg::R9, Reg::R4)
        .mov(Reg::R4, Reg::R3)
        .alu(Op::And, Reg::R4, 0xffff)
        .alu(Op::Add, Reg::R9, Reg::R4)
        .swap_to_network(Reg::R3, 32)
        .store(Size::Word, Reg::R2, at, Reg::R3);
}

/// Stores the low 16 bits of R3 in network order.
fn put_half(asm: &mut Assembler, at: i16) {
    asm.swap_to_network(Reg::R3, 16)
        .store(Size::Half, Reg::R2, at, Reg::R3);
}

/// Folds the sum in R5 and stores its complement (RFC 1071).
fn put_sum(asm: &mut Assembler, at: i16) {
    for _ in 0..2 {
        asm.mov(Reg::R4, Reg::R5)
            .alu(Op::Rsh, Reg::R4, 16)
            .alu(Op::And, Reg::R5, 0xffff)
            .alu(Op::Add, Reg::R5, Reg::R4);
    }
    asm.alu(Op::Xor, Reg::R5, 0xffff)
        .swap_to_network(Reg::R5, 16)
        .store(Size::Half, Reg::R2, at, Reg::R5);
}

/// Counts SYN-ACKs, RSTs and the rest of what it takes.
fn sink(counters: &Map, what: What) -> Assembler {
    let mut asm = Assembler::new();
    let (pass, found, drop) = (asm.label(), asm.label(), asm.label());
    asm.load(Size::Word, Reg::R2, Reg::R1, 0)
        .load(Size::Word, Reg::R3, Reg::R1, 4)
        .mov(Reg::R4, Reg::R2)
        .alu(Op::Add, Reg::R4, 54)
        .jump_if(Cond::Gt, Reg::R4, Reg::R3, pass)
        .load(Size::Half, Reg::R5, Reg::R2, 12)
        .jump_if(Cond::Ne, Reg::R5, i32::from(0x0800_u16.to_be()), pass);
    match what {
        What::Answers => asm
            .load(Size::Byte, Reg::R5, Reg::R2, 30)
            .alu(Op::And, Reg::R5, 0xf0)
            .jump_if(Cond::Ne, Reg::R5, i32::from(NETWORK), pass),
        What::Port(port) => asm.load(Size::Half, Reg::R5, Reg::R2, 36).jump_if(
            Cond::Ne,
            Reg::R5,
            i32::from(port.to_be()),
            pass,
        ),
    };
    asm.store(Size::Word, Reg::R10, -4, 2)
        .load(Size::Byte, Reg::R5, Reg::R2, 23)
        .jump_if(Cond::Ne, Reg::R5, 6, found)
        .load(Size::Byte, Reg::R5, Reg::R2, 47)
        .store(Size::Word, Reg::R10, -4, 1)
        .jump_if(Cond::Set, Reg::R5, 4, found)
        .store(Size::Word, Reg::R10, -4, 2)
        .alu(Op::And, Reg::R5, 0x12)
        .jump_if(Cond::Ne, Reg::R5, 0x12, found)
        .store(Size::Word, Reg::R10, -4, 0)
        .bind(found);
    asm.mov(Reg::R7, 0);
    count_up(&mut asm, counters);
    asm.jump(drop)
        .bind(pass)
        .exit_with(XDP_PASS)
        .bind(drop)
        .exit_with(XDP_DROP);
    asm
}

#[cfg(test)]
mod tests {
    use super::super::frame::sum;
    use super::*;

    /// What the program left of its frames is what the wire would get; the kernel runs it without
    /// sending, and without acting on the redirect.
    fn frames(vector: Vector, count: u64) -> Vec<Vec<u8>> {
        let target = "10.80.0.100:80".parse().unwrap();
        let mut frames = Vec::new();
        for template in Template::of(vector, ([2; 6], [4; 6]), target) {
            let source = Source::load(template, 1, (0, None), None).unwrap();
            for _ in 0..count {
                let junk = vec![0xa5; source.template.bytes.len()];
                frames.push(source.program.test_run(&junk, 1).unwrap().packet);
            }
            assert_eq!(source.count(), count);
        }
        frames
    }

    fn folded(mut sum: u32) -> u32 {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    #[test]
    fn frames_have_right_checksums_and_sources_of_their_own() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: loading eBPF programs needs root");
            return;
        }
        for vector in Vector::ALL {
            let frames = frames(vector, 50);
            let mut sources = std::collections::BTreeSet::new();
            for frame in &frames {
                assert_eq!(folded(sum(&frame[14..34])), 0xffff, "{vector:?} {frame:x?}");
                assert_eq!(frame[26] & 0xf0, NETWORK);
                sources.insert(frame[26..30].to_vec());
                if frame[23] == 6 {
                    let pseudo = sum(&frame[26..34]) + 6 + (frame.len() - 34) as u32;
                    assert_eq!(folded(sum(&frame[34..]) + pseudo), 0xffff, "{vector:?}");
                }
            }
            assert!(sources.len() >= 50, "{vector:?}: {}", sources.len());
        }
    }
}
