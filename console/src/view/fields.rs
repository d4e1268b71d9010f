//! A line of fields. Where there is no room for all, those that are needed least are left out whole:
//! nothing is written over something else, and no word ends in the middle.

use ratatui::style::Style;

use crate::view::canvas::Canvas;
use crate::view::header::cut;

/// What is left over is filled with a text only where this much of it is seen.
const LEAST_SEEN: usize = 8;

/// A field: what it says, from short to long.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    forms: Vec<(u8, String)>,
    style: Style,
    /// Where there is room left over, it goes on with as much of this as fits.
    more: Option<String>,
    is_right: bool,
}

impl Field {
    /// Makes a field. The rank says how little it would be missed: nought is needed most.
    pub(crate) fn new(rank: u8, text: impl Into<String>, style: Style) -> Self {
        Self {
            forms: vec![(rank, text.into())],
            style,
            more: None,
            is_right: false,
        }
    }

    /// Says it at more length where there is room, which is needed as much as this rank.
    pub(crate) fn or(mut self, rank: u8, text: impl Into<String>) -> Self {
        self.forms.push((rank, text.into()));
        self
    }

    /// Says instead as much of a long text as fits where all others are.
    pub(crate) fn filled(mut self, text: impl Into<String>) -> Self {
        self.more = Some(text.into());
        self
    }

    /// Stands at the right end of the line.
    pub(crate) fn right(mut self) -> Self {
        self.is_right = true;
        self
    }
}

/// Draws fields on a line, as far as they fit with so many blanks between them.
pub(crate) fn draw(fields: &[Field], y: u16, gap: u16, canvas: &mut Canvas<'_>) {
    let room = usize::from(canvas.width());
    let shown = fitting(fields, usize::from(gap), room);
    let mut x = 0;
    let all = || fields.iter().zip(&shown);
    for (field, text) in all().filter(|(field, _)| !field.is_right) {
        if let Some(text) = text {
            x = canvas.put(x, y, text, field.style) + gap;
        }
    }
    let mut end = canvas.width();
    for (field, text) in all().rev().filter(|(field, _)| field.is_right) {
        if let Some(text) = text {
            let begin = canvas.put_before(end, y, text, field.style);
            end = begin.saturating_sub(gap);
        }
    }
}

/// Returns what each field says, none where it is left out.
fn fitting(fields: &[Field], gap: usize, room: usize) -> Vec<Option<String>> {
    let forms = |place: usize, field: &Field| {
        let forms = field.forms.iter();
        let forms = forms.map(move |(rank, text)| (*rank, place, text.clone()));
        forms.collect::<Vec<_>>()
    };
    let fields_placed = fields.iter().enumerate();
    let mut steps: Vec<_> = fields_placed.flat_map(|(at, it)| forms(at, it)).collect();
    steps.sort_by_key(|(rank, ..)| *rank);
    let mut shown = vec![None; fields.len()];
    for (_, place, text) in steps {
        let mut next = shown.clone();
        if let Some(one) = next.get_mut(place) {
            *one = Some(text);
        }
        // What would be missed less is not shown in the place of what was left out.
        if width(&next, gap) > room {
            break;
        }
        shown = next;
    }
    let left = room.saturating_sub(width(&shown, gap));
    let mut pairs = fields.iter().zip(&mut shown);
    let filled = pairs.find_map(|(field, text)| Some((field.more.as_ref()?, text.as_mut()?)));
    if let Some((more, text)) = filled
        && left >= LEAST_SEEN.min(more.chars().count())
    {
        *text = cut(more, text.chars().count() + left);
    }
    shown
}

/// Returns how wide they are with the gaps between them.
fn width(shown: &[Option<String>], gap: usize) -> usize {
    let texts = shown.iter().flatten();
    let all = texts.map(|text| text.chars().count() + gap);
    all.sum::<usize>().saturating_sub(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &[Field], room: usize) -> String {
        let shown = fitting(fields, 2, room);
        shown.into_iter().flatten().collect::<Vec<_>>().join("  ")
    }

    #[test]
    fn fields_are_left_out_in_the_order_of_their_ranks() {
        let plain = Style::new();
        let fields = [
            Field::new(2, "lb1", plain).or(4, "lb1.dc2.example"),
            Field::new(0, "3 ALARMS !", plain),
            Field::new(1, "viewer", plain).or(3, "viewer anna"),
        ];
        for (room, text) in [
            (9, ""),
            (10, "3 ALARMS !"),
            (17, "3 ALARMS !"),
            (18, "3 ALARMS !  viewer"),
            (22, "3 ALARMS !  viewer"),
            (23, "lb1  3 ALARMS !  viewer"),
            (28, "lb1  3 ALARMS !  viewer anna"),
            (40, "lb1.dc2.example  3 ALARMS !  viewer anna"),
        ] {
            assert_eq!(line(&fields, room), text, "{room}");
        }
    }

    #[test]
    fn what_is_left_over_is_filled_behind_whole_words() {
        let plain = Style::new();
        let why = "NOT CONNECTED: nobody listens there";
        let fields = [
            Field::new(0, "NOT CONNECTED", plain).filled(why),
            Field::new(1, "12:04", plain),
        ];
        assert_eq!(line(&fields, 24), "NOT CONNECTED  12:04");
        assert_eq!(line(&fields, 34), "NOT CONNECTED: nobody ~  12:04");
        assert_eq!(line(&fields, 60), format!("{why}  12:04"));
    }
}
