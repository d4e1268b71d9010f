//! What the cookies of strangers come to, for all strangers of a burst at once.
//!
//! A hash follows from the packet, the plan and the secrets, none of which a packet changes: so it
//! can be computed before the packets in front of it are walked, beside the hashes of the others,
//! and be thrown away where the walk does not ask for it.

use nat_engine::FlowKey;
use synproxy_engine::{Cookie, Handshake, OptionBits, Places, Question, client_options};
use weir_model::ServiceId;
use weir_simd::{LANES, Lanes, Width, sip24};
use weir_wire::{Header, Protocol, SynOptions, TcpFlags, TcpHeader, V4};

use crate::found::{Burst, LOOKUPS};
use crate::plan::listen_key;
use crate::synproxy::{Desk, agreed};
use crate::{Director, Packet};

/// Lots of questions: a SYN asks one, an ACK two.
const LOTS: usize = 2 * LOOKUPS / LANES;

/// What was worked out about a packet that belongs to no session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// The service that listens where it goes.
    pub(crate) service: Option<ServiceId>,
    /// Which [desk](Desk) is asked.
    pub(crate) desk: u8,
    pub(crate) cookie: AskedCookie,
}

/// The questions of a stranger's cookie, by their places among [`Questions`]; once they are
/// answered, the hashes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum AskedCookie {
    /// Not known: the long way finds out.
    #[default]
    Nothing,
    /// No cookie can come of it, and no answer.
    Useless,
    /// That of the cookie which would answer a SYN, and what the SYN offers.
    Syn {
        hash: u64,
        bits: OptionBits,
        options: SynOptions,
        places: Places,
    },
    /// Those that the cookie which an ACK may bring is judged by.
    Ack { hashes: [u64; 2], cookie: Cookie },
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
    #[inline]
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

    #[inline]
    fn get(&self, at: u64) -> u64 {
        let hashes = self.hashes.as_flattened();
        hashes.get(at as usize).copied().unwrap_or(0)
    }
}

impl AskedCookie {
    /// Puts the hashes in the places of the questions.
    #[inline]
    pub(crate) fn answered(self, questions: &Questions) -> Self {
        match self {
            Self::Nothing | Self::Useless => self,
            Self::Syn {
                hash,
                bits,
                options,
                places,
            } => Self::Syn {
                hash: questions.get(hash),
                bits,
                options,
                places,
            },
            Self::Ack { hashes, cookie } => Self::Ack {
                hashes: hashes.map(|hash| questions.get(hash)),
                cookie,
            },
        }
    }
}

impl Director {
    /// Works out what the strangers of a burst may ask.
    #[inline]
    pub(crate) fn ask_for_strangers(&mut self, packets: &[Packet<'_>], burst: &mut Burst) {
        burst.questions.count = 0;
        let changes = self.synproxy.floods.changes();
        self.synproxy.desks.close(changes);
        for (at, packet) in packets.iter().enumerate() {
            let Some(key) = burst.stranger(at) else {
                continue;
            };
            let asked = self.ask_of(packet, &key, &mut burst.questions);
            burst.put_asked(at, asked);
        }
        burst.questions.answer(self.width);
    }

    #[inline]
    fn ask_of(&mut self, packet: &Packet<'_>, key: &FlowKey, questions: &mut Questions) -> Asked {
        let listen = listen_key(key.dst, key.dst_port, key.protocol);
        let known = self.synproxy.desks.find(listen, packet.port);
        let desk = if let Some(desk) = known {
            desk
        } else {
            let service = self.plan.listening(key.dst, key.dst_port, key.protocol);
            let tcp = service.filter(|_| key.protocol == Protocol::TCP);
            let opened = tcp.and_then(|service| self.open_desk(listen, packet.port, service));
            let Some(desk) = opened else {
                return Asked {
                    service,
                    ..Asked::default()
                };
            };
            desk
        };
        let Some(open) = self.synproxy.desks.opened(desk) else {
            return Asked::default();
        };
        let cookie = self.ask_cookie(packet, key, open, questions);
        Asked {
            service: Some(open.service),
            desk,
            cookie: cookie.unwrap_or_default(),
        }
    }

    #[inline]
    fn ask_cookie(
        &self,
        packet: &Packet<'_>,
        key: &FlowKey,
        desk: &Desk,
        questions: &mut Questions,
    ) -> Option<AskedCookie> {
        let bytes = packet.frame.bytes();
        // That it is in good order was found before.
        let tcp = TcpHeader::at(bytes, V4::PLAIN_L4 as usize)?;
        let flags = tcp.flags().0;
        if flags & (JUDGED | TcpFlags::FIN.0) == TcpFlags::SYN.0 {
            let cookies = desk.cookies.as_ref()?;
            let places = self.synproxy.guard.prefetch(key.src.into());
            let end = V4::PLAIN_L4 as usize + tcp.header_len();
            let options = bytes.get(OPTIONS..end)?;
            let options = SynOptions::of(options);
            let bits = agreed(client_options(options), cookies.offer).into();
            let handshake = handshake(key, tcp.seq_number().0);
            let hash = questions.push(&cookies.issuer.ask(&handshake, bits)?);
            return Some(AskedCookie::Syn {
                hash,
                bits,
                options,
                places,
            });
        }
        if flags & JUDGED != TcpFlags::ACK.0 || !desk.verifies {
            return desk.drops.then_some(AskedCookie::Useless);
        }
        let plan = self.plan.service(desk.service)?.synproxy.as_ref()?;
        let cookie = Cookie((tcp.ack_number() - 1).0);
        let handshake = handshake(key, (tcp.seq_number() - 1).0);
        let secrets = self.synproxy.secrets_of(plan)?;
        let [live, before] = secrets.ask_check(&handshake, cookie)?;
        Some(AskedCookie::Ack {
            hashes: [questions.push(&live), questions.push(&before)],
            cookie,
        })
    }
}

/// What tells a SYN, and an ACK that may bring a cookie, from the rest.
const JUDGED: u8 = TcpFlags::SYN.0 | TcpFlags::ACK.0 | TcpFlags::RST.0;

/// Where the options of a plain segment begin.
const OPTIONS: usize = V4::PLAIN_L4 as usize + TcpHeader::LEN;

#[inline]
fn handshake(key: &FlowKey, client_isn: u32) -> Handshake {
    Handshake {
        client: key.src.into(),
        vip: key.dst.into(),
        client_port: key.src_port,
        vip_port: key.dst_port,
        client_isn: client_isn.into(),
    }
}

fn put_lane<const N: usize>(lanes: &mut [Lanes; N], lane: usize, values: [u64; N]) {
    for (lanes, value) in lanes.iter_mut().zip(values) {
        if let Some(place) = lanes.get_mut(lane) {
            *place = value;
        }
    }
}
