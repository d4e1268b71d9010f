//! The configuration: what runs, what is to run, what that changes, and what ran before.

use std::time::Duration;

use weir_control::{ChangeRow, What};

use crate::model::editor::{Editor, Verdict};
use crate::model::filter::Cycle;
use crate::model::list::Cursor;
use crate::model::screen::every;
use crate::model::{Model, Want};
use crate::term::input::Key;

/// How long nothing must be typed until the daemon is asked what it says.
const DEBOUNCE: Duration = Duration::from_millis(600);
/// How soon it is asked again where it could not answer.
const AGAIN: Duration = Duration::from_secs(3);
/// How much a viewer may send at once: the daemon hangs up on more.
pub(crate) const VIEWER_MOST: usize = 56 * 1024;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    #[default]
    Running,
    Candidate,
    Diff,
    Generations,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) part: Part,
    /// How far a text is scrolled.
    pub(crate) top: usize,
    /// The candidate, where there is one.
    pub(crate) editor: Option<Editor>,
    /// What was typed for the editor before it was told what runs.
    pub(crate) early: Vec<Key>,
    /// Which configuration of before is selected.
    pub(crate) cursor: Cursor,
    /// The number that the candidate runs with, on trial, and which version of it does.
    pub(crate) tried: Option<(u64, u64)>,
    /// Whether another configuration runs than the one that was told.
    pub(crate) is_old: bool,
}

impl Cycle for Part {
    // In the order of their headings.
    const ALL: &'static [Self] = &[
        Self::Running,
        Self::Candidate,
        Self::Diff,
        Self::Generations,
    ];
}

/// Returns what the screen wants to be told.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    let often = Duration::from_millis(500);
    let seldom = Duration::from_secs(10);
    let config = if model.config.is_old { often } else { seldom };
    vec![
        every(What::Config, config),
        every(What::Generations, config),
    ]
}

/// Returns the number of the configuration that runs; nought before it was told.
pub(crate) fn generation(model: &Model) -> u64 {
    let status = model.data.status.as_ref();
    status.map_or(0, |told| told.value.generation)
}

/// Returns how long until the daemon is to be asked about the candidate.
pub(crate) fn due_in(model: &Model, now: Duration) -> Option<Duration> {
    let editor = model.config.editor.as_ref()?;
    let is_asked = editor.asked.is_some() || editor.is_checked(generation(model));
    if is_asked || model.link.role().is_none() {
        return None;
    }
    let typed = editor.changed_at + DEBOUNCE;
    let again = editor.failed_at.map_or(typed, |at| at + AGAIN);
    Some(typed.max(again).saturating_sub(now))
}

/// Says whether something would be lost with the candidate.
pub(crate) fn is_unsaved(model: &Model) -> bool {
    let Some(editor) = &model.config.editor else {
        return false;
    };
    let is_running = match &editor.verdict {
        Verdict::Good(rows) => rows.is_empty() && editor.is_checked(generation(model)),
        Verdict::Unknown | Verdict::Wrong(..) | Verdict::Failed(_) => false,
    };
    editor.is_modified() && !is_running
}

/// Returns what the candidate changes, where the daemon said so of what stands there now.
pub(crate) fn changes(model: &Model) -> Option<&[ChangeRow]> {
    let editor = model.config.editor.as_ref()?;
    match &editor.verdict {
        Verdict::Good(rows) if editor.is_checked(generation(model)) => Some(rows),
        Verdict::Good(_) | Verdict::Unknown | Verdict::Wrong(..) | Verdict::Failed(_) => None,
    }
}

/// Returns the lines of the open part, where it is a text.
pub(crate) fn lines(model: &Model) -> Option<Vec<String>> {
    match model.config.part {
        Part::Running => Some(model.data.config.as_ref()?.value.clone()),
        Part::Diff => Some(diff(model)),
        Part::Candidate | Part::Generations => None,
    }
}

fn diff(model: &Model) -> Vec<String> {
    let Some(editor) = &model.config.editor else {
        let text = "there is no candidate: e makes one of the configuration that runs";
        return vec![text.to_owned()];
    };
    let mut lines = Vec::new();
    if !editor.is_checked(generation(model)) {
        lines.push("of what stood there before; the daemon is asked anew:".to_owned());
    }
    match &editor.verdict {
        Verdict::Unknown => lines.push("asked, no answer yet".to_owned()),
        Verdict::Good(rows) => {
            let text = weir_control::changes(rows);
            lines.extend(text.lines().map(str::to_owned));
        }
        Verdict::Wrong(mistakes, summary) => {
            lines.push(format!("{summary}; e edits the candidate:"));
            for mistake in mistakes {
                let text = format!("line {}: {}", mistake.line, mistake.text);
                lines.extend(crate::units::folded(&text, 76));
                if !mistake.note.is_empty() {
                    let note = crate::units::folded(&mistake.note, 72);
                    lines.extend(note.iter().map(|line| format!("    {line}")));
                }
            }
        }
        Verdict::Failed(sentence) => {
            lines.push("it could not be checked:".to_owned());
            lines.extend(crate::units::folded(sentence, 76));
        }
    }
    lines
}

/// Returns what a change does to sessions that are open, as far as that is bad for them.
pub(crate) fn losses(rows: &[ChangeRow]) -> Vec<(&ChangeRow, &str)> {
    let is_loss = |effect: &&str| {
        ["reset", "lost", "may end", "restart"]
            .iter()
            .any(|word| effect.contains(word))
    };
    let mut losses = Vec::new();
    for row in rows {
        let values = row.values.iter().map(|value| value.effect.as_str());
        let effects = std::iter::once(row.effect.as_str()).chain(values);
        if let Some(effect) = effects.into_iter().find(|effect| is_loss(effect)) {
            losses.push((row, effect));
        }
    }
    losses
}
