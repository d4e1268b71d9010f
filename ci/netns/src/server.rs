//! The real servers' side: nginx, iperf3 and the echo servers.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use crate::command::{run, words};
use crate::inside::Task;
use crate::inside::servers::Listen;
use crate::inside::transfer::Pattern;
use crate::lab::{Lab, real_address};
use crate::process::{Process, Transport};

/// The size of the file that every nginx serves as `/big`: 1 GiB.
pub const BIG_FILE: u64 = 1 << 30;
/// The port of iperf3.
pub const IPERF_PORT: u16 = 5201;
/// The port of the echo servers.
pub const ECHO_PORT: u16 = 7;
/// The port of the banner server, which closes first.
pub const BANNER_PORT: u16 = 25;

/// An nginx in a real server's namespace, on port 80.
///
/// `/` and `/page` name the server and are logged, `/bench` is not logged, `/big` is the big file.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    dir: PathBuf,
}

impl Nginx {
    /// Starts nginx on real server `n` with its own configuration, logs and folders.
    ///
    /// # Errors
    /// When it does not listen within three seconds, with what it said.
    pub fn start(lab: &Lab, n: u8) -> Result<Self> {
        let name = format!("rs{}", n + 1);
        let dir = lab.dir().join(format!("nginx-{name}"));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let conf = dir.join("nginx.conf");
        fs::write(&conf, configuration(&name, n, &dir)).context("cannot write nginx.conf")?;
        let mut command = lab.real(n)?.command("nginx");
        command
            .arg("-e")
            .arg(dir.join("error.log"))
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(&conf);
        let mut process = lab.start(&format!("nginx-{name}"), &mut command)?;
        process
            .wait_listening(Transport::Tcp, 80)
            .with_context(|| fs::read_to_string(dir.join("error.log")).unwrap_or_default())?;
        Ok(Self {
            _process: process,
            dir,
        })
    }

    /// Starts one on every real server.
    ///
    /// # Errors
    /// As [`Nginx::start`].
    pub fn start_all(lab: &Lab) -> Result<Vec<Self>> {
        (0..lab.topology().reals)
            .map(|n| Self::start(lab, n))
            .collect()
    }

    /// Returns the access log: one line per page, the peer's address first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn access_log(&self) -> Result<String> {
        fs::read_to_string(self.dir.join("access.log")).context("cannot read nginx's access log")
    }

    /// Returns what nginx complained about.
    #[must_use]
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.dir.join("error.log")).unwrap_or_default()
    }
}

/// Starts `iperf3 -s` on real server `n`.
///
/// # Errors
/// When it does not listen within three seconds.
pub fn iperf(lab: &Lab, n: u8) -> Result<Process> {
    let address = real_address(n).to_string();
    let mut command = lab.real(n)?.command("iperf3");
    let mut process = lab.start(
        &format!("iperf3-rs{}", n + 1),
        command.args(["-s", "-B", &address]),
    )?;
    process.wait_listening(Transport::Tcp, IPERF_PORT)?;
    Ok(process)
}

/// Starts the UDP echo server on real server `n`.
///
/// # Errors
/// When it does not listen within three seconds.
pub fn udp_echo(lab: &Lab, n: u8) -> Result<Process> {
    let listen = Listen {
        listen: SocketAddrV4::new(real_address(n), ECHO_PORT).into(),
    };
    serve(lab, n, &Task::UdpEcho(listen), Transport::Udp, ECHO_PORT)
}

/// Starts the TCP echo server on real server `n`.
///
/// # Errors
/// When it does not listen within three seconds.
pub fn tcp_echo(lab: &Lab, n: u8) -> Result<Process> {
    let listen = Listen {
        listen: SocketAddrV4::new(real_address(n), ECHO_PORT).into(),
    };
    serve(lab, n, &Task::TcpEcho(listen), Transport::Tcp, ECHO_PORT)
}

/// Starts the banner server, which closes first, on real server `n`.
///
/// # Errors
/// When it does not listen within three seconds.
pub fn tcp_banner(lab: &Lab, n: u8) -> Result<Process> {
    let listen = Listen {
        listen: SocketAddrV4::new(real_address(n), BANNER_PORT).into(),
    };
    serve(
        lab,
        n,
        &Task::TcpBanner(listen),
        Transport::Tcp,
        BANNER_PORT,
    )
}

fn serve(lab: &Lab, n: u8, task: &Task, transport: Transport, port: u16) -> Result<Process> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("server-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut process = lab.start(&name, &mut lab.helper(lab.real(n)?, task)?)?;
    process.wait_listening(transport, port)?;
    Ok(process)
}

/// How much of the big file is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Whole,
    /// Its first quarter.
    Quarter,
}

impl Share {
    /// Returns the number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Whole => BIG_FILE,
            Self::Quarter => BIG_FILE / 4,
        }
    }
}

/// The SHA-256 of the big file and of its first quarter.
#[derive(Clone, Debug)]
pub struct BigFile {
    whole: String,
    quarter: String,
}

impl BigFile {
    /// Returns the SHA-256 of a share.
    #[must_use]
    pub fn sum(&self, share: Share) -> &str {
        match share {
            Share::Whole => &self.whole,
            Share::Quarter => &self.quarter,
        }
    }
}

/// Returns what the big file must be; makes it once per machine.
///
/// # Errors
/// When the file cannot be written.
pub fn big_file() -> Result<BigFile> {
    let dir = Path::new("/var/tmp/weir-lab");
    let (file, sums) = (dir.join("big.bin"), dir.join("big.sums"));
    if let (Ok(meta), Ok(text)) = (fs::metadata(&file), fs::read_to_string(&sums))
        && let Some((whole, quarter)) = text.split_once('\n')
        && meta.len() == BIG_FILE
    {
        return Ok(BigFile {
            whole: whole.to_owned(),
            quarter: quarter.to_owned(),
        });
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut out = BufWriter::new(File::create(&file).context("cannot make the big file")?);
    let mut pattern = Pattern::default();
    let mut chunk = vec![0; 1 << 20];
    for _ in 0..BIG_FILE >> 20 {
        pattern.fill(&mut chunk);
        out.write_all(&chunk).context("cannot write the big file")?;
    }
    out.flush().context("cannot write the big file")?;
    let sum = |share: Share| {
        let line = format!("head -c {} {} | sha256sum", share.bytes(), file.display());
        let text = run(words("sh").args(["-c", &line]))?;
        let sum = text.split_whitespace().next();
        sum.map(str::to_owned).context("sha256sum said nothing")
    };
    let big = BigFile {
        whole: sum(Share::Whole)?,
        quarter: sum(Share::Quarter)?,
    };
    let text = format!("{}\n{}", big.whole, big.quarter);
    fs::write(&sums, text).context("cannot note the sums of the big file")?;
    Ok(big)
}

fn configuration(name: &str, n: u8, dir: &Path) -> String {
    let dir = dir.display();
    let address = real_address(n);
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {dir}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {dir}/nginx.pid;\n\
         error_log {dir}/error.log warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n{temporary}\
         \x20 log_format lab '$remote_addr:$remote_port $server_addr:$server_port {name} $status $request';\n\
         \x20 access_log {dir}/access.log lab;\n\
         \x20 sendfile on;\n  tcp_nopush on;\n  keepalive_timeout 60s;\n  keepalive_requests 100000000;\n\
         \x20 default_type text/plain;\n\
         \x20 add_header X-Server {name};\n\
         \x20 server {{\n    listen {address}:80 backlog=8192;\n\
         \x20   location /bench {{ access_log off; return 200 \"{name}\\n\"; }}\n\
         \x20   location = /big {{ access_log off; alias /var/tmp/weir-lab/big.bin; }}\n\
         \x20   location / {{ return 200 \"This page comes from {name}.\\n\"; }}\n\
         \x20 }}\n}}\n"
    )
}
