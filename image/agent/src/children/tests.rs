use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::*;
use crate::places::Places;
use crate::words::Words;

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

struct Box {
    run: PathBuf,
    handle: Handle,
    heard: Receiver<Message>,
}

impl Box {
    fn new(name: &str) -> Self {
        let run = std::env::temp_dir().join(format!("weir-children-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).unwrap();
        let (orders, heard) = channel();
        let handle = Handle::new(Places::under(&run), Words::parse(""), orders);
        Self { run, handle, heard }
    }

    /// Looks after a program until something comes of it.
    fn outcome(&self, kept: &mut Kept, now: u64) -> Outcome {
        let begun = Instant::now();
        loop {
            let patience = Duration::from_secs(5);
            if let Some(outcome) = kept.look_after(Duration::from_secs(now), patience, &self.handle)
            {
                return outcome;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing comes of it");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.run);
    }
}

fn shell(script: &str, output: Output) -> Call {
    Call {
        program: "/bin/sh".into(),
        words: vec!["-c".to_owned(), script.to_owned()],
        environment: vec![("WEIR_TEST", "yes".to_owned())],
        output,
        oom: 0,
    }
}

#[test]
fn a_program_that_ends_is_told_with_how_and_started_again_later() {
    let of = Box::new("ends");
    let mut kept = Kept::new("sh", &of.run);
    kept.want(Some(shell("exit 3", Output::Nowhere)));
    assert_eq!(of.outcome(&mut kept, 0), Outcome::Started);
    let ended = Outcome::Ended("exit status 3".to_owned(), Duration::from_secs(1));
    assert_eq!(of.outcome(&mut kept, 0), ended);
    assert_eq!(
        kept.look_after(Duration::ZERO, Duration::ZERO, &of.handle),
        None
    );
    assert_eq!(of.outcome(&mut kept, 1), Outcome::Started);
    let ended = Outcome::Ended("exit status 3".to_owned(), Duration::from_secs(2));
    assert_eq!(of.outcome(&mut kept, 1), ended);
}

#[test]
fn a_program_that_is_called_otherwise_is_ended_and_started_anew() {
    let of = Box::new("otherwise");
    let mut kept = Kept::new("sh", &of.run);
    kept.want(Some(shell("exec sleep 60", Output::Nowhere)));
    assert_eq!(of.outcome(&mut kept, 0), Outcome::Started);
    kept.want(Some(shell("exec sleep 61", Output::Nowhere)));
    assert_eq!(of.outcome(&mut kept, 0), Outcome::Stopped);
    assert_eq!(of.outcome(&mut kept, 0), Outcome::Started);
    kept.want(None);
    assert_eq!(of.outcome(&mut kept, 0), Outcome::Stopped);
    assert!(!kept.is_running());
    let none = kept.look_after(Duration::from_secs(99), Duration::ZERO, &of.handle);
    assert_eq!(none, None);
}

#[test]
fn a_program_that_does_not_listen_is_killed() {
    let of = Box::new("deaf");
    let mut kept = Kept::new("sh", &of.run);
    let script = "trap '' TERM; echo ready >&2; while :; do sleep 1; done";
    kept.want(Some(shell(script, Output::Lines)));
    assert_eq!(of.outcome(&mut kept, 0), Outcome::Started);
    let patience = Duration::from_secs(10);
    assert!(matches!(of.heard.recv_timeout(PATIENCE), Ok(Message::Ssh(line)) if line == "ready"));
    kept.want(None);
    let look =
        |kept: &mut Kept, now| kept.look_after(Duration::from_secs(now), patience, &of.handle);
    for now in [0, 5, 9] {
        assert_eq!(look(&mut kept, now), None);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(kept.is_running());
    assert_eq!(of.outcome(&mut kept, 10), Outcome::Stopped);
}

#[test]
fn a_program_that_is_hurried_is_asked_again_once_it_can_have_seen_that_it_was_asked() {
    let of = Box::new("hurried");
    let mut kept = Kept::new("sh", &of.run);
    let script = "trap 'n=$((n+1)); echo $n >&2; [ $n -lt 2 ] || exit' TERM; echo ready >&2; \
                  while :; do sleep 0.02; done";
    kept.want(Some(shell(script, Output::Lines)));
    assert_eq!(of.outcome(&mut kept, 0), Outcome::Started);
    let patience = Duration::from_secs(10);
    let says = |wanted: &str| {
        let heard = of.heard.recv_timeout(PATIENCE);
        assert!(matches!(heard, Ok(Message::Ssh(line)) if line == wanted));
    };
    says("ready");
    // Nobody has asked it yet.
    kept.hurry(Duration::from_secs(5));
    kept.want(None);
    assert_eq!(
        kept.look_after(Duration::from_secs(5), patience, &of.handle),
        None
    );
    kept.hurry(Duration::from_millis(5_500));
    says("1");
    assert!(of.heard.recv_timeout(Duration::from_millis(200)).is_err());
    kept.hurry(Duration::from_secs(6));
    says("2");
    assert_eq!(of.outcome(&mut kept, 6), Outcome::Stopped);
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let of = Box::new("missing");
    let mut kept = Kept::new("missing", &of.run);
    let mut call = shell("", Output::Nowhere);
    call.program = of.run.join("missing");
    kept.want(Some(call));
    let Outcome::Failed(why, rests) = of.outcome(&mut kept, 0) else {
        panic!("it cannot run");
    };
    assert!(why.contains("No such file"), "{why}");
    assert_eq!(rests, Duration::from_secs(1));
}

#[test]
fn an_agent_takes_over_what_the_one_before_it_left() {
    let of = Box::new("left");
    let call = shell(
        "echo $WEIR_TEST; exec sleep 60",
        Output::File(of.run.join("log")),
    );
    let mut before = Kept::new("sh", &of.run);
    before.want(Some(call.clone()));
    assert_eq!(of.outcome(&mut before, 0), Outcome::Started);
    let begun = Instant::now();
    let pid = fs::read_to_string(of.run.join("sh.pid")).unwrap();
    let called = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    while !called().starts_with("sleep") {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fs::read_to_string(of.run.join("log")).unwrap(), "yes\n");
    // It has become another program meanwhile, of another name: that one is not ours.
    let mut after = Kept::new("sh", &of.run);
    after.adopt(&call, Duration::ZERO);
    assert!(!after.is_running());
    let mut as_sleep = call;
    as_sleep.program = "/bin/sleep".into();
    after.adopt(&as_sleep, Duration::ZERO);
    assert!(after.is_running());
    after.want(Some(as_sleep));
    assert_eq!(
        after.look_after(Duration::ZERO, Duration::ZERO, &of.handle),
        None
    );
    before.want(None);
    assert_eq!(of.outcome(&mut before, 0), Outcome::Stopped);
    assert!(matches!(of.outcome(&mut after, 1), Outcome::Ended(..)));
}
