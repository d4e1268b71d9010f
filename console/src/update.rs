//! From what happened to what is known and what is to be done: pure.

pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod dialog;
pub(crate) mod events;
pub(crate) mod flood;
mod keys;
mod page;
pub(crate) mod pools;
pub(crate) mod ports;
pub(crate) mod screen;
pub(crate) mod services;
pub(crate) mod sessions;
mod told;

use std::time::Duration;

use ratatui::layout::Size;
use serde_json::Value;
use weir_control::{Filter, What};

use crate::model::data::Answer;
use crate::model::link::LinkNews;
use crate::model::screen::ScreenId;
use crate::model::{Clock, Effect, IDLE_OPERATOR, Mode, Model, Tone};
use crate::term::input::Key;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Message {
    Key(Key),
    /// Something was pasted: its beginning, and how long it is.
    Paste(String, usize),
    Size(Size),
    /// Time went by.
    Tick,
    Link(LinkNews),
    /// The daemon told what was wanted.
    Told {
        what: What,
        filter: Filter,
        answer: Result<Answer, String>,
        /// When it was told.
        at: Duration,
        took: Duration,
    },
    /// Answers that are of the same second, and are shown at once.
    Together(Vec<Self>),
    /// The daemon answered a change.
    Replied {
        ticket: u64,
        rows: Result<Vec<Value>, String>,
    },
}

/// Takes what happened.
pub(crate) fn update(model: &mut Model, message: Message, clock: Clock) -> Vec<Effect> {
    model.clock = clock;
    expire(model);
    let mut effects = take(model, message);
    // Never under somebody's hands: the rest of a word would be keys that do something.
    if matches!(model.mode, Mode::Screen | Mode::Page(_))
        && let Some(page) = model.waiting.take()
    {
        model.mode = Mode::Page(page);
    }
    effects.extend(config::due(model));
    effects
}

fn take(model: &mut Model, message: Message) -> Vec<Effect> {
    match message {
        Message::Key(key) => keys::key(model, key),
        Message::Paste(text, length) => keys::paste(model, &text, length),
        Message::Size(size) => {
            model.size = size;
            refit(model);
            Vec::new()
        }
        Message::Tick => Vec::new(),
        Message::Link(news) => {
            told::link(model, news);
            Vec::new()
        }
        Message::Told {
            what,
            filter,
            answer,
            at,
            took,
        } => {
            // Short answers come between the long ones.
            model.link.took = took.max(model.link.took * 9 / 10);
            match answer {
                Ok(answer) => told::answer(model, what, &filter, answer, at),
                Err(sentence) => model.say(Tone::Bad, format!("{}: {sentence}", what.name())),
            }
            Vec::new()
        }
        Message::Replied { ticket, rows } => told::reply(model, ticket, rows),
        Message::Together(messages) => {
            let each = messages.into_iter().map(|message| take(model, message));
            each.flatten().collect()
        }
    }
}

/// Lets go what has had its time.
fn expire(model: &mut Model) {
    let now = model.clock.up;
    if model.toast.as_ref().is_some_and(|toast| toast.until <= now) {
        model.toast = None;
    }
    if model.undo.as_ref().is_some_and(|undo| undo.until <= now) {
        model.undo = None;
    }
    let idle = now.saturating_sub(model.key_at) >= IDLE_OPERATOR;
    if idle && !model.fell_back && model.role().is_ok() {
        model.fell_back = true;
        // Whoever walked away from a question does not come back to it by accident.
        if matches!(model.mode, Mode::Dialog(_) | Mode::Command(_)) {
            model.mode = Mode::Screen;
        }
        model.say(
            Tone::Warn,
            "nobody touched a key for 10 minutes: this console only views now",
        );
    }
}

/// Opens a screen.
fn go(model: &mut Model, screen: ScreenId) {
    model.screen = screen;
    refit(model);
}

/// Keeps selections in sight, after the size or the screen changed.
fn refit(model: &mut Model) {
    for screen in ScreenId::ALL {
        screen::of(screen).rebuild(model);
    }
}
