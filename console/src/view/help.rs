//! The help: what the keys of the open screen do, from the table of keys.

use weir_control::Role;

use crate::keymap::{self, BINDINGS, Binding};
use crate::model::{Mode, Model};
use crate::view::canvas::{Align, Canvas};

/// Draws it.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let Mode::Help { search, top } = &model.mode else {
        return;
    };
    let title = format!(" Keys on the screen {}", model.screen.name());
    canvas.put(0, 0, &title, theme.strong());
    let wanted = search.text().to_lowercase();
    let found = |binding: &&Binding| {
        let text = format!("{} {}", keys(binding), binding.help).to_lowercase();
        binding.is_on(model.screen) && text.contains(&wanted)
    };
    let all: Vec<&Binding> = BINDINGS.iter().filter(found).collect();
    let height = usize::from(canvas.height().saturating_sub(3));
    let top = (*top).min(all.len().saturating_sub(height));
    let more = all.len().saturating_sub(top + height);
    if all.is_empty() {
        canvas.put(3, 2, "no key is about that", theme.plain());
    }
    for (y, binding) in all.iter().skip(top).take(height).enumerate() {
        let y = y as u16 + 1;
        canvas.cell((1, y), 16, Align::Right, &keys(binding), theme.key());
        if binding.role == Role::Operator {
            canvas.put(18, y, "*", theme.warn());
        }
        let help = canvas.width().saturating_sub(20);
        canvas.cell((20, y), help, Align::Left, binding.help, theme.plain());
    }
    let y = canvas.height().saturating_sub(1);
    let operators = match model.role() {
        Ok(()) => "* changes something: you may.   12.3k is rounded, Enter exact".to_owned(),
        Err(reason) => format!("* {reason}"),
    };
    canvas.put(18, y, &operators, theme.dim());
    if more > 0 || top > 0 {
        let text = format!("{top} above, {more} below");
        canvas.put(20, y - 1, &text, theme.dim());
    }
}

fn keys(binding: &Binding) -> String {
    let names: Vec<String> = binding.keys.iter().copied().map(keymap::name).collect();
    names.join(" ")
}
