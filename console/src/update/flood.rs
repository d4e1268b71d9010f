//! The flood screen.

use weir_control::{Filter, FloodRow, What};

use crate::model::Model;
use crate::model::dialog::Choice;
use crate::model::filter::{Order, TextFilter};
use crate::model::flood::percent;
use crate::model::history::Graphing;
use crate::model::list::Step;
use crate::units::si;
use crate::update::dialog::defence;
use crate::update::screen::{Effects, Screen};

/// How many prefixes a question has.
const CHOICES: usize = 5;

/// It shows what becomes of SYNs.
pub(crate) struct Flood;

impl Screen for Flood {
    fn step(&self, model: &mut Model, step: Step) -> Effects {
        let height = model.flood_height();
        let Model { flood, data, .. } = model;
        flood.go(step, data.flood(), height);
        Effects::new()
    }

    fn rebuild(&self, model: &mut Model) {
        let height = model.flood_height();
        let Model { flood, data, .. } = model;
        flood.rebuild(data.flood(), height);
    }

    fn told(&self, model: &mut Model, what: What, filter: &Filter) {
        let height = model.flood_height();
        let Model { flood, data, .. } = model;
        // Of one service only, it is for its details.
        let is_of_all = filter.service.is_none();
        if let (What::Flood, true, Some(told)) = (what, is_of_all, &data.flood) {
            flood.arrived(&told.value, height);
        }
    }

    fn filter<'a>(&self, model: &'a mut Model) -> Option<&'a mut TextFilter> {
        Some(&mut model.flood.filter)
    }

    fn sorting<'a>(&self, model: &'a mut Model) -> Option<&'a mut dyn Order> {
        Some(&mut model.flood.sorting)
    }

    fn graph<'a>(&self, model: &'a mut Model) -> Option<(&'a mut Graphing, bool)> {
        let of_service = model.flood.zoom.is_some();
        Some((&mut model.flood.graphing, of_service))
    }

    fn open(&self, model: &mut Model) -> Effects {
        let Model { flood, data, .. } = model;
        flood.open(data.flood());
        Effects::new()
    }

    fn close(&self, model: &mut Model) -> bool {
        model.flood.zoom.take().is_some()
    }

    fn synproxy(&self, model: &mut Model) {
        let row = chosen(model).map(|row| (row.service.clone(), row.mode.clone()));
        if let Some((service, mode)) = row {
            defence::synproxy(model, &service, &mode);
        }
    }

    fn deny(&self, model: &mut Model) {
        let Some(row) = chosen(model) else {
            return;
        };
        let choices = row.top_sources.iter().map(|source| Choice {
            network: source.prefix.clone(),
            cost: format!(
                "{:>5} SYN/s, {:.0}% of {}",
                si(source.syn_per_s),
                percent(source.syn_per_s, row.syn_per_s),
                row.service
            ),
        });
        let choices = choices.take(CHOICES).collect();
        defence::deny(model, choices);
    }

    fn capture(&self, model: &mut Model) {
        let service = chosen(model).map(|row| row.service.clone());
        defence::capture(model, service, None);
    }
}

/// Returns what keys act on: what is looked at closely, or else what is selected.
fn chosen(model: &Model) -> Option<&FloodRow> {
    let rows = model.data.flood();
    let zoom = model.flood.zoom.as_ref();
    let zoomed = rows.iter().find(|row| Some(&row.service) == zoom);
    zoomed.or_else(|| model.flood.at_cursor(rows))
}
