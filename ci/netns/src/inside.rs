//! What runs inside a namespace: small servers and clients with exact failure counts.
//!
//! The lab starts its own program again (`xtask inside <task as JSON>`), so that sockets belong to
//! the namespace without a thread changing namespaces. The last line on standard output is the
//! task's report as JSON.

pub mod connect;
pub mod flood;
pub mod hold;
pub mod http;
pub mod options;
pub mod ping;
pub mod probe;
pub mod raw;
pub mod scan;
pub mod servers;
pub mod socket;
pub mod storm;
pub mod transfer;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::janitor;

/// A task for the program inside a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Waits until the process with this id is gone and removes its labs.
    Janitor(u32),
    /// Answers each datagram with itself, for ever.
    UdpEcho(servers::Listen),
    /// Answers each byte of a connection with itself, for ever.
    TcpEcho(servers::Listen),
    /// Greets each connection and closes it first, for ever.
    TcpBanner(servers::Listen),
    /// Fetches pages.
    HttpGet(http::HttpGet),
    /// Opens many short connections.
    Storm(storm::Storm),
    /// Opens connections and keeps them busy for a while.
    Hold(hold::Hold),
    /// Opens connections at a steady pace and times each.
    Connect(connect::Connect),
    /// Floods a service from random sources.
    Flood(flood::Flood),
    /// Floods a service and counts the answers to each burst.
    FloodApart(flood::Flood),
    /// Sends datagrams one after the other and times the answers.
    PingPong(ping::PingPong),
    /// Sends datagrams at a steady pace and notes when answers come.
    Heartbeat(ping::Heartbeat),
    /// Opens one connection and looks at it closely.
    Probe(probe::Probe),
    /// Sends a SYN without the kernel's help and waits for the answer.
    RawSyn(raw::RawSyn),
    /// Completes a handshake without the kernel's help and listens.
    RawAck(raw::RawAck),
    /// Looks at every TCP port of an address.
    Scan(scan::Scan),
    /// Sends bytes with every setting of the TCP options and asks both ends what they use.
    Options(options::Options),
    /// Sends bytes to an echo server and compares what comes back.
    Bulk(transfer::Bulk),
    /// Sends datagrams to an echo server and compares what comes back.
    Datagrams(transfer::Datagrams),
}

/// Does a task given as JSON and prints its report.
///
/// # Errors
/// When the task cannot be read or cannot start; failures on the wire are figures in the report.
pub fn run(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task).context("cannot read the task")?;
    match task {
        Task::Janitor(owner) => janitor::work(owner),
        Task::UdpEcho(listen) => servers::udp_echo(&listen),
        Task::TcpEcho(listen) => servers::tcp_echo(&listen),
        Task::TcpBanner(listen) => servers::tcp_banner(&listen),
        Task::HttpGet(get) => print(&get.run()),
        Task::Storm(storm) => print(&storm.run()),
        Task::Hold(hold) => print(&hold.run()),
        Task::Connect(connect) => print(&connect.run()?),
        Task::Flood(flood) => print(&flood.run()?),
        Task::FloodApart(flood) => print(&flood.run_apart()?),
        Task::PingPong(pings) => print(&pings.run()?),
        Task::Heartbeat(heartbeat) => print(&heartbeat.run()?),
        Task::Probe(probe) => print(&probe.run()),
        Task::RawSyn(syn) => print(&syn.run()?),
        Task::RawAck(ack) => print(&ack.run()?),
        Task::Scan(scan) => print(&scan.run()?),
        Task::Options(options) => print(&options.run()?),
        Task::Bulk(bulk) => print(&bulk.run()?),
        Task::Datagrams(datagrams) => print(&datagrams.run()?),
    }
}

fn print(report: &impl Serialize) -> Result<()> {
    println!(
        "{}",
        serde_json::to_string(report).context("cannot print the report")?
    );
    Ok(())
}
