//! Cuts a file into sections, keys and values, and remembers where each of them stands.

use crate::diagnostic::Sink;
use crate::source::{LONGEST_LINE, Place};

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// A `key = value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Token,
    pub(crate) value: Token,
}

/// A `[kind name]` line with the entries below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// The whole of `[kind name]`.
    pub(crate) header: Token,
    pub(crate) kind: Token,
    pub(crate) name: Option<Token>,
    pub(crate) entries: Vec<Entry>,
    /// The first words of lines that could not be read: what was meant by them is not missing.
    pub(crate) unread: Vec<String>,
}

/// Where entries go.
enum Under {
    /// No section has begun.
    Nothing,
    /// The last section of the list.
    Section,
    /// A section whose heading could not be read.
    Unreadable,
}

/// Cuts a text into sections; what cannot be read is reported and left out.
pub(crate) fn lex(source: usize, text: &str, sink: &mut Sink) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut under = Under::Nothing;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, raw) in text.lines().enumerate() {
        let line = Line {
            source,
            number: index + 1,
            text: raw.strip_suffix('\r').unwrap_or(raw),
        };
        let before = sink.count();
        let Some(content) = line.content(sink) else {
            if sink.count() > before {
                miss(&under, &mut sections, raw);
                if matches!(under, Under::Nothing) {
                    // What is no text may have said anything.
                    sink.lose_section("");
                }
            }
            continue;
        };
        if content.text.starts_with('[') {
            let section = heading(&content, sink);
            if section.is_none() {
                sink.lose_section(&content.text);
            }
            under = section
                .as_ref()
                .map_or(Under::Unreadable, |_| Under::Section);
            sections.extend(section);
            continue;
        }
        let Some(entry) = entry(&content, sink) else {
            miss(&under, &mut sections, &content.text);
            continue;
        };
        match under {
            Under::Nothing => sink.at(
                entry.key.place,
                format!("`{}` stands before the first [section]", entry.key.text),
                "a key belongs to the section above it",
            ),
            Under::Unreadable => {}
            Under::Section => {
                if let Some(section) = sections.last_mut() {
                    section.entries.push(entry);
                }
            }
        }
    }
    sections
}

/// Remembers of a line that could not be read which key it begins with.
fn miss(under: &Under, sections: &mut [Section], line: &str) {
    let key = line
        .split(|c| is_blank(c) || c == '=')
        .find(|it| !it.is_empty());
    if let (Under::Section, Some(section)) = (under, sections.last_mut()) {
        section.unread.extend(key.map(str::to_owned));
    }
}

/// Splits a token at blanks; each word knows its place.
pub(crate) fn words(token: &Token) -> Vec<Token> {
    let mut words: Vec<Token> = Vec::new();
    let mut inside = false;
    for (offset, c) in token.text.chars().enumerate() {
        if is_blank(c) {
            inside = false;
            continue;
        }
        if !inside {
            words.push(Token {
                text: String::new(),
                place: token.place.part(offset, 0),
            });
        }
        if let Some(word) = words.last_mut() {
            word.text.push(c);
            word.place.width = word.text.chars().count();
        }
        inside = true;
    }
    words
}

/// Returns a piece of a token by its position in characters.
pub(crate) fn piece(token: &Token, offset: usize, width: usize) -> Token {
    Token {
        text: token.text.chars().skip(offset).take(width).collect(),
        place: token.place.part(offset, width),
    }
}

struct Line<'a> {
    source: usize,
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    /// Returns what stands on the line without comment and surrounding blanks; none when nothing
    /// does, or when the line cannot be read.
    fn content(&self, sink: &mut Sink) -> Option<Token> {
        let mut length = 0;
        let mut end = None;
        let mut before = ' ';
        for (offset, c) in self.text.chars().enumerate() {
            length = offset + 1;
            if length > LONGEST_LINE {
                sink.at(
                    self.place(0, 1),
                    format!("the line is longer than {LONGEST_LINE} characters"),
                    "lists are written as one key per line",
                );
                return None;
            }
            if end.is_some() {
                continue;
            }
            if matches!(c, '#' | ';') && is_blank(before) {
                end = Some(offset);
                continue;
            }
            if c.is_control() && c != '\t' {
                let code = u32::from(c);
                let note = match c {
                    '\r' => "a line ends with 0x0a; `tr '\\r' '\\n'` makes that of it",
                    _ => "",
                };
                sink.at(
                    self.place(offset, 1),
                    format!("the control character 0x{code:02x} cannot stand here"),
                    note,
                );
                return None;
            }
            if is_unseen(c) {
                let code = u32::from(c);
                let note = if c.is_whitespace() {
                    "it looks like a blank; write a blank"
                } else {
                    "nobody sees it; delete it"
                };
                sink.at(
                    self.place(offset, 1),
                    format!("the character U+{code:04X} cannot stand here"),
                    note,
                );
                return None;
            }
            before = c;
        }
        let whole = Token {
            text: self.text.chars().take(end.unwrap_or(length)).collect(),
            place: self.place(0, length),
        };
        let content = trim(&whole);
        (!content.text.is_empty()).then_some(content)
    }

    fn place(&self, offset: usize, width: usize) -> Place {
        Place {
            source: self.source,
            line: self.number,
            column: offset + 1,
            width,
        }
    }
}

fn heading(content: &Token, sink: &mut Sink) -> Option<Section> {
    let length = content.text.chars().count();
    let Some(close) = content.text.chars().position(|c| c == ']') else {
        sink.at(
            content.place.part(length, 1),
            "a section heading is not closed",
            "`]` is missing",
        );
        return None;
    };
    if close + 1 < length {
        let rest = trim(&piece(content, close + 1, length));
        sink.at(
            rest.place,
            format!("`{}` stands behind a section heading", quote(&rest.text)),
            "the line ends at `]`; keys stand on lines of their own",
        );
        return None;
    }
    let inside = words(&piece(content, 1, close - 1));
    let mut inside = inside.into_iter();
    let Some(kind) = inside.next() else {
        sink.at(
            content.place,
            "a section heading is empty",
            "e.g. [service web]",
        );
        return None;
    };
    let name = inside.next();
    if let Some(second) = inside.next() {
        sink.at(
            second.place,
            format!(
                "`{}` is a second name in a section heading",
                quote(&second.text)
            ),
            "a heading is [kind name]; names have no blanks",
        );
        return None;
    }
    Some(Section {
        header: piece(content, 0, close + 1),
        kind,
        name,
        entries: Vec::new(),
        unread: Vec::new(),
    })
}

fn entry(content: &Token, sink: &mut Sink) -> Option<Entry> {
    let length = content.text.chars().count();
    let Some(equals) = content.text.chars().position(|c| c == '=') else {
        sink.at(
            content.place,
            format!(
                "`{}` is neither a [section] nor a key with a value",
                quote(&content.text)
            ),
            instead_of(&content.text),
        );
        return None;
    };
    let key = trim(&piece(content, 0, equals));
    if key.text.is_empty() {
        sink.at(
            content.place.part(0, 1),
            "a key is missing before `=`",
            "write `key = value`",
        );
        return None;
    }
    if let Some(second) = words(&key).into_iter().nth(1) {
        sink.at(
            second.place,
            format!("`{}` is not a key", quote(&key.text)),
            "a key is one word, with `=` behind it",
        );
        return None;
    }
    let value = trim(&piece(content, equals + 1, length));
    if value.text.is_empty() {
        sink.at(
            content.place.part(length, 1),
            format!("`{}` has no value", quote(&key.text)),
            "a value is expected behind `=`",
        );
        return None;
    }
    if value.text.starts_with(['#', ';']) {
        sink.at(
            value.place.part(0, 1),
            format!(
                "a value cannot begin with `{}`",
                quote(value.text.get(..1).unwrap_or_default())
            ),
            "with a blank before it a comment begins here",
        );
        return None;
    }
    Some(Entry { key, value })
}

/// Says what to write instead of a line that has no `=`.
fn instead_of(line: &str) -> String {
    if line.ends_with('{') {
        return "is it a keepalived.conf? `weir import FILE` makes a weir.conf of it".to_owned();
    }
    match line.split_once(':') {
        Some((key, value)) if value.starts_with(is_blank) && !key.contains(is_blank) => {
            format!(
                "write `{} = {}`",
                quote(key),
                quote(value.trim_matches(is_blank))
            )
        }
        Some(_) | None => "write `key = value`".to_owned(),
    }
}

/// Cuts blanks off both ends.
fn trim(token: &Token) -> Token {
    let lead = token.text.chars().take_while(|c| is_blank(*c)).count();
    let text = token.text.trim_matches(is_blank);
    Token {
        place: Place {
            column: token.place.column + lead,
            width: text.chars().count(),
            ..token.place
        },
        text: text.to_owned(),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Says whether a character looks like a blank and is none, or like nothing: editors, mails and web
/// pages leave such behind.
fn is_unseen(c: char) -> bool {
    c.is_whitespace() && !is_blank(c)
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Shortens what a sentence quotes.
pub(crate) fn quote(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MOST - 3).collect();
    short.push_str("...");
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    fn errors(text: &str) -> Vec<(String, usize, usize)> {
        let mut sink = Sink::default();
        lex(0, text, &mut sink);
        let mut sources = Sources::default();
        sources.add("x", text);
        let Some(report) = sink.into_report(sources) else {
            return Vec::new();
        };
        report
            .messages()
            .zip(report.places())
            .map(|(message, place)| {
                let (line, column) = place.unwrap();
                (message.to_owned(), line, column)
            })
            .collect()
    }

    #[test]
    fn comments_begin_at_line_start_or_after_a_blank_only() {
        let mut sink = Sink::default();
        let sections = lex(
            0,
            "# all\n ; of this\n[service a]  # named\nkey = a#b;c ; rest\r\n\n\tother=x # y\n",
            &mut sink,
        );
        assert!(sink.is_empty());
        assert_eq!(sections.len(), 1);
        let section = &sections[0];
        assert_eq!(section.header.text, "[service a]");
        assert_eq!(section.name.as_ref().unwrap().place.column, 10);
        let pairs: Vec<_> = section
            .entries
            .iter()
            .map(|e| (e.key.text.as_str(), e.value.text.as_str()))
            .collect();
        assert_eq!(pairs, [("key", "a#b;c"), ("other", "x")]);
        let value = section.entries[0].value.place;
        assert_eq!((value.line, value.column, value.width), (4, 7, 5));
        assert_eq!(section.entries[1].key.place.column, 2);
    }

    #[test]
    fn words_know_their_columns() {
        let token = Token {
            text: "10.0.0.1:80  weight=3".to_owned(),
            place: Place {
                source: 0,
                line: 7,
                column: 19,
                width: 21,
            },
        };
        let words = words(&token);
        assert_eq!(words[1].text, "weight=3");
        assert_eq!((words[1].place.column, words[1].place.width), (32, 8));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let text = "a = 1\n[service\n[service x] y = 1\n[]\n[a b c]\n[node]\nword\n= 1\nk =\na b = 1\nx = \u{0}\ny =;z\n";
        let places: Vec<(usize, usize)> = errors(text).iter().map(|e| (e.1, e.2)).collect();
        assert_eq!(
            places,
            [
                (1, 1),
                (2, 9),
                (3, 13),
                (4, 1),
                (5, 6),
                (7, 1),
                (8, 1),
                (9, 4),
                (10, 3),
                (11, 5),
                (12, 4)
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_the_next_is_read() {
        let text = format!("[node]\nname = {}\nname =\n", "x".repeat(5000));
        let found = errors(&text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].1, found[1].1), (2, 3));
    }

    #[test]
    fn keys_below_an_unreadable_heading_are_not_put_into_the_section_above() {
        let mut sink = Sink::default();
        let sections = lex(0, "[node]\n[service\nidle = 5s\n", &mut sink);
        assert!(sections[0].entries.is_empty());
        assert!(sink.lost_section() && sink.lost("service"));
    }
}
