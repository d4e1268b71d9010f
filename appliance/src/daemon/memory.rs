//! The memory of the workers' tables: preferably in huge pages, near the worker's core, and there
//! before a packet asks for it.

use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use netmap_io::huge_pages;

use crate::daemon::machine;
use crate::log;

const MODES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// What all workers have.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: AtomicU64,
    /// Workers whose tables have not been seen to.
    missing: AtomicUsize,
}

impl Memory {
    /// Begins with nothing for so many workers.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            missing: AtomicUsize::new(workers),
        })
    }

    /// Counts memory that exists already.
    pub(crate) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Asks for huge pages for memory that was reserved and counts it.
    pub(crate) fn prepare(&self, reserved: &Range<usize>) {
        self.count(reserved.len());
        huge_pages::prefer(reserved);
    }

    /// Has the pages of a worker's tables made by a thread that makes pauses, and has the priority of
    /// the calling worker: what it holds, that worker may need. The worker works meanwhile: a session
    /// that needs a page before it is made waits for that one only. Whoever is the last to end says
    /// how much lies in huge pages.
    pub(crate) fn fill(self: Arc<Self>, tables: Vec<Range<usize>>, cpus: Vec<u16>) {
        let run = move || {
            // A matter of where, and cannot fail for cores that are allowed.
            let _ = machine::pin(&cpus);
            for table in &tables {
                if let Err(error) = huge_pages::populate(table) {
                    log::say(format!(
                        "there is no memory for all of [workers] sessions: {error}; set fewer"
                    ));
                    break;
                }
            }
            if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                log::say(self.line());
            }
        };
        // Without it pages are made where they are first used.
        let _ = thread::Builder::new().name("memory".to_owned()).spawn(run);
    }

    /// Says how much lies in huge pages, and why it is not all of it.
    fn line(&self) -> String {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let modes = fs::read_to_string(MODES);
        line(huge_pages::resident().ok(), bytes, modes.ok().as_deref())
    }
}

fn line(huge: Option<u64>, bytes: u64, modes: Option<&str>) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let Some(huge) = huge else {
        return "huge pages: the kernel does not tell how many there are".to_owned();
    };
    let huge = huge.min(bytes);
    let mut line = format!(
        "huge pages: {} of {} MiB of tables and packets",
        mib(huge),
        mib(bytes)
    );
    // Tables begin and end within a page, and what is beside them may be in use otherwise.
    if huge + bytes / 8 < bytes {
        line += match modes {
            Some(modes) if modes.contains("[never]") => {
                "; look-ups are slower without: write `madvise` to \
                 /sys/kernel/mm/transparent_hugepage/enabled"
            }
            Some(_) => "; free memory is in pieces, a start soon after boot finds more",
            None => "; this kernel has no transparent huge pages",
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_lie_in_huge_pages_is_told_with_its_cause() {
        let bytes = 300 << 20;
        let all = "huge pages: 298 of 300 MiB of tables and packets";
        let asked = Some("always [madvise] never");
        assert_eq!(line(Some(298 << 20), bytes, asked), all);
        let more = line(Some(400 << 20), bytes, Some("[always] madvise never"));
        assert_eq!(more, "huge pages: 300 of 300 MiB of tables and packets");
        assert!(line(Some(0), bytes, Some("always madvise [never]")).contains("write `madvise`"));
        assert!(line(Some(9 << 20), bytes, asked).contains("in pieces"));
        assert!(line(Some(0), bytes, None).ends_with("this kernel has no transparent huge pages"));
        assert!(line(None, bytes, None).contains("does not tell"));
    }

    #[test]
    fn reserved_memory_is_there_when_the_last_worker_was_seen_to() {
        let memory = Memory::new(2);
        let mut table: Vec<u64> = Vec::with_capacity(1 << 20);
        let reserved = table.spare_capacity_mut().as_ptr_range();
        let reserved = reserved.start.addr()..reserved.end.addr();
        memory.prepare(&reserved);
        memory.count(100);
        assert_eq!(memory.bytes.load(Ordering::Relaxed), (8 << 20) + 100);
        Arc::clone(&memory).fill(vec![reserved], Vec::new());
        Arc::clone(&memory).fill(Vec::new(), Vec::new());
        while memory.missing.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        table.push(1);
        assert_eq!(table, [1]);
    }
}
