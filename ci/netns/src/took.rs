//! One line that says what took how long, to be read by people and by whoever started this program.

use std::time::Duration;

const MARK: &str = "time  ";

/// Writes the line.
#[must_use]
pub fn line(name: &str, time: Duration) -> String {
    format!("{MARK}{:7.1} s  {name}", time.as_secs_f64())
}

/// Reads a line of [`line()`]; another one gives nothing.
#[must_use]
pub fn read(line: &str) -> Option<(String, Duration)> {
    let (seconds, name) = line.strip_prefix(MARK)?.split_once(" s  ")?;
    let time = Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()?;
    Some((name.to_owned(), time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let time = Duration::from_millis(83_400);
        let line = line("lab small-pool", time);
        assert_eq!(line, "time     83.4 s  lab small-pool");
        assert_eq!(read(&line), Some(("lab small-pool".to_owned(), time)));
    }

    #[test]
    fn other_lines_are_no_times() {
        for line in ["ok    lints", "time  soon", "time  x s  lints", ""] {
            assert_eq!(read(line), None);
        }
    }
}
