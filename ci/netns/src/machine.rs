//! What the machine must have: the tools, and the right to make namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A program that the lab needs and the Debian package that holds it.
const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
    ("tcpdump", "tcpdump"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("iperf3", "iperf3"),
    ("haproxy", "haproxy"),
    ("openssl", "openssl"),
    ("rsyslogd", "rsyslog"),
    (
        "/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so",
        "rsyslog-gnutls",
    ),
    (
        "/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py",
        "python3-prometheus-client",
    ),
    ("valgrind", "valgrind"),
    ("tmux", "tmux"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// Packages that would also serve the machine itself.
const SERVICES: &[(&str, &str)] = &[
    ("nginx-light", "nginx.service"),
    ("haproxy", "haproxy.service"),
    ("rsyslog", "rsyslog.service"),
    ("openssh-server", "ssh.service"),
];

/// Where Debian's maintainer scripts ask whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells whether this process may make namespaces.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Builds the command that runs this program again as root, or says why it cannot.
///
/// # Errors
/// When there is no sudo.
pub fn as_root() -> Result<Command> {
    if !is_present("sudo") {
        bail!(
            "the lab makes network namespaces, which needs root: run this as root, or install sudo"
        );
    }
    println!("The lab makes network namespaces, which needs root: asking sudo once.");
    let program = std::env::current_exe().context("cannot find my own program")?;
    // A rebuild under way puts the same program at the same place.
    let program = program.to_string_lossy();
    let program = program.trim_end_matches(" (deleted)");
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    Ok(command)
}

/// Installs what is missing with apt-get; starts no service on the machine.
///
/// # Errors
/// When something is missing and apt-get cannot install it.
pub fn install_tools() -> Result<()> {
    let mut missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| !is_present(tool))
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    install(&missing)
}

/// Installs packages with apt-get; starts no service on the machine.
///
/// # Errors
/// When apt-get cannot install one.
pub fn install(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing {} with apt-get.", missing.join(", "));
    if !is_present("apt-get") {
        bail!(
            "{} is needed and there is no apt-get: please install it",
            missing.join(", ")
        );
    }
    apt(&["update"])?;
    let policy = Policy::forbid_services()?;
    let installed = apt(&[&["install", "--yes", "--no-install-recommends"], missing].concat());
    drop(policy);
    installed?;
    for (package, service) in SERVICES {
        if missing.contains(package) && is_present("systemctl") {
            // The package also enables the service for the next boot; the lab runs its own.
            let done = Command::new("systemctl")
                .args(["--quiet", "disable", service])
                .status();
            done.context("cannot run systemctl")?;
        }
    }
    Ok(())
}

fn apt(words: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .arg("-qq")
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot run apt-get")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`apt-get {}` ended with {}: {}",
            words.join(" "),
            output.status,
            said.trim()
        );
    }
    Ok(())
}

fn is_present(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's PATH leaves out the folders where half of these tools live.
    let more = ["/usr/sbin", "/sbin", "/usr/bin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(more)
        .any(|dir| dir.join(tool).is_file())
}

/// Forbids maintainer scripts to start services for as long as it lives.
#[derive(Debug)]
struct Policy {
    written: bool,
}

impl Policy {
    fn forbid_services() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { written: false }); // the machine has its own policy
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").context("cannot write policy-rc.d")?;
        let policy = Self { written: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .context("cannot make policy-rc.d a program")?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.written
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("cannot remove {POLICY}: {error}");
        }
    }
}
