//! The thread against listeners on the loopback device.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::Instant;

use nix::sys::socket::{
    self, AddressFamily, Backlog, SetSockOpt, SockFlag, SockType, SockaddrIn, sockopt,
};
use weir_model::Health;

use super::*;

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

fn target(id: u32, address: SocketAddr) -> Target {
    Target {
        id: TargetId(id),
        address,
        health: Health {
            interval: Duration::from_millis(50),
            // What answers may have to wait for a core.
            timeout: PATIENCE,
            rise: 2,
            fall: 3,
            ..Health::default()
        },
        is_up: true,
        since: Now::default(),
    }
}

/// A target that is not waited for as long.
fn hurried(id: u32, address: SocketAddr) -> Target {
    let target = target(id, address);
    let timeout = Duration::from_millis(200);
    let health = Health {
        timeout,
        ..target.health
    };
    Target { health, ..target }
}

fn start() -> (Prober, Poll) {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    (Prober::start(Clock::start(), waker).unwrap(), poll)
}

/// Waits for the finding that is asked for; the others are what led there.
fn wait(prober: &Prober, wanted: impl Fn(&Finding) -> bool) -> Finding {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let finding = prober.findings.recv_timeout(left).unwrap();
        if wanted(&finding) {
            return finding;
        }
    }
}

/// A listener with so short a queue, and with so large a buffer and segment where they are given.
fn listener(
    at: SocketAddr,
    queue: i32,
    buffer: Option<usize>,
    segment: Option<u32>,
) -> (OwnedFd, SocketAddr) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    sockopt::ReuseAddr.set(&fd, &true).unwrap();
    if let Some(buffer) = buffer {
        sockopt::RcvBuf.set(&fd, &buffer).unwrap();
    }
    if let Some(segment) = segment {
        sockopt::TcpMaxSeg.set(&fd, &segment).unwrap();
    }
    let SocketAddr::V4(v4) = at else {
        panic!("IPv4 only");
    };
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(v4)).unwrap();
    socket::listen(&fd, Backlog::new(queue).unwrap()).unwrap();
    let bound: SockaddrIn = socket::getsockname(fd.as_raw_fd()).unwrap();
    (fd, SocketAddr::from((bound.ip(), bound.port())))
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A port at which nobody listens: it was somebody's until now.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind(any_port()).unwrap();
    listener.local_addr().unwrap()
}

fn sysctl(name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap();
    text.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn what_is_learned_is_what_this_machine_is_set_to() {
    let (_fd, at) = listener(any_port(), 100, None, Some(1200));
    let (prober, _poll) = start();
    prober.aim(vec![target(1, at)]);
    let learned = wait(&prober, |_| true).learned.unwrap();
    let room = sysctl("ipv4/tcp_rmem").max(sysctl("core/rmem_max"));
    let wscale = room.ilog2().saturating_sub(15).min(14) as u8;
    assert_eq!(
        learned,
        weir_model::Offer {
            mss: 1200,
            wscale: (sysctl("ipv4/tcp_window_scaling") == 1).then_some(wscale),
            sack: sysctl("ipv4/tcp_sack") == 1,
            timestamps: sysctl("ipv4/tcp_timestamps") != 0,
        }
    );
}

#[test]
fn options_that_change_are_found_and_a_scale_of_zero_is_one() {
    let (fd, at) = listener(any_port(), 100, Some(8192), None);
    let (prober, _poll) = start();
    prober.aim(vec![target(1, at)]);
    let first = wait(&prober, |_| true).learned.unwrap();
    assert_eq!(first.wscale, Some(0));
    drop(fd);
    let (_fd, _) = listener(at, 100, None, None);
    let other = wait(&prober, |finding| finding.learned != Some(first));
    assert!(other.learned.unwrap().wscale > Some(0));
}

#[test]
fn a_closed_port_goes_down_and_comes_up_when_somebody_listens_whose_peace_is_not_disturbed() {
    let closed = closed_port();
    let (fd, open) = listener(any_port(), 100, None, None);
    let (prober, _poll) = start();
    prober.aim(vec![target(1, open), target(2, closed)]);
    let began = Instant::now();
    let down = wait(&prober, |finding| !finding.is_up);
    assert_eq!(down.id, TargetId(2));
    assert_eq!(down.last_error.as_deref(), Some("connection refused"));
    assert!(began.elapsed() >= Duration::from_millis(90), "three checks");
    let (_late, _) = listener(closed, 100, None, None);
    let up = wait(&prober, |finding| {
        finding.id == TargetId(2) && finding.is_up
    });
    assert_eq!(up.last_error, None);
    assert!(up.since.time > down.since.time && up.learned.is_some());
    // The other one was probed all the time, and nothing came to its application.
    assert!(began.elapsed() >= Duration::from_millis(180));
    let accepted = socket::accept(fd.as_raw_fd());
    assert_eq!(accepted, Err(nix::errno::Errno::EAGAIN));
}

#[test]
fn an_application_that_accepts_nothing_more_is_silent_and_goes_down() {
    let (fd, at) = listener(any_port(), 0, None, None);
    // Of the queue's one place and a half-open one beside it nothing is left.
    let clients: Vec<_> = (0..3).map(|_| Probe::begin(at).unwrap()).collect();
    let full: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect_timeout(&at, Duration::from_millis(100)))
        .collect();
    let (prober, _poll) = start();
    prober.aim(vec![hurried(1, at)]);
    let down = wait(&prober, |finding| !finding.is_up);
    assert_eq!(down.last_error.as_deref(), Some("no answer within 200ms"));
    drop((clients, full, fd));
}

#[test]
fn a_target_that_is_taken_away_is_probed_no_more() {
    let (first, closed) = (closed_port(), closed_port());
    let (prober, _poll) = start();
    prober.aim(vec![target(1, first)]);
    wait(&prober, |finding| finding.id == TargetId(1));
    prober.aim(vec![target(2, closed)]);
    wait(&prober, |finding| {
        finding.id == TargetId(2) && !finding.is_up
    });
    let late = prober.findings.recv_timeout(Duration::from_millis(300));
    assert!(late.is_err(), "{late:?}");
}

#[test]
fn no_descriptor_is_left_open() {
    const ALONE: &str = "WEIR_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // Other tests open and close files of this process meanwhile.
        let name = "health::prober::tests::no_descriptor_is_left_open";
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let output = alone.args(["--exact", name]).env(ALONE, "1").output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    {
        let (_fd, at) = listener(any_port(), 100, None, None);
        let (full, silent) = listener(any_port(), 0, None, None);
        let held: Vec<_> = (0..3)
            .map(|_| std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(100)))
            .collect();
        let (prober, _poll) = start();
        let (closed, idle) = (closed_port(), open());
        let all = [at, closed, silent];
        let ids = 0..300;
        let targets = ids.map(|id| hurried(id, all[id as usize % 3]));
        prober.aim(targets.collect());
        // Every third one is closed and every third one is silent.
        for _ in 0..200 {
            wait(&prober, |finding| !finding.is_up);
        }
        let most = open();
        assert!(most <= idle + 300, "{most} open, {idle} when idle");
        prober.aim(Vec::new());
        let deadline = Instant::now() + PATIENCE;
        while open() > idle {
            assert!(Instant::now() < deadline, "{} of {idle} open", open());
            thread::sleep(Duration::from_millis(10));
        }
        drop((held, full));
    }
    assert_eq!(open(), before);
}

#[test]
#[ignore = "takes half a minute of most of a core; measures"]
fn five_thousand_real_servers_at_two_seconds_cost_less_than_one_core() {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let (_fd, at) = listener(any, 1000, None, None);
    let (prober, _poll) = start();
    let targets = (0..5000_u32).map(|id| {
        let address = [127, 1 + (id >> 16) as u8, (id >> 8) as u8, id as u8];
        Target {
            health: Health::default(),
            ..target(id, SocketAddr::from((address, at.port())))
        }
    });
    prober.aim(targets.collect());
    thread::sleep(Duration::from_secs(4));
    let (before, began, sent) = (thread_cpu(), Instant::now(), opens());
    thread::sleep(Duration::from_secs(20));
    let elapsed_ms = began.elapsed().as_millis() as u64;
    let rate = (opens() - sent) * 1000 / elapsed_ms;
    // A tick is 10 ms, so ticks per second are percent.
    let tenths = (thread_cpu() - before) * 10_000 / elapsed_ms;
    println!(
        "{rate} probes/s, {}.{} % of a core",
        tenths / 10,
        tenths % 10
    );
    let mut told = 0;
    while let Some(finding) = prober.next_finding() {
        assert!(finding.is_up && finding.last_error.is_none(), "{finding:?}");
        told += 1;
    }
    assert_eq!(told, FINDINGS, "all that find room");
    assert!(rate > 2400 && tenths < 1000);
}

/// Clock ticks of 10 ms that the health thread has worked.
fn thread_cpu() -> u64 {
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let text = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, rest) = text.rsplit_once(')').unwrap();
        if name.ends_with("(health") {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            return fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    panic!("there is no health thread");
}

/// Connections that this network namespace has opened.
fn opens() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap();
    let tcp = text.lines().filter(|line| line.starts_with("Tcp:")).nth(1);
    tcp.unwrap()
        .split_whitespace()
        .nth(5)
        .unwrap()
        .parse()
        .unwrap()
}
