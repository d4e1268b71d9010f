//! A SIEM at the desk: rsyslog, which takes the appliance's events by TLS and writes them down.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use weir_lab::namespace::Namespace;
use weir_lab::patience::within;
use weir_lab::rsyslog::{AUTHORITY, Rsyslog, received};

const BY: &str = "tls";
const PORT: u16 = 6514;

/// An rsyslog with a certificate of an authority of its own; it ends when dropped.
#[derive(Debug)]
pub struct Collector {
    /// The authority's certificate, which the appliance is to trust.
    pub authority: String,
    dir: PathBuf,
    _rsyslog: Rsyslog,
}

impl Collector {
    /// Starts rsyslog in a namespace on this address.
    ///
    /// # Errors
    /// When a tool refuses.
    pub fn start(namespace: &Namespace, address: IpAddr, dir: &Path) -> Result<Self> {
        let rsyslog = Rsyslog::start(namespace, address, dir, &[(BY, PORT)])?;
        let authority = fs::read_to_string(dir.join(AUTHORITY));
        Ok(Self {
            authority: authority.context("openssl wrote no certificate")?,
            dir: dir.to_owned(),
            _rsyslog: rsyslog,
        })
    }

    /// Returns the section of a configuration that sends events here.
    #[must_use]
    pub fn section(address: &str) -> String {
        format!(
            "[syslog siem]\nserver = {address}:{PORT}\ntransport = tls\n\
             ca-file = /etc/weir/siem-ca.pem\n\n"
        )
    }

    /// Returns the events that came: time, code, structured data, and text, separated by tabs.
    #[must_use]
    pub fn events(&self) -> String {
        received(&self.dir, BY).unwrap_or_default()
    }

    /// Waits for an event of this code with this text somewhere in its line, and returns the line.
    ///
    /// # Errors
    /// When none comes in time, with the events that came.
    pub fn expect(&self, code: &str, text: &str, patience: Duration) -> Result<String> {
        within(patience, || {
            let events = self.events();
            let found = events
                .lines()
                .find(|line| line.split('\t').nth(1) == Some(code) && line.contains(text));
            match found {
                Some(line) => Ok(line.to_owned()),
                None => bail!(
                    "no event `{code}` with `{text}` came within {patience:?}; these did:\n{events}"
                ),
            }
        })
    }
}
