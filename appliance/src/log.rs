//! The daemon's sentences for people, on stderr. A reader that has gone costs us nothing: the
//! packets go on.

use std::fmt::Display;
use std::io::{self, Write, stderr, stdout};

/// Says a sentence.
pub(crate) fn say(sentence: impl Display) {
    let _ = writeln!(stderr(), "weir: {sentence}");
}

/// Returns what the system said, for the end of a sentence: its number says nothing that its words
/// do not.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// Prints a report of several lines as it is.
pub(crate) fn report(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

/// Tells whoever started us that packets flow.
pub(crate) fn ready() {
    let mut out = stdout();
    let _ = out.write_all(b"ready\n");
    let _ = out.flush();
}
