//! What a device is and how it is set up, asked and changed with ioctls.

mod genl;
mod rss;
#[expect(unsafe_code, reason = "passes structures to ioctl(2)")]
mod sys;

use std::collections::BTreeMap;

use nix::errno::Errno;

pub use rss::{HashFields, HashFunction, NoRss, Rss, enforce_rss, rss};
pub use sys::Channels;

/// What the kernel knows of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The interface's number.
    pub ifindex: u32,
    /// The Ethernet address.
    pub mac: [u8; 6],
    /// The largest IP packet in bytes.
    pub mtu: u32,
    /// Whether the device is switched on.
    pub up: bool,
    /// The kernel driver's name; empty where the driver does not tell.
    pub kernel_driver: String,
}

/// Asks what a device is.
///
/// # Errors
/// `ENODEV` when there is none of that name.
pub fn facts(device: &str) -> Result<Facts, Errno> {
    let control = sys::Control::open(device)?;
    Ok(Facts {
        ifindex: control.ifindex()?,
        mac: control.mac()?,
        mtu: control.mtu()?,
        up: control.flags()? & libc::IFF_UP != 0,
        kernel_driver: control.kernel_driver().unwrap_or_default(),
    })
}

/// Asks whether a device is switched on and its cable (or its peer) is there.
///
/// # Errors
/// `ENODEV` when there is no such device.
pub fn link_up(device: &str) -> Result<bool, Errno> {
    let running = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(sys::Control::open(device)?.flags()? & running == running)
}

/// Switches a device on where it is off, and says whether it was.
///
/// # Errors
/// `ENODEV` when there is no such device, `EPERM` without `CAP_NET_ADMIN`.
pub fn ensure_up(device: &str) -> Result<bool, Errno> {
    let control = sys::Control::open(device)?;
    let flags = control.flags()?;
    if flags & libc::IFF_UP != 0 {
        return Ok(false);
    }
    control.set_flags(flags | libc::IFF_UP)?;
    Ok(true)
}

/// Asks how many queues a device has; none when its driver has nothing to tell.
///
/// # Errors
/// `ENODEV` when there is no such device.
pub fn channels(device: &str) -> Result<Option<Channels>, Errno> {
    match sys::Control::open(device)?.channels() {
        Ok(channels) => Ok(Some(channels)),
        Err(Errno::EOPNOTSUPP) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Sets how many queues a device has.
///
/// # Errors
/// When the driver refuses.
pub fn set_channels(device: &str, channels: &Channels) -> Result<(), Errno> {
    sys::Control::open(device)?.set_channels(channels)
}

/// Asks for the lengths of the device's own receive and transmit rings; none when its driver has
/// nothing to tell.
///
/// # Errors
/// `ENODEV` when there is no such device.
pub fn ring_lengths(device: &str) -> Result<Option<(u32, u32)>, Errno> {
    match sys::Control::open(device)?.ring_lengths() {
        Ok(lengths) => Ok(Some(lengths)),
        Err(Errno::EOPNOTSUPP) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Returns how many queues a device can have: one when its driver has nothing to tell.
///
/// # Errors
/// `ENODEV` when there is no such device.
pub fn most_queues(device: &str) -> Result<u16, Errno> {
    let most = channels(device)?.map_or(1, |c| c.most_queues());
    Ok(u16::try_from(most).unwrap_or(u16::MAX))
}

impl Channels {
    /// Returns the number of queues that receive.
    #[must_use]
    pub fn queues(&self) -> u32 {
        self.rx + self.combined
    }

    /// Returns the largest number of queues that can both receive and transmit.
    #[must_use]
    pub fn most_queues(&self) -> u32 {
        if self.max_combined > 0 {
            self.max_combined
        } else {
            self.max_rx.min(self.max_tx).max(1)
        }
    }

    /// Returns the setting with exactly `wanted` receiving queues and at least as many that
    /// transmit; none when the device cannot have so many.
    #[must_use]
    pub fn with_queues(&self, wanted: u32) -> Option<Self> {
        if wanted == 0 || wanted > self.most_queues() {
            return None;
        }
        let mut channels = *self;
        if self.max_combined > 0 {
            channels.combined = wanted;
            channels.rx = 0;
            channels.tx = 0;
        } else {
            channels.rx = wanted;
            channels.tx = channels.tx.max(wanted);
        }
        Some(channels)
    }
}

/// What a device can do by itself, by the names that `ethtool -k` and the kernel use.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Features {
    /// Name, whether it is on, and whether it can be changed.
    by_name: BTreeMap<String, (bool, bool)>,
}

impl Features {
    /// Says whether a feature is on; a feature that the kernel does not know is off.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|(on, _)| *on)
    }

    /// Says whether a feature can be switched.
    #[must_use]
    pub fn can_change(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|(_, can)| *can)
    }
}

/// Asks which features are on.
///
/// # Errors
/// `ENODEV` when there is no such device.
pub fn features(device: &str) -> Result<Features, Errno> {
    let control = sys::Control::open(device)?;
    let names = control.feature_names()?;
    let blocks = control.features(names.len())?;
    let by_name = names
        .into_iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty())
        .map(|(bit, name)| {
            let block = blocks.get(bit / 32).copied().unwrap_or_default();
            let mask = 1 << (bit % 32);
            let can = block.available & !block.never_changed & mask != 0;
            (name, (block.active & mask != 0, can))
        })
        .collect();
    Ok(Features { by_name })
}

/// Switches a feature, and says whether it stands as asked afterwards.
///
/// # Errors
/// When the driver refuses.
pub fn set_feature(device: &str, name: &str, on: bool) -> Result<bool, Errno> {
    let control = sys::Control::open(device)?;
    let names = control.feature_names()?;
    let Some(bit) = names.iter().position(|n| n == name) else {
        return Ok(!on);
    };
    control.set_feature(names.len(), bit, on)?;
    Ok(features(device)?.is_on(name) == on)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(max: [u32; 3], now: [u32; 3]) -> Channels {
        Channels {
            max_rx: max[0],
            max_tx: max[1],
            max_combined: max[2],
            rx: now[0],
            tx: now[1],
            combined: now[2],
            ..Channels::default()
        }
    }

    #[test]
    fn a_combined_device_gets_combined_queues() {
        let device = channels([0, 0, 8], [0, 0, 8]);
        let two = device.with_queues(2).unwrap();
        assert_eq!((two.combined, two.queues()), (2, 2));
        assert_eq!(device.with_queues(9), None);
        assert_eq!(device.with_queues(0), None);
    }

    #[test]
    fn a_virtual_pair_gets_receiving_queues_and_keeps_its_transmitting_ones() {
        let device = channels([4, 4, 0], [4, 4, 0]);
        let one = device.with_queues(1).unwrap();
        assert_eq!((one.rx, one.tx), (1, 4));
        let device = channels([4, 4, 0], [1, 1, 0]);
        let two = device.with_queues(2).unwrap();
        assert_eq!((two.rx, two.tx), (2, 2));
    }

    #[test]
    fn the_loopback_device_is_known_and_a_missing_one_is_not() {
        let lo = facts("lo").unwrap();
        assert_eq!((lo.ifindex > 0, lo.mac), (true, [0; 6]));
        assert_eq!(facts("weir-no-such"), Err(Errno::ENODEV));
        assert_eq!(facts("a-name-that-is-too-long"), Err(Errno::ENODEV));
        assert!(features("lo").unwrap().is_on("loopback"));
        assert_eq!(most_queues("lo"), Ok(1));
    }
}
