//! What a DHCP server said: busybox's udhcpc runs this program with it in the environment.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// The name by which udhcpc calls this program.
pub(crate) const NAME: &str = "weir-lease";
/// Where the lease is kept.
const FILE: &str = "lease.json";

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// The device.
    pub(crate) device: String,
    /// The address with the prefix length.
    pub(crate) address: IpNet,
    /// The router.
    pub(crate) gateway: Option<IpAddr>,
    /// Servers for names.
    pub(crate) dns: Vec<IpAddr>,
    /// Servers for the time.
    pub(crate) ntp: Vec<IpAddr>,
}

impl Lease {
    /// Reads udhcpc's variables.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let ip: Ipv4Addr = variable("ip")?.trim().parse().ok()?;
        let length = variable("mask").and_then(|it| it.trim().parse().ok());
        let length = length.or_else(|| {
            let mask: Ipv4Addr = variable("subnet")?.trim().parse().ok()?;
            let bits = u32::from(mask);
            (bits.leading_ones() == bits.count_ones()).then_some(bits.leading_ones() as u8)
        });
        // A server that says none means the network of old that the address is in.
        let length = length.unwrap_or(24);
        let all = |name: &str| -> Vec<IpAddr> {
            let text = variable(name).unwrap_or_default();
            let words = text.split_whitespace();
            words.filter_map(|word| word.parse().ok()).collect()
        };
        Some(Self {
            device: variable("interface")?,
            address: IpNet::V4(Ipv4Net::new(ip, length).ok()?),
            gateway: all("router").first().copied(),
            dns: all("dns"),
            ntp: all("ntpsrv"),
        })
    }

    /// Reads the lease that holds.
    pub(crate) fn read(run: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(run.join(FILE)).ok()?).ok()
    }

    /// Forgets the lease.
    pub(crate) fn forget(run: &Path) {
        // It may not be there.
        let _ = fs::remove_file(run.join(FILE));
    }

    /// Writes the lease, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, run: &Path) -> io::Result<()> {
        let new = run.join("lease.new");
        fs::write(&new, serde_json::to_string(self)?)?;
        fs::rename(new, run.join(FILE))
    }
}

/// Does what udhcpc calls this program for; the agent looks at the file and does the rest.
pub(crate) fn called(run: &Path, event: &str) -> io::Result<()> {
    match event {
        "bound" | "renew" => {
            let lease = Lease::from_environment(|name| std::env::var(name).ok());
            let lease = lease.ok_or_else(|| io::Error::other("the lease has no address"))?;
            lease.write(run)
        }
        // The server took it back, or it ran out; `leasefail` only says that none was found yet.
        "deconfig" | "nak" => {
            Lease::forget(run);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Makes the link by which udhcpc calls this program, and returns it.
///
/// # Errors
/// When there can be none.
pub(crate) fn link(run: &Path) -> io::Result<PathBuf> {
    let link = run.join(NAME);
    let itself = std::env::current_exe()?;
    if fs::read_link(&link).is_ok_and(|to| to == itself) {
        return Ok(link);
    }
    // One that leads elsewhere is in the way.
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(itself, &link)?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(variables: &[(&str, &str)]) -> Option<Lease> {
        Lease::from_environment(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_the_server_said_is_read() {
        let found = lease(&[
            ("interface", "eth0"),
            ("ip", "192.0.2.77"),
            ("mask", "25"),
            ("subnet", "255.255.255.128"),
            ("router", "192.0.2.1 192.0.2.2"),
            ("dns", "192.0.2.53 192.0.2.54"),
            ("ntpsrv", "192.0.2.123"),
        ]);
        let found = found.unwrap();
        assert_eq!(found.address.to_string(), "192.0.2.77/25");
        assert_eq!(found.gateway, Some("192.0.2.1".parse().unwrap()));
        assert_eq!((found.dns.len(), found.ntp.len()), (2, 1));
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Lease>(&json).unwrap(), found);
    }

    #[test]
    fn a_server_that_says_little_is_understood_and_nonsense_is_not() {
        let found = lease(&[
            ("interface", "e"),
            ("ip", "10.0.0.9"),
            ("subnet", "255.255.0.0"),
        ]);
        let found = found.unwrap();
        assert_eq!(found.address.to_string(), "10.0.0.9/16");
        assert_eq!((found.gateway, found.dns.len()), (None, 0));
        assert!(lease(&[("interface", "e"), ("ip", "nonsense")]).is_none());
        let odd = lease(&[
            ("interface", "e"),
            ("ip", "10.0.0.9"),
            ("subnet", "255.0.255.0"),
        ]);
        assert_eq!(odd.unwrap().address.prefix_len(), 24);
    }
}
