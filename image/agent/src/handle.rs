//! What the parts of the agent share.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::events::{Event, Events};
use crate::observe::Seen;
use crate::places::Places;
use crate::words::Words;

/// The agent, as its parts reach it from any thread; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Places,
    words: Words,
    events: Events,
    orders: Mutex<Sender<Message>>,
    seen: Mutex<Seen>,
}

/// What the main loop is to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Stop everything and start the box again.
    Reboot,
    /// Stop everything and turn the box off.
    PowerOff,
    /// Keys or set-up have changed: look again whether and how SSH may run, and at the file.
    Changed,
    /// Start the daemon again, e.g. with ports that it has not.
    RestartDaemon,
}

/// What the main loop hears.
#[derive(Debug)]
pub(crate) enum Message {
    /// A signal for the agent.
    Signal(nix::sys::signal::Signal),
    /// An order of one of its parts.
    Order(Order),
    /// A line that SSH wrote.
    Ssh(String),
    /// The daemon was asked again.
    Seen,
    /// Somebody pushed the button that turns machines off.
    PowerButton,
}

impl Handle {
    /// Makes the one that all others are clones of.
    pub(crate) fn new(places: Places, words: Words, orders: Sender<Message>) -> Self {
        Self(Arc::new(Shared {
            places,
            words,
            events: Events::default(),
            orders: Mutex::new(orders),
            seen: Mutex::default(),
        }))
    }

    /// Has the daemon make an event; it waits in a queue while the daemon is away.
    pub(crate) fn say(&self, event: Event) {
        self.0.events.say(event);
    }

    /// Tells the main loop what to do.
    pub(crate) fn order(&self, order: Order) {
        self.tell(Message::Order(order));
    }

    /// Tells the main loop something.
    pub(crate) fn tell(&self, message: Message) {
        let orders = self.0.orders.lock();
        // Without a main loop the agent is about to end.
        let _ = orders.unwrap_or_else(PoisonError::into_inner).send(message);
    }

    /// Returns the folders of the box.
    pub(crate) fn places(&self) -> &Places {
        &self.0.places
    }

    /// Returns what the boot loader said.
    pub(crate) fn words(&self) -> &Words {
        &self.0.words
    }

    /// Returns the events on their way.
    pub(crate) fn events(&self) -> &Events {
        &self.0.events
    }

    /// Returns what the daemon said last.
    pub(crate) fn seen(&self) -> Seen {
        let seen = self.0.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the daemon said.
    pub(crate) fn see(&self, seen: Seen) {
        let mut slot = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = seen;
    }
}
