//! The pools screen.

use weir_control::{Filter, What};

use crate::model::Model;
use crate::model::filter::{Order, TextFilter};
use crate::model::list::{Step, scroll};
use crate::update::screen::{Effects, Screen};
use crate::view::pools::length;

/// It shows LIP pools with the real servers that they reach.
pub(crate) struct Pools;

impl Screen for Pools {
    fn step(&self, model: &mut Model, step: Step) -> Effects {
        let height = model.pools_height();
        if model.pools.zoom.is_some() {
            let length = length(model);
            scroll(&mut model.pools.zoom_top, step, length, height + 1);
            return Effects::new();
        }
        let Model { pools, data, .. } = model;
        pools.go(step, data.pools(), height);
        Effects::new()
    }

    fn rebuild(&self, model: &mut Model) {
        let height = model.pools_height();
        let Model { pools, data, .. } = model;
        pools.rebuild(data.pools(), height);
    }

    fn told(&self, model: &mut Model, what: What, _: &Filter) {
        let height = model.pools_height();
        let Model { pools, data, .. } = model;
        if let (What::Pools, Some(told)) = (what, &data.pools) {
            pools.arrived(&told.value, told.at, height);
        }
    }

    fn filter<'a>(&self, model: &'a mut Model) -> Option<&'a mut TextFilter> {
        Some(&mut model.pools.filter)
    }

    fn sorting<'a>(&self, model: &'a mut Model) -> Option<&'a mut dyn Order> {
        Some(&mut model.pools.sorting)
    }

    fn open(&self, model: &mut Model) -> Effects {
        let Model { pools, data, .. } = model;
        if pools.zoom.is_none() {
            pools.zoom = pools.at_cursor(data.pools());
            pools.zoom_top = 0;
        }
        Effects::new()
    }

    fn close(&self, model: &mut Model) -> bool {
        model.pools.zoom.take().is_some()
    }
}
