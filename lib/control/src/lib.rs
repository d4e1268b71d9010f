//! Control-socket messages, codec, roles and reply codes.
//!
//! The protocol is one JSON object per line over a Unix socket. The daemon greets, the client
//! sends a [`Request`], the daemon answers with any number of row lines and one end line; every
//! line of the daemon carries a four-digit [`Code`]. The codec ([`LineReader`], [`Request::parse`],
//! [`Reply::to_line`]) does no I/O, so that the daemon drives it from its event loop and tests
//! drive it from arrays; [`Client`] is the blocking client of the command line and the console.

#![forbid(unsafe_code)]

mod apply;
mod asked;
mod capture;
mod client;
mod codec;
mod doctor;
mod drain;
mod events;
mod explain;
mod flood;
mod health;
mod history;
mod identity;
mod message;
mod overrides;
mod rates;
mod rows;
mod status;
mod syslog;
mod table;
mod tell;
mod what;

pub use apply::{
    AppliedRow, ChangeRow, ConfigText, GenerationRow, ValueChange, changes, generations,
};
pub use asked::Asked;
pub use capture::{CaptureOrder, CaptureRow, CapturedFrame};
pub use client::{Client, ClientError, DEFAULT_SOCKETS, Rows};
pub use codec::{LineError, LineReader, OPERATOR_REQUEST_LIMIT, REPLY_LIMIT, REQUEST_LIMIT};
pub use doctor::{CheckRow, CheckStatus, checks};
pub use drain::{BlockingRow, DrainRow, OrderedRow, drain};
pub use events::{EventRow, events};
pub use explain::{
    ExplainRow, Flags, Question, QuestionError, ServiceAddress, Side, Whither, explained,
};
pub use flood::{CapacityRow, FingerprintRow, FloodRow, SourceRow, floods};
pub use health::{HealthRow, LearnedRow, health};
pub use history::{HISTORY_SECONDS, HistoryRow, history};
pub use identity::{IdentityRow, Introduction, Login};
pub use message::{Code, Greeting, Rejection, Reply, Request, SCHEMA, permits};
pub use overrides::{ModeWish, OverrideRow, overrides};
pub use rates::{FloodRates, LedgerRates, PortRates, TrafficRates, WorkerRates};
pub use rows::{
    LedgerReply, PoolRealRow, PoolRow, PortRow, RealCountsRow, ServiceRealRow, ServiceRow,
    SessionRow, SynproxyRow, WorkerLedger, WorkerRow,
};
pub use status::{AlarmRow, ClientRow, StatusRow, status};
pub use syslog::{SyslogRow, syslog};
pub use table::{Table, count, ledger, pools, ports, services, sessions, workers};
pub use tell::{Tell, Told};
pub use weir_model::Role;
pub use what::{Filter, What};
