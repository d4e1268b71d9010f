//! A configuration that is written: the candidate, and what the daemon says of it.

use std::time::Duration;

use ratatui_textarea::{CursorMove, TextArea};
use weir_control::ChangeRow;

use crate::model::editline::EditLine;
use crate::units::folded;

/// The longest candidate.
pub(crate) const MOST: usize = 2 * 1024 * 1024;
/// How many changes can be taken back.
const UNDOS: usize = 1_000;
/// What the tab key writes.
const TAB: &str = "    ";

/// A mistake that the daemon found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where it is, both from 1.
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// How many characters are wrong.
    pub(crate) width: usize,
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) note: String,
}

/// What the daemon says of the candidate.
#[derive(Clone, Debug, Default)]
pub(crate) enum Verdict {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It would not run it: the mistakes, and how many there are.
    Wrong(Vec<Mistake>, String),
    /// It would; that changes these.
    Good(Vec<ChangeRow>),
    /// It could not be asked.
    Failed(String),
}

/// What a verdict is of: the candidate's version, and the configuration that ran.
pub(crate) type Subject = (u64, u64);

/// A candidate that is written.
#[derive(Debug)]
pub(crate) struct Editor {
    area: TextArea<'static>,
    /// The first line that is seen.
    pub(crate) top: usize,
    /// The number of the configuration that it was made of, and its lines.
    pub(crate) began_with: u64,
    base: Vec<String>,
    /// Grows with each change.
    pub(crate) version: u64,
    pub(crate) changed_at: Duration,
    pub(crate) verdict: Verdict,
    pub(crate) verdict_of: Option<Subject>,
    /// What the daemon is asked about now.
    pub(crate) asked: Option<Subject>,
    /// When it could not be asked last.
    pub(crate) failed_at: Option<Duration>,
    /// What is searched for, while it is typed.
    pub(crate) finding: Option<EditLine>,
    found: String,
    is_modified: bool,
    bytes: usize,
}

/// How to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Up,
    Down,
    Left,
    Right,
    Begin,
    End,
    Top,
    Bottom,
    /// So many lines up or down.
    Page(isize),
}

impl Editor {
    /// Makes a candidate of the lines that run.
    pub(crate) fn new(lines: &[String], generation: u64, now: Duration) -> Self {
        let lines: Vec<String> = lines
            .iter()
            .filter(|line| !line.starts_with("# by command: "))
            .cloned()
            .collect();
        let mut area = TextArea::new(lines.clone());
        area.set_max_histories(UNDOS);
        let mut editor = Self {
            area,
            top: 0,
            began_with: generation,
            base: lines,
            version: 0,
            changed_at: now,
            verdict: Verdict::Unknown,
            verdict_of: None,
            asked: None,
            failed_at: None,
            finding: None,
            found: String::new(),
            is_modified: false,
            bytes: 0,
        };
        editor.bytes = editor.text().len();
        editor
    }

    /// Returns the lines.
    pub(crate) fn lines(&self) -> &[String] {
        self.area.lines()
    }

    /// Returns the whole text.
    pub(crate) fn text(&self) -> String {
        let mut text = self.area.lines().join("\n");
        text.push('\n');
        text
    }

    /// Returns how long the text is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says whether it is another than the one that it was made of.
    pub(crate) fn is_modified(&self) -> bool {
        self.is_modified
    }

    /// Returns line and column of the cursor, from 0.
    pub(crate) fn cursor(&self) -> (usize, usize) {
        let cursor = self.area.cursor();
        (cursor.0, cursor.1)
    }

    /// Says whether what the daemon said is of what stands there and runs now.
    pub(crate) fn is_checked(&self, generation: u64) -> bool {
        self.verdict_of == Some((self.version, generation))
    }

    /// Returns the mistakes that are known.
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        match &self.verdict {
            Verdict::Wrong(mistakes, _) => mistakes,
            Verdict::Unknown | Verdict::Good(_) | Verdict::Failed(_) => &[],
        }
    }

    /// Puts a text at the cursor; says whether there was room.
    pub(crate) fn insert(&mut self, text: &str, now: Duration) -> bool {
        if self.bytes + text.len() > MOST {
            return false;
        }
        // Lines end as terminals send them.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        self.change(now, |area| area.insert_str(text));
        true
    }

    /// Puts a character, a line end or a tab at the cursor; says whether there was room.
    pub(crate) fn put(&mut self, symbol: char, now: Duration) -> bool {
        match symbol {
            '\t' => self.insert(TAB, now),
            symbol => self.insert(symbol.encode_utf8(&mut [0; 4]), now),
        }
    }

    /// Takes away what is before the cursor.
    pub(crate) fn backspace(&mut self, now: Duration) {
        self.change(now, TextArea::delete_char);
    }

    /// Takes away what is at the cursor.
    pub(crate) fn delete(&mut self, now: Duration) {
        self.change(now, TextArea::delete_next_char);
    }

    /// Takes away the word before the cursor.
    pub(crate) fn delete_word(&mut self, now: Duration) {
        self.change(now, TextArea::delete_word);
    }

    /// Takes away the rest of the line; where nothing is left of it, its end.
    pub(crate) fn cut(&mut self, now: Duration) {
        self.change(now, TextArea::delete_line_by_end);
    }

    /// Puts back at the cursor what was cut last.
    pub(crate) fn put_back(&mut self, now: Duration) {
        if self.bytes + self.area.yank_text().len() <= MOST {
            self.change(now, TextArea::paste);
        }
    }

    /// Takes back the last change.
    pub(crate) fn undo(&mut self, now: Duration) {
        self.change(now, TextArea::undo);
    }

    /// Does again what was taken back.
    pub(crate) fn redo(&mut self, now: Duration) {
        self.change(now, TextArea::redo);
    }

    fn change(&mut self, now: Duration, does: impl FnOnce(&mut TextArea<'static>) -> bool) {
        let (row, _) = self.cursor();
        let before = self.area.lines().len();
        if !does(&mut self.area) {
            return;
        }
        self.version += 1;
        self.changed_at = now;
        self.is_modified = self.area.lines() != self.base;
        self.bytes = self.area.lines().iter().map(|line| line.len() + 1).sum();
        // Until the daemon says anew, mistakes stay beside their lines.
        let after = self.area.lines().len();
        let row = row.min(self.cursor().0);
        if let Verdict::Wrong(mistakes, _) = &mut self.verdict {
            for mistake in mistakes.iter_mut().filter(|it| it.line > row + 1) {
                mistake.line = (mistake.line + after).saturating_sub(before).max(1);
            }
        }
    }

    /// Moves the cursor.
    pub(crate) fn go(&mut self, how: Move) {
        let one = match how {
            Move::Up => CursorMove::Up,
            Move::Down => CursorMove::Down,
            Move::Left => CursorMove::Back,
            Move::Right => CursorMove::Forward,
            Move::Begin => CursorMove::Head,
            Move::End => CursorMove::End,
            Move::Top => CursorMove::Top,
            Move::Bottom => CursorMove::Bottom,
            Move::Page(lines) => {
                let one = if lines < 0 {
                    CursorMove::Up
                } else {
                    CursorMove::Down
                };
                for _ in 0..lines.unsigned_abs() {
                    self.area.move_cursor(one);
                }
                return;
            }
        };
        self.area.move_cursor(one);
    }

    fn jump(&mut self, row: usize, column: usize) {
        let short = |value| u16::try_from(value).unwrap_or(u16::MAX);
        self.area
            .move_cursor(CursorMove::Jump(short(row), short(column)));
    }

    /// Goes to the next mistake; says whether there is one.
    pub(crate) fn next_mistake(&mut self) -> bool {
        let (row, column) = self.cursor();
        let mut places: Vec<(usize, usize)> = self
            .mistakes()
            .iter()
            .map(|mistake| (mistake.line.max(1) - 1, mistake.column.max(1) - 1))
            .collect();
        places.sort_unstable();
        let next = places.iter().find(|place| **place > (row, column));
        let Some((row, column)) = next.or_else(|| places.first()).copied() else {
            return false;
        };
        self.jump(row, column);
        true
    }

    /// Goes to where a text stands next; says whether it does.
    pub(crate) fn find(&mut self, text: Option<String>) -> bool {
        if let Some(text) = text {
            self.found = text;
        }
        if self.found.is_empty() {
            return false;
        }
        let (row, column) = self.cursor();
        let lines = self.area.lines();
        let count = lines.len();
        for ahead in 0..=count {
            let at = (row + ahead) % count;
            let line = lines.get(at).map_or("", String::as_str);
            let begin = match ahead {
                0 => line.char_indices().nth(column + 1).map(|(at, _)| at),
                _ => Some(0),
            };
            let rest = begin.and_then(|begin| Some((begin, line.get(begin..)?)));
            let found = rest.and_then(|(begin, rest)| Some(begin + rest.find(&self.found)?));
            if let Some(found) = found {
                let column = line.get(..found).map_or(0, |before| before.chars().count());
                self.jump(at, column);
                return true;
            }
        }
        false
    }

    /// Returns which column is the first that is seen: it goes in steps, so that a line that is typed
    /// does not shift with each key.
    pub(crate) fn left(&self, room: usize) -> usize {
        const STEP: usize = 16;
        let (_, column) = self.cursor();
        match (column + 1).checked_sub(room) {
            None | Some(0) => 0,
            Some(over) => over.div_ceil(STEP) * STEP,
        }
    }

    /// Returns what is written below a line: what is wrong with it.
    pub(crate) fn notes(&self, line: usize, room: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let left = self.left(room);
        for mistake in self.mistakes().iter().filter(|it| it.line == line + 1) {
            let Mistake {
                column,
                width,
                text,
                note,
                ..
            } = mistake;
            let mut text = text.clone();
            let blank = column.saturating_sub(1).checked_sub(left);
            match blank.filter(|blank| *blank < room) {
                Some(blank) => {
                    let width = (*width).clamp(1, room - blank);
                    let mut carets = " ".repeat(blank) + &"^".repeat(width);
                    if note.chars().count() + carets.len() < room {
                        carets.push(' ');
                        carets.push_str(note);
                    } else if !note.is_empty() {
                        text = format!("{text}: {note}");
                    }
                    notes.push(carets.trim_end().to_owned());
                }
                None => text = format!("column {column}: {text}: {note}"),
            }
            notes.extend(folded(&text, room));
        }
        notes
    }

    /// Keeps the cursor in sight.
    pub(crate) fn fit(&mut self, height: usize, room: usize) {
        let height = height.max(1);
        let (row, _) = self.cursor();
        self.top = self.top.min(row);
        self.top = self.top.max((row + 1).saturating_sub(height));
        while self.top < row {
            let above: usize = (self.top..row)
                .map(|line| 1 + self.notes(line, room).len())
                .sum();
            let below = self.notes(row, room).len();
            if above + (1 + below).min(height) <= height {
                break;
            }
            self.top += 1;
        }
    }
}

/// Reads the mistakes of a report, and how many there are; none where it is another sentence.
pub(crate) fn mistakes(report: &str) -> Option<(Vec<Mistake>, String)> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut summary = String::new();
    // How many places of a mistake were read; its sentence ends with the first.
    let mut places = None;
    for line in report.lines() {
        let trimmed = line.trim();
        let begins = line.strip_prefix("error: ");
        if let Some(text) = begins {
            mistakes.push(Mistake {
                text: text.to_owned(),
                ..Mistake::default()
            });
            places = Some(0u32);
            continue;
        }
        if trimmed.is_empty() {
            places = None;
            continue;
        }
        let (Some(count), Some(mistake)) = (places, mistakes.last_mut()) else {
            trimmed.clone_into(&mut summary);
            continue;
        };
        if let Some(place) = trimmed.strip_prefix("--> ") {
            let mut parts = place.rsplit(':').map(str::parse::<usize>);
            let column = parts.next().and_then(Result::ok).unwrap_or(1);
            let line = parts.next().and_then(Result::ok).unwrap_or(1);
            if count == 0 {
                (mistake.line, mistake.column) = (line, column);
            } else {
                mistake.note = format!("{}; line {line}:", mistake.note);
            }
            places = Some(count + 1);
            continue;
        }
        if count == 0 {
            mistake.text.push(' ');
            mistake.text.push_str(trimmed);
            continue;
        }
        // What stands beside the excerpt, not the excerpt itself.
        let Some(beside) = trimmed.strip_prefix('|').map(str::trim) else {
            continue;
        };
        let carets = beside.chars().take_while(|symbol| *symbol == '^').count();
        if count == 1 && mistake.width == 0 {
            mistake.width = carets;
        }
        let note = beside.trim_start_matches('^').trim();
        if !note.is_empty() {
            if !mistake.note.is_empty() {
                mistake.note.push(' ');
            }
            mistake.note.push_str(note);
        }
    }
    let summary = summary.split(';').next().unwrap_or_default().to_owned();
    (!mistakes.is_empty()).then_some((mistakes, summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::worked;

    const REPORT: &str = "\
error: `10.0.0.0/16` cannot be a port's address: it is the network's own
 --> candidate:3:11
3 | address = 10.0.0.0/16
  |           ^^^^^^^^^^^
  | hosts have the addresses between the first and the last of a network

error: `10.0.1.300` is not an
address
 --> candidate:4:11
4 | address = 10.0.1.300/16
  |           ^^^^^^^^^^ numbers in an address end at 255
 --> candidate:9:1
9 | address
  | ^^^^^^^ it was there before

2 errors; weir would not accept this configuration (8007)";

    fn editor(lines: &[&str]) -> Editor {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Editor::new(&lines, 1, Duration::ZERO)
    }

    #[test]
    fn a_report_is_read_with_places_and_notes() {
        let (all, summary) = mistakes(REPORT).unwrap();
        assert_eq!(summary, "2 errors");
        let [one, other] = all.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!((one.line, one.column, one.width), (3, 11, 11));
        assert!(one.note.starts_with("hosts have the addresses"));
        assert_eq!((other.line, other.width), (4, 10));
        assert_eq!(other.text, "`10.0.1.300` is not an address");
        let note = "numbers in an address end at 255; line 9: it was there before";
        assert_eq!(other.note, note);
        assert_eq!(mistakes("the daemon is stopping (8005)"), None);
    }

    #[test]
    fn what_is_typed_is_in_the_text_and_can_be_taken_back() {
        let mut editor = editor(&["[node]", "name = lb1"]);
        let now = Duration::from_secs(1);
        editor.go(Move::Bottom);
        editor.go(Move::End);
        for symbol in ".dc2\nx".chars() {
            assert!(editor.put(symbol, now));
        }
        assert_eq!(editor.text(), "[node]\nname = lb1.dc2\nx\n");
        assert!(editor.is_modified());
        let version = editor.version;
        for _ in 0..6 {
            editor.undo(now);
        }
        assert_eq!(editor.text(), "[node]\nname = lb1\n");
        assert!(!editor.is_modified() && editor.version > version);
    }

    #[test]
    fn a_megabyte_is_pasted_at_once_or_in_pieces_without_a_wait() {
        let line = "real = 10.0.0.1:80 weight=1  # one of very many\n";
        let text = line.repeat((1 << 20) / line.len());
        let before = worked();
        let took = || worked().saturating_sub(before);
        let mut editor = editor(&["[service web]"]);
        assert!(editor.insert(&text.replace('\n', "\r"), Duration::ZERO));
        editor.put('x', Duration::ZERO);
        editor.fit(16, 74);
        let lines = text.lines().count();
        assert_eq!(editor.lines().len(), lines + 1);
        assert!(took() < Duration::from_secs(5), "{:?}", took());
        // One line of a megabyte.
        let mut other = Editor::new(&[], 1, Duration::ZERO);
        assert!(other.insert(&"x".repeat(1 << 20), Duration::ZERO));
        other.put('y', Duration::ZERO);
        other.fit(16, 74);
        assert!(took() < Duration::from_secs(10), "{:?}", took());
        // Too much is refused as a whole.
        let before = editor.version;
        assert!(!editor.insert(&"z".repeat(MOST), Duration::ZERO));
        assert_eq!(editor.version, before);
    }

    #[test]
    fn mistakes_stay_beside_their_lines_while_others_are_typed_above() {
        let mut editor = editor(&["[node]", "name = lb1", "colour = red"]);
        let wrong = Mistake {
            line: 3,
            column: 1,
            width: 6,
            text: "`colour` is not a key of [node]".to_owned(),
            note: String::new(),
        };
        editor.verdict = Verdict::Wrong(vec![wrong], "1 error".to_owned());
        assert_eq!(
            editor.notes(2, 70),
            ["^^^^^^", "`colour` is not a key of [node]"]
        );
        editor.insert("# ours\n", Duration::ZERO);
        assert_eq!(editor.mistakes().first().map(|it| it.line), Some(4));
        assert!(editor.next_mistake());
        assert_eq!(editor.cursor(), (3, 0));
        editor.fit(3, 70);
        assert_eq!(editor.top, 3);
    }

    #[test]
    fn a_text_is_found_further_on_and_then_from_the_beginning() {
        let mut editor = editor(&["web", "dns web", "x"]);
        assert!(editor.find(Some("web".to_owned())));
        assert_eq!(editor.cursor(), (1, 4));
        assert!(editor.find(None));
        assert_eq!(editor.cursor(), (0, 0));
        assert!(!editor.find(Some("ntp".to_owned())));
    }
}
