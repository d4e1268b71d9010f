//! What the cookies of strangers come to, for all strangers of a burst at once.
//!
//! A hash follows from the packet, the plan and the secrets, none of which a packet changes: so it
//! can be computed before the packets in front of it are walked, beside the hashes of the others,
//! and be thrown away where the walk does not ask for it.

use synproxy_engine::{Cookie, Question, client_options};
use weir_model::ServiceId;
use weir_simd::{LANES, Lanes, Width, sip24};
use weir_wire::{L4, SynOptions, V4};

use crate::found::{Burst, LOOKUPS};
use crate::synproxy::{agreed, handshake};
use crate::{Director, Packet};

/// Lots of questions: a SYN asks one, an ACK two.
const LOTS: usize = 2 * LOOKUPS / LANES;

/// What was worked out about a packet that belongs to no session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// The service that listens where it goes.
    pub(crate) service: Option<ServiceId>,
    pub(crate) cookie: AskedCookie,
}

/// The questions of a stranger's cookie, by their places among [`Questions`]; once they are
/// answered, the hashes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum AskedCookie {
    /// None.
    #[default]
    Nothing,
    /// That of the cookie which would answer a SYN, and the SYN's options.
    Syn { hash: u64, options: SynOptions },
    /// Those that the cookie which an ACK may bring is judged by.
    Ack { hashes: [u64; 2] },
}

/// Hashes to be computed side by side, and what they came to.
#[derive(Debug)]
pub(crate) struct Questions {
    keys: [[Lanes; 2]; LOTS],
    words: [[Lanes; 3]; LOTS],
    hashes: [Lanes; LOTS],
    count: usize,
}

impl Questions {
    pub(crate) const NONE: Self = Self {
        keys: [[[0; LANES]; 2]; LOTS],
        words: [[[0; LANES]; 3]; LOTS],
        hashes: [[0; LANES]; LOTS],
        count: 0,
    };

    /// Takes a question and says which it is.
    fn push(&mut self, question: &Question) -> u64 {
        let (lot, lane) = (self.count / LANES, self.count % LANES);
        if let (Some(keys), Some(words)) = (self.keys.get_mut(lot), self.words.get_mut(lot)) {
            put_lane(keys, lane, question.key);
            put_lane(words, lane, question.words);
        }
        self.count += 1;
        self.count as u64 - 1
    }

    fn answer(&mut self, width: Width) {
        let lots = self.keys.iter().zip(&self.words).zip(&mut self.hashes);
        for ((keys, words), hashes) in lots.take(self.count.div_ceil(LANES)) {
            *hashes = sip24(width, keys, words);
        }
    }

    fn get(&self, at: u64) -> u64 {
        let hashes = self.hashes.as_flattened();
        hashes.get(at as usize).copied().unwrap_or(0)
    }
}

impl AskedCookie {
    /// Puts the hashes in the places of the questions.
    pub(crate) fn answered(self, questions: &Questions) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Syn { hash, options } => Self::Syn {
                hash: questions.get(hash),
                options,
            },
            Self::Ack { hashes } => Self::Ack {
                hashes: hashes.map(|hash| questions.get(hash)),
            },
        }
    }
}

impl Director {
    /// Works out what the strangers of a burst may ask.
    #[inline]
    pub(crate) fn ask_for_strangers(&self, packets: &[Packet<'_>], burst: &mut Burst) {
        burst.questions.count = 0;
        for (at, packet) in packets.iter().enumerate() {
            let Some(key) = burst.stranger(at) else {
                continue;
            };
            let service = self.plan.listening(key.dst, key.dst_port, key.protocol);
            let cookie = service
                .and_then(|service| self.ask_cookie(packet, service, &mut burst.questions))
                .unwrap_or_default();
            burst.put_asked(at, Asked { service, cookie });
        }
        burst.questions.answer(self.width);
    }

    #[inline]
    fn ask_cookie(
        &self,
        packet: &Packet<'_>,
        service: ServiceId,
        questions: &mut Questions,
    ) -> Option<AskedCookie> {
        let plan = self.plan.service(service)?.synproxy.as_ref()?;
        let flood = self.synproxy.floods.get(service)?;
        if !flood.verifies(plan) {
            return None;
        }
        let bytes = packet.frame.bytes();
        let v4 = V4::plain_again(bytes)?;
        let L4::Tcp(tcp) = &v4.l4_kind else {
            return None;
        };
        let secrets = self.synproxy.secrets_of(plan)?;
        if tcp.opens() {
            if !self.sends_cookies(service) {
                return None;
            }
            self.synproxy.guard.prefetch(v4.src.into());
            let options = SynOptions::of(v4.tcp_options(bytes)?);
            let client = agreed(client_options(options), self.offer(service, packet.port)?);
            let handshake = handshake(v4.src, v4.dst, tcp, tcp.seq);
            let hash = questions.push(&secrets.ask_issue(&handshake, &client)?);
            return Some(AskedCookie::Syn { hash, options });
        }
        if !self.may_be_cookie(service, tcp) {
            return None;
        }
        let handshake = handshake(v4.src, v4.dst, tcp, tcp.seq - 1);
        let [live, before] = secrets.ask_check(&handshake, Cookie((tcp.ack - 1).0))?;
        Some(AskedCookie::Ack {
            hashes: [questions.push(&live), questions.push(&before)],
        })
    }
}

fn put_lane<const N: usize>(lanes: &mut [Lanes; N], lane: usize, values: [u64; N]) {
    for (lanes, value) in lanes.iter_mut().zip(values) {
        if let Some(place) = lanes.get_mut(lane) {
            *place = value;
        }
    }
}
