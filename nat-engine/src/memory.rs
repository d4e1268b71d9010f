//! Memory that is reserved once and then used for as long as the process lives.

use alloc::vec::Vec;
use core::ops::Range;

use crate::OutOfMemory;

/// Is told the addresses of memory that was reserved and that nobody has touched yet, so that its
/// caller can ask the operating system for large pages. It need not do anything.
pub type Prepare<'a> = &'a dyn Fn(Range<usize>);

/// Reserves room for so many values and has it prepared.
pub(crate) fn reserve<T>(
    memory: &mut Vec<T>,
    count: usize,
    prepare: Prepare<'_>,
) -> Result<(), OutOfMemory> {
    memory.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
    let reserved = memory.spare_capacity_mut().as_ptr_range();
    prepare(reserved.start.addr()..reserved.end.addr());
    Ok(())
}
