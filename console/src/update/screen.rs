//! What the screens do: each says what it has, and there is one place that asks them.

use weir_control::{Filter, What};

use crate::keymap::Verb;
use crate::model::filter::{Order, TextFilter};
use crate::model::history::Graphing;
use crate::model::list::Step;
use crate::model::screen::ScreenId;
use crate::model::{Effect, Model};
use crate::update::config::Config;
use crate::update::events::Events;
use crate::update::flood::Flood;
use crate::update::pools::Pools;
use crate::update::ports::Ports;
use crate::update::services::Services;
use crate::update::sessions::Sessions;

/// What is to be done outside.
pub(crate) type Effects = Vec<Effect>;

/// A screen: what it does not have does nothing.
pub(crate) trait Screen {
    /// Goes up or down.
    fn step(&self, model: &mut Model, step: Step) -> Effects;

    /// Makes its lines anew, with what is selected in sight.
    fn rebuild(&self, model: &mut Model);

    /// Takes that the daemon told something; the data has it already.
    fn told(&self, _model: &mut Model, _what: What, _filter: &Filter) {}

    /// Its filter.
    fn filter<'a>(&self, _model: &'a mut Model) -> Option<&'a mut TextFilter> {
        None
    }

    /// Takes that a filter is typed to its end.
    fn settle(&self, _model: &mut Model) {}

    /// What its lines are sorted by.
    fn sorting<'a>(&self, _model: &'a mut Model) -> Option<&'a mut dyn Order> {
        None
    }

    /// Its graph, and whether that is of a service.
    fn graph<'a>(&self, _model: &'a mut Model) -> Option<(&'a mut Graphing, bool)> {
        None
    }

    /// Opens what is selected.
    fn open(&self, _model: &mut Model) -> Effects {
        Effects::new()
    }

    /// Goes back from what is looked at; says whether something was.
    fn close(&self, _model: &mut Model) -> bool {
        false
    }

    /// Hides what belongs to the selected line, or shows it.
    fn fold(&self, _model: &mut Model, _fold: bool) {}

    /// Hides what belongs to lines, or shows it.
    fn fold_all(&self, _model: &mut Model) {}

    /// Gives a real server no new sessions.
    fn drain(&self, _model: &mut Model) -> Effects {
        Effects::new()
    }

    /// Gives a real server new sessions again.
    fn enable(&self, _model: &mut Model) -> Effects {
        Effects::new()
    }

    /// Weighs a real server.
    fn weight(&self, _model: &mut Model) -> Effects {
        Effects::new()
    }

    /// Sets when a service answers SYNs with cookies.
    fn synproxy(&self, _model: &mut Model) {}

    /// Drops the packets of a prefix.
    fn deny(&self, _model: &mut Model) {}

    /// Copies frames into a file.
    fn capture(&self, _model: &mut Model) {}

    /// Shows the next part.
    fn part(&self, _model: &mut Model) {}

    /// Opens the editor.
    fn edit(&self, _model: &mut Model) {}

    /// Tries the candidate.
    fn apply(&self, _model: &mut Model) {}

    /// Keeps what runs on trial.
    fn confirm(&self, _model: &mut Model) -> Effects {
        Effects::new()
    }

    /// Brings a configuration back.
    fn rollback(&self, _model: &mut Model) {}

    /// Throws the candidate away.
    fn discard(&self, _model: &mut Model) {}
}

/// Returns what a screen does.
pub(crate) fn of(screen: ScreenId) -> &'static dyn Screen {
    match screen {
        ScreenId::Services => &Services,
        ScreenId::Pools => &Pools,
        ScreenId::Flood => &Flood,
        ScreenId::Sessions => &Sessions,
        ScreenId::Ports => &Ports,
        ScreenId::Events => &Events,
        ScreenId::Config => &Config,
    }
}

/// Has the open screen do something.
pub(crate) fn act(model: &mut Model, verb: Verb) -> Effects {
    let screen = of(model.screen);
    match verb {
        Verb::Open => return screen.open(model),
        Verb::Back => {
            if !screen.close(model) {
                set_filter(model, TextFilter::default());
                screen.settle(model);
            }
        }
        Verb::Sort => sort(model, |order| order.turn()),
        Verb::ReverseSort => sort(model, |order| order.reverse()),
        Verb::Span => {
            if let Some((graph, _)) = screen.graph(model) {
                graph.turn_span();
            }
        }
        Verb::Figure => {
            if let Some((graph, of_service)) = screen.graph(model) {
                graph.turn_figure(of_service);
            }
        }
        Verb::Fold => screen.fold(model, true),
        Verb::Unfold => screen.fold(model, false),
        Verb::FoldAll => screen.fold_all(model),
        Verb::Drain => return screen.drain(model),
        Verb::Enable => return screen.enable(model),
        Verb::Weight => return screen.weight(model),
        Verb::Synproxy => screen.synproxy(model),
        Verb::Deny => screen.deny(model),
        Verb::Capture => screen.capture(model),
        Verb::Part => screen.part(model),
        Verb::Edit => screen.edit(model),
        Verb::Apply => screen.apply(model),
        Verb::Confirm => return screen.confirm(model),
        Verb::Rollback => screen.rollback(model),
        Verb::Discard => screen.discard(model),
    }
    Effects::new()
}

fn sort(model: &mut Model, change: impl FnOnce(&mut dyn Order)) {
    let screen = of(model.screen);
    if let Some(order) = screen.sorting(model) {
        change(order);
        screen.rebuild(model);
    }
}

/// Sets the filter of the open screen.
pub(crate) fn set_filter(model: &mut Model, filter: TextFilter) {
    let screen = of(model.screen);
    if let Some(own) = screen.filter(model) {
        *own = filter;
        screen.rebuild(model);
    }
}
