//! Real servers and the ports towards them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use weir_control::{HealthRow, PoolRow, ServiceRow};
use weir_model::{Protocol, Snapshot};

use super::Findings;
use crate::log::words;

/// Real servers that are tried at the same time.
const AT_ONCE: usize = 32;
/// Real servers that are tried at all.
const MOST: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(1);
/// Sessions without an answer that prove something; fewer may be young.
const ENOUGH: u64 = 10;
/// An end of the ports that is nearer than this is told.
const SOON_S: u64 = 3600;

/// What came of trying a real server.
pub(crate) type Tried = BTreeMap<SocketAddr, Result<(), String>>;

/// Connects to every TCP real server from this box's own address, as a health check does.
pub(crate) fn connect(snapshot: &Snapshot) -> Tried {
    let services = snapshot.services.iter();
    let tcp = services.filter(|service| service.protocol == Protocol::Tcp);
    let reals = tcp.flat_map(|service| &service.reals);
    let mut all: Vec<_> = reals
        .map(|real| SocketAddr::new(real.address, real.port))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(MOST);
    let left = Mutex::new(all);
    let tried = Mutex::new(Tried::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(to) = left.lock().ok().and_then(|mut left| left.pop()) {
                    let tried_it = TcpStream::connect_timeout(&to, PATIENCE);
                    let found = tried_it.map(drop).map_err(|error| words(&error));
                    if let Ok(mut tried) = tried.lock() {
                        tried.insert(to, found);
                    }
                }
            });
        }
    });
    tried.into_inner().unwrap_or_default()
}

/// Says of each service which real servers cannot be reached, by the health checks where they know
/// and by trying where they do not.
pub(crate) fn check(
    snapshot: &Snapshot,
    tried: &Tried,
    health: &[HealthRow],
    findings: &mut Findings,
) {
    const CHECK: &str = "real-servers";
    for service in snapshot.services.iter() {
        let mut bad = Vec::new();
        let mut asked = 0;
        for real in &service.reals {
            let at = SocketAddr::new(real.address, real.port);
            let name = at.to_string();
            let mut rows = health.iter();
            let row = rows.find(|row| row.service == service.name && row.real == name);
            let checked = row.filter(|row| row.state == "down" || row.state == "up");
            // Who answers TCP says nothing of UDP.
            let tried = tried.get(&at).filter(|_| service.protocol == Protocol::Tcp);
            match (checked, tried) {
                (Some(row), _) => {
                    asked += 1;
                    if row.state == "down" {
                        let why = row.last_error.as_deref().unwrap_or("its checks failed");
                        bad.push(format!("{name} is down: {why}"));
                    }
                }
                (None, Some(found)) => {
                    asked += 1;
                    if let Err(why) = found {
                        bad.push(format!("{name}: {why}"));
                    }
                }
                (None, None) => {}
            }
        }
        let all = service.reals.len();
        // A connection from here takes the kernel's way, and so does a check.
        let advice = if bad.iter().any(|one| one.contains("network is unreachable")) {
            "give this box's kernel a route to it (`ip route`): checks take that, and neither a \
             [route] nor a `gateway`"
        } else {
            "look at the server and at what filters between it and this box"
        };
        if bad.is_empty() {
            let text = match asked {
                0 => format!("{all}, which nobody can ask without a health check"),
                _ => format!("{asked} of {all} answer this box"),
            };
            findings.ok(CHECK, &service.name, text);
        } else if bad.len() == all {
            let text = format!("none of {all} answers: {}", some(&bad));
            findings.fail(CHECK, &service.name, text, advice);
        } else {
            let text = format!("{} of {all} do not answer: {}", bad.len(), some(&bad));
            findings.warn(CHECK, &service.name, text, advice);
        }
    }
}

/// Whether real servers that got sessions ever sent something back to the LIPs.
pub(crate) fn ways_back(services: &[ServiceRow], findings: &mut Findings) {
    const CHECK: &str = "way-back";
    const ADVICE: &str = "its way to the LIPs must lead to this box: a route, a VLAN, or what \
                          filters by source address";
    let mut proven = 0;
    for service in services {
        let is_one_way = service.protocol == Protocol::Udp.name();
        for real in &service.reals {
            if real.packets_out > 0 {
                proven += 1;
            } else if real.opened > 0 {
                let text = format!(
                    "{} got {} and no packet of it came back to a LIP",
                    real.address,
                    match real.opened {
                        1 => "a session".to_owned(),
                        opened => format!("{opened} sessions"),
                    }
                );
                if is_one_way {
                    let advice = "that is as it should be where its datagrams want no answer; \
                                  else its way to the LIPs must lead to this box";
                    findings.warn(CHECK, &service.name, text, advice);
                } else if real.opened >= ENOUGH {
                    findings.fail(CHECK, &service.name, text, ADVICE);
                } else {
                    findings.warn(CHECK, &service.name, text, ADVICE);
                }
            }
        }
    }
    let text = match proven {
        1 => "1 real server has answered to a LIP".to_owned(),
        _ => format!("{proven} real servers have answered to a LIP"),
    };
    findings.ok(CHECK, "", text);
}

/// How many local ports are left, and for how long.
pub(crate) fn pools(snapshot: &Snapshot, rows: &[PoolRow], findings: &mut Findings) {
    const CHECK: &str = "ports-left";
    for row in rows {
        let pool = snapshot.pools.iter().find(|pool| pool.name == row.name);
        let warn_at = pool.map_or(80, |pool| u64::from(pool.warn_at));
        let total = row.ports_total.max(1);
        let advice = format!("add addresses to [lip-pool {}] and `weir apply`", row.name);
        let worst = row.reals.iter().max_by_key(|real| real.used);
        let Some(worst) = worst else {
            let text = format!("{total} towards each real server, and no service uses them");
            findings.ok(CHECK, &row.name, text);
            continue;
        };
        let soonest = row
            .reals
            .iter()
            .filter_map(|real| real.exhausted_in_s)
            .min();
        let percent = worst.used * 100 / total;
        let used = format!(
            "{} of {total} in use towards {} ({percent} %)",
            worst.used, worst.real
        );
        let used = match soonest {
            Some(seconds) => format!("{used}, none left in {seconds} s at this rate"),
            None => used,
        };
        if worst.free == 0 {
            findings.fail(CHECK, &row.name, used, advice);
        } else if percent >= warn_at || soonest.is_some_and(|seconds| seconds < SOON_S) {
            findings.warn(CHECK, &row.name, used, advice);
        } else {
            findings.ok(CHECK, &row.name, used);
        }
    }
}

fn some(all: &[String]) -> String {
    const TOLD: usize = 3;
    let told = all
        .get(..TOLD.min(all.len()))
        .unwrap_or_default()
        .join("; ");
    match all.len().checked_sub(TOLD) {
        Some(more) if more > 0 => format!("{told}; and {more} more"),
        Some(_) | None => told,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use weir_control::{CheckRow, CheckStatus, PoolRealRow, ServiceRealRow};

    use super::*;
    use crate::doctor::tests::snapshot;

    fn told(check: impl FnOnce(&mut Findings)) -> Vec<CheckRow> {
        let mut findings = Findings::default();
        check(&mut findings);
        findings.into_rows()
    }

    #[test]
    fn a_service_is_told_by_how_many_of_its_real_servers_answer() {
        let config = snapshot("real = 10.81.0.12:80\n");
        let at = |n: u8| SocketAddr::from(([10, 81, 0, n], 80));
        let of = |first: Result<(), String>, second, health: &[HealthRow]| {
            let tried = [(at(11), first), (at(12), second)].into();
            told(|to| check(&config, &tried, health, to)).remove(0)
        };
        let refused = || Err("connection refused".to_owned());
        assert_eq!(of(Ok(()), Ok(()), &[]).text, "2 of 2 answer this box");
        let one = of(Ok(()), refused(), &[]);
        assert_eq!(one.status, CheckStatus::Warning);
        assert_eq!(
            one.text,
            "1 of 2 do not answer: 10.81.0.12:80: connection refused"
        );
        assert_eq!(of(refused(), refused(), &[]).status, CheckStatus::Failure);
        let down = HealthRow {
            service: "web".to_owned(),
            real: at(11).to_string(),
            state: "down".to_owned(),
            last_error: Some("it says 503".to_owned()),
            ..HealthRow::default()
        };
        let known = of(Ok(()), Ok(()), &[down]);
        assert_eq!(
            known.text,
            "1 of 2 do not answer: 10.81.0.11:80 is down: it says 503"
        );
    }

    #[test]
    fn real_servers_are_tried_from_here() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut config = snapshot("real = 10.81.0.12:80\n");
        let mut service = config.services.get(0).unwrap().clone();
        for (real, at) in service.reals.iter_mut().zip([open, closed]) {
            (real.address, real.port) = (at.ip(), at.port());
        }
        config.services.insert(0, service);
        let tried = connect(&config);
        assert_eq!(tried[&open], Ok(()));
        assert_eq!(tried[&closed], Err("connection refused".to_owned()));
    }

    #[test]
    fn a_real_server_that_never_answered_a_lip_is_told() {
        let row = |protocol: &str, opened, packets_out| ServiceRow {
            protocol: protocol.to_owned(),
            reals: vec![ServiceRealRow {
                address: "10.81.0.11:80".to_owned(),
                opened,
                packets_out,
                ..ServiceRealRow::default()
            }],
            ..ServiceRow::default()
        };
        let worst = |row| {
            let rows = told(|to| ways_back(&[row], to));
            rows.iter().map(|row| row.status).max()
        };
        assert_eq!(worst(row("tcp", 50, 1)), Some(CheckStatus::Ok));
        assert_eq!(worst(row("tcp", 0, 0)), Some(CheckStatus::Ok));
        assert_eq!(worst(row("tcp", 1, 0)), Some(CheckStatus::Warning));
        assert_eq!(worst(row("tcp", 9, 0)), Some(CheckStatus::Warning));
        assert_eq!(worst(row("tcp", 10, 0)), Some(CheckStatus::Failure));
        // A log of datagrams is answered by nobody.
        assert_eq!(worst(row("udp", 10, 0)), Some(CheckStatus::Warning));
    }

    #[test]
    fn ports_that_run_out_are_told_before_they_do() {
        let config = snapshot("");
        let of = |used, exhausted_in_s| {
            let row = PoolRow {
                name: "blue".to_owned(),
                ports_total: 1000,
                reals: vec![PoolRealRow {
                    real: "10.81.0.11:80/tcp".to_owned(),
                    used,
                    free: 1000 - used,
                    exhausted_in_s,
                }],
                ..PoolRow::default()
            };
            told(|to| pools(&config, &[row], to)).remove(0)
        };
        assert_eq!(of(10, None).status, CheckStatus::Ok);
        assert_eq!(of(10, Some(7200)).status, CheckStatus::Ok);
        let soon = of(10, Some(600));
        assert_eq!(soon.status, CheckStatus::Warning);
        assert!(soon.text.ends_with("none left in 600 s at this rate"));
        assert_eq!(of(800, None).status, CheckStatus::Warning);
        assert_eq!(of(1000, None).status, CheckStatus::Failure);
    }
}
