//! Packets beside a flood of events: a worker that logs 100,000 of them in a second, the hub, and
//! receivers on this machine, against the same worker with the log off.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use weir_director::SessionRecord;
use weir_model::{SessionLog, Snapshot};

use super::rig::{BURST, Connection, Rig, Step};
use crate::control::events::Events;
use crate::daemon::machine;

/// Events in a second, and how often a burst of connections lives for them: each session is told
/// when it opens and when it ends.
const EVENTS: u32 = 100_000;
const EVERY: Duration = Duration::from_nanos(1_000_000_000 * 2 * BURST as u64 / EVENTS as u64);
/// What is left of the rate at least.
const WANTED: f64 = 0.98;
const PAIRS: usize = 21;
const TURN: Duration = Duration::from_millis(500);
/// As large as the daemon's.
const RING: usize = 16_384;
/// As often as the daemon's control looks.
const TICK: Duration = Duration::from_millis(100);

/// A worker, the connections whose packets it passes on, and its end of the ring.
struct Bench {
    rig: Rig,
    open: Vec<Connection>,
    log: Producer<SessionRecord>,
    /// Bursts of packets between two of lives.
    forwards: u32,
    logged: u64,
    lost: u64,
}

impl Bench {
    fn new(log: Producer<SessionRecord>) -> Self {
        let mut rig = Rig::new(1 << 16).unwrap();
        rig.pass(Duration::from_millis(1));
        let mut open = Vec::new();
        for _ in 0..16 {
            let mut clients = rig.clients();
            for step in Step::LIFE.into_iter().take(5) {
                rig.step(step, &mut clients).unwrap();
            }
            open.extend(clients);
        }
        let mut bench = Self {
            rig,
            open,
            log,
            forwards: 1,
            logged: 0,
            lost: 0,
        };
        // Until as many sessions end as begin.
        for _ in 0..1_000 {
            bench.slot();
        }
        // As many packets besides as there is time for, with what it takes to make them.
        let begun = Instant::now();
        for _ in 0..100 {
            bench.slot();
        }
        let lives = begun.elapsed() / 100;
        let begun = Instant::now();
        for _ in 0..100 {
            bench.rig.forward(&bench.open).unwrap();
        }
        let one = (begun.elapsed() / 100).max(Duration::from_nanos(1));
        let room = (EVERY * 3 / 4).saturating_sub(lives).as_nanos() / one.as_nanos();
        bench.forwards = (room as u32).clamp(1, 64);
        bench
    }

    /// Lets a burst of connections live and packets of others pass; returns how many packets that
    /// were and how long they took.
    fn slot(&mut self) -> (u32, Duration) {
        let mut took = Duration::ZERO;
        let mut clients = self.rig.clients();
        for step in Step::LIFE {
            took += self.rig.step(step, &mut clients).unwrap();
        }
        took += self.rig.pass(Duration::from_millis(25));
        for _ in 0..self.forwards {
            took += self.rig.forward(&self.open).unwrap();
        }
        let begun = Instant::now();
        self.log();
        let packets = (Step::LIFE.len() as u32 + 2 * self.forwards) * BURST as u32;
        (packets, took + begun.elapsed())
    }

    /// As a worker does after each turn.
    fn log(&mut self) {
        let director = self.rig.director();
        if !director.has_session_log() {
            return;
        }
        let (log, mut refused) = (&mut self.log, 0);
        let mut logged = 0;
        let lost = director.fetch_session_log(&mut |record| {
            let pushed = log.push(record).is_ok();
            logged += u64::from(pushed);
            refused += u64::from(!pushed);
        });
        self.logged += logged;
        self.lost += lost + refused;
    }

    /// Returns packets per second of the time that they took.
    fn turn(&mut self) -> f64 {
        let begun = Instant::now();
        let (mut packets, mut took, mut next) = (0, Duration::ZERO, begun);
        while begun.elapsed() < TURN {
            let (some, time) = self.slot();
            packets += some;
            took += time;
            next += EVERY;
            while Instant::now() < next {
                std::hint::spin_loop();
            }
        }
        f64::from(packets) / took.as_secs_f64()
    }
}

/// Receivers that take everything and look at nothing.
fn receivers(is_over: &Arc<AtomicBool>) -> String {
    let mut conf = String::new();
    for name in ["one", "two"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        conf.extend(["[syslog ", name, "]\ntransport = tcp\nserver = "]);
        conf.extend([&server.to_string(), "\n"]);
        thread::spawn(move || {
            let mut bytes = vec![0; 1 << 16];
            let (mut stream, _) = listener.accept().unwrap();
            while stream.read(&mut bytes).unwrap_or_default() > 0 {}
        });
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(TICK)).unwrap();
    let server = socket.local_addr().unwrap();
    let is_over = is_over.clone();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while !is_over.load(Ordering::Relaxed) {
            let _ = socket.recv(&mut bytes);
        }
    });
    conf + &format!("[syslog three]\nserver = {server}\n")
}

/// The hub on a thread of its own, as control has it; returns how many sessions it took.
fn control(
    mut ring: Consumer<SessionRecord>,
    snapshot: Arc<Snapshot>,
    is_over: Arc<AtomicBool>,
) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut events = Events::default();
        events.adopt(&snapshot);
        let mut taken = 0;
        while !is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            while let Ok(record) = ring.pop() {
                events.session(now, &record);
                taken += 1;
            }
            events.tick(now);
            thread::sleep(TICK.saturating_sub(now.elapsed()));
        }
        for row in events.receivers() {
            assert!(row.sent > 0, "{row:?}");
        }
        events.finish();
        taken
    })
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "it measures; what is not built for release is too slow for such a flood"
)]
fn a_flood_of_events_leaves_the_rate_of_packets_as_it_is() {
    let cores = machine::allowed_cpus().unwrap();
    let (mine, others) = cores.split_last().unwrap();
    if !others.is_empty() {
        // Threads run where the one that starts them does.
        machine::pin(others).unwrap();
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let (producer, consumer) = RingBuffer::new(RING);
    let quiet = weir_rig::snapshot(1).unwrap();
    let receivers = receivers(&is_over);
    let place = "[port wan]\ndevice = wan\naddress = 203.0.113.2/24\n";
    let mut logging = quiet.clone();
    logging.syslog = weir_testkit::snapshot("receivers.conf", &format!("{place}{receivers}"))
        .unwrap()
        .syslog;
    for at in 0..logging.services.bound() {
        let mut service = logging.services.get(at).unwrap().clone();
        service.session_log = SessionLog::Both;
        logging.services.insert(at, service);
    }
    let (quiet, logging) = (Arc::new(quiet), Arc::new(logging));
    let control = control(consumer, logging.clone(), is_over.clone());
    if !others.is_empty() {
        machine::pin(&[*mine]).unwrap();
    }
    let mut bench = Bench::new(producer);
    let (mut ratios, mut logged, mut time) = (Vec::new(), 0, Duration::ZERO);
    for pair in 0..PAIRS {
        let mut rates = [0.0; 2];
        // Each comes first as often as the other.
        for with in [pair % 2, 1 - pair % 2] {
            let snapshot = [&quiet, &logging][with];
            bench.rig.apply(snapshot.clone());
            let (before, begun) = (bench.logged, Instant::now());
            rates[with] = bench.turn();
            if with == 1 {
                logged += bench.logged - before;
                time += begun.elapsed();
            } else {
                assert!(
                    bench.logged - before <= 2 * BURST as u64,
                    "it logs what it must not"
                );
            }
        }
        ratios.push(rates[1] / rates[0]);
    }
    is_over.store(true, Ordering::Relaxed);
    let taken = control.join().unwrap();
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[PAIRS / 2];
    let per_second = f64::from(logged as u32) / time.as_secs_f64();
    println!(
        "{per_second:.0} events a second, {} of {} lost: ratio {ratio:.3} ({:.3} to {:.3}), {} \
         packets a slot",
        bench.lost,
        bench.logged,
        ratios[0],
        ratios[PAIRS - 1],
        (Step::LIFE.len() as u32 + 2 * bench.forwards) * BURST as u32
    );
    assert_eq!(bench.lost, 0);
    // What was logged a moment before the end is still in the ring.
    let left = bench.logged - taken;
    assert!(
        left < RING as u64,
        "{left} of {} were not taken",
        bench.logged
    );
    assert!(ratio >= WANTED, "the rate is {ratio:.3} of what it was");
    assert!(
        per_second >= 0.95 * f64::from(EVENTS),
        "{per_second:.0} events a second"
    );
}
