//! The machine: kernel, memory, cores, clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netmap_io::ClockState;
use weir_model::{Poll, Snapshot, SynproxyMode};

use super::Findings;
use crate::daemon::machine::{cpu_list, list};

/// A session with its share of the tables, in bytes.
const BYTES_A_SESSION: u64 = 160;

/// Where the kernel tells of itself; tests have folders of their own for it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    proc: PathBuf,
    sys: PathBuf,
}

impl Machine {
    /// The one that this process runs on.
    pub(crate) fn this() -> Self {
        Self::at(Path::new("/proc"), Path::new("/sys"))
    }

    /// One that is told of in these folders.
    pub(crate) fn at(proc: &Path, sys: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            sys: sys.to_owned(),
        }
    }

    fn proc(&self, name: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.proc.join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    pub(super) fn sys(&self, name: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.sys.join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, name: impl AsRef<Path>) -> Option<u64> {
        self.proc(name)?.parse().ok()
    }
}

/// What the kernel does on its own with what passes the ports.
pub(crate) fn kernel(machine: &Machine, snapshot: &Snapshot, findings: &mut Findings) {
    forwarding(machine, snapshot, findings);
    reverse_paths(machine, snapshot, findings);
    conntrack(machine, findings);
}

fn forwarding(machine: &Machine, snapshot: &Snapshot, findings: &mut Findings) {
    const CHECK: &str = "ip-forward";
    if machine.proc("sys/net/ipv4/ip_forward").as_deref() != Some("1") {
        return findings.ok(CHECK, "", "the kernel routes nothing between the ports");
    }
    let ports = snapshot.ports.iter();
    let open = ports.filter(|port| {
        let name = format!("sys/net/ipv4/conf/{}/forwarding", port.device);
        machine.proc(name).as_deref() != Some("0")
    });
    let open: Vec<_> = open.map(|port| port.device.as_str()).collect();
    if open.is_empty() {
        return findings.ok(CHECK, "", "the kernel routes, and not between the ports");
    }
    findings.warn(
        CHECK,
        "",
        format!(
            "the kernel routes what comes in on {} and is not Weir's: clients may reach the real \
             servers past it",
            open.join(", ")
        ),
        "`sysctl net.ipv4.ip_forward=0`, unless this box is to be a router",
    );
}

fn reverse_paths(machine: &Machine, snapshot: &Snapshot, findings: &mut Findings) {
    const CHECK: &str = "rp-filter";
    let value = |name: &str| machine.number(format!("sys/net/ipv4/conf/{name}/rp_filter"));
    let all = value("all").unwrap_or_default();
    let mut strict = Vec::new();
    for port in snapshot.ports.iter() {
        // The kernel takes the larger of the two.
        if value(&port.device).unwrap_or_default().max(all) == 1 {
            strict.push(port.device.as_str());
        }
    }
    let routes = snapshot.routes.iter().any(|route| route.via.is_ipv4());
    if routes && snapshot.ports.count() > 1 && !strict.is_empty() {
        return findings.warn(
            CHECK,
            "",
            format!(
                "{} filter strictly by reverse path, and the configuration has routes that the \
                 kernel may not know: answers to health checks may be dropped",
                strict.join(", ")
            ),
            "give the kernel the same routes, or `sysctl net.ipv4.conf.all.rp_filter=2`",
        );
    }
    findings.ok(
        CHECK,
        "",
        "no health check is lost to it, and Weir's packets never meet it",
    );
}

fn conntrack(machine: &Machine, findings: &mut Findings) {
    const CHECK: &str = "conntrack";
    let of = |name: &str| machine.number(format!("sys/net/netfilter/nf_conntrack_{name}"));
    match (of("count"), of("max")) {
        (Some(count), Some(most)) if count * 10 >= most * 8 => findings.warn(
            CHECK,
            "",
            format!("the kernel follows {count} connections of at most {most}: it will drop more"),
            "`sysctl net.netfilter.nf_conntrack_max`, or rules with `notrack` for health checks",
        ),
        (Some(count), Some(most)) => findings.ok(
            CHECK,
            "",
            format!("the kernel follows {count} of {most} connections, and none of Weir's"),
        ),
        _ => findings.ok(CHECK, "", "the kernel follows no connections"),
    }
}

/// Whether the tables fit, and what pages they get. `workers` is how many there are or will be.
pub(crate) fn memory(
    machine: &Machine,
    snapshot: &Snapshot,
    workers: usize,
    runs: bool,
    findings: &mut Findings,
) {
    const CHECK: &str = "memory";
    let meminfo = machine.proc("meminfo").unwrap_or_default();
    let mib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib >> 10)
    };
    let (Some(total), Some(free)) = (mib("MemTotal:"), mib("MemAvailable:")) else {
        return findings.warn(
            CHECK,
            "",
            "the kernel does not tell how much memory there is",
            "mount /proc",
        );
    };
    let sessions = snapshot.workers.sessions.map(u64::from);
    let tables = sessions.map(|each| (each * workers as u64 * BYTES_A_SESSION) >> 20);
    match tables {
        Some(tables) if !runs && tables > free => findings.fail(
            CHECK,
            "",
            format!("the tables need {tables} MiB, and {free} of {total} MiB are free"),
            "set fewer [workers] sessions",
        ),
        Some(_) | None if free < total / 20 => findings.warn(
            CHECK,
            "",
            format!("{free} of {total} MiB are free"),
            "end what else runs here, or set fewer [workers] sessions",
        ),
        Some(tables) => findings.ok(
            CHECK,
            "",
            format!("the tables have {tables} MiB, and {free} of {total} MiB are free"),
        ),
        None => findings.ok(CHECK, "", format!("{free} of {total} MiB are free")),
    }
    let modes = machine.sys("kernel/mm/transparent_hugepage/enabled");
    match modes.as_deref() {
        Some(modes) if modes.contains("[never]") => findings.warn(
            "thp",
            "",
            "the kernel gives nobody huge pages: look-ups of sessions are slower",
            "write `madvise` to /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        Some(_) => findings.ok("thp", "", "the kernel gives huge pages to who asks"),
        None => findings.warn(
            "thp",
            "",
            "this kernel has no transparent huge pages: look-ups of sessions are slower",
            "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE",
        ),
    }
}

/// Who else runs on the workers' cores, and how fast these are.
pub(crate) fn cores(
    machine: &Machine,
    snapshot: &Snapshot,
    workers: &[u16],
    findings: &mut Findings,
) {
    const CHECK: &str = "cores";
    if workers.is_empty() {
        return;
    }
    let cpu = |cpu: u16, name: &str| machine.sys(format!("devices/system/cpu/cpu{cpu}/{name}"));
    let slow = workers.iter().copied().filter(|core| {
        let governor = cpu(*core, "cpufreq/scaling_governor");
        governor.is_some_and(|governor| governor != "performance")
    });
    let slow: Vec<u16> = slow.collect();
    if !slow.is_empty() {
        findings.warn(
            CHECK,
            "",
            format!("core {} may clock down when a worker sleeps", list(&slow)),
            "`cpupower frequency-set -g performance`",
        );
    }
    for (place, core) in workers.iter().enumerate() {
        let siblings = cpu(*core, "topology/thread_siblings_list");
        let siblings = siblings
            .and_then(|text| cpu_list(&text))
            .unwrap_or_default();
        let later = workers.iter().skip(place + 1);
        let shared: Vec<u16> = later.copied().filter(|it| siblings.contains(it)).collect();
        if !shared.is_empty() {
            findings.warn(
                CHECK,
                "",
                format!(
                    "core {core} and core {} are one core with two threads",
                    list(&shared)
                ),
                "name one thread of each core in [workers] cpus",
            );
        }
    }
    let isolated = machine
        .sys("devices/system/cpu/isolated")
        .unwrap_or_default();
    let isolated = cpu_list(&isolated).unwrap_or_default();
    let shared = workers.iter().copied().filter(|it| !isolated.contains(it));
    let shared: Vec<u16> = shared.collect();
    match snapshot.workers.poll {
        Poll::Busy if !shared.is_empty() => findings.warn(
            CHECK,
            "",
            format!(
                "other threads may run on core {}, where workers spin",
                list(&shared)
            ),
            "boot with isolcpus= and nohz_full= for these cores",
        ),
        Poll::Busy | Poll::Adaptive => findings.ok(
            CHECK,
            "",
            format!(
                "workers run on core {}{}",
                list(workers),
                if shared.is_empty() {
                    ", which nobody else uses"
                } else {
                    ", and before ordinary threads there"
                }
            ),
        ),
    }
}

/// Whether the clock is right enough for the cookies of a cluster, and for logs.
pub(crate) fn clock(state: Option<ClockState>, snapshot: &Snapshot, findings: &mut Findings) {
    const CHECK: &str = "clock";
    let services = snapshot.services.iter();
    let shared = services
        .map(|service| &service.synproxy)
        .filter(|it| it.mode != SynproxyMode::Off && it.secret_file.is_some());
    // Two boxes may each be wrong by half of it.
    let may_differ = shared.map(|it| it.cookie_lifetime / 4).min();
    let advice = "run a time service: chrony, ntpd or systemd-timesyncd; on the appliance name servers by \
                  `ntp` in [management]";
    match (state, may_differ) {
        (None, _) => findings.warn(CHECK, "", "the kernel does not tell of its clock", advice),
        (Some(state), Some(may)) if !state.synchronised => findings.warn(
            CHECK,
            "",
            format!(
                "nothing synchronises it, and boxes that share a secret-file refuse each other's \
                 cookies when their clocks differ by {} s",
                may.as_secs()
            ),
            advice,
        ),
        (Some(state), None) if !state.synchronised => findings.warn(
            CHECK,
            "",
            "nothing synchronises it: logs of several boxes cannot be put in order",
            advice,
        ),
        (Some(state), Some(may)) if state.most_wrong * 2 > may => findings.warn(
            CHECK,
            "",
            format!(
                "it may be wrong by {}, and boxes that share a secret-file may differ by {} s",
                millis(state.most_wrong),
                may.as_secs()
            ),
            advice,
        ),
        (Some(state), _) => findings.ok(
            CHECK,
            "",
            format!(
                "synchronised, wrong by {} at most",
                millis(state.most_wrong)
            ),
        ),
    }
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use weir_control::{CheckRow, CheckStatus};

    use super::*;
    use crate::doctor::tests::{Fake, snapshot};

    fn told(check: impl FnOnce(&mut Findings)) -> Vec<CheckRow> {
        let mut findings = Findings::default();
        check(&mut findings);
        findings.into_rows()
    }

    fn statuses(rows: &[CheckRow]) -> Vec<(&str, CheckStatus)> {
        let rows = rows.iter();
        rows.map(|row| (row.check.as_str(), row.status)).collect()
    }

    #[test]
    fn a_kernel_that_keeps_out_of_the_way_is_ok_and_one_that_routes_is_told() {
        use CheckStatus::{Ok, Warning};
        let fake = Fake::new("kernel");
        let config = snapshot("");
        let rows = told(|to| kernel(&fake.machine(), &config, to));
        let good = [("ip-forward", Ok), ("rp-filter", Ok), ("conntrack", Ok)];
        assert_eq!(statuses(&rows), good);
        fake.proc("sys/net/ipv4/ip_forward", "1\n");
        fake.proc("sys/net/ipv4/conf/wan0/forwarding", "1\n");
        fake.proc("sys/net/ipv4/conf/lan0/forwarding", "0\n");
        fake.proc("sys/net/ipv4/conf/all/rp_filter", "1\n");
        fake.proc("sys/net/netfilter/nf_conntrack_count", "900\n");
        fake.proc("sys/net/netfilter/nf_conntrack_max", "1000\n");
        let config = snapshot("[route 10.9.0.0/16]\nvia = 10.81.0.9\nport = lan\n");
        let rows = told(|to| kernel(&fake.machine(), &config, to));
        let bad = ["ip-forward", "rp-filter", "conntrack"].map(|check| (check, Warning));
        assert_eq!(statuses(&rows), bad);
        assert!(rows[0].text.contains("wan0") && !rows[0].text.contains("lan0"));
        fake.proc("sys/net/ipv4/conf/wan0/forwarding", "0\n");
        let rows = told(|to| kernel(&fake.machine(), &config, to));
        assert_eq!(rows[0].status, Ok);
    }

    #[test]
    fn tables_that_do_not_fit_and_a_kernel_without_huge_pages_are_told() {
        use CheckStatus::{Failure, Ok, Warning};
        let fake = Fake::new("memory");
        let config = snapshot("[workers]\nsessions = 2M\n");
        let rows = told(|to| memory(&fake.machine(), &config, 2, false, to));
        assert_eq!(statuses(&rows), [("memory", Warning)]);
        fake.proc(
            "meminfo",
            "MemTotal: 8000000 kB\nMemAvailable: 5000000 kB\n",
        );
        fake.sys(
            "kernel/mm/transparent_hugepage/enabled",
            "always [madvise] never\n",
        );
        let rows = told(|to| memory(&fake.machine(), &config, 2, false, to));
        assert_eq!(statuses(&rows), [("memory", Ok), ("thp", Ok)]);
        assert!(rows[0].text.contains("610 MiB"), "{}", rows[0].text);
        let rows = told(|to| memory(&fake.machine(), &config, 32, false, to));
        assert_eq!(rows[0].status, Failure);
        fake.proc("meminfo", "MemTotal: 8000000 kB\nMemAvailable: 300000 kB\n");
        fake.sys(
            "kernel/mm/transparent_hugepage/enabled",
            "always madvise [never]\n",
        );
        let rows = told(|to| memory(&fake.machine(), &config, 2, true, to));
        assert_eq!(statuses(&rows), [("memory", Warning), ("thp", Warning)]);
    }

    #[test]
    fn slow_and_shared_cores_are_told() {
        let fake = Fake::new("cores");
        let config = snapshot("");
        let rows = told(|to| cores(&fake.machine(), &config, &[2, 3], to));
        assert_eq!(statuses(&rows), [("cores", CheckStatus::Ok)]);
        fake.sys(
            "devices/system/cpu/cpu2/cpufreq/scaling_governor",
            "powersave\n",
        );
        fake.sys(
            "devices/system/cpu/cpu2/topology/thread_siblings_list",
            "2-3\n",
        );
        let busy = snapshot("[workers]\npoll = busy\n");
        let rows = told(|to| cores(&fake.machine(), &busy, &[2, 3], to));
        let texts: Vec<_> = rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "core 2 may clock down when a worker sleeps",
                "core 2 and core 3 are one core with two threads",
                "other threads may run on core 2,3, where workers spin",
            ]
        );
        fake.sys("devices/system/cpu/isolated", "2-3\n");
        let rows = told(|to| cores(&fake.machine(), &busy, &[2, 3], to));
        assert_eq!(rows[2].status, CheckStatus::Ok);
    }

    #[test]
    fn a_clock_that_cookies_cannot_rely_on_is_told() {
        let plain = snapshot("");
        let shared = snapshot("[synproxy p]\nsecret-file = /etc/weir/cookie.key\n");
        let at = |synchronised, ms| {
            Some(ClockState {
                synchronised,
                most_wrong: Duration::from_millis(ms),
            })
        };
        let of = |state, config: &Snapshot| told(|to| clock(state, config, to)).remove(0);
        assert_eq!(
            of(at(true, 40), &plain).text,
            "synchronised, wrong by 40 ms at most"
        );
        assert_eq!(of(at(true, 40), &shared).status, CheckStatus::Ok);
        assert!(
            of(at(true, 9000), &shared)
                .text
                .contains("may be wrong by 9000 ms")
        );
        assert!(of(at(false, 40), &plain).text.contains("logs"));
        assert!(of(at(false, 40), &shared).text.contains("differ by 16 s"));
        assert_eq!(of(None, &plain).status, CheckStatus::Warning);
    }
}
