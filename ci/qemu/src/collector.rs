//! A SIEM at the desk: rsyslog, which takes the appliance's events by TLS and writes them down.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use weir_lab::command::{run, words};
use weir_lab::namespace::Namespace;
use weir_lab::process::{Process, Transport};

const PORT: u16 = 6514;
const POLL: Duration = Duration::from_millis(100);

/// An rsyslog with a certificate of an authority of its own; it ends when dropped.
#[derive(Debug)]
pub struct Collector {
    /// The authority's certificate, which the appliance is to trust.
    pub authority: String,
    log: PathBuf,
    _process: Process,
}

impl Collector {
    /// Makes certificates and starts rsyslog in a namespace on this address.
    ///
    /// # Errors
    /// When a tool refuses.
    pub fn start(namespace: &Namespace, address: &str, dir: &Path) -> Result<Self> {
        let at = |name: &str| dir.join(name).display().to_string();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        let (authority, its_key) = (at("siem-ca.pem"), at("siem-ca.key"));
        for line in [
            format!("openssl req -x509 {key} -subj /CN=lab -keyout {its_key} -out {authority}"),
            format!(
                "openssl req -x509 {key} -subj /CN=siem -CA {authority} -CAkey {its_key} \
                 -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{address} \
                 -keyout {} -out {}",
                at("siem.key"),
                at("siem.pem")
            ),
        ] {
            run(&mut words(&line))?;
        }
        let log = dir.join("siem.events");
        let text = format!(
            "global(workDirectory=\"{}\" defaultNetstreamDriverCAFile=\"{authority}\" \
             defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\")\n\
             template(name=\"line\" type=\"string\" \
             string=\"%timereported:::date-rfc3339%\\t%msgid%\\t%structured-data%\\t%msg%\\n\")\n\
             ruleset(name=\"tls\") {{ action(type=\"omfile\" file=\"{}\" template=\"line\") }}\n\
             input(type=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
             streamDriver.authMode=\"anon\" port=\"{PORT}\" ruleset=\"tls\")\n",
            dir.display(),
            at("siem.pem"),
            at("siem.key"),
            log.display(),
        );
        let file = dir.join("siem.conf");
        fs::write(&file, text).context("cannot write rsyslog's configuration")?;
        let mut command = namespace.command("rsyslogd");
        command.args(["-n", "-f"]).arg(&file);
        command.args(["-i", &at("siem.pid")]);
        let mut process = Process::start("siem", &mut command, dir)?;
        process.wait_listening(Transport::Tcp, PORT)?;
        Ok(Self {
            authority: fs::read_to_string(&authority).context("openssl wrote no certificate")?,
            log,
            _process: process,
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
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for an event of this code with this text somewhere in its line, and returns the line.
    ///
    /// # Errors
    /// When none comes in time, with the events that came.
    pub fn expect(&self, code: &str, text: &str, patience: Duration) -> Result<String> {
        let end = Instant::now() + patience;
        loop {
            let events = self.events();
            let found = events
                .lines()
                .find(|line| line.split('\t').nth(1) == Some(code) && line.contains(text));
            if let Some(line) = found {
                return Ok(line.to_owned());
            }
            if Instant::now() >= end {
                bail!(
                    "no event `{code}` with `{text}` came within {patience:?}; these did:\n{events}"
                );
            }
            thread::sleep(POLL);
        }
    }
}
