//! A real sshd in front of Weir's console, on a network of its own, and somebody who logs in.
//!
//! It has its own keys, its own folders for what it runs with and logs, and an account file of its
//! own: the machine's sshd, users and log-in records are not touched.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::command::{run, words};
use crate::lab::Lab;
use crate::process::{Process, Transport};

/// The load balancer's address on the management network.
pub const MANAGEMENT: &str = "10.82.0.1";
/// The operator's address there.
pub const DESK: &str = "10.82.0.11";
/// The name that the operator's key has.
pub const OPERATOR: &str = "lena";

/// An sshd that runs the console for whoever logs in, and nothing else; it stops when dropped.
#[derive(Debug)]
pub struct Sshd {
    _process: Process,
}

impl Sshd {
    /// Makes a management network and keys, and starts sshd with the console as its forced command.
    ///
    /// # Errors
    /// When a tool refuses, or sshd does not listen within three seconds.
    pub fn start(lab: &Lab, program: &Path, socket: &Path) -> Result<Self> {
        let (desk, lb) = (lab.client.name(), lab.lb.name());
        run(&mut words(&format!(
            "ip -n {desk} link add mgmt type veth peer name mgmt netns {lb}"
        )))?;
        for (namespace, address) in [(&lab.lb, MANAGEMENT), (&lab.client, DESK)] {
            namespace.ip(&format!("addr add {address}/24 dev mgmt"))?;
            namespace.ip("link set mgmt up")?;
        }
        let dir = lab.dir();
        for name in ["ssh-host", "ssh-key"] {
            let mut keygen = words("ssh-keygen -q -t ed25519 -N");
            keygen.args(["", "-C", OPERATOR, "-f"]).arg(dir.join(name));
            run(&mut keygen)?;
        }
        let public = |name: &str| {
            let file = dir.join(format!("{name}.pub"));
            fs::read_to_string(file).context("ssh-keygen made no key")
        };
        let key = public("ssh-key")?;
        let command = format!(
            "export WEIR_OPERATOR={OPERATOR} LANG=C.UTF-8; exec {} console --socket {}",
            program.display(),
            socket.display()
        );
        let files = [
            (
                "ssh-authorized",
                format!("command=\"{command}\",restrict,pty {key}"),
            ),
            ("ssh-known", format!("{MANAGEMENT} {}", public("ssh-host")?)),
            ("ssh-shadow", "root:*:19000:0:99999:7:::\n".to_owned()),
            ("sshd.conf", configuration(dir)),
        ];
        for (name, text) in files {
            let file = dir.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {name}"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                .with_context(|| format!("cannot protect {name}"))?;
        }
        // `ip netns exec` gives each command mounts of its own: these are seen by sshd alone.
        let script = format!(
            "mount -t tmpfs weir-run /run && mkdir -m 755 /run/sshd && \
             mount -t tmpfs weir-log /var/log && mount --bind {0}/ssh-shadow /etc/shadow && \
             exec /usr/sbin/sshd -D -e -f {0}/sshd.conf",
            dir.display()
        );
        let mut sshd = lab.lb.command("sh");
        let mut process = lab.start("sshd", sshd.args(["-c", &script]))?;
        process.wait_listening(Transport::Tcp, 22)?;
        Ok(Self { _process: process })
    }

    /// Returns the words with which the operator logs in.
    #[must_use]
    pub fn log_in(lab: &Lab) -> String {
        let dir = lab.dir().display();
        format!(
            "ssh -F none -i {dir}/ssh-key -o IdentitiesOnly=yes -o BatchMode=yes \
             -o UserKnownHostsFile={dir}/ssh-known -o GlobalKnownHostsFile=none \
             -o StrictHostKeyChecking=yes -o ConnectTimeout=5 root@{MANAGEMENT}"
        )
    }
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "ListenAddress {MANAGEMENT}:22\n\
         HostKey {dir}/ssh-host\n\
         PidFile none\n\
         AuthorizedKeysFile {dir}/ssh-authorized\n\
         # The lab's folder is below one that everybody may write to.\n\
         StrictModes no\n\
         UsePAM no\n\
         UseDNS no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin forced-commands-only\n\
         PrintMotd no\n\
         PrintLastLog no\n"
    )
}
