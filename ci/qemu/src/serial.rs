//! A serial line with a person at a terminal behind it: what comes is read at once, shown on a
//! screen of 80x24 and kept; what is waited for has a time limit; a terminal's questions are answered.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use vt100::{Callbacks, Parser, Screen};

const POLL: Duration = Duration::from_millis(20);
/// Lines of the transcript that a failure shows.
const TAIL: usize = 40;

/// A serial line.
#[derive(Debug)]
pub struct Serial {
    stream: UnixStream,
    shared: Arc<Mutex<Shared>>,
    /// Up to where the transcript was waited for.
    mark: usize,
}

struct Shared {
    terminal: Parser<Questions>,
    transcript: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("transcript", &self.transcript.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// What the other end asks a terminal, answered as one of 80x24 does.
#[derive(Debug, Default)]
struct Questions {
    answers: VecDeque<String>,
    asked: u64,
}

impl Callbacks for Questions {
    fn unhandled_csi(
        &mut self,
        screen: &mut Screen,
        first: Option<u8>,
        _: Option<u8>,
        params: &[&[u16]],
        end: char,
    ) {
        // ECMA-48 8.3.35, DSR: 6 asks where the cursor is.
        if let (None, [[6]], 'n') = (first, params, end) {
            let (row, column) = screen.cursor_position();
            let mut answer = String::new();
            // A string takes all that is written to it.
            let _ = write!(answer, "\x1b[{};{}R", row + 1, column + 1);
            self.answers.push_back(answer);
            self.asked += 1;
        }
    }
}

impl Serial {
    /// Takes over a line; from now on somebody reads it.
    ///
    /// # Errors
    /// When the stream cannot be shared with the reader.
    pub fn new(stream: UnixStream) -> Result<Self> {
        let size = |n| NonZeroU16::new(n).context("a terminal has lines");
        let shared = Arc::new(Mutex::new(Shared {
            terminal: Parser::new_with_callbacks(size(24)?, size(80)?, 0, Questions::default()),
            transcript: Vec::new(),
            ended: false,
        }));
        let reader = stream.try_clone().context("cannot share the serial line")?;
        let of_reader = Arc::clone(&shared);
        thread::spawn(move || read(reader, &of_reader));
        Ok(Self {
            stream,
            shared,
            mark: 0,
        })
    }

    /// Types a text.
    ///
    /// # Errors
    /// When the line is gone.
    pub fn keys(&mut self, text: &str) -> Result<()> {
        // A UART takes what comes; people, and terminals, send it piece by piece.
        for piece in text.as_bytes().chunks(16) {
            self.stream
                .write_all(piece)
                .context("the serial line is gone")?;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Types a line and presses Enter.
    ///
    /// # Errors
    /// As [`Serial::keys`].
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.keys(text)?;
        self.keys("\r")
    }

    /// Waits until a text comes that was not waited for before.
    ///
    /// # Errors
    /// When it does not, with what came last.
    pub fn expect(&mut self, text: &str, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            {
                let shared = self.shared();
                let new = shared.transcript.get(self.mark..).unwrap_or_default();
                if let Some(at) = find(new, text.as_bytes()) {
                    drop(shared);
                    self.mark += at + text.len();
                    return Ok(());
                }
                if shared.ended || Instant::now() >= end {
                    drop(shared);
                    bail!(
                        "the serial line does not say `{text}` within {patience:?}; {}",
                        self.last_words()
                    );
                }
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until the screen shows what is wanted, and returns what it shows.
    ///
    /// # Errors
    /// When it does not, with what it shows instead.
    pub fn wait(
        &self,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let end = Instant::now() + patience;
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return Ok(screen);
            }
            if self.shared().ended || Instant::now() >= end {
                bail!(
                    "the terminal on the serial line does not show {what} within {patience:?}; {}",
                    self.last_words()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Forgets what came until now: what is waited for next comes after it.
    pub fn skip(&mut self) {
        let length = self.shared().transcript.len();
        self.mark = length;
    }

    /// Returns what the terminal shows.
    #[must_use]
    pub fn screen(&self) -> String {
        self.shared().terminal.screen().contents()
    }

    /// Returns how often the other end asked where the cursor is.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared().terminal.callbacks().asked
    }

    /// Returns all that came.
    #[must_use]
    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.shared().transcript).into_owned()
    }

    /// Returns what the terminal shows and what came last, for a failure report.
    #[must_use]
    pub fn last_words(&self) -> String {
        let transcript = self.transcript();
        let lines: Vec<String> = transcript.lines().map(printable).collect();
        let tail = lines
            .get(lines.len().saturating_sub(TAIL)..)
            .unwrap_or_default();
        format!(
            "its terminal shows:\n{}\nand what came last is:\n{}",
            self.screen(),
            tail.join("\n")
        )
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(mut stream: UnixStream, shared: &Mutex<Shared>) {
    let mut bytes = [0; 4096];
    loop {
        let length = stream.read(&mut bytes).unwrap_or_default();
        let came = bytes.get(..length).unwrap_or_default();
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if came.is_empty() {
            shared.ended = true;
            return;
        }
        shared.transcript.extend_from_slice(came);
        shared.terminal.process(came);
        let answers: Vec<String> = shared.terminal.callbacks_mut().answers.drain(..).collect();
        drop(shared);
        for answer in answers {
            // Without a reader at the other end there is nobody to answer to.
            let _ = stream.write_all(answer.as_bytes());
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len().max(1))
        .position(|window| window == wanted)
}

/// Leaves what moves a terminal's cursor as marks that can be read.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn line() -> (Serial, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(SOON)).unwrap();
        (Serial::new(ours).unwrap(), theirs)
    }

    #[test]
    fn a_program_that_asks_for_the_size_is_told_24_by_80() {
        let (serial, mut program) = line();
        program
            .write_all(b"\x1b7\x1b[r\x1b[999;999H\x1b[6n")
            .unwrap();
        let mut answer = [0; 8];
        program.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"\x1b[24;80R");
        assert_eq!(serial.asked(), 1);
    }

    #[test]
    fn what_is_waited_for_is_found_once_and_in_order() {
        let (mut serial, mut program) = line();
        program.write_all(b"one\r\nAddress: ").unwrap();
        serial.expect("Address:", SOON).unwrap();
        let error = serial.expect("Address:", Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("Address:"), "{error}");
        program.write_all(b"\x1b[2J\x1b[3;5Hhello").unwrap();
        serial
            .wait("hello", SOON, |it| it.contains("hello"))
            .unwrap();
        assert_eq!(serial.screen().lines().nth(2), Some("    hello"));
        assert!(serial.transcript().starts_with("one\r\n"));
    }

    #[test]
    fn what_is_typed_arrives() {
        let (mut serial, mut program) = line();
        serial.line("192.0.2.1/24").unwrap();
        let mut typed = [0; 13];
        program.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"192.0.2.1/24\r");
    }

    #[test]
    fn a_line_that_ends_is_not_waited_for() {
        let (mut serial, program) = line();
        drop(program);
        let began = Instant::now();
        assert!(serial.expect("never", SOON).is_err());
        assert!(began.elapsed() < SOON);
    }
}
