//! Receivers of log messages: what a `[syslog]` section asks for.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{EventClass, Facility, SyslogFormat, Transport};

/// A receiver of log messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Its name in the file.
    pub name: String,
    /// `HOST:PORT`, or the path of a Unix socket.
    pub server: String,
    /// How messages travel.
    pub transport: Transport,
    /// The certificates that the server is checked against; needed for TLS only.
    pub ca_file: Option<String>,
    /// What messages look like.
    pub format: SyslogFormat,
    /// What messages are filed under.
    pub facility: Facility,
    /// The kinds of events that are sent.
    pub events: Vec<EventClass>,
    /// How many messages wait at most, of what operators did, of other events and of the session log
    /// each.
    pub queue: u32,
    /// How many events of one type are sent in a second.
    pub budget: u32,
    /// How many messages of the session log are sent in a second, of openings and of ends each.
    pub session_budget: u32,
}
