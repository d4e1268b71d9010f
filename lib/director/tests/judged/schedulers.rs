//! Each scheduler against what it promises.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use nat_engine::State;
use weir_model::RealState;

use super::field::{Conn, Fate, Field, VIP, real, web};

const WORKERS: u8 = 3;

/// Sessions of the real servers on one worker: established ones and others.
type Loads = Vec<(u64, u64)>;

fn field(scheduler: &str, weights: &[u16]) -> Field {
    let options: Vec<String> = weights.iter().map(|it| format!("weight={it}")).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let lines = format!("[service web]\nscheduler = {scheduler}\ntimeout-close = 1s\n");
    Field::new(WORKERS, &web(&lines, &options))
}

/// What the session table, and no counter, says.
fn loads(field: &Field, worker: usize, reals: usize) -> Loads {
    let mut loads = vec![(0, 0); reals];
    for session in field.sessions(worker) {
        let at = (0..reals).find(|at| real(*at) == session.real.0).unwrap();
        if session.state == State::Established {
            loads[at].0 += 1;
        } else {
            loads[at].1 += 1;
        }
    }
    loads
}

/// Opens and ends sessions at random and shows each pick to a judge, with the loads of before on the
/// worker that picked.
fn churn(field: &mut Field, reals: usize, mut judge: impl FnMut(&Loads, &Conn)) {
    let mut open: Vec<Conn> = Vec::new();
    for step in 0..400 {
        if step > 100 && field.random.chance(0.5) {
            let at = field.random.below(open.len() as u64) as usize;
            field.end(&open.swap_remove(at));
            continue;
        }
        if step % 40 == 0 {
            // What is over is forgotten.
            field.wait(Duration::from_secs(2));
        }
        let workers = 0..usize::from(WORKERS);
        let before: Vec<Loads> = workers.map(|at| loads(field, at, reals)).collect();
        let client = field.stranger();
        let conn = field.opened(client);
        judge(&before[conn.worker], &conn);
        open.push(conn);
    }
}

/// The pick is one of those with the least cost; what weighs nothing is never picked.
fn judge_least(scheduler: &str, cost: impl Fn((u64, u64), u64) -> (u64, u64)) {
    let weights = [3, 1, 0, 5];
    let mut field = field(scheduler, &weights);
    churn(&mut field, weights.len(), |loads, conn| {
        let of = |at: usize| cost(loads[at], u64::from(weights[at]));
        assert_ne!(weights[conn.real], 0);
        let (picked, weight) = of(conn.real);
        for other in (0..weights.len()).filter(|at| weights[*at] > 0) {
            let (least, of_least) = of(other);
            assert!(
                picked * of_least <= least * weight,
                "{scheduler} picked {} of {loads:?}",
                conn.real
            );
        }
    });
}

#[test]
fn lc_wlc_sed_and_nq_pick_the_least_burdened_by_the_sessions_of_the_worker() {
    judge_least("lc", |(established, others), _| {
        (established * 256 + others, 1)
    });
    judge_least("wlc", |(established, others), weight| {
        (established * 256 + others, weight)
    });
    judge_least("sed", |(established, _), weight| (established + 1, weight));
    judge_least("nq", |(established, _), weight| {
        if established == 0 {
            (0, 1)
        } else {
            (established + 1, weight)
        }
    });
}

#[test]
fn rr_and_wrr_give_every_round_of_a_worker_exactly_the_weights() {
    for (scheduler, weights, round) in [
        ("rr", [3, 1, 0, 5], [1, 1, 0, 1]),
        ("wrr", [3, 1, 0, 5], [3, 1, 0, 5]),
    ] {
        let mut field = field(scheduler, &weights);
        let mut picks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for _ in 0..300 {
            let client = field.stranger();
            let conn = field.opened(client);
            picks.entry(conn.worker).or_default().push(conn.real);
        }
        assert_eq!(picks.len(), usize::from(WORKERS));
        for of_worker in picks.values() {
            for window in of_worker.windows(round.iter().sum()) {
                let count = |at: usize| window.iter().filter(|it| **it == at).count();
                assert_eq!(
                    [count(0), count(1), count(2), count(3)],
                    round,
                    "{scheduler}"
                );
            }
        }
    }
}

#[test]
fn failover_takes_the_first_that_takes_sessions() {
    let mut field = field("failover", &[1, 1, 1]);
    let down = RealState {
        up: false,
        ..RealState::default()
    };
    let draining = RealState {
        draining: true,
        ..RealState::default()
    };
    for (at, state, expected) in [
        (2, down, 0),
        (0, down, 1),
        (1, draining, 3),
        (2, RealState::default(), 2),
        (0, RealState::default(), 0),
    ] {
        field.set(at, state);
        for _ in 0..12 {
            let client = field.stranger();
            let fate = field.open(client, VIP);
            if expected == 3 {
                assert_eq!(fate, Fate::Refused);
            } else {
                assert_eq!(fate.conn().real, expected);
            }
        }
    }
}

#[test]
fn p2c_shares_what_stays_nearly_by_weight() {
    let weights = [1u16, 2, 0, 5];
    let mut field = field("p2c", &weights);
    let mut counts = [0u16; 4];
    for _ in 0..800 {
        let client = field.stranger();
        counts[field.opened(client).real] += 1;
    }
    for (count, weight) in counts.iter().zip(weights) {
        assert!(count.abs_diff(weight * 100) <= 20, "{counts:?}");
    }
}

/// Where each of many clients goes.
fn map(field: &mut Field, clients: &[Ipv4Addr]) -> Vec<usize> {
    let one = |field: &mut Field, client: Ipv4Addr| {
        let socket = field.of(client);
        let conn = field.opened(socket);
        field.end(&conn);
        conn.real
    };
    let mut all = Vec::new();
    for (at, &client) in clients.iter().enumerate() {
        if at % 500 == 0 {
            field.wait(Duration::from_secs(2));
        }
        all.push(one(field, client));
    }
    all
}

#[test]
fn sh_and_maglev_keep_a_client_share_by_weight_and_move_few() {
    for scheduler in ["sh", "maglev"] {
        let weights = [2, 1, 1, 0, 4];
        let mut field = field(scheduler, &weights);
        let clients: Vec<Ipv4Addr> = (0..2000).map(|_| field.stranger().0).collect();
        let before = map(&mut field, &clients);
        // Other ports come by other workers, and go to the same real server.
        assert_eq!(map(&mut field, &clients), before);
        let total: u16 = weights.iter().sum();
        for (at, weight) in weights.iter().enumerate() {
            let expected = 2000 * usize::from(*weight) / usize::from(total);
            let count = before.iter().filter(|it| **it == at).count();
            // Four standard deviations of a draw are 90 at most.
            assert!(
                count.abs_diff(expected) <= 90,
                "{at}: {count} of {expected}"
            );
        }
        // One that is down loses its own clients only, and has them again afterwards.
        let down = RealState {
            up: false,
            ..RealState::default()
        };
        field.set(1, down);
        let without = map(&mut field, &clients);
        for (was, is) in before.iter().zip(&without) {
            assert!(*was == 1 && *is != 1 || was == is);
        }
        field.set(1, RealState::default());
        assert_eq!(map(&mut field, &clients), before);
        // One that is removed takes few others along.
        let options = ["weight=2", "weight=1", "weight=1", "weight=0"];
        let lines = format!("[service web]\nscheduler = {scheduler}\ntimeout-close = 1s\n");
        field.apply(&web(&lines, &options));
        let after = map(&mut field, &clients);
        let others = before.iter().zip(&after).filter(|(was, _)| **was != 4);
        let moved = others.filter(|(was, is)| was != is).count();
        assert!(
            moved <= 100,
            "{moved} of those that were not concerned moved"
        );
        assert!(after.iter().all(|at| *at < 3));
    }
}

#[test]
fn dh_goes_by_the_address_that_clients_ask_for() {
    let vips: Vec<Ipv4Addr> = (1..=60).map(|n| Ipv4Addr::new(203, 0, 113, n)).collect();
    let listens: Vec<String> = vips
        .iter()
        .map(|vip| format!("listen = {vip}:80/tcp\n"))
        .collect();
    let lines = format!("[service web]\n{}scheduler = dh\n", listens.concat());
    let mut field = Field::new(WORKERS, &web(&lines, &["", "", ""]));
    let mut used = [0; 3];
    for vip in vips {
        let mut of_vip = Vec::new();
        for _ in 0..8 {
            let client = field.stranger();
            of_vip.push(field.open(client, vip).conn().real);
        }
        assert!(of_vip.iter().all(|at| *at == of_vip[0]), "{of_vip:?}");
        used[of_vip[0]] += 1;
    }
    assert!(used.iter().all(|count| *count >= 8), "{used:?}");
}

/// The sets of real servers that a destination has on a worker, as the model has them.
#[derive(Default)]
struct Localities(BTreeMap<(usize, Ipv4Addr), Vec<usize>>);

#[test]
fn lblc_and_lblcr_stay_with_a_destination_until_it_is_overloaded_while_another_is_idle() {
    let weights = [6u64, 4, 5];
    for scheduler in ["lblc", "lblcr"] {
        let vips: Vec<Ipv4Addr> = (1..=2).map(|n| Ipv4Addr::new(203, 0, 113, n)).collect();
        let listens: Vec<String> = vips
            .iter()
            .map(|vip| format!("listen = {vip}:80/tcp\n"))
            .collect();
        let lines = format!(
            "[service web]\n{}scheduler = {scheduler}\n",
            listens.concat()
        );
        let options = ["weight=6", "weight=4", "weight=5"];
        let mut field = Field::new(WORKERS, &web(&lines, &options));
        let mut known = Localities::default();
        let mut stayed = 0;
        let mut left = 0;
        let mut open: Vec<Conn> = Vec::new();
        for _ in 0..600 {
            if field.random.below(60) < open.len() as u64 {
                let at = field.random.below(open.len() as u64) as usize;
                field.end(&open.swap_remove(at));
                continue;
            }
            let before: Vec<Loads> = (0..usize::from(WORKERS))
                .map(|at| loads(&field, at, 3))
                .collect();
            let vip = vips[field.random.below(2) as usize];
            let client = field.stranger();
            let conn = field.open(client, vip).conn();
            open.push(conn);
            let loads = &before[conn.worker];
            let cost = |at: usize| loads[at].0 * 256 + loads[at].1;
            let less = |a: usize, b: usize| cost(a) * weights[b] < cost(b) * weights[a];
            let idle = (0..3).any(|at| loads[at].0 * 2 < weights[at]);
            let members = known.0.entry((conn.worker, vip)).or_default();
            let best: Vec<usize> = members
                .iter()
                .copied()
                .filter(|at| !members.iter().any(|other| less(*other, *at)))
                .collect();
            let overloaded = best
                .first()
                .is_none_or(|at| loads[*at].0 > weights[*at] && idle);
            if overloaded {
                let worse = (0..3).any(|other| less(other, conn.real));
                assert!(!worse, "{scheduler} picked {} of {loads:?}", conn.real);
                left += usize::from(!members.is_empty());
                if scheduler == "lblc" {
                    members.clear();
                }
                if !members.contains(&conn.real) {
                    members.push(conn.real);
                }
            } else {
                assert!(
                    best.contains(&conn.real),
                    "{scheduler}: {best:?} of {loads:?}"
                );
                stayed += 1;
            }
        }
        assert!(
            stayed > 40 && left > 3,
            "{scheduler}: {stayed} stayed, {left} left"
        );
    }
}
