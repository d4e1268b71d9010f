//! Floods from the frames to what control sees.

use weir_director::{ExplainQuery, Explained, Fate};
use weir_model::{Event, Protocol, ServiceId};
use weir_testkit::TcpSpec;
use weir_wire::{SeqNumber, TcpFlags};

use super::*;

const CONF: &str = "
[synproxy front]
mode = adaptive
enter = 150/s
leave = 50/s
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
synproxy = front
real = 10.81.0.11:80
";

fn syn(port: u16) -> Vec<u8> {
    PacketSpec {
        eth_src: peer_mac(CLIENT),
        eth_dst: EthAddr(mac(WAN)),
        src: CLIENT,
        dst: VIP,
        transport: Transport::Tcp(TcpSpec {
            src_port: port,
            dst_port: 80,
            seq: SeqNumber(u32::from(port)),
            flags: TcpFlags::SYN,
            ..TcpSpec::default()
        }),
        ..PacketSpec::default()
    }
    .build()
}

/// Lets a worker take so many SYNs, and returns how many answers left by the WAN.
fn flood(bench: &mut Bench, ports: std::ops::Range<u16>) -> usize {
    let mut answers = 0;
    for port in ports {
        bench.receive(WAN, syn(port));
        if port % 50 == 49 {
            bench.worker.turn();
            let mut wire = bench.wires[WAN].lock().unwrap();
            let sent = wire.from_worker.drain(..);
            answers += sent.filter(|frame| arp(frame).is_none()).count();
        }
    }
    answers
}

fn notices(bench: &Bench) -> Vec<Notice> {
    let news = bench.control.news.try_iter();
    news.filter_map(|news| match news {
        News::Notice(notice) => Some(notice),
        News::Crashed { .. } | News::PortFailed { .. } => None,
    })
    .collect()
}

fn query(port: u16) -> ExplainQuery {
    ExplainQuery {
        client: (CLIENT, port),
        vip: (VIP, 80),
        protocol: Protocol::Tcp,
        flags: TcpFlags::SYN,
    }
}

fn ask(bench: &mut Bench, query: ExplainQuery) -> Vec<Explained> {
    let ticket = Ticket(3);
    let decisions = Vec::with_capacity(40);
    let command = Command::Explain {
        ticket,
        query,
        decisions,
    };
    bench.control.commands.send(command).unwrap();
    bench.worker.turn();
    match bench.control.answers.try_recv().unwrap() {
        Answer::Explained {
            ticket: Ticket(3),
            decisions,
        } => decisions,
        other @ (Answer::Sessions { .. }
        | Answer::Applied { .. }
        | Answer::Denied { .. }
        | Answer::PoolUse { .. }
        | Answer::Untapped(_)
        | Answer::Reset { .. }
        | Answer::Explained { .. }
        | Answer::Neighbours { .. }
        | Answer::Reached { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn a_flood_is_on_the_board_before_control_hears_of_it() {
    let mut bench = benches_of(CONF, 1).remove(0);
    let service = ServiceId(0);
    bench.worker.turn();
    let quiet = bench.worker.boards.flood.read();
    assert!(!quiet.service(service).unwrap().triggered);
    // Far less than the time that a board may be old passes here.
    let answers = flood(&mut bench, 10_000..10_300);
    let seen = bench.worker.boards.flood.read();
    let seen = seen.service(service).unwrap();
    assert!(seen.triggered && seen.counters.active == 1, "{seen:?}");
    let notices = notices(&bench);
    assert!(notices.contains(&Notice::Flood {
        service,
        active: true
    }));
    assert!(
        notices
            .iter()
            .any(|it| matches!(it, Notice::Event(Event::FloodBegan { .. }))),
        "{notices:?}"
    );
    bench.worker.publish_flood(0);
    let seen = bench.worker.boards.flood.read();
    let counters = seen.service(service).unwrap().counters;
    assert_eq!(counters.syn_in, 300);
    assert_eq!(
        counters.syn_in,
        counters.cookie_sent + counters.passed + counters.limited
    );
    assert!(counters.cookie_sent >= 150, "{counters:?}");
    assert_eq!(answers as u64, counters.cookie_sent);
}

#[test]
fn a_worker_that_is_told_of_a_flood_answers_with_cookies_until_it_is_told_of_its_end() {
    let mut bench = benches_of(CONF, 1).remove(0);
    let service = ServiceId(0);
    let mut answers = Vec::new();
    for (active, ports) in [(true, 10_000..10_050), (false, 10_050..10_100)] {
        let command = Command::FloodHint { service, active };
        bench.control.commands.send(command).unwrap();
        bench.worker.turn();
        answers.push(flood(&mut bench, ports));
    }
    assert_eq!(answers, [50, 0]);
    assert!(!bench.worker.director.flood_triggered(service));
}

#[test]
fn a_question_is_answered_by_the_owner_and_changes_nothing() {
    let mut benches = benches_of(CONF, 2);
    let answers = benches.iter_mut().map(|bench| ask(bench, query(10_000)));
    let fates: Vec<bool> = answers
        .map(|said| matches!(said.last(), Some(Explained::Fate(Fate::Hold(_)))))
        .collect();
    assert_eq!(fates.iter().filter(|here| **here).count(), 1, "{fates:?}");
    for bench in &mut benches {
        bench.worker.publish(Clock::start().now());
        let picture = bench.published.read();
        assert_eq!((picture.vitals.sessions, picture.ledger.held), (0, 0));
    }
}

#[test]
fn what_the_last_packets_changed_is_published_before_a_long_sleep() {
    let mut bench = benches_of(CONF, 1).remove(0);
    flood(&mut bench, 10_000..10_050);
    assert_eq!(bench.worker.flood_old_pages, 1);
    let deadline = bench.worker.clock.now().time.after(Duration::from_secs(5));
    while bench.worker.flood_old_pages > 0 {
        assert!(bench.worker.clock.now().time < deadline);
        bench.worker.turn();
    }
    let seen = bench.worker.boards.flood.read();
    assert_eq!(seen.service(ServiceId(0)).unwrap().counters.syn_in, 50);
}
