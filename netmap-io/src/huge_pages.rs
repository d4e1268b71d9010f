//! Huge pages: what is looked up at random in hundreds of megabytes needs one entry of the TLB for
//! 2 MiB of it instead of one for 4 KiB, and is touched first 512 times faster.

use std::fs;
use std::io;
use std::ops::Range;
use std::thread;
use std::time::Instant;

/// The smallest page.
const PAGE: usize = 4096;
/// What is made of pages in one go, one huge page at most: others that need the kernel's books of
/// this process wait for no longer than that takes.
const PIECE: usize = 2 << 20;
/// Of the time that this takes, the pages of a range take one part in so many; in between, whoever
/// waited has its turn.
const SHARE: u32 = 5;

/// Asks the kernel to back a range of memory with huge pages where it is touched from now on. A
/// refusal costs speed and nothing else.
pub fn prefer(memory: &Range<usize>) {
    // Only the pages that are all ours: what lies beside them may be used otherwise.
    let start = memory.start.next_multiple_of(PAGE);
    let end = memory.end / PAGE * PAGE;
    let Some(bytes) = end.checked_sub(start).filter(|bytes| *bytes > 0) else {
        return;
    };
    // SAFETY: this advice changes how pages are backed and no byte of what they hold, whosever they
    // are; the kernel refuses addresses that are not mapped.
    unsafe {
        libc::madvise(
            std::ptr::with_exposed_provenance_mut(start),
            bytes,
            libc::MADV_HUGEPAGE,
        )
    };
}

/// Makes the pages of a range of memory that was reserved for writing, a piece at a time, so that
/// nobody waits for one at its first use. What the memory holds stays as it is.
///
/// The kernel's books of this process are held meanwhile, and who allocates waits for them. So the
/// calling thread gives way by pauses: one of low priority would keep everybody waiting for as long
/// as others keep it from its core.
///
/// # Errors
/// When there is not as much memory. A kernel before 5.14 cannot do it: pages are then made when
/// they are first used.
pub fn populate(memory: &Range<usize>) -> io::Result<()> {
    let end = memory.end / PAGE * PAGE;
    for start in (memory.start.next_multiple_of(PAGE)..end).step_by(PIECE) {
        let bytes = PIECE.min(end - start);
        let begun = Instant::now();
        // SAFETY: this advice changes no byte of what the pages hold, whosever they are; the kernel
        // refuses addresses that are not mapped or not writable.
        let done = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                bytes,
                libc::MADV_POPULATE_WRITE,
            )
        };
        if done != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EINVAL) => Ok(()),
                Some(_) | None => Err(error),
            };
        }
        thread::sleep(begun.elapsed() * (SHARE - 1));
    }
    Ok(())
}

/// Returns how many bytes of this process lie in huge pages, transparent and reserved ones.
///
/// # Errors
/// When the kernel does not tell.
pub fn resident() -> io::Result<u64> {
    Ok(huge_bytes(&fs::read_to_string("/proc/self/smaps_rollup")?))
}

fn huge_bytes(rollup: &str) -> u64 {
    let kib = |line: &str| -> Option<u64> {
        let (name, value) = line.split_once(':')?;
        let counts = matches!(name, "AnonHugePages" | "Private_Hugetlb" | "Shared_Hugetlb");
        let value = value.trim().strip_suffix("kB")?.trim();
        counts.then(|| value.parse().ok())?
    };
    rollup.lines().filter_map(kib).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparent_and_reserved_pages_count_and_no_others() {
        let rollup = "55d0-7ffd ---p 00000000 00:00 0  [rollup]\nRss:  300 kB\n\
                      AnonHugePages:      2048 kB\nShared_Hugetlb:     4096 kB\n\
                      Private_Hugetlb:    6144 kB\nFilePmdMapped:      2048 kB\n";
        assert_eq!(huge_bytes(rollup), 12 << 20);
        assert_eq!(huge_bytes(""), 0);
    }

    #[test]
    fn memory_that_is_preferred_before_it_is_touched_becomes_huge_where_the_kernel_allows_it() {
        const BYTES: usize = 64 << 20;
        let modes = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        if !modes.is_ok_and(|modes| modes.contains("[madvise]")) {
            println!("skipped: transparent huge pages are not given to those who ask");
            return;
        }
        let mut memory: Vec<u8> = Vec::with_capacity(BYTES);
        let reserved = memory.spare_capacity_mut().as_ptr_range();
        prefer(&(reserved.start.addr()..reserved.end.addr()));
        memory.resize(1000, 7);
        populate(&(reserved.start.addr()..reserved.end.addr())).unwrap();
        let huge = resident().unwrap();
        // The ends of it lie in pages that are not all its own; and memory may be scattered.
        assert!(huge >= 32 << 20, "{huge} of {BYTES}");
        assert!(
            populate(&(PAGE..2 * PAGE)).is_err(),
            "nothing is mapped there"
        );
        prefer(&(0..0));
        prefer(&(PAGE + 1..PAGE + 2));
        populate(&(0..0)).unwrap();
        assert!(memory.iter().all(|byte| *byte == 7));
    }
}
