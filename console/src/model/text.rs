//! A table of the daemon as `weir show` prints it, longer than the screen: what a screen shows that
//! has no drawing of its own.

use crate::model::Model;
use crate::model::screen::ScreenId;
use crate::model::services::TextFilter;

/// How far a text is scrolled, and which of its lines are seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextView {
    pub(crate) top: usize,
    pub(crate) filter: TextFilter,
}

/// Returns the lines of the open screen; none before the daemon told them.
pub(crate) fn lines(model: &Model) -> Option<Vec<String>> {
    let data = &model.data;
    let text = match model.screen {
        ScreenId::Services => weir_control::services(&data.services.as_ref()?.value),
        ScreenId::Pools => weir_control::pools(&data.pools.as_ref()?.value),
        ScreenId::Flood => weir_control::floods(&data.flood.as_ref()?.value),
        ScreenId::Sessions => weir_control::sessions(&data.sessions.as_ref()?.value.1),
        ScreenId::Ports => {
            let ports = weir_control::ports(&data.ports.as_ref()?.value);
            let workers = weir_control::workers(&data.workers.as_ref()?.value);
            let ledger = weir_control::ledger(&data.ledger.as_ref()?.value);
            format!("{ports}\n{workers}\n{ledger}")
        }
        ScreenId::Events => {
            let events = &data.events.as_ref()?.value;
            // The youngest first: nobody scrolls to the end in an emergency.
            let events: Vec<_> = events.iter().rev().cloned().collect();
            weir_control::events(&events)
        }
        ScreenId::Config => data.config.as_ref()?.value.join("\n"),
    };
    let filter = &model.text.filter;
    let seen = |line: &&str| filter.text.is_empty() || filter.finds(line) != filter.inverse;
    Some(text.lines().filter(seen).map(str::to_owned).collect())
}
