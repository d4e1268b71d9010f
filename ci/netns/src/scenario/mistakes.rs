//! A configuration with ten different mistakes: all ten are reported, and the exit status is 2.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Run;

/// Each line with a mistake ends in the comment `# n`, which the check looks up by its number.
const CONF: &str = "\
[node]
name            = lab
stop-after      = 10                    # 1 a duration without a unit

[port wan]
device          = wan
driver          = af-xpd                # 2 no such driver
queues          = 0                     # 3 out of range
address         = 10.80.0.1/33          # 4 no such prefix

[port lan]
device          = lan
driver          = af-packet
address         = 10.81.0.1/24

[workers]
cpus            = auto
burts           = 64                    # 5 unknown key

[lip-pool blue]
port            = lan
address         = 10.81.0.300           # 6 no such address
source-ports    = 9000-1024             # 7 upside down

[service web]
listen          = 10.80.0.100:80        # 8 no protocol
lip-pool        = blue
scheduler       = rrr                   # 9 no such scheduler
real            = 10.81.0.11:80

[servise mail]                          # 10 unknown section
listen          = 10.80.0.100:25/tcp
";

pub(super) fn run(run: &mut Run) -> Result<()> {
    let file = std::env::temp_dir().join(format!("weir-{}-mistakes.conf", std::process::id()));
    fs::write(&file, CONF).context("cannot write the configuration")?;
    let program = run.weir.clone();
    for words in [&["check"][..], &["run", "--config"]] {
        run.check(&format!("weir {}: ten mistakes", words.join(" ")), || {
            all_ten(&program, words, &file)
        });
    }
    fs::remove_file(&file).context("cannot remove the configuration")
}

fn all_ten(program: &Path, words: &[&str], file: &Path) -> Result<String> {
    let output = Command::new(program)
        .args(words)
        .arg(file)
        .output()
        .context("cannot run weir")?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2),
        "ended with {} instead of 2:\n{text}",
        output.status
    );
    let missing: Vec<usize> = (1..=10)
        .filter(|n| !is_reported(&text, file, line_of(*n)))
        .collect();
    ensure!(
        missing.is_empty(),
        "mistakes {missing:?} are not reported:\n{text}"
    );
    let count = text.matches("error:").count();
    ensure!(count == 10, "{count} errors instead of 10:\n{text}");
    Ok("all ten with line and column, exit status 2".to_owned())
}

/// Finds the line of mistake `n`, counted from 1.
fn line_of(n: usize) -> usize {
    let mark = format!("# {n} ");
    1 + CONF
        .lines()
        .take_while(|line| !line.contains(&mark))
        .count()
}

/// Tells whether a report points at this line and some column of it.
fn is_reported(text: &str, file: &Path, line: usize) -> bool {
    let place = format!("{}:{line}:", file.display());
    text.match_indices(&place).any(|(at, _)| {
        text.get(at + place.len()..)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_point_at_their_lines() {
        assert_eq!((line_of(1), line_of(10)), (3, 31));
        let file = Path::new("/tmp/x.conf");
        assert!(is_reported("error: no\n --> /tmp/x.conf:3:19\n", file, 3));
        assert!(!is_reported("error: no\n --> /tmp/x.conf:30:1\n", file, 3));
        assert!(!is_reported("error: no\n --> /tmp/x.conf:3:\n", file, 3));
    }
}
