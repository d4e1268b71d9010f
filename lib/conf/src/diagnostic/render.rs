//! The layout of a report.

use std::fmt::Write;

use super::{Diagnostic, Label, Purpose, Report, SHOWN, Severity};
use crate::source::{Place, Sources};

/// How wide a terminal is taken to be.
pub(crate) const COLUMNS: usize = 80;

/// What stands where a wide line was cut.
const CUT: &str = "...";

pub(super) fn long(report: &Report, purpose: Purpose) -> String {
    let mut text = String::new();
    for diagnostic in report.diagnostics.iter().take(SHOWN) {
        let head = format!("{}: ", word(report.severity));
        paragraph(&mut text, &head, &diagnostic.message);
        for label in &diagnostic.labels {
            excerpt(&mut text, &report.sources, label);
        }
        text.push('\n');
    }
    let _ = match report.severity {
        Severity::Error => writeln!(text, "{}; {}", summary(report), outcome(purpose)),
        Severity::Warning => writeln!(text, "{}", summary(report)),
    };
    text
}

pub(super) fn short(report: &Report) -> String {
    let mut text = String::new();
    for diagnostic in report.diagnostics.iter().take(SHOWN) {
        let Diagnostic { message, labels } = diagnostic;
        let mut line = String::new();
        if let Some(label) = labels.first() {
            let _ = write!(line, "{}: ", position(&report.sources, label.place));
        }
        let _ = write!(line, "{}: {message}", word(report.severity));
        for (i, label) in labels.iter().enumerate() {
            if !label.note.is_empty() {
                let _ = write!(line, "; {}", label.note);
            }
            if i > 0 {
                let _ = write!(line, " at {}", position(&report.sources, label.place));
            }
        }
        text.push_str(&ascii(&line));
        text.push('\n');
    }
    text
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn summary(report: &Report) -> String {
    let word = word(report.severity);
    match report.count {
        1 => format!("1 {word}"),
        count if count > SHOWN => format!("{count} {word}s, the first {SHOWN} shown"),
        count => format!("{count} {word}s"),
    }
}

fn outcome(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Check => "weir would not accept this configuration",
        Purpose::Start => "weir did not start",
        Purpose::Apply => "the running configuration is unchanged",
    }
}

fn position(sources: &Sources, place: Place) -> String {
    let name = sources.name(place.source);
    format!("{name}:{}:{}", place.line, place.column)
}

/// Writes the line of a label with carets below, and the note behind or below these.
fn excerpt(text: &mut String, sources: &Sources, label: &Label) {
    let Label { place, note } = label;
    let number = place.line.to_string();
    let gutter = " ".repeat(number.len());
    let _ = writeln!(text, "{gutter}--> {}", ascii(&position(sources, *place)));

    let room = COLUMNS - (number.len() + 3).min(COLUMNS / 2);
    let line = ascii(sources.line(*place));
    let window = Window::new(&line, place.column.saturating_sub(1), place.width, room);
    let _ = writeln!(
        text,
        "{}",
        format!("{number} | {}", window.shown).trim_end()
    );

    let carets = "^".repeat(window.carets);
    let blanks = " ".repeat(window.caret);
    let note = ascii(note);
    let fits = window.caret + window.carets + 1 + note.len() <= room;
    if note.is_empty() || fits {
        let _ = writeln!(
            text,
            "{}",
            format!("{gutter} | {blanks}{carets} {note}").trim_end()
        );
        return;
    }
    let _ = writeln!(text, "{gutter} | {blanks}{carets}");
    for line in wrap(&note, room) {
        let _ = writeln!(text, "{gutter} | {line}");
    }
}

/// The part of a line that fits, around the offending run.
struct Window {
    shown: String,
    /// Where the carets begin in what is shown.
    caret: usize,
    /// How many carets.
    carets: usize,
}

impl Window {
    fn new(line: &str, at: usize, width: usize, room: usize) -> Self {
        let width = width.max(1);
        // The mistake may be what is missing after the end of the line.
        let needed = line.len().max(at + 1);
        if needed <= room {
            return Self {
                shown: line.to_owned(),
                caret: at,
                carets: width.min(needed - at),
            };
        }
        let start = at.saturating_sub(room / 3).min(needed - room);
        let end = (start + room).min(line.len());
        let mut shown = line.get(start..end).unwrap_or_default().to_owned();
        if start > 0 {
            shown.replace_range(..CUT.len().min(shown.len()), CUT);
        }
        if end < line.len() {
            shown.replace_range(shown.len() - CUT.len().min(shown.len()).., CUT);
        }
        let caret = at - start;
        Self {
            shown,
            caret,
            carets: width.min(room - caret).max(1),
        }
    }
}

/// Writes a sentence with a head, wrapped below itself.
fn paragraph(text: &mut String, head: &str, sentence: &str) {
    let blanks = " ".repeat(head.len());
    for (i, line) in wrap(&ascii(sentence), COLUMNS - head.len())
        .iter()
        .enumerate()
    {
        let lead = if i == 0 { head } else { &blanks };
        let _ = writeln!(text, "{lead}{line}");
    }
}

/// Breaks a text at blanks; a word that is longer than a line is broken where the line ends.
pub(crate) fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word;
        let Some(line) = lines.last_mut() else {
            continue;
        };
        if line.is_empty() {
            line.push_str(word.get(..room.min(word.len())).unwrap_or_default());
        } else if line.len() + 1 + word.len() <= room {
            line.push(' ');
            line.push_str(word);
            continue;
        } else {
            lines.push(
                word.get(..room.min(word.len()))
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        while word.len() > room {
            word = word.get(room..).unwrap_or_default();
            lines.push(
                word.get(..room.min(word.len()))
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    lines
}

/// Replaces each character that a plain terminal may not show, so that columns stay columns.
fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' '..='~' => c,
            '\t' => ' ',
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Sink, Style};

    fn report(text: &str, place: Place, message: &str, note: &str) -> Report {
        let mut sources = Sources::default();
        sources.add("/etc/weir/weir.conf", text);
        let mut sink = Sink::default();
        sink.at(place, message, note);
        sink.into_report(sources).unwrap()
    }

    #[test]
    fn the_example_of_the_contract_is_met_to_the_character() {
        let mut lines = vec![""; 120];
        lines[97] = "schedular       = wlc";
        lines[116] = "idle            = 10";
        let mut sources = Sources::default();
        sources.add("/etc/weir/weir.conf", &lines.join("\n"));
        let mut sink = Sink::default();
        let place = |line, column, width| Place {
            source: 0,
            line,
            column,
            width,
        };
        sink.at(
            place(117, 21, 1),
            "`10` is not a duration",
            "needs a unit, e.g. 5s",
        );
        sink.at(
            place(98, 1, 9),
            "unknown key `schedular` in [service web-tls]",
            "did you mean `scheduler`?",
        );
        let report = sink.into_report(sources).unwrap();
        assert_eq!(
            report.render(Style::long(Purpose::Apply)),
            "\
error: unknown key `schedular` in [service web-tls]
  --> /etc/weir/weir.conf:98:1
98 | schedular       = wlc
   | ^^^^^^^^^ did you mean `scheduler`?

error: `10` is not a duration
   --> /etc/weir/weir.conf:117:21
117 | idle            = 10
    |                     ^ needs a unit, e.g. 5s

2 errors; the running configuration is unchanged
"
        );
        assert_eq!(
            report.render(Style::short()),
            "\
/etc/weir/weir.conf:98:1: error: unknown key `schedular` in [service web-tls]; did you mean `scheduler`?
/etc/weir/weir.conf:117:21: error: `10` is not a duration; needs a unit, e.g. 5s
"
        );
    }

    #[test]
    fn a_wide_line_is_cut_around_the_caret() {
        let text = format!("{} BAD {}", "a".repeat(300), "b".repeat(300));
        for (column, width) in [(1, 5), (302, 3), (600, 5), (605, 1), (302, 300)] {
            let place = Place {
                source: 0,
                line: 1,
                column,
                width,
            };
            let text = report(&text, place, "wrong", "a note").render(Style::default());
            for line in text.lines() {
                assert!(line.len() <= COLUMNS, "{} columns: {line}", line.len());
            }
            if column == 302 {
                let lines: Vec<&str> = text.lines().collect();
                let at = lines[2].find("BAD").unwrap();
                assert_eq!(lines[3].find('^'), Some(at));
            }
        }
    }

    #[test]
    fn a_note_that_does_not_fit_behind_the_carets_stands_below_them() {
        let place = Place {
            source: 0,
            line: 1,
            column: 60,
            width: 4,
        };
        let note = "this is quite a long note that says what should be done instead of that";
        let text = report(&"x".repeat(70), place, "wrong", note).render(Style::default());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].ends_with("^^^^"), "{text}");
        assert_eq!(lines[4], format!("  | {note}"));
    }

    #[test]
    fn what_a_terminal_cannot_show_becomes_a_question_mark_in_its_column() {
        let place = Place {
            source: 0,
            line: 1,
            column: 9,
            width: 1,
        };
        let text =
            report("n\u{e4}me\t= \u{1b}!x", place, "wr\u{f6}ng", "").render(Style::default());
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("1 | n?me = ?!x\n  |         ^\n"), "{text}");
    }
}
