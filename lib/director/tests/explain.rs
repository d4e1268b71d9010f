//! What `explain` says of a packet is what becomes of it, and saying it changes nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of these tests stop the test"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use weir_director::{
    CookieTrial, Director, ExplainQuery, Explained, Fate, Networks, SessionSyn, SynproxyState,
};
use weir_model::{DropReason, Now, Protocol, RealState, Snapshot, Verdict};
use weir_testkit::{PacketSpec, Setup, TcpSpec, Transport, UdpSpec, World, snapshot};
use weir_wire::{Parsed, SeqNumber, TcpFlags};

const DOWN: RealState = RealState {
    weight: None,
    up: false,
    draining: false,
};
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const LIP: Ipv4Addr = Ipv4Addr::new(10, 0, 8, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const REALS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 1, 11), Ipv4Addr::new(10, 0, 1, 12)];
const S: TcpFlags = TcpFlags::SYN;
const A: TcpFlags = TcpFlags::ACK;
const F: TcpFlags = TcpFlags::FIN;
const R: TcpFlags = TcpFlags::RST;
const FA: TcpFlags = TcpFlags(F.0 | A.0);
const SA: TcpFlags = TcpFlags(S.0 | A.0);

/// A file with a TCP service and a UDP one; `service` are more keys of the first.
fn config(service: &str, profile: &str) -> Snapshot {
    let text = format!(
        "[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
         [port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
         [lip-pool blue]\nport = lan\naddress = 10.0.8.1\nsource-ports = 2000-2001\n\
         [synproxy front]\n{profile}\n\
         [service web]\nlisten = 203.0.113.10:80/tcp\nlip-pool = blue\nscheduler = rr\n\
         real = 10.0.1.11:8080\nreal = 10.0.1.12:8080\nreal = 10.0.1.13:8080 weight=0\n\
         {service}\n\
         [service dns]\nlisten = 203.0.113.10:53/udp\nlip-pool = blue\n\
         real = 10.0.1.11:53\n"
    );
    snapshot("explain.conf", &text).unwrap()
}

fn world_of(snapshot: Snapshot, workers: u8) -> World {
    let setup = Setup {
        workers,
        ..Setup::default()
    };
    let mut world = World::new(snapshot, setup).unwrap();
    for address in REALS.into_iter().chain([GATEWAY]) {
        world.introduce(address);
    }
    world
}

fn plain() -> World {
    world_of(config("", "mode = adaptive"), 1)
}

fn proxied(profile: &str) -> World {
    world_of(config("synproxy = front", profile), 1)
}

/// What is asked, and the packet that it is about.
#[derive(Clone, Copy, Debug)]
struct Case {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    flags: Option<TcpFlags>,
    seq: u32,
    ack: u32,
}

fn tcp(port: u16, flags: TcpFlags) -> Case {
    Case {
        from: (CLIENT, port),
        to: (VIP, 80),
        flags: Some(flags),
        seq: 1000,
        ack: 77,
    }
}

fn udp(port: u16) -> Case {
    Case {
        to: (VIP, 53),
        flags: None,
        ..tcp(port, S)
    }
}

impl Case {
    fn query(&self) -> ExplainQuery {
        ExplainQuery {
            client: self.from,
            vip: self.to,
            protocol: match self.flags {
                Some(_) => Protocol::Tcp,
                None => Protocol::Udp,
            },
            flags: self.flags.unwrap_or_default(),
        }
    }

    fn send(&self, world: &mut World, worker: u8) -> Verdict {
        let (port, eth_src) = world.around().reach(CLIENT).unwrap();
        let transport = match self.flags {
            Some(flags) => Transport::Tcp(TcpSpec {
                src_port: self.from.1,
                dst_port: self.to.1,
                seq: SeqNumber(self.seq),
                ack: SeqNumber(self.ack),
                flags,
                ..TcpSpec::default()
            }),
            None => Transport::Udp(UdpSpec {
                src_port: self.from.1,
                dst_port: self.to.1,
                payload: b"query".to_vec(),
            }),
        };
        let spec = PacketSpec {
            eth_src,
            eth_dst: world.around().link(port).unwrap().mac,
            src: self.from.0,
            dst: self.to.0,
            transport,
            ..PacketSpec::default()
        };
        world.inject_only(worker, port, &spec.build()).unwrap()
    }
}

fn explain(world: &World, worker: usize, case: &Case) -> Vec<Explained> {
    let director: &Director = &world.directors()[worker];
    let now = Now {
        time: world.time(),
        wall_ms: 0,
    };
    let mut said = Vec::new();
    director.explain(now, &case.query(), &mut |decision| said.push(decision));
    said
}

fn fate(said: &[Explained]) -> Fate {
    let Some(Explained::Fate(fate)) = said.last() else {
        panic!("no fate: {said:?}");
    };
    *fate
}

/// Explains a packet twice, sends it and compares; returns what was said.
fn agrees(world: &mut World, case: &Case) -> Vec<Explained> {
    let ledger = *world.directors()[0].ledger();
    let counters = *world.directors()[0].counters();
    let said = explain(world, 0, case);
    assert_eq!(explain(world, 0, case), said, "it changed something");
    assert_eq!(*world.directors()[0].ledger(), ledger);
    assert_eq!(*world.directors()[0].counters(), counters);
    let expected = match fate(&said) {
        Fate::Host => Verdict::Drop(DropReason::NotOurs),
        Fate::Drop(reason) | Fate::Refuse(reason) => Verdict::Drop(reason),
        Fate::SynAck => Verdict::Reply,
        Fate::IfValid => Verdict::Drop(DropReason::BadCookie),
        Fate::Wait => Verdict::Drop(DropReason::Absorbed),
        Fate::Hold(_) => Verdict::Hold,
        Fate::Forward(port) => Verdict::Forward(port),
    };
    assert_eq!(case.send(world, 0), expected, "{case:?}: {said:?}");
    said
}

fn picked(said: &[Explained]) -> Option<Ipv4Addr> {
    said.iter().find_map(|decision| {
        let Explained::Pick { address, .. } = decision else {
            return None;
        };
        address.map(|(address, _)| address)
    })
}

fn synproxy(said: &[Explained]) -> SynproxyState {
    let state = said.iter().find_map(|decision| {
        let Explained::Synproxy { state, .. } = decision else {
            return None;
        };
        Some(*state)
    });
    state.unwrap()
}

#[test]
fn packets_of_strangers_become_what_was_said() {
    for flags in [S, A, F, R, FA, SA] {
        agrees(&mut plain(), &tcp(5000, flags));
        for profile in [
            "mode = always",
            "mode = adaptive",
            "mode = always\ndefer = yes",
        ] {
            for bad_ack in ["drop", "reset"] {
                let mut world = proxied(&format!("{profile}\nbad-ack = {bad_ack}"));
                agrees(&mut world, &tcp(5000, flags));
            }
        }
    }
    agrees(&mut plain(), &udp(5000));
}

/// A world whose service of TCP has a defence profile with these keys.
fn defended(keys: &str) -> World {
    let profiles = format!("mode = adaptive\n[defence edge]\n{keys}");
    world_of(config("defence = edge", &profiles), 1)
}

/// Lets a packet be judged and compares what was said of its end.
fn ends(world: &mut World, case: &Case, expected: Fate) {
    assert_eq!(fate(&agrees(world, case)), expected, "{case:?}");
}

#[test]
fn packets_that_a_client_may_not_send_become_what_was_said() {
    let denied = Fate::Drop(DropReason::Denied);
    let closed = Case {
        to: (VIP, 81),
        ..tcp(5000, S)
    };
    let mut world = defended("deny = 192.0.2.0/24");
    for flags in [S, A, F, R, FA, SA] {
        ends(&mut world, &tcp(5000, flags), denied);
    }
    // The profile is the service's, and what operators deny is denied everywhere.
    ends(&mut world, &closed, Fate::Drop(DropReason::NoService));
    let client = ipnet::IpNet::from(std::net::IpAddr::V4(CLIENT));
    let mut world = plain();
    world.directors_mut()[0].deny(Arc::new(Networks::denied(&[client])));
    for case in [closed, tcp(5000, S), udp(5000)] {
        ends(&mut world, &case, denied);
    }

    let invalid = Fate::Drop(DropReason::InvalidFlags);
    let odd = TcpFlags(S.0 | F.0);
    let mut world = defended("");
    ends(&mut world, &tcp(5000, odd), invalid);
    tcp(5001, S).send(&mut world, 0);
    for flags in [F, odd] {
        ends(&mut world, &tcp(5001, flags), invalid);
    }
    let mut world = defended("invalid-flags = forward");
    ends(&mut world, &tcp(5000, F), Fate::Drop(DropReason::NoSession));
}

#[test]
fn what_a_rate_refuses_is_said_and_what_it_does_not_count_is_not() {
    let again = Case {
        seq: 900_000,
        ..tcp(5000, S)
    };
    for (keys, over) in [
        ("syn-rate = 1/s  burst=1", Fate::Drop(DropReason::SynRate)),
        (
            "new-sessions = 1/s  burst=1",
            Fate::Refuse(DropReason::SessionRate),
        ),
    ] {
        let mut world = defended(keys);
        let said = agrees(&mut world, &tcp(5000, S));
        assert!(matches!(fate(&said), Fate::Forward(_)), "{said:?}");
        ends(&mut world, &tcp(5001, S), over);
        ends(&mut world, &tcp(5001, A), Fate::Drop(DropReason::NoSession));
        // In place of the session that it has.
        ends(&mut world, &again, over);
    }
}

#[test]
fn a_datagram_that_is_refused_gets_no_answer() {
    let mut world = plain();
    let snapshot = world.snapshot().clone();
    let dns = snapshot.services.iter().nth(1).unwrap();
    world.directors_mut()[0].set_real_state(dns.reals[0].id, DOWN);
    while world.take_emitted().is_some() {}
    ends(&mut world, &udp(5000), Fate::Drop(DropReason::NoReal));
    assert!(world.take_emitted().is_none());
}

#[test]
fn packets_that_no_service_wants_become_what_was_said() {
    for to in [(VIP, 81), (LIP, 2000), (Ipv4Addr::new(203, 0, 113, 11), 80)] {
        let said = agrees(&mut plain(), &Case { to, ..tcp(1, S) });
        if to.0 == LIP {
            assert_eq!(fate(&said), Fate::Drop(DropReason::Martian));
        }
    }
    for from in [Ipv4Addr::LOCALHOST, LIP, Ipv4Addr::BROADCAST] {
        let from = (from, 5000);
        agrees(&mut plain(), &Case { from, ..tcp(1, S) });
    }
}

#[test]
fn the_real_server_that_is_named_is_the_one_that_gets_the_session() {
    let mut world = plain();
    for port in 0..4 {
        let said = agrees(&mut world, &tcp(5000 + port, S));
        world.turn().unwrap();
        let sessions = world.sessions();
        let session = sessions.iter().find(|it| it.client.1 == 5000 + port);
        assert_eq!(picked(&said), Some(session.unwrap().real.0));
    }
    // Each real server has got two, and there are two ports towards each.
    let said = agrees(&mut world, &tcp(6000, S));
    assert_eq!(fate(&said), Fate::Refuse(DropReason::LipExhausted));
}

#[test]
fn one_that_is_down_is_no_candidate_and_without_any_the_client_is_refused() {
    let mut world = plain();
    let snapshot = world.snapshot().clone();
    let reals = &snapshot.services.iter().next().unwrap().reals;
    world.directors_mut()[0].set_real_state(reals[0].id, DOWN);
    let said = agrees(&mut world, &tcp(5000, S));
    assert_eq!(picked(&said), Some(REALS[1]));
    let outcomes: Vec<&str> = said
        .iter()
        .filter(|it| it.decision() == "real")
        .map(Explained::outcome)
        .collect();
    assert_eq!(outcomes, ["down", "candidate", "drain"]);
    world.directors_mut()[0].set_real_state(reals[1].id, DOWN);
    let said = agrees(&mut world, &tcp(5001, S));
    assert_eq!(fate(&said), Fate::Refuse(DropReason::NoReal));
}

#[test]
fn a_neighbour_that_is_not_known_holds_the_packet() {
    let setup = Setup::default();
    let mut world = World::new(config("", "mode = adaptive"), setup).unwrap();
    let said = agrees(&mut world, &tcp(5000, S));
    assert!(matches!(fate(&said), Fate::Hold(_)), "{said:?}");
}

#[test]
fn only_the_owner_of_a_flow_says_more_than_who_that_is() {
    let world = world_of(config("", "mode = adaptive"), 3);
    let mut owners = [0; 3];
    for port in 5000..5100 {
        let mut here = Vec::new();
        for worker in 0..3 {
            let said = explain(&world, worker, &tcp(port, S));
            match said.last() {
                Some(Explained::Owner { worker, here, .. }) => {
                    assert!(!here);
                    assert!(worker.index() < 3);
                }
                Some(Explained::Fate(_)) => here.push(worker),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(here.len(), 1, "port {port}");
        owners[here[0]] += 1;
    }
    assert!(owners.iter().all(|count| *count > 10), "{owners:?}");
}

#[test]
fn a_session_is_found_and_what_becomes_of_another_syn_is_said() {
    let mut world = plain();
    tcp(5000, S).send(&mut world, 0);
    let other = Case {
        seq: 900_000,
        ..tcp(5000, S)
    };
    let said = agrees(&mut world, &other);
    let session = said.iter().find(|it| it.decision() == "session");
    assert_eq!(session.unwrap().outcome(), "syn-sent");
    assert!(
        said.iter().any(|it| matches!(
            it,
            Explained::Syn {
                repeated: SessionSyn::Passed,
                other: SessionSyn::Replaces
            }
        )),
        "{said:?}"
    );
    agrees(&mut world, &tcp(5000, A));
}

#[test]
fn why_cookies_are_sent_is_said() {
    let profile = "mode = adaptive\nenter = 20/s\nleave = 10/s";
    let mut world = proxied(profile);
    let service = world.snapshot().services.iter().next().unwrap().id;
    // What a peer or an earlier process has promised may come back.
    assert_eq!(
        synproxy(&agrees(&mut world, &tcp(1, A))),
        SynproxyState::Verifying
    );
    world.directors_mut()[0].set_flood_hint(service, true);
    let said = agrees(&mut world, &tcp(4000, S));
    assert_eq!(synproxy(&said), SynproxyState::Hinted);
    assert_eq!(fate(&said), Fate::SynAck);
    for port in 5000..5030 {
        tcp(port, S).send(&mut world, 0);
    }
    world.directors_mut()[0].set_flood_hint(service, false);
    let said = agrees(&mut world, &tcp(6000, S));
    assert_eq!(synproxy(&said), SynproxyState::Triggered);
    let offered = said.iter().find(|it| it.decision() == "syn-ack").unwrap();
    let sentence = offered.sentence(world.snapshot()).to_string();
    assert!(
        sentence.contains("mss 1440") && sentence.contains("port wan"),
        "{sentence}"
    );
    let said = agrees(&mut world, &tcp(7000, A));
    assert!(said.contains(&Explained::Cookie(CookieTrial::Tried(
        weir_model::BadAck::Drop
    ))));
    assert_eq!(fate(&said), Fate::IfValid);
}

#[test]
fn every_sentence_uses_the_names_of_the_file() {
    let world = plain();
    let said = explain(&world, 0, &tcp(5000, S));
    let sentences: Vec<String> = said
        .iter()
        .map(|it| {
            let sentence = it.sentence(world.snapshot());
            format!("{} {}: {sentence}", it.decision(), it.outcome())
        })
        .collect();
    assert_eq!(
        sentences,
        [
            "destination vip: 203.0.113.10 is a VIP",
            "source client: 192.0.2.7 may send",
            "service known: service web listens there",
            "owner here: worker 0 of 1 owns the flow",
            "session none: it belongs to no session",
            "synproxy off: SYNs are passed on: the service has none",
            "limit room: the service has 0 sessions on this worker and no limit",
            "real candidate: 10.0.1.11:8080 takes part: weight 1, 0 established and 0 other \
             sessions on this worker",
            "real candidate: 10.0.1.12:8080 takes part: weight 1, 0 established and 0 other \
             sessions on this worker",
            "real drain: 10.0.1.13:8080 takes part: weight 0, 0 established and 0 other \
             sessions on this worker",
            "pick picked: rr picks 10.0.1.11:8080 next",
            "ports room: pool blue has 0 of 2 ports towards it in use on this worker",
            "table room: 0 of 64 sessions of this worker exist",
            "route found: 10.0.1.11 is reached by port lan",
            "neighbour known: 10.0.1.11 is at 02:aa:0a:00:01:0b",
            "verdict forward: it is translated and leaves by port lan",
        ]
    );
}

#[test]
fn a_client_whose_real_server_has_not_answered_waits_and_its_repeated_syn_is_absorbed() {
    let mut world = proxied("mode = always");
    let service = world.snapshot().services.iter().next().unwrap().id;
    while world.take_emitted().is_some() {}
    assert_eq!(fate(&agrees(&mut world, &tcp(5000, S))), Fate::SynAck);
    let answer = world.take_emitted().unwrap();
    let parsed = Parsed::parse(&answer.frame).unwrap();
    let cookie = parsed.v4().unwrap().tcp().unwrap().seq;
    let ack = Case {
        seq: 1001,
        ack: (cookie + 1).0,
        ..tcp(5000, A)
    };
    assert_eq!(fate(&explain(&world, 0, &ack)), Fate::IfValid);
    ack.send(&mut world, 0);
    assert_eq!(fate(&agrees(&mut world, &ack)), Fate::Wait);
    let said = explain(&world, 0, &tcp(5000, S));
    let state = said.iter().find(|it| it.decision() == "session").unwrap();
    assert_eq!(state.outcome(), "syn-sent");
    assert_eq!(world.directors()[0].flood(service).cookie_valid, 1);
}

#[test]
fn a_worker_that_drains_promises_nothing_and_says_so() {
    let mut world = proxied("mode = always");
    world.directors_mut()[0].admit(false);
    let said = agrees(&mut world, &tcp(5000, S));
    assert_eq!(synproxy(&said), SynproxyState::Draining);
    assert_eq!(fate(&said), Fate::Refuse(DropReason::NoReal));
}

#[test]
fn a_full_service_is_told_before_its_cookie_is_sent() {
    let config = config("synproxy = front\nmax-sessions = 1", "mode = always");
    let mut world = world_of(config, 1);
    while world.take_emitted().is_some() {}
    let limit = |said: &[Explained]| {
        let limit = said.iter().find(|it| it.decision() == "limit").unwrap();
        limit.outcome()
    };
    assert_eq!(limit(&agrees(&mut world, &tcp(5000, S))), "room");
    let answer = world.take_emitted().unwrap();
    let parsed = Parsed::parse(&answer.frame).unwrap();
    let cookie = parsed.v4().unwrap().tcp().unwrap().seq;
    let ack = Case {
        seq: 1001,
        ack: (cookie + 1).0,
        ..tcp(5000, A)
    };
    ack.send(&mut world, 0);
    let said = agrees(&mut world, &tcp(5001, S));
    assert_eq!((limit(&said), fate(&said)), ("full", Fate::SynAck));
}

#[test]
fn who_is_asked_about_is_resolved_and_then_known() {
    let mut world = plain();
    let now = Now {
        time: world.time(),
        wall_ms: 0,
    };
    let director = &mut world.directors_mut()[0];
    let known = director.reach(now, REALS[0]);
    assert!(known.hop.is_some() && known.mac.is_some(), "{known:?}");
    let nobody = Ipv4Addr::new(10, 0, 1, 99);
    let ledger = *director.ledger();
    assert_eq!(director.reach(now, nobody).mac, None);
    assert_eq!(director.ledger().originated, ledger.originated + 1);
    assert_eq!(director.reach(now, nobody).mac, None);
    assert_eq!(director.ledger().originated, ledger.originated + 1);
    let mac = weir_wire::EthAddr([2, 0, 0, 0, 0, 99]);
    let port = director.reach(now, nobody).hop.unwrap().0;
    director.learn_neighbour(now, port, nobody, mac);
    assert_eq!(director.reach(now, nobody).mac, Some(mac));
    let mut all = Vec::new();
    director.neighbours(&mut |neighbour| all.push(neighbour));
    assert!(all.iter().any(|it| it.address == nobody && it.mac == mac));
}
