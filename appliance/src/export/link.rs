//! Transports: how a message gets to a receiver, and how it is noticed that the receiver has gone.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::EPROTOTYPE;
use weir_model::{Syslog, Transport};

#[cfg(feature = "tls")]
use crate::export::tls::TlsLink;

/// How long a connection may take to come about, and a message to be taken.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nothing slows datagrams down, and a receiver has room for some hundreds: after so many without a
/// rest there is one, which leaves 16,000 a second.
const DATAGRAMS: u32 = 16;
const REST: Duration = Duration::from_millis(1);

/// A connection to a receiver.
#[derive(Debug)]
pub(super) enum Link {
    /// With what was sent since the last rest.
    Udp(UdpSocket, Burst),
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsLink>),
    Unix(UnixDatagram),
    UnixStream(UnixStream),
}

/// Datagrams that were sent one after the other.
#[derive(Debug)]
pub(super) struct Burst {
    since: Instant,
    sent: u32,
}

impl Burst {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            sent: 0,
        }
    }

    /// Waits for a moment where this one would be one too many.
    fn pace(&mut self) {
        if self.sent >= DATAGRAMS {
            let passed = self.since.elapsed();
            thread::sleep(REST.saturating_sub(passed));
            *self = Self::new();
        }
        self.sent += 1;
    }
}

impl Link {
    /// Connects; a name is resolved each time.
    ///
    /// # Errors
    /// A sentence that says what is in the way.
    pub(super) fn connect(config: &Syslog) -> Result<Self, String> {
        match config.transport {
            Transport::Udp => connect_udp(&config.server),
            Transport::Tcp => connect_tcp(&config.server).map(Self::Tcp),
            Transport::Tls => connect_tls(config),
            Transport::Unix => connect_unix(&config.server),
        }
    }

    /// Sends one message, framed as the transport has it.
    ///
    /// # Errors
    /// When the connection is of no use any more.
    pub(super) fn send(&mut self, message: &str) -> io::Result<()> {
        match self {
            Self::Udp(socket, burst) => {
                burst.pace();
                socket.send(message.as_bytes()).map(drop)
            }
            Self::Unix(socket) => socket.send(message.as_bytes()).map(drop),
            Self::Tcp(stream) => stream.write_all(&counted(message)),
            #[cfg(feature = "tls")]
            Self::Tls(link) => link.write_all(&counted(message)),
            // Receivers of streams on a Unix socket tell messages apart by their lines.
            Self::UnixStream(stream) => stream.write_all(format!("{message}\n").as_bytes()),
        }
    }

    /// Looks whether the receiver is still there, without waiting.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self {
            Self::Udp(socket, _) => match socket.take_error()? {
                Some(error) => Err(error),
                None => Ok(()),
            },
            Self::Unix(_) => Ok(()),
            Self::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                let found = look(stream);
                stream.set_nonblocking(false)?;
                found
            }
            #[cfg(feature = "tls")]
            Self::Tls(link) => link.check(),
            Self::UnixStream(stream) => {
                stream.set_nonblocking(true)?;
                let found = look(stream);
                stream.set_nonblocking(false)?;
                found
            }
        }
    }

    /// Says whether a receiver that is not there is noticed only some time after a message.
    pub(super) fn hears_late(&self) -> bool {
        matches!(self, Self::Udp(..))
    }
}

/// Octet counting (RFC 6587 section 3.4.1, RFC 5425 section 4.3).
fn counted(message: &str) -> Vec<u8> {
    format!("{} {message}", message.len()).into_bytes()
}

/// Reads what a receiver says, which is nothing, until there is nothing left.
fn look(stream: &mut impl Read) -> io::Result<()> {
    let mut bytes = [0; 256];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Err(closed()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The receiver closed the connection in order.
pub(super) fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the receiver closed the connection",
    )
}

/// Returns the cause of an error without the number that says nothing more.
pub(super) fn cause(error: &io::Error) -> String {
    let hangs = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
    let text = if hangs.contains(&error.kind()) {
        "the receiver takes no messages".to_owned()
    } else {
        error.to_string()
    };
    let words = text.split(" (os error").next();
    words.unwrap_or_default().to_owned()
}

fn connect_udp(server: &str) -> Result<Link, String> {
    let mut last = no_address(server);
    for address in resolve(server)? {
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(address)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        });
        match socket {
            Ok(socket) => return Ok(Link::Udp(socket, Burst::new())),
            Err(error) => last = refused(server, &error),
        }
    }
    Err(last)
}

fn connect_tcp(server: &str) -> Result<TcpStream, String> {
    let mut last = no_address(server);
    for address in resolve(server)? {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).and_then(|stream| {
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => return Ok(stream),
            Err(error) => last = refused(server, &error),
        }
    }
    Err(last)
}

#[cfg(feature = "tls")]
fn connect_tls(config: &Syslog) -> Result<Link, String> {
    let host = config.server.rsplit_once(':').map_or("", |(host, _)| host);
    let stream = connect_tcp(&config.server)?;
    let ca_file = config.ca_file.as_deref().unwrap_or_default();
    TlsLink::connect(stream, host, ca_file).map(|link| Link::Tls(Box::new(link)))
}

#[cfg(not(feature = "tls"))]
fn connect_tls(_: &Syslog) -> Result<Link, String> {
    Err("this build has no TLS".to_owned())
}

fn connect_unix(path: &str) -> Result<Link, String> {
    let datagram = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    });
    match datagram {
        Ok(socket) => Ok(Link::Unix(socket)),
        Err(error) if error.raw_os_error() == Some(EPROTOTYPE) => {
            let stream = UnixStream::connect(path).and_then(|stream| {
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(stream)
            });
            let stream = stream.map_err(|error| refused(path, &error))?;
            Ok(Link::UnixStream(stream))
        }
        Err(error) => Err(refused(path, &error)),
    }
}

fn resolve(server: &str) -> Result<impl Iterator<Item = SocketAddr>, String> {
    server
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve {server}: {}", cause(&error)))
}

fn no_address(server: &str) -> String {
    format!("{server} has no address")
}

fn refused(server: &str, error: &io::Error) -> String {
    let cause = if error.kind() == io::ErrorKind::TimedOut {
        "no answer".to_owned()
    } else {
        cause(error)
    };
    format!("cannot connect to {server}: {cause}")
}
