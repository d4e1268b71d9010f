//! SYNPROXY: what a configuration asks for, and what was learned of the real servers.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::{BadAck, ClientWindow, SynproxyMode};

/// How a service meets SYN floods: its `[synproxy]` profile, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synproxy {
    /// When cookies are sent.
    pub mode: SynproxyMode,
    /// Unanswered SYNs per second from which cookies are sent.
    pub enter: u32,
    /// Unanswered SYNs per second below which they are no longer sent.
    pub leave: u32,
    /// How long they are sent at least.
    pub stay: Duration,
    /// Whether clients are offered what the real servers were seen to do, instead of `given`.
    pub learned: bool,
    /// The options that the file gives: what is offered until something was learned, too, except
    /// timestamps.
    pub given: Offer,
    /// Whether a client may send before the real server has answered.
    pub client_window: ClientWindow,
    /// Bytes held per session while the real server answers.
    pub early_data: u32,
    /// Bytes held per worker.
    pub early_data_pool: u64,
    /// Whether the real server is only asked when the first byte of data has come.
    pub defer: bool,
    /// How long a cookie is good at most.
    pub cookie_lifetime: Duration,
    /// How often the key changes.
    pub secret_rotation: Duration,
    /// The file that the master key is read from; none means one made at start.
    pub secret_file: Option<String>,
    /// The master key; whoever starts or reloads fills it in.
    pub master: MasterKey,
    /// How often the SYN to the real server is sent again.
    pub syn_retries: u8,
    /// What becomes of an ACK whose cookie is not ours.
    pub bad_ack: BadAck,
    /// SYN-ACKs per second that one /24 of clients is sent at most, on each worker.
    pub reflect_limit: u32,
}

impl Default for Synproxy {
    /// No SYNPROXY, with the values that the schema has as defaults.
    fn default() -> Self {
        Self {
            mode: SynproxyMode::Off,
            enter: 20_000,
            leave: 5_000,
            stay: Duration::from_secs(30),
            learned: true,
            given: Offer::default(),
            client_window: ClientWindow::Open,
            early_data: 16 << 10,
            early_data_pool: 64 << 20,
            defer: false,
            cookie_lifetime: Duration::from_secs(64),
            secret_rotation: Duration::from_mins(15),
            secret_file: None,
            master: MasterKey::default(),
            syn_retries: 3,
            bad_ack: BadAck::Drop,
            reflect_limit: 50_000,
        }
    }
}

/// The TCP options that a SYN-ACK offers a client, of those that the client's SYN has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Maximum segment size in bytes.
    pub mss: u16,
    /// Window scale in bits; none is not the same as 0 (RFC 7323 section 2.2).
    pub wscale: Option<u8>,
    /// Selective acknowledgements.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            mss: 1440,
            wscale: Some(7),
            sack: true,
            timestamps: true,
        }
    }
}

/// The key that all keys of a profile's cookies are derived from; prints nothing of itself.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MasterKey(pub [u8; 16]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}
