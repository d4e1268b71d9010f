//! Sends every frame of the owned addresses back to where it came from and answers ARP for them:
//! a UDP echo without sockets, and the floor of what an answer costs. Of a TCP SYN it makes what
//! counts as a SYN-ACK: the flags and the checksum, and nothing that takes thought.
//!
//! `reflect <device> --owned <addresses> [--driver af-xdp] [--queues 2] [--seconds 10]`

#[path = "support/run.rs"]
mod run;

use std::process::ExitCode;

use netmap_io::{Burst, FramePool, Port};

fn main() -> ExitCode {
    let outcome = run::Arguments::read(1).and_then(|arguments| arguments.run(turn));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("reflect: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn turn(ports: &mut [Box<dyn Port>], pool: &mut FramePool, burst: &mut Burst) -> usize {
    let [port] = ports else {
        return 0;
    };
    let taken = port.rx(pool, burst);
    let mac = port.info().mac;
    for mut frame in burst.drain() {
        let answered = turn_round(frame.bytes_mut(), mac);
        let refused = if answered {
            port.tx(pool, frame)
        } else {
            Err(frame)
        };
        if let Err(frame) = refused {
            pool.free(frame);
        }
    }
    // An error of the device shows in the figures.
    let _ = port.flush(pool);
    taken
}

/// Makes the answer out of a frame; false when there is none.
fn turn_round(frame: &mut [u8], mac: [u8; 6]) -> bool {
    let Some((ethernet, packet)) = frame.split_first_chunk_mut::<14>() else {
        return false;
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *ethernet;
    match [t0, t1] {
        [0x08, 0x00] => {
            *ethernet = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5, t0, t1];
            swap_addresses(packet)
        }
        [0x08, 0x06] => {
            let [m0, m1, m2, m3, m4, m5] = mac;
            *ethernet = [s0, s1, s2, s3, s4, s5, m0, m1, m2, m3, m4, m5, t0, t1];
            answer_arp(packet, mac)
        }
        _ => false,
    }
}

/// Swaps addresses and, in UDP and TCP, ports; the checksums stay right.
fn swap_addresses(packet: &mut [u8]) -> bool {
    let Some((header, rest)) = packet.split_first_chunk_mut::<20>() else {
        return false;
    };
    let (from, to) = header.split_at_mut(16);
    let Some((_, from)) = from.split_last_chunk_mut::<4>() else {
        return false;
    };
    from.swap_with_slice(to);
    let has_ports = matches!(header, [0x45, _, _, _, _, _, _, _, _, 6 | 17, ..]);
    if let (true, Some([a, b, c, d])) = (has_ports, rest.first_chunk_mut::<4>()) {
        (*a, *b, *c, *d) = (*c, *d, *a, *b);
    }
    if let ([0x45, _, _, _, _, _, _, _, _, 6, ..], Some(segment)) =
        (header, rest.first_chunk_mut::<20>())
    {
        acknowledge(segment);
    }
    true
}

/// Adds the ACK flag to a SYN, and what that takes to the checksum (RFC 1624, eqn. 3).
fn acknowledge(segment: &mut [u8; 20]) {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let [.., flags, _, _, high, low, _, _] = segment;
    if *flags != SYN {
        return;
    }
    *flags = SYN | ACK;
    let sum = u32::from(!u16::from_be_bytes([*high, *low])) + u32::from(ACK);
    let folded = (sum & 0xffff) as u16 + (sum >> 16) as u16;
    [*high, *low] = (!folded).to_be_bytes();
}

/// Turns a request (RFC 826) into its answer.
fn answer_arp(packet: &mut [u8], mac: [u8; 6]) -> bool {
    let Some((fixed, rest)) = packet.split_first_chunk_mut::<8>() else {
        return false;
    };
    let [.., operation_high, operation] = fixed;
    let Some(addresses) = rest.first_chunk_mut::<20>() else {
        return false;
    };
    if (*operation_high, *operation) != (0, 1) {
        return false;
    }
    *operation = 2;
    let (sender, target) = addresses.split_at_mut(10);
    sender.swap_with_slice(target);
    if let Some(hardware) = sender.first_chunk_mut::<6>() {
        *hardware = mac;
    }
    true
}
