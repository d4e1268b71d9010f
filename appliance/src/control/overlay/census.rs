//! When a real server that takes no new sessions will have none left: told from the ages of those
//! that there are.
//!
//! Where sessions come and go evenly, those that are under way have as long to live as they have
//! lived already, taken all together: the ages of now are the remaining times of now. So the ages of
//! the sessions of the service foretell the end of those of one real server.

use weir_control::BlockingRow;
use weir_director::SessionView;
use weir_model::{RealId, ServiceId};

/// Sessions that are listed as those that keep a real server from being empty.
const LISTED: usize = 10;
/// Buckets of ages: four for each doubling.
const BUCKETS: usize = 4 * 33;
/// With fewer sessions on the other real servers than this, the own ones tell more.
const ENOUGH: u64 = 20;

/// What was found out about the sessions of a service.
#[derive(Debug)]
pub(crate) struct Census {
    service: ServiceId,
    real: RealId,
    /// How long the real server has taken no new sessions, in milliseconds.
    since_ms: u64,
    others: Ages,
    own: Ages,
    oldest: Vec<SessionView>,
}

/// In how many seconds sessions will have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Eta {
    /// Half of them.
    pub(crate) half: u64,
    /// Nine of ten.
    pub(crate) most: u64,
    /// All of them.
    pub(crate) all: u64,
}

/// How many sessions have which age.
#[derive(Clone, Debug)]
struct Ages {
    buckets: [u64; BUCKETS],
    total: u64,
}

impl Census {
    /// Begins a census of a service, for one of its real servers.
    pub(crate) fn new(service: ServiceId, real: RealId, since_ms: u64) -> Self {
        Self {
            service,
            real,
            since_ms,
            others: Ages::new(),
            own: Ages::new(),
            oldest: Vec::new(),
        }
    }

    /// Takes a session of any service; those that are over and only remembered do not count.
    pub(crate) fn take(&mut self, view: &SessionView) {
        if view.state.is_closed() {
            return;
        }
        let age_ms = u64::from(view.age_ms);
        if view.real_id != self.real {
            if view.service == self.service {
                self.others.add(age_ms);
            }
            return;
        }
        self.own.add(age_ms.saturating_sub(self.since_ms));
        let at = self.oldest.partition_point(|one| one.age_ms >= view.age_ms);
        if at < LISTED {
            self.oldest.insert(at, *view);
            self.oldest.truncate(LISTED);
        }
    }

    /// Returns how many sessions the real server has.
    pub(crate) fn sessions(&self) -> u64 {
        self.own.total
    }

    /// Returns the oldest sessions of the real server.
    pub(crate) fn oldest(&self) -> Vec<BlockingRow> {
        let oldest = self.oldest.iter();
        oldest
            .map(|view| BlockingRow {
                client: format!("{}:{}", view.client.0, view.client.1),
                state: view.state.name().to_owned(),
                age_s: u64::from(view.age_ms / 1000),
                idle_s: u64::from(view.idle_ms / 1000),
            })
            .collect()
    }

    /// Foretells when the real server's sessions will have ended; none where they have outlived all
    /// that they can be compared with.
    pub(crate) fn eta(&self) -> Option<Eta> {
        let sample = if self.others.total >= ENOUGH {
            &self.others
        } else {
            &self.own
        };
        let alive = sample.older_than(self.since_ms);
        if alive == 0 {
            return None;
        }
        // Of those that are alive now, no more than one in so many is left.
        let when = |one_in: u64| {
            let left = alive / one_in;
            let bound = sample.bound_with(left);
            bound.saturating_sub(self.since_ms).div_ceil(1000)
        };
        Some(Eta {
            half: when(2),
            most: when(10),
            all: when(2 * self.own.total.max(1)),
        })
    }
}

impl Ages {
    fn new() -> Self {
        Self {
            buckets: [0; BUCKETS],
            total: 0,
        }
    }

    fn add(&mut self, age_ms: u64) {
        let bucket = self.buckets.get_mut(bucket_of(age_ms));
        if let Some(bucket) = bucket {
            *bucket += 1;
            self.total += 1;
        }
    }

    /// Returns how many are older than a time, to the bucket.
    fn older_than(&self, ms: u64) -> u64 {
        let from = if ms == 0 { 0 } else { bucket_of(ms) };
        self.buckets.iter().skip(from).sum()
    }

    /// Returns the age that no more than `left` have passed.
    fn bound_with(&self, left: u64) -> u64 {
        let mut older = 0;
        for (at, count) in self.buckets.iter().enumerate().rev() {
            older += count;
            if older > left {
                return upper_bound(at);
            }
        }
        0
    }
}

/// Four buckets for each doubling, from four milliseconds on.
fn bucket_of(ms: u64) -> usize {
    let ms = ms.max(4);
    let doublings = ms.ilog2();
    let quarter = (ms >> (doublings - 2)) & 3;
    ((doublings as usize - 2) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// Returns the age below which all of a bucket are.
fn upper_bound(bucket: usize) -> u64 {
    let (doublings, quarter) = (bucket / 4 + 2, bucket as u64 % 4);
    (5 + quarter) << (doublings - 2)
}

#[cfg(test)]
mod tests {
    use nat_engine::State;
    use weir_model::Protocol;

    use super::*;

    fn view(real: u32, age_ms: u32) -> SessionView {
        SessionView {
            client: ([192, 0, 2, 1].into(), 1024),
            vip: ([10, 80, 0, 100].into(), 80),
            lip: ([10, 80, 0, 200].into(), 1025),
            real: ([10, 80, 0, 11].into(), 80),
            protocol: Protocol::Tcp,
            state: State::Established,
            service: ServiceId(0),
            real_id: RealId(real),
            age_ms,
            idle_ms: 10,
        }
    }

    fn census(since_ms: u64, others: &[u32], own: &[u32]) -> Census {
        let mut census = Census::new(ServiceId(0), RealId(1), since_ms);
        for (real, ages) in [(0, others), (1, own)] {
            for age in ages {
                census.take(&view(real, *age));
            }
        }
        census
    }

    #[test]
    fn a_bucket_holds_what_is_below_its_bound_and_not_below_that_of_the_one_before() {
        for ms in (4..5000).chain([1 << 20, (1 << 31) + 12345, u64::from(u32::MAX)]) {
            let bucket = bucket_of(ms);
            assert!(ms < upper_bound(bucket), "{ms}");
            assert!(bucket == 0 || ms >= upper_bound(bucket - 1), "{ms}");
        }
    }

    #[test]
    fn sessions_end_as_those_of_the_other_real_servers_do() {
        // Ages of 1 to 100 s, evenly.
        let others: Vec<u32> = (1..=100).map(|s| s * 1000).collect();
        let own: Vec<u32> = (1..=50).map(|s| s * 2000).collect();
        let eta = census(0, &others, &own).eta().unwrap();
        // To the bucket, which is a quarter wide.
        assert!((50..=63).contains(&eta.half), "{eta:?}");
        assert!((90..=113).contains(&eta.most), "{eta:?}");
        assert!((100..=125).contains(&eta.all), "{eta:?}");
    }

    #[test]
    fn the_time_that_has_passed_counts() {
        let others: Vec<u32> = (1..=100).map(|s| s * 1000).collect();
        let later = census(60_000, &others, &[70_000; 10]).eta().unwrap();
        assert!((35..=55).contains(&later.most), "{later:?}");
        assert_eq!(census(600_000, &others, &[700_000]).eta(), None);
    }

    #[test]
    fn without_others_the_own_ages_tell() {
        let eta = census(0, &[], &[1000, 1000, 1000, 60_000]).eta().unwrap();
        assert!(eta.half <= 2 && (60..=75).contains(&eta.all), "{eta:?}");
        assert_eq!(census(0, &[], &[]).eta(), None);
    }

    #[test]
    fn the_oldest_are_listed_and_what_is_over_is_not() {
        let own: Vec<u32> = (1..=30).map(|s| s * 1000).collect();
        let mut census = census(0, &[], &own);
        census.take(&SessionView {
            state: State::Close,
            ..view(1, 99_000)
        });
        let oldest = census.oldest();
        assert_eq!(census.sessions(), 30);
        assert_eq!(
            (oldest.len(), oldest[0].age_s, oldest[9].age_s),
            (10, 30, 21)
        );
    }
}
