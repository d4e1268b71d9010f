//! What control does for the metrics page: it opens the socket and tells what it alone knows.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use mio::net::TcpListener;
use weir_control::PoolRow;
use weir_model::Snapshot;

use super::{Control, answer};
use crate::metrics::{self, Exporter, Facts, ServiceFacts, Source};

/// Control's part of the page.
#[derive(Debug)]
pub(super) struct Metrics {
    exporter: Exporter,
    /// The socket of a configuration that is on its way to the workers.
    opened: Option<TcpListener>,
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
            started: started.unwrap_or_default().as_secs_f64(),
            pools: Vec::new(),
        }
    }
}

impl Control {
    /// Opens the socket that a new configuration wants, where it is another one.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub(super) fn open_page(&mut self, new: &Snapshot) -> Result<()> {
        self.metrics.opened = None;
        if let Some(address) = new.metrics
            && self.scene.running.snapshot.metrics != new.metrics
        {
            self.metrics.opened = Some(metrics::listen(address)?);
        }
        Ok(())
    }

    /// Serves the page where the new configuration, which runs now, wants it.
    pub(super) fn turn_page(&mut self, old: &Snapshot) {
        if old.metrics != self.scene.running.snapshot.metrics {
            self.metrics.exporter.serve(self.metrics.opened.take());
        }
        self.show_metrics();
    }

    /// Every worker has told of its pools.
    pub(super) fn pools_are_known(&mut self) {
        let (snapshot, rates) = (&self.scene.running.snapshot, &self.scene.rates);
        let uses = &self.forecast.uses;
        self.metrics.pools = answer::pools(snapshot, uses, rates, Instant::now());
        self.show_metrics();
    }

    /// Tells the page what control knows.
    fn show_metrics(&self) {
        let (scene, snapshot) = (&self.scene, &self.scene.running.snapshot);
        if snapshot.metrics.is_none() {
            return;
        }
        let traffic = scene.fleet.traffic();
        let rows = answer::services(
            snapshot,
            None,
            &traffic,
            &scene.rates,
            &scene.floods,
            &scene.health,
            &scene.overlay,
        );
        let services = snapshot.services.iter().zip(rows);
        let pictures = scene.fleet.pictures();
        let ports = scene
            .devices
            .iter()
            .enumerate()
            .filter_map(|(place, device)| {
                let port = snapshot.ports.get(device.id.index())?;
                Some(answer::port(port, &device.view(), place, &pictures))
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
    pub(super) fn metrics_from(&self, address: std::net::SocketAddr) {
        let listener = metrics::listen(address).unwrap();
        self.metrics.exporter.serve(Some(listener));
    }

    /// Says whether the page has been told of anything.
    pub(super) fn metrics_are_shown(&self) -> bool {
        !self.metrics.pools.is_empty()
    }
}
