//! Keys on the pools screen.

use crate::keymap::Action;
use crate::model::services::TextFilter;
use crate::model::{Effect, Model};
use crate::update::services::step;

/// Does what a key means there.
pub(crate) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    let height = model.pools_height();
    let Model { pools, data, .. } = model;
    let rows = data.pools.as_ref().map_or(&[][..], |told| &told.value);
    if let Some(step) = step(action) {
        pools.go(step, rows, height);
        return Vec::new();
    }
    match action {
        Action::Open => {
            if pools.zoom.is_none() {
                pools.zoom = pools.at_cursor(rows);
                pools.zoom_top = 0;
            }
        }
        Action::Back => {
            if pools.zoom.take().is_none() {
                pools.filter = TextFilter::default();
                pools.rebuild(rows, height);
            }
        }
        Action::Sort => {
            pools.sort_next();
            pools.rebuild(rows, height);
        }
        Action::ReverseSort => {
            pools.reverse = !pools.reverse;
            pools.rebuild(rows, height);
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
        | Action::Span
        | Action::Figure
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
        | Action::Synproxy
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
    let height = model.pools_height();
    let Model { pools, data, .. } = model;
    pools.filter = filter;
    let rows = data.pools.as_ref().map_or(&[][..], |told| &told.value);
    pools.rebuild(rows, height);
}

/// Takes what the daemon said.
pub(crate) fn arrived(model: &mut Model) {
    let height = model.pools_height();
    let Model { pools, data, .. } = model;
    if let Some(told) = &data.pools {
        pools.arrived(&told.value, told.at, height);
    }
}

/// Keeps the selection in sight.
pub(crate) fn refit(model: &mut Model) {
    let height = model.pools_height();
    let length = model.pools.lines.len();
    model.pools.cursor.fit(length, height);
}
