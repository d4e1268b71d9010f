//! The table of the bare pipeline: the sizes and the layout of Weir's, and nothing else.

use std::net::Ipv4Addr;

use netmap_io::huge_pages;

use super::head::Head;
use super::sip::Sip;

/// Records in a bucket.
const SLOTS: usize = 10;
/// The tag of a slot that is free.
const FREE: u16 = 0;
/// Records per bucket at full capacity, times two.
const RECORDS_PER_TWO_BUCKETS: usize = 11;

/// Where the packets of one direction come from and go to.
#[derive(Clone, Copy, Default)]
pub(crate) struct End {
    pub(crate) addresses: u64,
    pub(crate) ports: u32,
}

impl End {
    pub(crate) fn new(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Self {
        Self {
            addresses: u64::from(src.0.to_bits()) << 32 | u64::from(dst.0.to_bits()),
            ports: u32::from(src.1) << 16 | u32::from(dst.1),
        }
    }
}

/// A session: 128 bytes, of which a packet needs the first 64.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// Client to VIP, as it arrives.
    pub(crate) inbound: End,
    /// Real server to LIP, as it arrives.
    pub(crate) outbound: End,
    /// Added to the client's numbers.
    pub(crate) inbound_seq: u32,
    /// Added to the real server's numbers.
    pub(crate) outbound_seq: u32,
    /// When the last packet came.
    last_seen: u32,
    protocol: u8,
    cold: Cold,
}

/// What a real session keeps in its second line: how far either side has come.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Cold {
    /// One past the highest number of each side.
    ends: [u32; 2],
    /// The last acknowledgement of each side.
    acks: [u32; 2],
}

const _: () = assert!(size_of::<Entry>() == 128, "as large as a session of Weir");

impl Entry {
    /// Keeps the least that expiry and the judgement of a FIN or RST need.
    #[inline]
    pub(crate) fn keep(&mut self, now: u32, direction: usize, end: u32, ack: u32) {
        self.last_seen = now;
        let Cold { ends, acks } = &mut self.cold;
        if let (Some(highest), Some(last)) = (ends.get_mut(direction), acks.get_mut(direction)) {
            if end.wrapping_sub(*highest).cast_signed() > 0 {
                *highest = end;
            }
            *last = ack;
        }
    }

    pub(crate) fn new(inbound: End, outbound: End, shift: u32, protocol: u8) -> Self {
        Self {
            inbound,
            outbound,
            inbound_seq: shift,
            outbound_seq: 0,
            protocol,
            last_seen: 0,
            cold: Cold::default(),
        }
    }
}

#[derive(Clone)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u16; SLOTS],
    /// Number of the session, and the direction in the lowest bit.
    records: [u32; SLOTS],
    /// How many records that belong here live in the buckets behind.
    displaced: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");

impl Bucket {
    /// The slots with a tag, as bits.
    #[inline]
    fn matches(&self, tag: u16) -> u32 {
        let mut bits = 0;
        for (slot, &other) in self.tags.iter().enumerate() {
            bits |= u32::from(other == tag) << slot;
        }
        bits
    }
}

/// An index of cache-line buckets and an array of sessions.
pub(crate) struct Table {
    buckets: Vec<Bucket>,
    entries: Vec<Entry>,
    key: Sip,
}

impl Table {
    pub(crate) fn new(capacity: usize, key: Sip) -> Self {
        let buckets = (capacity * 4).div_ceil(RECORDS_PER_TWO_BUCKETS).max(1);
        let empty = Bucket {
            tags: [FREE; SLOTS],
            records: [0; SLOTS],
            displaced: 0,
        };
        Self {
            buckets: filled(buckets, empty),
            entries: reserved(capacity),
            key,
        }
    }

    /// Adds a session under both of its keys.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let record = (self.entries.len() as u32) << 1;
        self.entries.push(entry);
        for (side, direction) in [(entry.inbound, 0), (entry.outbound, 1)] {
            let head = Head {
                addresses: side.addresses,
                ports: side.ports,
                protocol: entry.protocol,
            };
            self.put(self.hash(head), record | direction);
        }
    }

    #[inline]
    pub(crate) fn hash(&self, head: Head) -> u64 {
        self.key.hash13(head.words())
    }

    /// Asks for the bucket of a hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        weir_simd::prefetch_index(&self.buckets, self.home(hash));
    }

    /// Finds the record that a hash most probably belongs to, and asks for its session.
    #[inline]
    pub(crate) fn candidate<const STATE: bool>(&self, hash: u64) -> Option<u32> {
        let bucket = self.buckets.get(self.home(hash))?;
        let slot = bucket.matches(tag(hash)).trailing_zeros() as usize;
        let record = *bucket.records.get(slot)?;
        let entry = self.entries.get(record as usize >> 1)?;
        weir_simd::prefetch_read(entry);
        if STATE {
            weir_simd::prefetch_read(&entry.cold);
        }
        Some(record)
    }

    /// Returns the session of a record.
    #[inline]
    pub(crate) fn entry(&mut self, record: u32) -> Option<&mut Entry> {
        self.entries.get_mut(record as usize >> 1)
    }

    /// Says whether a record is that of a packet.
    #[inline]
    pub(crate) fn confirms(&self, record: u32, head: Head) -> bool {
        let Some(entry) = self.entries.get(record as usize >> 1) else {
            return false;
        };
        let side = if record & 1 == 0 {
            entry.inbound
        } else {
            entry.outbound
        };
        (side.addresses, side.ports, entry.protocol) == (head.addresses, head.ports, head.protocol)
    }

    /// Finds the record of a packet: in its home, or in the buckets behind where some live there.
    #[inline]
    pub(crate) fn find(&self, hash: u64, head: Head) -> Option<u32> {
        let home = self.home(hash);
        let bucket = self.buckets.get(home)?;
        let found = self.find_in(bucket, hash, head);
        if found.is_some() || bucket.displaced == 0 {
            return found;
        }
        self.find_behind(home, hash, head)
    }

    #[cold]
    fn find_behind(&self, home: usize, hash: u64, head: Head) -> Option<u32> {
        // As far as `put` goes.
        (1..=SLOTS).find_map(|distance| {
            let bucket = self.buckets.get((home + distance) % self.buckets.len())?;
            self.find_in(bucket, hash, head)
        })
    }

    #[inline]
    fn find_in(&self, bucket: &Bucket, hash: u64, head: Head) -> Option<u32> {
        let mut bits = bucket.matches(tag(hash));
        while bits != 0 {
            let record = *bucket.records.get(bits.trailing_zeros() as usize)?;
            if self.confirms(record, head) {
                return Some(record);
            }
            bits &= bits - 1;
        }
        None
    }

    fn put(&mut self, hash: u64, record: u32) {
        let home = self.home(hash);
        let count = self.buckets.len();
        for distance in 0..=SLOTS {
            let Some(bucket) = self.buckets.get_mut((home + distance) % count) else {
                return;
            };
            let slot = bucket.matches(FREE).trailing_zeros() as usize;
            let (Some(to), Some(place)) = (bucket.tags.get_mut(slot), bucket.records.get_mut(slot))
            else {
                continue;
            };
            (*to, *place) = (tag(hash), record);
            if distance > 0
                && let Some(bucket) = self.buckets.get_mut(home)
            {
                bucket.displaced += 1;
            }
            return;
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }
}

/// Reserves memory as Weir does: in huge pages where there are any.
fn reserved<T>(count: usize) -> Vec<T> {
    let mut memory = Vec::with_capacity(count);
    let range = memory.spare_capacity_mut().as_ptr_range();
    huge_pages::prefer(&(range.start.addr()..range.end.addr()));
    memory
}

fn filled<T: Clone>(count: usize, value: T) -> Vec<T> {
    let mut memory = reserved(count);
    memory.resize(count, value);
    memory
}

#[inline]
const fn tag(hash: u64) -> u16 {
    let tag = (hash >> 32) as u16;
    if tag == FREE { 1 } else { tag }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_of_a_full_table_is_found_and_nobody_else() {
        const SESSIONS: u32 = 50_000;
        let mut table = Table::new(SESSIONS as usize, Sip::new(1, 2));
        let head = |number: u32, ports| Head {
            addresses: u64::from(number),
            ports,
            protocol: 6,
        };
        let end = |head: Head| End {
            addresses: head.addresses,
            ports: head.ports,
        };
        for number in 0..SESSIONS {
            let (inbound, outbound) = (end(head(number, 1)), end(head(number, 2)));
            table.insert(Entry::new(inbound, outbound, 0, 6));
        }
        for number in 0..SESSIONS {
            for (ports, direction) in [(1, 0), (2, 1)] {
                let head = head(number, ports);
                let found = table.find(table.hash(head), head);
                assert_eq!(found, Some(number << 1 | direction));
            }
            let stranger = head(number, 3);
            assert_eq!(table.find(table.hash(stranger), stranger), None);
        }
    }
}
