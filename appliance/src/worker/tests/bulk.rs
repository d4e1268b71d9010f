//! Super-frames from the ring they came in by to the ring they leave by.

use weir_testkit::{TcpSpec, pattern};
use weir_wire::{SeqNumber, TcpFlags, fill_checksums};

use super::*;

const CONF: &str = "
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
real = 10.81.0.11:80
";
const PORTS: std::ops::Range<u16> = 5000..5012;
const PAYLOAD: usize = 20_000;
const SIZE: u16 = 1448;
const PACKETS: usize = PAYLOAD.div_ceil(SIZE as usize);
const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);

fn segment(
    port: usize,
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    tcp: (TcpFlags, u32, u32),
    payload: usize,
) -> Vec<u8> {
    let (flags, seq, ack) = tcp;
    PacketSpec {
        eth_src: peer_mac(from.0),
        eth_dst: EthAddr(mac(port)),
        src: from.0,
        dst: to.0,
        transport: Transport::Tcp(TcpSpec {
            src_port: from.1,
            dst_port: to.1,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            window: 60_000,
            payload: pattern(payload),
            ..TcpSpec::default()
        }),
        ..PacketSpec::default()
    }
    .build()
}

/// A LIP and its port, and the number that the real server expects.
type Seen = ((Ipv4Addr, u16), u32);

fn read_tcp(frame: &[u8]) -> (Seen, Vec<u8>) {
    let Kind::Ipv4(v4) = Parsed::parse(frame).unwrap().kind else {
        panic!("not IPv4")
    };
    let tcp = *v4.tcp().unwrap();
    let payload = frame[usize::from(v4.l4 + tcp.header_len)..].to_vec();
    assert_eq!(payload.len(), usize::from(tcp.payload_len));
    (((v4.src, tcp.src_port), tcp.seq.0), payload)
}

/// Opens a connection for each client port, every packet on a queue of its own choice.
fn open(benches: &mut [Bench]) {
    let queues = benches.len();
    // The first SYN makes Weir ask for its neighbours.
    for _ in 0..2 {
        for port in PORTS {
            let queue = usize::from(port) % queues;
            let tcp = (TcpFlags::SYN, 99, 0);
            benches[queue].receive(WAN, segment(WAN, (CLIENT, port), (VIP, 80), tcp, 0));
        }
        let at_real = settle(benches, 0);
        for (_, frame) in at_real {
            let ((lip, seq), _) = read_tcp(&frame);
            let tcp = (SYN_ACK, 499, seq.wrapping_add(1));
            benches[0].receive(LAN, segment(LAN, (REAL, 80), lip, tcp, 0));
        }
        settle(benches, 0);
    }
    for port in PORTS {
        let tcp = (TcpFlags::ACK, 100, 500);
        benches[0].receive(WAN, segment(WAN, (CLIENT, port), (VIP, 80), tcp, 0));
    }
    assert_eq!(settle(benches, 0).len(), PORTS.len());
}

/// Lets a super-frame of each connection come in, all on the first queue.
fn send_whole(benches: &mut [Bench]) -> Vec<(usize, Vec<u8>)> {
    for port in PORTS {
        let tcp = (TcpFlags::ACK, 100, 500);
        let frame = segment(WAN, (CLIENT, port), (VIP, 80), tcp, PAYLOAD);
        let mut wire = benches[0].wires[WAN].lock().unwrap();
        wire.whole_to_worker.push_back((frame, SIZE));
    }
    settle(benches, 0)
}

fn ledgers(benches: &[Bench]) -> Vec<weir_model::Ledger> {
    let read = |bench: &Bench| bench.published.read().ledger;
    benches.iter().map(read).collect()
}

#[test]
fn super_frames_leave_whole_by_a_port_that_takes_them_whichever_worker_they_came_to() {
    let mut benches = benches_of(CONF, 3);
    for bench in &benches {
        bench.wires[LAN].lock().unwrap().takes_whole = true;
    }
    open(&mut benches);
    let before = ledgers(&benches);
    let at_real = send_whole(&mut benches);
    assert_eq!(at_real.len(), PORTS.len());
    for (port, frame) in &at_real {
        assert_eq!(*port, LAN);
        assert_eq!(read_tcp(frame).1, pattern(PAYLOAD));
    }
    let handed: u64 = ledgers(&benches)
        .iter()
        .zip(&before)
        .map(|(after, before)| after.handed_in - before.handed_in)
        .sum();
    assert!(handed > 0 && handed < PORTS.len() as u64, "{handed}");
}

#[test]
fn super_frames_leave_as_packets_by_a_port_that_takes_no_other_and_count_as_one() {
    let mut benches = benches_of(CONF, 1);
    open(&mut benches);
    let before = ledgers(&benches)[0];
    let at_real = send_whole(&mut benches);
    assert_eq!(at_real.len(), PORTS.len() * PACKETS);
    for packets in at_real.chunks(PACKETS) {
        let ((lip, first), _) = read_tcp(&packets[0].1);
        let mut seen = Vec::new();
        for (_, packet) in packets {
            verify_frame(packet).unwrap();
            let ((source, seq), payload) = read_tcp(packet);
            assert_eq!((source, seq), (lip, first.wrapping_add(seen.len() as u32)));
            seen.extend(payload);
        }
        assert_eq!(seen, pattern(PAYLOAD));
    }
    let after = ledgers(&benches)[0];
    let moved = (after.rx - before.rx, after.tx - before.tx);
    assert_eq!(moved, (PORTS.len() as u64, PORTS.len() as u64));
}

#[test]
fn a_super_frame_whose_packets_find_no_room_counts_as_one_that_was_not_transmitted() {
    let mut benches = benches_of(CONF, 1);
    open(&mut benches);
    benches[0].wires[LAN].lock().unwrap().room = Some(PACKETS + 3);
    assert_eq!(send_whole(&mut benches).len(), PACKETS + 3);
    let ledger = ledgers(&benches)[0];
    let refused = PORTS.len() as u64 - 1;
    assert_eq!(ledger.dropped(DropReason::TxRingFull), refused);
}

#[test]
fn an_answer_written_over_a_super_frame_leaves_as_the_packet_that_it_is() {
    let text = format!("{CONF}synproxy = front\n[synproxy front]\nmode = always\n");
    let mut benches = benches_of(&text, 1);
    // A SYN with data is answered by a cookie in the same memory.
    let tcp = (TcpFlags::SYN, 99, 0);
    let mut frame = segment(WAN, (CLIENT, 5000), (VIP, 80), tcp, PAYLOAD);
    fill_checksums(&mut frame).unwrap();
    {
        let mut wire = benches[0].wires[WAN].lock().unwrap();
        wire.whole_to_worker.push_back((frame, SIZE));
    }
    let sent = settle(&mut benches, 0);
    let [(WAN, answer)] = sent.as_slice() else {
        panic!("{} frames left", sent.len());
    };
    verify_frame(answer).unwrap();
    assert!(answer.len() < 80);
}
