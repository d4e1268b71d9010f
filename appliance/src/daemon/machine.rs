//! What the machine gives: capabilities, cores, memory.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// A session with its two index records, its timer and its share of empty slots.
const BYTES_A_SESSION: u64 = 160;
/// The session tables may have this part of the memory that is available at the start.
const SHARE_OF_MEMORY: u64 = 4;
const MOST_SESSIONS: u64 = 2 << 20;
const LEAST_SESSIONS: u64 = 16 << 10;

/// Each with the number of its bit and what needs it.
const CAPABILITIES: [(u32, &str); 3] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (14, "CAP_IPC_LOCK"),
];
const CAP_BPF: u32 = 39;
const CAP_SYS_ADMIN: u32 = 21;

/// Refuses to start without the capabilities that drivers need.
///
/// # Errors
/// With the names of those that are missing.
pub(crate) fn check_capabilities() -> Result<()> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let missing = missing_capabilities(&status);
    ensure!(
        missing.is_empty(),
        "{} missing; start `weir run` as root or give it these capabilities",
        missing.join(", ") + if missing.len() == 1 { " is" } else { " are" }
    );
    Ok(())
}

/// Lets the kernel lock as much packet memory as the rings need.
pub(crate) fn raise_memory_lock() {
    // CAP_IPC_LOCK does without it on newer kernels; where it matters the driver says so.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}

/// Lets the health checks have as many connections under way as they may.
pub(crate) fn raise_open_files() {
    // A check that finds no room is made later, and says so.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Returns the directory for what must survive a kill but not a reboot: what a service manager
/// says, or `/run/weir`.
pub(crate) fn run_dir() -> PathBuf {
    first_directory("RUNTIME_DIRECTORY", "/run/weir")
}

/// Returns the directory that a service manager says in a variable, or the usual one.
pub(crate) fn first_directory(variable: &str, usual: &str) -> PathBuf {
    first_of(std::env::var(variable).ok().as_deref(), usual)
}

/// A service manager may list several, with colons between them; the first is the daemon's own.
fn first_of(listed: Option<&str>, usual: &str) -> PathBuf {
    let first = listed.and_then(|listed| listed.split(':').next());
    match first {
        Some(directory) if !directory.is_empty() => directory.into(),
        Some(_) | None => usual.into(),
    }
}

/// Returns the cores that this process may run on, in ascending order.
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn allowed_cpus() -> Result<Vec<u16>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("cannot ask for the allowed cores")?;
    let all = 0..CpuSet::count() as u16;
    Ok(all
        .filter(|cpu| set.is_set(usize::from(*cpu)).unwrap_or(false))
        .collect())
}

/// Keeps the calling thread on some cores; on any when there is none.
///
/// # Errors
/// When one of them does not exist or is not allowed.
pub(crate) fn pin(cpus: &[u16]) -> Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(usize::from(*cpu))
            .with_context(|| format!("there is no core {cpu}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("cannot run on core {}", list(cpus)))
}

/// Chooses the workers' cores: those that the file names, or the last of the allowed ones.
///
/// A worker needs a queue of every port, so `queues` (the least of them) bounds their number.
/// Where nobody asked for a number, a core is left to the rest of the machine.
///
/// # Errors
/// When the file names a core that this process may not use.
pub(crate) fn worker_cpus(
    named: &[u16],
    allowed: &[u16],
    asked_queues: Option<u16>,
    most_queues: u16,
) -> Result<Vec<u16>> {
    if let Some(foreign) = named.iter().find(|cpu| !allowed.contains(cpu)) {
        bail!(
            "[workers] cpus names core {foreign}, but this process may use {} only",
            list(allowed)
        );
    }
    let queues = usize::from(asked_queues.unwrap_or(most_queues)).clamp(1, usize::from(u8::MAX));
    if !named.is_empty() {
        return Ok(named.iter().copied().take(queues).collect());
    }
    let free = match asked_queues {
        Some(_) => allowed.len(),
        None => allowed.len().saturating_sub(1),
    };
    let count = queues.min(free.max(1));
    Ok(allowed
        .iter()
        .copied()
        .skip(allowed.len().saturating_sub(count))
        .collect())
}

/// Chooses how long an idle worker looks for frames before it sleeps.
///
/// Spinning saves the few microseconds of a wake-up. It is measurably wrong where the machine has
/// not plenty of cores: there it keeps off them whoever makes the next frame.
pub(crate) fn spin(workers: usize, cores: usize) -> Duration {
    if cores >= workers + 2 {
        return Duration::from_micros(50);
    }
    Duration::ZERO
}

/// Chooses the size of a worker's session table from the memory that is available.
///
/// # Errors
/// When the kernel does not tell how much there is.
pub(crate) fn sessions_per_worker(workers: usize) -> Result<u32> {
    let file = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let available = available_bytes(&file).context("/proc/meminfo has no MemAvailable")?;
    Ok(sessions_in(available, workers))
}

fn sessions_in(available: u64, workers: usize) -> u32 {
    let share = available / SHARE_OF_MEMORY / BYTES_A_SESSION / workers.max(1) as u64;
    // A round number looks the same after each start, whatever the memory was at that moment.
    let rounded = if share == 0 { 0 } else { 1 << share.ilog2() };
    rounded.clamp(LEAST_SESSIONS, MOST_SESSIONS) as u32
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns the cores that share their memory with one, as far as this process may use them and no
/// worker does; that core itself where there is none.
pub(crate) fn beside(cpu: u16, allowed: &[u16], workers: &[u16]) -> Vec<u16> {
    let near = near(cpu).unwrap_or_else(|| allowed.to_vec());
    let free = near.into_iter();
    let free: Vec<u16> = free
        .filter(|cpu| allowed.contains(cpu) && !workers.contains(cpu))
        .collect();
    if free.is_empty() { vec![cpu] } else { free }
}

/// The cores of a core's memory node; none where the kernel knows no nodes.
fn near(cpu: u16) -> Option<Vec<u16>> {
    let entries = fs::read_dir(format!("/sys/devices/system/cpu/cpu{cpu}")).ok()?;
    let node = entries.flatten().find(|entry| {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node"));
        number.is_some_and(|number| number.parse::<u16>().is_ok())
    })?;
    cpu_list(fs::read_to_string(node.path().join("cpulist")).ok()?.trim())
}

/// Reads `0-3,8`; none where it is no list of cores.
pub(crate) fn cpu_list(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse().ok()?..=last.parse::<u16>().ok()?);
    }
    Some(cpus)
}

fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = line
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default();
    let has = |bit: u32| mask >> bit & 1 == 1;
    let mut missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| !has(*bit))
        .map(|(_, name)| *name)
        .collect();
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    missing
}

/// Writes cores with commas between them.
pub(crate) fn list(cpus: &[u16]) -> String {
    cpus.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_what_is_asked_for_and_leave_a_core_where_nothing_is() {
        let all = [0, 1, 2, 3];
        assert_eq!(worker_cpus(&[], &all, None, 64).unwrap(), [1, 2, 3]);
        assert_eq!(worker_cpus(&[], &all, None, 2).unwrap(), [2, 3]);
        assert_eq!(worker_cpus(&[], &[0], None, 4).unwrap(), [0]);
        assert_eq!(worker_cpus(&[], &[0, 1], Some(2), 2).unwrap(), [0, 1]);
        assert_eq!(worker_cpus(&[], &[0, 1], Some(1), 8).unwrap(), [1]);
        assert_eq!(worker_cpus(&[2, 3], &all, None, 8).unwrap(), [2, 3]);
        assert_eq!(worker_cpus(&[2, 3], &all, Some(1), 8).unwrap(), [2]);
        let error = worker_cpus(&[9], &all, None, 8).unwrap_err().to_string();
        assert!(
            error.contains("core 9") && error.contains("0,1,2,3"),
            "{error}"
        );
    }

    #[test]
    fn the_session_table_follows_the_memory_within_bounds() {
        assert_eq!(sessions_in(1 << 30, 1), 1 << 20);
        assert_eq!(sessions_in(1 << 30, 2), 512 << 10);
        assert_eq!(sessions_in(1 << 40, 1), 2 << 20);
        assert_eq!(sessions_in(0, 4), 16 << 10);
        assert_eq!(
            available_bytes("MemTotal: 9 kB\nMemAvailable:    2 kB\n"),
            Some(2048)
        );
        assert_eq!(available_bytes("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn what_helps_a_worker_runs_beside_it_and_not_on_another_worker() {
        assert_eq!(cpu_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cpu_list(""), None);
        // No machine has this core, so none is nearer than another.
        let far = u16::MAX;
        assert_eq!(beside(far, &[0, 1, 2, far], &[1, far]), [0, 2]);
        assert_eq!(beside(far, &[1, far], &[1, far]), [far]);
    }

    #[test]
    fn the_service_manager_says_where_the_run_directory_is() {
        assert_eq!(first_of(None, "/run/weir"), PathBuf::from("/run/weir"));
        assert_eq!(first_of(Some(""), "/run/weir"), PathBuf::from("/run/weir"));
        assert_eq!(
            first_of(Some("/run/a:/run/b"), "/run/weir"),
            PathBuf::from("/run/a")
        );
    }

    #[test]
    fn a_missing_capability_is_named() {
        assert!(missing_capabilities("CapEff:\t000001ffffffffff\n").is_empty());
        let none = missing_capabilities("CapEff:\t0000000000000000\n");
        assert_eq!(
            none,
            ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_BPF"]
        );
        let admin = format!("CapEff:\t{:016x}\n", 1_u64 << 21 | 7 << 12);
        assert!(missing_capabilities(&admin).is_empty());
    }
}
