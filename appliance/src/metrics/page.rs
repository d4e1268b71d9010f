//! The text of the page: one table of families, each with its samples.

mod encoder;
mod families;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};
use weir_control::{PoolRealRow, PoolRow, PortRow, ServiceRealRow};
use weir_model::{Counter, DropReason, FloodCounters, Ledger};

use self::encoder::Page;
use self::families::{FLOODS, LEDGER, PORTS, TRAFFIC};
use super::{Facts, ServiceFacts};
use crate::publish::flood::ServiceFlood;
use crate::publish::{Picture, Traffic, Vitals};

/// Makes the page from what control told and the workers have published.
///
/// # Errors
/// When there is no room for text.
pub(crate) fn page(facts: &Arc<Facts>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reading::of(facts)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// Everything that a page says, read at one time.
#[derive(Debug)]
struct Reading {
    facts: Arc<Facts>,
    /// By the worker's number as a label.
    pictures: Vec<(String, Picture)>,
    traffic: Traffic,
    /// In the order of the services; none for those that are not TCP.
    floods: Vec<Option<FloodCounters>>,
}

impl Reading {
    fn of(facts: &Arc<Facts>) -> Self {
        let mut traffic = Traffic::default();
        for source in &facts.workers {
            traffic.add(&source.boards.traffic.read());
        }
        let boards: Vec<_> = facts
            .workers
            .iter()
            .map(|w| w.boards.flood.read())
            .collect();
        let flood = |service: &ServiceFacts| {
            let mut known = boards.iter().filter_map(|board| board.service(service.id));
            let mut sum: ServiceFlood = known.next()?.clone();
            known.for_each(|other| sum.add(other));
            Some(sum.counters)
        };
        Self {
            pictures: facts
                .workers
                .iter()
                .map(|source| (source.id.0.to_string(), source.published.read()))
                .collect(),
            traffic,
            floods: facts.services.iter().map(flood).collect(),
            facts: facts.clone(),
        }
    }

    fn box_itself(&self, page: &mut Page) -> fmt::Result {
        let facts = &self.facts;
        let help = "The daemon's version and the appliance's name.";
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("node", facts.node.as_str()),
        ];
        page.info("weir_build", help, &labels)?;
        let started = "When the daemon started, in seconds since 1970.";
        let unit = Some(&Unit::Seconds);
        page.alone("weir_start_time", started, unit, facts.started)?;
        let maintenance = "1 while no new sessions are opened, else 0.";
        let is_on = f64::from(u8::from(facts.maintenance));
        page.alone("weir_maintenance", maintenance, None, is_on)?;
        let generation = "The number of the running configuration.";
        let name = "weir_configuration_generation";
        page.alone(name, generation, None, real(facts.generation))
    }

    fn ledgers(&self, page: &mut Page) -> fmt::Result {
        let of = |pick: fn(&Ledger) -> u64| self.workers(move |p| pick(&p.ledger));
        for (name, help, pick) in LEDGER {
            page.counter(name, help, of(*pick))?;
        }
        page.gauge(
            "weir_frames_held",
            "Frames that are kept right now: for a neighbour, a real server's answer, or the \
             next turn.",
            of(|ledger| ledger.held),
        )?;
        let reasons = self.pictures.iter().flat_map(|(worker, picture)| {
            DropReason::ALL.iter().map(move |reason| {
                let labels = [("worker", worker.as_str()), ("reason", reason.label())];
                (labels, picture.ledger.dropped(*reason))
            })
        });
        let help = "Frames dropped, by reason; `weir help REASON` explains each.";
        page.counter("weir_frames_dropped", help, reasons)?;
        page.gauge(
            "weir_ledger_balanced",
            "1 while every frame of the worker is accounted for, else 0.",
            of(|ledger| u64::from(ledger.balanced())),
        )?;
        for counter in Counter::ALL {
            let name = format!("weir_{}", counter.label().replace('-', "_"));
            let values = self.workers(|picture| picture.counters.get(*counter));
            page.counter(&name, counter.documentation(), values)?;
        }
        Ok(())
    }

    fn of_workers(&self, page: &mut Page) -> fmt::Result {
        let of = |pick: fn(&Vitals) -> u64| self.workers(move |p| pick(&p.vitals));
        page.gauge(
            "weir_worker_sessions",
            "Sessions that exist.",
            of(|vitals| vitals.sessions),
        )?;
        page.gauge(
            "weir_worker_sessions_capacity",
            "Sessions that the worker's table holds at most.",
            of(|vitals| vitals.capacity),
        )?;
        page.counter(
            "weir_worker_turns",
            "Turns of the worker's loop.",
            of(|vitals| vitals.turns),
        )?;
        page.counter_of_seconds(
            "weir_worker_busy",
            "Time of turns that found something to do.",
            self.workers(|picture| picture.vitals.busy_us)
                .map(|(labels, micros)| (labels, real(micros) / 1e6)),
        )?;
        page.counter(
            "weir_worker_sleeps",
            "Times that the worker went to sleep.",
            of(|vitals| vitals.sleeps),
        )?;
        page.counter(
            "weir_worker_notices_lost",
            "Notices for the control thread that found its channel full.",
            of(|vitals| vitals.notices_lost),
        )
    }

    fn of_ports(&self, page: &mut Page) -> fmt::Result {
        for (name, help, unit, pick) in PORTS {
            let values = self.facts.ports.iter().enumerate().map(|(place, port)| {
                let queues = self.pictures.iter().filter_map(|(_, p)| p.ports.get(place));
                ([("port", port.name.as_str())], queues.map(*pick).sum())
            });
            page.counter_in(name, help, unit.as_ref(), values)?;
        }
        let of = |pick: fn(&PortRow) -> u64| {
            let ports = self.facts.ports.iter();
            ports.map(move |port| ([("port", port.name.as_str())], pick(port)))
        };
        page.gauge(
            "weir_port_up",
            "1 while the link is up, else 0.",
            of(|port| u64::from(port.link_up)),
        )?;
        page.gauge(
            "weir_port_queues",
            "Queues in use.",
            of(|port| u64::from(port.queues)),
        )?;
        let speeds = self.facts.ports.iter().filter_map(|port| {
            let speed = port.speed_mbps? * 1_000_000;
            Some(([("port", port.name.as_str())], speed))
        });
        let help = "Bits per second, where the device says.";
        page.gauge("weir_port_speed_bits", help, speeds)
    }

    fn of_services(&self, page: &mut Page) -> fmt::Result {
        let services = || self.facts.services.iter();
        for (name, help, unit, is_gauge, pick) in TRAFFIC {
            let name = format!("weir_service_{name}");
            let values = services().map(|service| {
                let traffic = self.traffic.service(service.id);
                ([("service", service.row.name.as_str())], pick(&traffic))
            });
            page.either(*is_gauge, &name, help, unit.as_ref(), values)?;
        }
        let refused = services().map(|service| {
            let traffic = self.traffic.service(service.id);
            ([("service", service.row.name.as_str())], traffic.refused)
        });
        let help = "New sessions refused: no real server, no local port, table full.";
        page.counter("weir_service_sessions_refused", help, refused)?;
        for (name, help, is_gauge, pick) in FLOODS {
            let name = format!("weir_service_{name}");
            let values = services().zip(&self.floods).filter_map(|(service, flood)| {
                let value = pick(flood.as_ref()?);
                Some(([("service", service.row.name.as_str())], value))
            });
            page.either(*is_gauge, &name, help, None, values)?;
        }
        let active = services().map(|service| {
            let active = u64::from(service.row.synproxy.active);
            ([("service", service.row.name.as_str())], active)
        });
        let help = "1 while SYNs are answered with cookies, else 0.";
        page.gauge("weir_service_synproxy_active", help, active)
    }

    fn of_reals(&self, page: &mut Page) -> fmt::Result {
        for (name, help, unit, is_gauge, pick) in TRAFFIC {
            let name = format!("weir_real_{name}");
            let values = self.facts.services.iter().flat_map(|service| {
                service
                    .reals
                    .iter()
                    .zip(&service.row.reals)
                    .map(|(id, row)| {
                        let traffic = self.traffic.real(*id);
                        (real_labels(service, row), pick(&traffic))
                    })
            });
            page.either(*is_gauge, &name, help, unit.as_ref(), values)?;
        }
        let of = |pick: fn(&ServiceRealRow) -> u64| {
            self.facts.services.iter().flat_map(move |service| {
                let rows = service.row.reals.iter();
                rows.map(move |row| (real_labels(service, row), pick(row)))
            })
        };
        page.gauge(
            "weir_real_up",
            "0 while health checks find the real server down or it answers no SYNs, else 1, also where nobody looks.",
            of(|row| u64::from(row.state != "down" && row.state != "inhibited")),
        )?;
        page.gauge(
            "weir_real_weight",
            "The real server's share of new sessions.",
            of(|row| u64::from(row.weight)),
        )
    }

    fn of_pools(&self, page: &mut Page) -> fmt::Result {
        let pools = || self.facts.pools.iter();
        let of = |pick: fn(&PoolRow) -> u64| {
            pools().map(move |pool| ([("pool", pool.name.as_str())], pick(pool)))
        };
        page.gauge(
            "weir_pool_addresses",
            "Local addresses of the pool.",
            of(|pool| pool.addresses),
        )?;
        page.gauge(
            "weir_pool_ports",
            "Local ports of all addresses towards any one real server.",
            of(|pool| pool.ports_total),
        )?;
        let rows = |pick: fn(&PoolRealRow) -> Option<u64>| {
            pools().flat_map(move |pool| {
                pool.reals.iter().filter_map(move |real| {
                    let labels = [("pool", pool.name.as_str()), ("real", real.real.as_str())];
                    Some((labels, pick(real)?))
                })
            })
        };
        page.gauge(
            "weir_pool_ports_used",
            "Local ports in use towards the real server.",
            rows(|real| Some(real.used)),
        )?;
        page.gauge(
            "weir_pool_ports_free",
            "Local ports that can be taken towards the real server.",
            rows(|real| Some(real.free)),
        )?;
        page.measure(
            "weir_pool_exhausted_in",
            "Until no local port is left towards the real server, where their use grows.",
            &Unit::Seconds,
            rows(|real| real.exhausted_in_s).map(|(labels, seconds)| (labels, real(seconds))),
        )
    }

    fn workers(
        &self,
        pick: impl Fn(&Picture) -> u64,
    ) -> impl Iterator<Item = ([(&'static str, &str); 1], u64)> {
        let pictures = self.pictures.iter();
        pictures.map(move |(worker, picture)| ([("worker", worker.as_str())], pick(picture)))
    }
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        self.box_itself(&mut page)?;
        self.ledgers(&mut page)?;
        self.of_workers(&mut page)?;
        self.of_ports(&mut page)?;
        self.of_services(&mut page)?;
        self.of_reals(&mut page)?;
        self.of_pools(&mut page)
    }
}

fn real_labels<'a>(service: &'a ServiceFacts, row: &'a ServiceRealRow) -> [(&'a str, &'a str); 2] {
    [
        ("service", service.row.name.as_str()),
        ("real", row.address.as_str()),
    ]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds and numbers of configurations are small"
)]
fn real(value: u64) -> f64 {
    value as f64
}
