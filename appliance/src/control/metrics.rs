//! What control does for the metrics page: it opens the socket and tells what it alone knows.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use mio::net::TcpListener;
use weir_control::{Filter, PoolRow};
use weir_model::{Severity, Snapshot};

use super::Control;
use crate::control::answer::{self, OfServices};
use crate::metrics::{Exporter, Facts, ServiceFacts, Source};

/// How soon it is tried again to open the page.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Control's part of the page.
#[derive(Debug)]
pub(super) struct Metrics {
    exporter: Exporter,
    /// The socket of a configuration that is on its way to the workers.
    opened: Option<TcpListener>,
    /// When it is tried again to open a page that had to come back and could not.
    again: Option<Instant>,
    /// Seconds from 1970 to the daemon's start.
    started: f64,
    /// The pools, when every worker has last told of them.
    pools: Vec<PoolRow>,
}

impl Metrics {
    pub(super) fn new(exporter: Exporter) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            exporter,
            opened: None,
            again: None,
            started: started.unwrap_or_default().as_secs_f64(),
            pools: Vec::new(),
        }
    }
}

impl Control {
    /// Opens the socket that a new configuration wants, where it is another one. A configuration that
    /// comes back comes back without it, too.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub(super) fn open_page(&mut self, new: &Snapshot, comes_back: bool) -> Result<()> {
        self.metrics.opened = None;
        if let Some(address) = new.metrics
            && self.scene.running.snapshot.metrics != new.metrics
        {
            match self.metrics.exporter.open(address) {
                Ok(opened) => self.metrics.opened = Some(opened),
                Err(error) if comes_back => self.tell_no_page(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Serves the page where the new configuration, which runs now, wants it.
    pub(super) fn turn_page(&mut self, old: &Snapshot) {
        let new = self.scene.running.snapshot.metrics;
        if old.metrics != new {
            let opened = self.metrics.opened.take();
            self.serve_page(new, opened);
        }
        self.show_metrics();
    }

    fn serve_page(&mut self, address: Option<SocketAddr>, opened: Option<TcpListener>) {
        let missing = address.is_some() && opened.is_none();
        self.metrics.again = missing.then(|| Instant::now() + TRY_AGAIN);
        self.metrics.exporter.serve(opened);
    }

    /// Opens the page of the running configuration where that did not succeed before.
    pub(super) fn look_at_page(&mut self, now: Instant) {
        if self.metrics.again.is_none_or(|at| now < at) {
            return;
        }
        let address = self.scene.running.snapshot.metrics;
        let opened = address.and_then(|address| self.metrics.exporter.open(address).ok());
        if opened.is_some() {
            let text = "the metrics page is there again".to_owned();
            let events = &mut self.scene.events;
            events.system(now, Severity::Notice, "metrics-page", text);
        }
        self.serve_page(address, opened);
    }

    fn tell_no_page(&mut self, error: &anyhow::Error) {
        let text = format!("there is no metrics page until its address is free: {error:#}");
        let events = &mut self.scene.events;
        events.system(Instant::now(), Severity::Error, "metrics-page", text);
    }

    /// Every worker has told of its pools.
    pub(super) fn pools_are_known(&mut self) {
        let (snapshot, filling) = (&self.scene.running.snapshot, &self.scene.filling);
        let uses = &self.forecast.uses;
        self.metrics.pools = answer::pools(snapshot, uses, filling, Instant::now());
        self.show_metrics();
    }

    /// Tells the page what control knows.
    fn show_metrics(&self) {
        let (scene, snapshot) = (&self.scene, &self.scene.running.snapshot);
        if snapshot.metrics.is_none() {
            return;
        }
        let (of, filter) = (OfServices::of(scene), Filter::default());
        let rows = answer::services(snapshot, None, &filter, &of);
        let services = snapshot.services.iter().zip(rows);
        let pictures = scene.fleet.pictures();
        let ports = scene
            .devices
            .iter()
            .enumerate()
            .filter_map(|(place, device)| {
                let port = snapshot.ports.get(device.id.index())?;
                Some(answer::port(port, &device.view(), place, &pictures, None))
            });
        self.metrics.exporter.show(Facts {
            node: snapshot.node.name.clone(),
            generation: snapshot.generation.0,
            started: self.metrics.started,
            services: services
                .map(|(service, row)| ServiceFacts {
                    id: service.id,
                    reals: service.reals.iter().map(|real| real.id).collect(),
                    row,
                })
                .collect(),
            ports: ports.collect(),
            maintenance: scene.overrides.is_maintenance(),
            pools: self.metrics.pools.clone(),
            workers: scene
                .fleet
                .workers()
                .iter()
                .map(|worker| Source {
                    id: worker.id,
                    published: worker.published.clone(),
                    boards: worker.boards.clone(),
                })
                .collect(),
        });
    }
}

#[cfg(test)]
impl Control {
    /// Serves the page as the start of a daemon does.
    pub(super) fn metrics_from(&mut self, address: SocketAddr) {
        let listener = self.metrics.exporter.open(address).unwrap();
        self.serve_page(Some(address), Some(listener));
    }

    /// Says whether the page has been told of anything.
    pub(super) fn metrics_are_shown(&self) -> bool {
        !self.metrics.pools.is_empty()
    }
}
