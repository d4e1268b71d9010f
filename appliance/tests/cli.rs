//! The command line as a script sees it: exit status, stdout and stderr.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its case must fail"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

const GOOD: &str = "\
[port wan]
device = lo
address = 10.80.0.1/24
[lip-pool blue]
port = wan
address = 10.80.0.200
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
real = 10.80.0.11:80
";

fn weir(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(words)
        .env_remove("WEIR_SOCKET")
        .output()
        .unwrap()
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("weir-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_good_file_is_accepted_with_status_0_and_nothing_on_stderr() {
    let path = file("good.conf", GOOD);
    let output = weir(&["check", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("1 service, 1 LIP pool; no mistakes"));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_bench_prints_its_figures_and_keeps_them_where_the_service_manager_says() {
    let state = std::env::temp_dir().join(format!("weir-{}-state", std::process::id()));
    let bench = |words: &[&str], state: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["bench", "--cores", "0", "--seconds", "0.5"])
            .args(words)
            .env_remove("WEIR_SOCKET")
            .env("STATE_DIRECTORY", state)
            .output()
            .unwrap()
    };
    let output = bench(&["--json"], &state);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let kept = fs::read_to_string(state.join("capacity.json")).unwrap();
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(kept, text(&output.stdout));
    for key in [
        "cookies_per_s",
        "packets_per_s",
        "sessions_per_s",
        "measured",
    ] {
        assert!(kept.contains(&format!("\"{key}\":")), "{kept}");
    }

    let output = bench(&[], std::path::Path::new("/proc/weir"));
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.starts_with("weir: the figures cannot be kept in /proc/weir/capacity.json: "),
        "{told}"
    );
    let table = text(&output.stdout);
    assert!(table.contains("SYNs answered with cookies"), "{table}");
    assert!(!table.contains("kept in"), "{table}");
}

#[test]
fn a_bench_on_cores_that_there_are_not_is_refused_with_status_2() {
    for (cores, cause) in [
        (
            "65000",
            "--cores names core 65000, but this process may use",
        ),
        ("all", "`all` names no cores; e.g. --cores 2-3,6"),
        ("", "`` names no cores"),
        ("3-1", "`3-1` names no cores"),
    ] {
        let output = weir(&["bench", "--cores", cores]);
        assert_eq!(output.status.code(), Some(2), "{cores}");
        assert!(output.stdout.is_empty());
        let told = text(&output.stderr);
        assert!(told.contains(cause), "{told}");
    }
    assert_eq!(weir(&["bench", "--seconds", "0"]).status.code(), Some(2));
    let help = text(&weir(&["help", "bench"]).stdout);
    assert!(
        help.contains("--cores") && help.contains("in memory"),
        "{help}"
    );
}

#[test]
fn every_mistake_is_told_with_its_place_and_status_2_by_check_and_by_run() {
    let path = file(
        "bad.conf",
        &GOOD
            .replace("port = wan", "port = wam")
            .replace(":80/tcp", ":80"),
    );
    let name = path.to_str().unwrap();
    let short = weir(&["check", name, "--format", "short"]);
    let (check, run) = (weir(&["check", name]), weir(&["run", "--config", name]));
    fs::remove_file(&path).unwrap();
    for output in [&short, &check, &run] {
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    }
    for (line, column) in [(5, 8), (8, 24)] {
        let place = format!("{name}:{line}:{column}");
        assert!(
            text(&short.stderr).contains(&format!("{place}: error: ")),
            "{place}"
        );
        for output in [&check, &run] {
            let told = text(&output.stderr);
            assert!(told.contains(&format!("--> {place}")), "{place}\n{told}");
        }
    }
    assert!(text(&run.stderr).ends_with("2 errors; weir did not start\n"));
}

#[test]
fn a_bad_secret_file_is_told_where_it_is_named_by_check_and_by_run() {
    let secret = file("short.key", "0123456789abcdef\n");
    let profile = format!(
        "[synproxy edge]\nsecret-file = {}\n[service web]\nsynproxy = edge\n",
        secret.display()
    );
    let path = file("secret.conf", &GOOD.replace("[service web]\n", &profile));
    let name = path.to_str().unwrap();
    let (check, run) = (weir(&["check", name]), weir(&["run", "--config", name]));
    fs::remove_file(&path).unwrap();
    fs::remove_file(&secret).unwrap();
    for output in [&check, &run] {
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("it has 16 of 32 hex digits"), "{told}");
        assert!(told.contains(&format!("--> {name}:8:15")), "{told}");
    }
    assert!(text(&run.stderr).ends_with("1 error; weir did not start\n"));
}

#[test]
fn check_warns_of_a_secret_that_others_can_read_and_makes_none_that_is_missing() {
    let secret = file("open.key", "00112233445566778899aabbccddeeff\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let profile = format!(
        "[synproxy edge]\nsecret-file = {}\n[service web]\nsynproxy = edge\n",
        secret.display()
    );
    let path = file("open.conf", &GOOD.replace("[service web]\n", &profile));
    let output = weir(&["check", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("warning: "));

    fs::remove_file(&secret).unwrap();
    let output = weir(&["check", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(!secret.exists());
}

#[test]
fn a_missing_file_is_bad_input() {
    let output = weir(&["check", "/nonexistent/weir.conf"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot read /nonexistent/weir.conf"));
}

#[test]
fn without_a_daemon_show_says_so_in_one_sentence_with_status_1() {
    for words in [
        &["show", "ledger", "--socket", "/nonexistent/operate.sock"][..],
        &[
            "show",
            "sessions",
            "--json",
            "--socket",
            "/nonexistent/operate.sock",
        ],
    ] {
        let output = weir(words);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            "weir: cannot connect to /nonexistent/operate.sock: no such file; is `weir run` running?\n"
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_environment_names_the_socket_and_the_command_line_has_the_last_word() {
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let command = command
            .args(words)
            .env("WEIR_SOCKET", "/nonexistent/environment.sock");
        text(&command.output().unwrap().stderr)
    };
    assert!(ask(&["show", "ports"]).contains("/nonexistent/environment.sock"));
    let told = ask(&["show", "ports", "--socket", "/nonexistent/word.sock"]);
    assert!(told.contains("/nonexistent/word.sock"), "{told}");
    let told = ask(&["--socket", "/nonexistent/first.sock", "show", "ports"]);
    assert!(told.contains("/nonexistent/first.sock"), "{told}");
}

#[test]
fn an_environment_that_names_no_socket_is_as_if_it_were_not_there() {
    for words in [
        &["show", "ports"][..],
        &["deny", "list"],
        &["capture", "-w", "-"],
        &["ipvsadm", "-L"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(words)
            .env("WEIR_SOCKET", "")
            .output()
            .unwrap();
        let told = text(&output.stderr);
        assert!(
            told.contains(" /run/weir/operate.sock: "),
            "{words:?}: {told}"
        );
    }
}

#[test]
fn wrong_words_are_bad_input_and_help_is_not() {
    for words in [
        &["fly"][..],
        &["show", "secrets"],
        &["show", "ledger", "--watch", "1"],
        &["check", "--format", "loud"],
    ] {
        let output = weir(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let told = text(&output.stderr);
        // One sentence, with the next thing to try.
        assert!(told.starts_with("weir: ") && told.contains("; "), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    for (words, told) in [
        (
            &["fly"][..],
            "weir: unrecognized subcommand 'fly'; `weir help` lists the commands\n",
        ),
        (
            &["rollback", "x"],
            "weir: invalid value 'x' for '[GENERATION]': invalid digit found in string; \
             `weir rollback --help` says more\n",
        ),
    ] {
        assert_eq!(text(&weir(words).stderr), told);
    }
    for words in [
        &["--help"][..],
        &["--version"],
        &["help"],
        &["help", "show"],
        &["show", "--help"],
    ] {
        let output = weir(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(
            output.stderr.is_empty() && !output.stdout.is_empty(),
            "{words:?}"
        );
    }
}

#[test]
fn help_explains_a_key_and_suggests_the_nearest() {
    let output = weir(&["help", "service.idle"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).contains("15m"),
        "{}",
        text(&output.stdout)
    );
    let output = weir(&["help", "service.idel"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("`service.idle`"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_question_that_cannot_be_read_is_bad_input_and_names_the_word() {
    for (words, told) in [
        (
            &["client=192.0.2.1:1", "10.80.0.100:80/tcp"][..],
            "weir: `10.80.0.100:80/tcp` is neither client=IP:PORT nor service=VIP:PORT/tcp\n",
        ),
        (
            &["client=192.0.2.1:1"],
            "weir: service=VIP:PORT/tcp is missing\n",
        ),
    ] {
        let output = weir(&[&["explain"], words].concat());
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stderr), told);
    }
    let output = weir(&["explain", "client=192.0.2.1:1", "--flags", "Q"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("`Q` are not TCP flags"));
    let output = weir(&[
        "explain",
        "client=192.0.2.1:1",
        "service=10.80.0.100:80/tcp",
        "--socket",
        "/nonexistent/view.sock",
    ]);
    assert_eq!(output.status.code(), Some(1));
}
