//! Names of hosts and ports, which dumps without `-n` have.

use std::net::IpAddr;

use weir_model::Protocol;

/// Looks names up.
pub trait Names {
    /// Returns the number of a port that has a name.
    fn port(&self, name: &str, protocol: Protocol) -> Option<u16>;

    /// Returns the address of a host that has a name.
    fn host(&self, name: &str) -> Option<IpAddr>;
}

/// Knows the ports that load balancers mostly serve, and no hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct WellKnown;

/// IANA's names of ports that are the same for TCP and UDP.
const PORTS: &[(&str, u16)] = &[
    ("domain", 53),
    ("ftp", 21),
    ("ftps", 990),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imap2", 143),
    ("imaps", 993),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("ms-sql-s", 1433),
    ("mysql", 3306),
    ("ntp", 123),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("radius", 1812),
    ("radius-acct", 1813),
    ("redis", 6379),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("submission", 587),
    ("syslog", 514),
    ("telnet", 23),
    ("webcache", 8080),
];

impl Names for WellKnown {
    fn port(&self, name: &str, _protocol: Protocol) -> Option<u16> {
        let found = PORTS.iter().find(|(known, _)| *known == name);
        found.map(|(_, port)| *port)
    }

    fn host(&self, _name: &str) -> Option<IpAddr> {
        None
    }
}
