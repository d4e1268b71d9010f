//! Neighbours: Ethernet addresses of next hops (RFC 826), and the frames that wait for them.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use weir_model::PortId;
use weir_wire::{EthAddr, EthHeader, Header};

use crate::rate::RateLimit;

/// Neighbours per set and sets: 4,096 in all, whatever an on-link attacker does.
const WAYS: usize = 8;
const SETS: usize = 512;
/// Places that are remembered beside: packets go to few neighbours in turn.
const LAST: usize = 16;
/// Frames that may wait in all, and for one neighbour.
const HELD: usize = 256;
const HELD_EACH: usize = 32;
/// The longest frame that may wait.
const HELD_LEN: usize = 2048;
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
/// The longest that a frame waits.
const HOLD_MS: u32 = 5_000;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Wait {
    #[default]
    Free,
    For(PortId, Ipv4Addr),
    Ready(PortId),
}

#[derive(Clone, Debug)]
struct HeldFrame {
    wait: Wait,
    order: u64,
    since_ms: u32,
    len: u16,
    bytes: Vec<u8>,
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
    held: Vec<HeldFrame>,
    waiting: usize,
    ready: usize,
    next_order: u64,
    /// Entries that wait for an answer, as places in `entries`.
    pending: Vec<u16>,
    retry_ms: u32,
    new_rate: RateLimit,
}

impl Neighbours {
    pub(crate) fn new(now_ms: u32) -> Self {
        let held = HeldFrame {
            wait: Wait::Free,
            order: 0,
            since_ms: 0,
            len: 0,
            bytes: vec![0; HELD_LEN],
        };
        Self {
            entries: vec![Entry::FREE; SETS * WAYS],
            last: [0; LAST],
            held: vec![held; HELD],
            waiting: 0,
            ready: 0,
            next_order: 0,
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
        if self.waiting > 0 {
            self.release(port, address, mac);
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
        let wait = Wait::For(port, address);
        let same = self.held.iter().filter(|held| held.wait == wait).count();
        if same >= HELD_EACH {
            return false;
        }
        let Some(free) = self.held.iter_mut().find(|held| held.wait == Wait::Free) else {
            return false;
        };
        let Some(bytes) = free.bytes.get_mut(..frame.len()) else {
            return false;
        };
        bytes.copy_from_slice(frame);
        free.len = frame.len() as u16;
        free.wait = wait;
        free.since_ms = now_ms;
        free.order = self.next_order;
        self.next_order += 1;
        self.waiting += 1;
        true
    }

    /// Takes out the oldest frame whose neighbour has become known.
    pub(crate) fn next_ready(&mut self, buffer: &mut [u8]) -> Option<(PortId, usize)> {
        if self.ready == 0 {
            return None;
        }
        let ready = self
            .held
            .iter_mut()
            .filter(|held| matches!(held.wait, Wait::Ready(_)));
        let held = ready.min_by_key(|held| held.order)?;
        let Wait::Ready(port) = held.wait else {
            return None;
        };
        let len = (held.len as usize).min(buffer.len());
        buffer
            .get_mut(..len)?
            .copy_from_slice(held.bytes.get(..len)?);
        held.wait = Wait::Free;
        self.ready -= 1;
        Some((port, len))
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.ready > 0
    }

    /// Says whether requests or frames are waiting, so that the timers must turn.
    pub(crate) fn is_asking(&self) -> bool {
        !self.pending.is_empty() || self.waiting > 0
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
        let mut given_up = self.give_up(|held| now_ms.wrapping_sub(held.since_ms) > HOLD_MS);
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
            given_up += self.give_up(|held| held.wait == Wait::For(port, address));
        }
        given_up
    }

    fn give_up(&mut self, hopeless: impl Fn(&HeldFrame) -> bool) -> u32 {
        let mut count = 0;
        for held in &mut self.held {
            if matches!(held.wait, Wait::For(..)) && hopeless(held) {
                held.wait = Wait::Free;
                count += 1;
            }
        }
        self.waiting -= count as usize;
        count
    }

    /// Makes the frames that wait for a neighbour ready.
    fn release(&mut self, port: PortId, address: Ipv4Addr, mac: EthAddr) {
        for held in &mut self.held {
            if held.wait != Wait::For(port, address) {
                continue;
            }
            if let Some(eth) = EthHeader::at_mut(&mut held.bytes, 0) {
                eth.dst = mac.0;
            }
            held.wait = Wait::Ready(port);
            self.waiting -= 1;
            self.ready += 1;
        }
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
mod tests {
    use super::*;

    const PORT: PortId = PortId(1);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const MAC: EthAddr = EthAddr([2, 0, 0, 0, 0, 9]);

    fn requests(neighbours: &mut Neighbours, now_ms: u32) -> (Vec<Request>, u32) {
        let mut asked = Vec::new();
        let given_up = neighbours.tick(now_ms, |request| asked.push(request));
        (asked, given_up)
    }

    #[test]
    fn a_frame_waits_until_its_neighbour_is_known() {
        let mut neighbours = Neighbours::new(0);
        assert_eq!(neighbours.resolve(0, PORT, ADDRESS), Resolved::Ask);
        assert!(neighbours.hold(0, PORT, ADDRESS, &[0; 60]));
        assert_eq!(neighbours.resolve(1, PORT, ADDRESS), Resolved::Wait);
        assert!(neighbours.learn(5, PORT, ADDRESS, MAC, false));
        let mut buffer = [0; 100];
        assert_eq!(neighbours.next_ready(&mut buffer), Some((PORT, 60)));
        assert_eq!(buffer[..6], MAC.0);
        assert_eq!(neighbours.next_ready(&mut buffer), None);
        assert_eq!(neighbours.resolve(6, PORT, ADDRESS), Resolved::Known(MAC));
    }

    #[test]
    fn an_unanswered_request_is_repeated_and_then_given_up_with_its_frames() {
        let mut neighbours = Neighbours::new(0);
        assert_eq!(neighbours.resolve(0, PORT, ADDRESS), Resolved::Ask);
        assert!(neighbours.hold(0, PORT, ADDRESS, &[0; 60]));
        assert_eq!(requests(&mut neighbours, 500), (vec![], 0));
        assert_eq!(requests(&mut neighbours, 1000).0.len(), 1);
        assert_eq!(requests(&mut neighbours, 2000).0.len(), 1);
        assert_eq!(requests(&mut neighbours, 3000), (vec![], 1));
        assert!(!neighbours.is_asking());
        assert_eq!(neighbours.resolve(3001, PORT, ADDRESS), Resolved::Ask);
    }

    #[test]
    fn an_old_address_is_confirmed_by_unicast_while_it_stays_in_use() {
        let mut neighbours = Neighbours::new(0);
        assert!(neighbours.learn(0, PORT, ADDRESS, MAC, true));
        assert_eq!(
            neighbours.resolve(TRUST_MS + 1, PORT, ADDRESS),
            Resolved::Known(MAC)
        );
        let (asked, _) = requests(&mut neighbours, TRUST_MS + 101);
        assert_eq!(
            asked,
            [Request {
                port: PORT,
                address: ADDRESS,
                unicast: Some(MAC)
            }]
        );
        assert!(
            !neighbours.learn(TRUST_MS + 150, PORT, ADDRESS, MAC, false),
            "no news"
        );
        assert!(!neighbours.is_asking());
    }

    #[test]
    fn a_dead_neighbour_is_forgotten_after_unicast_and_broadcast() {
        let mut neighbours = Neighbours::new(0);
        neighbours.learn(0, PORT, ADDRESS, MAC, true);
        neighbours.resolve(TRUST_MS + 1, PORT, ADDRESS);
        let mut broadcasts = 0;
        for second in 0..10 {
            let (asked, _) = requests(&mut neighbours, TRUST_MS + 200 + second * 1000);
            broadcasts += asked
                .iter()
                .filter(|request| request.unicast.is_none())
                .count();
        }
        assert_eq!(broadcasts, 3);
        assert_eq!(
            neighbours.resolve(TRUST_MS + 20_000, PORT, ADDRESS),
            Resolved::Ask
        );
    }

    #[test]
    fn hosts_that_do_not_exist_displace_no_neighbour_in_use() {
        let mut neighbours = Neighbours::new(0);
        assert!(neighbours.learn(0, PORT, ADDRESS, MAC, true));
        for i in 0..100_000u32 {
            let nobody = Ipv4Addr::from(0x0a01_0000 + i);
            let resolved = neighbours.resolve(i, PORT, nobody);
            assert!(matches!(resolved, Resolved::Ask | Resolved::TooMany));
            if i % 1000 == 0 {
                neighbours.resolve(i, PORT, ADDRESS);
            }
        }
        assert_eq!(
            neighbours.resolve(100_000, PORT, ADDRESS),
            Resolved::Known(MAC)
        );
    }

    #[test]
    fn no_more_new_neighbours_are_asked_for_than_the_rate_allows() {
        let mut neighbours = Neighbours::new(0);
        let asked = (0..100_000u32)
            .map(|i| neighbours.resolve(i / 100, PORT, Ipv4Addr::from(0x0a01_0000 + i)))
            .filter(|resolved| *resolved == Resolved::Ask)
            .count();
        assert_eq!(asked, 1000 + 999);
    }

    #[test]
    fn a_neighbour_long_unused_makes_room() {
        let mut neighbours = Neighbours::new(0);
        let set = Neighbours::set_of(PORT, ADDRESS);
        let same_set: Vec<Ipv4Addr> = (0..100_000u32)
            .map(|i| Ipv4Addr::from(0x0a01_0000 + i))
            .filter(|address| Neighbours::set_of(PORT, *address) == set)
            .take(WAYS)
            .collect();
        for address in &same_set {
            neighbours.learn(0, PORT, *address, MAC, true);
        }
        let later = 2 * TRUST_MS;
        assert_eq!(neighbours.resolve(later, PORT, ADDRESS), Resolved::Ask);
        assert!(neighbours.learn(later, PORT, ADDRESS, MAC, false));
        assert_eq!(
            neighbours.resolve(later, PORT, ADDRESS),
            Resolved::Known(MAC)
        );
    }

    #[test]
    fn strangers_are_not_taken_in_and_waiting_frames_are_bounded() {
        let mut neighbours = Neighbours::new(0);
        assert!(!neighbours.learn(0, PORT, ADDRESS, MAC, false));
        assert!(!neighbours.learn(0, PORT, ADDRESS, EthAddr::BROADCAST, true));
        let held = (0..1000)
            .filter(|_| neighbours.hold(0, PORT, ADDRESS, &[1]))
            .count();
        assert_eq!(held, HELD_EACH);
        let others = (0..1000u32)
            .filter(|i| neighbours.hold(0, PORT, Ipv4Addr::from(i.to_be_bytes()), &[1]))
            .count();
        assert_eq!(held + others, HELD);
        assert!(!neighbours.hold(0, PORT, ADDRESS, &[0; HELD_LEN + 1]));
    }
}
