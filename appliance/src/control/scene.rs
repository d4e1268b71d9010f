//! What control knows: what answers are made of.

use crate::clock::Clock;
use crate::configuration::Configuration;
use crate::control::events::Events;
use crate::control::filling::Filling;
use crate::control::floods::Floods;
use crate::control::history::History;
use crate::control::kept::Kept;
use crate::control::overlay::Overlay;
use crate::control::overrides::Overrides;
use crate::control::ports::OpenDevice;
use crate::control::stop::Stopping;
use crate::control::ways::Ways;
use crate::fleet::Fleet;
use crate::health::Book;

/// What control knows.
pub(crate) struct Scene {
    pub(crate) running: Configuration,
    pub(crate) kept: Kept,
    pub(crate) clock: Clock,
    pub(crate) overlay: Overlay,
    pub(crate) fleet: Fleet,
    pub(crate) devices: Vec<OpenDevice>,
    pub(crate) filling: Filling,
    pub(crate) floods: Floods,
    pub(crate) ways: Ways,
    pub(crate) history: History,
    pub(crate) overrides: Overrides,
    pub(crate) health: Book,
    pub(crate) events: Events,
    /// How long sessions may go on, where the daemon is stopping.
    pub(crate) stopping: Option<Stopping>,
}
