//! Which real server a client had last: for services that keep their clients where they were.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use nat_engine::FlowHash;
use weir_model::{RealId, ServiceId};

/// Clients of a set: one cache line.
const WAYS: usize = 4;
/// Clients that are remembered at least and at most, whatever the size of the session table.
const FEWEST: u32 = 1 << 10;
const MOST: u32 = 1 << 20;
/// Sets that are looked through at a time, and how often: all 2^18 within a day and a half.
const SWEEP: usize = 64;
const SWEEP_EVERY_MS: u32 = 30_000;
/// Marks a place without a client.
const NOBODY: ServiceId = ServiceId(u16::MAX);

/// The clients of one worker.
///
/// The room is fixed: a client without sessions that was seen the longest ago gives way to another
/// one, then one with sessions. Clients are found by their whole prefix, so none is taken for
/// another.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    sets: Vec<[Client; WAYS]>,
    sweep: usize,
    swept_ms: u32,
}

/// A prefix of clients of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) service: ServiceId,
    pub(crate) prefix: Ipv4Addr,
    /// The keyed hash of both.
    pub(crate) hash: FlowHash,
    pub(crate) timeout_ms: u32,
}

/// What is remembered of a client: 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Client {
    prefix: u32,
    real: RealId,
    /// When its last session began or ended.
    seen_ms: u32,
    service: ServiceId,
    /// How many it has now.
    sessions: u16,
}

impl Client {
    const NONE: Self = Self {
        prefix: 0,
        real: RealId(0),
        seen_ms: 0,
        service: NOBODY,
        sessions: 0,
    };

    fn is(&self, whose: &Whose) -> bool {
        self.service == whose.service && self.prefix == u32::from(whose.prefix)
    }

    fn holds(&self, now_ms: u32, timeout_ms: u32) -> bool {
        self.sessions > 0 || now_ms.wrapping_sub(self.seen_ms) < timeout_ms
    }
}

impl Persistence {
    /// Allocates room for a quarter as many clients as the worker has sessions, once.
    pub(crate) fn make_room(&mut self, sessions: u32) {
        if self.sets.is_empty() {
            let clients = (sessions / 4).clamp(FEWEST, MOST) as usize;
            let sets = (clients / WAYS).next_power_of_two();
            self.sets.resize(sets, [Client::NONE; WAYS]);
        }
    }

    /// Returns the real server that a client has.
    pub(crate) fn find(&self, whose: &Whose, now_ms: u32) -> Option<RealId> {
        let set = self.sets.get(self.place(whose.hash))?;
        let client = set.iter().find(|client| client.is(whose))?;
        client
            .holds(now_ms, whose.timeout_ms)
            .then_some(client.real)
    }

    /// Notes that a session of a client began with a real server, which is its own from now on.
    /// Says whether another client was forgotten for it before its time.
    pub(crate) fn began(&mut self, whose: &Whose, real: RealId, now_ms: u32) -> bool {
        let place = self.place(whose.hash);
        let Some(set) = self.sets.get_mut(place) else {
            return false;
        };
        if let Some(client) = set.iter_mut().find(|client| client.is(whose)) {
            let stays = client.real == real && client.holds(now_ms, whose.timeout_ms);
            client.sessions = if stays {
                client.sessions.saturating_add(1)
            } else {
                1
            };
            client.real = real;
            client.seen_ms = now_ms;
            return false;
        }
        let worth = |client: &&mut Client| {
            let free = client.service == NOBODY;
            (
                free,
                client.sessions == 0,
                now_ms.wrapping_sub(client.seen_ms),
            )
        };
        let Some(client) = set.iter_mut().max_by_key(worth) else {
            return false;
        };
        let displaced = client.service != NOBODY && client.holds(now_ms, whose.timeout_ms);
        *client = Client {
            prefix: u32::from(whose.prefix),
            real,
            seen_ms: now_ms,
            service: whose.service,
            sessions: 1,
        };
        displaced
    }

    /// Notes that a session of a client with a real server is no more.
    pub(crate) fn ended(&mut self, whose: &Whose, real: RealId, now_ms: u32) {
        let place = self.place(whose.hash);
        let set = self.sets.get_mut(place).into_iter().flatten();
        for client in set {
            // It may have got another real server since.
            if client.is(whose) && client.real == real {
                client.sessions = client.sessions.saturating_sub(1);
                client.seen_ms = now_ms;
            }
        }
    }

    /// Forgets the clients of services at once: what ends of theirs is found no more once they are told
    /// apart otherwise, and their sessions would count for ever.
    pub(crate) fn forget(&mut self, of: impl Fn(ServiceId) -> bool) {
        for client in self.sets.iter_mut().flatten() {
            if of(client.service) {
                *client = Client::NONE;
            }
        }
    }

    /// Forgets clients whose time is over, a bounded number now and then: the clock wraps.
    /// `timeout_ms` says how long a service keeps its clients, nothing where it does not.
    pub(crate) fn tick(&mut self, now_ms: u32, timeout_ms: impl Fn(ServiceId) -> Option<u32>) {
        if self.sets.is_empty() || now_ms.wrapping_sub(self.swept_ms) < SWEEP_EVERY_MS {
            return;
        }
        self.swept_ms = now_ms;
        for _ in 0..SWEEP {
            self.sweep = (self.sweep + 1) % self.sets.len();
            for client in self.sets.get_mut(self.sweep).into_iter().flatten() {
                let timeout_ms = timeout_ms(client.service);
                if timeout_ms.is_none_or(|timeout_ms| !client.holds(now_ms, timeout_ms)) {
                    *client = Client::NONE;
                }
            }
        }
    }

    fn place(&self, hash: FlowHash) -> usize {
        hash.0 as usize & self.sets.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_engine::Rng;

    const TIMEOUT: u32 = 1000;

    fn persistence() -> Persistence {
        let mut persistence = Persistence::default();
        persistence.make_room(0);
        persistence
    }

    fn whose(client: u32) -> Whose {
        Whose {
            service: ServiceId(3),
            prefix: Ipv4Addr::from_bits(client),
            hash: FlowHash(u64::from(client).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20),
            timeout_ms: TIMEOUT,
        }
    }

    #[test]
    fn a_client_keeps_its_real_server_until_the_time_after_its_last_session() {
        let mut persistence = persistence();
        let (one, other) = (whose(1), whose(2));
        assert_eq!(persistence.find(&one, 0), None);
        persistence.began(&one, RealId(7), 0);
        persistence.began(&one, RealId(7), 500);
        // However long they last.
        assert_eq!(persistence.find(&one, 90_000), Some(RealId(7)));
        persistence.ended(&one, RealId(7), 90_000);
        assert_eq!(persistence.find(&one, 190_000), Some(RealId(7)));
        persistence.ended(&one, RealId(7), 200_000);
        assert_eq!(persistence.find(&one, 200_999), Some(RealId(7)));
        assert_eq!(persistence.find(&one, 201_000), None);
        assert_eq!(persistence.find(&other, 0), None);
    }

    #[test]
    fn a_client_that_moved_is_not_held_by_sessions_of_before() {
        let mut persistence = persistence();
        let one = whose(1);
        persistence.began(&one, RealId(7), 0);
        persistence.began(&one, RealId(8), 10);
        assert_eq!(persistence.find(&one, 20), Some(RealId(8)));
        persistence.ended(&one, RealId(7), 30);
        assert_eq!(persistence.find(&one, 5000), Some(RealId(8)));
        persistence.ended(&one, RealId(8), 5000);
        assert_eq!(persistence.find(&one, 6000), None);
    }

    #[test]
    fn more_clients_than_there_is_room_for_displace_those_without_sessions_first() {
        let mut persistence = persistence();
        let staying = whose(0);
        persistence.began(&staying, RealId(1), 0);
        let mut displaced = 0;
        for client in 1..100_000 {
            let whose = whose(client);
            displaced += u32::from(persistence.began(&whose, RealId(2), 1));
            persistence.ended(&whose, RealId(2), 1);
        }
        assert_eq!(displaced, 99_999 - (FEWEST - 1));
        assert_eq!(persistence.find(&staying, 1), Some(RealId(1)));
        assert_eq!(persistence.find(&whose(99_999), 1), Some(RealId(2)));
    }

    #[test]
    fn what_timed_out_is_forgotten_before_the_clock_wraps() {
        let mut persistence = persistence();
        let one = whose(1);
        persistence.began(&one, RealId(7), 0);
        persistence.ended(&one, RealId(7), 0);
        let mut now = 0u32;
        for _ in 0..=FEWEST as usize / WAYS / SWEEP {
            now += SWEEP_EVERY_MS;
            persistence.tick(now, |_| Some(TIMEOUT));
        }
        // As if it had just been seen.
        assert_eq!(persistence.find(&one, 1), None);
    }

    #[test]
    fn clients_of_a_service_are_forgotten_and_those_of_others_are_not() {
        let mut persistence = persistence();
        let other = Whose {
            service: ServiceId(4),
            ..whose(1)
        };
        persistence.began(&whose(1), RealId(7), 0);
        persistence.began(&other, RealId(8), 0);
        persistence.forget(|service| service == ServiceId(3));
        assert_eq!(persistence.find(&whose(1), 0), None);
        assert_eq!(persistence.find(&other, 0), Some(RealId(8)));
    }

    #[test]
    fn clients_are_told_apart_as_a_map_does() {
        let mut rng = Rng::new([3; 16]);
        let mut persistence = persistence();
        let mut exact = alloc::collections::BTreeMap::new();
        for step in 0..2000u32 {
            let client = whose(rng.below(60));
            let real = RealId(rng.below(5));
            let found = persistence.find(&client, step);
            assert_eq!(found, exact.get(&client.prefix).copied());
            persistence.began(&client, real, step);
            exact.insert(client.prefix, real);
        }
    }
}
