//! Which core does what while something is measured.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The two cores of a measurement; the same one twice where there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Weir's worker, or the kernel's part in its place.
    pub weir: usize,
    /// Everything else: the generator, clients and real servers.
    pub others: usize,
}

impl Cores {
    /// Picks the cores of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            weir: usize::from(cores > 1),
            others: 0,
        }
    }

    /// Puts this thread, and whatever it starts, on the core for everything but Weir.
    ///
    /// # Errors
    /// When the core is not this process's to use.
    pub fn keep_clear_of_weir(self) -> Result<Kept> {
        let before = sched_getaffinity(Pid::from_raw(0)).context("cannot read the CPU affinity")?;
        let mut set = CpuSet::new();
        set.set(self.others).context("no such core")?;
        sched_setaffinity(Pid::from_raw(0), &set)
            .with_context(|| format!("cannot move to core {}", self.others))?;
        Ok(Kept { before })
    }
}

/// Keeps this thread on its core; dropping it lets it go where it was allowed to be before.
pub struct Kept {
    before: CpuSet,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(errno) = sched_setaffinity(Pid::from_raw(0), &self.before) {
            eprintln!("lab: cannot leave the core: {}", errno.desc());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_stays_on_the_core_until_it_is_left() {
        let cores = Cores::of_this_machine();
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let kept = cores.keep_clear_of_weir().unwrap();
        let text = crate::command::run(&mut crate::command::words(
            "grep Cpus_allowed_list /proc/self/status",
        ));
        assert_eq!(text.unwrap().split_whitespace().last(), Some("0"));
        drop(kept);
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
    }
}
