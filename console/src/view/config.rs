//! The configuration: what runs, the candidate with what is wrong in it, what it changes, and what
//! ran before.

use ratatui::layout::Position;
use ratatui::style::Style;
use weir_control::GenerationRow;

use crate::model::config::{self, Part, changes, generation};
use crate::model::editor::{Editor, Verdict};
use crate::model::filter::Cycle;
use crate::model::{Mode, Model};
use crate::theme::Theme;
use crate::units::{plural, span};
use crate::view::canvas::{Align, Canvas};
use crate::view::header::cut;

/// The columns of the configurations that ran before.
const COLUMNS: [(&str, u16, Align); 5] = [
    ("NO", 6, Align::Right),
    ("STATE", 11, Align::Left),
    ("APPLIED (UTC)", 16, Align::Left),
    ("BY", 24, Align::Left),
    ("WHAT IT CHANGED", 200, Align::Left),
];

/// Draws them; returns where the cursor of the editor is.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) -> Option<Position> {
    let theme = model.theme;
    let width = canvas.width();
    canvas.style(0, 0, width, theme.heading());
    let mut x = 1;
    for part in Part::ALL.iter().copied() {
        let style = if part == model.config.part {
            theme.selected()
        } else {
            theme.heading()
        };
        x = canvas.put(x, 0, &format!(" {} ", title(model, part)), style) + 1;
    }
    let (text, style) = state(model);
    let room = width.saturating_sub(x + 2);
    let text = cut(&text, usize::from(room));
    canvas.put_before(width.saturating_sub(1), 0, &text, style);
    let height = canvas.height().saturating_sub(1);
    let mut body = canvas.inner(0, 1, width, height);
    match model.config.part {
        Part::Candidate => {
            if let Some(editor) = &model.config.editor {
                let position = candidate(editor, theme, &mut body);
                return position.filter(|_| model.mode_is_editor());
            }
            let text = if model.mode_is_editor() {
                "the daemon is asked what runs; what you type is kept, Esc leaves"
            } else {
                "there is no candidate: e makes one of the configuration that runs"
            };
            body.put(1, 1, text, theme.plain());
        }
        Part::Generations => generations(model, &mut body),
        Part::Running | Part::Diff => lines(model, &mut body),
    }
    None
}

fn title(model: &Model, part: Part) -> String {
    let modified = match &model.config.editor {
        None => "",
        Some(editor) if editor.is_modified() => " *",
        Some(_) => " =",
    };
    match part {
        Part::Running => format!("RUNNING {}", generation(model)),
        Part::Candidate => format!("CANDIDATE{modified}"),
        Part::Diff => "DIFF".to_owned(),
        Part::Generations => "BEFORE".to_owned(),
    }
}

/// Whether a configuration is on trial, or what the daemon says of the candidate.
fn state(model: &Model) -> (String, Style) {
    let theme = model.theme;
    let status = model.data.status.as_ref().map(|told| &told.value);
    let left = status.and_then(|status| status.confirm_within_s);
    if let Some(left) = left.filter(|_| !model.mode_is_editor()) {
        let text = format!("ON TRIAL, {} left: c or b", span(left));
        return (text, theme.warn());
    }
    let Some(editor) = &model.config.editor else {
        return (String::new(), theme.plain());
    };
    match &editor.verdict {
        Verdict::Wrong(_, summary) => (format!("{summary} !"), theme.bad()),
        Verdict::Failed(_) => ("NOT CHECKED".to_owned(), theme.warn()),
        Verdict::Unknown => ("being checked".to_owned(), theme.plain()),
        Verdict::Good(rows) => match changes(model) {
            None => ("being checked".to_owned(), theme.plain()),
            Some([]) => ("OK: changes nothing".to_owned(), theme.good()),
            Some(_) => {
                let count = plural(rows.len() as u64, "change");
                (format!("OK: {count}"), theme.good())
            }
        },
    }
}

/// Returns how wide the numbers of lines are, with the mark of a mistake behind.
pub(crate) fn gutter(editor: &Editor) -> usize {
    let count = editor.lines().len();
    count.to_string().len().max(3) + 2
}

/// The candidate, and below its lines what is wrong with them; returns where its cursor is.
fn candidate(editor: &Editor, theme: Theme, canvas: &mut Canvas<'_>) -> Option<Position> {
    let begin = gutter(editor) as u16;
    let room = usize::from(canvas.width().saturating_sub(begin)).max(1);
    let left = editor.left(room);
    let (row, column) = editor.cursor();
    let area = canvas.area();
    let mut position = None;
    let mut y = 0;
    for (at, line) in editor.lines().iter().enumerate().skip(editor.top) {
        if y >= canvas.height() {
            break;
        }
        let notes = editor.notes(at, room);
        let number = (at + 1).to_string();
        canvas.cell((0, y), begin - 2, Align::Right, &number, theme.dim());
        if !notes.is_empty() {
            canvas.put(begin - 2, y, "!", theme.bad());
        }
        let seen = line.chars().skip(left).take(room);
        let seen: String = seen.map(|c| if c == '\t' { ' ' } else { c }).collect();
        canvas.put(begin, y, &seen, style(line, theme));
        if at == row {
            position = Some(Position {
                x: area.x + begin + column.saturating_sub(left).min(room - 1) as u16,
                y: area.y + y,
            });
        }
        y += 1;
        for note in notes {
            canvas.put(begin, y, &note, theme.bad());
            y += 1;
        }
    }
    position
}

fn style(line: &str, theme: Theme) -> Style {
    match line.trim_start().chars().next() {
        Some('[') => theme.strong(),
        Some('#') => theme.dim(),
        Some(_) | None => theme.plain(),
    }
}

/// What runs, or what the candidate changes.
fn lines(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let Some(lines) = config::lines(model) else {
        canvas.put(1, 1, "asked, no answer yet", theme.plain());
        return;
    };
    let height = usize::from(canvas.height());
    let room = usize::from(canvas.width().saturating_sub(2));
    let top = model.config.top.min(lines.len().saturating_sub(height));
    for (y, line) in (0..).zip(lines.iter().skip(top).take(height)) {
        let style = match (model.config.part, line.chars().next()) {
            (Part::Diff, Some('+')) => theme.good(),
            (Part::Diff, Some('-')) => theme.bad(),
            (Part::Diff, Some('~')) => theme.strong(),
            (Part::Diff, _) => theme.plain(),
            (Part::Running | Part::Candidate | Part::Generations, _) => style(line, theme),
        };
        canvas.put(1, y, &cut(line, room), style);
    }
}

/// What ran before, the youngest last.
fn generations(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let Some(told) = &model.data.generations else {
        canvas.put(1, 1, "asked, no answer yet", theme.plain());
        return;
    };
    let heads = COLUMNS.map(|(head, ..)| head.to_owned());
    line(0, &heads, theme.strong(), canvas);
    if told.value.is_empty() {
        canvas.put(2, 1, "no configuration is kept", theme.plain());
    }
    let cursor = model.config.cursor;
    let seen = told.value.iter().enumerate().skip(cursor.top);
    for (y, (at, row)) in (1..canvas.height()).zip(seen) {
        let style = match row.state.as_str() {
            "running" => theme.good(),
            "unconfirmed" => theme.warn(),
            _ => theme.plain(),
        };
        line(y, &cells(row), style, canvas);
        if at == cursor.index {
            canvas.put(0, y, ">", theme.strong());
            canvas.style(0, y, canvas.width(), theme.selected());
        }
    }
}

fn cells(row: &GenerationRow) -> [String; 5] {
    let at = row.at.get(..16).map(|at| at.replace('T', " "));
    [
        row.generation.to_string(),
        row.state.clone(),
        at.unwrap_or_else(|| row.at.clone()),
        row.by.clone(),
        row.summary.clone(),
    ]
}

fn line(y: u16, cells: &[String], style: Style, canvas: &mut Canvas<'_>) {
    let mut x = 2;
    for ((_, wide, align), text) in COLUMNS.iter().zip(cells) {
        let wide = (*wide).min(canvas.width().saturating_sub(x));
        canvas.cell((x, y), wide, *align, text, style);
        x += wide + 1;
    }
}

/// Returns what is shown, and what can be done next.
pub(crate) fn status(model: &Model) -> String {
    if let (Mode::Editor, Some(editor)) = (&model.mode, &model.config.editor) {
        let (row, column) = editor.cursor();
        let modified = if editor.is_modified() {
            "changed"
        } else {
            "as it runs"
        };
        return format!(
            "line {} of {}, column {}; {modified}; made of configuration {}",
            row + 1,
            editor.lines().len(),
            column + 1,
            editor.began_with
        );
    }
    let scrolled = |length: usize, top: usize| {
        let last = (top + model.list_height()).min(length);
        match length {
            0 => "no lines".to_owned(),
            _ => format!("lines {} to {last} of {length}", top.min(length - 1) + 1),
        }
    };
    match model.config.part {
        Part::Running => {
            let length = config::lines(model).map_or(0, |lines| lines.len());
            format!(
                "{}; v shows the candidate",
                scrolled(length, model.config.top)
            )
        }
        Part::Candidate => match &model.config.editor {
            None => "v shows what it would change".to_owned(),
            Some(editor) => {
                let text = scrolled(editor.lines().len(), editor.top);
                format!("{text}; e edits it, x discards it, v shows what it changes")
            }
        },
        Part::Diff => {
            let length = config::lines(model).map_or(0, |lines| lines.len());
            let text = scrolled(length, model.config.top);
            match changes(model) {
                Some([_, ..]) => format!("{text}; a applies it on trial"),
                Some([]) | None => format!("{text}; v shows what ran before"),
            }
        }
        Part::Generations => {
            let rows = model.data.generations.as_ref();
            let count = rows.map_or(0, |told| told.value.len());
            let count = plural(count as u64, "configuration");
            format!("{count}, the youngest last; b brings the selected one back")
        }
    }
}
