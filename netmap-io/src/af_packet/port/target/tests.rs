use super::super::MOST_WHOLE;
use super::*;
use crate::Packets;
use crate::af_packet::tx::TxQueue;

fn frame(bytes: &[u8]) -> RxFrame<'_> {
    RxFrame {
        bytes,
        cut: false,
        vnet: VnetHeader::NONE,
        tag: None,
        status: libc::TP_STATUS_USER,
    }
}

fn take(f: RxFrame, taken: &mut usize, pool: &mut FramePool, burst: &mut Burst) -> Taken {
    take_within(&mut 1, f, taken, pool, burst)
}

fn take_within(
    room: &mut usize,
    f: RxFrame,
    taken: &mut usize,
    pool: &mut FramePool,
    burst: &mut Burst,
) -> Taken {
    let keeps = true;
    Target {
        keeps,
        room,
        taken,
        pool,
        burst,
    }
    .take(f)
}

fn received(f: RxFrame, pool: &mut FramePool) -> Frame {
    let mut burst = Burst::with_capacity(1);
    let mut taken = 0;
    let outcome = take(f, &mut taken, pool, &mut burst);
    assert!(matches!(outcome, Taken::Whole));
    burst.drain().next().unwrap()
}

#[test]
fn the_tag_that_the_kernel_took_off_is_put_back() {
    let mut pool = FramePool::with_umem(1, 2048).unwrap();
    let bytes: Vec<u8> = (0..60).collect();
    let tagged = RxFrame {
        tag: Some([0x81, 0, 0x20, 7]),
        ..frame(&bytes)
    };
    let packet = received(tagged, &mut pool);
    assert_eq!(packet.bytes()[..12], bytes[..12]);
    assert_eq!(packet.bytes()[12..16], [0x81, 0, 0x20, 7]);
    assert_eq!(packet.bytes()[16..], bytes[12..]);
    assert_eq!(packet.range().start, HEAD_ROOM - 4);
    pool.free(packet);
}

#[test]
fn the_checksum_state_is_what_the_kernel_said() {
    let mut pool = FramePool::with_umem(1, 2048).unwrap();
    let cases = [
        (0, 0, ChecksumState::Unknown),
        (NEEDS_CSUM, 0, ChecksumState::Good),
        (DATA_VALID, 0, ChecksumState::Good),
        (0, libc::TP_STATUS_CSUM_VALID, ChecksumState::Good),
    ];
    for (flags, status, expected) in cases {
        let mut f = frame(&[0; 60]);
        f.vnet.flags = flags;
        f.vnet.csum_start = 34;
        f.vnet.csum_offset = 16;
        f.status |= status;
        let packet = received(f, &mut pool);
        assert_eq!(packet.checksum(), expected);
        pool.free(packet);
    }
}

#[test]
fn a_checksum_field_outside_the_frame_makes_the_frame_invalid() {
    let mut pool = FramePool::with_umem(1, 2048).unwrap();
    let mut burst = Burst::with_capacity(1);
    let mut f = frame(&[0; 60]);
    f.vnet.flags = NEEDS_CSUM;
    f.vnet.csum_start = 50;
    f.vnet.csum_offset = 9;
    assert!(matches!(
        take(f, &mut 0, &mut pool, &mut burst),
        Taken::Invalid
    ));
    assert_eq!(pool.available(FramePool::UMEM), 1);
}

#[test]
fn a_frame_longer_than_a_chunk_or_cut_by_the_ring_is_invalid_and_costs_no_chunk() {
    let mut pool = FramePool::with_umem(1, 2048).unwrap();
    let mut burst = Burst::with_capacity(1);
    let mut taken = 0;
    let long = frame(&[0; 2045]);
    assert!(matches!(
        take(long, &mut taken, &mut pool, &mut burst),
        Taken::Invalid
    ));
    let cut = RxFrame {
        cut: true,
        ..frame(&[0; 60])
    };
    assert!(matches!(
        take(cut, &mut taken, &mut pool, &mut burst),
        Taken::Invalid
    ));
    assert_eq!(pool.available(FramePool::UMEM), 1);
    let fits = [0; 2044];
    let packet = received(frame(&fits), &mut pool);
    assert_eq!(packet.range(), 4..2048);
    pool.free(packet);
}

/// A pool with chunks for super-frames.
fn pool(chunks: u32) -> FramePool {
    let mut pool = FramePool::with_umem(chunks, 2048).unwrap();
    pool.add_large().unwrap();
    pool
}

fn outstanding(pool: &FramePool) -> usize {
    pool.outstanding(FramePool::UMEM) + pool.outstanding(pool.large().unwrap())
}

/// The headers of a datagram or of a segment, for `payload` bytes behind them.
fn headers(protocol: u8, payload: usize) -> Vec<u8> {
    let tcp = protocol == 6;
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    bytes.extend((20 + if tcp { 20 } else { 8 } + payload as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 80, 0, 81, 0, 0, 0, 0]);
    if tcp {
        bytes.extend([0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    }
    bytes
}

fn vnet(gso_type: u8, gso_size: u16) -> VnetHeader {
    VnetHeader {
        gso_type,
        gso_size,
        ..VnetHeader::NONE
    }
}

#[test]
fn a_stream_stays_whole_and_says_where_it_is_to_be_cut() {
    let mut pool = pool(1);
    let mut bytes = headers(6, 1500);
    bytes.extend([7; 1500]);
    let mut f = frame(&bytes);
    f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
    f.tag = Some([0x81, 0, 0x20, 7]);
    let whole = received(f, &mut pool);
    assert_eq!(whole.segment_size(), 500);
    assert_eq!(whole.checksum(), ChecksumState::Partial);
    assert_eq!(Some(whole.region()), pool.large());
    assert_eq!(whole.bytes()[12..16], [0x81, 0, 0x20, 7]);
    assert_eq!(whole.bytes()[16..], bytes[12..]);
    pool.free(whole);
}

#[test]
fn a_stream_waits_in_the_ring_while_no_chunk_is_free_for_it() {
    let mut pool = pool(1);
    let taken: Vec<Frame> = std::iter::from_fn(|| pool.alloc_large()).collect();
    let mut bytes = headers(6, 1500);
    bytes.extend([7; 1500]);
    let mut f = frame(&bytes);
    f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
    let mut burst = Burst::with_capacity(1);
    let outcome = take(f, &mut 0, &mut pool, &mut burst);
    assert!(matches!(outcome, Taken::Full));
    for frame in taken {
        pool.free(frame);
    }
    let whole = received(f, &mut pool);
    pool.free(whole);
    assert_eq!(outstanding(&pool), 0);
}

#[test]
fn one_call_takes_so_many_streams_and_the_next_goes_on() {
    let mut pool = pool(1);
    let mut bytes = headers(6, 1500);
    bytes.extend([7; 1500]);
    let mut f = frame(&bytes);
    f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
    let mut burst = Burst::with_capacity(64);
    let mut room = MOST_WHOLE;
    let mut next =
        |room: &mut usize, burst: &mut Burst| take_within(room, f, &mut 0, &mut pool, burst);
    for _ in 0..MOST_WHOLE {
        assert!(matches!(next(&mut room, &mut burst), Taken::Whole));
    }
    assert!(matches!(next(&mut room, &mut burst), Taken::Full));
    assert!(matches!(next(&mut 1, &mut burst), Taken::Whole));
    burst.drain().for_each(|whole| pool.free(whole));
    assert_eq!(outstanding(&pool), 0);
}

#[test]
fn a_stream_of_one_packet_is_a_packet() {
    let mut pool = pool(1);
    let mut bytes = headers(6, 500);
    bytes.extend([7; 500]);
    let mut f = frame(&bytes);
    f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
    let packet = received(f, &mut pool);
    assert_eq!(
        (packet.segment_size(), packet.region()),
        (0, FramePool::UMEM)
    );
    assert_eq!(packet.checksum(), ChecksumState::Good);
    pool.free(packet);
}

#[test]
fn datagrams_that_do_not_fit_the_burst_go_on_in_the_next() {
    let mut pool = FramePool::with_umem(8, 2048).unwrap();
    let mut burst = Burst::with_capacity(2);
    let mut bytes = headers(17, 2500);
    bytes.extend([7; 2500]);
    let mut f = frame(&bytes);
    f.vnet = vnet(5, 1000);
    let mut taken = 0;
    assert!(matches!(
        take(f, &mut taken, &mut pool, &mut burst),
        Taken::Full
    ));
    let lengths: Vec<usize> = burst.frames().iter().map(Frame::len).collect();
    assert_eq!((taken, lengths), (2, vec![1042, 1042]));
    burst.drain().for_each(|packet| pool.free(packet));
    assert!(matches!(
        take(f, &mut taken, &mut pool, &mut burst),
        Taken::Whole
    ));
    let last = burst.drain().next().unwrap();
    assert_eq!((last.len(), last.checksum()), (542, ChecksumState::Good));
    pool.free(last);
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn no_bytes_and_no_vnet_header_cost_a_chunk_or_stop_the_port() {
    let mut pool = pool(64);
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    // A sound super-frame to begin with: most of what a few changed bytes make of it is not.
    let mut sound = headers(6, 2960);
    sound.extend([7; 2960]);
    let (mut whole, mut invalid) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = sound.clone();
        for _ in 0..numbers.next() % 4 {
            let at = numbers.next() as usize % 60;
            bytes[at] = numbers.next() as u8;
        }
        bytes.truncate(match numbers.next() % 4 {
            0 => numbers.next() as usize % bytes.len(),
            _ => bytes.len(),
        });
        let random: [u8; 10] = std::array::from_fn(|_| numbers.next() as u8);
        let mut f = frame(&bytes);
        f.vnet = VnetHeader::parse(&random).unwrap();
        if numbers.next().is_multiple_of(2) {
            f.vnet.gso_type = [1, 1, 1, 1, 3, 4, 5][numbers.next() as usize % 7];
            f.vnet.gso_size = 500 + (numbers.next() % 1000) as u16;
        }
        let (mut taken, mut burst) = (0, Burst::with_capacity(64));
        let mut tx = TxQueue::new();
        loop {
            let outcome = take(f, &mut taken, &mut pool, &mut burst);
            for packet in burst.drain() {
                assert!(packet.len() <= bytes.len().max(60) + TAG_LEN);
                if let Some(mut packets) = Packets::of(&packet) {
                    while let Some(packet) = packets.next(&mut pool) {
                        pool.free(packet);
                    }
                }
                tx.push(packet);
            }
            match outcome {
                Taken::Full => {}
                Taken::Whole => {
                    whole += 1;
                    break;
                }
                Taken::Invalid | Taken::Lost => {
                    invalid += 1;
                    break;
                }
            }
            tx.describe();
            tx.clear(&mut pool);
        }
        tx.describe();
        tx.clear(&mut pool);
        assert_eq!(outstanding(&pool), 0);
    }
    assert!(
        whole > 1000 && invalid > 1000,
        "{whole} whole, {invalid} invalid"
    );
}
