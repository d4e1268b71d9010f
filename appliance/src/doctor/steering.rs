//! Whether a device spreads what it receives as it says: proven with packets of this box's own, before
//! others find out.
//!
//! A real server's answers to connections from the port's own address come in like its answers to a
//! LIP: the device hashes them by addresses and ports, and the kernel tells which queue it took them
//! from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use netmap_io::ethtool::{self, HashFields, Rss};
use netmap_io::incoming_queue;
use weir_model::{Port, Snapshot};
use weir_wire::Toeplitz;

use super::Findings;
use super::reals::Tried;

const CHECK: &str = "steering";
/// Connections through one port.
const FLOWS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(1);

/// The answer to one connection: the queue where it was foretold, and the kernel's number of the one
/// that it came in on.
type Answer = (Option<u32>, u32);

/// Connects again and again through each port with several queues to a real server that answers.
pub(crate) fn prove(snapshot: &Snapshot, tried: &Tried, findings: &mut Findings) {
    for port in snapshot.ports.iter() {
        let channels = ethtool::channels(&port.device).ok().flatten();
        let queues = channels.map_or(1, |channels| channels.queues());
        if queues < 2 {
            continue;
        }
        let Some(to) = neighbour(port, tried) else {
            findings.ok(
                CHECK,
                &port.name,
                "no real server on its network answers TCP: only traffic can prove it",
            );
            continue;
        };
        let rss = ethtool::rss(&port.device).ok();
        let rss = rss.filter(|rss| rss.check().is_ok() && has_ports(rss));
        let answers = connect(to, rss.as_ref());
        judge(&port.name, &answers, queues, rss.is_some(), findings);
    }
}

fn has_ports(rss: &Rss) -> bool {
    rss.tcp_v4 == HashFields::AddressesAndPorts
}

/// A real server that answered, and whose answers come in at this port.
fn neighbour(port: &Port, tried: &Tried) -> Option<SocketAddrV4> {
    let mut answered = tried.iter().filter(|(_, found)| found.is_ok());
    answered.find_map(|(at, _)| match at {
        SocketAddr::V4(at) => {
            let mut near = port.addresses.iter();
            near.any(|net| net.contains(&IpAddr::V4(*at.ip())))
                .then_some(*at)
        }
        SocketAddr::V6(_) => None,
    })
}

fn connect(to: SocketAddrV4, rss: Option<&Rss>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..FLOWS {
        let Ok(stream) = TcpStream::connect_timeout(&to.into(), PATIENCE) else {
            break; // It answered a moment ago, and has enough.
        };
        let queue = incoming_queue(&stream).ok().flatten();
        if let (Ok(SocketAddr::V4(own)), Some(queue)) = (stream.local_addr(), queue) {
            answers.push((rss.and_then(|rss| foretold(rss, to, own)), queue));
        }
    }
    answers
}

/// The queue of an answer, as the device's key and table have it.
fn foretold(rss: &Rss, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    let hash = Toeplitz::new(&rss.key)?.v4_ports(*from.ip(), *to.ip(), from.port(), to.port());
    let place = (hash as usize).checked_rem(rss.table.len())?;
    rss.table.get(place).copied()
}

fn judge(port: &str, answers: &[Answer], queues: u32, has_rss: bool, findings: &mut Findings) {
    let count = answers.len();
    let seen: BTreeSet<u32> = answers.iter().map(|(_, queue)| *queue).collect();
    if count < FLOWS / 2 {
        let text = "the kernel does not tell which queues its packets come in on";
        return findings.ok(CHECK, port, text);
    }
    let seen = seen.len();
    if !has_rss {
        // Whoever sends chooses the queue of a virtual device.
        let text =
            format!("the answers to {count} connections came in on {seen} of {queues} queues");
        return findings.ok(CHECK, port, text);
    }
    if seen < 2 {
        return findings.warn(
            CHECK,
            port,
            format!("the answers to {count} connections all came in on one of {queues} queues"),
            "one worker has all the work: `ethtool -x` shows what the device spreads over",
        );
    }
    let wrong = strays(answers);
    if wrong == 0 {
        let text = format!("the answers to {count} connections came in on the queues foretold");
        return findings.ok(CHECK, port, text);
    }
    findings.warn(
        CHECK,
        port,
        format!("{wrong} of {count} answers came in on another queue than was foretold"),
        "the device does not spread as it says, or its table was changed: restart Weir",
    );
}

/// Counts the answers that are not where most of those are that were foretold the same queue, and
/// those of queues that share theirs with another one.
fn strays(answers: &[Answer]) -> usize {
    let mut groups: BTreeMap<Option<u32>, BTreeMap<u32, usize>> = BTreeMap::new();
    for (foretold, queue) in answers {
        let group = groups.entry(*foretold).or_default();
        *group.entry(*queue).or_default() += 1;
    }
    let mut taken = BTreeSet::new();
    let mut right = 0;
    for group in groups.values() {
        let most = group.iter().max_by_key(|(_, count)| **count);
        if let Some((queue, count)) = most
            && taken.insert(*queue)
        {
            right += count;
        }
    }
    answers.len().saturating_sub(right)
}

#[cfg(test)]
mod tests {
    use netmap_io::ethtool::HashFunction;
    use weir_control::CheckStatus;

    use super::*;

    fn of(answers: &[Answer], has_rss: bool) -> (CheckStatus, String) {
        let mut findings = Findings::default();
        judge("lan", answers, 2, has_rss, &mut findings);
        let row = findings.into_rows().remove(0);
        (row.status, row.text)
    }

    /// Connections of which every second is foretold the second queue; the kernel calls them 70, 71.
    fn answers(queue: impl Fn(u32) -> u32) -> Vec<Answer> {
        (0..32).map(|n| (Some(n % 2), queue(n))).collect()
    }

    #[test]
    fn queues_are_proven_by_the_answers_that_came_in_on_them() {
        let good = of(&answers(|n| 70 + n % 2), true);
        assert_eq!(good.0, CheckStatus::Ok);
        assert!(good.1.ends_with("on the queues foretold"), "{}", good.1);
        let stray = of(&answers(|n| if n == 5 { 70 } else { 70 + n % 2 }), true);
        assert_eq!(stray.0, CheckStatus::Warning);
        assert!(stray.1.starts_with("1 of 32 answers"), "{}", stray.1);
        let random = of(&answers(|n| 70 + n / 2 % 2), true);
        assert_eq!(random.0, CheckStatus::Warning);
        let one = of(&answers(|_| 70), true);
        assert_eq!(one.0, CheckStatus::Warning);
        assert!(
            one.1.ends_with("all came in on one of 2 queues"),
            "{}",
            one.1
        );
        let unknown = of(&answers(|n| 70 + n / 2 % 2), false);
        assert_eq!(unknown.0, CheckStatus::Ok);
        assert!(unknown.1.ends_with("on 2 of 2 queues"), "{}", unknown.1);
        let silent = of(&[], true);
        assert!(silent.1.contains("does not tell"), "{}", silent.1);
    }

    #[test]
    fn the_queue_of_an_answer_is_that_of_the_devices_table() {
        let rss = Rss {
            // A key of zeros hashes everything to 0.
            key: vec![0; 40],
            table: vec![3, 1, 2, 0],
            function: HashFunction::Toeplitz,
            symmetric: false,
            queues: 4,
            tcp_v4: HashFields::AddressesAndPorts,
            udp_v4: HashFields::AddressesAndPorts,
        };
        let (from, to) = ("10.81.0.11:80", "10.81.0.1:40000");
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(foretold(&rss, from, to), Some(3));
        // With all its bits set, a hash is the parity of the input's bits, all over.
        let ones = Rss {
            key: vec![0xff; 40],
            ..rss
        };
        let even = foretold(&ones, from, to);
        let odd = foretold(&ones, from, SocketAddrV4::new(*to.ip(), to.port() ^ 1));
        assert_ne!(even, odd);
        assert!(
            [even, odd]
                .into_iter()
                .all(|it| it == Some(3) || it == Some(0))
        );
    }
}
