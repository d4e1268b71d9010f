//! The end of the daemon, and what outlives it, through a whole control thread.

use nix::libc;
use nix::sys::signal::{SigSet, Signal, raise};
use weir_model::{Counters, Ledger};

use super::*;
use crate::defence;
use crate::publish::Vitals;

/// Has the first worker say how many sessions it has, and how many of them are over.
fn has_sessions(played: &Played, sessions: u64, over: u64) {
    let vitals = Vitals {
        sessions,
        over,
        ..Vitals::default()
    };
    says(played, vitals);
}

/// Has the first worker publish this.
fn says(played: &Played, vitals: Vitals) {
    let worker = played.control.scene.fleet.worker(0).unwrap();
    let (ledger, counters) = (Ledger::default(), Counters::default());
    let stats = [netmap_io::PortStats::default()];
    worker
        .published
        .write(&ledger, &counters, vitals, stats.iter());
}

fn texts(rows: &[EventRow]) -> Vec<&str> {
    rows.iter().map(|row| row.text.as_str()).collect()
}

/// Sends SIGTERM to this thread alone, which is the one that control runs in.
fn terminate() {
    raise(Signal::SIGTERM).unwrap();
}

#[test]
fn sigterm_opens_no_more_sessions_waits_for_those_there_are_and_ends_the_workers_at_last() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("sigterm");
    let mut played = home.start();
    has_sessions(&played, 3, 1);
    terminate();
    played.serve_until(|control| control.scene.stopping.is_some());
    // It answers on, and a turn later the workers know.
    let said = played.events("stopping");
    assert_eq!(
        texts(&said),
        ["stopping when 2 sessions have ended, in 30s at most; a second signal stops at once"]
    );
    assert_eq!(played.admits, [false, false]);
    assert!(!played.control.is_over());
    assert!(played.ends.iter().all(|end| end.commands.is_empty()));
    has_sessions(&played, 1, 1);
    assert!(played.control.is_over(), "what is over keeps nobody");

    let Played { control, ends, .. } = played;
    control.run().unwrap();
    for end in &ends {
        let commands: Vec<Command> = end.commands.try_iter().collect();
        assert!(
            matches!(commands.as_slice(), [Command::Stop]),
            "{commands:?}"
        );
    }
    // Control has gone, and what it said is there.
    assert_eq!(home.start().events("stopping"), said);
}

#[test]
fn a_second_sigterm_waits_for_nobody_and_one_without_sessions_is_told_too() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("sigterm-twice");
    let mut played = home.start();
    has_sessions(&played, 3, 1);
    terminate();
    played.serve_until(|control| control.scene.stopping.is_some());
    assert!(!played.control.is_over());
    terminate();
    played.serve_until(Control::is_over);
    played.control.run().unwrap();

    let mut played = home.start();
    let said = played.events("stopping");
    assert_eq!(texts(&said)[1..], ["stopping at once, with 2 sessions"]);
    terminate();
    played.serve_until(Control::is_over);
    played.control.run().unwrap();
    let said = home.start().events("stopping");
    assert_eq!(texts(&said)[2..], ["stopping; there are no sessions"]);
}

#[test]
fn sessions_whose_time_is_over_are_counted_at_the_end() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("stop-after");
    home.write(&format!("[node]\nstop-after = 1s\n{CONF}"));
    let mut played = home.start();
    has_sessions(&played, 5, 2);
    terminate();
    played.serve_until(Control::is_over);
    played.control.run().unwrap();
    let said = home.start().events("stopping");
    assert_eq!(
        texts(&said)[1..],
        ["stopping with 3 sessions, whose time is over"]
    );
}

#[test]
fn half_open_sessions_that_nobody_completes_keep_a_stop_waiting_for_five_seconds_only() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("stop-half-open");
    let mut played = home.start();
    let of = |sessions: u64| Vitals {
        sessions,
        over: 1,
        half_open: 7,
        ..Vitals::default()
    };
    says(&played, of(8));
    let began = Instant::now();
    terminate();
    played.serve_until(|control| control.scene.stopping.is_some());
    assert!(!played.control.is_over(), "clients may still answer");
    says(&played, of(9));
    played.serve_until(|_| began.elapsed() > Duration::from_millis(5500));
    assert!(!played.control.is_over(), "one of them is established");
    says(&played, of(8));
    assert!(played.control.is_over(), "no client is behind these");
    played.control.run().unwrap();
    let said = home.start().events("stopping");
    assert_eq!(
        texts(&said)[1..],
        ["stopping with 7 sessions, which no client completed"]
    );
}

/// Lets a daemon that may not do these system calls, nor what no daemon may, keep an event, and
/// start once more; returns the events of then, and why some are not kept.
fn sealed(name: &'static str, never: &'static [libc::c_long]) -> (Vec<EventRow>, Vec<String>) {
    let sealed = thread::spawn(move || {
        defence::seal_thread(never).unwrap();
        let home = Home::new(name);
        let mut played = home.start();
        played.apply(&with_dns()).unwrap();
        // Events are written once a second.
        let end = Instant::now() + Duration::from_millis(2500);
        played.serve_until(|_| Instant::now() > end);
        let lost = played.events("events-not-kept");
        let before = played.events("applied");
        drop(played);
        let after = home.start().events("applied");
        assert!(after.is_empty() || after == before);
        (after, lost.into_iter().map(|row| row.text).collect())
    });
    sealed.join().unwrap()
}

#[test]
fn a_sealed_daemon_keeps_its_events_and_one_that_may_not_write_them_says_so() {
    let (kept, lost) = sealed("sealed", &[]);
    assert_eq!((kept.len(), lost.as_slice()), (1, &[][..]));
    for (name, never) in [
        ("sealed-sync", &[libc::SYS_fdatasync]),
        ("sealed-folder", &[libc::SYS_fsync]),
    ] {
        let (_, lost) = sealed(name, never);
        let [mark, why] = lost.as_slice() else {
            panic!("{name}: {lost:?}");
        };
        assert_eq!(
            mark.to_lowercase(),
            "the next start cannot tell how this daemon ended: operation not permitted"
        );
        assert!(why.starts_with("events are not kept in "), "{why}");
        assert!(why.ends_with("peration not permitted"), "{why}");
    }
}

#[test]
fn each_start_is_told_and_one_after_a_daemon_that_died_is_a_warning() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("started");
    let mut played = home.start();
    let said = played.events("started");
    let version = env!("CARGO_PKG_VERSION");
    let first = format!("weir {version} started with configuration 1 and 2 workers");
    assert_eq!(texts(&said), [first.as_str()]);
    assert!(!said[0].fields.contains_key("before"));
    terminate();
    played.serve_until(Control::is_over);
    played.control.run().unwrap();

    // The second is told after one that stopped, and is killed once its events are on the disk.
    let mut played = home.start();
    let end = Instant::now() + Duration::from_millis(2500);
    played.serve_until(|_| Instant::now() > end);
    drop(played);
    let said = home.start().events("started");
    let of = |row: &EventRow| (row.severity.clone(), row.fields.get("before").cloned());
    let told: Vec<_> = said.iter().map(of).collect();
    let notice = |before: Option<&str>| ("notice".to_owned(), before.map(str::to_owned));
    let died = ("warning".to_owned(), Some("died".to_owned()));
    assert_eq!(told, [notice(None), notice(Some("stopped")), died]);
    assert!(said[2].text.contains("was not stopped: it crashed"));
}

/// Returns what the next start tells of the daemon before, and how bad that is.
fn told_by_the_next_start(home: &Home) -> (String, String, String) {
    let mut row = home.start().events("started").pop().unwrap();
    let before = row.fields.remove("before").unwrap_or_default();
    let (_, told) = row.text.split_once("workers").unwrap();
    (row.severity, before, told.to_owned())
}

#[test]
fn a_stop_whose_last_events_found_no_room_on_the_disk_is_one_all_the_same() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("stopped-unheard");
    let mut played = home.start();
    terminate();
    played.serve_until(Control::is_over);
    played.control.run().unwrap();
    let segment = home.path().join("events/00000000.jsonl");
    let text = fs::read_to_string(&segment).unwrap();
    let lines = text.split_inclusive('\n');
    let kept: String = lines.filter(|line| !line.contains("stopping")).collect();
    assert!(kept.len() < text.len());
    fs::write(&segment, kept).unwrap();
    let told = told_by_the_next_start(&home);
    assert_eq!(
        told,
        ("notice".to_owned(), "stopped".to_owned(), String::new())
    );
}

#[test]
fn a_daemon_that_is_killed_while_it_waits_for_sessions_has_died() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("killed-draining");
    let mut played = home.start();
    has_sessions(&played, 3, 1);
    terminate();
    played.serve_until(|control| control.scene.stopping.is_some());
    assert!(!played.control.is_over());
    drop(played);
    let (severity, before, told) = told_by_the_next_start(&home);
    assert_eq!((severity.as_str(), before.as_str()), ("warning", "died"));
    let how = "; the daemon before did not end its stop: it crashed, was killed or lost its power after 20";
    assert!(told.starts_with(how), "{told}");
}

#[test]
fn the_mark_of_an_earlier_daemon_says_nothing_of_one_that_knew_none() {
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    let home = Home::new("stopped-then-older");
    let mut played = home.start();
    terminate();
    played.serve_until(Control::is_over);
    played.control.run().unwrap();
    let mark = home.path().join("events/daemon");
    let ended = fs::read(&mark).unwrap();
    // Of an older version, which dies.
    drop(home.start());
    fs::write(&mark, &ended).unwrap();
    let (severity, before, _) = told_by_the_next_start(&home);
    assert_eq!((severity.as_str(), before.as_str()), ("warning", "died"));
}
