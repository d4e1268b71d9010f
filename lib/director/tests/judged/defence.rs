//! `[defence]`: each key drops what it says, with its own reason, and nothing else.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use weir_director::Networks;
use weir_testkit::{PacketSpec, Transport, UdpSpec};
use weir_wire::{Header, Ipv4Header, Parsed, Sum, TcpFlags};

use super::field::{ACK, Fate, Field, RST, SYN, VIP, web};

const WORKERS: u8 = 2;
const FLAGS: [TcpFlags; 6] = [
    TcpFlags::FIN,
    TcpFlags::SYN,
    TcpFlags::RST,
    TcpFlags::PSH,
    TcpFlags::ACK,
    TcpFlags::URG,
];

fn guarded(workers: u8, keys: &str) -> Field {
    let lines = format!("[defence edge]\n{keys}[service web]\ndefence = edge\n");
    Field::new(workers, &web(&lines, &["", ""]))
}

#[test]
fn invalid_flags_are_those_that_rfc_9293_gives_no_meaning_and_no_others() {
    for (keys, drops) in [
        ("", true),
        ("invalid-flags = drop\n", true),
        ("invalid-flags = forward\n", false),
    ] {
        let mut field = guarded(WORKERS, keys);
        for bits in 0..64u32 {
            let chosen = (0..6).filter(|bit| bits & (1 << bit) != 0);
            let flags = chosen.fold(TcpFlags::NONE, |all, bit| all | FLAGS[bit]);
            let has = |flag| flags.contains(flag);
            // What begins, ends and aborts a connection exclude each other (section 3.10.7.4); all
            // but a SYN and a RST acknowledges something once there is a connection (section 3.1).
            let kinds = [has(SYN), has(TcpFlags::FIN), has(RST)];
            let invalid =
                kinds.iter().filter(|it| **it).count() > 1 || !(has(SYN) || has(RST) || has(ACK));
            let client = field.stranger();
            field.moved();
            field.segment(client, (VIP, 80), flags, 100, 0);
            let moved = field.moved();
            let dropped = moved.get("invalid-flags");
            assert_eq!(dropped == 1, invalid && drops, "{flags:?}: {moved}");
            if dropped == 1 {
                assert_eq!(
                    (moved.get("tx"), moved.get("session-opened")),
                    (0, 0),
                    "{moved}"
                );
            }
        }
        // Neither are they part of a connection.
        let client = field.stranger();
        let conn = field.opened(client);
        field.moved();
        field.segment(conn.client, conn.vip, TcpFlags::FIN, 101, 0);
        let expected = i64::from(drops);
        assert_eq!(field.moved().get("invalid-flags"), expected);
        field.segment(conn.client, conn.vip, ACK | TcpFlags::PSH, 101, 9001);
        field.dropped(&[]);
    }
}

#[test]
fn denied_networks_are_dropped_without_a_word_and_allowed_ones_in_them_are_not() {
    let keys = "deny = 45.1.0.0/16\ndeny = 45.2.3.4/32\nallow = 45.1.7.0/24\nallow = 45.2.0.0/16\n";
    let mut field = guarded(WORKERS, keys);
    for (client, denied) in [
        ("45.1.0.1", true),
        ("45.1.255.255", true),
        ("45.0.255.255", false),
        ("45.2.0.0", false),
        ("45.1.7.0", false),
        ("45.1.7.255", false),
        ("45.1.8.0", true),
        // Of networks in each other the smallest counts.
        ("45.2.3.4", true),
        ("45.2.3.5", false),
    ] {
        let client = field.of(client.parse().unwrap());
        field.moved();
        let fate = field.open(client, VIP);
        assert_eq!(fate == Fate::Silence, denied, "{client:?}");
        let mut count = i64::from(denied);
        if denied {
            // Whatever it sends.
            field.segment(client, (VIP, 80), ACK, 5, 5);
            field.segment(client, (VIP, 80), RST, 5, 0);
            count = 3;
        }
        field.dropped(&[("denied", count)]);
    }
}

#[test]
fn syns_of_a_prefix_pass_at_their_rate_and_others_are_not_concerned() {
    // Ten at once and ten a second for each /24, evenly over two workers.
    for workers in [1, 2] {
        let mut field = guarded(
            workers,
            "syn-rate = 10/s  burst=10  per=/24\nallow = 45.9.0.0/16\n",
        );
        let burst = |field: &mut Field, net: u32, count: u32| -> i64 {
            field.moved();
            let mut passed = 0;
            for n in 0..count {
                let client = field.of(Ipv4Addr::from(net + n % 250));
                passed += i64::from(field.syn(client, (VIP, 80)) != Fate::Silence);
            }
            field.dropped(&[("syn-rate", i64::from(count) - passed)]);
            passed
        };
        let net = u32::from(Ipv4Addr::new(45, 3, 3, 0));
        assert_eq!(burst(&mut field, net, 200), 10);
        // The neighbour has its own, and who is allowed none.
        assert_eq!(burst(&mut field, net + 256, 200), 10);
        let allowed = u32::from(Ipv4Addr::new(45, 9, 3, 0));
        assert_eq!(burst(&mut field, allowed, 100), 100);
        let mut passed = 0;
        for _ in 0..3 {
            field.wait(Duration::from_millis(500));
            passed += burst(&mut field, net, 100);
        }
        // What one worker has saved of its next SYN cannot be added to what another has.
        assert!((16 - i64::from(workers)..=15).contains(&passed), "{passed}");
        field.wait(Duration::from_mins(1));
        assert_eq!(burst(&mut field, net, 100), 10);
        // What is no SYN is not counted.
        let client = field.of(Ipv4Addr::from(net));
        field.moved();
        for _ in 0..50 {
            field.segment(client, (VIP, 80), ACK, 5, 5);
        }
        field.dropped(&[("no-session", 50)]);
    }
}

#[test]
fn new_sessions_of_a_client_are_refused_above_their_rate() {
    let mut field = guarded(1, "new-sessions = 4/s  burst=6\n");
    let one = Ipv4Addr::new(45, 3, 3, 1);
    for (client, wait, passes) in [
        (one, 0, 6),
        (Ipv4Addr::new(45, 3, 3, 2), 0, 6),
        (one, 1, 4),
        (one, 9, 6),
    ] {
        field.wait(Duration::from_secs(wait));
        field.moved();
        let mut refused = 0;
        let mut opened = 0;
        for _ in 0..20 {
            let socket = field.of(client);
            match field.open(socket, VIP) {
                Fate::Opened(_) => opened += 1,
                Fate::Refused => refused += 1,
                other @ (Fate::Cookie(_) | Fate::Silence) => panic!("{other:?}"),
            }
        }
        assert_eq!((opened, refused), (passes, 20 - passes));
        field.dropped(&[("session-rate", refused)]);
    }
}

#[test]
fn fragments_are_dropped_where_the_profile_says_so() {
    for (keys, drops) in [
        ("fragments = drop\n", true),
        ("fragments = forward\n", false),
        ("", false),
    ] {
        let lines = format!(
            "[defence edge]\n{keys}[service dns]\nlisten = 203.0.113.10:53/udp\ndefence = edge\n"
        );
        let mut field = Field::new(1, &web(&lines, &[""]));
        let client = field.stranger();
        let (port, spec) = field.world.around().packet(client.0, VIP).unwrap();
        let spec = PacketSpec {
            ident: 9,
            dont_fragment: false,
            transport: Transport::Udp(UdpSpec {
                src_port: client.1,
                dst_port: 53,
                payload: vec![3; 64],
            }),
            ..spec
        };
        let whole = spec.build();
        // The first 40 bytes of the datagram, and the rest.
        let pieces = [(0, 40, 1 << 13), (40, 72, 5)].map(|(from, to, place)| {
            let (head, body) = whole.split_at(14 + Ipv4Header::LEN);
            let mut frame = [head, &body[from..to]].concat();
            let ip = Ipv4Header::at_mut(&mut frame, 14).unwrap();
            ip.flags_frag = place.into();
            ip.total_len = ((Ipv4Header::LEN + to - from) as u16).into();
            ip.checksum = 0.into();
            let sum = Sum::of(&frame[14..34]).complement();
            Ipv4Header::at_mut(&mut frame, 14).unwrap().checksum = sum.into();
            frame
        });
        field.moved();
        let mut forwarded = 0;
        for piece in pieces {
            while field.world.take_emitted().is_some() {}
            field.world.inject(0, port, &piece).unwrap();
            forwarded += i64::from(field.world.take_emitted().is_some());
        }
        if drops {
            // The second says no port, and is nobody's without the first.
            field.dropped(&[("fragment-refused", 1), ("fragment", 1)]);
        } else {
            field.dropped(&[]);
        }
        assert_eq!(forwarded, if drops { 0 } else { 2 });
        field.datagram(client, (VIP, 53));
        field.dropped(&[]);
    }
}

#[test]
fn what_belongs_to_nothing_is_answered_only_where_the_profile_says_so() {
    for answers in [false, true] {
        let word = if answers { "no" } else { "yes" };
        let keys = format!("tcp-drop = {word}\nudp-drop = {word}\n");
        for synproxy in ["", "synproxy = calm\n"] {
            let lines = format!(
                "[synproxy calm]\nmode = adaptive\n[defence edge]\n{keys}[service web]\n{synproxy}\
                 defence = edge\n"
            );
            let mut field = Field::new(WORKERS, &web(&lines, &[""]));
            for flags in [ACK, ACK | TcpFlags::FIN, SYN | ACK, RST, RST | ACK] {
                let client = field.stranger();
                field.moved();
                field.segment(client, (VIP, 80), flags, 100, 77);
                let answer = field.world.take_emitted().map(|sent| {
                    let parsed = Parsed::parse(&sent.frame).unwrap();
                    let tcp = *parsed.v4().unwrap().tcp().unwrap();
                    assert_eq!(tcp.flags, RST);
                    tcp.seq.0
                });
                // What may be a cookie is `bad-ack`'s matter.
                let judged = flags.contains(ACK) && !flags.contains(SYN) && !flags.contains(RST);
                let judged = judged && !synproxy.is_empty();
                let told = answers && !judged && !flags.contains(RST);
                assert_eq!(answer, told.then_some(77), "{flags:?}");
                let reason = if judged { "bad-cookie" } else { "no-session" };
                field.dropped(&[(reason, 1)]);
            }
            let client = field.stranger();
            field.moved();
            field.datagram(client, (VIP, 53));
            field.dropped(&[("no-service", 1)]);
            let answer = field.world.take_emitted().map(|sent| {
                let parsed = Parsed::parse(&sent.frame).unwrap();
                let v4 = *parsed.v4().unwrap();
                assert_eq!((v4.src, v4.dst), (VIP, client.0));
                (sent.frame[34], sent.frame[35])
            });
            // RFC 1122 section 3.2.2.1.
            assert_eq!(answer, answers.then_some((3, 3)));
        }
    }
}

#[test]
fn sessions_of_those_who_become_denied_are_reset_a_few_in_a_turn() {
    let mut field = guarded(1, "");
    for _ in 0..200 {
        let client = field.stranger();
        field.opened(client);
    }
    let everybody = Arc::new(Networks::denied(&["0.0.0.0/0".parse().unwrap()]));
    let now = field.world.now();
    let director = &mut field.world.directors_mut()[0];
    assert_eq!(director.session_count(), 200);
    director.deny(everybody);
    director.tick(now);
    // Both ends of as many as can be told before the next turn.
    let reset = 200 - director.session_count();
    assert!((1..=64).contains(&reset), "{reset}");
    field.moved();
    field.wait(Duration::from_secs(1));
    assert_eq!(field.world.directors()[0].session_count(), 0);
    field.dropped(&[]);
}
