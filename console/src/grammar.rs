//! What the command line understands: the grammar of `weir`, which whoever runs the console gives it.

use std::fmt;
use std::sync::Arc;

use weir_control::{Request, What};

/// What a line of words asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// What `weir show` shows.
    Show(What, Request),
    /// Anything else that the daemon answers; what it is called.
    Ask(String, Request),
    /// To leave the console.
    Leave,
}

/// Reads the words of a line as `weir` would.
pub type Read = dyn Fn(&[String]) -> Result<Command, String> + Send + Sync;
/// Returns the words that may stand behind others: verbs, nouns, options.
pub type Words = dyn Fn(&[String]) -> Vec<String> + Send + Sync;

/// The grammar of the command line; by default it understands nothing.
#[derive(Clone, Default)]
pub struct Grammar(Option<(Arc<Read>, Arc<Words>)>);

impl Grammar {
    /// Makes a grammar.
    #[must_use]
    pub fn new(read: Arc<Read>, words: Arc<Words>) -> Self {
        Self(Some((read, words)))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn read(&self, line: &str) -> Result<Command, String> {
        let words = split(line);
        match &self.0 {
            Some((read, _)) => read(&words),
            None => Err("this console has no command line".to_owned()),
        }
    }

    /// Returns what may stand behind these words.
    pub(crate) fn words(&self, before: &[String]) -> Vec<String> {
        let words = self.0.as_ref().map(|(_, words)| words(before));
        words.unwrap_or_default()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar")
    }
}

/// Parts a line into words; `weir` before it is taken for what it is.
pub(crate) fn split(line: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.first().is_some_and(|word| word == "weir") {
        words.remove(0);
    }
    words
}
