use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use super::*;

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// The child as a thread.
fn start() -> (Runner, Receiver<Ran>) {
    let (ours, childs) = UnixStream::pair().unwrap();
    thread::spawn(move || serve(childs).unwrap());
    let (done, take) = unbounded();
    let ran = move |ran| done.send(ran).unwrap();
    (Runner::over(ours, ran).unwrap(), take)
}

fn script(name: &str, text: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("weir-runner-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("check");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn run(ticket: u64, program: &Path, timeout_ms: u64) -> Run {
    Run {
        ticket,
        program: program.display().to_string(),
        environment: vec![("WEIR_REAL_PORT".to_owned(), "443".to_owned())],
        timeout_ms,
        in_turn: false,
    }
}

fn ran(program: &Path, timeout_ms: u64) -> Ran {
    let (runner, done) = start();
    assert!(runner.run(run(1, program, timeout_ms)));
    done.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_program_has_the_environment_that_is_said_and_no_other() {
    let found = ran(&script("environment", "env; exit 3"), 5000);
    assert_eq!(found.end, End::Exit(3));
    let mut names: Vec<&str> = found
        .output
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        // The shell's own.
        .filter(|name| !matches!(*name, "PWD" | "SHLVL" | "_" | "OLDPWD"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["PATH", "WEIR_REAL_PORT"]);
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_its_children() {
    let dir = std::env::temp_dir();
    let [go, mark] =
        ["go", "late"].map(|name| dir.join(format!("weir-runner-{name}-{}", std::process::id())));
    let _ = (fs::remove_file(&go), fs::remove_file(&mark));
    let text = format!(
        "(while [ ! -e {} ]; do sleep 0.02; done; echo late > {}) &\nsleep 300",
        go.display(),
        mark.display()
    );
    let found = ran(&script("late", &text), 200);
    assert_eq!(found.end, End::Late);
    fs::write(&go, "").unwrap();
    thread::sleep(Duration::from_secs(1));
    assert!(!mark.exists(), "a child of the program went on");
    fs::remove_file(go).unwrap();
}

#[test]
fn no_more_than_four_kibibytes_of_output_are_kept_and_the_program_is_not_held_up() {
    let found = ran(
        &script("much", "head -c 1000000 /dev/zero | tr '\\0' x"),
        10_000,
    );
    assert_eq!((found.end, found.output.len()), (End::Exit(0), 4096));
}

#[test]
fn a_program_that_others_may_change_is_not_run() {
    let path = script("writable", "exit 0");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).unwrap();
    let End::NotRun(sentence) = ran(&path, 5000).end else {
        panic!("it was run");
    };
    assert!(
        sentence.ends_with("can be changed by others than its owner and is not run; chmod go-w it"),
        "{sentence}"
    );
    let missing = Path::new("/nowhere/check");
    assert_eq!(
        ran(missing, 5000).end,
        End::NotRun("/nowhere/check cannot be run: no such file or directory".to_owned())
    );
}

#[test]
fn those_in_turn_wait_for_each_other_and_end_even_when_the_daemon_has_gone() {
    let mark = std::env::temp_dir().join(format!("weir-runner-turn-{}", std::process::id()));
    let _ = fs::remove_file(&mark);
    let slow = script(
        "slow",
        &format!("sleep 0.3; echo slow >> {}", mark.display()),
    );
    let fast = script("fast", &format!("echo fast >> {}", mark.display()));
    let (runner, _) = start();
    for (ticket, program) in [(1, &slow), (2, &fast)] {
        let in_turn = Run {
            in_turn: true,
            ..run(ticket, program, 5000)
        };
        assert!(runner.run(in_turn));
    }
    drop(runner);
    let deadline = Instant::now() + PATIENCE;
    while fs::read_to_string(&mark).unwrap_or_default() != "slow\nfast\n" {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn many_programs_run_at_the_same_time() {
    let (runner, done) = start();
    // Each waits for all the others.
    let text =
        "cd \"${0%/*}\"; : > $$.here; while set -- *.here; [ $# -lt 20 ]; do sleep 0.2; done";
    let meets = script("meets", text);
    for ticket in 0..20 {
        assert!(runner.run(run(ticket, &meets, 60_000)));
    }
    let mut tickets = Vec::new();
    for _ in 0..20 {
        let ran = done.recv_timeout(PATIENCE * 2).unwrap();
        assert_eq!(ran.end, End::Exit(0), "one after the other");
        tickets.push(ran.ticket);
    }
    tickets.sort_unstable();
    assert_eq!(tickets, (0..20).collect::<Vec<_>>());
}
