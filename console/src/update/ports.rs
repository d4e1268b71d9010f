//! Keys on the ports screen.

use weir_control::What;

use crate::keymap::Action;
use crate::model::services::TextFilter;
use crate::model::{Effect, Model};
use crate::update::services::step;

/// Does what a key means there.
pub(crate) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    let height = model.body_height();
    let Model { ports, data, .. } = model;
    if let Some(step) = step(action) {
        ports.go(step, height);
        return Vec::new();
    }
    match action {
        Action::Open => {
            if ports.zoom.is_none() {
                ports.open(data);
            }
        }
        Action::Back => {
            if ports.zoom.take().is_none() {
                ports.filter = TextFilter::default();
                ports.rebuild(data, height);
            }
        }
        Action::Sort => {
            ports.sort_next();
            ports.rebuild(data, height);
        }
        Action::ReverseSort => {
            ports.reverse = !ports.reverse;
            ports.rebuild(data, height);
        }
        Action::Span => ports.graphing.span = ports.graphing.span.next(),
        Action::Figure => ports.graphing.figure = ports.graphing.figure.next(false),
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
    let height = model.body_height();
    model.ports.filter = filter;
    model.ports.rebuild(&model.data, height);
}

/// Takes what the daemon said.
pub(crate) fn arrived(model: &mut Model, what: What) {
    let height = model.body_height();
    let Model { ports, data, .. } = model;
    if let (What::Ports, Some(told)) = (what, &data.ports) {
        ports.arrived_ports(&told.value, told.at);
    }
    if let (What::Workers, Some(told)) = (what, &data.workers) {
        ports.arrived_workers(&told.value, told.at);
    }
    if let (What::Ledger, Some(told)) = (what, &data.ledger) {
        ports.arrived_ledger(&told.value, told.at);
    }
    ports.rebuild(data, height);
}

/// Keeps the selection in sight.
pub(crate) fn refit(model: &mut Model) {
    let height = model.body_height();
    model.ports.rebuild(&model.data, height);
}
