//! What one second counted, as rates that add up: the header of the console, `show ports`, `workers`,
//! `ledger`, `services` and `flood` tell of the same second, in whole numbers, and totals are the sums
//! of their parts.

use std::collections::BTreeMap;
use std::time::Duration;

use netmap_io::PortStats;
use weir_control::{LedgerRates, PortRates};
use weir_model::{Counter, DropReason, Ledger};

use crate::control::second::services::{ServiceBooks, ServiceRates};
use crate::publish::Picture;

pub(crate) mod services;

/// What was counted until a look.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) pictures: Vec<Picture>,
    pub(crate) services: ServiceBooks,
}

/// The rates of one second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    /// Its number; none is before the first.
    pub(crate) number: u64,
    /// Of each port, in the order of the devices.
    pub(crate) ports: Vec<PortRates>,
    /// Of each worker.
    pub(crate) workers: Vec<LedgerRates>,
    /// The share of its time that each worker worked, in percent.
    pub(crate) busy_percent: Vec<u32>,
    /// Of all workers.
    pub(crate) total: LedgerRates,
    /// Of services, their real servers and floods.
    pub(crate) services: ServiceRates,
}

impl Second {
    /// Makes the rates of what was counted between two looks; none where they are not of the same
    /// workers.
    pub(crate) fn between(
        number: u64,
        before: &Look,
        now: &Look,
        elapsed: Duration,
    ) -> Option<Self> {
        let services = ServiceRates::between(&before.services, &now.services, elapsed);
        let (before, now) = (&before.pictures[..], &now.pictures[..]);
        let ports = now.first().map_or(0, |picture| picture.ports.len());
        let is_same = before.len() == now.len();
        if !is_same || elapsed.is_zero() {
            return None;
        }
        let grown = Grown {
            before,
            now,
            elapsed,
        };
        let ports = grown.ports(ports);
        let workers = grown.workers();
        Some(Self {
            number,
            ports,
            total: workers.iter().sum(),
            workers,
            busy_percent: grown.busy_percent(),
            services,
        })
    }

    /// Adds up what the ports say: that is what the header of the console shows.
    pub(crate) fn all_ports(&self) -> PortRates {
        self.ports.iter().sum()
    }

    /// Returns the share of its time that a worker worked.
    pub(crate) fn busy_percent(&self, worker: usize) -> u32 {
        self.busy_percent.get(worker).copied().unwrap_or_default()
    }

    /// Returns that of the worker that worked most.
    pub(crate) fn busiest_percent(&self) -> u32 {
        self.busy_percent.iter().copied().max().unwrap_or_default()
    }
}

/// Two looks at the same workers.
struct Grown<'a> {
    before: &'a [Picture],
    now: &'a [Picture],
    elapsed: Duration,
}

impl Grown<'_> {
    /// How much something grew on each worker.
    fn by(&self, pick: impl Fn(&Picture) -> u64) -> Vec<u64> {
        let looks = self.before.iter().zip(self.now);
        looks
            .map(|(before, now)| pick(now).saturating_sub(pick(before)))
            .collect()
    }

    /// How fast something grew on each worker.
    fn rates(&self, pick: impl Fn(&Picture) -> u64) -> Vec<u64> {
        let grown = self.by(pick);
        apportion(whole(grown.iter().sum(), self.elapsed), &grown)
    }

    /// A turn that was counted in this second may have begun in the one before.
    fn busy_percent(&self) -> Vec<u32> {
        let micros = self.elapsed.as_micros().max(1) as u64;
        let busy_us = self.by(|picture| picture.vitals.busy_us);
        let percent = |busy_us: u64| (busy_us.saturating_mul(100) / micros).min(100) as u32;
        busy_us.into_iter().map(percent).collect()
    }

    fn ports(&self, count: usize) -> Vec<PortRates> {
        let mut ports = vec![PortRates::default(); count];
        let mut each = |pick: fn(&PortStats) -> u64, put: fn(&mut PortRates) -> &mut u64| {
            let of = |picture: &Picture, place: usize| picture.ports.get(place).map_or(0, pick);
            let by_port: Vec<Vec<u64>> = (0..count)
                .map(|place| self.by(|picture| of(picture, place)))
                .collect();
            // First to the workers, as their ledgers have it, then to the ports of each.
            let workers = 0..self.now.len();
            let at = |shares: &Vec<u64>, worker: usize| shares.get(worker).copied();
            let of_worker = |worker: usize| -> Vec<u64> {
                let ports = by_port.iter();
                ports
                    .map(|port| at(port, worker).unwrap_or_default())
                    .collect()
            };
            let sums: Vec<u64> = workers
                .clone()
                .map(|it| of_worker(it).iter().sum())
                .collect();
            let wholes = apportion(whole(sums.iter().sum(), self.elapsed), &sums);
            for (worker, whole) in workers.zip(wholes) {
                let shares = apportion(whole, &of_worker(worker));
                for (port, share) in ports.iter_mut().zip(shares) {
                    *put(port) += share;
                }
            }
        };
        each(|port| port.rx_frames, |port| &mut port.rx);
        each(|port| port.tx_frames, |port| &mut port.tx);
        each(|port| port.rx_bytes * 8, |port| &mut port.rx_bits);
        each(|port| port.tx_bytes * 8, |port| &mut port.tx_bits);
        each(
            |port| port.rx_ring_lost + port.rx_invalid,
            |port| &mut port.rx_ring_lost,
        );
        each(|port| port.tx_ring_lost, |port| &mut port.tx_ring_lost);
        ports
    }

    fn workers(&self) -> Vec<LedgerRates> {
        let mut workers = vec![LedgerRates::default(); self.now.len()];
        let mut each = |pick: fn(&Ledger) -> u64, put: fn(&mut LedgerRates) -> &mut u64| {
            let rates = self.rates(|picture| pick(&picture.ledger));
            for (worker, rate) in workers.iter_mut().zip(rates) {
                *put(worker) = rate;
            }
        };
        each(|ledger| ledger.rx, |rates| &mut rates.rx);
        each(|ledger| ledger.originated, |rates| &mut rates.originated);
        each(|ledger| ledger.handed_in, |rates| &mut rates.handed_in);
        each(|ledger| ledger.tx, |rates| &mut rates.tx);
        each(|ledger| ledger.delivered, |rates| &mut rates.delivered);
        each(|ledger| ledger.handed_out, |rates| &mut rates.handed_out);
        self.drops(&mut workers);
        for counter in Counter::ALL {
            let rates = self.rates(|picture| picture.counters.get(*counter));
            for (worker, rate) in workers.iter_mut().zip(rates) {
                keep(&mut worker.counters, counter.label(), rate);
            }
        }
        workers
    }

    /// The drops of all workers for all reasons are one whole with many parts.
    fn drops(&self, workers: &mut [LedgerRates]) {
        let cells: Vec<u64> = DropReason::ALL
            .iter()
            .flat_map(|reason| self.by(|picture| picture.ledger.dropped(*reason)))
            .collect();
        let parts = apportion(whole(cells.iter().sum(), self.elapsed), &cells);
        let reasons = parts.chunks(workers.len().max(1));
        for (reason, parts) in DropReason::ALL.iter().zip(reasons) {
            for (worker, part) in workers.iter_mut().zip(parts) {
                keep(&mut worker.dropped, reason.label(), *part);
            }
        }
    }
}

/// Most reasons and most counters rest.
fn keep(rates: &mut BTreeMap<String, u64>, name: &str, rate: u64) {
    if rate > 0 {
        rates.insert(name.to_owned(), rate);
    }
}

/// Returns the whole number next to a rate; what happened is not nought.
fn whole(grown: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    let rate = (u128::from(grown) * 1_000_000 + micros / 2) / micros;
    (rate as u64).max(grown.min(1))
}

/// Divides a whole by shares into whole numbers that add up to it: each is cut, and what is left
/// goes to those of which most was cut off.
pub(crate) fn apportion(whole: u64, shares: &[u64]) -> Vec<u64> {
    let sum: u64 = shares.iter().sum();
    if sum == 0 {
        return vec![0; shares.len()];
    }
    // What a part is, and what is cut off it.
    let divide = |share: u64| {
        if let Some(product) = whole.checked_mul(share) {
            return (product / sum, product % sum);
        }
        let (product, sum) = (u128::from(whole) * u128::from(share), u128::from(sum));
        ((product / sum) as u64, (product % sum) as u64)
    };
    let mut parts = Vec::with_capacity(shares.len());
    let mut cut = Vec::new();
    for (place, share) in shares.iter().enumerate() {
        let (part, cut_off) = divide(*share);
        parts.push(part);
        if cut_off > 0 {
            cut.push((cut_off, place));
        }
    }
    let left = whole - parts.iter().sum::<u64>();
    cut.sort_by_key(|(cut_off, _)| std::cmp::Reverse(*cut_off));
    for (_, place) in cut.into_iter().take(left as usize) {
        if let Some(part) = parts.get_mut(place) {
            *part += 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_model::Counters;

    use super::*;
    use crate::publish::Vitals;

    fn look(pictures: impl IntoIterator<Item = Picture>) -> Look {
        Look {
            pictures: pictures.into_iter().collect(),
            ..Look::default()
        }
    }

    /// What a worker published after so many frames on each of its ports.
    fn picture(ports: &[[u64; 2]], dropped: [u64; 2]) -> Picture {
        let stats = ports.iter().map(|[rx, tx]| PortStats {
            rx_frames: *rx,
            rx_bytes: rx * 61,
            tx_frames: *tx,
            tx_bytes: tx * 67,
            ..PortStats::default()
        });
        let mut ledger = Ledger {
            rx: ports.iter().map(|[rx, _]| rx).sum(),
            tx: ports.iter().map(|[_, tx]| tx).sum(),
            ..Ledger::default()
        };
        for (reason, count) in [DropReason::NoRoute, DropReason::NoService]
            .into_iter()
            .zip(dropped)
        {
            for _ in 0..count {
                ledger.drop(reason);
            }
        }
        Picture {
            ledger,
            counters: Counters::default(),
            vitals: Vitals::default(),
            ports: stats.collect(),
        }
    }

    proptest! {
        #[test]
        fn the_header_the_ports_the_workers_and_the_ledger_say_the_same(
            counts in prop::collection::vec(
                (prop::collection::vec([0u64..5_000_000, 0u64..5_000_000], 3), [0u64..50, 0u64..50]),
                1..9,
            ),
            micros in 900_000u64..3_000_000,
        ) {
            let zero = |_: &_| picture(&[[7, 9]; 3], [0, 0]);
            let before = look(counts.iter().map(zero));
            let now = look(counts.iter().map(|(ports, dropped)| {
                let ports: Vec<[u64; 2]> = ports.iter().map(|[rx, tx]| [rx + 7, tx + 9]).collect();
                picture(&ports, *dropped)
            }));
            let elapsed = Duration::from_micros(micros);
            let second = Second::between(1, &before, &now, elapsed).unwrap();
            let header = second.all_ports();
            prop_assert_eq!(header.rx, second.total.rx);
            prop_assert_eq!(header.tx, second.total.tx);
            let workers = || second.workers.iter();
            prop_assert_eq!(header.rx, workers().map(|worker| worker.rx).sum::<u64>());
            prop_assert_eq!(second.total.all_dropped(), workers().map(LedgerRates::all_dropped).sum::<u64>());
            // And it is what was counted, to the whole number.
            let counted: u64 = counts.iter().flat_map(|(ports, _)| ports).map(|[rx, _]| rx).sum();
            let exact = counted * 1_000_000 / micros;
            prop_assert!(header.rx.abs_diff(exact) <= 1, "{exact}");
            for (place, port) in second.ports.iter().enumerate() {
                let counted: u64 = counts.iter().map(|(ports, _)| ports[place][0]).sum();
                let exact = counted * 1_000_000 / micros;
                // Each worker's part of it is off by less than two.
                let most = 2 * counts.len() as u64;
                prop_assert!(port.rx.abs_diff(exact) <= most, "{exact}");
            }
        }

        #[test]
        fn parts_add_up_and_none_is_off_by_a_whole(
            whole in 0u64..1 << 50,
            shares in prop::collection::vec(0u64..1 << 40, 1..20),
        ) {
            let parts = apportion(whole, &shares);
            let sum: u64 = shares.iter().sum();
            prop_assert_eq!(parts.iter().sum::<u64>(), if sum == 0 { 0 } else { whole });
            for (part, share) in parts.iter().zip(&shares) {
                if let Some(exact) = (u128::from(whole) * u128::from(*share)).checked_div(u128::from(sum)) {
                    prop_assert!(u128::from(*part) == exact || u128::from(*part) == exact + 1);
                }
            }
        }
    }

    #[test]
    fn what_happened_once_in_a_long_while_is_not_nought() {
        let (before, now) = (
            look([picture(&[[0, 0]], [0, 0])]),
            look([picture(&[[1, 0]], [0, 1])]),
        );
        let second = Second::between(1, &before, &now, Duration::from_secs(9)).unwrap();
        assert_eq!((second.total.rx, second.total.tx), (1, 0));
        assert_eq!(second.total.dropped, [("no-service".to_owned(), 1)].into());
        assert_eq!(second.ports.first().unwrap().rx, 1);
    }

    #[test]
    fn a_worker_is_as_busy_as_it_was_in_that_second() {
        let at = |busy_us: [u64; 3]| {
            look(busy_us.map(|busy_us| Picture {
                vitals: Vitals {
                    busy_us,
                    ..Vitals::default()
                },
                ..picture(&[], [0, 0])
            }))
        };
        let elapsed = Duration::from_millis(1_250);
        let (before, now) = (at([7, 9, 11]), at([7, 500_009, 1_300_011]));
        let second = Second::between(1, &before, &now, elapsed).unwrap();
        assert_eq!(second.busy_percent, [0, 40, 100]);
        assert_eq!((second.busy_percent(1), second.busy_percent(3)), (40, 0));
        assert_eq!(second.busiest_percent(), 100);
    }

    #[test]
    fn other_workers_have_no_rates_yet() {
        let one = look([picture(&[[1, 1]], [0, 0])]);
        let elapsed = Duration::from_secs(1);
        assert_eq!(Second::between(1, &look([]), &one, elapsed), None);
        assert_eq!(Second::between(1, &one, &one, Duration::ZERO), None);
    }
}
