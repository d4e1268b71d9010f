//! ioctl(2) on a device: `struct ifreq`, and `struct ethtool_*` as rows of 32-bit words.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::rss::Indirection;

const GDRVINFO: u32 = 0x03;
const GRINGPARAM: u32 = 0x10;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
const GRXFH: u32 = 0x29;
const GRXRINGS: u32 = 0x2d;
const GRSSH: u32 = 0x46;
const SRSSH: u32 = 0x47;
const GCHANNELS: u32 = 0x3c;
const SCHANNELS: u32 = 0x3d;
/// The names of the features are string set 4.
const FEATURE_STRINGS: u32 = 4;
/// More than any device has: a driver that names larger sizes is not believed.
const MOST_ENTRIES: u32 = 1 << 16;
const MOST_KEY_BYTES: u32 = 1 << 10;
/// A name takes 32 bytes.
const STRING_WORDS: usize = 8;

/// The packets whose hash fields can be asked for.
pub(super) const TCP_V4: u32 = 1;
pub(super) const UDP_V4: u32 = 2;

/// The numbers of queues of a device (`struct ethtool_channels`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// The most queues that only receive.
    pub max_rx: u32,
    /// The most queues that only transmit.
    pub max_tx: u32,
    /// The most queues for other purposes.
    pub max_other: u32,
    /// The most queues that do both.
    pub max_combined: u32,
    /// Queues that only receive.
    pub rx: u32,
    /// Queues that only transmit.
    pub tx: u32,
    /// Queues for other purposes.
    pub other: u32,
    /// Queues that do both.
    pub combined: u32,
}

impl Channels {
    /// Returns the numbers in the order that the kernel has them in.
    pub(crate) const fn to_numbers(self) -> [u32; 8] {
        let Self {
            max_rx,
            max_tx,
            max_other,
            max_combined,
            rx,
            tx,
            other,
            combined,
        } = self;
        [
            max_rx,
            max_tx,
            max_other,
            max_combined,
            rx,
            tx,
            other,
            combined,
        ]
    }

    /// Makes the numbers of queues from that order.
    pub(crate) const fn from_numbers(numbers: [u32; 8]) -> Self {
        let [
            max_rx,
            max_tx,
            max_other,
            max_combined,
            rx,
            tx,
            other,
            combined,
        ] = numbers;
        Self {
            max_rx,
            max_tx,
            max_other,
            max_combined,
            rx,
            tx,
            other,
            combined,
        }
    }
}

/// Thirty-two features (`struct ethtool_get_features_block`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FeatureBlock {
    pub(super) available: u32,
    pub(super) active: u32,
    pub(super) never_changed: u32,
}

/// A socket to ask about one device with.
pub(super) struct Control {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Control {
    pub(super) fn open(device: &str) -> Result<Self, Errno> {
        let mut name = [0; libc::IFNAMSIZ];
        if device.is_empty() || device.len() >= libc::IFNAMSIZ {
            return Err(Errno::ENODEV);
        }
        for (slot, byte) in name.iter_mut().zip(device.bytes()) {
            *slot = byte.cast_signed();
        }
        let socket = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        Ok(Self { socket, name })
    }

    pub(super) fn ifindex(&self) -> Result<u32, Errno> {
        let answer = self.ask(libc::SIOCGIFINDEX, |_| ())?;
        // SAFETY: SIOCGIFINDEX filled this field.
        Ok(unsafe { answer.ifr_ifru.ifru_ifindex }.cast_unsigned())
    }

    pub(super) fn mac(&self) -> Result<[u8; 6], Errno> {
        let answer = self.ask(libc::SIOCGIFHWADDR, |_| ())?;
        // SAFETY: SIOCGIFHWADDR filled this field.
        let address = unsafe { answer.ifr_ifru.ifru_hwaddr };
        let bytes = address.sa_data.map(i8::cast_unsigned);
        Ok(bytes.first_chunk().copied().unwrap_or_default())
    }

    pub(super) fn mtu(&self) -> Result<u32, Errno> {
        let answer = self.ask(libc::SIOCGIFMTU, |_| ())?;
        // SAFETY: SIOCGIFMTU filled this field.
        Ok(unsafe { answer.ifr_ifru.ifru_mtu }.cast_unsigned())
    }

    pub(super) fn flags(&self) -> Result<libc::c_int, Errno> {
        let answer = self.ask(libc::SIOCGIFFLAGS, |_| ())?;
        // SAFETY: SIOCGIFFLAGS filled this field.
        Ok(libc::c_int::from(unsafe { answer.ifr_ifru.ifru_flags }))
    }

    pub(super) fn set_flags(&self, flags: libc::c_int) -> Result<(), Errno> {
        self.ask(libc::SIOCSIFFLAGS, |request| {
            request.ifr_ifru.ifru_flags = flags as libc::c_short;
        })?;
        Ok(())
    }

    pub(super) fn kernel_driver(&self) -> Result<String, Errno> {
        // cmd, driver[32], version[32], fw_version[32], bus_info[32], erom_version[32],
        // reserved2[12] and five counts: 196 bytes.
        let mut words = [0; 49];
        words[0] = GDRVINFO;
        self.ethtool(&mut words)?;
        Ok(text(words.iter().skip(1).take(STRING_WORDS)))
    }

    pub(super) fn channels(&self) -> Result<Channels, Errno> {
        let mut words = [GCHANNELS, 0, 0, 0, 0, 0, 0, 0, 0];
        self.ethtool(&mut words)?;
        let [_, numbers @ ..] = words;
        Ok(Channels::from_numbers(numbers))
    }

    pub(super) fn set_channels(&self, to: &Channels) -> Result<(), Errno> {
        let mut words = [SCHANNELS, 0, 0, 0, 0, 0, 0, 0, 0];
        let [_, numbers @ ..] = &mut words;
        *numbers = to.to_numbers();
        self.ethtool(&mut words)
    }

    pub(super) fn ring_lengths(&self) -> Result<(u32, u32), Errno> {
        let mut words = [GRINGPARAM, 0, 0, 0, 0, 0, 0, 0, 0];
        self.ethtool(&mut words)?;
        let [_, _, _, _, _, rx, _, _, tx] = words;
        Ok((rx, tx))
    }

    /// Returns the number of queues that receive.
    pub(super) fn rx_rings(&self) -> Result<u32, Errno> {
        let mut words = rxnfc(GRXRINGS, 0);
        self.ethtool(&mut words)?;
        let [_, _, rings, ..] = words;
        Ok(rings)
    }

    /// Returns which fields of such packets are hashed.
    pub(super) fn hash_fields(&self, packets: u32) -> Result<u64, Errno> {
        let mut words = rxnfc(GRXFH, packets);
        self.ethtool(&mut words)?;
        let [_, _, low, high, ..] = words;
        // A 64-bit number of the machine's own byte order.
        let bytes = [low.to_ne_bytes(), high.to_ne_bytes()];
        let number = bytes.as_flattened().first_chunk();
        Ok(number.map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
    }

    /// Returns the hash function, its key and the table of queues.
    pub(super) fn indirection(&self) -> Result<Indirection, Errno> {
        // cmd, context, entries of the table, bytes of the key, four bytes of which the first are
        // function and transformation, reserved; then the table and the key.
        const HEAD: usize = 6;
        let mut sizes = [GRSSH, 0, 0, 0, 0, 0];
        self.ethtool(&mut sizes)?;
        let [_, _, entries, key_len, ..] = sizes;
        if entries > MOST_ENTRIES || key_len > MOST_KEY_BYTES {
            return Err(Errno::EPROTO);
        }
        let key_words = key_len.div_ceil(4);
        let mut words = vec![0; HEAD + (entries + key_words) as usize];
        // The kernel refuses sizes that are not those of the device, so it writes no more.
        for (slot, value) in words.iter_mut().zip([GRSSH, 0, entries, key_len]) {
            *slot = value;
        }
        self.ethtool(&mut words)?;
        let (head, rest) = words.split_at_checked(HEAD).unwrap_or_default();
        let (table, key) = rest.split_at_checked(entries as usize).unwrap_or_default();
        let [function, transform, ..] = head.get(4).copied().unwrap_or_default().to_ne_bytes();
        let mut key: Vec<u8> = key.iter().flat_map(|word| word.to_ne_bytes()).collect();
        key.truncate(key_len as usize);
        Ok(Indirection {
            key,
            table: table.to_vec(),
            function: u32::from(function),
            transform: u32::from(transform),
        })
    }

    /// Puts a table of queues into force, or the default one, and leaves function and key alone.
    pub(super) fn set_indirection(&self, table: Option<&[u32]>) -> Result<(), Errno> {
        let table = table.unwrap_or_default();
        let mut words = vec![SRSSH, 0, table.len() as u32, 0, 0, 0];
        words.extend_from_slice(table);
        self.ethtool(&mut words)
    }

    pub(super) fn feature_names(&self) -> Result<Vec<String>, Errno> {
        // cmd, reserved, a mask of string sets (64 bits), then the length of each set asked for.
        let mut info = [GSSET_INFO, 0, 1 << FEATURE_STRINGS, 0, 0];
        self.ethtool(&mut info)?;
        let [.., count] = info;
        // The number of names is fixed in a running kernel, so this is the size it will write.
        let mut words = vec![0; 3 + count as usize * STRING_WORDS];
        for (slot, value) in words.iter_mut().zip([GSTRINGS, FEATURE_STRINGS, count]) {
            *slot = value;
        }
        self.ethtool(&mut words)?;
        let (_, names) = words.split_at_checked(3).unwrap_or_default();
        Ok(names.chunks(STRING_WORDS).map(|n| text(n.iter())).collect())
    }

    pub(super) fn features(&self, count: usize) -> Result<Vec<FeatureBlock>, Errno> {
        let blocks = count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 4];
        for (slot, value) in words.iter_mut().zip([GFEATURES, blocks as u32]) {
            *slot = value;
        }
        self.ethtool(&mut words)?;
        let (_, answer) = words.split_at_checked(2).unwrap_or_default();
        let (answer, _) = answer.as_chunks::<4>();
        let block = |&[available, _requested, active, never_changed]: &[u32; 4]| FeatureBlock {
            available,
            active,
            never_changed,
        };
        Ok(answer.iter().map(block).collect())
    }

    pub(super) fn set_feature(&self, count: usize, bit: usize, on: bool) -> Result<(), Errno> {
        let blocks = count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 2];
        let mask = 1u32 << (bit % 32);
        let at = 2 + bit / 32 * 2;
        let values = [
            (0, SFEATURES),
            (1, blocks as u32),
            (at, mask),
            (at + 1, if on { mask } else { 0 }),
        ];
        for (index, value) in values {
            if let Some(slot) = words.get_mut(index) {
                *slot = value;
            }
        }
        self.ethtool(&mut words)
    }

    /// Asks ethtool. `words` must be as large as the command in its first word reads and writes,
    /// which the callers above see to.
    fn ethtool(&self, words: &mut [u32]) -> Result<(), Errno> {
        self.ask(libc::SIOCETHTOOL, |request| {
            request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        })?;
        Ok(())
    }

    fn ask(
        &self,
        command: libc::c_ulong,
        fill: impl FnOnce(&mut libc::ifreq),
    ) -> Result<libc::ifreq, Errno> {
        // SAFETY: all zeros is a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name = self.name;
        fill(&mut request);
        // SAFETY: the request lives through the call, and so does what it points to, because
        // `ethtool` borrows it for as long.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), command as _, &raw mut request) };
        Errno::result(result)?;
        Ok(request)
    }
}

/// Makes a `struct ethtool_rxnfc`: cmd, flow type, 64 bits of data, and rules, 192 bytes in all.
const fn rxnfc(command: u32, flow: u32) -> [u32; 48] {
    let mut words = [0; 48];
    words[0] = command;
    words[1] = flow;
    words
}

/// Reads a zero-terminated text out of words.
fn text<'a>(words: impl Iterator<Item = &'a u32>) -> String {
    let bytes: Vec<u8> = words.flat_map(|w| w.to_ne_bytes()).collect();
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
