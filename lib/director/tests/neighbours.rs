//! Neighbours when several workers share the ports: whoever asks, the answer arrives elsewhere.

#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, outside of its own function too"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use weir_testkit::{PacketSpec, Setup, TcpSpec, Transport, World};
use weir_wire::{Describe, SeqNumber, TcpFlags};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);

fn world(setup: Setup) -> World {
    let snapshot = weir_testkit::snapshot("web.conf", include_str!("conf/web.conf")).unwrap();
    let mut world = World::new(snapshot, setup).unwrap();
    world.introduce(CLIENT);
    world.introduce(REAL);
    world.turn().unwrap();
    world
}

fn syn(world: &World, port: u16) -> Vec<u8> {
    let (_, spec) = world.around().packet(CLIENT, VIP).unwrap();
    PacketSpec {
        transport: Transport::Tcp(TcpSpec {
            src_port: port,
            dst_port: 80,
            seq: SeqNumber(1),
            flags: TcpFlags::SYN,
            window: 1000,
            ..TcpSpec::default()
        }),
        ..spec
    }
    .build()
}

/// ARP arrives at the first queue only. A worker that never hears an answer itself must not forget
/// its neighbours while there is traffic.
#[test]
fn no_worker_forgets_a_neighbour_whose_answers_another_worker_hears() {
    for workers in 1..=4 {
        let mut world = world(Setup {
            workers,
            ..Setup::default()
        });
        let port = world.around().links()[0].port;
        for round in 0..60_u64 {
            for source in 40_000..40_016 {
                let frame = syn(&world, source);
                world.inject(0, port, &frame).unwrap();
                let sent = world.take_emitted();
                assert!(
                    sent.is_some(),
                    "{workers} workers, after {} s: a SYN did not go on, {}",
                    round * 10,
                    world.tally()
                );
                while let Some(more) = world.take_emitted() {
                    assert!(
                        Describe(&more.frame).to_string().contains("Flags [R"),
                        "{}",
                        Describe(&more.frame)
                    );
                }
            }
            let next = world.time().after(Duration::from_secs(10));
            world.advance_to(next).unwrap();
        }
        assert_eq!(world.tally().get("unresolved"), 0, "{}", world.tally());
    }
}
