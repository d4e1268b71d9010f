//! What a run is like, all of it drawn from its seed.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use weir_model::{ClientWindow, Offer, Snapshot, SynproxyMode};
use weir_testkit::{Closing, Plan, Random, Setup, Transfer, Weather};
use weir_wire::{EthAddr, SeqNumber};

use crate::lane::{Lacks, Way};
use crate::watch::Demands;

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
pub(crate) const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 8, 200);

/// Sequence numbers start here, so that they wrap within the first segments.
pub(crate) const NEAR_THE_END: SeqNumber = SeqNumber(0xffff_ff00);

/// Who begins to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Both,
    Client,
    Server,
    /// The client has nothing to say and closes as soon as it is connected.
    Nobody,
}

/// A run.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, drawn from the seed"
)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    mode: SynproxyMode,
    learned: bool,
    /// Whether no cookie can be left of before it was learned.
    pub(crate) settled: bool,
    offer: Offer,
    window: ClientWindow,
    early_data: u32,
    defer: bool,
    bad_ack_resets: bool,
    client: Plan,
    server: Plan,
    pub(crate) workers: u8,
    /// Whether Weir's numbers towards the real server wrap.
    pub(crate) wraps: bool,
    /// Whether both of Weir's clocks wrap during the run.
    clocks_wrap: bool,
    pub(crate) way: Way,
    weather: Weather,
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

impl Case {
    /// Draws a run; one in `large` moves up to a megabyte.
    pub(crate) fn new(seed: u64, mode: SynproxyMode, large: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let defer = random.chance(0.2);
        let first = match random.below(10) {
            0..=2 => First::Client,
            3..=4 if !defer => First::Server,
            5 => First::Nobody,
            _ => First::Both,
        };
        let (client, server) = plans(random, first, seed, large);
        let lacks = |random: &mut Random| Lacks {
            wscale: random.chance(0.15),
            sack: random.chance(0.15),
        };
        let (client_lacks, server_lacks) = (lacks(random), lacks(random));
        let learned = random.chance(0.5);
        let offer = if learned {
            learn(random, &server, server_lacks)
        } else {
            give(random, &server)
        };
        let (is_late, loses_first_syn) = (random.chance(0.15), random.chance(0.15));
        let stormy = random.chance(0.7);
        let adaptive = mode == SynproxyMode::Adaptive;
        Self {
            seed,
            mode,
            learned,
            settled: random.chance(0.5),
            offer,
            window: pick(random, &[ClientWindow::Open, ClientWindow::Closed]),
            early_data: pick(random, &[1024, 4096, 16_384, 65_536]),
            defer,
            // A segment that overtakes the handshake's last ACK is a bad ACK.
            bad_ack_resets: !stormy && random.chance(0.3),
            workers: pick(random, &[1, 1, 2, 3]),
            wraps: seed.is_multiple_of(4),
            clocks_wrap: seed % 4 == 1,
            way: Way {
                client: CLIENT,
                vip: VIP,
                // Long transfers between two smoltcp end points stall with more, Weir or not.
                loss: match (stormy, client.send.max(server.send)) {
                    (true, ..60_000) => 0.05,
                    (true, _) => 0.01,
                    (false, _) => 0.0,
                },
                client_lacks,
                server_lacks,
                is_dead: false,
                late: Duration::from_millis(if is_late { 500 } else { 0 }),
                handshake_losses: 2_u32
                    .saturating_sub(u32::from(is_late) + u32::from(loses_first_syn)),
                loses_first_syn,
                silent_client: first == First::Server,
                burst: if adaptive { 40 } else { 0 },
                reloads: random.chance(0.2),
                changes_offer: learned && random.chance(0.2),
            },
            weather: Weather {
                loss: 0.0,
                ..if stormy {
                    Weather::STORM
                } else {
                    Weather::FAIR
                }
            },
            client,
            server,
        }
    }

    /// The configuration, as a file says it.
    pub(crate) fn text(&self) -> String {
        let mut text = include_str!("../conf/proxied.conf").to_owned();
        let flag = |yes| if yes { "yes" } else { "no" };
        // What is learned differs from what the file gives.
        let given = if self.learned {
            Offer::default()
        } else {
            self.offer
        };
        let wscale = given
            .wscale
            .map_or_else(|| "none".to_owned(), |it| it.to_string());
        let window = match self.window {
            ClientWindow::Open => "open",
            ClientWindow::Closed => "closed",
        };
        let mode = match self.mode {
            SynproxyMode::Always => "always",
            SynproxyMode::Adaptive => "adaptive",
            SynproxyMode::Off => "off",
        };
        let _ = write!(
            text,
            "\n[synproxy front]\nmode = {mode}\nenter = 25/s\nleave = 10/s\nstay = 1s\n\
             options = {}\nmss = {}\nwscale = {wscale}\nsack = {}\ntimestamps = {}\n\
             client-window = {window}\nearly-data = {}KiB\nearly-data-pool = 64KiB\ndefer = {}\n\
             bad-ack = {}\n",
            if self.learned { "learned" } else { "given" },
            given.mss,
            flag(given.sack),
            flag(given.timestamps),
            self.early_data >> 10,
            flag(self.defer),
            if self.bad_ack_resets { "reset" } else { "drop" },
        );
        text
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        weir_testkit::snapshot("proxied.conf", &self.text())
    }

    /// What the directors are told that was learned of the real server.
    pub(crate) fn learned(&self) -> Option<Offer> {
        self.learned.then_some(self.offer)
    }

    pub(crate) fn setup(&self) -> Setup {
        // Milliseconds in 32 bits wrap after 49 days.
        let before = 20 * (self.seed % 50) + if self.settled { 70_000 } else { 0 };
        let clocks = if self.clocks_wrap {
            Setup {
                uptime_ms: (1 << 32) - before,
                wall_ms: (400 << 32) - before,
                ..Setup::default()
            }
        } else {
            Setup::default()
        };
        Setup {
            workers: self.workers,
            sessions: 4096,
            seed: self.seed,
            neighbours_answer: false,
            ..clocks
        }
    }

    pub(crate) fn demands(&self) -> Demands {
        Demands {
            early_data: match self.window {
                ClientWindow::Open => self.early_data.min(65_535),
                ClientWindow::Closed => 0,
            },
            one_answer: self.mode == SynproxyMode::Always,
            honest_offer: self.learned && !self.way.changes_offer,
        }
    }

    pub(crate) fn transfer(&self) -> Transfer {
        Transfer {
            client: self.client.clone(),
            server: self.server.clone(),
            weather: self.weather,
            seed: self.seed,
            client_isn: Some(NEAR_THE_END),
            server_isn: Some(NEAR_THE_END),
        }
    }
}

/// Draws what both ends do.
fn plans(random: &mut Random, first: First, seed: u64, large: u64) -> (Plan, Plan) {
    let [up, down] = sizes(random, first, large);
    let (client_closes, server_closes) = closings(random, first);
    let buffer = [4096, 8192, 16_384, 65_535, 200_000, 1 << 20];
    let mtu = [576, 1260, 1440, 1480, 1500, 9000];
    let client = Plan {
        address: CLIENT,
        mac: EthAddr([2, 0, 0, 0, 1, 1]),
        port: 40_000 + random.below(1000) as u16,
        connect: Some((VIP, 80)),
        send: up,
        sends_after: if first == First::Server { down } else { 0 },
        seed: seed.wrapping_mul(2),
        expect: down,
        expect_seed: seed.wrapping_mul(2) + 1,
        closing: client_closes,
        buffer: pick(random, &buffer),
        timestamps: random.chance(0.7),
        mtu: pick(random, &mtu),
    };
    let server = Plan {
        address: REAL,
        mac: EthAddr([2, 0, 0, 0, 1, 2]),
        port: 8080,
        connect: None,
        send: down,
        sends_after: if first == First::Client { up } else { 0 },
        seed: seed.wrapping_mul(2) + 1,
        expect: up,
        expect_seed: seed.wrapping_mul(2),
        closing: server_closes,
        buffer: pick(random, &buffer),
        timestamps: random.chance(0.7),
        mtu: pick(random, &mtu),
    };
    (client, server)
}

fn sizes(random: &mut Random, first: First, large: u64) -> [usize; 2] {
    let is_large = random.below(large) == 0;
    let mut size = || {
        let most = if is_large {
            1 << 20
        } else {
            pick(random, &[1, 2, 200, 3000, 20_000, 40_000])
        };
        random.below(most) as usize
    };
    let [up, down] = [size(), size()];
    match first {
        First::Server => [up, down],
        // Somebody has to say something for the other to wait for.
        First::Both | First::Client => [up + 1, down],
        First::Nobody => [0, down],
    }
}

fn closings(random: &mut Random, first: First) -> (Closing, Closing) {
    if first == First::Nobody {
        return (Closing::WhenSent, Closing::WhenTheOtherHas);
    }
    pick(
        random,
        &[
            (Closing::WhenSent, Closing::WhenTheOtherHas),
            (Closing::WhenTheOtherHas, Closing::WhenSent),
            (Closing::WhenBothAreDone, Closing::WhenBothAreDone),
            (Closing::WhenSent, Closing::WhenSent),
        ],
    )
}

/// What a file gives, whatever the real server does.
fn give(random: &mut Random, server: &Plan) -> Offer {
    Offer {
        mss: pick(random, &[536, 1220, 1400, 1440, 1460, 8960]),
        // Windows are told in units of 16 KiB with the last one: a smaller one is none.
        wscale: pick(random, &[None, Some(0), Some(2), Some(7), Some(14)])
            .filter(|shift| *shift < 14 || server.buffer >= 200_000),
        sack: random.chance(0.7),
        timestamps: random.chance(0.7),
    }
}

/// What the health thread finds out of a real server; another one may scale its windows more.
fn learn(random: &mut Random, server: &Plan, lacks: Lacks) -> Offer {
    let bits = usize::BITS - server.buffer.leading_zeros();
    let shift = bits.saturating_sub(16) as u8;
    Offer {
        mss: (server.mtu - 40) as u16,
        wscale: (!lacks.wscale).then(|| (shift + random.below(3) as u8).min(14)),
        sack: !lacks.sack,
        timestamps: server.timestamps,
    }
}
