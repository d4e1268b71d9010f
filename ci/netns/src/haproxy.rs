//! haproxy in Weir's place: a proxy that ends connections in user space, for comparison.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use crate::lab::{Lab, VIP, WAN, real_address};
use crate::process::{Process, Transport};

/// haproxy in TCP mode for port 80, on one core; it ends when dropped.
#[derive(Debug)]
pub struct Haproxy<'lab> {
    lab: &'lab Lab,
    process: Process,
}

impl<'lab> Haproxy<'lab> {
    /// Gives the kernel the VIP and starts haproxy in front of every real server.
    ///
    /// # Errors
    /// When a tool refuses or haproxy does not listen within three seconds.
    pub fn start(lab: &'lab Lab, core: usize) -> Result<Self> {
        let file = lab.dir().join("haproxy.cfg");
        let mut text = format!(
            "global\n  maxconn 8000\n  nbthread 1\n  cpu-map auto:1/1 {core}\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend web\n  bind {VIP}:80\n  default_backend reals\n\
             backend reals\n  balance roundrobin\n"
        );
        for n in 0..lab.topology().reals {
            writeln!(text, "  server rs{n} {}:80", real_address(n))
                .context("cannot add a server")?;
        }
        fs::write(&file, text).context("cannot write haproxy.cfg")?;
        lab.lb.ip(&format!("addr add {VIP}/32 dev {WAN}"))?;
        lab.lb
            .sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        lab.lb.sysctl("net/core/somaxconn", "8192")?;
        let mut command = lab.lb.command("setsid");
        command.arg("haproxy").arg("-db").arg("-f").arg(&file);
        let started = lab.start("haproxy", &mut command).and_then(|mut process| {
            process.wait_listening(Transport::Tcp, 80)?;
            Ok(process)
        });
        match started {
            Ok(process) => Ok(Self { lab, process }),
            Err(error) => {
                lab.lb.ip(&format!("addr del {VIP}/32 dev {WAN}"))?;
                Err(error)
            }
        }
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid().cast_signed()
    }
}

impl Drop for Haproxy<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.lab.lb.ip(&format!("addr del {VIP}/32 dev {WAN}")) {
            eprintln!("lab: cannot take the VIP from haproxy: {error:#}");
        }
    }
}
