//! Messages over TLS (RFC 5425).

use std::fmt;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::export::link::{cause, closed};

/// A TLS connection to a receiver whose certificate was checked.
pub(super) struct TlsLink {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl fmt::Debug for TlsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLink").finish_non_exhaustive()
    }
}

impl TlsLink {
    /// Shakes hands. The certificate must be signed by one of `ca_file`, which is read each time,
    /// and be that of `host`, a name or an address.
    pub(super) fn connect(
        mut stream: TcpStream,
        host: &str,
        ca_file: &str,
    ) -> Result<Self, String> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("`{host}` is not a name that a certificate can have"))?;
        let config = config(ca_file)?;
        let mut connection = ClientConnection::new(Arc::new(config), name)
            .map_err(|error| format!("cannot begin TLS with {host}: {error}"))?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut stream)
                .map_err(|error| format!("no TLS with {host}: {}", cause(&error)))?;
        }
        Ok(Self {
            stream: StreamOwned::new(connection, stream),
        })
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads what the receiver says of the connection, without waiting.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.stream.sock.set_nonblocking(true)?;
        let found = self.look();
        self.stream.sock.set_nonblocking(false)?;
        found
    }

    fn look(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.stream;
        loop {
            match conn.read_tls(sock) {
                Ok(0) => return Err(closed()),
                Ok(_) => {
                    let state = conn.process_new_packets().map_err(io::Error::other)?;
                    if state.peer_has_closed() {
                        return Err(closed());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn config(ca_file: &str) -> Result<ClientConfig, String> {
    let unusable = |cause: String| format!("ca-file {ca_file}: {cause}");
    let certificates = CertificateDer::pem_file_iter(ca_file)
        .map_err(|error| unusable(format!("cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
