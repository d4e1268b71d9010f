//! What the boot loader and whoever starts the box say on the kernel's command line.

use crate::slot::Slot;

/// The kernel's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// The slot that runs.
    pub(crate) slot: Slot,
    /// Whether it runs on trial.
    pub(crate) trial: bool,
    /// The slot that was tried before and failed.
    pub(crate) failed: Option<Slot>,
    /// Whether somebody who stands before the box lost the local secret.
    pub(crate) recover: bool,
    all: Vec<(String, String)>,
}

impl Words {
    /// Reads the command line; double quotes keep blanks together, as the kernel reads it.
    pub(crate) fn parse(line: &str) -> Self {
        let all = split(line);
        let get = |name: &str| {
            let mut found = all.iter().rev().filter(|(word, _)| word == name);
            found.next().map(|(_, value)| value.as_str())
        };
        Self {
            slot: get("weir.slot").and_then(Slot::named).unwrap_or(Slot::A),
            trial: get("weir.trial") == Some("1"),
            failed: get("weir.failed").and_then(Slot::named),
            recover: get("weir.recover") == Some("1"),
            all,
        }
    }

    /// Returns the last value of a word.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.all.iter().rev().filter(|(word, _)| word == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

fn split(line: &str) -> Vec<(String, String)> {
    let mut words: Vec<String> = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    let words = words.iter().filter(|word| !word.is_empty());
    words
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_boot_loader_says_is_read() {
        let words = Words::parse("quiet weir.slot=b weir.trial=1 panic=5\n");
        assert_eq!((words.slot, words.trial), (Slot::B, true));
        assert_eq!((words.failed, words.recover), (None, false));
        let words = Words::parse("weir.slot=a weir.trial=0 weir.failed=b weir.recover=1");
        assert_eq!((words.slot, words.trial), (Slot::A, false));
        assert_eq!((words.failed, words.recover), (Some(Slot::B), true));
        // Somebody boots it by hand.
        assert_eq!(Words::parse("").slot, Slot::A);
    }

    #[test]
    fn a_key_with_blanks_is_one_word_and_the_last_word_counts() {
        let line = "weir.key=\"ssh-ed25519 AAAA alice\" weir.ports=eth1 weir.ports=eth2";
        let words = Words::parse(line);
        assert_eq!(words.get("weir.key"), Some("ssh-ed25519 AAAA alice"));
        assert_eq!(words.get("weir.ports"), Some("eth2"));
        assert_eq!(words.get("weir.address"), None);
    }
}
