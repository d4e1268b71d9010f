//! The sessions, and one of them with what becomes of its next packet.

use ratatui::style::Style;
use weir_control::SessionRow;

use crate::model::Model;
use crate::model::sessions::{LIMIT, Zoom};
use crate::theme::Theme;
use crate::units::{exact, plural, span};
use crate::view::canvas::{Align, Canvas};

/// Selection.
const MARKS: u16 = 2;
/// Where the values of details begin.
const VALUES: u16 = 16;

/// The columns; those that do not fit are left out.
const COLUMNS: [(&str, u16, Align); 10] = [
    ("CLIENT", 21, Align::Left),
    ("SERVICE", 10, Align::Left),
    ("REAL SERVER", 21, Align::Left),
    ("STATE", 11, Align::Left),
    ("IDLE", 6, Align::Right),
    ("AGE", 6, Align::Right),
    ("LIP", 21, Align::Left),
    ("LISTENS AT", 21, Align::Left),
    ("PROTO", 5, Align::Left),
    ("WORKER", 6, Align::Right),
];

/// Draws them.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    if model.data.sessions.is_none() {
        canvas.put(1, 1, "asked, no answer yet", theme.plain());
        return;
    }
    let sessions = &model.sessions;
    if let Some(zoom) = &sessions.zoom {
        closely(model, zoom, canvas);
        return;
    }
    let width = canvas.width();
    canvas.style(0, 0, width, theme.heading());
    let heads = COLUMNS.map(|(head, ..)| head.to_owned());
    line(0, &heads, theme.heading(), canvas);
    if sessions.lines.is_empty() {
        let text = match (sessions.rows.is_empty(), sessions.filter.is_empty()) {
            (true, true) => "no sessions",
            (_, false) if sessions.is_cut() => {
                "none of those that were told; a client's address or a service has the daemon look"
            }
            (_, _) => "no sessions match the filter; Esc shows all",
        };
        canvas.put(MARKS, 2, text, theme.plain());
    }
    let seen = sessions.lines.iter().enumerate().skip(sessions.cursor.top);
    for (y, (at, place)) in (1..canvas.height()).zip(seen) {
        if let Some(row) = sessions.rows.get(*place) {
            line(y, &cells(row), theme.plain(), canvas);
        }
        if at == sessions.cursor.index {
            canvas.put(0, y, ">", theme.strong());
            canvas.style(0, y, width, theme.selected());
        }
    }
}

fn cells(row: &SessionRow) -> [String; 10] {
    [
        row.client.clone(),
        row.service.clone(),
        row.real.clone(),
        row.state.clone(),
        span(row.idle_s),
        span(row.age_s),
        row.lip.clone(),
        row.listen.clone(),
        row.protocol.clone(),
        row.worker.to_string(),
    ]
}

fn line(y: u16, cells: &[String], style: Style, canvas: &mut Canvas<'_>) {
    let mut x = MARKS;
    for ((_, wide, align), text) in COLUMNS.iter().zip(cells) {
        if x + wide > canvas.width() {
            break;
        }
        canvas.cell((x, y), *wide, *align, text, style);
        x += wide + 1;
    }
}

/// One session: its tuple, and what becomes of its next packet.
fn closely(model: &Model, zoom: &Zoom, canvas: &mut Canvas<'_>) {
    let lines = lines(zoom, model.theme);
    let height = usize::from(canvas.height());
    let top = zoom.top.min(lines.len().saturating_sub(height));
    for (y, line) in (0..).zip(lines.iter().skip(top).take(height)) {
        match line {
            Part::Value(name, value, style) => {
                canvas.put(1, y, name, model.theme.label());
                canvas.put(VALUES, y, value, *style);
            }
            Part::Heading(text) => {
                canvas.style(0, y, canvas.width(), model.theme.heading());
                canvas.put(1, y, text, model.theme.heading());
            }
            Part::Text(text) => {
                canvas.put(0, y, text, model.theme.plain());
            }
        }
    }
}

enum Part {
    Value(&'static str, String, Style),
    Heading(&'static str),
    Text(String),
}

fn lines(zoom: &Zoom, theme: Theme) -> Vec<Part> {
    let plain = theme.plain();
    let row = &zoom.row;
    let mut lines = vec![
        Part::Value("client", row.client.clone(), theme.strong()),
        Part::Value(
            "service",
            format!("{}, at {}/{}", row.service, row.listen, row.protocol),
            plain,
        ),
        Part::Value(
            "real server",
            format!("{}, from LIP {}", row.real, row.lip),
            plain,
        ),
        Part::Value(
            "state",
            format!(
                "{}, idle for {}, open for {}",
                row.state,
                span(row.idle_s),
                span(row.age_s)
            ),
            plain,
        ),
        Part::Value("worker", row.worker.to_string(), plain),
    ];
    if zoom.gone {
        let text = "it is gone: the daemon does not have it any more".to_owned();
        lines.push(Part::Value("", text, theme.warn()));
    }
    lines.push(Part::Heading("WHAT BECOMES OF ITS NEXT PACKET"));
    match &zoom.explained {
        None => lines.push(Part::Text(" asked, no answer yet".to_owned())),
        Some(Err(sentence)) => {
            let folded = crate::units::folded(sentence, 78);
            lines.extend(folded.iter().map(|line| Part::Text(format!(" {line}"))));
        }
        Some(Ok(rows)) => {
            let text = weir_control::explained(rows);
            lines.extend(text.lines().map(|line| Part::Text(line.to_owned())));
        }
    }
    lines
}

/// Returns how many lines the session that is looked at has.
pub(crate) fn length(model: &Model) -> usize {
    let zoom = model.sessions.zoom.as_ref();
    zoom.map_or(0, |zoom| lines(zoom, model.theme).len())
}

/// Returns how many are shown of how many.
pub(crate) fn status(model: &Model) -> String {
    if model.data.sessions.is_none() {
        return String::new();
    }
    let sessions = &model.sessions;
    if sessions.zoom.is_some() {
        return "one session; Enter asks anew about its next packet, Esc lists all".to_owned();
    }
    let order = sessions.sorting.words(sessions.sorting.by.name());
    let all = model.data.status.as_ref().map(|told| told.value.sessions);
    let of = match (&sessions.told_of.service, sessions.told_of.client) {
        (None, None) => String::new(),
        (Some(service), None) => format!(" of {service}"),
        (None, Some(client)) => format!(" of {client}"),
        (Some(service), Some(client)) => format!(" of {client} at {service}"),
    };
    let told = if sessions.is_cut() {
        let all = match all {
            Some(all) if of.is_empty() => format!(" of {}", crate::units::si(all)),
            Some(_) | None => String::new(),
        };
        format!(
            "the first {}{of}{all}, there are more: / narrows",
            exact(LIMIT)
        )
    } else {
        let all = if sessions.told > 1 { "all " } else { "" };
        format!("{all}{}{of}", plural(sessions.told as u64, "session"))
    };
    let shown = sessions.lines.len();
    let filter = if sessions.filter.is_empty() || shown == sessions.told {
        String::new()
    } else {
        format!("{} shown; ", exact(shown as u64))
    };
    format!("{filter}{told}; {order}")
}
