//! `weir check` as scripts see it: exit status and streams.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn weir(words: &[&str], stdin: &str, folder: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(stdin.as_bytes()).unwrap();
    drop(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn conf_tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lib/conf/tests")
}

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("weir-check-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("conf.d")).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_bad_file_is_exit_status_two_and_its_report_on_stderr() {
    let folder = conf_tests().join("bad");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
        for words in [
            vec!["check", name],
            vec!["check", name, "--format", "short"],
        ] {
            let output = weir(&words, "", &folder);
            assert_eq!(output.status.code(), Some(2), "{words:?}");
            assert!(output.stdout.is_empty(), "{words:?}");
            let report = text(&output.stderr);
            assert!(!report.is_empty() && expected.contains(&report), "{report}");
        }
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

const GOOD: &str = "\
[port lan]
device = lo
address = 10.0.0.2/16
[lip-pool blue]
port = lan
address = 10.0.8.1
[service web]
listen = 203.0.113.10:80/tcp
lip-pool = blue
real = 10.0.1.11:80
";

#[test]
fn a_good_file_is_exit_status_zero_and_one_line() {
    let folder = Folder::new("good");
    fs::write(folder.0.join("weir.conf"), GOOD).unwrap();
    let output = weir(&["check", "weir.conf"], "", &folder.0);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
    assert_eq!(
        text(&output.stdout),
        "weir.conf: 1 service, 1 LIP pool; no mistakes\n"
    );
}

#[test]
fn files_of_conf_d_count_and_standard_input_stands_alone() {
    let folder = Folder::new("layers");
    fs::write(folder.0.join("weir.conf"), GOOD).unwrap();
    let dns = "[service dns]\nlisten = 203.0.113.53:53/udp\nlip-pool = blue\nreal = 10.0.1.11:53\n";
    fs::write(folder.0.join("conf.d/dns.conf"), dns).unwrap();
    let output = weir(&["check", "weir.conf"], "", &folder.0);
    assert_eq!(
        text(&output.stdout),
        "weir.conf and 1 file of conf.d: 2 services, 1 LIP pool; no mistakes\n"
    );
    let output = weir(&["check", "-"], GOOD, &folder.0);
    assert_eq!(
        text(&output.stdout),
        "<stdin>: 1 service, 1 LIP pool; no mistakes\n"
    );
    let output = weir(&["check", "-", "--format", "short"], "[nod]\n", &folder.0);
    assert_eq!(output.status.code(), Some(2));
    let report = text(&output.stderr);
    assert!(
        report.contains("<stdin>:1:2: error: unknown section [nod]"),
        "{report}"
    );
}

#[test]
fn what_another_machine_may_have_is_a_warning_with_advice() {
    let folder = Folder::new("warned");
    let conf = GOOD.replace("device = lo", "device = weir-none")
        + "synproxy = edge\n[synproxy edge]\nsecret-file = /nonexistent/weir/key\n\
           [health slow]\ntype = tcp\n";
    fs::write(folder.0.join("weir.conf"), conf).unwrap();
    let output = weir(&["check", "weir.conf", "--format", "short"], "", &folder.0);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stderr),
        "\
weir.conf:2:10: warning: this machine has no device `weir-none`; `ip link` lists those it has; \
         weir would not start here
weir.conf:13:15: warning: there is no folder /nonexistent/weir to make /nonexistent/weir/key in; \
         weir would not start; `mkdir -p /nonexistent/weir`
weir.conf:14:1: warning: [health slow] is used by no service; `health = slow` in a [service] \
         refers to it
"
    );
    assert_eq!(
        text(&output.stdout),
        "weir.conf: 1 service, 1 LIP pool; no mistakes, 3 warnings\n"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let weir = env!("CARGO_BIN_EXE_weir");
    let line = format!("set -o pipefail; {weir} help --markdown | head -1");
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stdout), "# Reference\n");
}
