//! Keys on the flood screen.

use crate::keymap::Action;
use crate::model::services::TextFilter;
use crate::model::{Effect, Model};
use crate::update::dialog;
use crate::update::services::step;

/// Does what a key means there.
pub(crate) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    let height = model.flood_height();
    let Model { flood, data, .. } = model;
    let rows = data.flood.as_ref().map_or(&[][..], |told| &told.value);
    if let Some(step) = step(action) {
        flood.go(step, rows, height);
        return Vec::new();
    }
    match action {
        Action::Open => flood.open(rows),
        Action::Back => {
            if flood.zoom.take().is_none() {
                flood.filter = TextFilter::default();
                flood.rebuild(rows, height);
            }
        }
        Action::Sort => {
            flood.sort_next();
            flood.rebuild(rows, height);
        }
        Action::ReverseSort => {
            flood.reverse = !flood.reverse;
            flood.rebuild(rows, height);
        }
        Action::Span => flood.graphing.span = flood.graphing.span.next(),
        Action::Figure => {
            flood.graphing.figure = flood.graphing.figure.next(flood.zoom.is_some());
        }
        Action::Synproxy => {
            let zoom = flood.zoom.as_ref();
            let zoomed = rows.iter().find(|row| Some(&row.service) == zoom);
            let row = zoomed.or_else(|| flood.at_cursor(rows));
            if let Some((service, mode)) = row.map(|row| (row.service.clone(), row.mode.clone())) {
                dialog::synproxy(model, &service, &mode);
            }
        }
        Action::Go(_)
        | Action::NextScreen
        | Action::PreviousScreen
        | Action::Up
        | Action::Down
        | Action::PageUp
        | Action::PageDown
        | Action::Top
        | Action::Bottom
        | Action::Fold
        | Action::Unfold
        | Action::FoldAll
        | Action::Filter
        | Action::InverseFilter
        | Action::Pause
        | Action::Faster
        | Action::Slower
        | Action::Redraw
        | Action::CommandLine
        | Action::Help
        | Action::Undo
        | Action::Leave
        | Action::Drain
        | Action::Enable
        | Action::Weight
        | Action::Part
        | Action::Edit
        | Action::Apply
        | Action::Confirm
        | Action::Rollback
        | Action::Discard
        | Action::Maintenance => {}
    }
    Vec::new()
}

/// Sets the filter.
pub(crate) fn filter(model: &mut Model, filter: TextFilter) {
    let height = model.flood_height();
    let Model { flood, data, .. } = model;
    flood.filter = filter;
    let rows = data.flood.as_ref().map_or(&[][..], |told| &told.value);
    flood.rebuild(rows, height);
}

/// Takes what the daemon said.
pub(crate) fn arrived(model: &mut Model) {
    let height = model.flood_height();
    let Model { flood, data, .. } = model;
    if let Some(told) = &data.flood {
        flood.arrived(&told.value, told.at, height);
    }
}

/// Keeps the selection in sight; what was told may be of one service only.
pub(crate) fn refit(model: &mut Model) {
    let filter = model.flood.filter.clone();
    self::filter(model, filter);
}
