//! What the terminal sends: keys, pastes and answers, out of a byte stream that may be cut anywhere.

/// A key, as far as every terminal can send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// A character.
    Char(char),
    /// A letter with the control key.
    Ctrl(char),
    Enter,
    Esc,
    Backspace,
    Delete,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A key.
    Key(Key),
    /// Something was pasted; its beginning, and how long it is.
    Paste(String, usize),
    /// The terminal says where its cursor is: column and row from 1.
    CursorAt(u16, u16),
}

/// As much of a paste as is kept.
pub(crate) const PASTE_KEPT: usize = 1024 * 1024;
/// A sequence that is longer is none.
const SEQUENCE_LIMIT: usize = 32;
/// So many characters at once were not typed.
const BURST: usize = 128;

const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// Makes inputs out of bytes.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The beginning of a sequence or of a character.
    begun: Vec<u8>,
    /// What was pasted so far, and how long it is.
    paste: Option<(Vec<u8>, usize)>,
}

impl Parser {
    /// Takes what arrived at once.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Input> {
        let mut inputs = Vec::new();
        for byte in bytes {
            match &mut self.paste {
                Some(_) => self.pasted(*byte, &mut inputs),
                None => self.typed(*byte, &mut inputs),
            }
        }
        as_paste(inputs)
    }

    /// Says whether a lone escape, or the beginning of something, waits for more.
    pub(crate) fn waits(&self) -> bool {
        !self.begun.is_empty() && self.paste.is_none()
    }

    /// Nothing more came for a while: an escape was the key.
    pub(crate) fn timeout(&mut self) -> Option<Input> {
        let begun = std::mem::take(&mut self.begun);
        (begun.as_slice() == b"\x1b").then_some(Input::Key(Key::Esc))
    }

    fn typed(&mut self, byte: u8, inputs: &mut Vec<Input>) {
        // A second escape begins anew; the first was the key.
        if byte == 0x1b && !self.begun.is_empty() {
            if self.begun.as_slice() == b"\x1b" {
                inputs.push(Input::Key(Key::Esc));
            }
            self.begun.clear();
        }
        self.begun.push(byte);
        if self.begun.as_slice() == PASTE_BEGINS {
            self.begun.clear();
            self.paste = Some((Vec::new(), 0));
            return;
        }
        match decode(&self.begun) {
            Decoded::Input(input) => {
                self.begun.clear();
                inputs.push(input);
            }
            Decoded::Nothing => self.begun.clear(),
            Decoded::Begun if self.begun.len() >= SEQUENCE_LIMIT => self.begun.clear(),
            Decoded::Begun => {}
        }
    }

    fn pasted(&mut self, byte: u8, inputs: &mut Vec<Input>) {
        self.begun.push(byte);
        if PASTE_ENDS == self.begun.as_slice() {
            self.begun.clear();
            if let Some((bytes, length)) = self.paste.take() {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                inputs.push(Input::Paste(text, length));
            }
            return;
        }
        if PASTE_ENDS.starts_with(&self.begun) {
            return;
        }
        // The last byte may begin the end.
        let keeps_last = byte == 0x1b && self.begun.len() > 1;
        let end = self.begun.len() - usize::from(keeps_last);
        if let Some((bytes, length)) = &mut self.paste {
            *length += end;
            let room = PASTE_KEPT.saturating_sub(bytes.len());
            bytes.extend(self.begun.iter().take(end.min(room)));
        }
        self.begun.drain(..end);
    }
}

/// What a terminal that does not mark pastes sends at once is one: nobody types so fast, and no key
/// of it may do something.
fn as_paste(inputs: Vec<Input>) -> Vec<Input> {
    let is_text = |input: &&Input| match input {
        Input::Key(Key::Char(_) | Key::Enter | Key::Tab) => true,
        Input::Key(_) | Input::Paste(..) | Input::CursorAt(..) => false,
    };
    if inputs.iter().filter(is_text).count() < BURST {
        return inputs;
    }
    let text: String = inputs
        .iter()
        .filter_map(|input| match input {
            Input::Key(Key::Char(symbol)) => Some(*symbol),
            Input::Key(Key::Enter) => Some('\n'),
            Input::Key(Key::Tab) => Some('\t'),
            Input::Key(_) | Input::Paste(..) | Input::CursorAt(..) => None,
        })
        .collect();
    let length = text.len();
    let others = inputs.into_iter().filter(|input| !is_text(&input));
    let mut all = vec![Input::Paste(text, length)];
    all.extend(others);
    all
}

enum Decoded {
    Input(Input),
    /// It is known and means nothing here.
    Nothing,
    /// More must come.
    Begun,
}

fn decode(bytes: &[u8]) -> Decoded {
    let key = |key| Decoded::Input(Input::Key(key));
    match bytes {
        [0x1b] | [0x1b, b'[' | b'O'] => Decoded::Begun,
        [0x1b, b'[', rest @ ..] => control_sequence(rest),
        [0x1b, b'O', last] => named(*last, 0).map_or(Decoded::Nothing, key),
        // A key with Alt, which not every terminal has, and control characters that are no keys.
        [0x1b, ..] | [0x00 | 0x1c..=0x1f] => Decoded::Nothing,
        [b'\r' | b'\n'] => key(Key::Enter),
        [b'\t'] => key(Key::Tab),
        [0x7f | 0x08] => key(Key::Backspace),
        [byte @ 0x01..=0x1a] => key(Key::Ctrl(char::from(byte + b'a' - 1))),
        [byte @ 0x20..=0x7e] => key(Key::Char(char::from(*byte))),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => match text.chars().next() {
                Some(symbol) if !symbol.is_control() => key(Key::Char(symbol)),
                Some(_) | None => Decoded::Nothing,
            },
            Err(error) if error.error_len().is_none() => Decoded::Begun,
            Err(_) => Decoded::Nothing,
        },
    }
}

/// What stands behind `ESC [`.
fn control_sequence(rest: &[u8]) -> Decoded {
    let Some((last, parameters)) = rest.split_last() else {
        return Decoded::Begun;
    };
    if !(0x40..=0x7e).contains(last) {
        // The Linux console sends its first function keys as `ESC [ [ A`.
        return if *last < 0x20 {
            Decoded::Nothing
        } else {
            Decoded::Begun
        };
    }
    if rest == b"[" {
        return Decoded::Begun;
    }
    if parameters == b"[" {
        return Decoded::Nothing;
    }
    let text = std::str::from_utf8(parameters).unwrap_or_default();
    let mut numbers = text.split(';').map(|number| number.parse::<u16>().ok());
    let (first, second) = (numbers.next().flatten(), numbers.next().flatten());
    if *last == b'R' {
        return match (first, second) {
            (Some(row), Some(column)) => Decoded::Input(Input::CursorAt(column, row)),
            _ => Decoded::Nothing,
        };
    }
    let found = named(*last, first.unwrap_or(0));
    found.map_or(Decoded::Nothing, |key| Decoded::Input(Input::Key(key)))
}

fn named(last: u8, number: u16) -> Option<Key> {
    Some(match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', 1 | 7) => Key::Home,
        (b'F', _) | (b'~', 4 | 8) => Key::End,
        (b'Z', _) => Key::BackTab,
        (b'~', 3) => Key::Delete,
        (b'~', 5) => Key::PageUp,
        (b'~', 6) => Key::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(bytes: &[u8]) -> Vec<Input> {
        Parser::default().push(bytes)
    }

    fn key(key: Key) -> Input {
        Input::Key(key)
    }

    #[test]
    fn keys_of_any_terminal_are_known() {
        for (bytes, expected) in [
            (&b"j"[..], Key::Char('j')),
            (b"\x1b[A", Key::Up),
            (b"\x1bOB", Key::Down),
            (b"\x1b[1;5C", Key::Right),
            (b"\x1b[5~", Key::PageUp),
            (b"\x1b[6~", Key::PageDown),
            (b"\x1b[1~", Key::Home),
            (b"\x1b[4~", Key::End),
            (b"\x1b[Z", Key::BackTab),
            (b"\x7f", Key::Backspace),
            (b"\x08", Key::Backspace),
            (b"\r", Key::Enter),
            (b"\x03", Key::Ctrl('c')),
            ("ä".as_bytes(), Key::Char('ä')),
        ] {
            assert_eq!(keys(bytes), [key(expected)], "{bytes:?}");
        }
    }

    #[test]
    fn an_arrow_key_that_arrives_byte_by_byte_is_no_escape() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(b"\x1b"), []);
        assert!(parser.waits());
        assert_eq!(parser.push(b"["), []);
        assert_eq!(parser.push(b"A"), [key(Key::Up)]);
        assert!(!parser.waits());
    }

    #[test]
    fn a_lone_escape_is_one_once_nothing_follows() {
        let mut parser = Parser::default();
        parser.push(b"\x1b");
        assert_eq!(parser.timeout(), Some(key(Key::Esc)));
        assert_eq!(parser.timeout(), None);
        assert_eq!(parser.push(b"\x1b\x1b[A"), [key(Key::Esc), key(Key::Up)]);
    }

    #[test]
    fn the_cursor_report_is_known_however_it_is_cut() {
        let report = b"\x1b[24;80R";
        for cut in 1..report.len() {
            let mut parser = Parser::default();
            let (first, second) = report.split_at(cut);
            assert_eq!(parser.push(first), []);
            assert_eq!(parser.push(second), [Input::CursorAt(80, 24)]);
        }
    }

    #[test]
    fn function_keys_and_alt_mean_nothing() {
        for bytes in [
            &b"\x1bOP"[..],
            b"\x1b[15~",
            b"\x1b[[A",
            b"\x1bd",
            b"\x1b[<0;1;1M",
        ] {
            assert_eq!(keys(bytes), [], "{bytes:?}");
        }
    }

    #[test]
    fn a_marked_paste_is_one_input_and_a_long_one_is_cut() {
        let mut parser = Parser::default();
        assert_eq!(
            parser.push(b"\x1b[200~dd\rq\x1b[Ad\x1b\x1b[201~j"),
            [
                Input::Paste("dd\rq\x1b[Ad\x1b".to_owned(), 9),
                key(Key::Char('j'))
            ]
        );
        parser.push(PASTE_BEGINS);
        for _ in 0..1025 {
            assert_eq!(parser.push(&[b'd'; 1024]), []);
        }
        let inputs = parser.push(PASTE_ENDS);
        let [Input::Paste(text, length)] = inputs.as_slice() else {
            panic!("{} inputs", inputs.len());
        };
        assert_eq!((text.len(), *length), (PASTE_KEPT, (1 << 20) + 1024));
    }

    #[test]
    fn what_arrives_faster_than_anyone_types_is_a_paste_without_marks() {
        let text = "drain\n".repeat(100);
        let inputs = keys(text.as_bytes());
        assert_eq!(inputs, [Input::Paste(text.clone(), text.len())]);
        let typed = keys(b"drain\r");
        assert_eq!(typed.len(), 6);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_neither_panic_nor_pile_up(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            cut in 1usize..9,
        ) {
            let mut parser = Parser::default();
            for piece in bytes.chunks(cut) {
                parser.push(piece);
                prop_assert!(parser.begun.len() <= SEQUENCE_LIMIT);
            }
        }
    }
}
