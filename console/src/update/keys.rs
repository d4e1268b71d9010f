//! What is typed: on a screen, in a filter, in what is over a screen; and what is pasted.

use std::time::Duration;

use crate::keymap::{self, Action, Global};
use crate::model::editline::EditLine;
use crate::model::filter::TextFilter;
use crate::model::list::scroll;
use crate::model::screen::ScreenId;
use crate::model::{Effect, Mode, Model, Page, Tone, config as candidate};
use crate::term::input::{Key, PASTE_KEPT};
use crate::units::{folded, plural};
use crate::update::screen::{self, set_filter};
use crate::update::{command, config, dialog, go};

/// How long what follows a paste belongs to it.
const AFTER_PASTE: Duration = Duration::from_millis(200);
/// How often a display may be refreshed.
const PERIODS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Takes a key.
pub(crate) fn key(model: &mut Model, key: Key) -> Vec<Effect> {
    if model.clock.up < model.paste_until {
        return on_paste_rest(model, key);
    }
    model.key_at = model.clock.up;
    if !model.is_shown() {
        return on_unseen_key(model, key);
    }
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

/// Takes a paste.
pub(crate) fn paste(model: &mut Model, text: &str, length: usize) -> Vec<Effect> {
    model.paste_until = model.clock.up + AFTER_PASTE;
    if !model.is_shown() {
        return Vec::new();
    }
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

/// Where nothing is shown, nothing is changed: only the size is asked for, and the console left. What
/// was written and does not run is asked about where the question is seen; Ctrl-C asks nothing.
fn on_unseen_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let binding = keymap::binding(key, model.screen);
    match binding.map(|binding| binding.action) {
        Some(Action::Global(Global::Redraw)) => vec![Effect::Redraw, Effect::AskSize],
        Some(Action::Global(Global::Leave))
            if key == Key::Ctrl('c') || !candidate::is_unsaved(model) =>
        {
            vec![Effect::Leave]
        }
        Some(_) | None => Vec::new(),
    }
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

/// Does what a key means.
fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Step(step) => screen::of(model.screen).step(model, step),
        Action::Global(what) => everywhere(model, what),
        Action::Screen(verb) => screen::act(model, verb),
    }
}

/// Does what a key means on every screen.
fn everywhere(model: &mut Model, what: Global) -> Vec<Effect> {
    match what {
        Global::Go(screen) => go(model, screen),
        Global::NextScreen => go(model, model.screen.step(1)),
        Global::PreviousScreen => go(model, model.screen.step(ScreenId::ALL.len() - 1)),
        Global::Filter => begin_filter(model, false),
        Global::InverseFilter => begin_filter(model, true),
        Global::Pause => {
            model.paused = match model.paused {
                None => Some(model.clock),
                Some(_) => None,
            };
        }
        Global::Faster => pace(model, false),
        Global::Slower => pace(model, true),
        Global::Redraw => return vec![Effect::Redraw, Effect::AskSize],
        Global::CommandLine => model.mode = Mode::Command(EditLine::default()),
        Global::Help => {
            model.mode = Mode::Help {
                search: EditLine::default(),
                top: 0,
            };
        }
        Global::Leave => return config::leave(model),
        Global::Undo => return model.take_back(),
        Global::Maintenance => return dialog::maintenance(model),
        Global::Alarms => alarms(model),
    }
    Vec::new()
}

/// Lists what is wrong.
fn alarms(model: &mut Model) {
    let Some(status) = model.data.status.as_ref().map(|told| &told.value) else {
        model.say(Tone::Warn, "the daemon did not say yet how it is");
        return;
    };
    if status.alarms == 0 {
        model.say(
            Tone::Good,
            "no alarms: nothing is wrong that the daemon knows of",
        );
        return;
    }
    let room = usize::from(model.size.width).saturating_sub(12);
    let mut lines = Vec::new();
    for alarm in &status.alarm_list {
        let level = if alarm.severity == "error" {
            "ERROR"
        } else {
            "WARN"
        };
        for (place, part) in folded(&alarm.text, room).into_iter().enumerate() {
            let level = if place == 0 { level } else { "" };
            lines.push(format!("{level:<7}{part}"));
        }
    }
    let listed = status.alarm_list.len() as u64;
    if status.alarms > listed {
        lines.push(format!("and {} more", status.alarms - listed));
    }
    let title = format!("{}, the worst first", plural(status.alarms, "alarm"));
    model.mode = Mode::Page(Page {
        title,
        lines,
        top: 0,
    });
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
    let Some(filter) = screen::of(model.screen).filter(model) else {
        return;
    };
    let text = if filter.inverse == inverse {
        filter.text.clone()
    } else {
        String::new()
    };
    model.mode = Mode::Filter {
        line: EditLine::with(&text),
        inverse,
    };
}

fn on_filter_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Mode::Filter { line, inverse } = &mut model.mode else {
        return Vec::new();
    };
    let inverse = *inverse;
    if key == Key::Enter {
        model.mode = Mode::Screen;
        screen::of(model.screen).settle(model);
    } else if line.ends(key) {
        model.mode = Mode::Screen;
        set_filter(model, TextFilter::default());
        screen::of(model.screen).settle(model);
    } else if line.key(key) {
        let text = line.text();
        set_filter(model, TextFilter { text, inverse });
    }
    Vec::new()
}

fn on_help_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Mode::Help { search, top } = &mut model.mode else {
        return Vec::new();
    };
    let closes = search.is_empty() && matches!(key, Key::Char('?' | 'q'));
    if closes || key == Key::Enter || search.ends(key) {
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
    let height = model.list_height();
    let Mode::Page(page) = &mut model.mode else {
        return Vec::new();
    };
    match keymap::binding(key, model.screen).map(|binding| binding.action) {
        Some(Action::Step(step)) => scroll(&mut page.top, step, page.lines.len(), height),
        Some(Action::Global(_) | Action::Screen(_)) | None => model.mode = Mode::Screen,
    }
    Vec::new()
}
