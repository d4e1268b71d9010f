//! What an appliance's kernel is told: settings of the network and of the machine.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::observe::DataPort;

/// A setting: its path under `/proc/sys`, and its value.
pub(crate) type Setting = (String, &'static str);

/// What holds for the machine, whatever the configuration says.
const MACHINE: &[(&str, &str)] = &[
    // It never routes: Weir forwards by itself.
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/icmp_ignore_bogus_error_responses", "1"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_rfc1337", "1"),
    // Health checks of thousands of real servers need source ports.
    ("net/ipv4/ip_local_port_range", "16384 60999"),
    // When the first address of a network is taken away the others stay.
    ("net/ipv4/conf/all/promote_secondaries", "1"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/yama/ptrace_scope", "2"),
    ("kernel/sysrq", "0"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/core_pattern", "|/bin/false"),
    // What the agent says there is bounded by the log itself.
    ("kernel/printk_devkmsg", "on\n"),
    ("kernel/panic", "5"),
    ("kernel/panic_on_oops", "1"),
    ("net/core/bpf_jit_harden", "1"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
    ("fs/suid_dumpable", "0"),
    ("user/max_user_namespaces", "0"),
];

/// What holds for any device, under `net/ipv4/conf`.
const ANY_IPV4: &[(&str, &str)] = &[
    ("forwarding", "0"),
    ("accept_redirects", "0"),
    ("secure_redirects", "0"),
    ("send_redirects", "0"),
    ("accept_source_route", "0"),
    ("route_localnet", "0"),
    // A device answers for its own addresses only.
    ("arp_ignore", "1"),
    ("arp_announce", "2"),
];

/// What holds for any device, under `net/ipv6/conf`.
const ANY_IPV6: &[(&str, &str)] = &[
    ("forwarding", "0"),
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("accept_redirects", "0"),
    // Below 0 is none at all.
    ("accept_source_route", "-1"),
];

/// Returns what is set once, before any device is up. What is said of `default` reaches devices that
/// come later, and of IPv6 no device that is there: each of `devices` is told by its name.
pub(crate) fn machine(devices: &[String]) -> Vec<Setting> {
    let own = |&(path, value): &(&str, &'static str)| (path.to_owned(), value);
    let mut all: Vec<Setting> = MACHINE.iter().map(own).collect();
    for scope in ["all", "default"] {
        all.extend(device(scope));
    }
    for name in devices {
        all.extend(device(name));
    }
    // The strictest of all and of the device counts; devices say theirs.
    all.push(("net/ipv4/conf/all/rp_filter".to_owned(), "0"));
    all.push(("net/ipv4/conf/default/rp_filter".to_owned(), "2"));
    all
}

/// Returns the names of the devices that are there.
pub(crate) fn devices(sys: &Path) -> Vec<String> {
    let entries = fs::read_dir(sys.join("class/net")).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}

/// Returns what is set for the management device: it answers whoever has an address that it can
/// answer at all.
pub(crate) fn management(name: &str) -> Vec<Setting> {
    let mut all = device(name);
    all.push((format!("net/ipv4/conf/{name}/rp_filter"), "2"));
    // It may have been a data port.
    all.push((format!("net/ipv6/conf/{name}/addr_gen_mode"), "0"));
    all.push((format!("net/ipv6/conf/{name}/disable_ipv6"), "0"));
    all
}

/// Returns what is set for a data port: the kernel has nothing there but the port's own address.
pub(crate) fn data_port(port: &DataPort) -> Vec<Setting> {
    let name = &port.device;
    let mut all = device(name);
    // Health checks may go out by one port and be answered by another.
    all.push((format!("net/ipv4/conf/{name}/rp_filter"), "2"));
    all.push((format!("net/ipv6/conf/{name}/addr_gen_mode"), "1"));
    let off = if port.has_ipv6 { "0" } else { "1" };
    all.push((format!("net/ipv6/conf/{name}/disable_ipv6"), off));
    all
}

/// Returns what is set for any device.
pub(crate) fn device(name: &str) -> Vec<Setting> {
    let of = |family: &'static str| {
        move |&(key, value): &(&str, &'static str)| {
            (format!("net/{family}/conf/{name}/{key}"), value)
        }
    };
    let v4 = ANY_IPV4.iter().map(of("ipv4"));
    v4.chain(ANY_IPV6.iter().map(of("ipv6"))).collect()
}

/// What a network card does with frames that came, by the kernel's names: it joins them to ones that
/// are larger than what may be sent on.
const JOINING: [&str; 2] = ["rx-lro", "rx-gro-hw"];

/// Has a device give frames as they came; `switch` switches a feature of a device. Returns the
/// features that stay on.
pub(crate) fn keep_frames_apart<E>(
    device: &str,
    mut switch: impl FnMut(&str, &str, bool) -> Result<bool, E>,
) -> Vec<&'static str> {
    let stays = |feature: &&'static str| !switch(device, feature, false).is_ok_and(|done| done);
    JOINING.into_iter().filter(stays).collect()
}

/// Makes settings; returns those that the kernel refused, with why. What this kernel does not have
/// at all needs no setting.
pub(crate) fn make(proc: &Path, settings: &[Setting]) -> Vec<String> {
    let failed = settings.iter().filter_map(|(path, value)| {
        match fs::write(proc.join("sys").join(path), value) {
            Ok(()) => None,
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(format!("{} = {value}: {error}", path.replace('/', "."))),
        }
    });
    failed.collect()
}

/// The kernel's words that keep other work off the cores of workers.
///
/// Only cores that the file names are kept: those that Weir chooses by itself change with the number
/// of queues, and a core that nobody uses is lost. The first one is never kept, because the kernel
/// needs one for itself.
pub(crate) fn isolation(cores: &[u16]) -> String {
    let cores: Vec<u16> = cores.iter().copied().filter(|core| *core > 0).collect();
    if cores.is_empty() {
        return String::new();
    }
    let list = list(&cores);
    format!("isolcpus=managed_irq,domain,{list} rcu_nocbs={list} nohz_full={list}")
}

/// Returns the kernel's words with other ones for the cores of workers, and what else somebody wrote
/// there.
pub(crate) fn with_isolation(args: &str, isolation: &str) -> String {
    let ours = ["isolcpus=", "rcu_nocbs=", "nohz_full="];
    let others = args.split_whitespace();
    let others = others.filter(|word| !ours.iter().any(|ours| word.starts_with(ours)));
    let all: Vec<&str> = others.chain(isolation.split_whitespace()).collect();
    all.join(" ")
}

/// Writes cores as the kernel reads them: `2-5,7`.
pub(crate) fn list(cores: &[u16]) -> String {
    let mut cores = cores.to_vec();
    cores.sort_unstable();
    cores.dedup();
    let mut spans: Vec<(u16, u16)> = Vec::new();
    for core in cores {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            Some(_) | None => spans.push((core, core)),
        }
    }
    let span = |(first, last): &(u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    spans.iter().map(span).collect::<Vec<_>>().join(",")
}

/// Returns the cores on which interrupts of a device's queues are taken: that of queue n on the core
/// of worker n, anything else on a core that no worker runs on.
///
/// `interrupts` are numbers with the names that the kernel gives them.
pub(crate) fn pinned(
    interrupts: &[(u32, String)],
    workers: &[u32],
    others: &[u32],
) -> Vec<(u32, u32)> {
    let pin = |(number, name): &(u32, String)| {
        let core = match queue_of(name).and_then(|queue| workers.get(queue)) {
            Some(core) => *core,
            None => *others.first().or_else(|| workers.first())?,
        };
        Some((*number, core))
    };
    interrupts.iter().filter_map(pin).collect()
}

/// The number at the end of `virtio1-input.0`, `eth1-TxRx-3` or `i40e-eth1-TxRx-3`.
fn queue_of(name: &str) -> Option<usize> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (head, number) = name.split_at_checked(name.len().checked_sub(digits)?)?;
    // `virtio1-config` has none, and `eth1` alone is the device.
    let of_queue = head.ends_with(['.', '-', '_']);
    of_queue.then(|| number.parse().ok()).flatten()
}

/// Returns the numbers of a device's interrupts; those of virtio belong to the device above it.
pub(crate) fn interrupts_of(sys: &Path, device: &str) -> Vec<u32> {
    let Ok(folder) = fs::canonicalize(sys.join("class/net").join(device).join("device")) else {
        return Vec::new();
    };
    let above = folder.parent().unwrap_or(&folder).to_owned();
    let entries = [folder, above]
        .into_iter()
        .filter_map(|it| fs::read_dir(it.join("msi_irqs")).ok());
    let names = entries.flatten().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

/// Reads the numbers and names of interrupts out of `/proc/interrupts`.
pub(crate) fn interrupts(text: &str) -> Vec<(u32, String)> {
    let line = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let name = rest.split_whitespace().last()?;
        Some((number.trim().parse().ok()?, name.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod unasked;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn a_data_port_without_ipv6_address_has_no_ipv6() {
        let mut port = DataPort {
            device: "eth1".to_owned(),
            has_ipv6: false,
            gateway: None,
        };
        let value = |port: &DataPort, path: &str| {
            let all = data_port(port);
            all.iter()
                .find(|(it, _)| it == path)
                .map(|(_, value)| *value)
        };
        assert_eq!(value(&port, "net/ipv6/conf/eth1/disable_ipv6"), Some("1"));
        assert_eq!(value(&port, "net/ipv6/conf/eth1/accept_ra"), Some("0"));
        assert_eq!(value(&port, "net/ipv4/conf/eth1/forwarding"), Some("0"));
        assert_eq!(value(&port, "net/ipv4/conf/eth1/arp_ignore"), Some("1"));
        port.has_ipv6 = true;
        assert_eq!(value(&port, "net/ipv6/conf/eth1/disable_ipv6"), Some("0"));
        let machine = machine(&["eth0".to_owned(), "eth1".to_owned()]);
        let count = machine.len();
        let paths: std::collections::BTreeSet<_> = machine.into_iter().map(|it| it.0).collect();
        assert_eq!(paths.len(), count, "no setting is given twice");
    }

    #[test]
    fn devices_that_are_there_before_the_agent_take_no_router_advertisements_either() {
        let sys = std::env::temp_dir().join(format!("weir-devices-{}", std::process::id()));
        for name in ["eth1", "eth0"] {
            fs::create_dir_all(sys.join("class/net").join(name)).unwrap();
        }
        let devices = devices(&sys);
        assert_eq!(devices, ["eth0", "eth1"]);
        let all = machine(&devices);
        for name in ["all", "default", "eth0", "eth1"] {
            for key in ["accept_ra", "accept_redirects", "autoconf"] {
                let path = format!("net/ipv6/conf/{name}/{key}");
                assert!(all.contains(&(path.clone(), "0")), "{path}");
            }
        }
        fs::remove_dir_all(&sys).unwrap();
    }

    #[test]
    fn a_device_that_comes_later_has_what_was_said_of_any_device() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return;
        }
        // The namespace, and the devices in it, end with the thread.
        let in_own_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let mut settings = machine(&[]);
            settings.retain(|(path, _)| path.contains("/conf/"));
            assert_eq!(make(Path::new("/proc"), &settings), [""; 0]);
            let pair = ["link", "add", "w0", "type", "veth", "peer", "name", "p0"];
            assert!(Command::new("ip").args(pair).status().unwrap().success());
            for (path, value) in device("w0") {
                let file = Path::new("/proc/sys").join(&path);
                assert_eq!(fs::read_to_string(file).unwrap().trim(), value, "{path}");
            }
        };
        std::thread::spawn(in_own_namespace).join().unwrap();
    }

    #[test]
    fn a_device_is_told_to_join_no_frames_and_what_stays_on_is_known() {
        let mut told = Vec::new();
        let stays = keep_frames_apart("eth1", |device, feature, on| {
            told.push((device.to_owned(), feature.to_owned(), on));
            match feature {
                "rx-lro" => Ok(true),
                _ => Err("the driver refuses"),
            }
        });
        let off = |feature: &str| ("eth1".to_owned(), feature.to_owned(), false);
        assert_eq!(told, [off("rx-lro"), off("rx-gro-hw")]);
        assert_eq!(stays, ["rx-gro-hw"]);
        assert!(keep_frames_apart("eth1", |_, _, _| Ok::<bool, ()>(true)).is_empty());
    }

    #[test]
    fn what_the_kernel_does_not_have_is_no_failure_and_what_it_refuses_is() {
        let proc = std::env::temp_dir().join(format!("weir-sysctl-{}", std::process::id()));
        fs::create_dir_all(proc.join("sys/net/b")).unwrap();
        fs::write(proc.join("sys/net/a"), "0").unwrap();
        let all = ["net/a", "net/b", "net/c"].map(|path| (path.to_owned(), "1"));
        let failed = make(&proc, &all);
        assert_eq!(failed.len(), 1);
        assert!(failed[0].starts_with("net.b = 1: "), "{failed:?}");
        assert_eq!(fs::read_to_string(proc.join("sys/net/a")).unwrap(), "1");
        fs::remove_dir_all(&proc).unwrap();
    }

    #[test]
    fn cores_are_kept_for_workers_only_where_the_file_names_them() {
        assert_eq!(isolation(&[]), "");
        let line = "isolcpus=managed_irq,domain,2-4,7 rcu_nocbs=2-4,7 nohz_full=2-4,7";
        assert_eq!(isolation(&[2, 4, 3, 7]), line);
        assert_eq!(isolation(&[1, 0]), isolation(&[1]));
        assert_eq!(isolation(&[0]), "");
        assert_eq!(list(&[0]), "0");
        assert_eq!(with_isolation("", &isolation(&[1])), isolation(&[1]));
        let old = format!(
            "mitigations=off {} weir.trial-seconds=25",
            isolation(&[1, 2])
        );
        let new = "mitigations=off weir.trial-seconds=25";
        assert_eq!(with_isolation(&old, ""), new);
    }

    #[test]
    fn an_interrupt_is_taken_where_the_worker_of_its_queue_runs() {
        let text = "           CPU0       CPU1
  1:          9          0   IO-APIC   1-edge      i8042
 24:          0          0   PCI-MSI 49152-edge      virtio1-config
 25:        100          0   PCI-MSI 49153-edge      virtio1-input.0
 26:        100          0   PCI-MSI 49154-edge      virtio1-output.0
 27:        100          0   PCI-MSI 49155-edge      virtio1-input.1
 28:          0          0   PCI-MSI 49155-edge      eth1-TxRx-1
NMI:          0          0   Non-maskable interrupts
";
        let all = interrupts(text);
        assert_eq!(all.len(), 6);
        let found = pinned(&all, &[2, 3], &[0, 1]);
        assert_eq!(found, [(1, 0), (24, 0), (25, 2), (26, 2), (27, 3), (28, 3)]);
        // More queues than workers, and no core but theirs.
        let more = [(9, "eth1-TxRx-7".to_owned())];
        assert_eq!(pinned(&more, &[0], &[]), [(9, 0)]);
    }
}
