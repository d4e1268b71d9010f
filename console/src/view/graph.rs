//! Graphs of the history: a title with the unit and the peak, a scale, bars, and times.

use weir_control::HistoryRow;

use crate::model::history::{Figure, Span};
use crate::theme::Theme;
use crate::units::{rate, si, time_of_day, unix, whole};
use crate::view::canvas::{Align, Canvas};

/// The scale: five characters, a blank and the line.
const SCALE: u16 = 7;
/// From least to most of a cell.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const LETTERS: [char; 3] = ['.', ':', '#'];

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Graph<'a> {
    /// The oldest first.
    pub(crate) rows: &'a [HistoryRow],
    pub(crate) figure: Figure,
    pub(crate) span: Span,
    /// Whose it is.
    pub(crate) of: &'a str,
    /// When something began, in seconds since 1970, and what.
    pub(crate) mark: Option<(u64, &'a str)>,
}

/// The points in columns.
#[derive(Debug, PartialEq)]
struct Columns {
    /// How long one is, in milliseconds.
    per_ms: u64,
    /// The most of each; none where there is no point.
    values: Vec<Option<f64>>,
    /// The number of the youngest, counted from 1970.
    last: u64,
    /// Whether the youngest moves from left to right over older ones.
    sweeps: bool,
}

impl Columns {
    /// Sorts points of `(time, value)` into at most so many columns.
    fn of(points: &[(u64, f64)], step_s: u64, span: Span, width: usize, sweeps: bool) -> Self {
        let width = width.max(1) as u64;
        // Columns begin at times that do not depend on now: a value does not move to and fro.
        let per_ms = (span.seconds() * 1000).div_ceil(width).max(step_s * 1000);
        let count = (span.seconds() * 1000).div_ceil(per_ms);
        let last = points.last().map_or(0, |(at, _)| number(*at, per_ms));
        let mut columns = Self {
            per_ms,
            values: vec![None; count as usize],
            last,
            sweeps,
        };
        for (at, value) in points {
            if let Some(place) = columns.place(*at)
                && let Some(column) = columns.values.get_mut(place)
            {
                *column = Some(column.unwrap_or_default().max(*value));
            }
        }
        columns
    }

    /// Returns the column of a time; none where it is not shown.
    fn place(&self, at: u64) -> Option<usize> {
        let count = self.values.len() as u64;
        let ago = self.last.checked_sub(number(at, self.per_ms))?;
        // A swept graph has a gap before its oldest column.
        let shown = if self.sweeps {
            count.saturating_sub(1)
        } else {
            count
        };
        if ago >= shown {
            return None;
        }
        let place = if self.sweeps {
            number(at, self.per_ms) % count
        } else {
            count - 1 - ago
        };
        Some(place as usize)
    }

    /// Returns where the youngest is.
    fn youngest(&self) -> usize {
        let count = self.values.len().max(1);
        if self.sweeps {
            (self.last % count as u64) as usize
        } else {
            count - 1
        }
    }

    /// Returns when the leftmost column begins, in seconds since 1970.
    fn begin(&self) -> u64 {
        let youngest = self.youngest() as u64;
        self.last.saturating_sub(youngest) * self.per_ms / 1000
    }
}

/// The number of the column that a time belongs to; a point's time is its end.
fn number(at: u64, per_ms: u64) -> u64 {
    (at.saturating_sub(1) * 1000)
        .checked_div(per_ms)
        .unwrap_or(0)
}

/// Draws it as large as the canvas: at least a title, a line and the times.
pub(crate) fn draw(graph: &Graph<'_>, theme: Theme, canvas: &mut Canvas<'_>) {
    let points: Vec<(u64, f64)> = graph
        .rows
        .iter()
        .filter_map(|row| Some((unix(&row.at)?, graph.figure.of(row))))
        .collect();
    let step_s = graph.rows.last().map_or(1, |row| row.step_s.max(1));
    let width = usize::from(canvas.width().saturating_sub(SCALE + 1));
    let columns = Columns::of(&points, step_s, graph.span, width, theme.sweeps);
    let peak = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    title(graph, &points, peak, theme, canvas);
    let bars = canvas.height().saturating_sub(2);
    let top = ceiling(peak);
    for y in 0..bars {
        let label = match y {
            0 => si(top),
            // The middle of the scale is the upper edge of a line only where lines are even.
            _ if y * 2 == bars && top.is_multiple_of(2) => si(top / 2),
            _ => String::new(),
        };
        canvas.cell((0, y + 1), SCALE - 2, Align::Right, &label, theme.plain());
        canvas.put(SCALE - 1, y + 1, upright(theme), theme.dim());
    }
    let glyphs: &[char] = if theme.utf8 { &BLOCKS } else { &LETTERS };
    for (x, value) in columns.values.iter().enumerate() {
        let Some(value) = value else {
            continue;
        };
        bar(
            *value / top as f64,
            bars,
            SCALE + x as u16,
            glyphs,
            theme,
            canvas,
        );
    }
    if !points.is_empty() {
        axis(graph, &columns, &points, theme, canvas);
    }
}

fn title(
    graph: &Graph<'_>,
    points: &[(u64, f64)],
    peak: f64,
    theme: Theme,
    canvas: &mut Canvas<'_>,
) {
    canvas.style(0, 0, canvas.width(), theme.heading());
    let name = graph.figure.name();
    let mut x = canvas.put(1, 0, &format!("{name} of {}", graph.of), theme.heading());
    let text = match points {
        [] => "  no history yet".to_owned(),
        [_, ..] => format!("  peak {}", rate(peak)),
    };
    x = canvas.put(x, 0, &text, theme.heading());
    let text = format!("last {} ", graph.span.name());
    if usize::from(x) + text.len() < usize::from(canvas.width()) {
        canvas.put_before(canvas.width(), 0, &text, theme.heading());
    }
}

fn bar(share: f64, bars: u16, x: u16, glyphs: &[char], theme: Theme, canvas: &mut Canvas<'_>) {
    let each = glyphs.len() as u64;
    let most = u64::from(bars) * each;
    let mut level = whole(share * most as f64).min(most);
    // What is above nought is seen.
    if level == 0 && share > 0.0 {
        level = 1;
    }
    for y in 0..bars {
        let below = u64::from(bars - 1 - y) * each;
        let Some(place) = level.saturating_sub(below).min(each).checked_sub(1) else {
            continue;
        };
        if let Some(glyph) = glyphs.get(place as usize) {
            canvas.put(x, y + 1, glyph.encode_utf8(&mut [0; 4]), theme.graph());
        }
    }
}

/// The line below: nought, when the leftmost column begins, when something began, and until when.
fn axis(
    graph: &Graph<'_>,
    columns: &Columns,
    points: &[(u64, f64)],
    theme: Theme,
    canvas: &mut Canvas<'_>,
) {
    let y = canvas.height().saturating_sub(1);
    canvas.cell((0, y), SCALE - 2, Align::Right, "0", theme.plain());
    let count = columns.values.len() as u16;
    let line = if theme.utf8 { '─' } else { '-' };
    canvas.put(
        SCALE - 1,
        y,
        if theme.utf8 { "└" } else { "+" },
        theme.dim(),
    );
    canvas.run(SCALE, y, count, line, theme.dim());
    let until = points.last().map_or(0, |(at, _)| *at);
    // Days need no seconds; ten minutes do.
    let clock = |at: u64| {
        let mut text = time_of_day(at);
        if graph.span != Span::TenMinutes {
            text.truncate(5);
        }
        text
    };
    let (begin, end) = (clock(columns.begin()), clock(until));
    let length = end.len() as u16;
    let youngest = columns.youngest() as u16;
    let from = if youngest + 1 + length < count {
        // Beside the youngest, in what is about to be written over.
        let text = format!("<{end}");
        canvas.put(SCALE + youngest + 1, y, &text, theme.strong());
        youngest + 1
    } else {
        let from = (youngest + 1).saturating_sub(length);
        canvas.put(SCALE + from, y, &end, theme.strong());
        from
    };
    let free = begin.len() as u16 + 1 < from;
    // Where a swept graph ends on the right, it goes on at the left.
    let right = count.saturating_sub(begin.len() as u16);
    if free {
        canvas.put(SCALE, y, &begin, theme.plain());
    } else if right > from + length + 1 {
        canvas.put(SCALE + right, y, &begin, theme.plain());
    }
    if let Some((at, what)) = graph.mark
        && let Some(place) = columns.place(at)
    {
        let place = place as u16;
        let behind = if free { begin.len() as u16 } else { 0 };
        let end = place + what.len() as u16;
        if place > behind && (end < from || place > from + length + 1) && end < right {
            canvas.put(SCALE + place, y, what, theme.warn());
        }
    }
}

fn upright(theme: Theme) -> &'static str {
    if theme.utf8 { "│" } else { "|" }
}

/// Returns the next round number: the end of the scale.
fn ceiling(peak: f64) -> u64 {
    let peak = peak.ceil().max(1.0);
    let mut power = 1u64;
    while power as f64 * 10.0 < peak && power < 1_000_000_000_000_000_000 {
        power *= 10;
    }
    let steps = [1, 2, 3, 4, 5, 6, 8, 10].map(|step| power.saturating_mul(step));
    let mut steps = steps.into_iter();
    steps.find(|top| *top as f64 >= peak).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;

    use super::*;
    use crate::term::profile::Colour;

    const ASCII: Theme = Theme {
        colour: Colour::Mono,
        utf8: false,
        sweeps: false,
    };

    fn rows(count: u64, value: impl Fn(u64) -> f64) -> Vec<HistoryRow> {
        let row = |n: u64| HistoryRow {
            at: format!("2026-11-22T{}Z", time_of_day(36_000 + n)),
            step_s: 1,
            syn_per_s: value(n),
            ..HistoryRow::default()
        };
        (1..=count).map(row).collect()
    }

    fn picture(rows: &[HistoryRow], theme: Theme, (width, height): (u16, u16)) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let mut canvas = Canvas::new(&mut buffer, Rect::new(0, 0, width, height));
        let graph = Graph {
            rows,
            figure: Figure::Syns,
            span: Span::TenMinutes,
            of: "web",
            mark: None,
        };
        draw(&graph, theme, &mut canvas);
        let line = |y| {
            let cells = (0..width).filter_map(|x| buffer.cell((x, y)));
            let line: String = cells.map(ratatui::buffer::Cell::symbol).collect();
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_graph_has_a_scale_a_peak_and_the_times_of_its_ends() {
        let rows = rows(600, |n| if n > 300 { 4000.0 } else { 0.0 });
        let expected = "
 SYN/s of web  peak 4000                            last 10 minutes
 4000 |                              ##############################
      |                              ##############################
 2000 |                              ##############################
      |                              ##############################
    0 +10:00:00--------------------------------------------10:10:00";
        assert_eq!(format!("\n{}", picture(&rows, ASCII, (68, 6))), expected);
    }

    #[test]
    fn a_swept_graph_changes_where_it_is_written_only() {
        let theme = Theme {
            sweeps: true,
            ..ASCII
        };
        let before = picture(&rows(595, |n| (n % 70) as f64), theme, (68, 6));
        let after = picture(&rows(604, |n| (n % 70) as f64), theme, (68, 6));
        for (before, after) in before.lines().zip(after.lines()).skip(1).take(4) {
            let pairs = before.chars().zip(after.chars());
            let differing = pairs.filter(|(a, b)| a != b).count();
            assert!(differing <= 3, "{before}\n{after}");
        }
    }

    #[test]
    fn whatever_is_not_nought_is_seen_and_the_end_of_the_scale_is_round() {
        let text = picture(
            &rows(600, |n| if n == 9 { 1e6 } else { 0.1 }),
            ASCII,
            (40, 5),
        );
        assert!(text.lines().nth(3).unwrap().ends_with(".."), "{text}");
        assert_eq!(
            [0.0, 0.4, 7.0, 10.0, 11.0, 3_890_000.0].map(ceiling),
            [1, 1, 8, 10, 20, 4_000_000]
        );
    }

    #[test]
    fn a_graph_without_points_or_without_room_says_so_and_does_not_fail() {
        assert!(picture(&[], ASCII, (60, 6)).contains("no history yet"));
        for size in [(1, 1), (8, 2), (9, 3), (300, 60)] {
            picture(&rows(20, |n| n as f64), ASCII, size);
        }
    }
}
