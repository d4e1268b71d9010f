//! The configuration that the lab gives to Weir.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::lab::{LAN, LB_LAN, LB_WAN, VIP, WAN, lip, real_address};
use crate::server::{BANNER_PORT, ECHO_PORT, IPERF_PORT};

/// A weir.conf for the lab; write it with `Display`.
#[derive(Clone, Debug)]
pub struct WeirConf {
    /// The driver of both ports.
    pub driver: String,
    /// The driver of the port towards the real servers, where it is another one.
    pub lan_driver: Option<String>,
    /// Queues of both ports, and workers.
    pub queues: u8,
    /// The cores of the workers, such as `auto` or `1`.
    pub cpus: String,
    /// Sessions of each worker, such as `512k`.
    pub sessions: String,
    /// The core of the control threads; none: any.
    pub control: Option<usize>,
    /// Where to send what is for networks beyond the clients' link.
    pub gateway: Option<Ipv4Addr>,
    /// The control socket.
    pub socket: PathBuf,
    /// More addresses of the port towards the real servers.
    pub lan_addresses: Vec<Ipv4Addr>,
    /// LIP pools.
    pub pools: Vec<Pool>,
    /// Services.
    pub services: Vec<Service>,
    /// More sections: profiles that the services refer to.
    pub more: String,
}

/// A LIP pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Its ports, such as `1024-65535`.
    pub source_ports: String,
    /// How long a port rests, such as `60s`.
    pub reuse_after: String,
}

/// A service on the lab's VIP.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it listens on the VIP, such as `80/tcp`.
    pub port: String,
    /// The pool that it takes local addresses from.
    pub pool: String,
    /// Its scheduler.
    pub scheduler: String,
    /// Its real servers by number, counted from 0, and their port.
    pub reals: Vec<(u8, u16)>,
    /// More keys of its section, one per line.
    pub more: String,
}

impl Pool {
    /// Builds a pool with one address and every port that is not reserved.
    #[must_use]
    pub fn new(name: &str, address: Ipv4Addr) -> Self {
        Self {
            name: name.to_owned(),
            addresses: vec![address],
            source_ports: "1024-65535".to_owned(),
            reuse_after: "60s".to_owned(),
        }
    }
}

impl Service {
    /// Builds a round-robin service that tells the real server the client's address by TOA.
    #[must_use]
    pub fn tcp(name: &str, port: u16, reals: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            port: format!("{port}/tcp"),
            pool: "blue".to_owned(),
            scheduler: "rr".to_owned(),
            reals: reals.iter().map(|n| (*n, port)).collect(),
            more: "client-address  = toa".to_owned(),
        }
    }

    /// Builds a round-robin UDP service.
    #[must_use]
    pub fn udp(name: &str, port: u16, reals: &[u8]) -> Self {
        Self {
            port: format!("{port}/udp"),
            more: String::new(),
            ..Self::tcp(name, port, reals)
        }
    }

    /// Takes local addresses from another pool.
    #[must_use]
    pub fn from_pool(self, pool: &str) -> Self {
        Self {
            pool: pool.to_owned(),
            ..self
        }
    }
}

impl WeirConf {
    /// Builds the configuration that serves everything the lab's servers offer.
    #[must_use]
    pub fn new(driver: &str, queues: u8, dir: &Path) -> Self {
        Self {
            driver: driver.to_owned(),
            lan_driver: None,
            queues,
            cpus: "auto".to_owned(),
            sessions: "512k".to_owned(),
            control: None,
            gateway: None,
            socket: dir.join("operate.sock"),
            lan_addresses: Vec::new(),
            pools: vec![Pool::new("blue", lip(0))],
            services: vec![
                Service::tcp("web", 80, &[0, 1]),
                Service::tcp("iperf", IPERF_PORT, &[0]),
                Service::tcp("echo", ECHO_PORT, &[0]),
                Service::tcp("banner", BANNER_PORT, &[0]),
                Service::udp("udp-echo", ECHO_PORT, &[0]),
            ],
            more: String::new(),
        }
    }
}

impl fmt::Display for WeirConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[node]\nname            = lab\nstop-after      = 1s\n")?;
        for (port, address) in [(WAN, LB_WAN), (LAN, LB_LAN)] {
            let other = self.lan_driver.as_ref().filter(|_| port == LAN);
            let driver = other.unwrap_or(&self.driver);
            writeln!(
                f,
                "[port {port}]\ndevice          = {port}\ndriver          = {driver}"
            )?;
            writeln!(
                f,
                "queues          = {}\naddress         = {address}/24",
                self.queues
            )?;
            if let (WAN, Some(gateway)) = (port, self.gateway) {
                writeln!(f, "gateway         = {gateway}")?;
            }
            for address in self.lan_addresses.iter().filter(|_| port == LAN) {
                writeln!(f, "address         = {address}/24")?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "[workers]\ncpus            = {}\nsessions        = {}\n",
            self.cpus, self.sessions
        )?;
        writeln!(
            f,
            "[control]\nsocket          = {}  role=operator",
            self.socket.display()
        )?;
        if let Some(core) = self.control {
            writeln!(f, "cpus            = {core}")?;
        }
        writeln!(f)?;
        for pool in &self.pools {
            writeln!(f, "[lip-pool {}]\nport            = {LAN}", pool.name)?;
            for address in &pool.addresses {
                writeln!(f, "address         = {address}")?;
            }
            writeln!(f, "source-ports    = {}", pool.source_ports)?;
            writeln!(f, "reuse-after     = {}\n", pool.reuse_after)?;
        }
        for service in &self.services {
            writeln!(
                f,
                "[service {}]\nlisten          = {VIP}:{}",
                service.name, service.port
            )?;
            writeln!(f, "lip-pool        = {}", service.pool)?;
            writeln!(f, "scheduler       = {}", service.scheduler)?;
            for (real, port) in &service.reals {
                writeln!(f, "real            = {}:{port}", real_address(*real))?;
            }
            writeln!(f, "{}\n", service.more)?;
        }
        writeln!(f, "{}", self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_written_once() {
        let text = WeirConf::new("auto", 2, Path::new("/tmp/x")).to_string();
        for section in [
            "[node]",
            "[port wan]",
            "[port lan]",
            "[lip-pool blue]",
            "[service web]",
        ] {
            assert_eq!(text.matches(section).count(), 1, "{section}\n{text}");
        }
        assert!(text.contains("listen          = 10.80.0.100:80/tcp\n"));
        assert!(text.contains("real            = 10.81.0.12:80\n"));
    }

    #[test]
    fn configuration_is_accepted() {
        for queues in [1, 2] {
            let mut conf = WeirConf::new("auto", queues, Path::new("/tmp/x"));
            conf.pools.push(Pool::new("small", lip(1)));
            conf.services
                .push(Service::tcp("more", 8080, &[1]).from_pool("small"));
            let text = conf.to_string();
            let loaded = weir_conf::parse_str("weir.conf", &text, None);
            assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
        }
    }
}
