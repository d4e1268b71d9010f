//! What LVS operators have: keepalived.conf, ipvsadm's command line, dumps and tables.
//!
//! Everything here is text in, text out. [`Command::parse`] reads a command line of ipvsadm,
//! [`edit`] carries commands out on a configuration, [`list`], [`locals`] and [`save`] write what
//! ipvsadm prints; [`import`] makes a weir.conf of a keepalived.conf or a dump. The behaviour is
//! that of alibaba's LVS with FullNAT and SYNPROXY.

#![forbid(unsafe_code)]

mod command;
mod document;
mod edit;
mod import;
mod keepalived;
mod listing;
mod names;
mod note;
mod save;
mod service;

pub use command::{
    At, Columns, Command, Endpoint, Listing, RealSettings, Refusal, ServiceSettings, all_options,
    usage,
};
pub use document::Document;
pub use edit::{Edited, Strictness, all_services, edit};
pub use import::{Given, Imported, PortGiven, import};
pub use keepalived::{Files, NoFiles};
pub use listing::{Facts, connection, connections_title, list, locals, timeouts};
pub use names::{Names, WellKnown};
pub use note::{Note, Place, Severity};
pub use save::{commands, save};
pub use service::{Persist, Real, Service, services};
