//! The book as `show health` tells it.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use weir_control::{HealthRow, LearnedRow};
use weir_model::{Check, Now, RealId, Service, ServiceId, Snapshot};

use super::Book;
use crate::health::passive::Inhibited;

impl Book {
    /// Returns a row for each real server of each service, or of the one that is asked for.
    pub(crate) fn rows(&self, snapshot: &Snapshot, only: Option<ServiceId>) -> Vec<HealthRow> {
        let services = snapshot.services.iter();
        let mut rows = Vec::new();
        for service in services.filter(|service| only.is_none_or(|id| id == service.id)) {
            for real in &service.reals {
                let at = SocketAddr::new(real.address, real.port);
                rows.push(self.row(service, real.id, at));
            }
        }
        rows
    }

    fn row(&self, service: &Service, real: RealId, at: SocketAddr) -> HealthRow {
        let watch = self.reals.get(&real);
        let watched = watch.and_then(|watch| self.watched(watch));
        let finding = watched.map(|watched| &watched.finding);
        let checked = finding.filter(|_| watch.is_some_and(|watch| watch.is_checked));
        let silence = self.silences.inhibited(real);
        let (state, since) = match (checked, silence) {
            (Some(finding), _) if !finding.is_up => ("down", finding.since),
            (_, Some(silence)) => ("inhibited", silence.since),
            (Some(finding), None) => ("up", finding.since),
            (None, None) => (
                "unchecked",
                watch.map(|watch| watch.known_since).unwrap_or_default(),
            ),
        };
        let last_error = finding.and_then(|finding| finding.last_error.clone());
        let silent = silence.map(Inhibited::sentence);
        let learned = watched.and_then(|watched| self.learned.get(&watched.address));
        HealthRow {
            service: service.name.clone(),
            service_state: self.service_state(service).0.to_owned(),
            service_reason: self.service_state(service).1,
            check: service
                .health
                .as_ref()
                .map(|health| check_name(&health.check).to_owned()),
            real: at.to_string(),
            state: state.to_owned(),
            since: rfc3339(since),
            last_error: last_error.or(silent),
            learned: learned.map(|options| LearnedRow {
                mss: options.mss,
                wscale: options.wscale,
                sack: options.sack,
                timestamps: options.timestamps,
            }),
        }
    }
}

/// Returns the name of a check in the configuration file.
fn check_name(check: &Check) -> &'static str {
    match check {
        Check::Tcp => "tcp",
        Check::Http(check) if check.tls.is_some() => "https",
        Check::Http(_) => "http",
        Check::Udp(_) => "udp",
        Check::Ping => "ping",
        Check::Exec(_) => "exec",
    }
}

fn rfc3339(at: Now) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at.wall_ms);
    humantime::format_rfc3339_seconds(at).to_string()
}
