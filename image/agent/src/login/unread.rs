//! A configuration on the standard input of a command that reads none.
//!
//! Most of what is there when nobody reads it is nothing: the end of a file, a pipe that stays open,
//! the rest of the list that a loop goes through. Only what begins as a configuration is one.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long it is waited for; SSH sends it right behind the command.
const PATIENCE: Duration = Duration::from_secs(2);
/// Comments that may stand above its first section.
const MOST_BYTES: usize = 64 * 1024;

/// Says whether a configuration comes in by the standard input. What was looked at is gone from it.
pub(super) fn is_configuration() -> bool {
    let input = io::stdin();
    // Nobody types one there.
    if input.is_terminal() {
        return false;
    }
    // Not through the buffer of the standard input, whose filling nobody can wait for.
    let own = input.as_fd().try_clone_to_owned();
    own.is_ok_and(|own| comes_in(&mut File::from(own), PATIENCE))
}

fn comes_in(input: &mut (impl Read + AsFd), patience: Duration) -> bool {
    let end = Instant::now() + patience;
    let mut text = Vec::new();
    let mut part = [0; 4096];
    while text.len() < MOST_BYTES && is_readable(input, end) {
        let count = match input.read(&mut part) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        text.extend_from_slice(part.get(..count).unwrap_or_default());
        if let Some(found) = begins_with_section(&text, false) {
            return found;
        }
    }
    begins_with_section(&text, true).unwrap_or(false)
}

fn is_readable(input: &impl AsFd, end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    let Ok(timeout) = PollTimeout::try_from(left) else {
        return false;
    };
    let mut wanted = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, timeout).is_ok_and(|ready| ready > 0)
}

/// Says whether the first line that is no comment is the heading of a section; none where that line
/// is not there yet.
fn begins_with_section(text: &[u8], is_whole: bool) -> Option<bool> {
    let text = String::from_utf8_lossy(text);
    // Where an editor put one there, the configuration may begin with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = text.split_inclusive('\n');
    let is_comment = |line: &&str| line.trim().is_empty() || line.trim().starts_with(['#', ';']);
    let line = lines.find(|line| !is_comment(line))?;
    if !is_whole && !line.ends_with('\n') {
        return None;
    }
    let inside = line.trim().strip_prefix('[');
    let inside = inside.and_then(|rest| rest.split_once(']'));
    let word = inside.and_then(|(inside, _)| inside.split_whitespace().next());
    let is_section = |word: &str| {
        let sections = weir_conf::keys();
        sections
            .filter_map(|key| key.split_once('.').map(|(section, _)| section == word))
            .any(|is_it| is_it)
    };
    Some(word.is_some_and(is_section))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use super::*;

    /// Nobody waits for so long where the test holds.
    const LONG: Duration = Duration::from_secs(30);

    /// What is said of an input that has a text, and ends after it or not.
    fn of(text: &str, ends: bool, patience: Duration) -> bool {
        let (mut input, mut output) = io::pipe().unwrap();
        output.write_all(text.as_bytes()).unwrap();
        let open = (!ends).then_some(output);
        let found = comes_in(&mut input, patience);
        drop(open);
        found
    }

    #[test]
    fn a_configuration_is_known_by_its_first_section() {
        for text in [
            "[node]\nname = lb1\n",
            "\u{feff}[node]\nname = lb1\n",
            "\u{20}\n# ours\n; and theirs\n\n  [service web]  # pages\n",
        ] {
            assert!(of(text, true, LONG), "{text}");
            assert!(of(text, false, LONG), "{text}");
        }
        assert!(of("[node]", true, LONG));
    }

    #[test]
    fn what_a_loop_goes_through_is_none() {
        for text in [
            "",
            "\n\n",
            "lb2\nlb3\n",
            "# hosts\nlb2\n[port wan]\n",
            "[balancers]\nlb2\n",
            "[node\n",
            "[]\n",
            "\u{fffd}[node]\n",
        ] {
            assert!(!of(text, true, LONG), "{text}");
        }
    }

    #[test]
    fn an_input_without_an_end_is_not_waited_for_long() {
        let (begun, patience) = (Instant::now(), Duration::from_millis(50));
        assert!(!of("", false, patience));
        assert!(!of("# no more of it", false, patience));
        assert!(begun.elapsed() >= patience);
        assert!(begun.elapsed() < LONG);
        assert!(!comes_in(&mut File::open("/dev/null").unwrap(), LONG));
    }

    #[test]
    fn a_file_that_comes_a_moment_later_and_in_parts_is_seen() {
        let (mut input, mut output) = io::pipe().unwrap();
        let send = thread::spawn(move || {
            for part in ["# a file\n[no", "de]\nname", " = lb1\n"] {
                thread::sleep(Duration::from_millis(50));
                // Nobody reads what is no longer needed.
                let _ = output.write_all(part.as_bytes());
            }
        });
        assert!(comes_in(&mut input, LONG));
        send.join().unwrap();
    }
}
