//! Servers for the real-server namespaces.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What the banner server says before it closes.
pub const BANNER: &[u8] = b"220 weir lab\r\n";

/// Where a server listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Listen {
    /// Address and port.
    pub listen: SocketAddr,
}

pub(crate) fn udp_echo(listen: &Listen) -> Result<()> {
    let socket = UdpSocket::bind(listen.listen)
        .with_context(|| format!("cannot listen on {}", listen.listen))?;
    let mut buffer = vec![0; 65_536];
    loop {
        // A datagram that cannot be answered (an ICMP error came back) is the asker's to miss.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
    }
}

pub(crate) fn tcp_echo(listen: &Listen) -> Result<()> {
    let listener = TcpListener::bind(listen.listen)
        .with_context(|| format!("cannot listen on {}", listen.listen))?;
    loop {
        let (mut stream, _) = listener.accept().context("cannot accept")?;
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream
                    .write_all(buffer.get(..length).unwrap_or_default())
                    .is_err()
                {
                    return;
                }
            }
        });
    }
}

pub(crate) fn tcp_banner(listen: &Listen) -> Result<()> {
    let listener = TcpListener::bind(listen.listen)
        .with_context(|| format!("cannot listen on {}", listen.listen))?;
    loop {
        let (mut stream, _) = listener.accept().context("cannot accept")?;
        // The client counts a greeting that does not arrive; closing first is the point.
        let _ = stream.write_all(BANNER);
    }
}
