//! The screens, and what each wants to be told.

use std::time::Duration;

use weir_control::{Filter, What};

use crate::model::{Model, Want, config, events, flood, pools, ports, services, sessions};

/// A screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ScreenId {
    Services,
    Pools,
    Flood,
    Sessions,
    Ports,
    Events,
    Config,
}

impl ScreenId {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Services,
        Self::Pools,
        Self::Flood,
        Self::Sessions,
        Self::Ports,
        Self::Events,
        Self::Config,
    ];

    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Pools => "Pools",
            Self::Flood => "Flood",
            Self::Sessions => "Sessions",
            Self::Ports => "Ports",
            Self::Events => "Events",
            Self::Config => "Config",
        }
    }

    /// Returns the screen so many further on.
    pub(crate) fn step(self, by: usize) -> Self {
        let all = Self::ALL;
        let at = all.iter().position(|screen| *screen == self);
        let at = (at.unwrap_or_default() + by) % all.len();
        all.get(at).copied().unwrap_or(self)
    }
}

/// Returns what the open screen wants to be told.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    match model.screen {
        ScreenId::Services => services::wants(model),
        ScreenId::Pools => pools::wants(model),
        ScreenId::Flood => flood::wants(model),
        ScreenId::Sessions => sessions::wants(model),
        ScreenId::Ports => ports::wants(model),
        ScreenId::Events => events::wants(model),
        ScreenId::Config => config::wants(model),
    }
}

/// Wants all of something.
pub(crate) fn every(what: What, every: Duration) -> Want {
    Want {
        what,
        filter: Filter::default(),
        every,
    }
}
