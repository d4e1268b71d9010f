//! End points with a real TCP of their own: smoltcp on simulated time, with its own ARP.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, bail};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpListenEndpoint};
use weir_model::Time;
use weir_wire::EthAddr;

use crate::Random;

/// When an end point closes its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// As soon as everything was handed to TCP.
    WhenSent,
    /// When the other end has closed.
    WhenTheOtherHas,
    /// When everything was sent and everything was received.
    WhenBothAreDone,
}

/// What an end point does with its connection.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its address, with a prefix of 24 bits.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: EthAddr,
    /// Its port.
    pub port: u16,
    /// Where it connects to; a server listens instead.
    pub connect: Option<(Ipv4Addr, u16)>,
    /// How many bytes it sends.
    pub send: usize,
    /// How many bytes it waits for before it sends its own.
    pub sends_after: usize,
    /// The seed of the bytes it sends.
    pub seed: u64,
    /// How many bytes it expects.
    pub expect: usize,
    /// The seed of the bytes it expects.
    pub expect_seed: u64,
    /// When it closes its direction.
    pub closing: Closing,
    /// The size of its buffers: more than 64 KiB makes it scale windows.
    pub buffer: usize,
    /// Whether it uses TCP timestamps.
    pub timestamps: bool,
    /// The MTU of its link.
    pub mtu: usize,
}

/// One TCP end point on a link.
pub struct EndPoint {
    iface: Interface,
    link: Link,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
    closing: Closing,
    outgoing: Vec<u8>,
    sends_after: usize,
    sent: usize,
    expected: Vec<u8>,
    received: usize,
    closed: bool,
    heard_end: bool,
}

thread_local! {
    // smoltcp asks a plain function for timestamps.
    static TSVAL: Cell<u32> = const { Cell::new(0) };
}

impl EndPoint {
    /// Makes an end point; a client sends its SYN at the first [`poll`](Self::poll).
    ///
    /// # Errors
    ///
    /// When smoltcp refuses the addresses.
    pub fn new(plan: &Plan, now: Time) -> Result<Self> {
        let mut link = Link {
            mtu: plan.mtu,
            ..Link::default()
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(plan.mac.0)));
        config.random_seed = plan.seed;
        let mut iface = Interface::new(config, &mut link, instant(now));
        let mut accepted = Ok(());
        iface.update_ip_addrs(|list| {
            accepted = list.push(IpCidr::new(IpAddress::Ipv4(plan.address), 24));
        });
        if accepted.is_err() {
            bail!("smoltcp has no room for the address {}", plan.address);
        }
        let buffer = || SocketBuffer::new(vec![0; plan.buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(CongestionControl::Reno);
        socket.set_ack_delay(Some(smoltcp::time::Duration::from_millis(10)));
        if plan.timestamps {
            socket.set_tsval_generator(Some(|| TSVAL.get()));
        }
        match plan.connect {
            Some((address, port)) => {
                let to = (IpAddress::Ipv4(address), port);
                if let Err(error) = socket.connect(iface.context(), to, plan.port) {
                    bail!("smoltcp does not connect: {error}");
                }
            }
            None => {
                if let Err(error) = socket.listen(IpListenEndpoint::from(plan.port)) {
                    bail!("smoltcp does not listen: {error}");
                }
            }
        }
        let mut sockets = SocketSet::new(Vec::new());
        let tcp = sockets.add(socket);
        Ok(Self {
            iface,
            link,
            sockets,
            tcp,
            closing: plan.closing,
            outgoing: Random::new(plan.seed).bytes(plan.send),
            sends_after: plan.sends_after,
            sent: 0,
            expected: Random::new(plan.expect_seed).bytes(plan.expect),
            received: 0,
            closed: false,
            heard_end: false,
        })
    }

    /// Gives the end point a frame from its link.
    pub fn receive(&mut self, frame: Vec<u8>) {
        self.link.incoming.push_back(frame);
    }

    /// Lets the end point work; afterwards [`transmitted`](Self::transmitted) has its frames.
    ///
    /// # Errors
    ///
    /// When bytes arrived that were never sent, or the connection was reset.
    pub fn poll(&mut self, now: Time) -> Result<()> {
        TSVAL.set(now.as_millis() as u32);
        loop {
            let polled = self
                .iface
                .poll(instant(now), &mut self.link, &mut self.sockets);
            let moved = self.work()?;
            if polled == PollResult::None && !moved {
                return Ok(());
            }
        }
    }

    /// Returns the next frame for the link.
    pub fn transmitted(&mut self) -> Option<Vec<u8>> {
        self.link.outgoing.pop_front()
    }

    /// Returns when the end point wants to be polled again.
    #[must_use]
    pub fn poll_at(&mut self, now: Time) -> Option<Time> {
        let at = self.iface.poll_at(instant(now), &self.sockets)?;
        Some(Time::from_micros(
            u64::try_from(at.total_micros()).unwrap_or(0),
        ))
    }

    /// Says whether everything was sent, received and closed, as far as this end can tell.
    #[must_use]
    pub fn is_done(&mut self) -> bool {
        let state = self.sockets.get_mut::<Socket<'_>>(self.tcp).state();
        self.received == self.expected.len()
            && self.sent == self.outgoing.len()
            && self.heard_end
            && matches!(state, State::Closed | State::TimeWait)
    }

    /// Describes how far the end point has come.
    #[must_use]
    pub fn progress(&mut self) -> String {
        let state = self.sockets.get_mut::<Socket<'_>>(self.tcp).state();
        format!(
            "{state}, {} of {} bytes sent, {} of {} received{}",
            self.sent,
            self.outgoing.len(),
            self.received,
            self.expected.len(),
            if self.heard_end {
                ", end of stream seen"
            } else {
                ""
            }
        )
    }

    /// The application on top of TCP: sends, checks what it receives, closes.
    fn work(&mut self) -> Result<bool> {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.tcp);
        let mut moved = false;
        let speaks = self.received >= self.sends_after;
        while speaks && socket.can_send() && self.sent < self.outgoing.len() {
            match socket.send_slice(&self.outgoing[self.sent..]) {
                Ok(0) => break,
                Ok(count) => self.sent += count,
                Err(error) => bail!("cannot send: {error:?}"),
            }
            moved = true;
        }
        while socket.can_recv() {
            let rest = &self.expected[self.received..];
            let received = socket.recv(|bytes| {
                let known = rest.get(..bytes.len()) == Some(bytes);
                (bytes.len(), known.then_some(bytes.len()))
            });
            match received {
                Ok(Some(0)) => break,
                Ok(Some(count)) => self.received += count,
                Ok(None) => bail!(
                    "bytes behind the {}th are not those that were sent",
                    self.received
                ),
                Err(error) => bail!("cannot receive: {error:?}"),
            }
            moved = true;
        }
        let state = socket.state();
        let ended = matches!(
            state,
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if ended && !self.heard_end {
            self.heard_end = true;
            moved = true;
        }
        if state == State::Closed && !(self.closed && self.heard_end) {
            bail!("the connection was reset: {}", self.progress());
        }
        let sent = self.sent == self.outgoing.len();
        let close = match self.closing {
            Closing::WhenSent => sent && socket.may_send(),
            Closing::WhenTheOtherHas => sent && self.heard_end,
            Closing::WhenBothAreDone => sent && self.received == self.expected.len(),
        };
        let open = !matches!(state, State::Listen | State::SynSent | State::SynReceived);
        if close && open && !self.closed {
            socket.close();
            self.closed = true;
            moved = true;
        }
        Ok(moved)
    }
}

fn instant(time: Time) -> Instant {
    Instant::from_micros(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

/// The end point's network card: two queues.
#[derive(Default)]
struct Link {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct Arrived(Vec<u8>);

struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Link {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Arrived(frame), Leaving(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

/// How long smoltcp keeps a closed connection: a run is not over before.
pub const TIME_WAIT: Duration = Duration::from_secs(10);
