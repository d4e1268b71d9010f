//! Neighbours: Ethernet addresses of next hops (RFC 826), and the frames that wait for them.

mod waiting;

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use weir_model::PortId;
use weir_wire::EthAddr;

use self::waiting::Waiting;
use crate::rate::RateLimit;

/// Neighbours per set and sets: 4,096 in all, whatever an on-link attacker does.
const WAYS: usize = 8;
const SETS: usize = 512;
/// Places that are remembered beside: packets go to few neighbours in turn.
const LAST: usize = 16;
/// A confirmed address is trusted this long, then asked about by unicast.
const TRUST_MS: u32 = 30_000;
/// Between two requests for the same neighbour.
const RETRY_MS: u32 = 1_000;
/// Requests without an answer after which waiting frames are given up.
const TRIES: u8 = 3;
/// Requests in one turn of the timers.
pub(crate) const ASKED: usize = 16;
/// Neighbours that are newly asked for, per second: packets choose whom Weir looks for on a link,
/// and may name hosts that do not exist.
const NEW_RATE: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Free,
    /// Asked for; not known.
    Incomplete,
    /// Known.
    Reachable,
    /// Known, and asked about again.
    Probing,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: Ipv4Addr,
    port: PortId,
    state: State,
    mac: EthAddr,
    tries: u8,
    /// When it was confirmed, or last asked for.
    since_ms: u32,
    used_ms: u32,
}

impl Entry {
    const FREE: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        port: PortId(0),
        state: State::Free,
        mac: EthAddr([0; 6]),
        tries: 0,
        since_ms: 0,
        used_ms: 0,
    };
}

/// What is known of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// Its Ethernet address.
    Known(EthAddr),
    /// Nothing; a request must be sent now.
    Ask,
    /// Nothing; a request is on its way.
    Wait,
    /// Nothing, and too many others were asked for of late.
    TooMany,
}

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) port: PortId,
    pub(crate) address: Ipv4Addr,
    /// To whom alone it goes, when an address is to be confirmed.
    pub(crate) unicast: Option<EthAddr>,
}

/// The neighbours of one worker.
#[derive(Debug)]
pub(crate) struct Neighbours {
    entries: Vec<Entry>,
    /// The places of those that packets went to last, by the end of their addresses.
    last: [u16; LAST],
    held: Waiting,
    /// Entries that wait for an answer, as places in `entries`.
    pending: Vec<u16>,
    retry_ms: u32,
    new_rate: RateLimit,
}

impl Neighbours {
    pub(crate) fn new(now_ms: u32) -> Self {
        Self {
            entries: vec![Entry::FREE; SETS * WAYS],
            last: [0; LAST],
            held: Waiting::new(),
            pending: Vec::with_capacity(SETS * WAYS),
            retry_ms: 0,
            new_rate: RateLimit::new(NEW_RATE, now_ms),
        }
    }

    /// Returns what is known of a next hop, and notes that it is in use.
    #[inline]
    pub(crate) fn resolve(&mut self, now_ms: u32, port: PortId, address: Ipv4Addr) -> Resolved {
        match self.trusted(now_ms, port, address) {
            Some(mac) => Resolved::Known(mac),
            None => self.resolve_anew(now_ms, port, address),
        }
    }

    fn resolve_anew(&mut self, now_ms: u32, port: PortId, address: Ipv4Addr) -> Resolved {
        if let Some(at) = self.find(port, address)
            && let Some(entry) = self.entries.get_mut(at)
        {
            entry.used_ms = now_ms;
            match entry.state {
                State::Reachable => {
                    if now_ms.wrapping_sub(entry.since_ms) > TRUST_MS {
                        entry.state = State::Probing;
                        entry.tries = 0;
                        // The request itself is sent by the next turn of the timers.
                        entry.since_ms = now_ms.wrapping_sub(RETRY_MS);
                        self.pending.push(at as u16);
                    }
                    return Resolved::Known(entry.mac);
                }
                State::Probing => return Resolved::Known(entry.mac),
                State::Incomplete => return Resolved::Wait,
                State::Free => {}
            }
        }
        if !self.new_rate.allow(now_ms) {
            return Resolved::TooMany;
        }
        let at = self.place_for(port, address);
        if let Some(entry) = self.entries.get_mut(at) {
            *entry = Entry {
                address,
                port,
                state: State::Incomplete,
                tries: 1,
                since_ms: now_ms,
                used_ms: now_ms,
                ..Entry::FREE
            };
            self.pending.push(at as u16);
        }
        Resolved::Ask
    }

    /// Returns a next hop's Ethernet address where it is known and nothing needs to be done for it,
    /// and notes that it is in use.
    #[inline]
    pub(crate) fn trusted(
        &mut self,
        now_ms: u32,
        port: PortId,
        address: Ipv4Addr,
    ) -> Option<EthAddr> {
        let is_it = |entry: &Entry| entry.address == address && entry.port == port;
        let [.., end] = address.octets();
        let near = end as usize % LAST;
        let mut place = self.last.get(near).copied().map_or(0, usize::from);
        if !self.entries.get(place).is_some_and(is_it) {
            place = self.find(port, address)?;
            if let Some(last) = self.last.get_mut(near) {
                *last = place as u16;
            }
        }
        let entry = self.entries.get_mut(place)?;
        let trusted = match entry.state {
            State::Reachable => now_ms.wrapping_sub(entry.since_ms) <= TRUST_MS,
            // It was asked already.
            State::Probing => true,
            State::Incomplete | State::Free => false,
        };
        if !trusted {
            return None;
        }
        entry.used_ms = now_ms;
        Some(entry.mac)
    }

    /// Returns a next hop's Ethernet address where it is known, and notes nothing.
    pub(crate) fn known(&self, port: PortId, address: Ipv4Addr) -> Option<EthAddr> {
        let entry = self.entries.get(self.find(port, address)?)?;
        match entry.state {
            State::Reachable | State::Probing => Some(entry.mac),
            State::Free | State::Incomplete => None,
        }
    }

    /// Shows every next hop whose Ethernet address is known.
    pub(crate) fn all(&self) -> impl Iterator<Item = (PortId, Ipv4Addr, EthAddr)> {
        self.entries.iter().filter_map(|entry| match entry.state {
            State::Reachable | State::Probing => Some((entry.port, entry.address, entry.mac)),
            State::Free | State::Incomplete => None,
        })
    }

    /// Learns an address; says whether that is news. An unknown neighbour is taken in only when
    /// `create` says so: else announcements of strangers would fill the table.
    pub(crate) fn learn(
        &mut self,
        now_ms: u32,
        port: PortId,
        address: Ipv4Addr,
        mac: EthAddr,
        create: bool,
    ) -> bool {
        if !mac.is_unicast() {
            return false;
        }
        let at = match self.find(port, address) {
            Some(at) => at,
            None if create => self.place_for(port, address),
            None => return false,
        };
        let Some(entry) = self.entries.get_mut(at) else {
            return false;
        };
        let known = matches!(entry.state, State::Reachable | State::Probing);
        let same = known && entry.address == address && entry.port == port && entry.mac == mac;
        *entry = Entry {
            address,
            port,
            state: State::Reachable,
            mac,
            tries: 0,
            since_ms: now_ms,
            used_ms: if same { entry.used_ms } else { now_ms },
        };
        self.pending.retain(|&pending| pending as usize != at);
        if self.held.is_waiting() {
            self.held.release(port, address, mac);
        }
        !same
    }

    /// Keeps a copy of a frame until its neighbour is known; false when there is no room.
    pub(crate) fn hold(
        &mut self,
        now_ms: u32,
        port: PortId,
        address: Ipv4Addr,
        frame: &[u8],
    ) -> bool {
        self.held.hold(now_ms, port, address, frame)
    }

    /// Takes out the oldest frame whose neighbour has become known.
    pub(crate) fn next_ready(&mut self, buffer: &mut [u8]) -> Option<(PortId, usize)> {
        self.held.next_ready(buffer)
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.held.has_ready()
    }

    /// Says whether requests or frames are waiting, so that the timers must turn.
    pub(crate) fn is_asking(&self) -> bool {
        !self.pending.is_empty() || self.held.is_waiting()
    }

    /// Calls `ask` for requests that are due, a bounded number each time, and returns how many
    /// waiting frames were given up.
    pub(crate) fn tick(&mut self, now_ms: u32, mut ask: impl FnMut(Request)) -> u32 {
        let mut asked = 0;
        if !self.is_asking() || now_ms.wrapping_sub(self.retry_ms) < RETRY_MS / 10 {
            return 0;
        }
        self.retry_ms = now_ms;
        // What waits for a neighbour whose place another one took has nobody to ask for it.
        let mut given_up = self.held.give_up_old(now_ms);
        let mut at = 0;
        while let Some(&place) = self.pending.get(at)
            && asked < ASKED
        {
            let Some(entry) = self.entries.get_mut(place as usize) else {
                break;
            };
            if now_ms.wrapping_sub(entry.since_ms) < RETRY_MS {
                at += 1;
                continue;
            }
            if entry.tries < TRIES {
                entry.tries += 1;
                entry.since_ms = now_ms;
                let unicast = (entry.state == State::Probing).then_some(entry.mac);
                ask(Request {
                    port: entry.port,
                    address: entry.address,
                    unicast,
                });
                asked += 1;
                at += 1;
                continue;
            }
            // A neighbour that was known and does not answer any more is asked for by broadcast.
            let was_known = entry.state == State::Probing;
            let (port, address) = (entry.port, entry.address);
            if was_known {
                entry.state = State::Incomplete;
                entry.tries = 1;
                entry.since_ms = now_ms;
                ask(Request {
                    port,
                    address,
                    unicast: None,
                });
                asked += 1;
                at += 1;
                continue;
            }
            *entry = Entry::FREE;
            self.pending.swap_remove(at);
            given_up += self.held.give_up_for(port, address);
        }
        given_up
    }

    #[inline]
    fn find(&self, port: PortId, address: Ipv4Addr) -> Option<usize> {
        let first = Self::set_of(port, address);
        let set = self.entries.get(first..first + WAYS)?;
        let way = set.iter().position(|entry| {
            entry.address == address && entry.port == port && entry.state != State::Free
        })?;
        Some(first + way)
    }

    /// Returns the place for a new neighbour: a free one of its set; else that of one that is not
    /// known or has long been unused, so that packets to hosts that do not exist displace no
    /// neighbour in use; else that of the longest unused.
    fn place_for(&mut self, port: PortId, address: Ipv4Addr) -> usize {
        let first = Self::set_of(port, address);
        let set = self.entries.get(first..first + WAYS).unwrap_or_default();
        let newest = set
            .iter()
            .map(|entry| entry.used_ms)
            .max()
            .unwrap_or_default();
        let way = set
            .iter()
            .enumerate()
            .max_by_key(|(_, entry)| {
                let unused_ms = newest.wrapping_sub(entry.used_ms);
                let rank = match entry.state {
                    State::Free => 2,
                    State::Incomplete => 1,
                    State::Reachable | State::Probing => u8::from(unused_ms > TRUST_MS),
                };
                (rank, unused_ms)
            })
            .map_or(0, |(way, _)| way);
        let place = first + way;
        self.pending.retain(|&pending| pending as usize != place);
        place
    }

    fn set_of(port: PortId, address: Ipv4Addr) -> usize {
        let key = u64::from(u32::from(address)) << 8 | u64::from(port.0);
        ((key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % SETS) * WAYS
    }
}

#[cfg(test)]
mod tests;
