//! Questions before something is done: the ladder from what can be undone to what stops a service.

use weir_control::{CaptureOrder, ConfigText, Request};

use crate::model::editline::EditLine;

/// How much a change may cost, and so what it is confirmed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// It takes capacity: the verb is typed.
    Capacity { verb: String },
    /// It stops something: the name of the object is typed.
    Stops { object: String },
}

/// What is done with what was typed.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// A request, and what it is as a person says it.
    Send { what: String, request: Request },
    /// A value is asked for, and makes the request.
    Ask(Ask),
    /// An operator who fell back is one again.
    BeOperator,
    /// The candidate is thrown away.
    Discard,
    /// The console ends.
    Leave,
}

/// A value that is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// The weight of a real server.
    Weight { service: String, real: String },
    /// When a service answers SYNs with cookies.
    Synproxy { service: String },
    /// Whose packets are dropped.
    Deny { choices: Vec<Choice> },
    /// How long frames are captured, and of whom in words.
    Capture { order: CaptureOrder, of: String },
    /// How long a configuration is tried; the word before it confirms.
    Apply {
        word: String,
        texts: Vec<ConfigText>,
        /// What runs now.
        over: String,
    },
}

/// A prefix that can be denied, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) network: String,
    pub(crate) cost: String,
}

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) title: String,
    /// What it is about and what it leads to, in numbers. An empty line parts paragraphs.
    pub(crate) lines: Vec<String>,
    /// What must be typed; none where a value is asked for.
    pub(crate) rung: Option<Rung>,
    /// What is asked for: `Type drain and press Enter`.
    pub(crate) prompt: String,
    pub(crate) typed: EditLine,
    /// What was wrong with what was typed.
    pub(crate) error: Option<String>,
    pub(crate) deed: Deed,
    /// The number of the configuration that ran when it was asked.
    pub(crate) seen: Option<u64>,
}

impl Rung {
    /// Returns what must be typed.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Capacity { verb } => verb,
            Self::Stops { object } => object,
        }
    }
}

impl Dialog {
    /// Makes a question that is answered by typing a word.
    pub(crate) fn confirm(title: &str, lines: Vec<String>, rung: Rung, deed: Deed) -> Self {
        Self {
            title: title.to_owned(),
            lines,
            prompt: format!("Type  {}  and press Enter:", rung.word()),
            rung: Some(rung),
            typed: EditLine::default(),
            error: None,
            deed,
            seen: None,
        }
    }

    /// Makes a question for a value.
    pub(crate) fn ask(title: &str, lines: Vec<String>, prompt: String, ask: Ask) -> Self {
        Self {
            title: title.to_owned(),
            lines,
            rung: None,
            prompt,
            typed: EditLine::default(),
            error: None,
            deed: Deed::Ask(ask),
            seen: None,
        }
    }
}
