//! A real rsyslog in the first real server's namespace, by UDP, TCP and TLS: what operators have for a SIEM.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::{run, words};
use crate::lab::{Lab, real_address};
use crate::process::{Process, Transport};

/// An rsyslog that writes what it gets into a file for each transport; it ends when dropped.
#[derive(Debug)]
pub struct Rsyslog<'lab> {
    lab: &'lab Lab,
    receivers: Vec<(&'static str, u16)>,
    process: Option<Process>,
}

impl<'lab> Rsyslog<'lab> {
    /// Starts it with these transports, each with the port that it listens on. For `tls` there is an
    /// authority in the lab's folder, `ca.pem`.
    ///
    /// # Errors
    /// When a tool refuses, or a port is not open within three seconds.
    pub fn start(lab: &'lab Lab, receivers: &[(&'static str, u16)]) -> Result<Self> {
        certificates(lab.dir())?;
        let mut rsyslog = Self {
            lab,
            receivers: receivers.to_vec(),
            process: None,
        };
        rsyslog.start_again()?;
        Ok(rsyslog)
    }

    /// Starts it after [`Rsyslog::stop`]; its files go on.
    ///
    /// # Errors
    /// As [`Rsyslog::start`].
    pub fn start_again(&mut self) -> Result<()> {
        let dir = self.lab.dir();
        let conf = dir.join("rsyslog.conf");
        fs::write(&conf, self.configuration()).context("cannot write rsyslog.conf")?;
        let mut command = self.lab.real(0)?.command("rsyslogd");
        command.arg("-n").arg("-f").arg(&conf);
        command.arg("-i").arg(dir.join("rsyslog.pid"));
        let mut process = self.lab.start("rsyslog", &mut command)?;
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
            process.stop(Duration::from_secs(5))?;
        }
        Ok(())
    }

    /// Forgets what came by a transport.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn empty(&self, transport: &str) -> Result<()> {
        fs::write(file(self.lab, transport), "").context("cannot empty a log")
    }

    fn configuration(&self) -> String {
        let dir = self.lab.dir();
        let at = |name: &str| dir.join(name).display().to_string();
        let mut text = format!(
            "global(workDirectory=\"{}\" defaultNetstreamDriverCAFile=\"{}\" \
             defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
             template(name=\"line\" type=\"string\" \
             string=\"%msgid%\\t%structured-data%\\t%msg%\\n\")\n",
            dir.display(),
            at("ca.pem"),
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
                file(self.lab, transport).display()
            );
        }
        text
    }
}

/// Returns what came by a transport: a line for each message with its code, its structured data and
/// its text, with tabs between.
///
/// # Errors
/// When nothing came.
pub fn received(lab: &Lab, transport: &str) -> Result<String> {
    fs::read_to_string(file(lab, transport)).context("rsyslog wrote nothing")
}

fn file(lab: &Lab, transport: &str) -> PathBuf {
    lab.dir().join(format!("rsyslog-{transport}.log"))
}

/// Makes an authority and a certificate for rsyslog's address.
fn certificates(dir: &Path) -> Result<()> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let at = |name: &str| dir.join(name).display().to_string();
    let lines = [
        format!(
            "openssl req -x509 {key} -subj /CN=lab -keyout {} -out {}",
            at("ca.key"),
            at("ca.pem")
        ),
        format!(
            "openssl req -x509 {key} -subj /CN=siem -CA {} -CAkey {} \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{} \
             -keyout {} -out {}",
            at("ca.pem"),
            at("ca.key"),
            real_address(0),
            at("siem.key"),
            at("siem.pem")
        ),
    ];
    for line in lines {
        run(&mut words(&line))?;
    }
    Ok(())
}
