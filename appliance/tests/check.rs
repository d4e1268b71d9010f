//! `weir check` as scripts see it: exit status and streams.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
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

fn text_of(bytes: &[u8]) -> String {
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
            let report = text_of(&output.stderr);
            assert!(!report.is_empty() && expected.contains(&report), "{report}");
        }
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

/// One case of `lib/conf/tests/wrong`: what is wrong with it, the lines that stand for others in the
/// file that has every key, and what is told.
struct Case {
    kind: String,
    numbers: Vec<usize>,
    lines: Vec<String>,
    told: Vec<String>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let (sign, rest) = line.split_at(1);
        match (sign, cases.last_mut()) {
            ("@", _) => {
                let (numbers, kind) = rest.split_once(' ').unwrap();
                let numbers = numbers.split(',').map(|it| it.parse().unwrap());
                cases.push(Case {
                    kind: kind.to_owned(),
                    numbers: numbers.collect(),
                    lines: Vec::new(),
                    told: Vec::new(),
                });
            }
            ("+", Some(case)) => case.lines.push(rest.to_owned()),
            ("=", Some(case)) => case.told.push(format!("<stdin>:{rest}")),
            _ => unreachable!("{line}"),
        }
    }
    cases
}

/// All of them are tried where the parser is; here one of each kind in each section.
#[test]
fn what_is_wrong_with_a_key_is_exit_status_two_with_the_committed_sentence() {
    let folder = conf_tests();
    let base = fs::read_to_string(folder.join("good/all-keys.conf")).unwrap();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder.join("wrong")).unwrap() {
        let path = entry.unwrap().path();
        for case in cases(&fs::read_to_string(&path).unwrap()) {
            let accepted = case.told.iter().any(|it| it.ends_with(":accepted"));
            if accepted || !seen.insert((path.clone(), case.kind.clone())) {
                continue;
            }
            let mut text = Vec::new();
            for (index, line) in base.lines().enumerate() {
                match case.numbers.iter().position(|it| *it == index + 1) {
                    None => text.push(line.to_owned()),
                    Some(0) => text.extend(case.lines.clone()),
                    Some(_) => {}
                }
            }
            let stdin = text.join("\n") + "\n";
            let output = weir(&["check", "-", "--format", "short"], &stdin, &folder);
            let found = text_of(&output.stderr).replace("weir.conf:", "<stdin>:");
            assert_eq!(output.status.code(), Some(2), "{}: {found}", case.kind);
            // A place inside a sentence has the name of the file as well.
            let told = case.told.join("\n").replace("weir.conf:", "<stdin>:") + "\n";
            assert_eq!(found, told, "{} of {}", case.kind, path.display());
        }
    }
    assert!(seen.len() > 80, "{}", seen.len());
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
    assert_eq!(text_of(&output.stderr), "");
    assert_eq!(
        text_of(&output.stdout),
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
        text_of(&output.stdout),
        "weir.conf and 1 file of conf.d: 2 services, 1 LIP pool; no mistakes\n"
    );
    let output = weir(&["check", "-"], GOOD, &folder.0);
    assert_eq!(
        text_of(&output.stdout),
        "<stdin>: 1 service, 1 LIP pool; no mistakes\n"
    );
    let output = weir(&["check", "-", "--format", "short"], "[nod]\n", &folder.0);
    assert_eq!(output.status.code(), Some(2));
    let report = text_of(&output.stderr);
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
        text_of(&output.stderr),
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
        text_of(&output.stdout),
        "weir.conf: 1 service, 1 LIP pool; no mistakes, 3 warnings\n"
    );
}

#[test]
fn a_mistake_on_the_standard_input_has_the_same_place_for_diff_and_apply() {
    let folder = Folder::new("input");
    for words in [
        &["check", "-"][..],
        &["diff", "-", "--socket", "/nonexistent"],
        &["apply", "-", "--socket", "/nonexistent"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(words)
            .current_dir(&folder.0)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"[node]\nname = \xff\n").unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let report = text_of(&output.stderr);
        assert!(report.contains(" --> <stdin>:2:8\n"), "{words:?}: {report}");
    }
}

#[test]
fn cores_and_groups_that_this_machine_does_not_have_are_warned_of_where_they_are_named() {
    let folder = Folder::new("machine");
    let conf = GOOD.to_owned()
        + "[workers]\ncpus = 4000\n[control]\ncpus = 4001\n\
           socket = /run/weir/view.sock  role=viewer  group=weir-nobody\n";
    let output = weir(&["check", "-", "--format", "short"], &conf, &folder.0);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text_of(&output.stderr),
        "\
<stdin>:12:8: warning: this machine has no core 4000; `lscpu` lists those it has; weir would not \
         start here
<stdin>:14:8: warning: this machine has no core 4001; `lscpu` lists those it has; weir would not \
         start here
<stdin>:15:44: warning: the control socket cannot be given to weir-nobody; there is no group \
         `weir-nobody`; make it with `groupadd --system weir-nobody`; weir would not start here
"
    );
}

#[test]
fn programs_and_certificates_that_are_not_there_are_warned_of_where_they_are_named() {
    let folder = Folder::new("files");
    let conf = GOOD.to_owned()
        + "health = run\nquorum = 1\nquorum-up = /nonexistent/up\n\
           [health run]\ntype = exec\nprogram = /nonexistent/check\n\
           [syslog siem]\nserver = siem.example.net:6514\ntransport = tls\n\
           ca-file = /nonexistent/ca.pem\n";
    let output = weir(&["check", "-", "--format", "short"], &conf, &folder.0);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text_of(&output.stderr),
        "\
<stdin>:13:13: warning: there is no file /nonexistent/up; it cannot be run without it
<stdin>:16:11: warning: there is no file /nonexistent/check; checks cannot be made without it
<stdin>:20:11: warning: there is no file /nonexistent/ca.pem; nothing can be sent without it
"
    );
}

#[test]
fn json_has_every_mistake_with_its_places_and_the_same_exit_status() {
    let folder = Folder::new("json");
    let check = |conf: &str| {
        // Scripts give every command a socket.
        let words = ["check", "-", "--json", "--socket", "/nonexistent"];
        let output = weir(&words, conf, &folder.0);
        assert!(output.stderr.is_empty(), "{}", text_of(&output.stderr));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), value)
    };
    let good = serde_json::json!({
        "file": "-", "ok": true, "errors": 0, "warnings": 0, "services": 1, "pools": 1,
        "mistakes": [],
    });
    assert_eq!(check(GOOD), (Some(0), good));

    let (status, found) = check(&(GOOD.to_owned() + "idle = 10\nlip-pool = blue\n"));
    assert_eq!(status, Some(2));
    assert_eq!(
        found,
        serde_json::json!({
            "file": "-", "ok": false, "errors": 2, "warnings": 0, "services": null,
            "pools": null,
            "mistakes": [
                {
                    "severity": "error", "file": "<stdin>", "line": 11, "column": 10, "width": 1,
                    "message": "`10` is not a duration", "note": "needs a unit, e.g. 5s",
                    "related": [],
                },
                {
                    "severity": "error", "file": "<stdin>", "line": 12, "column": 1, "width": 8,
                    "message": "`lip-pool` is given twice in [service web]",
                    "note": "again here; it has one value",
                    "related": [{
                        "file": "<stdin>", "line": 9, "column": 1, "width": 8,
                        "note": "first given here",
                    }],
                },
            ],
        })
    );

    let (status, found) = check(&GOOD.replace("device = lo", "device = weir-none"));
    assert_eq!(status, Some(0));
    assert_eq!(
        (&found["ok"], &found["warnings"]),
        (&true.into(), &1.into())
    );
    let warning = &found["mistakes"][0];
    assert_eq!(
        (&warning["severity"], &warning["line"]),
        (&"warning".into(), &2.into())
    );

    let output = weir(
        &["check", "--json", "/nonexistent/weir.conf"],
        "",
        &folder.0,
    );
    assert_eq!(output.status.code(), Some(2));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mistake = &found["mistakes"][0];
    assert!(mistake["line"].is_null() && mistake["file"].is_null());
    assert_eq!(
        mistake["message"],
        "cannot read /nonexistent/weir.conf: no such file or directory"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let weir = env!("CARGO_BIN_EXE_weir");
    let line = format!("set -o pipefail; {weir} help --markdown | head -1");
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text_of(&output.stdout), "# Reference\n");
}
