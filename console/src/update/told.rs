//! What the daemon tells: that it is there, what was wanted, and what became of a change.

use std::time::Duration;

use serde_json::Value;
use weir_control::{Filter, OrderedRow, Role, What};

use crate::model::data::Answer;
use crate::model::link::{LinkNews, State};
use crate::model::screen::ScreenId;
use crate::model::{After, Effect, Mode, Model, Page, Pending, Tone};
use crate::update::dialog::defence;
use crate::update::{config, events, page, screen, sessions};

/// How long what follows a question that was taken back belongs to its answer.
const AFTER_QUESTION: Duration = Duration::from_secs(1);

/// Takes that the connection is there, or gone.
pub(crate) fn link(model: &mut Model, news: LinkNews) {
    let now = model.clock.up;
    match news {
        LinkNews::Up { greeting, identity } => {
            let was_lost = model.link.is_lost();
            model.events.since = None;
            model.link.state = State::Online;
            model.link.since = now;
            model.link.greeting = Some(greeting);
            model.link.identity = identity;
            if was_lost {
                let at = crate::units::time_of_day(model.clock.unix);
                model.say(Tone::Good, format!("weir answers again since {at}"));
            }
        }
        LinkNews::Down(why) => {
            model.link.why = why;
            if model.link.state == State::Online {
                model.link.since = now;
            }
            if model.link.state == State::Online || model.data.status.is_some() {
                model.link.state = State::Lost;
            }
            // Nothing that was asked before is done after: the operator decides anew.
            if matches!(model.mode, Mode::Dialog(_)) {
                model.mode = Mode::Screen;
                // The rest of the answer is no key.
                model.paste_until = now + AFTER_QUESTION;
                model.say(
                    Tone::Warn,
                    "the connection is lost; the question is taken back",
                );
            }
            model.undo = None;
        }
    }
}

/// Takes what was wanted.
pub(crate) fn answer(model: &mut Model, what: What, filter: &Filter, answer: Answer, at: Duration) {
    let was = model.data.status.as_ref().map(|told| {
        let status = &told.value;
        (status.uptime_s, status.generation)
    });
    model.data.keep(filter, answer, at);
    for screen in ScreenId::ALL {
        screen::of(screen).told(model, what, filter);
    }
    if what == What::Status
        && let Some((uptime_s, generation)) = was
    {
        compare(model, uptime_s, generation);
    }
}

/// Says what changed since the status before: another daemon, another configuration.
fn compare(model: &mut Model, uptime_s: u64, generation: u64) {
    let Some(now) = &model.data.status else {
        return;
    };
    let status = &now.value;
    let number = status.generation;
    if status.uptime_s < uptime_s {
        let started = model.clock.unix.saturating_sub(status.uptime_s);
        let at = crate::units::time_of_day(started);
        model.say(
            Tone::Warn,
            format!("weir restarted {at}, generation {number}"),
        );
    } else if number != generation {
        model.config.is_old = true;
        model.say(Tone::Good, format!("configuration {number} runs now"));
    }
}

/// Takes what the daemon answers to what was asked once. After what may have changed something, all
/// is told anew: a key that is pressed next must not go by how it was.
pub(crate) fn reply(
    model: &mut Model,
    ticket: u64,
    rows: Result<Vec<Value>, String>,
) -> Vec<Effect> {
    let at = model.pending.iter().position(|one| one.ticket == ticket);
    let Some(pending) = at.map(|at| model.pending.remove(at)) else {
        return Vec::new();
    };
    let changes = pending.request.needs() == Role::Operator;
    answered(model, pending, rows);
    if changes {
        vec![Effect::Refresh]
    } else {
        Vec::new()
    }
}

fn answered(model: &mut Model, pending: Pending, rows: Result<Vec<Value>, String>) {
    let (what, request) = (&pending.what, &pending.request);
    match pending.after {
        After::Events => return events::all_arrived(model, rows),
        After::Check => return config::checked(model, rows),
        After::Applied => return config::applied(model, what, request, rows),
        After::Explain => return sessions::explained(model, request, rows),
        After::Denied => return defence::counted(model, rows),
        After::Say | After::Print => {}
    }
    let printed = pending.after == After::Print;
    match rows {
        Ok(rows) if printed => match page::lines(request, rows) {
            Ok(lines) => {
                model.waiting = Some(Page {
                    title: pending.what,
                    lines,
                    top: 0,
                });
            }
            Err(sentence) => model.say(Tone::Bad, format!("{what}: {sentence}")),
        },
        Ok(rows) => {
            let (tone, mut text) = told_by(what, &rows);
            if let Some(undo) = pending.undo {
                text.push_str("  (u undoes it)");
                model.offer_undo(undo);
            }
            model.say(tone, text);
        }
        Err(sentence) => model.say(Tone::Bad, format!("{what}: {sentence}")),
    }
}

/// Returns what the daemon says of a change, with its warning where it has one.
fn told_by(what: &str, rows: &[Value]) -> (Tone, String) {
    let ordered = rows
        .first()
        .cloned()
        .map(serde_json::from_value::<OrderedRow>);
    match ordered {
        Some(Ok(row)) if !row.text.is_empty() => match row.warning {
            Some(warning) => (Tone::Warn, format!("{}; {warning}", row.text)),
            None => (Tone::Good, row.text),
        },
        Some(Ok(_) | Err(_)) | None => (Tone::Good, format!("{what}: done")),
    }
}
