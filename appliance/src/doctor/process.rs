//! The daemon's own process: what it may do, and where its memory lies.

use std::fs;

use super::Findings;

/// Those that some thread of a daemon may keep for what changes need.
const EXPECTED: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 39;

/// Looks at the calling process.
pub(crate) fn check(findings: &mut Findings) {
    let threads = fs::read_dir("/proc/self/task");
    let mut statuses = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        statuses.extend(fs::read_to_string(thread.path().join("status")));
    }
    privileges(&statuses, findings);
    if let Ok(rollup) = fs::read_to_string("/proc/self/smaps_rollup") {
        memory(&rollup, findings);
    }
}

fn privileges(statuses: &[String], findings: &mut Findings) {
    const CHECK: &str = "privileges";
    let mut open = Vec::new();
    let mut most = 0;
    for status in statuses {
        let name = field(status, "Name:").unwrap_or("?");
        let capabilities = field(status, "CapEff:");
        let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        most |= capabilities.unwrap_or_default();
        if field(status, "Seccomp:") != Some("2") || field(status, "NoNewPrivs:") != Some("1") {
            open.push(name.to_owned());
        }
    }
    let extra = most & !EXPECTED;
    if !open.is_empty() {
        open.sort_unstable();
        open.dedup();
        return findings.warn(
            CHECK,
            "",
            format!("no filter of system calls holds for {}", open.join(", ")),
            "the kernel has no seccomp (CONFIG_SECCOMP_FILTER), or whoever starts Weir forbids it",
        );
    }
    if extra != 0 {
        let names: Vec<String> = caps::all()
            .into_iter()
            .filter(|capability| capability.bitmask() & extra != 0)
            .map(|capability| capability.to_string())
            .collect();
        return findings.warn(
            CHECK,
            "",
            format!("{} are kept beyond the start", names.join(", ")),
            "let the configuration and the folders of its state belong to the user of the daemon",
        );
    }
    findings.ok(
        CHECK,
        "",
        format!(
            "{} threads can run no program and mount nothing, and hold what an apply needs or \
             less",
            statuses.len()
        ),
    );
}

fn memory(rollup: &str, findings: &mut Findings) {
    const CHECK: &str = "huge-pages";
    let kib = |name| {
        let value = field(rollup, name)?.strip_suffix("kB")?;
        value.trim().parse::<u64>().ok()
    };
    let resident = kib("Rss:").unwrap_or_default() >> 10;
    let huge = ["AnonHugePages:", "Private_Hugetlb:", "Shared_Hugetlb:"];
    let huge = huge.into_iter().filter_map(kib).sum::<u64>() >> 10;
    let swapped = kib("Swap:").unwrap_or_default() >> 10;
    if swapped > 0 {
        findings.fail(
            "memory",
            "",
            format!("{swapped} MiB of the daemon lie in the swap"),
            "set fewer [workers] sessions, or switch the swap off",
        );
    }
    let text = format!("{huge} of {resident} MiB of the daemon lie in huge pages");
    // Code, stacks and queues never do; below that size nothing is to be gained.
    if resident > 256 && huge < resident / 2 {
        return findings.warn(
            CHECK,
            "",
            text,
            "write `madvise` to /sys/kernel/mm/transparent_hugepage/enabled and start Weir soon \
             after boot",
        );
    }
    findings.ok(CHECK, "", text);
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(str::trim)
}

#[cfg(test)]
mod tests {
    use weir_control::CheckStatus;

    use super::*;

    fn status(name: &str, capabilities: u64, seccomp: &str) -> String {
        format!(
            "Name:\t{name}\nCapEff:\t{capabilities:016x}\nNoNewPrivs:\t1\nSeccomp:\t{seccomp}\n"
        )
    }

    fn of(statuses: &[String]) -> (CheckStatus, String) {
        let mut findings = Findings::default();
        privileges(statuses, &mut findings);
        let row = findings.into_rows().remove(0);
        (row.status, row.text)
    }

    #[test]
    fn threads_without_a_filter_and_capabilities_too_many_are_named() {
        let good = [status("weir", 1 << 12, "2"), status("worker-0", 0, "2")];
        assert_eq!(of(&good).0, CheckStatus::Ok);
        let (worst, text) = of(&[good[0].clone(), status("worker-1", 0, "0")]);
        assert_eq!(worst, CheckStatus::Warning);
        assert!(
            text.contains("worker-1") && !text.contains("weir,"),
            "{text}"
        );
        let (worst, text) = of(&[status("weir", 1 << 12 | 1 << 19, "2")]);
        assert_eq!(worst, CheckStatus::Warning);
        assert_eq!(text, "CAP_SYS_PTRACE are kept beyond the start");
    }

    #[test]
    fn memory_in_small_pages_and_in_the_swap_is_told() {
        let of = |text: &str| {
            let mut findings = Findings::default();
            memory(text, &mut findings);
            let rows = findings.into_rows().into_iter();
            rows.map(|row| (row.check, row.status)).collect::<Vec<_>>()
        };
        let row = |check: &str, status| (check.to_owned(), status);
        let good = "Rss:  400000 kB\nAnonHugePages:  390000 kB\nSwap:   0 kB\n";
        assert_eq!(of(good), [row("huge-pages", CheckStatus::Ok)]);
        let small = "Rss:  400000 kB\nAnonHugePages:  0 kB\nSwap:   4096 kB\n";
        let told = [
            row("memory", CheckStatus::Failure),
            row("huge-pages", CheckStatus::Warning),
        ];
        assert_eq!(of(small), told);
    }
}
