//! That `docs/hardening.md` lists what the code and the image's files set: no more, no less.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use weir_control::Role;

use crate::agent::ssh_call;
use crate::hardening::{self, Setting};
use crate::keys::{self, Key};
use crate::observe::DataPort;

/// The columns of a row.
type Row = Vec<String>;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the first table below a line of the document: `columns` of each row. The column behind them
/// says why, which somebody has to have thought of.
fn table(line: &str, columns: usize) -> BTreeSet<Row> {
    let document = text("docs/hardening.md");
    let mut lines = document.lines().skip_while(|it| *it != line).skip(1);
    let mut rows = BTreeSet::new();
    let is_row = |line: &&str| line.starts_with('|');
    let found: Vec<&str> = lines
        .by_ref()
        .skip_while(|line| !is_row(line))
        .take_while(is_row)
        .collect();
    for row in found.iter().skip(2) {
        // A bar within a cell stands behind a backslash.
        let row = row.replace("\\|", "\0");
        let cells: Vec<String> = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').replace('\0', "|"))
            .collect();
        assert_eq!(cells.len(), columns + 1, "{line}: {row}");
        let why = cells.last().is_some_and(|why| !why.is_empty());
        assert!(why, "{line}: nobody says why: {row}");
        let is_new = rows.insert(cells.iter().take(columns).cloned().collect());
        assert!(is_new, "{line}: twice: {row}");
    }
    assert!(!rows.is_empty(), "the document has no table below `{line}`");
    rows
}

fn row(cells: &[&str]) -> Row {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

fn settings(all: &[Setting], others: &[Setting]) -> BTreeSet<Row> {
    let own = all.iter().filter(|it| !others.contains(it));
    own.map(|(path, value)| row(&[&path.replace('/', "."), value.trim()]))
        .collect()
}

#[test]
fn the_document_lists_the_kernels_settings() {
    let port = DataPort {
        device: "DEVICE".to_owned(),
        has_ipv6: false,
        gateway: None,
    };
    let any = hardening::device("DEVICE");
    let scopes: Vec<Setting> = ["all", "default"]
        .into_iter()
        .flat_map(hardening::device)
        .collect();
    let machine = hardening::machine(&[]);
    assert_eq!(table("### The machine", 2), settings(&machine, &scopes));
    assert_eq!(table("### Any device", 2), settings(&any, &[]));
    let management = hardening::management("DEVICE");
    assert_eq!(
        table("### The management device", 2),
        settings(&management, &any)
    );
    let port = hardening::data_port(&port);
    assert_eq!(table("### A data port", 2), settings(&port, &any));
}

#[test]
fn the_document_lists_the_kernels_words() {
    let words = text("image/boot/words");
    let words: BTreeSet<Row> = words.split_whitespace().map(|word| row(&[word])).collect();
    assert_eq!(table("## The kernel's words", 1), words);
}

/// Returns what shell text mounts: place, file system, options.
fn mounts(shell: &str) -> BTreeSet<Row> {
    let variable = shell.lines().find_map(|line| line.strip_prefix("options="));
    let mut found = BTreeSet::new();
    for (_, call) in shell
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once("mount -t "))
    {
        let words: Vec<&str> = call
            .split(|c: char| c.is_whitespace() || c == ')')
            .take_while(|word| !word.starts_with("2>"))
            .collect();
        let [kind, "-o", options, _, place, ..] = words.as_slice() else {
            panic!("who reads the document cannot know what this mounts: {call}");
        };
        let options = match (*options, variable) {
            ("\"$options\"", Some(variable)) => variable,
            (options, _) => options,
        };
        let place = if place.starts_with('/') {
            (*place).to_owned()
        } else {
            format!("/{place}")
        };
        found.insert(row(&[&place, kind, options]));
    }
    found
}

#[test]
fn the_document_lists_what_is_mounted_and_how() {
    // The first program sees the root file system as a folder of its own.
    let first = text("image/initrd/init").replace("/dev/loop0 /root ", "/dev/loop0 / ");
    let mut all = mounts(&first);
    all.extend(mounts(&text("image/rootfs/etc/init.d/rcS")));
    assert_eq!(table("## File systems", 3), all);
    for written in all.iter().filter(|it| it[0] != "/" && it[1] != "devtmpfs") {
        let options: Vec<&str> = written[2].split(',').collect();
        assert!(
            options.contains(&"nosuid") && options.contains(&"noexec"),
            "{written:?}"
        );
    }
}

#[test]
fn the_document_lists_what_the_start_ends_with() {
    let start = text("image/rootfs/etc/init.d/rcS");
    let orders = start.lines().filter_map(|line| {
        let (value, file) = line.trim().strip_prefix("echo ")?.split_once(" >/")?;
        let is_kernels = file.starts_with("proc/sys/") || file.starts_with("sys/");
        is_kernels.then(|| row(&[&format!("/{file}"), value]))
    });
    assert_eq!(table("## The end of the start", 2), orders.collect());
}

#[test]
fn the_document_lists_how_ssh_is_started_and_what_a_key_opens() {
    let call = ssh_call(Path::new("KEY"), "ADDRESS", 22);
    let mut options: Vec<String> = Vec::new();
    for word in call.words {
        match options.last_mut() {
            Some(last) if !word.starts_with('-') => *last = format!("{last} {word}"),
            _ => options.push(word),
        }
    }
    let shown = |option: String| match option.split_once(' ') {
        Some(("-P", _)) => "-P FILE".to_owned(),
        Some(("-p", place)) => format!("-p {}", place.replace("22", "PORT")),
        _ => option,
    };
    let options = options.into_iter().map(|it| vec![shown(it)]).collect();
    assert_eq!(table("## SSH", 1), options);

    let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE4qtwl0rFrZz2tWRJf2Ih8UWvJYvd3xjMjDHcJcQwCC NAME";
    let key = Key::parse(key).unwrap();
    let line = keys::authorized(&[key], Role::Operator).replace("operator", "ROLE");
    let (options, _) = line.split_once(" ssh-ed25519 ").unwrap();
    let options = options.split(',').map(|option| row(&[option]));
    let line = "What stands before each key in the file that dropbear reads:";
    assert_eq!(table(line, 1), options.collect());
}
