//! The metrics page: what monitoring reads, in the OpenMetrics text format.
//!
//! A thread of its own serves it. Control hands over what it alone knows once a second
//! ([`Facts`]); the counters are read from the workers' boards when the page is asked for, so that
//! neither packets nor control wait for whoever reads.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_control::{PoolRow, PortRow, ServiceRow};
use weir_model::{RealId, ServiceId, WorkerId};

use crate::publish::{Boards, Published};

mod page;
mod server;

pub(crate) use page::page;
pub(crate) use server::Exporter;

/// What the page is made of besides the boards.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) node: String,
    pub(crate) generation: u64,
    /// Seconds from 1970 to the daemon's start.
    pub(crate) started: f64,
    /// Whether no new sessions are opened.
    pub(crate) maintenance: bool,
    pub(crate) services: Vec<ServiceFacts>,
    pub(crate) ports: Vec<PortRow>,
    pub(crate) pools: Vec<PoolRow>,
    pub(crate) workers: Vec<Source>,
}

/// A service: its row and the ids that its counters are found by.
#[derive(Debug)]
pub(crate) struct ServiceFacts {
    pub(crate) id: ServiceId,
    /// In the order of the row's real servers.
    pub(crate) reals: Vec<RealId>,
    pub(crate) row: ServiceRow,
}

/// A worker's boards.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) id: WorkerId,
    pub(crate) published: Arc<Published>,
    pub(crate) boards: Arc<Boards>,
}

/// Where the page is, for people.
pub(crate) fn address_of(listen: SocketAddr) -> String {
    format!("http://{listen}/metrics")
}
