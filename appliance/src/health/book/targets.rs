//! What is to be probed: each place once for each way to check it, whoever uses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weir_model::{Health, Now, Snapshot};

use super::{Book, Watch, Watched, learns};
use crate::health::{Finding, Target, TargetId};

type ByAddress = BTreeMap<SocketAddr, Vec<TargetId>>;

impl Book {
    /// Takes the snapshot that holds from now on, and returns what is to be probed. Targets that
    /// stay keep what is known of them; the workers are told everything again.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot, now: Now) -> Vec<Target> {
        let before = std::mem::take(&mut self.targets);
        let places_before = by_address(&before);
        let mut places = ByAddress::new();
        let known = std::mem::take(&mut self.reals);
        // Checks first, so that those who only learn can listen to them.
        for checks in [true, false] {
            let services = snapshot.services.iter();
            for service in services.filter(|service| service.health.is_some() == checks) {
                for real in &service.reals {
                    let at = SocketAddr::new(real.address, real.port);
                    let target = (checks || learns(service)).then(|| {
                        let check = service.health.as_ref();
                        let found = self.find(places.get(&at), check).unwrap_or_else(|| {
                            let old = places_before.get(&at);
                            let old = old.into_iter().flatten();
                            let old = old.filter_map(|id| before.get(id));
                            let id = self.add(at, check, old, now);
                            places.entry(at).or_default().push(id);
                            id
                        });
                        if let Some(watched) = self.targets.get_mut(&found) {
                            watched.users.push((service.id, real.id));
                        }
                        found
                    });
                    let known = known.get(&real.id);
                    let watch = Watch {
                        service: service.id,
                        known_since: known.map_or(now, |watch| watch.known_since),
                        target,
                        is_checked: checks,
                    };
                    self.reals.insert(real.id, watch);
                }
            }
        }
        self.learned.retain(|at, _| places.contains_key(at));
        self.silences.adopt(snapshot);
        self.tell_everything(snapshot);
        let targets = self.targets.values();
        targets
            .map(|watched| Target {
                id: watched.finding.id,
                address: watched.address,
                health: watched.check.clone().unwrap_or_default(),
                is_up: watched.finding.is_up,
                since: watched.finding.since,
            })
            .collect()
    }

    /// Finds the target that serves a check among those of its address; who only learns takes any.
    fn find(&self, places: Option<&Vec<TargetId>>, check: Option<&Health>) -> Option<TargetId> {
        let mut places = places?.iter().copied();
        places.find(|id| {
            let target = self.targets.get(id);
            check.is_none() || target.is_some_and(|target| target.check.as_ref() == check)
        })
    }

    /// Adds a target: the one of before where there is one, else a new one, which is taken to be
    /// in the state that another check of the same address has found.
    fn add<'a>(
        &mut self,
        address: SocketAddr,
        check: Option<&Health>,
        before: impl Iterator<Item = &'a Watched> + Clone,
        now: Now,
    ) -> TargetId {
        let same = before.clone().find(|old| old.check.as_ref() == check);
        let mut checked = before.filter(|old| old.check.is_some());
        let other = check.and_then(|_| checked.next());
        let is_alpha = check.is_some_and(|check| check.alpha);
        let watched = match same {
            Some(same) => Watched {
                users: Vec::new(),
                ..same.clone()
            },
            None => Watched {
                address,
                check: check.cloned(),
                users: Vec::new(),
                finding: Finding {
                    id: self.next_id(),
                    is_up: other.map_or(!is_alpha, |other| other.finding.is_up),
                    since: other.map_or(now, |other| other.finding.since),
                    last_error: other.and_then(|other| other.finding.last_error.clone()),
                    is_able: true,
                    learned: None,
                    weight: None,
                    rtt_us: None,
                },
                was_tried: false,
            },
        };
        let id = watched.finding.id;
        self.targets.insert(id, watched);
        id
    }

    fn next_id(&mut self) -> TargetId {
        self.next_id += 1;
        TargetId(self.next_id)
    }

    /// Whatever a worker keeps or forgets with a new snapshot, it will know.
    fn tell_everything(&mut self, snapshot: &Snapshot) {
        let reals = &self.reals;
        self.orders.retain(|real, _| reals.contains_key(real));
        self.told.retain(|real, _| reals.contains_key(real));
        self.again = self.told.keys().copied().collect();
        // Those of before, too: one of them may be gone.
        self.restless.extend(self.services.keys());
        let services = snapshot.services.iter();
        self.restless.extend(services.map(|service| service.id));
        self.offers.clear();
        let services = snapshot.services.iter();
        self.stale = services.map(|service| service.id).collect();
    }
}

fn by_address(targets: &BTreeMap<TargetId, Watched>) -> ByAddress {
    let mut places = ByAddress::new();
    for (id, watched) in targets {
        places.entry(watched.address).or_default().push(*id);
    }
    places
}
