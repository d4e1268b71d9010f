//! Foretelling which worker receives a packet on a NIC that spreads flows by a Toeplitz hash.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

use weir_model::Protocol;
use weir_wire::Toeplitz;

use super::bits::{Bits, low};
use crate::FlowKey;

/// The largest table; no NIC is known to have more than half of it.
const MOST_ENTRIES: usize = 4096;
/// There are so many ports.
const PORTS: usize = 1 << 16;
/// The bytes that are hashed: two addresses and two ports of IPv4.
const INPUT: usize = 12;

/// What a NIC does with TCP and UDP over IPv4: hashes addresses and ports, looks the hash's low
/// bits up in a table, and so finds a queue and its worker.
///
/// All workers share one, made at the start and never changed: who owns a packet must not depend
/// on when that is asked. When the NIC's own table changes later, what it then puts elsewhere is
/// handed over.
pub struct Steering {
    /// What each value of each hashed byte adds to the place in the table.
    adds: Box<[[u16; 256]; INPUT]>,
    /// The worker of each place.
    owners: Vec<u8>,
    steers: Protocols,
    /// All ports, first those of class 0 in ascending order. A port's class is what it adds to the
    /// place in the table as the destination.
    by_class: Vec<u16>,
    /// Where in `by_class` each port is.
    at: Vec<u16>,
    /// Where in `by_class` each class begins, and the end.
    begins: Vec<u32>,
}

/// The protocols whose ports a NIC hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
}

/// Says why a NIC's key and table do not allow to choose a worker by the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsteerable {
    /// The key is too short.
    Key,
    /// The number of entries is no power of two, or too large.
    Table,
    /// An entry leads to a queue that is no worker's.
    Stray,
    /// No entry leads to this worker, or not for every address.
    Idle(u8),
    /// The key gives too few ports a choice of the entry.
    Uneven,
}

impl fmt::Display for Unsteerable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => write!(f, "its key is shorter than {} bytes", Toeplitz::KEY_LEN),
            Self::Table => write!(
                f,
                "the number of entries in its table is no power of two up to {MOST_ENTRIES}"
            ),
            Self::Stray => f.write_str("its table leads to queues that no worker has"),
            Self::Idle(worker) => {
                write!(
                    f,
                    "its table has no entries for the queue of worker {worker}"
                )
            }
            Self::Uneven => f.write_str("its key makes too many ports hash alike"),
        }
    }
}

impl Steering {
    /// Takes a NIC's key and, for each entry of its table, the worker that the entry leads to.
    ///
    /// # Errors
    /// Says why local ports cannot be chosen by it.
    pub fn new(
        key: &[u8],
        owners: &[u8],
        workers: u8,
        steers: Protocols,
    ) -> Result<Self, Unsteerable> {
        let hash = Toeplitz::new(key).ok_or(Unsteerable::Key)?;
        if !owners.len().is_power_of_two() || owners.len() > MOST_ENTRIES {
            return Err(Unsteerable::Table);
        }
        if owners.iter().any(|owner| *owner >= workers) {
            return Err(Unsteerable::Stray);
        }
        let mut steering = Self {
            adds: adds(&hash, owners.len()),
            owners: owners.to_vec(),
            steers,
            by_class: Vec::new(),
            at: vec![0; PORTS],
            begins: Vec::new(),
        };
        steering.sort_ports();
        steering.check(workers)?;
        Ok(steering)
    }

    /// Says whether the NIC hashes the ports of a protocol.
    #[must_use]
    pub const fn steers(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.steers.tcp,
            Protocol::Udp => self.steers.udp,
        }
    }

    /// Returns the worker that receives a packet; none when its protocol's ports are not hashed.
    #[inline]
    #[must_use]
    pub fn owner(&self, key: &FlowKey) -> Option<u8> {
        let steers = (self.steers.tcp && key.protocol == Protocol::Tcp.number())
            || (self.steers.udp && key.protocol == Protocol::Udp.number());
        if !steers {
            return None;
        }
        let place = self.place(key.src, key.dst, key.src_port, key.dst_port);
        self.owners.get(usize::from(place)).copied()
    }

    /// Returns the place in the table.
    #[inline]
    fn place(&self, src: Ipv4Addr, dst: Ipv4Addr, src_port: u16, dst_port: u16) -> u16 {
        let ports = u32::from(src_port) << 16 | u32::from(dst_port);
        let input = [src.octets(), dst.octets(), ports.to_be_bytes()];
        let bytes = input.as_flattened().iter();
        self.adds
            .iter()
            .zip(bytes)
            .fold(0, |place, (adds, byte)| place ^ at(adds, *byte))
    }

    /// Returns what a destination port adds to the place.
    #[inline]
    fn class(&self, port: u16) -> u16 {
        self.place(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, 0, port)
    }

    fn sort_ports(&mut self) {
        let mut ports: Vec<u16> = (0..=u16::MAX).collect();
        ports.sort_by_cached_key(|port| self.class(*port));
        for (at, port) in (0..=u16::MAX).zip(&ports) {
            if let Some(place) = self.at.get_mut(usize::from(*port)) {
                *place = at;
            }
        }
        self.begins = (0..=self.owners.len())
            .map(|class| {
                ports.partition_point(|port| usize::from(self.class(*port)) < class) as u32
            })
            .collect();
        self.by_class = ports;
    }

    /// Every worker must be within reach whatever the addresses are.
    fn check(&self, workers: u8) -> Result<(), Unsteerable> {
        let places = self.owners.len() as u16;
        let reached = |class: &u16| !self.ports_of(*class).is_empty();
        // What ports can add is a subspace, so all classes that have ports have as many.
        let classes: Vec<u16> = (0..places).filter(reached).collect();
        let in_class = PORTS.checked_div(classes.len()).unwrap_or(PORTS);
        for base in 0..places {
            let mut has = [0_u16; 256];
            for class in &classes {
                let owner = self.owners.get(usize::from(base ^ class)).copied();
                if let Some(count) = owner.and_then(|owner| has.get_mut(usize::from(owner))) {
                    *count += 1;
                }
            }
            let mut counts = (0..workers).zip(has);
            if let Some((worker, _)) = counts.find(|(_, count)| *count == 0) {
                return Err(Unsteerable::Idle(worker));
            }
            if classes.len() == usize::from(places) {
                break; // It is the same for all.
            }
        }
        for worker in 0..workers {
            let entries = self.owners.iter().filter(|owner| **owner == worker);
            if entries.count() * in_class > Bits::MOST as usize {
                return Err(Unsteerable::Uneven);
            }
        }
        Ok(())
    }

    fn ports_of(&self, class: u16) -> &[u16] {
        let begin = self.begins.get(usize::from(class)).copied();
        let end = self.begins.get(usize::from(class) + 1).copied();
        let range = begin.unwrap_or_default() as usize..end.unwrap_or_default() as usize;
        self.by_class.get(range).unwrap_or_default()
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the key, which attackers would like to know, nor tables of many lines.
        f.debug_struct("Steering")
            .field("entries", &self.owners.len())
            .field("steers", &self.steers)
            .finish_non_exhaustive()
    }
}

/// The ports of a range as one worker sees them, whatever the addresses.
#[derive(Debug)]
pub(super) struct Classes {
    steering: Arc<Steering>,
    first: u16,
    last: u16,
    /// The places of the table that lead to the worker.
    places: Vec<u16>,
    /// Where in `places` each place of the table is.
    index_of: Vec<Option<u16>>,
    /// Where in `by_class` the range begins in each class, and how many ports it has there.
    parts: Vec<(u32, u32)>,
    /// The largest of these numbers.
    stride: u32,
}

impl Classes {
    pub(super) fn new(steering: Arc<Steering>, worker: u8, first: u16, last: u16) -> Self {
        let all = 0..steering.owners.len() as u16;
        let owners = steering.owners.iter();
        let places: Vec<u16> = all
            .clone()
            .zip(owners)
            .filter_map(|(place, owner)| (*owner == worker).then_some(place))
            .collect();
        let mut index_of = vec![None; steering.owners.len()];
        for (index, place) in (0..).zip(&places) {
            if let Some(slot) = index_of.get_mut(usize::from(*place)) {
                *slot = Some(index);
            }
        }
        let parts: Vec<(u32, u32)> = all
            .map(|class| {
                let ports = steering.ports_of(class);
                let skipped = ports.partition_point(|port| *port < first);
                let end = ports.partition_point(|port| *port <= last);
                let begin = steering.begins.get(usize::from(class)).copied();
                let count = end.saturating_sub(skipped) as u32;
                (begin.unwrap_or_default() + skipped as u32, count)
            })
            .collect();
        let stride = parts.iter().map(|(_, count)| *count).max();
        Self {
            steering,
            first,
            last,
            places,
            index_of,
            parts,
            stride: stride.unwrap_or_default(),
        }
    }

    /// Says whether these are the classes of that range on that NIC.
    pub(super) fn are_of(&self, steering: &Arc<Steering>, first: u16, last: u16) -> bool {
        Arc::ptr_eq(&self.steering, steering) && (self.first, self.last) == (first, last)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.places.capacity() * size_of::<u16>()
            + self.index_of.capacity() * size_of::<Option<u16>>()
            + self.parts.capacity() * size_of::<(u32, u32)>()
    }
}

/// The ports of a range with which the replies of one real server to one LIP come to one worker.
///
/// An index is the place of the table, among those of the worker, times the longest class, plus
/// the port's place in its class. So some indexes have no port.
#[derive(Clone, Debug)]
pub(super) struct Steered {
    classes: Arc<Classes>,
    /// What all else that is hashed adds to the place in the table.
    base: u16,
    count: u32,
}

impl Steered {
    pub(super) fn new(classes: Arc<Classes>, real: (Ipv4Addr, u16), lip: Ipv4Addr) -> Self {
        let base = classes.steering.place(real.0, lip, real.1, 0);
        let mut steered = Self {
            classes,
            base,
            count: 0,
        };
        steered.count = (0..).map_while(|nth| steered.ports_at(nth)).sum();
        steered
    }

    /// Returns the number of ports.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Returns a number that is above all indexes.
    pub(super) fn bound(&self) -> u32 {
        self.classes.places.len() as u32 * self.classes.stride
    }

    /// Says which of the 64 indexes of a word have a port.
    pub(super) fn word(&self, word: u32) -> u64 {
        let stride = self.classes.stride;
        let mut bits = 0;
        let mut at = 0;
        while at < 64 {
            let index = word * 64 + at;
            let (Some(place), Some(nth)) = (index.checked_div(stride), index.checked_rem(stride))
            else {
                break;
            };
            let Some(count) = self.ports_at(place) else {
                break;
            };
            let here = (stride - nth).min(64 - at);
            bits |= low(count.saturating_sub(nth).min(here)) << at;
            at += here;
        }
        bits
    }

    /// Returns the index of a port; none when it is another worker's or out of the range.
    pub(super) fn index(&self, port: u16) -> Option<u32> {
        let classes = &*self.classes;
        if port < classes.first || port > classes.last {
            return None;
        }
        let class = classes.steering.class(port);
        let (begin, _) = *classes.parts.get(usize::from(class))?;
        let index = (*classes.index_of.get(usize::from(class ^ self.base))?)?;
        let at = *classes.steering.at.get(usize::from(port))?;
        Some(u32::from(index) * classes.stride + u32::from(at).checked_sub(begin)?)
    }

    /// Returns the port at an index; none where there is none.
    pub(super) fn port(&self, index: u32) -> Option<u16> {
        let classes = &*self.classes;
        let place = index.checked_div(classes.stride)?;
        let nth = index.checked_rem(classes.stride)?;
        let class = classes.places.get(place as usize)? ^ self.base;
        let (begin, count) = *classes.parts.get(usize::from(class))?;
        if nth >= count {
            return None;
        }
        let at = (begin + nth) as usize;
        classes.steering.by_class.get(at).copied()
    }

    /// Returns how many ports a place has, of those that are the worker's.
    fn ports_at(&self, nth: u32) -> Option<u32> {
        let place = self.classes.places.get(nth as usize)?;
        let part = self.classes.parts.get(usize::from(place ^ self.base));
        Some(part.map_or(0, |(_, count)| *count))
    }
}

impl PartialEq for Steered {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.classes, &other.classes) && self.base == other.base
    }
}

impl Eq for Steered {}

fn adds(hash: &Toeplitz, entries: usize) -> Box<[[u16; 256]; INPUT]> {
    let mut adds = Box::new([[0; 256]; INPUT]);
    for (at, adds) in adds.iter_mut().enumerate() {
        for (byte, add) in (0..=u8::MAX).zip(adds) {
            let mut input = [0; INPUT];
            if let Some(place) = input.get_mut(at) {
                *place = byte;
            }
            *add = (hash.hash(&input) as usize & (entries - 1)) as u16;
        }
    }
    adds
}

#[inline]
fn at(adds: &[u16; 256], byte: u8) -> u16 {
    adds.get(usize::from(byte)).copied().unwrap_or_default()
}
