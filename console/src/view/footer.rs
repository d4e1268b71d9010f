//! The lines below every screen: what is shown of what, or what is typed, or what happened; and the
//! keys.

use ratatui::layout::Position;

use crate::keymap::{BINDINGS, Binding};
use crate::model::editline::EditLine;
use crate::model::{After, Mode, Model, Tone};
use crate::view::canvas::Canvas;
use crate::view::header::{cut, line};
use crate::view::page;

/// Draws them; returns where the cursor is, where something is typed.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) -> Option<Position> {
    let theme = model.theme;
    canvas.fill(0, line(model), theme.dim());
    let cursor = match &model.mode {
        Mode::Filter { line, inverse } => {
            let prompt = if *inverse { " without: " } else { " with: " };
            Some(typed(prompt, line, canvas, model))
        }
        Mode::Command(line) => {
            // What is wrong with the line, or what may stand there, is said above it.
            if let Some(toast) = &model.toast {
                let room = usize::from(canvas.width().saturating_sub(4));
                canvas.put(
                    2,
                    0,
                    &format!(" {} ", cut(&toast.text, room)),
                    theme.strong(),
                );
            }
            Some(typed(" :", line, canvas, model))
        }
        Mode::Help { search, .. } => Some(typed(" search the help: ", search, canvas, model)),
        Mode::Editor => {
            let line = finding(model);
            if line.is_none() {
                status(model, canvas);
            }
            line.map(|line| typed(" find: ", line, canvas, model))
        }
        Mode::Screen | Mode::Dialog(_) | Mode::Page(_) => {
            status(model, canvas);
            None
        }
    };
    hints(model, canvas);
    cursor
}

/// What is searched for in the candidate, while it is typed.
fn finding(model: &Model) -> Option<&EditLine> {
    model.config.editor.as_ref()?.finding.as_ref()
}

fn typed(prompt: &str, text: &EditLine, canvas: &mut Canvas<'_>, model: &Model) -> Position {
    let begin = canvas.put(0, 1, prompt, model.theme.strong());
    let room = usize::from(canvas.width().saturating_sub(begin + 1));
    // A long line is seen around its cursor.
    let first = (text.at() + 1).saturating_sub(room);
    let seen: String = text.text().chars().skip(first).take(room).collect();
    canvas.put(begin, 1, &seen, model.theme.plain());
    let area = canvas.area();
    Position {
        x: area.x + begin + (text.at() - first) as u16,
        y: area.y + 1,
    }
}

fn status(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let room = usize::from(canvas.width().saturating_sub(2));
    if let Some(toast) = &model.toast {
        let style = match toast.tone {
            Tone::Good => theme.good(),
            Tone::Warn => theme.warn(),
            Tone::Bad => theme.bad(),
        };
        let (above, below) = halves(&toast.text, room);
        if !above.is_empty() {
            // Half a sentence is none: it takes the line above as well.
            canvas.fill(0, ' ', theme.plain());
            canvas.put(1, 0, &above, style);
        }
        canvas.put(1, 1, &cut(&below, room), style);
        return;
    }
    // The check of what is typed goes on all the time.
    let mut pending = model.pending.iter();
    if let Some(pending) = pending.find(|one| one.after != After::Check) {
        let text = format!("{}: asked, no answer yet", pending.what);
        canvas.put(1, 1, &cut(&text, room), theme.warn());
        return;
    }
    let text = match &model.mode {
        Mode::Page(page) => page::status(model, page),
        Mode::Screen
        | Mode::Filter { .. }
        | Mode::Command(_)
        | Mode::Help { .. }
        | Mode::Editor
        | Mode::Dialog(_) => super::status(model),
    };
    canvas.put(1, 1, &cut(&text, room), theme.plain());
}

/// Parts a text that is too long for a line between two words.
fn halves(text: &str, room: usize) -> (String, String) {
    if text.chars().count() <= room {
        return (String::new(), text.to_owned());
    }
    let first: String = text.chars().take(room + 1).collect();
    let above = first.rsplit_once(' ').map_or("", |(above, _)| above);
    let below = text.get(above.len()..).unwrap_or_default();
    (above.to_owned(), below.trim_start().to_owned())
}

/// Draws as many hints as fit; the help and the way out always do.
fn hints(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let keys: &[(&str, &str)] = match model.mode {
        Mode::Screen => return screen_hints(model, canvas),
        Mode::Filter { .. } => &[("Enter", "keep"), ("Esc", "show all")],
        Mode::Command(_) => &[("Enter", "do it"), ("Tab", "complete"), ("Esc", "cancel")],
        Mode::Help { .. } | Mode::Page(_) => &[("Up Down", "scroll"), ("Esc", "close")],
        Mode::Editor if finding(model).is_some() => &[("Enter", "find"), ("Esc", "cancel")],
        Mode::Editor => &[
            ("Esc", "done"),
            ("^N", "mistake"),
            ("^F", "find"),
            ("^G", "again"),
            ("^U", "undo"),
            ("^R", "redo"),
            ("^K", "cut"),
            ("^Y", "put back"),
        ],
        Mode::Dialog(_) => &[("Enter", "do it"), ("Esc", "cancel, nothing is changed")],
    };
    let mut x = 1;
    for (key, does) in keys {
        x = canvas.put(x, 2, key, theme.key());
        x = canvas.put(x + 1, 2, does, theme.plain()) + 2;
    }
}

fn screen_hints(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let width = |text: &str| text.chars().count() as u16;
    let hinted = || {
        let on = |binding: &&Binding| binding.is_on(model.screen) && !binding.hint.is_empty();
        BINDINGS.iter().filter(on)
    };
    let text = |binding: &Binding| {
        let permitted = model.permits(binding.role, binding.action).is_ok();
        let hint = binding.hint;
        if permitted {
            hint.to_owned()
        } else {
            // In a colour alone it could not be told.
            format!("({hint})")
        }
    };
    let last = |binding: &Binding| binding.hint.starts_with("? ") || binding.hint.starts_with("q ");
    let kept: u16 = hinted()
        .filter(|binding| last(binding))
        .map(|binding| width(&text(binding)) + 2)
        .sum();
    let mut x = 1;
    for binding in hinted() {
        let text = text(binding);
        let room = if last(binding) { 0 } else { kept };
        if x + width(&text) + room > canvas.width() {
            continue;
        }
        let permitted = !text.starts_with('(');
        match text.split_once(' ') {
            Some((key, does)) if permitted => {
                x = canvas.put(x, 2, key, theme.key());
                x = canvas.put(x + 1, 2, does, theme.plain()) + 2;
            }
            Some(_) | None => x = canvas.put(x, 2, &text, theme.dim()) + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_is_parted_between_words() {
        let (above, below) = halves("no real server of dns takes new sessions", 20);
        assert_eq!(
            (above.as_str(), below.as_str()),
            ("no real server of", "dns takes new sessions")
        );
        assert_eq!(halves("short", 20), (String::new(), "short".to_owned()));
        assert_eq!(halves("unbreakable", 4).1, "unbreakable");
    }
}
