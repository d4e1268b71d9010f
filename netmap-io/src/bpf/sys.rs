//! bpf(2): the argument blocks of the commands in use, each with one safe function.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::asm::Insn;

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;

/// Names in the kernel hold 15 bytes and a zero.
pub(super) const NAME_LEN: usize = 16;

#[repr(C)]
#[derive(Default)]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; NAME_LEN],
}

#[repr(C)]
struct MapElem {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_LEN],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    /// The rest of the union, of which an anchor-less TCX link reads zeros.
    rest: [u64; 4],
}

#[repr(C)]
struct ProgTestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// What a test run is asked for.
pub(super) struct RunRequest<'a> {
    pub(super) data: &'a [u8],
    pub(super) out: Option<&'a mut [u8]>,
    pub(super) repeat: u32,
    pub(super) flags: u32,
    pub(super) batch: u32,
}

/// What a test run gave.
pub(super) struct RunAnswer {
    pub(super) retval: u32,
    pub(super) duration_ns: u32,
    pub(super) len_out: u32,
}

pub(super) fn map_create(attr: &mut MapCreate) -> Result<OwnedFd, Errno> {
    // SAFETY: MAP_CREATE reads no pointer.
    let fd = unsafe { bpf(MAP_CREATE, attr) }?;
    Ok(own(fd))
}

/// The caller has checked that `key` and `value` have the map's sizes.
pub(super) fn map_update(map: BorrowedFd, key: &[u8], value: &[u8]) -> Result<(), Errno> {
    let mut attr = elem(map, key, value.as_ptr() as u64);
    // SAFETY: the kernel reads key and value only, which live through the call; see above for
    // their sizes.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// The caller has checked that `key` and `value` have the map's sizes.
pub(super) fn map_lookup(map: BorrowedFd, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
    let mut attr = elem(map, key, value.as_mut_ptr() as u64);
    // SAFETY: the kernel reads the key and writes the value, both of which live through the call;
    // see above for their sizes.
    unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// The caller has checked that `key` has the map's size.
pub(super) fn map_delete(map: BorrowedFd, key: &[u8]) -> Result<(), Errno> {
    let mut attr = elem(map, key, 0);
    // SAFETY: the kernel reads the key only, which lives through the call; see above for its size.
    unsafe { bpf(MAP_DELETE_ELEM, &mut attr) }.map(drop)
}

pub(super) fn prog_load(
    prog_type: u32,
    name: [u8; NAME_LEN],
    code: &[Insn],
    log: &mut [u8],
) -> Result<OwnedFd, Errno> {
    let mut attr = ProgLoad {
        prog_type,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0 OR MIT".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
        kern_version: 0,
        prog_flags: 0,
        prog_name: name,
        prog_ifindex: 0,
        expected_attach_type: 0,
    };
    // SAFETY: code, licence and log live through the call, and their lengths are given.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    Ok(own(fd))
}

pub(super) fn link_create(
    program: BorrowedFd,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
) -> Result<OwnedFd, Errno> {
    let mut attr = LinkCreate {
        prog_fd: raw(program),
        target_ifindex: ifindex,
        attach_type,
        flags,
        rest: [0; 4],
    };
    // SAFETY: LINK_CREATE reads no pointer.
    let fd = unsafe { bpf(LINK_CREATE, &mut attr) }?;
    Ok(own(fd))
}

pub(super) fn prog_test_run(program: BorrowedFd, request: RunRequest) -> Result<RunAnswer, Errno> {
    let (data_out, size_out) = match request.out {
        Some(out) => (out.as_mut_ptr() as u64, out.len() as u32),
        None => (0, 0),
    };
    let mut attr = ProgTestRun {
        prog_fd: raw(program),
        retval: 0,
        data_size_in: request.data.len() as u32,
        data_size_out: size_out,
        data_in: request.data.as_ptr() as u64,
        data_out,
        repeat: request.repeat,
        duration: 0,
        ctx_size_in: 0,
        ctx_size_out: 0,
        ctx_in: 0,
        ctx_out: 0,
        flags: request.flags,
        cpu: 0,
        batch_size: request.batch,
        pad: 0,
    };
    // SAFETY: both packets live through the call, and their lengths are given.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok(RunAnswer {
        retval: attr.retval,
        duration_ns: attr.duration,
        len_out: attr.data_size_out,
    })
}

fn elem(map: BorrowedFd, key: &[u8], value: u64) -> MapElem {
    MapElem {
        map_fd: raw(map),
        pad: 0,
        key: key.as_ptr() as u64,
        value,
        flags: 0,
    }
}

fn raw(fd: BorrowedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Calls bpf(2) and repeats it when a signal came in between.
///
/// # Safety
/// `attr` must be the argument block of `command`, and the memory it points to must be valid for
/// what the command reads and writes.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> Result<RawFd, Errno> {
    loop {
        // SAFETY: the caller vouches for the pointers inside the block; its size is given.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_mut(attr),
                size_of::<T>(),
            )
        };
        match Errno::result(result) {
            Ok(value) => return Ok(value as RawFd),
            // The verifier answers EAGAIN when a signal is pending.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(other) => return Err(other),
        }
    }
}
