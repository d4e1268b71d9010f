//! Lines out of a byte stream, with a limit: hostile input never makes a buffer grow past it.

use std::fmt;

/// The longest line that the daemon accepts of a viewer.
pub const REQUEST_LIMIT: usize = 64 * 1024;

/// The longest line that the daemon accepts of an operator, who may send a configuration: 16 MiB,
/// and what JSON adds to them.
pub const OPERATOR_REQUEST_LIMIT: usize = 24 * 1024 * 1024;

/// The longest line that a client accepts.
pub const REPLY_LIMIT: usize = 1024 * 1024;

/// Says why no further line can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// A line is longer than the limit; the connection must be closed.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A line is not UTF-8; the line was skipped.
    NotText,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "the line is longer than {limit} bytes"),
            Self::NotText => f.write_str("the line is not UTF-8"),
        }
    }
}

impl std::error::Error for LineError {}

/// Cuts a byte stream into lines.
///
/// Feed it with [`push`](Self::push) whatever arrives and take lines until there is none. Once a
/// line is too long the reader stays in that state and keeps nothing.
#[derive(Debug)]
pub struct LineReader {
    limit: usize,
    buffer: Vec<u8>,
    /// How much of the buffer was already given out.
    taken: usize,
    /// How much of the buffer is known to hold no end of line.
    scanned: usize,
    too_long: bool,
}

impl LineReader {
    /// Makes a reader that accepts lines of up to `limit` bytes, the end of line not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            taken: 0,
            scanned: 0,
            too_long: false,
        }
    }

    /// Adds bytes that arrived. Take all lines before pushing more: what is buffered is bounded by
    /// the limit plus one push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.too_long {
            return;
        }
        self.buffer.drain(..self.taken);
        self.scanned -= self.taken;
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next complete line, without its end.
    ///
    /// # Errors
    /// [`LineError::TooLong`] for ever after a line that exceeds the limit; [`LineError::NotText`]
    /// once for a line that is not UTF-8.
    pub fn next_line(&mut self) -> Option<Result<String, LineError>> {
        if self.too_long {
            return Some(Err(LineError::TooLong { limit: self.limit }));
        }
        let fresh = self.buffer.get(self.scanned..)?;
        let end = fresh.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(self.buffer.len(), |at| self.scanned + at) - self.taken;
        if length > self.limit {
            self.too_long = true;
            self.buffer = Vec::new();
            self.taken = 0;
            self.scanned = 0;
            return Some(Err(LineError::TooLong { limit: self.limit }));
        }
        let Some(at) = end else {
            self.scanned = self.buffer.len();
            return None;
        };
        let line = self.buffer.get(self.taken..self.scanned + at)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line)
            .map(str::to_owned)
            .map_err(|_| LineError::NotText);
        self.taken = self.scanned + at + 1;
        self.scanned = self.taken;
        Some(line)
    }

    /// Returns how many bytes are buffered.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reader: &mut LineReader) -> Vec<Result<String, LineError>> {
        std::iter::from_fn(|| reader.next_line())
            .take(100)
            .collect()
    }

    #[test]
    fn lines_arrive_whole_however_the_stream_is_cut() {
        let text = b"one\r\ntwo\n\nthree\nrest";
        for cut in 1..text.len() {
            let mut reader = LineReader::new(16);
            let mut lines = Vec::new();
            for piece in text.chunks(cut) {
                reader.push(piece);
                lines.extend(all(&mut reader).into_iter().map(Result::unwrap));
            }
            assert_eq!(lines, ["one", "two", "", "three"], "pieces of {cut}");
            assert_eq!(reader.buffered(), 4);
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_byte_more_ends_the_stream() {
        let mut reader = LineReader::new(4);
        reader.push(b"four\n");
        assert_eq!(reader.next_line(), Some(Ok("four".to_owned())));
        reader.push(b"fives");
        assert_eq!(
            reader.next_line(),
            Some(Err(LineError::TooLong { limit: 4 }))
        );
        reader.push(b"\nok\n");
        assert_eq!(
            reader.next_line(),
            Some(Err(LineError::TooLong { limit: 4 }))
        );
        assert_eq!(reader.buffered(), 0);
    }

    #[test]
    fn a_line_that_is_not_text_is_skipped_and_the_next_one_is_read() {
        let mut reader = LineReader::new(16);
        reader.push(b"\xff\xfe\nok\n");
        assert_eq!(reader.next_line(), Some(Err(LineError::NotText)));
        assert_eq!(reader.next_line(), Some(Ok("ok".to_owned())));
        assert_eq!(reader.next_line(), None);
    }

    #[test]
    fn a_gigabyte_without_an_end_of_line_keeps_nothing() {
        let mut reader = LineReader::new(REQUEST_LIMIT);
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..1024 {
            reader.push(&piece);
            assert!(matches!(
                reader.next_line(),
                Some(Err(LineError::TooLong { .. }))
            ));
            assert_eq!(reader.buffered(), 0);
        }
    }

    proptest! {
        #[test]
        fn any_stream_in_any_pieces_gives_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..200),
            cut in 1usize..20,
        ) {
            let mut whole = LineReader::new(32);
            whole.push(&bytes);
            let mut pieces = LineReader::new(32);
            let mut lines = Vec::new();
            for piece in bytes.chunks(cut) {
                pieces.push(piece);
                while let Some(line) = pieces.next_line() {
                    let stop = matches!(line, Err(LineError::TooLong { .. }));
                    lines.push(line);
                    if stop { break; }
                }
                prop_assert!(pieces.buffered() <= 32 + cut);
            }
            let mut expected = Vec::new();
            while let Some(line) = whole.next_line() {
                let stop = matches!(line, Err(LineError::TooLong { .. }));
                expected.push(line);
                if stop { break; }
            }
            lines.truncate(expected.len());
            prop_assert_eq!(lines, expected);
        }
    }
}
