//! Local ports: which are free for a LIP towards an endpoint, and which one to take next.

mod bits;
mod class;
mod resting;
mod share;
mod space;
mod steering;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use weir_model::{Endpoint, EndpointId, Lip, LipId, LipPool, PoolId, PortId, Snapshot};
use weir_wire::SeqNumber;

pub use self::class::{PortClass, owner_of};
use self::resting::Resting;
use self::share::Share;
use self::space::Space;
use self::steering::{Classes, Steered};
pub use self::steering::{Protocols, Steering, Unsteerable};
use crate::{FlowHash, FlowKey, OutOfMemory, Prepare, Rng};

/// Names the ports of one LIP towards one endpoint; valid while one of them is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpaceId(pub u32);

/// Names the LIPs of a pool towards one endpoint; valid until the next configuration change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LipSetId(pub u32);

/// What is remembered of a port's last connection, so that the next one begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// One past the last sequence number sent to the real server.
    pub end_seq: SeqNumber,
    /// The last timestamp value sent to the real server; 0 where none was.
    pub last_tsval: u32,
    /// When the port was released, in milliseconds, wrapping.
    pub freed_at: u32,
}

/// A local port for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The LIP.
    pub lip: LipId,
    /// Where the port is to be released.
    pub space: SpaceId,
    /// The port.
    pub port: u16,
    /// What is remembered of its last connection.
    pub rest: Option<Rest>,
    /// It rested shorter than the pool's `reuse-after`, because no other port was free.
    pub early: bool,
    /// The LIP whose turn it was had no port.
    pub fell_back: bool,
    /// The hash of its replies' key, where it was [foreseen](LocalPorts::foresee).
    pub hash: Option<FlowHash>,
}

/// The port that a LIP set will probably give next.
#[derive(Clone, Copy, Debug)]
struct Foreseen {
    lip: LipId,
    port: u16,
    hash: FlowHash,
}

/// Says that every port of a pool towards an endpoint is in use by this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// How many ports are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortUse {
    /// In use.
    pub used: u32,
    /// In use, resting or free.
    pub total: u32,
}

/// The local ports of one worker.
///
/// A port is accounted per LIP and endpoint, because a real server tells connections apart by both.
/// Taking and releasing are O(1). Ports rest in the order of their release, at first in a
/// ring of 24-byte records that remembers how their last connection ended; when the ring wraps, the
/// oldest port of all becomes free without memory.
///
/// A worker has every n-th port, and replies are handed over to it; or, of LIPs whose NIC's
/// [`Steering`] is known, the ports with which replies come in on its own queue.
///
/// Memory: 24 bytes per record of the ring; per LIP and endpoint some 250 bytes, and two bits per
/// port of this worker once the first was taken (16 KiB for 64,512 ports), which are written as they
/// are reached.
#[derive(Debug)]
pub struct LocalPorts {
    worker: u8,
    workers: u8,
    spaces: Vec<Option<Space>>,
    /// Places in `spaces` that hold none.
    vacant: Vec<SpaceId>,
    by_key: BTreeMap<(LipId, EndpointId), SpaceId>,
    sets: Vec<LipSet>,
    ring: Resting,
    rng: Rng,
    refused: u64,
    steering: Vec<(PortId, Arc<Steering>)>,
    /// The NIC at which each LIP was when it was first seen: who owns a reply to it never changes,
    /// so its ports are never another worker's.
    first_at: Vec<Option<PortId>>,
    /// The classes of the ranges in use.
    classes: Vec<Arc<Classes>>,
}

/// The LIPs of a pool that can reach one endpoint, in turn.
#[derive(Debug)]
struct LipSet {
    pool: PoolId,
    endpoint: EndpointId,
    spaces: Vec<SpaceId>,
    reuse_after_ms: u32,
    turn: u32,
    usage: PortUse,
    foreseen: Option<Foreseen>,
}

impl LocalPorts {
    /// Makes the accounting of one of `workers` workers, which remembers up to `resting` released
    /// ports. To remember all for 120 s takes 120 records per connection per second; memory that
    /// was lost costs a challenge ACK at worst (RFC 5961 section 4).
    ///
    /// The seed chooses at which port each search begins: after a restart these are seldom the
    /// ports that real servers still remember.
    pub fn new(worker: u8, workers: u8, resting: u32, seed: [u8; 16]) -> Result<Self, OutOfMemory> {
        Self::prepared(worker, workers, resting, seed, &|_| {})
    }

    /// Makes the accounting as [`new`](Self::new) does, and tells `prepare` of the ring's memory
    /// before it touches it.
    pub fn prepared(
        worker: u8,
        workers: u8,
        resting: u32,
        seed: [u8; 16],
        prepare: Prepare<'_>,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            worker,
            workers,
            spaces: Vec::new(),
            vacant: Vec::new(),
            by_key: BTreeMap::new(),
            sets: Vec::new(),
            ring: Resting::with_capacity(resting, prepare)?,
            rng: Rng::new(seed),
            refused: 0,
            steering: Vec::new(),
            first_at: Vec::new(),
            classes: Vec::new(),
        })
    }

    /// Takes what is known of the NICs; to be called before the first configuration is followed,
    /// and on every worker with the same.
    #[must_use]
    pub fn steered(mut self, steering: Vec<(PortId, Arc<Steering>)>) -> Self {
        self.steering = steering;
        self
    }

    /// Returns the NIC at which a LIP was when it was first seen, which decides for good who owns
    /// the replies to it.
    #[must_use]
    pub fn home_of(&self, lip: LipId) -> Option<PortId> {
        *self.first_at.get(lip.index())?
    }

    /// Returns the worker that owns a reply to a LIP of that home.
    #[inline]
    #[must_use]
    pub fn owner(&self, home: PortId, reply: &FlowKey) -> u8 {
        self.steering_at(home)
            .and_then(|steering| steering.owner(reply))
            .unwrap_or_else(|| owner_of(reply.dst_port, self.workers))
    }

    /// Follows a configuration change. Ports in use stay so; what is gone from the configuration is
    /// not taken from again, and its memory is freed by the first change after its last port was
    /// released. Every [`LipSetId`] is to be asked for anew.
    pub fn apply(&mut self, snapshot: &Snapshot) {
        let before = core::mem::take(&mut self.sets);
        self.note_lips(snapshot);
        for space in self.spaces.iter_mut().flatten() {
            space.set = None;
        }
        let mut wanted: Vec<(PoolId, EndpointId)> = snapshot
            .services
            .iter()
            .flat_map(|service| service.servers().map(|real| (service.pool, real.endpoint)))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        for (pool, endpoint) in wanted {
            self.add_set(snapshot, pool, endpoint, &before);
        }
        self.free_what_is_gone();
        self.classes
            .retain(|classes| Arc::strong_count(classes) > 1);
    }

    /// Returns the LIPs of a pool towards an endpoint; none when no service uses this pair.
    #[must_use]
    pub fn set(&self, pool: PoolId, endpoint: EndpointId) -> Option<LipSetId> {
        self.sets
            .binary_search_by_key(&(pool, endpoint), |set| (set.pool, set.endpoint))
            .ok()
            .map(|index| LipSetId(index as u32))
    }

    /// Takes a port for a new session: of the LIP whose turn it is, or of the next that has one.
    pub fn take(&mut self, set_id: LipSetId, now_ms: u32) -> Result<Taken, Exhausted> {
        let set = self.sets.get_mut(set_id.0 as usize).ok_or(Exhausted)?;
        if set.usage.used >= set.usage.total {
            return Err(Exhausted);
        }
        let lips = set.spaces.len() as u32;
        for tried in 0..lips {
            let turn = set.turn;
            set.turn = if turn + 1 < lips { turn + 1 } else { 0 };
            let Some(&id) = set.spaces.get(turn as usize) else {
                continue;
            };
            let Some(space) = self.spaces.get_mut(id.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            let Some(picked) = space.take(&mut self.ring, now_ms, set.reuse_after_ms) else {
                continue;
            };
            set.usage.used += 1;
            let foreseen = set.foreseen.take();
            let foreseen = foreseen.filter(|it| (it.lip, it.port) == (space.lip, picked.port));
            let taken = Taken {
                lip: space.lip,
                space: id,
                port: picked.port,
                rest: picked.rest,
                early: picked.early,
                fell_back: tried > 0,
                hash: foreseen.map(|it| it.hash),
            };
            return Ok(taken);
        }
        Err(Exhausted)
    }

    /// Looks ahead after a [`take`](Self::take): says which port this set will give next, if nothing
    /// comes between, keeps the hash that `hash` has of the key of its replies, and asks for what
    /// the ports behind it will be taken from.
    #[inline]
    pub fn foresee(
        &mut self,
        set: LipSetId,
        now_ms: u32,
        hash: impl FnOnce(LipId, u16) -> Option<FlowHash>,
    ) {
        let Some(set) = self.sets.get_mut(set.0 as usize) else {
            return;
        };
        let lips = set.spaces.len() as u32;
        let space_of = |ahead: u32| {
            let turn = set.turn + ahead;
            let turn = if turn < lips { turn } else { turn - lips };
            set.spaces.get(turn as usize).map(|id| id.0 as usize)
        };
        // Each was asked for itself before, and then for what it reads.
        if let Some(space) = space_of(2).and_then(|id| self.spaces.get(id)) {
            weir_simd::prefetch_read(space);
        }
        if let Some(Some(space)) = space_of(1).and_then(|id| self.spaces.get(id)) {
            space.prefetch(&self.ring);
        }
        if let Some(Some(space)) = space_of(0).and_then(|id| self.spaces.get_mut(id))
            && let Some(port) = space.foresee(&self.ring, now_ms, set.reuse_after_ms)
        {
            let lip = space.lip;
            set.foreseen = hash(lip, port).map(|hash| Foreseen { lip, port, hash });
        }
    }

    /// Releases a port once its connection is closed; `rest.freed_at` must not be before that of an
    /// earlier release. A port that is not in use is refused and counted: says false.
    pub fn release(&mut self, id: SpaceId, port: u16, rest: Rest) -> bool {
        self.look_behind();
        let Some(space) = self.spaces.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            self.refused += 1;
            return false;
        };
        let Some(has_to_rest) = space.give_up(port) else {
            self.refused += 1;
            return false;
        };
        if !has_to_rest {
            return true;
        }
        if let Some(set) = space.set.and_then(|set| self.sets.get_mut(set as usize)) {
            set.usage.used -= 1;
        }
        if let Some(oldest) = self.ring.overwrites()
            && let Some(space) = self
                .spaces
                .get_mut(oldest.0 as usize)
                .and_then(Option::as_mut)
        {
            space.forget_oldest(&mut self.ring);
        }
        if let Some(space) = self.spaces.get_mut(id.0 as usize).and_then(Option::as_mut) {
            space.rest(&mut self.ring, id, port, rest);
        }
        true
    }

    /// Asks for what the next releases will free.
    #[inline]
    fn look_behind(&self) {
        let space_of = |id: SpaceId| self.spaces.get(id.0 as usize);
        if let Some((id, _)) = self.ring.overwrites_after(8)
            && let Some(space) = space_of(id)
        {
            weir_simd::prefetch_read(space);
        }
        if let Some((id, port)) = self.ring.overwrites_after(4)
            && let Some(Some(space)) = space_of(id)
        {
            space.prefetch_port(port);
        }
    }

    /// Returns the use of a pool's ports towards an endpoint, in O(1).
    #[must_use]
    pub fn usage(&self, set: LipSetId) -> PortUse {
        self.sets
            .get(set.0 as usize)
            .map_or_else(PortUse::default, |set| set.usage)
    }

    /// Shows the use of every pool towards every endpoint that its services have.
    pub fn usages(&self, mut each: impl FnMut(PoolId, EndpointId, PortUse)) {
        for set in &self.sets {
            each(set.pool, set.endpoint, set.usage);
        }
    }

    /// Returns the use of one LIP's ports towards an endpoint.
    #[must_use]
    pub fn usage_of_lip(&self, lip: LipId, endpoint: EndpointId) -> PortUse {
        let space = self.by_key.get(&(lip, endpoint));
        space
            .and_then(|id| self.spaces.get(id.0 as usize)?.as_ref())
            .map_or_else(PortUse::default, |space| PortUse {
                used: space.used,
                total: space.share.count(),
            })
    }

    /// Returns how many releases were refused because the port was not in use: a fault in Weir.
    #[must_use]
    pub const fn refused_releases(&self) -> u64 {
        self.refused
    }

    /// Returns the bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let spaces: usize = self.spaces.iter().flatten().map(Space::bytes).sum();
        let sets: usize = self
            .sets
            .iter()
            .map(|set| size_of::<LipSet>() + set.spaces.capacity() * size_of::<SpaceId>())
            .sum();
        size_of::<Self>()
            + self.ring.bytes()
            + self.classes.iter().map(|c| c.bytes()).sum::<usize>()
            + self.spaces.capacity() * size_of::<Option<Space>>()
            + spaces
            + sets
    }

    fn add_set(
        &mut self,
        snapshot: &Snapshot,
        pool_id: PoolId,
        endpoint_id: EndpointId,
        before: &[LipSet],
    ) {
        let (Some(pool), Some(endpoint)) = (
            snapshot.pools.get(pool_id.index()),
            snapshot.endpoints.get(endpoint_id.index()),
        ) else {
            return;
        };
        let index = self.sets.len() as u32;
        let turn = before
            .binary_search_by_key(&(pool_id, endpoint_id), |set| (set.pool, set.endpoint))
            .ok()
            .and_then(|index| before.get(index))
            .map_or_else(|| u32::from(self.worker), |set| set.turn);
        let mut set = LipSet {
            pool: pool_id,
            endpoint: endpoint_id,
            spaces: Vec::new(),
            reuse_after_ms: u32::try_from(pool.reuse_after.as_millis()).unwrap_or(u32::MAX),
            turn,
            usage: PortUse::default(),
            foreseen: None,
        };
        for lip in &pool.lips {
            if lip.address.is_ipv4() != endpoint.address.is_ipv4() {
                continue;
            }
            let share = self.share(pool, lip, endpoint);
            let total = share.count();
            let id = self.ensure_space(lip.id, endpoint_id, &share);
            // An address is in one pool; were it in two, the first would have it.
            if let Some(space) = self.spaces.get_mut(id.0 as usize).and_then(Option::as_mut)
                && space.set.is_none()
            {
                space.set = Some(index);
                space.change_share(&mut self.ring, share);
                set.usage.used += space.used;
                set.usage.total += total;
                set.spaces.push(id);
            }
        }
        set.turn = turn.checked_rem(set.spaces.len() as u32).unwrap_or(0);
        self.sets.push(set);
    }

    fn steering_at(&self, home: PortId) -> Option<&Arc<Steering>> {
        let mut known = self.steering.iter();
        let known = known.find(|(port, _)| *port == home);
        known.map(|(_, steering)| steering)
    }

    fn note_lips(&mut self, snapshot: &Snapshot) {
        self.first_at
            .resize(self.first_at.len().max(snapshot.lip_bound as usize), None);
        for pool in snapshot.pools.iter() {
            for lip in &pool.lips {
                if let Some(first_at) = self.first_at.get_mut(lip.id.index()) {
                    first_at.get_or_insert(pool.port);
                }
            }
        }
    }

    /// Returns which ports of a pool's range are this worker's for a LIP towards an endpoint.
    fn share(&mut self, pool: &LipPool, lip: &Lip, endpoint: &Endpoint) -> Share {
        let (first, last) = (pool.first_port, pool.last_port);
        let home = self.home_of(lip.id);
        let steering = home.and_then(|home| self.steering_at(home));
        let steering = steering.filter(|steering| steering.steers(endpoint.protocol));
        let (Some(steering), IpAddr::V4(real), IpAddr::V4(lip)) =
            (steering.cloned(), endpoint.address, lip.address)
        else {
            return Share::EveryNth(PortClass::new(first, last, self.worker, self.workers));
        };
        let mut known = self.classes.iter();
        let known = known.find(|classes| classes.are_of(&steering, first, last));
        let classes = if let Some(known) = known {
            Arc::clone(known)
        } else {
            let new = Arc::new(Classes::new(steering, self.worker, first, last));
            self.classes.push(Arc::clone(&new));
            new
        };
        Share::Steered(Steered::new(classes, (real, endpoint.port), lip))
    }

    fn ensure_space(&mut self, lip: LipId, endpoint: EndpointId, share: &Share) -> SpaceId {
        if let Some(&id) = self.by_key.get(&(lip, endpoint)) {
            return id;
        }
        let cursor = self.rng.below(share.bound());
        let space = Some(Space::new(lip, share.clone(), cursor));
        let end = SpaceId(self.spaces.len() as u32);
        let id = self.vacant.pop().unwrap_or(end);
        match self.spaces.get_mut(id.0 as usize) {
            Some(place) => *place = space,
            None => self.spaces.push(space),
        }
        self.by_key.insert((lip, endpoint), id);
        id
    }

    fn free_what_is_gone(&mut self) {
        self.by_key.retain(|_, &mut id| {
            let Some(place) = self.spaces.get_mut(id.0 as usize) else {
                return false;
            };
            let Some(space) = place else {
                return false;
            };
            if space.set.is_some() || space.is_in_use() {
                return true;
            }
            space.forget_all(&mut self.ring);
            *place = None;
            self.vacant.push(id);
            false
        });
    }
}

/// A port of one space.
#[derive(Clone, Copy, Debug)]
struct Picked {
    port: u16,
    rest: Option<Rest>,
    early: bool,
}
