//! The ports screen.

use weir_control::{Filter, What};

use crate::model::Model;
use crate::model::filter::{Order, TextFilter};
use crate::model::history::Graphing;
use crate::model::list::{Step, scroll};
use crate::update::screen::{Effects, Screen};
use crate::view::ports::length;

/// It shows ports, workers and the ledger.
pub(crate) struct Ports;

impl Screen for Ports {
    fn step(&self, model: &mut Model, step: Step) -> Effects {
        if model.ports.zoom.is_some() {
            let (length, height) = length(model);
            scroll(&mut model.ports.zoom_top, step, length, height);
        } else {
            model.ports.go(step, model.body_height());
        }
        Effects::new()
    }

    fn rebuild(&self, model: &mut Model) {
        let height = model.body_height();
        model.ports.rebuild(&model.data, height);
    }

    fn told(&self, model: &mut Model, what: What, _: &Filter) {
        let Model { ports, data, .. } = model;
        match (what, &data.ledger) {
            (What::Ledger, Some(told)) => ports.arrived_ledger(&told.value),
            (What::Ports | What::Workers, _) => {}
            _ => return,
        }
        self.rebuild(model);
    }

    fn filter<'a>(&self, model: &'a mut Model) -> Option<&'a mut TextFilter> {
        Some(&mut model.ports.filter)
    }

    fn sorting<'a>(&self, model: &'a mut Model) -> Option<&'a mut dyn Order> {
        Some(&mut model.ports.sorting)
    }

    fn graph<'a>(&self, model: &'a mut Model) -> Option<(&'a mut Graphing, bool)> {
        Some((&mut model.ports.graphing, false))
    }

    fn open(&self, model: &mut Model) -> Effects {
        if model.ports.zoom.is_none() {
            model.ports.open(&model.data);
        }
        Effects::new()
    }

    fn close(&self, model: &mut Model) -> bool {
        model.ports.zoom.take().is_some()
    }
}
