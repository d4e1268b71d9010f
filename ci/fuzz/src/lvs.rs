//! What LVS operators bring, changed at random: it is told about line by line, and nothing of it is
//! lost in silence.
//!
//! That something was lost is seen by saying it otherwise: whoever writes another number, or a word
//! that nobody knows, gets another result, or is told something of that very line.

mod places;

use anyhow::{Context, Result, ensure};
use weir_lvs::{Command, Given, Imported, NoFiles, Note, Refusal, Severity, WellKnown, import};

use crate::choice::Choice;
use crate::conf::{Verdicts, scratch};
use places::Places;

/// What the file is called.
const NAME: &str = "theirs";

/// A word that is in no file of LVS.
const UNHEARD_OF: &str = "zz-unheard-of 17";

const KEEPALIVED: [&str; 5] = [
    include_str!("../../../lib/lvs/tests/import/fnat.conf"),
    include_str!("../../../lib/lvs/tests/import/groups.conf"),
    include_str!("../../../lib/lvs/tests/import/checks.conf"),
    include_str!("../../../lib/lvs/tests/import/refused.conf"),
    include_str!("../../../lib/lvs/tests/import/template.conf"),
];

const DUMP: &str = "\
-A -t 203.0.113.10:80 -s rr -j enable -V 300
-a -t 203.0.113.10:80 -r 10.0.1.11:80 -b -w 10 -x 500 -y 400
-a -t 203.0.113.10:80 -r 10.0.1.12:80 -b -w 20
-A -t 203.0.113.10:443 -s wlc -p 360 -M 255.255.255.0 -j disable
-a -t 203.0.113.10:443 -r 10.0.1.11:443 -b -w 1
-A -u 203.0.113.53:53 -s rr -j disable
-a -u 203.0.113.53:53 -r 10.0.2.11:53 -b -w 1
-P -t 203.0.113.10:80 -z 10.0.8.1
-P -t 203.0.113.10:80 -z 10.0.8.2
-P -t 203.0.113.10:443 -z 10.0.8.3
-P -u 203.0.113.53:53 -z 10.0.8.4
";

/// Words of command lines, the right ones and others.
const OPTIONS: [&str; 48] = [
    "-A",
    "-E",
    "-D",
    "-C",
    "-a",
    "-e",
    "-d",
    "-P",
    "-Q",
    "-G",
    "-L",
    "-l",
    "-S",
    "-R",
    "--set",
    "-h",
    "-t",
    "-u",
    "-f",
    "-s",
    "-p",
    "-M",
    "-j",
    "-V",
    "-z",
    "-r",
    "-b",
    "-w",
    "-x",
    "-y",
    "-n",
    "-c",
    "--stats",
    "--rate",
    "--exact",
    "--thresholds",
    "--timeout",
    "-o",
    "-m",
    "-Z",
    "--start-daemon",
    "--pe",
    "-lnc",
    "--",
    "-",
    "--weight=3",
    "-w3",
    "--zz",
];
const VALUES: [&str; 20] = [
    "203.0.113.10:80",
    "203.0.113.10",
    "10.0.1.11:80",
    "10.0.8.1",
    "[2001:db8::1]:80",
    "rr",
    "wlc",
    "fo",
    "0",
    "1",
    "300",
    "65535",
    "65536",
    "4294967296",
    "255.255.255.0",
    "255.0.255.0",
    "enable",
    "d",
    "http",
    "\u{e4}\u{1b}[31m",
];

/// Plays bytes: as a file as they are, and as changes of a good one.
pub(crate) fn run(data: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(data);
    told(&text, &imported(&text)).with_context(|| format!("of\n{text}"))?;
    one(&mut Choice::Bytes(data)).map(drop)
}

/// Tries as many.
pub(crate) fn many(choice: &mut Choice<'_>) -> Result<Verdicts> {
    let mut verdicts = Verdicts::default();
    while choice.another() {
        if one(choice)? {
            verdicts.accepted += 1;
        } else {
            verdicts.refused += 1;
        }
    }
    Ok(verdicts)
}

/// Tries one and says whether something could be made of it.
fn one(choice: &mut Choice<'_>) -> Result<bool> {
    if choice.once_in(4) {
        let words = command_line(choice);
        return command(&words, choice).with_context(|| format!("of {words:?}"));
    }
    let base = if choice.once_in(3) {
        DUMP
    } else {
        choice.pick(&KEEPALIVED)
    };
    let mut lines: Vec<Vec<u8>> = base.lines().map(|line| line.as_bytes().to_vec()).collect();
    for _ in 0..choice.pick(&[0, 1, 1, 2, 3, 5]) {
        change(&mut lines, choice);
    }
    let text = lines.join(&b'\n');
    let text = String::from_utf8_lossy(&text).into_owned();
    file(&text, choice).with_context(|| format!("of\n{text}"))
}

fn imported(text: &str) -> Imported {
    let mut given = Given::default();
    for port in [
        "wan=eth0,198.51.100.2/24,gateway=198.51.100.1",
        "lan=eth1,10.0.0.2/16",
    ] {
        given.ports.extend(port.parse());
    }
    import(NAME, text, &NoFiles, &WellKnown, &given)
}

fn file(text: &str, choice: &mut Choice<'_>) -> Result<bool> {
    let made = imported(text);
    told(text, &made)?;
    if made.text.is_none() {
        return Ok(false);
    }
    for _ in 0..2 {
        let line = usize::from(choice.short()) % (text.lines().count() + 1);
        unheard_of(text, line)?;
        if let Some((other, line)) = otherwise(text, line, choice) {
            let differs = differ(&made, &imported(&other));
            let places = Places::of(text);
            let is_told = made.notes.iter().any(|note| places.is_about(note, line));
            ensure!(
                differs || is_told,
                "line {line} counts for nothing, and nobody says so; it is as good as in\n{other}"
            );
        }
    }
    Ok(true)
}

/// Every sentence has a line that is there; with a mistake there is no result, else there is one.
fn told(text: &str, made: &Imported) -> Result<()> {
    let lines = text.lines().count();
    for note in &made.notes {
        ensure!(!note.text.is_empty() && !note.text.contains('\n'), "{note}");
        match &note.place {
            Some(place) => {
                ensure!(&*place.file == NAME, "another file: {note}");
                ensure!((1..=lines).contains(&place.line), "no such line: {note}");
            }
            None => ensure!(
                note.severity == Severity::Advice || note.text.starts_with(NAME),
                "without a line: {note}"
            ),
        }
    }
    let is_bad = made.notes.iter().any(|it| it.severity == Severity::Bad);
    ensure!(is_bad == made.text.is_none(), "a result and a mistake");
    let Some(text) = &made.text else {
        return Ok(());
    };
    let read = weir_conf::parse_str("weir.conf", text, None);
    ensure!(
        read.is_ok() == made.report.is_none(),
        "told otherwise than it is:\n{text}"
    );
    Ok(())
}

/// A word that nobody knows is told, whatever block it stands in.
fn unheard_of(text: &str, line: usize) -> Result<()> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.insert(line, UNHEARD_OF);
    let text = lines.join("\n");
    let made = imported(&text);
    let places = Places::of(&text);
    let is_told = made.notes.iter().any(|it| places.is_about(it, line + 1));
    ensure!(is_told, "line {} is lost in silence:\n{text}", line + 1);
    Ok(())
}

/// Writes another number at a line, if there is one; returns the text and the number of the line.
fn otherwise(text: &str, line: usize, choice: &mut Choice<'_>) -> Option<(String, usize)> {
    // Commands later on may undo what one does.
    const UNDO: [&str; 6] = ["-e", "-E", "-d", "-D", "-C", "-Q"];
    let is_dump = text.trim_start().starts_with('-');
    let words = || text.split_whitespace();
    if is_dump && words().any(|word| UNDO.contains(&word)) {
        return None;
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let old = lines.get_mut(line)?;
    let is_free = if is_dump {
        old.trim_start().starts_with(['#', '!'])
    } else {
        Places::of(text).is_free(line + 1, old)
    };
    if is_free {
        return None;
    }
    let mut words: Vec<String> = old.split_whitespace().map(str::to_owned).collect();
    let others: Vec<(usize, String)> = words
        .iter()
        .enumerate()
        .filter_map(|(at, word)| Some((at, another(word)?)))
        .collect();
    let (at, word) = others.get(usize::from(choice.byte()) % others.len().max(1))?;
    // A port of a local address is taken and ignored, as ipvsadm does.
    if is_dump && *at > 0 && words[at - 1] == "-z" && word.contains(':') {
        return None;
    }
    words[*at].clone_from(word);
    *old = words.join(" ");
    Some((lines.join("\n"), line + 1))
}

/// Returns another number, port or address.
fn another(word: &str) -> Option<String> {
    if let Ok(number) = word.parse::<u16>() {
        return Some((u32::from(number) + 1).to_string());
    }
    if let Ok(socket) = word.parse::<std::net::SocketAddrV4>() {
        let port = socket.port().wrapping_add(1).max(1);
        return Some(format!("{}:{port}", socket.ip()));
    }
    let [a, b, c, d] = word.parse::<std::net::Ipv4Addr>().ok()?.octets();
    Some(format!("{a}.{b}.{c}.{}", d.wrapping_add(1)))
}

fn differ(one: &Imported, other: &Imported) -> bool {
    let notes =
        |made: &Imported| -> Vec<String> { made.notes.iter().map(Note::to_string).collect() };
    one.text != other.text || notes(one) != notes(other)
}

fn command_line(choice: &mut Choice<'_>) -> Vec<String> {
    if choice.once_in(2) {
        // One that is nearly right.
        let lines: Vec<&str> = DUMP.lines().collect();
        let mut words: Vec<String> = choice
            .pick(&lines)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let at = usize::from(choice.byte()) % words.len();
        match choice.below(4) {
            0 => drop(words.remove(at)),
            1 => choice.pick(&OPTIONS).clone_into(&mut words[at]),
            2 => choice.pick(&VALUES).clone_into(&mut words[at]),
            _ => words.insert(at, choice.pick(&OPTIONS).to_owned()),
        }
        return words;
    }
    let count = choice.below(8);
    let words = (0..count).map(|_| {
        let from: &[&str] = if choice.once_in(2) { &OPTIONS } else { &VALUES };
        choice.pick(from).to_owned()
    });
    words.collect()
}

/// What is refused is told in a line; what is taken means something else with another number.
fn command(words: &[String], choice: &mut Choice<'_>) -> Result<bool> {
    let taken = match Command::parse(words, &WellKnown) {
        Ok(taken) => taken,
        Err(Refusal::Syntax(text) | Refusal::Unsupported(text)) => {
            let is_line = !text.is_empty() && !text.contains(char::is_control);
            ensure!(is_line, "refused with {text:?}");
            return Ok(false);
        }
    };
    let mut other = words.to_vec();
    let at = usize::from(choice.byte()) % other.len().max(1);
    let Some(word) = other.get(at).and_then(|word| another(word)) else {
        return Ok(true);
    };
    if at > 0 && matches!(words[at - 1].as_str(), "-z" | "--laddr") && word.contains(':') {
        return Ok(true);
    }
    other[at] = word;
    let same = Command::parse(&other, &WellKnown).is_ok_and(|other| other == taken);
    ensure!(!same, "as good as {other:?}");
    Ok(true)
}

fn change(lines: &mut Vec<Vec<u8>>, choice: &mut Choice<'_>) {
    let all: Vec<&[u8]> = KEEPALIVED
        .iter()
        .chain([&DUMP])
        .flat_map(|text| text.lines())
        .map(str::as_bytes)
        .collect();
    if lines.is_empty() {
        return;
    }
    let at = usize::from(choice.short()) % lines.len();
    let other = usize::from(choice.short()) % lines.len();
    match choice.below(10) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[other].clone()),
        2 | 3 => {
            let index = usize::from(choice.short()) % all.len();
            lines.insert(at, all[index].to_vec());
        }
        4 => lines.swap(at, other),
        5 => {
            let value = choice.pick(&VALUES).as_bytes();
            let mut words: Vec<Vec<u8>> = lines[at]
                .split(|b| *b == b' ')
                .map(<[u8]>::to_vec)
                .collect();
            let last = words.len() - 1;
            words[last] = value.to_vec();
            lines[at] = words.join(&b' ');
        }
        6 => {
            let value = choice.pick(&VALUES).as_bytes();
            lines[at] = [&lines[at], b" ".as_slice(), value].concat();
        }
        7 => lines.insert(
            at,
            choice
                .pick(&[b"{".as_slice(), b"}", b"\"", b"!", b"#"])
                .to_vec(),
        ),
        _ => scratch(&mut lines[at], choice),
    }
}
