//! What the daemon of the tests says agrees with itself, as what a daemon says does: else pictures
//! of the console prove nothing of its figures.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use weir_control::{
    EventRow, Filter, FloodRates, FloodRow, HistoryRow, LedgerRates, LedgerReply, PoolRow,
    PortRates, PortRow, ServiceRealRow, ServiceRow, StatusRow, TrafficRates, What, WorkerLedger,
    WorkerRow,
};

use crate::tests::fixture::{Daemon, State};

/// All that a daemon says in one second.
struct Said {
    status: StatusRow,
    services: Vec<ServiceRow>,
    pools: Vec<PoolRow>,
    ports: Vec<PortRow>,
    workers: Vec<WorkerRow>,
    ledger: LedgerReply,
    floods: Vec<FloodRow>,
    events: Vec<EventRow>,
    history: Vec<HistoryRow>,
}

fn said(state: State, second: u64) -> Said {
    fn rows<T: DeserializeOwned>(daemon: Daemon, what: What, filter: &Filter) -> Vec<T> {
        let lines = daemon.lines(what, filter).into_iter();
        let replies = lines.map(|line| serde_json::from_str::<weir_control::Reply>(&line).unwrap());
        replies
            .filter_map(|reply| reply.row)
            .map(|row| serde_json::from_value(row).unwrap())
            .collect()
    }
    fn one<T: DeserializeOwned>(daemon: Daemon, what: What) -> T {
        rows(daemon, what, &Filter::default()).remove(0)
    }
    let daemon = Daemon {
        state,
        second,
        trial: None,
    };
    let all = Filter::default();
    let minute = Filter {
        seconds: Some(60),
        ..Filter::default()
    };
    Said {
        status: one(daemon, What::Status),
        services: rows(daemon, What::Services, &all),
        pools: rows(daemon, What::Pools, &all),
        ports: rows(daemon, What::Ports, &all),
        workers: rows(daemon, What::Workers, &all),
        ledger: one(daemon, What::Ledger),
        floods: rows(daemon, What::Flood, &all),
        events: rows(daemon, What::Events, &all),
        history: rows(daemon, What::History, &minute),
    }
}

fn each(mut check: impl FnMut(&Said, &Said)) {
    for (state, _) in State::ALL {
        for second in 2..15 {
            check(&said(state, second - 1), &said(state, second));
        }
    }
}

fn sum<T>(rows: &[T], pick: impl Fn(&T) -> u64) -> u64 {
    rows.iter().map(pick).sum()
}

fn whole(rate: Option<f64>) -> u64 {
    crate::units::whole(rate.unwrap())
}

#[test]
fn the_header_the_ports_the_workers_the_ledger_the_services_the_floods_and_the_graph_say_the_same()
{
    each(|_, now| {
        let ports: Vec<PortRates> = now.ports.iter().map(|row| row.per_s.unwrap()).collect();
        let ledger = now.ledger.total.per_s.as_ref().unwrap();
        let status = &now.status;
        let graph = now.history.last().unwrap();
        for (header, ports, ledger, workers, graph) in [
            (
                whole(status.packets_in_per_s),
                sum(&ports, |it| it.rx),
                ledger.rx,
                sum(&now.workers, |row| row.per_s.unwrap().rx),
                graph.packets_in_per_s,
            ),
            (
                whole(status.packets_out_per_s),
                sum(&ports, |it| it.tx),
                ledger.tx,
                sum(&now.workers, |row| row.per_s.unwrap().tx),
                graph.packets_out_per_s,
            ),
            (
                whole(status.dropped_per_s),
                ledger.all_dropped(),
                ledger.all_dropped(),
                sum(&now.workers, |row| row.per_s.unwrap().dropped),
                graph.dropped_per_s.values().sum(),
            ),
            (
                whole(status.sessions_per_s),
                ledger.counters["session-opened"],
                sum(&now.services, |row| row.per_s.unwrap().opened),
                sum(&now.services, |row| row.sessions_per_s),
                graph.sessions_per_s,
            ),
            (
                whole(status.refused_per_s),
                refused_frames(&ledger.dropped),
                sum(&now.services, |row| row.per_s.unwrap().refused),
                sum(&now.services, |row| row.per_s.unwrap().refused),
                graph.refused_per_s,
            ),
            (
                whole(status.syn_per_s),
                sum(&now.floods, |row| row.per_s.unwrap().syn_in),
                sum(&now.floods, |row| row.per_s.unwrap().syn_in),
                sum(&now.floods, |row| row.syn_per_s),
                graph.syn_per_s,
            ),
        ] {
            assert_eq!((header, header, header), (ports, ledger, workers));
            assert_eq!(header, crate::units::whole(graph));
        }
        assert_eq!(whole(status.bits_in_per_s), sum(&ports, |it| it.rx_bits));
        assert_eq!(whole(status.bits_out_per_s), sum(&ports, |it| it.tx_bits));
        let busiest = now.workers.iter().map(|row| row.busy_percent).max();
        assert_eq!(Some(status.busy_percent), busiest);
        let seconds = now.ports.iter().map(|row| row.second);
        let seconds = seconds.chain(now.workers.iter().map(|row| row.second));
        let seconds = seconds.chain(now.services.iter().map(|row| row.second));
        let mut seconds = seconds.chain(now.floods.iter().map(|row| row.second));
        assert!(seconds.all(|second| second == status.second && second == now.ledger.second));
    });
}

#[test]
fn what_is_said_of_a_second_is_what_the_counters_grew_by() {
    each(|before, now| {
        for (before, now) in before.ports.iter().zip(&now.ports) {
            let rates = now.per_s.unwrap();
            assert_eq!(now.rx - before.rx, rates.rx);
            assert_eq!(now.tx - before.tx, rates.tx);
            assert_eq!(now.rx_ring_lost - before.rx_ring_lost, rates.rx_ring_lost);
        }
        let ledgers = |said: &Said| -> Vec<WorkerLedger> {
            let mut all = said.ledger.workers.clone();
            all.push(said.ledger.total.clone());
            all
        };
        for (before, now) in ledgers(before).iter().zip(&ledgers(now)) {
            let rates = now.per_s.clone().unwrap_or_default();
            assert_eq!(now.rx - before.rx, rates.rx);
            assert_eq!(now.tx - before.tx, rates.tx);
            for (reason, frames) in &now.dropped {
                let rate = rates.dropped.get(reason).copied().unwrap_or_default();
                assert_eq!(frames - before.dropped[reason], rate, "{reason}");
            }
        }
        for (before, now) in before.services.iter().zip(&now.services) {
            assert_eq!(carried(now, before), now.per_s.unwrap());
            assert_eq!(now.per_s.unwrap().opened, now.sessions_per_s);
            for (before, now) in before.reals.iter().zip(&now.reals) {
                let service = |row: &ServiceRealRow| ServiceRow {
                    opened: row.opened,
                    packets_in: row.packets_in,
                    packets_out: row.packets_out,
                    bytes_in: row.bytes_in,
                    bytes_out: row.bytes_out,
                    ..ServiceRow::default()
                };
                assert_eq!(carried(&service(now), &service(before)), now.per_s.unwrap());
            }
        }
        for (before, now) in before.floods.iter().zip(&now.floods) {
            let rates = FloodRates {
                syn_in: now.syn_in - before.syn_in,
                cookie_sent: now.cookie_sent - before.cookie_sent,
                passed: now.passed - before.passed,
                limited: now.limited - before.limited,
                cookie_valid: now.cookie_valid - before.cookie_valid,
                cookie_bad: now.cookie_bad - before.cookie_bad,
                cookie_stale: now.cookie_stale - before.cookie_stale,
                completed: now.completed - before.completed,
                failed: now.failed - before.failed,
            };
            assert_eq!(rates, now.per_s.unwrap());
        }
    });
}

fn carried(now: &ServiceRow, before: &ServiceRow) -> TrafficRates {
    TrafficRates {
        opened: now.opened - before.opened,
        refused: now.refused - before.refused,
        packets_in: now.packets_in - before.packets_in,
        packets_out: now.packets_out - before.packets_out,
        bits_in: (now.bytes_in - before.bytes_in) * 8,
        bits_out: (now.bytes_out - before.bytes_out) * 8,
    }
}

/// Each session that is refused is a frame that is dropped.
fn refused_frames(dropped: &BTreeMap<String, u64>) -> u64 {
    let of = |name| dropped.get(name).copied().unwrap_or_default();
    of("lip-exhausted") + of("no-real")
}

#[test]
fn real_servers_add_up_to_their_service_and_drops_to_what_services_and_floods_say() {
    each(|_, now| {
        for service in &now.services {
            let reals = service
                .reals
                .iter()
                .map(|real| real.per_s.as_ref().unwrap());
            let of_reals = TrafficRates {
                refused: service.per_s.unwrap().refused,
                ..reals.sum()
            };
            assert_eq!(service.per_s, Some(of_reals));
            assert_eq!(service.opened, sum(&service.reals, |real| real.opened));
        }
        let ledger = &now.ledger.total;
        assert_eq!(
            refused_frames(&ledger.dropped),
            sum(&now.services, |row| row.refused)
        );
        let opened = sum(&now.services, |row| row.opened);
        assert_eq!(ledger.counters["session-opened"], opened);
        let limited = sum(&now.floods, |row| row.limited);
        assert_eq!(ledger.dropped["reflection-guard"], limited);
        let bad = sum(&now.floods, |row| row.cookie_bad);
        assert_eq!(ledger.dropped["bad-cookie"], bad);
        // What a flood did is about what it does in a second, as often as it has lasted.
        for row in now.floods.iter().filter(|row| row.mode == "adaptive") {
            if let Some(seconds) = row.active_s {
                let each = row.limited / seconds;
                let now = row.per_s.unwrap().limited;
                assert!(each.abs_diff(now) * 10 < each, "{each} and {now}");
            }
        }
    });
}

#[test]
fn every_frame_is_accounted_for_and_workers_add_up() {
    each(|_, now| {
        let total = &now.ledger.total;
        let dropped = |ledger: &WorkerLedger| ledger.dropped.values().sum::<u64>();
        for ledger in now.ledger.workers.iter().chain([total]) {
            assert_eq!(ledger.rx, ledger.tx + dropped(ledger));
            let rates = ledger.per_s.as_ref().unwrap();
            assert_eq!(rates.rx, rates.tx + rates.all_dropped());
        }
        let workers = now.ledger.workers.iter();
        let rates: LedgerRates = workers.map(|it| it.per_s.as_ref().unwrap()).sum();
        assert_eq!(Some(rates), total.per_s);
        assert_eq!(total.rx, sum(&now.ledger.workers, |worker| worker.rx));
        assert_eq!(total.rx, sum(&now.ports, |port| port.rx));
        assert_eq!(total.tx, sum(&now.ports, |port| port.tx));
    });
}

#[test]
fn sessions_services_and_alarms_are_counted_alike_everywhere() {
    each(|_, now| {
        let status = &now.status;
        assert_eq!(status.sessions, sum(&now.services, |row| row.sessions));
        assert_eq!(status.sessions, sum(&now.workers, |row| row.sessions));
        assert_eq!(status.capacity, sum(&now.workers, |row| row.capacity));
        for service in &now.services {
            let of_reals = sum(&service.reals, |real| real.sessions + real.inactive);
            assert_eq!(service.sessions, of_reals);
        }
        let up = now.services.iter().filter(|row| row.state == "up").count();
        assert_eq!(status.services_up, up as u64);
        assert_eq!(status.alarms, status.alarm_list.len() as u64);
        let flooded = now
            .floods
            .iter()
            .filter(|row| row.active && row.mode == "adaptive");
        assert_eq!(status.floods, flooded.count() as u64);
        for pool in &now.pools {
            assert_eq!(pool.ports_used, sum(&pool.reals, |real| real.used));
            assert!(
                pool.reals
                    .iter()
                    .all(|real| real.used + real.free == pool.ports_total)
            );
        }
    });
}

#[test]
fn every_syn_becomes_something_and_no_part_is_more_than_the_whole() {
    each(|_, now| {
        assert_eq!(
            whole(now.status.syn_per_s),
            sum(&now.floods, |row| row.syn_per_s)
        );
        for row in &now.floods {
            assert_eq!(row.syn_in, row.cookie_sent + row.limited + row.passed);
            assert_eq!(row.cookie_valid, row.completed + row.failed);
            assert!(row.peak_syn_per_s.is_none_or(|peak| peak >= row.syn_per_s));
            assert!(sum(&row.top_sources, |it| it.syn_per_s) <= row.syn_per_s);
            assert!(sum(&row.top_fingerprints, |it| it.syn_per_s) <= row.syn_per_s);
            let used = whole(now.status.syn_per_s) as f64 / row.capacity.syn_per_s.unwrap() as f64;
            assert!((row.capacity.used_percent.unwrap() - used * 100.0).abs() < 0.06);
            assert_eq!(row.capacity.busy_percent, now.status.busy_percent);
        }
    });
}

#[test]
fn events_are_in_order_and_none_is_of_tomorrow() {
    each(|_, now| {
        let order: Vec<_> = now
            .events
            .iter()
            .map(|row| (row.sequence, &row.at))
            .collect();
        assert!(
            order.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
            "{order:?}"
        );
        assert!(now.events.iter().all(|row| row.at <= now.status.now));
    });
}
