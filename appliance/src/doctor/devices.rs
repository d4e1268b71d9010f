//! Devices: link, driver, queues, how they spread what they receive, offloads, MTU.

use std::net::IpAddr;

use netmap_io::ethtool::{self, NoRss, Rss};
use weir_control::{PortRow, WorkerRow};
use weir_model::{Driver, Port, Snapshot};

use super::Findings;
use super::machine::Machine;
use crate::taken;

/// What the kernel says of a device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceState {
    pub(crate) link_up: bool,
    pub(crate) mtu: u32,
    pub(crate) kernel_driver: String,
    /// Queues that receive; none where the driver does not tell.
    pub(crate) queues: Option<u32>,
    /// Offloads that join packets to ones that were never on the wire.
    pub(crate) joining: Vec<&'static str>,
    pub(crate) rss: Result<Rss, NoRss>,
}

/// Offloads that join packets, by the kernel's name and that of `ethtool -K`.
const JOINING: [(&str, &str); 2] = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];
/// Frames below which a share says nothing.
const ENOUGH: u64 = 1000;

/// Asks the kernel; nothing where there is no such device.
pub(crate) fn look(device: &str) -> Option<DeviceState> {
    let facts = ethtool::facts(device).ok()?;
    let features = ethtool::features(device).unwrap_or_default();
    let joining = JOINING.iter().filter(|(name, _)| features.is_on(name));
    Some(DeviceState {
        link_up: ethtool::link_up(device).unwrap_or(false),
        mtu: facts.mtu,
        kernel_driver: facts.kernel_driver,
        queues: ethtool::channels(device)
            .ok()
            .flatten()
            .map(|channels| channels.queues()),
        joining: joining.map(|(_, name)| *name).collect(),
        rss: ethtool::rss(device),
    })
}

/// Looks at the device of one port; `row` is what the daemon says of it, where one runs.
pub(crate) fn check(
    port: &Port,
    state: Option<&DeviceState>,
    row: Option<&PortRow>,
    workers: usize,
    findings: &mut Findings,
) {
    let name = port.name.as_str();
    let Some(state) = state else {
        return findings.fail(
            "device",
            name,
            format!("there is no device `{}`", port.device),
            "`ip link` lists those that there are",
        );
    };
    if state.link_up {
        findings.ok("link", name, format!("`{}` has a link", port.device));
    } else {
        findings.fail(
            "link",
            name,
            format!("`{}` has no link", port.device),
            format!(
                "look at the cable and the switch; `ip link set {} up`",
                port.device
            ),
        );
    }
    if let Some(row) = row {
        driver(port, row, findings);
    }
    queues(port, state, row, workers, findings);
    offloads(port, state, findings);
    if let Some(row) = row.filter(|row| row.mtu != state.mtu) {
        findings.warn(
            "mtu",
            name,
            format!("it was {} at the start and is {} now", row.mtu, state.mtu),
            "restart Weir, or set it back",
        );
    }
}

fn driver(port: &Port, row: &PortRow, findings: &mut Findings) {
    const CHECK: &str = "driver";
    let text = format!("{} {}, because {}", row.driver, row.mode, row.reason);
    if row.mode.contains("generic") && port.driver == Driver::Auto {
        return findings.warn(
            CHECK,
            &port.name,
            text,
            "generic XDP copies every frame after the kernel made a packet of it; the kernel's \
             driver has a native mode in a newer kernel perhaps",
        );
    }
    findings.ok(CHECK, &port.name, text);
}

fn queues(
    port: &Port,
    state: &DeviceState,
    row: Option<&PortRow>,
    workers: usize,
    findings: &mut Findings,
) {
    let name = port.name.as_str();
    if let (Some(row), Some(queues)) = (row, state.queues) {
        // A packet socket hears all queues; the others hear those that they opened.
        if row.driver != "af-packet" && queues > row.queues {
            findings.fail(
                "queues",
                name,
                format!(
                    "the device receives on {queues} queues and Weir has {}: the rest is not seen",
                    row.queues
                ),
                format!("`ethtool -L {} combined {}`", port.device, row.queues),
            );
        } else {
            findings.ok(
                "queues",
                name,
                format!(
                    "{} for {workers} worker{}; the device has {queues}",
                    row.queues,
                    if workers == 1 { "" } else { "s" }
                ),
            );
        }
    }
    if workers < 2 {
        return;
    }
    let rss = state.rss.as_ref().map_err(Clone::clone);
    match rss.and_then(|rss| rss.check().map(|()| rss)) {
        Ok(rss) => findings.ok(
            "rss",
            name,
            format!(
                "Toeplitz with a key of {} bytes and a table of {} over {} queues: what arrives \
                 where is foretold",
                rss.key.len(),
                rss.table.len(),
                rss.queues
            ),
        ),
        // Virtual devices tell nothing, and nothing can be done about it.
        Err(NoRss::NotTold(_) | NoRss::OneQueue) => findings.ok(
            "rss",
            name,
            format!(
                "`{}` does not say how it spreads: packets are handed over between workers",
                state.kernel_driver
            ),
        ),
        Err(reason) => findings.warn(
            "rss",
            name,
            format!("packets are handed over between workers, because {reason}"),
            "what ports are hashed, by Toeplitz, is foretold; restart Weir after the change",
        ),
    }
}

fn offloads(port: &Port, state: &DeviceState, findings: &mut Findings) {
    const CHECK: &str = "offloads";
    if state.joining.is_empty() {
        return findings.ok(CHECK, &port.name, "none joins packets that must stay apart");
    }
    let names = state.joining.join(", ");
    let off: Vec<_> = state
        .joining
        .iter()
        .map(|name| format!("{name} off"))
        .collect();
    findings.warn(
        CHECK,
        &port.name,
        format!("{names} joins packets: others leave than came, or XDP loses them"),
        format!("`ethtool -K {} {}`", port.device, off.join(" ")),
    );
}

/// Whether packets that fit one port fit the others.
pub(crate) fn mtus(states: &[(&Port, Option<DeviceState>)], findings: &mut Findings) {
    const CHECK: &str = "mtu";
    let known = states.iter();
    let known = known.filter_map(|(port, state)| Some((port, state.as_ref()?.mtu)));
    let known: Vec<_> = known.collect();
    let least = known.iter().min_by_key(|(_, mtu)| *mtu);
    let most = known.iter().max_by_key(|(_, mtu)| *mtu);
    let (Some((narrow, least)), Some((wide, most))) = (least, most) else {
        return;
    };
    if least == most {
        return findings.ok(CHECK, "", format!("{least} on every port"));
    }
    findings.warn(
        CHECK,
        "",
        format!(
            "{most} on {} and {least} on {}: longer packets than {least} are refused there",
            wide.name, narrow.name
        ),
        "set the same on all ports",
    );
}

/// Whether a real server can answer to each LIP without a route of its own.
pub(crate) fn lips(snapshot: &Snapshot, findings: &mut Findings) {
    const CHECK: &str = "lips";
    for pool in snapshot.pools.iter() {
        let port = snapshot.ports.get(pool.port.index());
        let prefixes = port
            .map(|port| port.addresses.as_slice())
            .unwrap_or_default();
        let is_near = |address: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(address));
        let far = pool.lips.iter().map(|lip| lip.address);
        let far: Vec<_> = far.filter(|address| !is_near(address)).collect();
        let Some(first) = far.first() else {
            let text = format!("{} on the network of their port", pool.lips.len());
            findings.ok(CHECK, &pool.name, text);
            continue;
        };
        findings.warn(
            CHECK,
            &pool.name,
            format!(
                "{} of {} LIPs, such as {first}, are on no network of their port: real servers \
                 need a route to them",
                far.len(),
                pool.lips.len()
            ),
            "give the real servers, or their router, a route to the LIPs by this port's address",
        );
    }
}

/// Whether the kernel leaves VIPs and LIPs to Weir; `kernel` are the addresses that it has.
pub(crate) fn kernel_addresses(
    snapshot: &Snapshot,
    kernel: &[(IpAddr, String)],
    findings: &mut Findings,
) {
    const CHECK: &str = "kernel-addresses";
    let taken = taken::of(snapshot, kernel);
    if taken.is_empty() {
        findings.ok(CHECK, "", "the kernel has no VIP and no LIP");
    }
    for taken in taken {
        let address = taken.address.to_string();
        findings.warn(CHECK, &address, taken.text(), taken.advice());
    }
}

/// What the traffic so far proves: rings that kept up, and frames that arrived where they belong.
pub(crate) fn traffic(
    ports: &[PortRow],
    workers: &[WorkerRow],
    foretold: bool,
    findings: &mut Findings,
) {
    for port in ports {
        for (direction, lost, all) in [
            ("received", port.rx_ring_lost, port.rx),
            ("transmitted", port.tx_ring_lost, port.tx),
        ] {
            if lost * 10_000 > lost + all {
                findings.warn(
                    "rings",
                    &port.name,
                    format!(
                        "{lost} of {} frames to be {direction} were lost in the rings",
                        lost + all
                    ),
                    "more workers, `poll = busy`, or cores that nobody else uses",
                );
            } else {
                let all = lost + all;
                findings.ok(
                    "rings",
                    &port.name,
                    format!("{lost} of {all} {direction} frames lost"),
                );
            }
        }
    }
    if let Some(worker) = workers.iter().find(|worker| !worker.balanced) {
        findings.fail(
            "ledger",
            "",
            format!("frames of worker {} are not accounted for", worker.worker),
            "`weir show ledger --json`, and tell the makers",
        );
    }
    steering(workers, foretold, findings);
}

fn steering(workers: &[WorkerRow], foretold: bool, findings: &mut Findings) {
    const CHECK: &str = "steering";
    if workers.len() < 2 {
        return;
    }
    let received: u64 = workers.iter().map(|worker| worker.rx).sum();
    let handed: u64 = workers.iter().map(|worker| worker.handed_out).sum();
    if received < ENOUGH {
        let text = format!("{received} frames so far prove nothing");
        return findings.ok(CHECK, "", text);
    }
    if received >= ENOUGH * workers.len() as u64
        && let Some(worker) = workers.iter().find(|worker| worker.rx == 0)
    {
        let text = format!("worker {} got none of {received} frames", worker.worker);
        return findings.warn(
            CHECK,
            "",
            text,
            "`ethtool -x DEVICE` shows which queues the device spreads over; a few clients alone may \
             not fill all of them",
        );
    }
    let percent = handed * 100 / received;
    let text = format!("{percent} % of {received} frames arrived on another worker's queue");
    if foretold && percent > 10 {
        return findings.warn(
            CHECK,
            "",
            text,
            "the device does not spread as it says, or its table was changed: restart Weir",
        );
    }
    findings.ok(CHECK, "", text);
}

/// Which cores the workers run on, or would.
pub(crate) fn cores_of(snapshot: &Snapshot, workers: Option<&[WorkerRow]>) -> Vec<u16> {
    match workers {
        Some(workers) => {
            let cpus = workers.iter().filter_map(|worker| worker.cpu);
            cpus.filter_map(|cpu| u16::try_from(cpu).ok()).collect()
        }
        None => snapshot.workers.cpus.clone(),
    }
}

/// Whether each worker's core is near the devices.
pub(crate) fn nodes(
    machine: &Machine,
    snapshot: &Snapshot,
    cores: &[u16],
    findings: &mut Findings,
) {
    for port in snapshot.ports.iter() {
        let node = machine.sys(format!("class/net/{}/device/numa_node", port.device));
        let Some(node) = node.and_then(|node| node.parse::<u32>().ok()) else {
            continue; // A machine with one node says -1, a virtual device nothing.
        };
        let near = machine.sys(format!("devices/system/node/node{node}/cpulist"));
        let near = near.and_then(|text| crate::daemon::machine::cpu_list(&text));
        let near = near.unwrap_or_default();
        let far = cores.iter().copied().filter(|core| !near.contains(core));
        let far: Vec<u16> = far.collect();
        if !far.is_empty() && !near.is_empty() {
            findings.warn(
                "numa",
                &port.name,
                format!(
                    "`{}` is at node {node}, and the workers on core {} are not",
                    port.device,
                    crate::daemon::machine::list(&far)
                ),
                "name cores of that node in [workers] cpus",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use netmap_io::ethtool::{HashFields, HashFunction};
    use weir_control::CheckStatus;

    use super::*;
    use crate::doctor::tests::{Fake, snapshot};

    fn good() -> DeviceState {
        DeviceState {
            link_up: true,
            mtu: 1500,
            kernel_driver: "ice".to_owned(),
            queues: Some(4),
            joining: Vec::new(),
            rss: Ok(Rss {
                key: vec![1; 40],
                table: vec![0, 1, 2, 3],
                function: HashFunction::Toeplitz,
                symmetric: false,
                queues: 4,
                tcp_v4: HashFields::AddressesAndPorts,
                udp_v4: HashFields::AddressesAndPorts,
            }),
        }
    }

    fn row() -> PortRow {
        PortRow {
            driver: "af-xdp".to_owned(),
            mode: "native copy".to_owned(),
            queues: 4,
            mtu: 1500,
            ..PortRow::default()
        }
    }

    /// What is not as it should be.
    fn bad(state: Option<&DeviceState>, row: &PortRow) -> Vec<(String, CheckStatus)> {
        let config = snapshot("");
        let mut findings = Findings::default();
        check(
            config.ports.iter().next().unwrap(),
            state,
            Some(row),
            4,
            &mut findings,
        );
        let rows = findings.into_rows().into_iter();
        rows.filter(|row| row.status != CheckStatus::Ok)
            .map(|row| (row.check, row.status))
            .collect()
    }

    #[test]
    fn each_fault_of_a_device_is_told_by_itself() {
        use CheckStatus::{Failure, Warning};
        assert_eq!(bad(Some(&good()), &row()), []);
        assert_eq!(bad(None, &row()), [("device".to_owned(), Failure)]);
        let told = |change: fn(&mut DeviceState, &mut PortRow)| {
            let (mut state, mut row) = (good(), row());
            change(&mut state, &mut row);
            let all = bad(Some(&state), &row);
            assert_eq!(all.len(), 1, "{all:?}");
            all.into_iter().next().unwrap()
        };
        let is = |check: &str, status| (check.to_owned(), status);
        assert_eq!(told(|it, _| it.link_up = false), is("link", Failure));
        assert_eq!(told(|it, _| it.mtu = 9000), is("mtu", Warning));
        assert_eq!(told(|it, _| it.queues = Some(8)), is("queues", Failure));
        assert_eq!(
            told(|it, _| it.joining = vec!["lro"]),
            is("offloads", Warning)
        );
        let symmetric = told(|it, _| {
            if let Ok(rss) = &mut it.rss {
                rss.symmetric = true;
            }
        });
        assert_eq!(symmetric, is("rss", Warning));
        let generic = told(|_, row| "generic".clone_into(&mut row.mode));
        assert_eq!(generic, is("driver", Warning));
    }

    #[test]
    fn ports_of_different_mtus_are_told_once() {
        let config = snapshot("");
        let ports: Vec<&Port> = config.ports.iter().collect();
        let of = |mtu: u32| {
            let wide = DeviceState { mtu, ..good() };
            let mut findings = Findings::default();
            let states = [(ports[0], Some(wide)), (ports[1], Some(good()))];
            mtus(&states, &mut findings);
            findings.into_rows().remove(0)
        };
        assert_eq!(of(1500).status, CheckStatus::Ok);
        let wide = of(9000);
        assert_eq!(wide.status, CheckStatus::Warning);
        assert!(
            wide.text.starts_with("9000 on wan and 1500 on lan"),
            "{}",
            wide.text
        );
    }

    #[test]
    fn lips_that_are_not_on_the_link_are_told() {
        let of = |config: &Snapshot| {
            let mut findings = Findings::default();
            lips(config, &mut findings);
            findings.into_rows().remove(0)
        };
        assert_eq!(of(&snapshot("")).status, CheckStatus::Ok);
        let mut config = snapshot("");
        let mut pool = config.pools.get(0).unwrap().clone();
        pool.lips[0].address = [10, 99, 0, 1].into();
        config.pools.insert(0, pool);
        assert!(of(&config).text.contains("such as 10.99.0.1"));
    }

    #[test]
    fn vips_and_lips_that_the_kernel_has_are_told() {
        let of = |kernel: &[(IpAddr, String)]| {
            let mut findings = Findings::default();
            kernel_addresses(&snapshot(""), kernel, &mut findings);
            findings.into_rows()
        };
        let none = of(&[([192, 0, 2, 1].into(), "lo".to_owned())]);
        assert_eq!(none[0].status, CheckStatus::Ok);
        let [row] = &of(&[([10, 80, 0, 100].into(), "lo".to_owned())])[..] else {
            panic!("one VIP is one warning");
        };
        assert_eq!(row.status, CheckStatus::Warning);
        assert_eq!(row.subject, "10.80.0.100");
    }

    #[test]
    fn lost_frames_and_a_spread_that_is_not_as_foretold_are_told() {
        let worker = |rx, handed_out| WorkerRow {
            rx,
            handed_out,
            balanced: true,
            ..WorkerRow::default()
        };
        let of = |port: PortRow, workers: &[WorkerRow], foretold| {
            let mut findings = Findings::default();
            traffic(&[port], workers, foretold, &mut findings);
            let rows = findings.into_rows().into_iter();
            rows.filter(|row| row.status != CheckStatus::Ok)
                .map(|row| row.text)
                .collect::<Vec<_>>()
        };
        let quiet = PortRow {
            rx: 1_000_000,
            rx_ring_lost: 5,
            ..row()
        };
        assert_eq!(
            of(
                quiet.clone(),
                &[worker(1000, 500), worker(1000, 500)],
                false
            ),
            Vec::<String>::new()
        );
        let lossy = PortRow {
            rx_ring_lost: 500,
            ..quiet.clone()
        };
        assert_eq!(of(lossy, &[], true).len(), 1);
        let told = of(quiet.clone(), &[worker(1000, 500), worker(1000, 500)], true);
        assert_eq!(
            told,
            ["50 % of 2000 frames arrived on another worker's queue"]
        );
        assert_eq!(
            of(quiet.clone(), &[worker(10, 9), worker(10, 9)], true),
            Vec::<String>::new()
        );
        let told = of(quiet.clone(), &[worker(5000, 0), worker(0, 0)], false);
        assert_eq!(told, ["worker 0 got none of 5000 frames"]);
        let mut odd = worker(1000, 0);
        odd.balanced = false;
        assert!(of(quiet, &[odd], true)[0].contains("not accounted for"));
    }

    #[test]
    fn workers_far_from_their_device_are_told() {
        let fake = Fake::new("numa");
        fake.sys("class/net/wan0/device/numa_node", "1\n");
        fake.sys("class/net/lan0/device/numa_node", "-1\n");
        fake.sys("devices/system/node/node1/cpulist", "4-7\n");
        let config = snapshot("");
        let of = |cores: &[u16]| {
            let mut findings = Findings::default();
            nodes(&fake.machine(), &config, cores, &mut findings);
            findings.into_rows().len()
        };
        assert_eq!((of(&[4, 5]), of(&[3, 4])), (0, 1));
    }
}
