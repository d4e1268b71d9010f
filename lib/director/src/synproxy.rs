//! SYNPROXY: where the two engines meet. A SYN is answered by a cookie while there is a flood; an
//! ACK whose cookie is ours opens a session; its real server is asked then.

use alloc::vec::Vec;
use core::time::Duration;

use synproxy_engine::{ReflectionGuard, Secrets, TriggerLimits};
use weir_model::{
    BadAck, ClientWindow, MasterKey, Offer, Protocol, Service, Snapshot, SynproxyMode,
};

use self::desk::Desks;
use self::early::EarlyPool;
use self::release::Releases;
use self::waiting::Waitings;

mod accept;
mod complete;
mod cookie;
mod desk;
mod early;
mod flood;
mod release;
mod waiting;

pub(crate) use self::cookie::agreed;
pub(crate) use self::desk::Desk;
pub(crate) use self::flood::{Flood, Floods};
pub use self::flood::{KEYS, Top};

/// All of an unanswered handshake, retries included, is over after this long.
const OPEN_WITHIN_MS: u32 = 950;

/// What a service's packets ask of its SYNPROXY profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SynproxyPlan {
    pub(crate) mode: SynproxyMode,
    /// When this worker begins and ceases to send cookies.
    pub(crate) limits: TriggerLimits,
    /// How long a cookie is good at most, in milliseconds.
    pub(crate) lifetime_ms: u32,
    /// Which of the secrets its cookies are made with.
    secrets: usize,
    /// Whether what was learned of the real servers is offered.
    learned: bool,
    /// What is offered until something was learned.
    first_offer: Offer,
    pub(crate) client_window: ClientWindow,
    pub(crate) early_data: u32,
    pub(crate) defer: bool,
    pub(crate) bad_ack: BadAck,
    /// Whether other boxes may have made cookies with the same secrets.
    shared: bool,
    retries: u8,
    pub(crate) reflect_limit: u32,
}

impl SynproxyPlan {
    /// The window of a SYN-ACK with a cookie.
    pub(crate) fn first_window(&self) -> u16 {
        match self.client_window {
            ClientWindow::Open => u16::try_from(self.early_data).unwrap_or(u16::MAX),
            ClientWindow::Closed => 0,
        }
    }
}

/// What one worker's SYNPROXY consists of.
pub(crate) struct Synproxy {
    keys: Vec<SecretsKey>,
    secrets: Vec<Secrets>,
    /// What each service's cookies were made with last, by its id.
    made_with: Vec<Option<SecretsKey>>,
    pub(crate) floods: Floods,
    pub(crate) guard: ReflectionGuard,
    pub(crate) desks: Desks,
    pub(crate) waitings: Waitings,
    early: EarlyPool,
    releases: Releases,
}

/// What tells the secrets of one profile from those of another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SecretsKey {
    master: MasterKey,
    lifetime: Duration,
    rotation: Duration,
}

impl Synproxy {
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        Self {
            keys: Vec::new(),
            secrets: Vec::new(),
            made_with: Vec::new(),
            floods: Floods::default(),
            guard: ReflectionGuard::new(seed),
            desks: Desks::NONE,
            waitings: Waitings::default(),
            early: EarlyPool::default(),
            releases: Releases::new(),
        }
    }

    /// Takes what a snapshot says: secrets, and memory for what its services may hold.
    pub(crate) fn apply(&mut self, snapshot: &Snapshot, wall_ms: u64, now_ms: u32) {
        self.keys.clear();
        let mut pool = 0;
        let of_tcp = |service: &&Service| service.protocol == Protocol::Tcp;
        let bound = snapshot.services.bound().max(self.made_with.len());
        self.made_with.resize(bound, None);
        for service in snapshot.services.iter().filter(of_tcp) {
            if service.synproxy.mode != SynproxyMode::Off {
                pool = pool.max(service.synproxy.early_data_pool);
                if let Some(place) = self.made_with.get_mut(service.id.index()) {
                    *place = Some(SecretsKey::of(service));
                }
            }
            let key = self.key_of(service);
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        let make = |key: &SecretsKey| Secrets::new(key.master, key.lifetime, key.rotation, wall_ms);
        self.secrets = self.keys.iter().map(make).collect();
        if pool > 0 {
            self.waitings.make_room();
            self.early.grow(pool);
            self.releases.reserve(waiting::ROOM);
        }
        self.floods.apply(snapshot, now_ms);
    }

    /// Returns what a service's cookies are made with, or were until it was switched off: whoever
    /// switches it off may take its profile away.
    fn key_of(&self, service: &Service) -> SecretsKey {
        let own = SecretsKey::of(service);
        match service.synproxy.mode {
            SynproxyMode::Off => {
                let made_with = self.made_with.get(service.id.index());
                made_with.copied().flatten().unwrap_or(own)
            }
            SynproxyMode::Adaptive | SynproxyMode::Always => own,
        }
    }

    /// Returns what the cookies of a plan are made with.
    pub(crate) fn secrets_of(&self, plan: &SynproxyPlan) -> Option<&Secrets> {
        self.secrets.get(plan.secrets)
    }

    /// Derives the keys of the steps that the time has come to.
    pub(crate) fn refresh(&mut self, wall_ms: u64) {
        for secrets in &mut self.secrets {
            secrets.refresh(wall_ms);
        }
    }

    /// Says whether data that was held can go to its real server now.
    pub(crate) fn has_releases(&self) -> bool {
        !self.releases.is_empty()
    }

    /// Works out what the packets of a service of TCP ask, for one of `workers` workers. One whose
    /// mode is off has a plan, too: the cookies that it sent before a reload are verified still.
    pub(crate) fn plan(&self, service: &Service, workers: u8) -> Option<SynproxyPlan> {
        let profile = &service.synproxy;
        if service.protocol != Protocol::Tcp {
            return None;
        }
        let key = self.key_of(service);
        let secrets = self.keys.iter().position(|known| *known == key)?;
        let workers = u32::from(workers.max(1));
        let mut first_offer = profile.given;
        if profile.learned {
            // A client that was promised timestamps may discard all that comes without.
            first_offer.timestamps = false;
        }
        Some(SynproxyPlan {
            mode: profile.mode,
            limits: TriggerLimits {
                enter: (profile.enter / workers).max(1),
                leave: (profile.leave / workers).max(1),
                stay_ms: millis_of(profile.stay),
            },
            lifetime_ms: millis_of(profile.cookie_lifetime),
            secrets,
            learned: profile.learned,
            first_offer,
            client_window: profile.client_window,
            early_data: profile.early_data,
            defer: profile.defer,
            bad_ack: profile.bad_ack,
            shared: profile.secret_file.is_some(),
            retries: profile.syn_retries,
            reflect_limit: profile.reflect_limit,
        })
    }
}

impl SecretsKey {
    fn of(service: &Service) -> Self {
        Self {
            master: service.synproxy.master,
            lifetime: service.synproxy.cookie_lifetime,
            rotation: service.synproxy.secret_rotation,
        }
    }
}

fn millis_of(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis())
        .unwrap_or(u32::MAX)
        .min(i32::MAX as u32)
}
