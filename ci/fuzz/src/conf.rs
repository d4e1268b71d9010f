//! Whatever a configuration says: it is refused with places, or accepted whole. What is accepted
//! is what was said, to the word, and reads back as the same.

mod judge;

use anyhow::Result;

use crate::choice::Choice;

/// A file that has every key, to take lines from.
const EVERYTHING: &str = include_str!("../../../lib/conf/tests/good/all-keys.conf");

/// What cases begin with: small, so that many are tried.
const BASES: [&str; 3] = [
    "[port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n[lip-pool blue]\nport = lan\n\
     address = 10.0.8.0/28\n[service web]\nlisten = 203.0.113.10:80/tcp\nlip-pool = blue\n\
     real = 10.0.1.11:80  weight=3\n",
    "[node]\nname = lb1\n[port wan]\ndevice = eth0\ndriver = af-packet\n\
     address = 198.51.100.2/24\ngateway = 198.51.100.1\n[workers]\ncpus = 1-2\n[lip-pool blue]\n\
     port = wan\naddress = 198.51.100.32-198.51.100.40\n[health fast]\ntype = tcp\n\
     interval = 1s\ntimeout = 400ms\n[service dns]\nlisten = 203.0.113.53:53/udp\n\
     lip-pool = blue\nhealth = fast\nidle = 10s\nreal = 198.51.100.50:53\n",
    EVERYTHING,
];

/// What stands where something else should.
const ODDITIES: [&str; 40] = [
    "0",
    "1",
    "-1",
    "17",
    "255",
    "65535",
    "65536",
    "4294967296",
    "18446744073709551616",
    "1k",
    "2M",
    "5s",
    "1h30m",
    "31d",
    "0s",
    "20k/s",
    "80%",
    "64KiB",
    "/24",
    "yes",
    "no",
    "auto",
    "none",
    "tcp",
    "blue",
    "=",
    "[",
    "]",
    "#",
    ";",
    "%zz",
    "\u{feff}",
    "\u{e4}",
    "\t",
    "10.0.8.1",
    "0.0.0.0/0",
    "[::1]:80/tcp",
    "203.0.113.10:80/tcp",
    "weight=3",
    "a=b=c",
];

/// What came of cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// How many were accepted.
    pub accepted: u64,
    /// How many were refused.
    pub refused: u64,
}

/// Plays bytes: as a file as they are, or as changes of a good one.
pub(crate) fn run(data: &[u8]) -> Result<()> {
    judge::judge(&[data.to_vec()])?;
    judge::judge(&changed(&mut Choice::Bytes(data)))?;
    Ok(())
}

/// Tries as many changed files.
pub(crate) fn many(choice: &mut Choice<'_>) -> Result<Verdicts> {
    let mut verdicts = Verdicts::default();
    while choice.another() {
        if judge::judge(&changed(choice))? {
            verdicts.accepted += 1;
        } else {
            verdicts.refused += 1;
        }
    }
    Ok(verdicts)
}

/// Changes a good file in a few places; now and then it becomes two.
fn changed(choice: &mut Choice<'_>) -> Vec<Vec<u8>> {
    // The large one seldom: it takes as long as ten others.
    let base = match choice.below(32) {
        0 => BASES[2],
        odd if odd % 2 == 1 => BASES[0],
        _ => BASES[1],
    };
    let mut lines: Vec<Vec<u8>> = base.lines().map(|line| line.as_bytes().to_vec()).collect();
    let changes = choice.pick(&[1, 1, 1, 2, 2, 3, 5]);
    for _ in 0..changes {
        change(&mut lines, choice);
    }
    let end: &[u8] = if choice.once_in(16) { b"\r\n" } else { b"\n" };
    let text = |lines: &[Vec<u8>]| -> Vec<u8> {
        lines.iter().flat_map(|line| [line, end].concat()).collect()
    };
    if choice.once_in(8) {
        let headings = lines.iter().enumerate();
        let headings = headings.filter(|(_, line)| line.first() == Some(&b'['));
        let places: Vec<usize> = headings.map(|(at, _)| at).collect();
        if !places.is_empty() {
            let at = choice.pick(&places);
            return vec![text(&lines[..at]), text(&lines[at..])];
        }
    }
    vec![text(&lines)]
}

fn change(lines: &mut Vec<Vec<u8>>, choice: &mut Choice<'_>) {
    let every: Vec<&[u8]> = EVERYTHING.lines().map(str::as_bytes).collect();
    if lines.is_empty() {
        lines.push(choice.pick(&every).to_vec());
        return;
    }
    let at = usize::from(choice.short()) % lines.len();
    let other = usize::from(choice.short()) % lines.len();
    match choice.below(18) {
        12.. => fitting(lines, at, choice),
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[other].clone()),
        2..4 => lines.insert(at, choice.pick(&every).to_vec()),
        4 => lines.swap(at, other),
        5 => {
            // The key of one line with the value of another.
            let key = head(&lines[at]);
            let value = tail(choice.pick(&every));
            lines[at] = [&key, b" = ".as_slice(), &value].concat();
        }
        6 => {
            let key = head(choice.pick(&every));
            let value = tail(&lines[at]);
            lines[at] = [&key, b" = ".as_slice(), &value].concat();
        }
        7 => {
            let oddity = choice.pick(&ODDITIES).as_bytes();
            lines[at] = [&head(&lines[at]), b" = ".as_slice(), oddity].concat();
        }
        8 => {
            let blanks: &[u8] = choice.pick(&[b" ".as_slice(), b"\t ", b"   "]);
            let oddity = choice.pick(&ODDITIES).as_bytes();
            lines[at] = [&lines[at], blanks, oddity].concat();
        }
        9 => {
            // A digit more, or another one.
            let line = &mut lines[at];
            let digits = line
                .iter()
                .enumerate()
                .filter(|(_, it)| it.is_ascii_digit());
            let digits: Vec<usize> = digits.map(|(at, _)| at).collect();
            if !digits.is_empty() {
                let digit = b'0' + choice.below(10) as u8;
                let place = choice.pick(&digits);
                if choice.once_in(2) {
                    line[place] = digit;
                } else {
                    line.insert(place, digit);
                }
            }
        }
        _ => scratch(&mut lines[at], choice),
    }
}

/// Adds a line that the section at a line may have, now and then in place of the one that is there.
fn fitting(lines: &mut Vec<Vec<u8>>, at: usize, choice: &mut Choice<'_>) {
    let is_heading = |line: &[u8]| line.first() == Some(&b'[');
    let kind = |line: &[u8]| -> Vec<u8> {
        let end = line.iter().position(|byte| matches!(byte, b' ' | b']'));
        line[..end.unwrap_or(line.len())].to_vec()
    };
    let Some(heading) = (0..=at).rev().find(|at| is_heading(&lines[*at])) else {
        return;
    };
    let wanted = kind(&lines[heading]);
    let mut within = false;
    let mut candidates: Vec<&[u8]> = Vec::new();
    for line in EVERYTHING.lines().map(str::as_bytes) {
        if is_heading(line) {
            within = kind(line) == wanted;
        } else if within {
            candidates.push(line);
        }
    }
    if candidates.is_empty() {
        return;
    }
    let line = choice.pick(&candidates).to_vec();
    let same = (heading + 1..lines.len())
        .take_while(|at| !is_heading(&lines[*at]))
        .find(|at| head(&lines[*at]) == head(&line));
    match same {
        Some(at) if !choice.once_in(4) => lines[at] = line,
        _ => lines.insert(heading + 1, line),
    }
}

/// Changes one byte, takes one away or adds one.
pub(crate) fn scratch(line: &mut Vec<u8>, choice: &mut Choice<'_>) {
    let place = usize::from(choice.short()) % (line.len() + 1);
    let byte = match choice.below(4) {
        0 => choice.byte(),
        1 => choice.pick(b"=[]#; \t.:/-%"),
        2 => b'a' + choice.below(26) as u8,
        _ => b'0' + choice.below(10) as u8,
    };
    match (choice.below(3), place < line.len()) {
        (0, true) => line[place] = byte,
        (1, true) => drop(line.remove(place)),
        _ => line.insert(place, byte),
    }
}

/// What stands before the first `=`.
fn head(line: &[u8]) -> Vec<u8> {
    let end = line.iter().position(|byte| *byte == b'=');
    line[..end.unwrap_or(line.len())].trim_ascii().to_vec()
}

/// What stands behind the first `=`.
fn tail(line: &[u8]) -> Vec<u8> {
    let start = line.iter().position(|byte| *byte == b'=');
    line[start.map_or(0, |at| at + 1)..].trim_ascii().to_vec()
}
