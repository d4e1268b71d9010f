//! Maps: tables that a program and the daemon share.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::BpfError;
use super::sys::{self, MapCreate, NAME_LEN};

const TYPE_HASH: u32 = 1;
const TYPE_ARRAY: u32 = 2;
const TYPE_XSKMAP: u32 = 17;
/// `BPF_F_NO_PREALLOC`: elements are allocated as they come.
const NO_PREALLOC: u32 = 1;

/// Owns an eBPF map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    name: String,
    key_len: usize,
    value_len: usize,
}

impl Map {
    /// Makes a hash table for at most `capacity` elements.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn hash(name: &str, key_len: u32, value_len: u32, capacity: u32) -> Result<Self, BpfError> {
        Self::create(name, TYPE_HASH, key_len, value_len, capacity, NO_PREALLOC)
    }

    /// Makes an array of `len` elements, keyed by a native `u32`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn array(name: &str, value_len: u32, len: u32) -> Result<Self, BpfError> {
        Self::create(name, TYPE_ARRAY, 4, value_len, len, 0)
    }

    /// Makes a table of AF_XDP sockets for `len` queues, keyed by the queue as a native `u32`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn xsk(name: &str, len: u32) -> Result<Self, BpfError> {
        Self::create(name, TYPE_XSKMAP, 4, 4, len, 0)
    }

    /// Writes an element, new or not.
    ///
    /// # Errors
    /// When a length is not the map's or the kernel refuses.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<(), BpfError> {
        if key.len() != self.key_len || value.len() != self.value_len {
            return Err(self.element("write", Errno::EINVAL));
        }
        sys::map_update(self.fd.as_fd(), key, value).map_err(|e| self.element("write", e))
    }

    /// Reads the element into `value`; false when there is none.
    ///
    /// # Errors
    /// When a length is not the map's or the kernel refuses.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<bool, BpfError> {
        if key.len() != self.key_len || value.len() != self.value_len {
            return Err(self.element("read", Errno::EINVAL));
        }
        match sys::map_lookup(self.fd.as_fd(), key, value) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(cause) => Err(self.element("read", cause)),
        }
    }

    /// Removes an element; false when there was none.
    ///
    /// # Errors
    /// When the length is not the map's or the kernel refuses.
    pub fn delete(&self, key: &[u8]) -> Result<bool, BpfError> {
        if key.len() != self.key_len {
            return Err(self.element("remove", Errno::EINVAL));
        }
        match sys::map_delete(self.fd.as_fd(), key) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(cause) => Err(self.element("remove", cause)),
        }
    }

    fn create(
        name: &str,
        map_type: u32,
        key_len: u32,
        value_len: u32,
        capacity: u32,
        map_flags: u32,
    ) -> Result<Self, BpfError> {
        let mut attr = MapCreate {
            map_type,
            key_size: key_len,
            value_size: value_len,
            max_entries: capacity,
            map_flags,
            map_name: short_name(name),
            ..MapCreate::default()
        };
        let fd = sys::map_create(&mut attr).map_err(|cause| BpfError::Map {
            name: name.to_owned(),
            cause,
        })?;
        Ok(Self {
            fd,
            name: name.to_owned(),
            key_len: key_len as usize,
            value_len: value_len as usize,
        })
    }

    fn element(&self, action: &'static str, cause: Errno) -> BpfError {
        BpfError::Element {
            name: self.name.clone(),
            action,
            cause,
        }
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Cuts a name to what the kernel holds and accepts: 15 letters, digits, `_` or `.`.
pub(super) fn short_name(name: &str) -> [u8; NAME_LEN] {
    let mut short = [0; NAME_LEN];
    for (slot, byte) in short.iter_mut().take(NAME_LEN - 1).zip(name.bytes()) {
        let allowed = byte.is_ascii_alphanumeric() || byte == b'.';
        *slot = if allowed { byte } else { b'_' };
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_to_what_the_kernel_accepts() {
        assert_eq!(&short_name("weir-owned"), b"weir_owned\0\0\0\0\0\0");
        assert_eq!(&short_name("a-name-that-is-too-long"), b"a_name_that_is_\0");
    }

    #[test]
    fn elements_are_written_read_and_removed() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: eBPF maps need root");
            return;
        }
        let map = Map::hash("weir_test", 4, 4, 8).unwrap();
        map.update(&[1, 2, 3, 4], &[9, 0, 0, 0]).unwrap();
        let mut value = [0; 4];
        assert!(map.lookup(&[1, 2, 3, 4], &mut value).unwrap());
        assert_eq!(value, [9, 0, 0, 0]);
        assert!(map.delete(&[1, 2, 3, 4]).unwrap());
        assert!(!map.delete(&[1, 2, 3, 4]).unwrap());
        assert!(!map.lookup(&[1, 2, 3, 4], &mut value).unwrap());
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused_before_the_kernel_reads_it() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: eBPF maps need root");
            return;
        }
        let map = Map::hash("weir_test", 4, 4, 8).unwrap();
        let refused = map.update(&[1, 2, 3], &[0; 4]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the kernel refused to write an element of the eBPF map `weir_test`: \
             EINVAL: Invalid argument"
        );
    }
}
