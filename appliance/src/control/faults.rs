//! What the start of an appliance left to be told: sentences in files of the run directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest that is told.
const LONGEST: u64 = 400;

/// The files, with the severity of their alarm and what it is about.
pub(crate) const FILES: [(&str, &str, &str); 2] = [
    ("data-fault", "error", "data"),
    ("modules-fault", "warning", "modules"),
];

/// Reads a file as one line; none where there is nothing to tell.
pub(crate) fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let harmless = text.replace(|c: char| c.is_control(), " ");
    let words: Vec<&str> = harmless.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_short_line_and_none_where_there_is_nothing() {
        let path = std::env::temp_dir().join(format!("weir-{}-fault", std::process::id()));
        assert_eq!(read(&path), None);
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(read(&path), None);
        std::fs::write(&path, "e2fsck:\n bad \u{1b}[2Jblock\n").unwrap();
        assert_eq!(read(&path).as_deref(), Some("e2fsck: bad [2Jblock"));
        std::fs::write(&path, "x".repeat(9_000)).unwrap();
        assert_eq!(read(&path).map(|it| it.len() as u64), Some(LONGEST));
        std::fs::remove_file(&path).unwrap();
    }
}
