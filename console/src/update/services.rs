//! The services screen.

use weir_control::{Filter, ServiceRealRow, ServiceRow, What};

use crate::model::filter::{Order, TextFilter};
use crate::model::list::{Step, scroll};
use crate::model::services::Name;
use crate::model::{Model, Tone};
use crate::update::dialog::{defence, real};
use crate::update::screen::{Effects, Screen};
use crate::view::services::details;

/// It shows services with their real servers.
pub(crate) struct Services;

impl Screen for Services {
    fn step(&self, model: &mut Model, step: Step) -> Effects {
        if model.services.zoom.is_some() {
            let (length, height) = (details::length(model), model.body_height());
            scroll(&mut model.services.zoom_top, step, length, height);
            return Effects::new();
        }
        let height = model.list_height();
        if let Some(told) = &model.data.services {
            model.services.go(step, &told.value, height);
        }
        Effects::new()
    }

    fn rebuild(&self, model: &mut Model) {
        let height = model.list_height();
        if let Some(told) = &model.data.services {
            model.services.rebuild(&told.value, height);
        }
    }

    fn told(&self, model: &mut Model, what: What, filter: &Filter) {
        let height = model.list_height();
        if what == What::Services
            && let Some(now) = &model.data.services
        {
            model.services.arrived(&now.value, filter, height);
        }
    }

    fn filter<'a>(&self, model: &'a mut Model) -> Option<&'a mut TextFilter> {
        Some(&mut model.services.filter)
    }

    fn sorting<'a>(&self, model: &'a mut Model) -> Option<&'a mut dyn Order> {
        Some(&mut model.services.sorting)
    }

    fn open(&self, model: &mut Model) -> Effects {
        if model.services.zoom.is_none() {
            model.services.zoom = chosen(model);
            model.services.zoom_top = 0;
        }
        Effects::new()
    }

    fn close(&self, model: &mut Model) -> bool {
        model.services.zoom.take().is_some()
    }

    fn fold(&self, model: &mut Model, fold: bool) {
        let height = model.list_height();
        if let Some(told) = &model.data.services {
            model.services.fold(fold, &told.value, height);
        }
    }

    fn fold_all(&self, model: &mut Model) {
        let height = model.list_height();
        if let Some(told) = &model.data.services {
            model.services.fold_all(&told.value, height);
        }
    }

    fn drain(&self, model: &mut Model) -> Effects {
        with_real(model, "drain", real::drain)
    }

    fn enable(&self, model: &mut Model) -> Effects {
        with_real(model, "enable", real::enable)
    }

    fn weight(&self, model: &mut Model) -> Effects {
        with_real(model, "weight", real::weight)
    }

    fn synproxy(&self, model: &mut Model) {
        let service = chosen(model).and_then(|name| model.data.service(&name.service));
        if let Some(service) = service.cloned() {
            defence::synproxy(model, &service.name, &service.synproxy.mode);
        }
    }

    fn capture(&self, model: &mut Model) {
        if let Some(name) = chosen(model) {
            defence::capture(model, Some(name.service), None);
        }
    }
}

/// Returns what keys act on: what is looked at closely, or else what is selected.
fn chosen(model: &Model) -> Option<Name> {
    let told = model.data.services.as_ref()?;
    let zoom = model.services.zoom.clone();
    zoom.or_else(|| model.services.selected(&told.value))
}

type WithReal = fn(&mut Model, &ServiceRow, &ServiceRealRow) -> Effects;

fn with_real(model: &mut Model, verb: &str, then: WithReal) -> Effects {
    let Some(name) = chosen(model) else {
        return Effects::new();
    };
    let found = model.data.real(&name);
    let found = found.map(|(service, real)| (service.clone(), real.clone()));
    let Some((service, real)) = found else {
        let text = format!(
            "{verb} acts on a real server: select one below {}",
            name.service
        );
        model.say(Tone::Warn, text);
        return Effects::new();
    };
    if real.state == "sorry" {
        model.say(
            Tone::Warn,
            "a sorry server has no weight and is not drained",
        );
        return Effects::new();
    }
    then(model, &service, &real)
}
