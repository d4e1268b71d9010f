//! A whole TCP connection between two smoltcp end points, over a bad network, through something in
//! the middle.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weir_model::Time;
use weir_wire::{Describe, SeqNumber};

use crate::{EndPoint, InFlight, Netem, Plan, SeqShift, Toll, Weather};

/// The two sides of the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the client is.
    Client,
    /// Where the server is.
    Server,
}

/// What stands between the two end points.
pub trait Middle {
    /// Takes a frame that arrived from a side.
    ///
    /// # Errors
    ///
    /// When the middle breaks one of its own rules.
    fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()>;

    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// When the middle breaks one of its own rules.
    fn advance(&mut self, now: Time) -> Result<()>;

    /// Returns the next frame that leaves the middle.
    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)>;

    /// Returns when time must pass at the latest.
    fn wake_at(&self) -> Option<Time>;
}

/// A cable: what comes in on one side leaves on the other.
#[derive(Debug, Default)]
pub struct Cable(VecDeque<(Side, Vec<u8>)>);

impl Middle for Cable {
    fn receive(&mut self, _: Time, from: Side, frame: &[u8]) -> Result<()> {
        let to = match from {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        self.0.push_back((to, frame.to_vec()));
        Ok(())
    }

    fn advance(&mut self, _: Time) -> Result<()> {
        Ok(())
    }

    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
        self.0.pop_front()
    }

    fn wake_at(&self) -> Option<Time> {
        None
    }
}

/// A connection to be run.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The client.
    pub client: Plan,
    /// The server.
    pub server: Plan,
    /// The network on both sides, in both directions.
    pub weather: Weather,
    /// The seed of what the network does.
    pub seed: u64,
    /// The client's first sequence number, as it leaves the client.
    pub client_isn: Option<SeqNumber>,
    /// The server's first sequence number, as it leaves the server.
    pub server_isn: Option<SeqNumber>,
}

/// What a connection took.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// When it was over.
    pub ended: Time,
    /// What the network did.
    pub toll: Toll,
}

/// How long a connection may take in simulated time.
const LIMIT: Duration = Duration::from_mins(30);

enum Hop {
    Middle(Side),
    End(Side),
}

impl Transfer {
    /// Runs the connection from `start` until both ends have everything and have closed.
    ///
    /// # Errors
    ///
    /// When a byte is wrong, the connection is reset, the middle breaks a rule, or nothing more
    /// happens.
    pub fn run(&self, start: Time, middle: &mut impl Middle) -> Result<Outcome> {
        let mut run = Run {
            client: End::new(&self.client, self.client_isn, start)?,
            server: End::new(&self.server, self.server_isn, start)?,
            to_middle: Netem::new(self.weather, self.seed ^ 0x5555),
            to_ends: Netem::new(self.weather, self.seed ^ 0xaaaa),
            flight: InFlight::default(),
            last: VecDeque::new(),
        };
        let mut now = start;
        loop {
            run.step(now, middle)
                .with_context(|| format!("seed {}, {}", self.seed, run.progress(start, now)))?;
            if run.is_over() {
                let mut toll = run.to_middle.toll();
                toll.add(run.to_ends.toll());
                return Ok(Outcome { ended: now, toll });
            }
            let Some(next) = run.next_at(now, middle) else {
                bail!(
                    "seed {}: nothing more happens; {}",
                    self.seed,
                    run.progress(start, now)
                );
            };
            now = next.max(now.after(Duration::from_micros(1)));
            if now.since(start) > LIMIT {
                bail!("seed {}: too slow; {}", self.seed, run.progress(start, now));
            }
        }
    }
}

/// How many of the last frames a failure shows.
const REMEMBERED: usize = 40;

struct Run {
    client: End,
    server: End,
    to_middle: Netem,
    to_ends: Netem,
    flight: InFlight<Hop>,
    /// The last frames into the middle and out of it.
    last: VecDeque<(Time, &'static str, Vec<u8>)>,
}

struct End {
    point: EndPoint,
    shift: SeqShift,
}

impl End {
    fn new(plan: &Plan, isn: Option<SeqNumber>, now: Time) -> Result<Self> {
        let address: Ipv4Addr = plan.address;
        Ok(Self {
            point: EndPoint::new(plan, now)?,
            shift: SeqShift::new(address, isn),
        })
    }

    fn receive(&mut self, now: Time, mut frame: Vec<u8>) {
        self.shift.pass(now, &mut frame);
        self.point.receive(frame);
    }

    fn transmitted(&mut self, now: Time) -> Option<Vec<u8>> {
        let Some(mut frame) = self.point.transmitted() else {
            return self.shift.repeat(now);
        };
        self.shift.pass(now, &mut frame);
        Some(frame)
    }
}

impl Run {
    fn step(&mut self, now: Time, middle: &mut impl Middle) -> Result<()> {
        while let Some((hop, frame)) = self.flight.pop(now) {
            match hop {
                Hop::Middle(from) => {
                    self.remember(now, from, ["from the client", "from the server"], &frame);
                    middle.receive(now, from, &frame)?;
                }
                Hop::End(Side::Client) => self.client.receive(now, frame),
                Hop::End(Side::Server) => self.server.receive(now, frame),
            }
        }
        middle.advance(now)?;
        while let Some((to, frame)) = middle.transmitted() {
            self.remember(now, to, ["to the client", "to the server"], &frame);
            for at in self.to_ends.pass(now) {
                self.flight.push(at, Hop::End(to), frame.clone());
            }
        }
        self.client.point.poll(now).context("client")?;
        self.server.point.poll(now).context("server")?;
        for (side, end) in [
            (Side::Client, &mut self.client),
            (Side::Server, &mut self.server),
        ] {
            while let Some(frame) = end.transmitted(now) {
                for at in self.to_middle.pass(now) {
                    self.flight.push(at, Hop::Middle(side), frame.clone());
                }
            }
        }
        Ok(())
    }

    /// The connection is over when both ends are done and nothing is on its way any more: late
    /// duplicates belong to the run.
    fn is_over(&mut self) -> bool {
        self.flight.next_at().is_none()
            && self.client.point.is_done()
            && self.server.point.is_done()
    }

    fn next_at(&mut self, now: Time, middle: &impl Middle) -> Option<Time> {
        [
            self.flight.next_at(),
            self.client.point.poll_at(now),
            self.server.point.poll_at(now),
            self.client.shift.repeat_at(),
            self.server.shift.repeat_at(),
            middle.wake_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn remember(&mut self, now: Time, side: Side, ways: [&'static str; 2], frame: &[u8]) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        let way = ways[side as usize];
        self.last.push_back((now, way, frame.to_vec()));
    }

    fn progress(&mut self, start: Time, now: Time) -> String {
        let mut text = format!(
            "after {:?}: client {}; server {}; the last frames are",
            now.since(start),
            self.client.point.progress(),
            self.server.point.progress()
        );
        for (at, way, frame) in &self.last {
            let at = at.since(start).as_secs_f64();
            let _ = write!(text, "\n  {at:.6} {way}: {}", Describe(frame));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Closing;
    use weir_wire::EthAddr;

    fn transfer(seed: u64, weather: Weather) -> Transfer {
        let client = Plan {
            address: Ipv4Addr::new(10, 0, 0, 1),
            mac: EthAddr([2, 0, 0, 0, 0, 1]),
            port: 40_000,
            connect: Some((Ipv4Addr::new(10, 0, 0, 2), 80)),
            send: 20_000,
            sends_after: 0,
            seed: seed ^ 1,
            expect: 30_000,
            expect_seed: seed ^ 2,
            closing: Closing::WhenSent,
            buffer: 65_536,
            timestamps: seed.is_multiple_of(2),
            mtu: 1500,
        };
        let server = Plan {
            address: Ipv4Addr::new(10, 0, 0, 2),
            mac: EthAddr([2, 0, 0, 0, 0, 2]),
            port: 80,
            connect: None,
            send: 30_000,
            seed: seed ^ 2,
            expect: 20_000,
            expect_seed: seed ^ 1,
            closing: Closing::WhenTheOtherHas,
            ..client.clone()
        };
        Transfer {
            client,
            server,
            weather,
            seed,
            client_isn: Some(SeqNumber(0xffff_ff00)),
            server_isn: Some(SeqNumber(0xffff_ff00)),
        }
    }

    #[test]
    fn two_end_points_talk_over_a_cable_in_a_storm() {
        let mut toll = Toll::default();
        for seed in 0..200 {
            let mut cable = Cable::default();
            let outcome = transfer(seed, Weather::STORM)
                .run(Time::from_millis(0), &mut cable)
                .unwrap();
            toll.add(outcome.toll);
        }
        assert!(toll.lost > 50 && toll.duplicated > 50 && toll.reordered > 50);
    }

    #[test]
    fn a_wrong_byte_is_noticed() {
        /// Flips a bit of the server's data and mends the checksum.
        struct Liar(Cable);
        impl Middle for Liar {
            fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
                let mut frame = frame.to_vec();
                if from == Side::Server && frame.len() > 1000 {
                    *frame.last_mut().unwrap() ^= 1;
                    weir_wire::fill_checksums(&mut frame).unwrap();
                }
                self.0.receive(now, from, &frame)
            }
            fn advance(&mut self, now: Time) -> Result<()> {
                self.0.advance(now)
            }
            fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
                self.0.transmitted()
            }
            fn wake_at(&self) -> Option<Time> {
                None
            }
        }
        let mut liar = Liar(Cable::default());
        let error = transfer(1, Weather::FAIR)
            .run(Time::from_millis(0), &mut liar)
            .unwrap_err();
        assert!(
            format!("{error:#}").contains("not those that were sent"),
            "{error:#}"
        );
    }

    #[test]
    fn a_dead_middle_is_noticed() {
        struct Dead;
        impl Middle for Dead {
            fn receive(&mut self, _: Time, _: Side, _: &[u8]) -> Result<()> {
                Ok(())
            }
            fn advance(&mut self, _: Time) -> Result<()> {
                Ok(())
            }
            fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
                None
            }
            fn wake_at(&self) -> Option<Time> {
                None
            }
        }
        let error = transfer(1, Weather::FAIR)
            .run(Time::from_millis(0), &mut Dead)
            .unwrap_err();
        assert!(format!("{error:#}").contains("too slow"), "{error:#}");
    }
}
