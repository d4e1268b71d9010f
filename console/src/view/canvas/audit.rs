//! Watches what is written: that nothing is written over something else, or cut without saying so.

use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
struct Watch {
    taken: BTreeSet<(u16, u16)>,
    faults: Vec<String>,
}

/// Returns what is wrong with what is drawn meanwhile.
pub(crate) fn during(draws: impl FnOnce()) -> Vec<String> {
    WATCH.with_borrow_mut(|watch| *watch = Some(Watch::default()));
    draws();
    let watch = WATCH.with_borrow_mut(Option::take);
    watch.unwrap_or_default().faults
}

/// A text is written at a place of the screen, of which so many characters have room.
pub(super) fn text(x: u16, y: u16, text: &str, room: usize) {
    with(|watch| {
        let begin = text.chars().take_while(|c| *c == ' ').count();
        let end = text.trim_end().chars().count();
        if end > room {
            watch.faults.push(format!("cut: `{text}` at {x},{y}"));
        }
        let places = (begin..end.min(room)).map(|at| (x + at as u16, y));
        let over = places.filter(|place| !watch.taken.insert(*place)).count();
        // A blank that is written over a letter takes it away as well.
        let blank = (0..begin.min(room)).chain(end..text.chars().count().min(room));
        let blanked = blank.filter(|at| watch.taken.contains(&(x + *at as u16, y)));
        if over + blanked.count() > 0 {
            watch.faults.push(format!("over: `{text}` at {x},{y}"));
        }
    });
}

/// A place is made blank, or part of a line that words may stand in.
pub(super) fn ground(x: u16, y: u16) {
    with(|watch| _ = watch.taken.remove(&(x, y)));
}

fn with(does: impl FnOnce(&mut Watch)) {
    WATCH.with_borrow_mut(|watch| watch.as_mut().map(does));
}
