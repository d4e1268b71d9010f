//! VIPs and LIPs that an interface of this machine has, although Weir alone must have them.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use weir_model::Snapshot;

/// A VIP or LIP that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// What has it in the configuration: `[service web]`.
    object: String,
    /// Where the configuration names it, as a `Finding` says it.
    pub(crate) named: String,
    pub(crate) address: IpAddr,
    device: String,
}

impl Taken {
    pub(crate) fn text(&self) -> String {
        let Self {
            object,
            address,
            device,
            ..
        } = self;
        format!("{address} of {object} is an address that the kernel has on `{device}`")
    }

    pub(crate) fn advice(&self) -> String {
        let Self {
            address, device, ..
        } = self;
        format!("weir alone must have it; take {address} from `{device}` (`ip address del`)")
    }
}

/// Returns the addresses that the kernel has, each with its device; none where it does not tell.
pub(crate) fn addresses() -> Vec<(IpAddr, String)> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let found = all.filter_map(|it| {
        let address = it.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        let v6 = || address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip()));
        Some((v4.or_else(v6)?, it.interface_name))
    });
    found.collect()
}

/// Returns those of the configuration's VIPs and LIPs that the kernel has, each once.
pub(crate) fn of(snapshot: &Snapshot, kernel: &[(IpAddr, String)]) -> Vec<Taken> {
    let mut found: Vec<Taken> = Vec::new();
    for (address, device) in kernel {
        let taken = |object: String, named: String| Taken {
            object,
            named,
            address: *address,
            device: device.clone(),
        };
        let mut services = snapshot.services.iter();
        let vip = services
            .find(|service| service.listen.iter().any(|it| it.address == *address))
            .map(|service| {
                taken(
                    format!("[service {}]", service.name),
                    format!("vip={address}"),
                )
            });
        let mut pools = snapshot.pools.iter();
        let lip = || {
            pools.find_map(|pool| {
                let mut ranges = pool.ranges.iter();
                let range = ranges.find(|it| (it.first..=it.last).contains(address))?;
                let named = format!("lips={}-{}", range.first, range.last);
                Some(taken(format!("[lip-pool {}]", pool.name), named))
            })
        };
        let taken = vip.or_else(lip);
        found.extend(taken.filter(|it| found.iter().all(|other| other.address != it.address)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::snapshot;

    #[test]
    fn a_vip_and_a_lip_that_the_kernel_has_are_found_once_each_with_their_device() {
        let has = |address: [u8; 4], device: &str| (address.into(), device.to_owned());
        let found = of(
            &snapshot(""),
            &[
                has([127, 0, 0, 1], "lo"),
                has([10, 81, 0, 1], "lan0"),
                has([10, 80, 0, 100], "lo"),
                has([10, 80, 0, 100], "wan0"),
                has([10, 81, 0, 200], "lan0"),
            ],
        );
        let told: Vec<(&str, String)> = found
            .iter()
            .map(|it| (it.named.as_str(), it.text()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "vip=10.80.0.100",
                    "10.80.0.100 of [service web] is an address that the kernel has on `lo`"
                        .to_owned()
                ),
                (
                    "lips=10.81.0.200-10.81.0.200",
                    "10.81.0.200 of [lip-pool blue] is an address that the kernel has on `lan0`"
                        .to_owned()
                ),
            ]
        );
    }

    #[test]
    fn the_kernel_tells_of_the_loopback_address() {
        let all = addresses();
        assert!(
            all.contains(&([127, 0, 0, 1].into(), "lo".to_owned())),
            "{all:?}"
        );
    }
}
