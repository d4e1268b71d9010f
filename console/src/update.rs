//! From what happened to what is known and what is to be done: pure.

pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod dialog;
pub(crate) mod events;
pub(crate) mod flood;
mod page;
pub(crate) mod pools;
pub(crate) mod ports;
pub(crate) mod services;
pub(crate) mod sessions;

use std::time::Duration;

use ratatui::layout::Size;
use serde_json::Value;
use weir_control::{Filter, OrderedRow, Request, What};

use crate::keymap::{self, Action};
use crate::model::data::Answer;
use crate::model::editline::EditLine;
use crate::model::link::{LinkNews, State};
use crate::model::list::Step;
use crate::model::screen::ScreenId;
use crate::model::services::TextFilter;
use crate::model::{After, Clock, Effect, IDLE_OPERATOR, Mode, Model, Page, Tone};
use crate::term::input::{Key, PASTE_KEPT};

/// How long what follows a paste belongs to it.
const AFTER_PASTE: Duration = Duration::from_millis(200);
/// How long what follows a question that was taken back belongs to its answer.
const AFTER_QUESTION: Duration = Duration::from_secs(1);
/// How often a display may be refreshed.
const PERIODS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

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
        Message::Key(key) => on_key(model, key),
        Message::Paste(text, length) => on_paste(model, &text, length),
        Message::Size(size) => {
            model.size = size;
            refit(model);
            Vec::new()
        }
        Message::Tick => Vec::new(),
        Message::Link(news) => {
            on_link(model, news);
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
                Ok(answer) => on_told(model, &filter, answer, at),
                Err(sentence) => model.say(Tone::Bad, format!("{}: {sentence}", noun(what))),
            }
            Vec::new()
        }
        Message::Replied { ticket, rows } => {
            on_reply(model, ticket, rows);
            Vec::new()
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

fn on_key(model: &mut Model, key: Key) -> Vec<Effect> {
    if model.clock.up < model.paste_until {
        return on_paste_rest(model, key);
    }
    model.key_at = model.clock.up;
    match &mut model.mode {
        Mode::Screen => on_screen_key(model, key),
        Mode::Filter { .. } => on_filter_key(model, key),
        Mode::Command(_) => command::key(model, key),
        Mode::Page(_) => on_page_key(model, key),
        Mode::Help { .. } => on_help_key(model, key),
        Mode::Dialog(_) => dialog::key(model, key),
        Mode::Editor => config::key(model, key),
    }
}

fn on_paste(model: &mut Model, text: &str, length: usize) -> Vec<Effect> {
    model.paste_until = model.clock.up + AFTER_PASTE;
    match &mut model.mode {
        Mode::Filter { line, inverse } => {
            line.insert(text.lines().next().unwrap_or_default());
            let (text, inverse) = (line.text(), *inverse);
            set_filter(model, TextFilter { text, inverse });
        }
        Mode::Command(line) | Mode::Help { search: line, .. } => {
            line.insert(text.lines().next().unwrap_or_default());
        }
        Mode::Editor => config::paste(model, text, length, length <= PASTE_KEPT),
        // What is typed to confirm is typed.
        Mode::Screen | Mode::Dialog(_) | Mode::Page(_) => model.say(
            Tone::Warn,
            format!("a paste of {length} bytes is ignored: keys that do something are typed"),
        ),
    }
    Vec::new()
}

/// The end of a paste that the terminal does not mark comes as keys, and so does what a hostile one
/// has behind a mark of its own: none of them does anything, an arrow or Ctrl-C as little as a letter.
fn on_paste_rest(model: &mut Model, key: Key) -> Vec<Effect> {
    if matches!(key, Key::Char(_) | Key::Enter | Key::Tab) {
        model.paste_until = model.paste_until.max(model.clock.up + AFTER_PASTE);
        // There it is text as well as the rest.
        if model.mode_is_editor() {
            return config::key(model, key);
        }
    }
    Vec::new()
}

fn on_screen_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Some(binding) = keymap::binding(key, model.screen) else {
        return Vec::new();
    };
    if let Err(reason) = model.permits(binding.role, binding.action) {
        if model.fell_back {
            dialog::be_operator(model);
            return Vec::new();
        }
        model.say(Tone::Warn, format!("{}: {reason}", keymap::name(key)));
        return Vec::new();
    }
    act(model, binding.action)
}

/// Does what a key means wherever it means the same; the rest is the open screen's.
fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Go(screen) => go(model, screen),
        Action::NextScreen => go(model, model.screen.step(1)),
        Action::PreviousScreen => go(model, model.screen.step(ScreenId::ALL.len() - 1)),
        Action::Filter => begin_filter(model, false),
        Action::InverseFilter => begin_filter(model, true),
        Action::Pause => {
            model.paused = match model.paused {
                None => Some(model.clock),
                Some(_) => None,
            };
        }
        Action::Faster => pace(model, false),
        Action::Slower => pace(model, true),
        Action::Redraw => return vec![Effect::Redraw, Effect::AskSize],
        Action::CommandLine => model.mode = Mode::Command(EditLine::default()),
        Action::Help => {
            model.mode = Mode::Help {
                search: EditLine::default(),
                top: 0,
            };
        }
        Action::Leave => return config::leave(model),
        Action::Undo => {
            if let Some(undo) = model.undo.take() {
                return model.order("undo", undo.request, None);
            }
        }
        Action::Maintenance => return dialog::maintenance(model),
        Action::Up
        | Action::Down
        | Action::PageUp
        | Action::PageDown
        | Action::Top
        | Action::Bottom
        | Action::Open
        | Action::Back
        | Action::Fold
        | Action::Unfold
        | Action::FoldAll
        | Action::Span
        | Action::Figure
        | Action::Sort
        | Action::ReverseSort
        | Action::Drain
        | Action::Enable
        | Action::Weight
        | Action::Synproxy
        | Action::Part
        | Action::Edit
        | Action::Apply
        | Action::Confirm
        | Action::Rollback
        | Action::Discard => return on_screen(model, action),
    }
    Vec::new()
}

/// Gives an action to the open screen.
fn on_screen(model: &mut Model, action: Action) -> Vec<Effect> {
    match model.screen {
        ScreenId::Services => services::act(model, action),
        ScreenId::Pools => pools::act(model, action),
        ScreenId::Flood => flood::act(model, action),
        ScreenId::Ports => ports::act(model, action),
        ScreenId::Events => events::act(model, action),
        ScreenId::Sessions => sessions::act(model, action),
        ScreenId::Config => config::act(model, action),
    }
}

fn go(model: &mut Model, screen: ScreenId) {
    model.screen = screen;
    refit(model);
}

/// Keeps selections in sight, after the size or the screen changed.
fn refit(model: &mut Model) {
    let height = model.list_height();
    let length = model.services.lines.len();
    model.services.cursor.fit(length, height);
    pools::refit(model);
    flood::refit(model);
    ports::refit(model);
    events::refit(model);
    sessions::refit(model);
    config::fit(model);
}

fn pace(model: &mut Model, slower: bool) {
    let at = PERIODS.iter().position(|period| *period == model.every);
    let at = at.unwrap_or(1);
    let at = if slower { at + 1 } else { at.saturating_sub(1) };
    if let Some(period) = PERIODS.get(at) {
        model.every = *period;
    }
    let text = format!("refresh every {} s", model.every.as_secs_f64());
    model.say(Tone::Good, text);
}

fn begin_filter(model: &mut Model, inverse: bool) {
    let filter = filter_of(model);
    let text = if filter.inverse == inverse {
        filter.text
    } else {
        String::new()
    };
    model.mode = Mode::Filter {
        line: EditLine::with(&text),
        inverse,
    };
}

/// Returns the filter of the open screen.
pub(crate) fn filter_of(model: &Model) -> TextFilter {
    match model.screen {
        ScreenId::Services => model.services.filter.clone(),
        ScreenId::Pools => model.pools.filter.clone(),
        ScreenId::Flood => model.flood.filter.clone(),
        ScreenId::Ports => model.ports.filter.clone(),
        ScreenId::Events => model.events.filter.clone(),
        ScreenId::Sessions => model.sessions.filter.clone(),
        ScreenId::Config => TextFilter::default(),
    }
}

fn set_filter(model: &mut Model, filter: TextFilter) {
    match model.screen {
        ScreenId::Services => services::filter(model, filter),
        ScreenId::Pools => pools::filter(model, filter),
        ScreenId::Flood => flood::filter(model, filter),
        ScreenId::Ports => ports::filter(model, filter),
        ScreenId::Events => events::filter(model, filter),
        ScreenId::Sessions => sessions::filter(model, filter),
        // It has none.
        ScreenId::Config => {}
    }
}

/// What the daemon does of a filter waits until it is typed.
fn settle_filter(model: &mut Model) {
    if model.screen == ScreenId::Sessions {
        sessions::settle(model);
    }
}

fn on_filter_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Mode::Filter { line, inverse } = &mut model.mode else {
        return Vec::new();
    };
    let inverse = *inverse;
    if key == Key::Enter {
        model.mode = Mode::Screen;
        settle_filter(model);
    } else if ends(key, line) {
        model.mode = Mode::Screen;
        set_filter(model, TextFilter::default());
        settle_filter(model);
    } else if line.key(key) {
        let text = line.text();
        set_filter(model, TextFilter { text, inverse });
    }
    Vec::new()
}

/// Says whether a key ends a line that is typed: nothing more can be taken back of an empty one.
fn ends(key: Key, line: &EditLine) -> bool {
    matches!(key, Key::Esc | Key::Ctrl('c')) || (key == Key::Backspace && line.is_empty())
}

fn on_help_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Mode::Help { search, top } = &mut model.mode else {
        return Vec::new();
    };
    let closes = search.is_empty() && matches!(key, Key::Char('?' | 'q'));
    if closes || key == Key::Enter || ends(key, search) {
        model.mode = Mode::Screen;
        return Vec::new();
    }
    if search.key(key) {
        *top = 0;
    }
    let steps = [
        (Key::Up, -1),
        (Key::Down, 1),
        (Key::PageUp, -10),
        (Key::PageDown, 10),
    ];
    if let Some((_, by)) = steps.iter().find(|(step, _)| *step == key) {
        *top = top.saturating_add_signed(*by).min(keymap::BINDINGS.len());
    }
    Vec::new()
}

fn on_page_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let height = model.body_height();
    let Mode::Page(page) = &mut model.mode else {
        return Vec::new();
    };
    let binding = keymap::binding(key, model.screen);
    let step = binding.and_then(|binding| services::step(binding.action));
    let last = page.lines.len().saturating_sub(height.saturating_sub(1));
    match step {
        Some(Step::Up) => page.top = page.top.saturating_sub(1),
        Some(Step::Down) => page.top = (page.top + 1).min(last),
        Some(Step::PageUp) => page.top = page.top.saturating_sub(height),
        Some(Step::PageDown) => page.top = (page.top + height).min(last),
        Some(Step::Top) => page.top = 0,
        Some(Step::Bottom) => page.top = last,
        None => model.mode = Mode::Screen,
    }
    Vec::new()
}

fn on_link(model: &mut Model, news: LinkNews) {
    let now = model.clock.up;
    match news {
        LinkNews::Up { greeting, identity } => {
            let was_lost = model.link.is_lost();
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

fn on_told(model: &mut Model, filter: &Filter, answer: Answer, at: Duration) {
    let was = model.data.status.as_ref().map(|told| {
        let status = &told.value;
        (status.uptime_s, status.generation)
    });
    let before = match answer {
        Answer::Services(_) => model.data.services.take(),
        Answer::Pools(_)
        | Answer::Sessions(_)
        | Answer::Ports(_)
        | Answer::Workers(_)
        | Answer::Ledger(_)
        | Answer::Flood(_)
        | Answer::Config(_)
        | Answer::Health(_)
        | Answer::Events(_)
        | Answer::Syslog(_)
        | Answer::Generations(_)
        | Answer::History(_)
        | Answer::Overrides(_)
        | Answer::Status(_) => None,
    };
    let is_services = matches!(answer, Answer::Services(_));
    let is_status = matches!(answer, Answer::Status(_));
    let arrived: Option<fn(&mut Model)> = match answer {
        Answer::Pools(_) => Some(pools::arrived),
        // Of one service only, it is for its details.
        Answer::Flood(_) if filter.service.is_none() => Some(flood::arrived),
        Answer::Ports(_) => Some(|model| ports::arrived(model, What::Ports)),
        Answer::Workers(_) => Some(|model| ports::arrived(model, What::Workers)),
        Answer::Ledger(_) => Some(|model| ports::arrived(model, What::Ledger)),
        Answer::Events(_) => Some(events::arrived),
        Answer::Sessions(_) => Some(sessions::arrived),
        Answer::Config(_) => Some(|model: &mut Model| model.config.is_old = false),
        Answer::Services(_)
        | Answer::Flood(_)
        | Answer::Health(_)
        | Answer::Syslog(_)
        | Answer::Generations(_)
        | Answer::History(_)
        | Answer::Overrides(_)
        | Answer::Status(_) => None,
    };
    model.data.keep(filter, answer, at);
    if let Some(arrived) = arrived {
        arrived(model);
    }
    if is_services {
        let height = model.list_height();
        if let Some(now) = &model.data.services {
            model.services.arrived(before.as_ref(), now, height);
        }
    }
    if is_status && let (Some(was), Some(now)) = (was, &model.data.status) {
        let (status, (uptime_s, generation)) = (&now.value, was);
        if status.uptime_s < uptime_s {
            let started = model.clock.unix.saturating_sub(status.uptime_s);
            let text = format!(
                "weir restarted {}, generation {}",
                crate::units::time_of_day(started),
                status.generation
            );
            model.say(Tone::Warn, text);
        } else if status.generation != generation {
            model.config.is_old = true;
            let text = format!("configuration {} runs now", status.generation);
            model.say(Tone::Good, text);
        }
    }
}

fn on_reply(model: &mut Model, ticket: u64, rows: Result<Vec<Value>, String>) {
    let at = model.pending.iter().position(|one| one.ticket == ticket);
    let Some(pending) = at.map(|at| model.pending.remove(at)) else {
        return;
    };
    if pending.after == After::Events {
        return events::all_arrived(model, rows);
    }
    if pending.after == After::Check {
        return config::checked(model, rows);
    }
    if pending.after == After::Applied {
        return config::applied(model, &pending.what, &pending.request, rows);
    }
    if pending.after == After::Explain {
        return sessions::explained(model, &pending.request, rows);
    }
    match rows {
        Err(sentence) => model.say(Tone::Bad, format!("{}: {sentence}", pending.what)),
        Ok(rows) if pending.after == After::Print => match page::lines(&pending.request, rows) {
            Ok(lines) => {
                model.waiting = Some(Page {
                    title: pending.what,
                    lines,
                    top: 0,
                });
            }
            Err(sentence) => model.say(Tone::Bad, format!("{}: {sentence}", pending.what)),
        },
        Ok(rows) => {
            let (tone, mut text) = told_by(&pending.what, &rows);
            if let Some(undo) = pending.undo {
                text.push_str("  (u undoes it)");
                model.offer_undo(undo);
            }
            model.say(tone, text);
        }
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

/// Returns what a `show` is called.
fn noun(what: What) -> &'static str {
    match what {
        What::Services => "services",
        What::Pools => "pools",
        What::Sessions => "sessions",
        What::Ports => "ports",
        What::Workers => "workers",
        What::Ledger => "ledger",
        What::Flood => "flood",
        What::Config => "config",
        What::Health => "health",
        What::Events => "events",
        What::Syslog => "syslog",
        What::Generations => "generations",
        What::History => "history",
        What::Overrides => "overrides",
        What::Status => "status",
    }
}

/// Returns the request that sets a weight.
pub(crate) fn weight(service: &str, real: &str, weight: Option<u16>) -> Request {
    Request::Weight {
        service: service.to_owned(),
        real: real.to_owned(),
        weight,
    }
}
