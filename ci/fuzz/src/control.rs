//! Whatever a client of the control socket sends, and whatever somebody who pretends to be the daemon
//! answers: lines come out the same however the stream is cut, nothing grows past its limit, a
//! request is refused with a sentence or reads back as the same, and no viewer's is an operator's.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_control::{
    Asked, Code, Greeting, LineError, LineReader, REPLY_LIMIT, REQUEST_LIMIT, Rejection, Reply,
};
use weir_model::Role;

use crate::choice::Choice;

/// The document has an example of each request, which a test there sees to.
const DOCUMENT: &str = include_str!("../../../docs/control.md");

/// What the daemon says.
const ANSWERS: [&str; 5] = [
    r#"{"code":"0001","schema":1,"role":"viewer","version":"0.1.0","node":"lb1"}"#,
    r#"{"code":"1005","row":{"worker":0,"cpu":2}}"#,
    r#"{"code":"1007","row":"[node]"}"#,
    r#"{"code":"0000","rows":2}"#,
    r#"{"code":"8002","text":"there is no service `wbe`; there is web, dns"}"#,
];

/// What stands where something else should.
const ODDITIES: [&str; 36] = [
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "null",
    "true",
    "\"\"",
    "\"web\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{1f4a5}\"",
    "[]",
    "[[[[[[[[",
    "{}",
    "{\"do\":\"show\"}",
    "\"do\":\"apply\",",
    "\"do\":\"show\",",
    "\"role\":\"operator\",",
    "\"texts\":[],",
    "\"for_ms\":1,",
    "\"filter\":{\"limit\":0},",
    "\"what\":\"sessions\",",
    "\\u0064o",
    "apply",
    "viewer",
    "operator",
    "\r",
    "\t",
    "\u{feff}",
    ",",
    ":",
    "}",
    "]",
    "\"",
    "\\",
    "//",
];

/// A byte stream is cut off there, so that cases stay cheap.
const LIMIT: usize = 4096;
/// A sentence of a refusal is for people.
const LONGEST_SENTENCE: usize = 2048;

/// What came of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Requests that a viewer may ask.
    pub viewers: u64,
    /// Requests that an operator only may ask.
    pub operators: u64,
    /// Lines that are no request.
    pub refused: u64,
}

/// Plays bytes: as a client's stream as they are, and as changes of good requests.
pub(crate) fn run(data: &[u8]) -> Result<()> {
    let mut heard = Heard::default();
    hear(data, &mut Choice::Bytes(data), &mut heard)?;
    let mut choice = Choice::Bytes(data);
    let stream = changed(&examples(), &mut choice);
    hear(&stream, &mut choice, &mut heard)
}

/// Tries as many streams.
pub(crate) fn many(choice: &mut Choice<'_>) -> Result<Heard> {
    let mut heard = Heard::default();
    let examples = examples();
    while choice.another() {
        let stream = changed(&examples, choice);
        hear(&stream, choice, &mut heard)
            .with_context(|| format!("{:?}", String::from_utf8_lossy(&stream)))?;
    }
    Ok(heard)
}

fn examples() -> Vec<&'static str> {
    let requests = DOCUMENT.lines().filter(|line| line.starts_with("{\"do\":"));
    requests.chain(ANSWERS).collect()
}

/// Makes a stream of a few lines that are nearly right.
fn changed(examples: &[&str], choice: &mut Choice<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..choice.pick(&[1, 1, 2, 3]) {
        let mut line = choice.pick(examples).as_bytes().to_vec();
        for _ in 0..choice.pick(&[0, 1, 1, 2, 5]) {
            change(&mut line, examples, choice);
        }
        stream.extend(line);
        let end: &[u8] = choice.pick(&[b"\n", b"\n", b"\n", b"\r\n", b"", b"\n\n"]);
        stream.extend(end);
    }
    stream
}

fn change(line: &mut Vec<u8>, examples: &[&str], choice: &mut Choice<'_>) {
    let at = usize::from(choice.short()) % (line.len() + 1);
    match choice.below(8) {
        0 => line.truncate(at),
        1 => drop(line.splice(at..at, [choice.byte()])),
        2 if at < line.len() => line[at] = choice.byte(),
        3 => {
            let end = (at + 1 + choice.below(8)).min(line.len());
            drop(line.drain(at.min(end)..end));
        }
        4 => {
            let other = choice.pick(examples).as_bytes();
            let from = usize::from(choice.short()) % (other.len() + 1);
            line.truncate(at);
            line.extend(&other[from..]);
        }
        5 => {
            // Long, and in one piece.
            let piece = choice.pick(&ODDITIES).repeat(1 + choice.below(200));
            drop(line.splice(at..at, piece.bytes()));
        }
        6 => value(line, choice),
        _ => drop(line.splice(at..at, choice.pick(&ODDITIES).bytes())),
    }
}

/// Puts something else where a value is.
fn value(line: &mut Vec<u8>, choice: &mut Choice<'_>) {
    let colons = line.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let starts: Vec<usize> = colons.map(|(at, _)| at + 1).collect();
    if starts.is_empty() {
        return;
    }
    let start = choice.pick(&starts);
    let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']');
    let end = line[start..].iter().position(ends);
    let end = end.map_or(line.len(), |length| start + length);
    drop(line.splice(start..end, choice.pick(&ODDITIES).bytes()));
}

/// Reads a stream as the daemon does and as a client does.
fn hear(stream: &[u8], choice: &mut Choice<'_>, heard: &mut Heard) -> Result<()> {
    let limit = choice.pick(&[LIMIT, LIMIT, 64, REQUEST_LIMIT, REPLY_LIMIT]);
    let whole = lines(stream, limit, stream.len().max(1))?;
    let cut = lines(stream, limit, 1 + choice.below(64))?;
    ensure!(whole == cut, "cut otherwise: {whole:?} and {cut:?}");
    for line in whole.iter().flatten() {
        request(line, heard)?;
        answer(line)?;
    }
    Ok(())
}

fn lines(stream: &[u8], limit: usize, piece: usize) -> Result<Vec<Result<String, LineError>>> {
    let mut reader = LineReader::new(limit);
    let mut lines = Vec::new();
    for bytes in stream.chunks(piece) {
        reader.push(bytes);
        while let Some(line) = reader.next_line() {
            if let Err(LineError::TooLong { .. }) = line {
                ensure!(reader.buffered() == 0, "something of a long line is kept");
                lines.push(line);
                return Ok(lines);
            }
            if let Ok(line) = &line {
                ensure!(line.len() <= limit && !line.contains('\n'), "{line:?}");
            }
            lines.push(line);
        }
        ensure!(reader.buffered() <= limit + piece, "{}", reader.buffered());
    }
    Ok(lines)
}

fn request(line: &str, heard: &mut Heard) -> Result<()> {
    let asked = match Asked::parse(line) {
        Ok(asked) => asked,
        Err(rejection) => {
            heard.refused += 1;
            return refusal(&rejection);
        }
    };
    let request = &asked.request;
    let value: Value = serde_json::from_str(line).context("a request that is no JSON")?;
    let name = value.get("do").and_then(Value::as_str);
    ensure!(name == Some(request.name()), "{name:?} became {request:?}");
    let written = asked.to_line();
    ensure!(
        written.matches('\n').count() == 1 && written.ends_with('\n'),
        "{written:?}"
    );
    let again = Asked::parse(written.trim_end_matches('\n'));
    ensure!(
        again.as_ref() == Ok(&asked),
        "{asked:?} reads back as {again:?}"
    );
    ensure!(request.permitted(Role::Operator).is_ok(), "{request:?}");
    match (request.needs(), request.permitted(Role::Viewer)) {
        (Role::Viewer, Ok(())) => heard.viewers += 1,
        (Role::Operator, Err(rejection)) => {
            heard.operators += 1;
            ensure!(rejection.code == Code::NotPermitted, "{rejection:?}");
            refusal(&rejection)?;
        }
        (role, permitted) => anyhow::bail!("{request:?} needs {role:?}: {permitted:?}"),
    }
    Ok(())
}

fn refusal(rejection: &Rejection) -> Result<()> {
    let Rejection { code, text } = rejection;
    ensure!(code.digits() >= "8001", "{rejection:?}");
    ensure!(
        (1..=LONGEST_SENTENCE).contains(&text.len()),
        "{rejection:?}"
    );
    let written = Reply::refused(rejection).to_line();
    ensure!(
        written.matches('\n').count() == 1 && written.ends_with('\n'),
        "{written:?}"
    );
    let again: Reply = serde_json::from_str(&written)?;
    ensure!(
        again == Reply::refused(rejection),
        "{rejection:?} reads back as {again:?}"
    );
    Ok(())
}

/// What a client makes of a line, from whomever it is.
fn answer(line: &str) -> Result<()> {
    if let Ok(reply) = serde_json::from_str::<Reply>(line) {
        let written = reply.to_line();
        let again: Reply = serde_json::from_str(&written)?;
        ensure!(again == reply, "{reply:?} reads back as {again:?}");
    }
    if let Ok(greeting) = serde_json::from_str::<Greeting>(line) {
        let written = greeting.to_line();
        let again: Greeting = serde_json::from_str(&written)?;
        ensure!(again == greeting, "{greeting:?} reads back as {again:?}");
    }
    Ok(())
}
