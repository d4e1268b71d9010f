//! Keys on the services screen.

use weir_control::{ServiceRealRow, ServiceRow};

use crate::keymap::Action;
use crate::model::list::Step;
use crate::model::services::{Name, TextFilter};
use crate::model::{Effect, Model, Tone};
use crate::update::dialog;

/// Does what a key means there.
pub(crate) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    if let Some(step) = step(action) {
        go(model, step);
        return Vec::new();
    }
    match action {
        Action::Open => open(model),
        Action::Back => back(model),
        Action::Fold => fold(model, true),
        Action::Unfold => fold(model, false),
        Action::FoldAll => {
            let height = model.list_height();
            if let Some(told) = &model.data.services {
                model.services.fold_all(&told.value, height);
            }
        }
        Action::Sort => {
            model.services.sort_next();
            rebuild(model);
        }
        Action::ReverseSort => {
            model.services.reverse = !model.services.reverse;
            rebuild(model);
        }
        Action::Drain => return with_real(model, "drain", dialog::drain),
        Action::Enable => return with_real(model, "enable", dialog::enable),
        Action::Weight => return with_real(model, "weight", dialog::weight),
        Action::Synproxy => {
            let service = chosen(model).and_then(|name| service_of(model, &name.service));
            if let Some(service) = service.cloned() {
                dialog::synproxy(model, &service.name, &service.synproxy.mode);
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

/// Returns how far an action goes, where it is one that goes.
pub(crate) fn step(action: Action) -> Option<Step> {
    Some(match action {
        Action::Up => Step::Up,
        Action::Down => Step::Down,
        Action::PageUp => Step::PageUp,
        Action::PageDown => Step::PageDown,
        Action::Top => Step::Top,
        Action::Bottom => Step::Bottom,
        Action::Go(_)
        | Action::NextScreen
        | Action::PreviousScreen
        | Action::Open
        | Action::Back
        | Action::Fold
        | Action::Unfold
        | Action::FoldAll
        | Action::Span
        | Action::Figure
        | Action::Sort
        | Action::ReverseSort
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
        | Action::Maintenance => return None,
    })
}

/// Sets the filter.
pub(crate) fn filter(model: &mut Model, filter: TextFilter) {
    model.services.filter = filter;
    rebuild(model);
}

fn rebuild(model: &mut Model) {
    let height = model.list_height();
    if let Some(told) = &model.data.services {
        model.services.rebuild(&told.value, height);
    }
}

fn go(model: &mut Model, step: Step) {
    let height = model.list_height();
    if model.services.zoom.is_some() {
        let top = &mut model.services.zoom_top;
        let page = height.max(1);
        *top = match step {
            Step::Up => top.saturating_sub(1),
            Step::Down => *top + 1,
            Step::PageUp => top.saturating_sub(page),
            Step::PageDown => *top + page,
            Step::Top => 0,
            Step::Bottom => usize::MAX / 2,
        };
        return;
    }
    if let Some(told) = &model.data.services {
        model.services.go(step, &told.value, height);
    }
}

fn open(model: &mut Model) {
    if model.services.zoom.is_none() {
        model.services.zoom = chosen(model);
        model.services.zoom_top = 0;
    }
}

/// From the details to the list, and from a filtered list to all of it.
fn back(model: &mut Model) {
    if model.services.zoom.take().is_none() && !model.services.filter.text.is_empty() {
        filter(model, TextFilter::default());
    }
}

fn fold(model: &mut Model, fold: bool) {
    let height = model.list_height();
    if let Some(told) = &model.data.services {
        model.services.fold(fold, &told.value, height);
    }
}

/// Returns what keys act on: what is looked at closely, or else what is selected.
fn chosen(model: &Model) -> Option<Name> {
    let told = model.data.services.as_ref()?;
    let zoom = model.services.zoom.clone();
    zoom.or_else(|| model.services.selected(&told.value))
}

/// Returns a service by its name.
pub(crate) fn service_of<'a>(model: &'a Model, name: &str) -> Option<&'a ServiceRow> {
    let told = model.data.services.as_ref()?;
    told.value.iter().find(|row| row.name == name)
}

/// Returns a real server by its name.
pub(crate) fn real_of<'a>(
    model: &'a Model,
    name: &Name,
) -> Option<(&'a ServiceRow, &'a ServiceRealRow)> {
    let service = service_of(model, &name.service)?;
    let address = name.real.as_ref()?;
    let real = service.reals.iter().find(|real| real.address == *address)?;
    Some((service, real))
}

type WithReal = fn(&mut Model, &ServiceRow, &ServiceRealRow) -> Vec<Effect>;

fn with_real(model: &mut Model, verb: &str, then: WithReal) -> Vec<Effect> {
    let Some(name) = chosen(model) else {
        return Vec::new();
    };
    let found = real_of(model, &name).map(|(service, real)| (service.clone(), real.clone()));
    let Some((service, real)) = found else {
        let text = format!(
            "{verb} acts on a real server: select one below {}",
            name.service
        );
        model.say(Tone::Warn, text);
        return Vec::new();
    };
    if real.state == "sorry" {
        model.say(
            Tone::Warn,
            "a sorry server has no weight and is not drained",
        );
        return Vec::new();
    }
    then(model, &service, &real)
}
