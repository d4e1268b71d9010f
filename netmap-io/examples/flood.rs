//! Puts small UDP frames on a device as fast as one core can, and counts what another device gets.
//!
//! `flood <device> <mac> <from> <to> <millions> [sink device]`
//!
//! The frames are made by an XDP program that is run on live copies of a template and redirects
//! each to the device: several times faster than any socket. The device must be an end of a veth
//! pair whose other end has an XDP program. The sink counts in XDP, too, and drops.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Instant;

use netmap_io::bpf::{
    Assembler, BpfError, Cond, Helper, Link, Map, Op, Program, ProgramKind, Reg, Size, XdpMode,
};
use netmap_io::ethtool;

const USAGE: &str = "flood <device> <mac> <from> <to> <millions> [sink device]";
const XDP_DROP: i32 = 1;
/// The frames carry as many different source ports.
const PORTS: i32 = 0x3fff;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("flood: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [device, mac, from, to, millions, sink @ ..] = words.as_slice() else {
        return Err(USAGE.to_owned());
    };
    let frame = template(mac, from, to).ok_or(USAGE)?;
    let millions: u32 = millions.parse().map_err(|_| USAGE)?;
    let target = ethtool::facts(device).map_err(|e| format!("{device}: {}", e.desc()))?;
    let sink = match sink.first() {
        Some(name) => Some(Sink::open(name)?),
        None => None,
    };
    let source = source(target.ifindex).map_err(|e| e.to_string())?;
    let before = sink.as_ref().map_or(0, Sink::count);
    let started = Instant::now();
    for _ in 0..millions {
        source
            .run_live(&frame, 1_000_000, 64)
            .map_err(|e| e.to_string())?;
    }
    let elapsed = started.elapsed();
    let rate = |frames: u64| u128::from(frames) * 1_000_000_000 / elapsed.as_nanos().max(1);
    let sent = u64::from(millions) * 1_000_000;
    println!("sent {sent}: {} frames/s", rate(sent));
    if let Some(sink) = sink {
        let got = sink.count() - before;
        println!("got {got}: {} frames/s", rate(got));
    }
    Ok(())
}

/// Counts and drops what a device receives.
struct Sink {
    counter: Map,
    _link: Link,
}

impl Sink {
    fn open(device: &str) -> Result<Self, String> {
        let facts = ethtool::facts(device).map_err(|e| format!("{device}: {}", e.desc()))?;
        let counter = Map::array("weir_sink", 8, 1).map_err(|e| e.to_string())?;
        let mut asm = Assembler::new();
        count_up(&mut asm, &counter, Size::Double);
        asm.exit_with(XDP_DROP);
        let program = Program::load(ProgramKind::Xdp, "weir_sink", asm);
        let link = Link::xdp(
            &program.map_err(|e| e.to_string())?,
            facts.ifindex,
            XdpMode::Native,
        );
        Ok(Self {
            counter,
            _link: link.map_err(|e| e.to_string())?,
        })
    }

    fn count(&self) -> u64 {
        let mut value = [0; 8];
        // A counter that cannot be read counts nothing.
        let _ = self.counter.lookup(&0u32.to_ne_bytes(), &mut value);
        u64::from_ne_bytes(value)
    }
}

/// Gives every frame the next source port and redirects it.
fn source(ifindex: u32) -> Result<Program, BpfError> {
    let counter = Map::array("weir_flood", 4, 1)?;
    let mut asm = Assembler::new();
    let short = asm.label();
    asm.mov(Reg::R6, Reg::R1);
    count_up(&mut asm, &counter, Size::Word);
    asm.load(Size::Word, Reg::R2, Reg::R6, 0)
        .load(Size::Word, Reg::R3, Reg::R6, 4)
        .mov(Reg::R4, Reg::R2)
        .alu(Op::Add, Reg::R4, 36)
        .jump_if(Cond::Gt, Reg::R4, Reg::R3, short)
        .alu(Op::And, Reg::R7, PORTS)
        .alu(Op::Add, Reg::R7, 1024)
        .swap_to_network(Reg::R7, 16)
        .store(Size::Half, Reg::R2, 34, Reg::R7)
        .mov(Reg::R1, ifindex.cast_signed())
        .mov(Reg::R2, 0)
        .call(Helper::Redirect)
        .exit()
        .bind(short)
        .exit_with(XDP_DROP);
    Program::load(ProgramKind::Xdp, "weir_flood", asm)
}

/// Adds one to the counter and leaves the new count in R7.
fn count_up(asm: &mut Assembler, counter: &Map, size: Size) {
    let missing = asm.label();
    asm.mov(Reg::R7, 0)
        .store(Size::Word, Reg::R10, -4, 0)
        .load_map(Reg::R1, counter)
        .mov(Reg::R2, Reg::R10)
        .alu(Op::Add, Reg::R2, -4)
        .call(Helper::MapLookup)
        .jump_if(Cond::Eq, Reg::R0, 0, missing)
        .load(size, Reg::R7, Reg::R0, 0)
        .alu(Op::Add, Reg::R7, 1)
        .store(size, Reg::R0, 0, Reg::R7)
        .bind(missing);
}

/// A UDP datagram of 60 bytes without a UDP checksum, which IPv4 allows (RFC 768).
fn template(mac: &str, from: &str, to: &str) -> Option<Vec<u8>> {
    let bytes: Result<Vec<u8>, _> = mac.split(':').map(|b| u8::from_str_radix(b, 16)).collect();
    let mut frame = bytes.ok().filter(|b| b.len() == 6)?;
    let (from, to): (Ipv4Addr, Ipv4Addr) = (from.parse().ok()?, to.parse().ok()?);
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
    let mut header = vec![0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let sum: u32 = header
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |word, &b| word << 8 | u32::from(b)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = (!(folded as u16)).to_be_bytes();
    header.splice(10..12, checksum);
    frame.extend(header);
    // Ports 1024 and 7, 26 bytes.
    frame.extend([4, 0, 0, 7, 0, 26, 0, 0]);
    frame.resize(60, 0);
    Some(frame)
}
