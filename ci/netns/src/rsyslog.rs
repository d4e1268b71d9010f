//! A real rsyslog, by UDP, TCP and TLS: what operators have for a SIEM.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::{run, words};
use crate::namespace::Namespace;
use crate::process::{Process, Transport};

/// The certificate, in rsyslog's folder, of the authority that vouches for it.
pub const AUTHORITY: &str = "ca.pem";

/// An rsyslog that writes what it gets into a file for each transport; it ends when dropped.
#[derive(Debug)]
pub struct Rsyslog {
    dir: PathBuf,
    receivers: Vec<(&'static str, u16)>,
    process: Option<Process>,
}

impl Rsyslog {
    /// Starts it in a namespace, on its address, with these transports, each with the port that it
    /// listens on. For `tls` there is an authority in the folder, [`AUTHORITY`].
    ///
    /// # Errors
    /// When a tool refuses, or a port is not open within three seconds.
    pub fn start(
        namespace: &Namespace,
        address: IpAddr,
        dir: &Path,
        receivers: &[(&'static str, u16)],
    ) -> Result<Self> {
        certificates(dir, address)?;
        let mut rsyslog = Self {
            dir: dir.to_owned(),
            receivers: receivers.to_vec(),
            process: None,
        };
        rsyslog.start_again(namespace)?;
        Ok(rsyslog)
    }

    /// Starts it after [`Rsyslog::stop`]; its files go on.
    ///
    /// # Errors
    /// As [`Rsyslog::start`].
    pub fn start_again(&mut self, namespace: &Namespace) -> Result<()> {
        let conf = self.dir.join("rsyslog.conf");
        fs::write(&conf, self.configuration()).context("cannot write rsyslog.conf")?;
        let mut command = namespace.command("rsyslogd");
        command.arg("-n").arg("-f").arg(&conf);
        command.arg("-i").arg(self.dir.join("rsyslog.pid"));
        let mut process = Process::start("rsyslog", &mut command, &self.dir)?;
        for (transport, port) in &self.receivers {
            let by = if *transport == "udp" {
                Transport::Udp
            } else {
                Transport::Tcp
            };
            process.wait_listening(by, *port)?;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it does not end within five seconds.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Duration::from_secs(30))?;
        }
        Ok(())
    }

    /// Forgets what came by a transport.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn empty(&self, transport: &str) -> Result<()> {
        fs::write(file(&self.dir, transport), "").context("cannot empty a log")
    }

    fn configuration(&self) -> String {
        let dir = &self.dir;
        let at = |name: &str| dir.join(name).display().to_string();
        let mut text = format!(
            "global(workDirectory=\"{}\" defaultNetstreamDriverCAFile=\"{}\" \
             defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
             template(name=\"line\" type=\"string\" \
             string=\"%timereported:::date-rfc3339%\\t%msgid%\\t%structured-data%\\t%msg%\\n\")\n",
            dir.display(),
            at(AUTHORITY),
            at("siem.pem"),
            at("siem.key"),
        );
        for (transport, port) in &self.receivers {
            let input = match *transport {
                // Room for what comes while it waits for its turn on a busy machine.
                "udp" => "type=\"imudp\" rcvbufSize=\"4m\"",
                "tls" => {
                    "type=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
                     streamDriver.authMode=\"anon\""
                }
                _ => "type=\"imtcp\"",
            };
            // A string takes all that is written to it.
            let _ = writeln!(
                text,
                "ruleset(name=\"{transport}\") {{ action(type=\"omfile\" file=\"{}\" \
                 template=\"line\") }}\ninput({input} port=\"{port}\" ruleset=\"{transport}\")",
                file(&self.dir, transport).display()
            );
        }
        text
    }
}

/// Returns what came by a transport: a line for each message with its time, its code, its structured
/// data and its text, with tabs between.
///
/// # Errors
/// When nothing came.
pub fn received(dir: &Path, transport: &str) -> Result<String> {
    fs::read_to_string(file(dir, transport)).context("rsyslog wrote nothing")
}

fn file(dir: &Path, transport: &str) -> PathBuf {
    dir.join(format!("rsyslog-{transport}.log"))
}

/// Makes an authority and a certificate for rsyslog's address.
fn certificates(dir: &Path, address: IpAddr) -> Result<()> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let at = |name: &str| dir.join(name).display().to_string();
    let lines = [
        format!(
            "openssl req -x509 {key} -subj /CN=lab -keyout {} -out {}",
            at("ca.key"),
            at(AUTHORITY)
        ),
        format!(
            "openssl req -x509 {key} -subj /CN=siem -CA {} -CAkey {} \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{address} \
             -keyout {} -out {}",
            at(AUTHORITY),
            at("ca.key"),
            at("siem.key"),
            at("siem.pem")
        ),
    ];
    for line in lines {
        run(&mut words(&line))?;
    }
    Ok(())
}
