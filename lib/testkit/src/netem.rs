//! A network emulator: loses, duplicates, delays and reorders, always the same way for a seed.

use std::time::Duration;

use weir_model::Time;

use crate::Random;

/// How bad a network is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// The share of frames that are lost.
    pub loss: f64,
    /// The share of frames that arrive twice.
    pub duplication: f64,
    /// The share of frames that others overtake.
    pub reordering: f64,
    /// How long every frame takes at least.
    pub delay: Duration,
    /// How much longer a frame may take.
    pub jitter: Duration,
    /// How much longer a frame takes that others overtake, at most.
    pub overtaken: Duration,
}

impl Weather {
    /// A network that loses nothing and keeps the order.
    pub const FAIR: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        reordering: 0.0,
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
        overtaken: Duration::ZERO,
    };

    /// Five per cent of frames lost, five duplicated, ten overtaken by later ones.
    pub const STORM: Self = Self {
        loss: 0.05,
        duplication: 0.05,
        reordering: 0.1,
        delay: Duration::from_millis(1),
        jitter: Duration::from_micros(200),
        overtaken: Duration::from_millis(6),
    };
}

/// What a network did to the frames that it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// Frames given to the network.
    pub sent: u64,
    /// Frames that were lost.
    pub lost: u64,
    /// Frames that arrive twice.
    pub duplicated: u64,
    /// Frames that were held back so that others overtake them.
    pub reordered: u64,
}

impl Toll {
    /// Adds another network's toll.
    pub const fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }
}

/// One direction of a network.
#[derive(Clone, Debug)]
pub struct Netem {
    weather: Weather,
    random: Random,
    toll: Toll,
}

impl Netem {
    /// Makes a network; the same seed treats the same frames the same way.
    #[must_use]
    pub const fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            random: Random::new(seed),
            toll: Toll {
                sent: 0,
                lost: 0,
                duplicated: 0,
                reordered: 0,
            },
        }
    }

    /// Takes a frame at `now` and returns when it arrives: not at all, once or twice.
    pub fn pass(&mut self, now: Time) -> impl Iterator<Item = Time> + use<> {
        self.toll.sent += 1;
        let lost = self.random.chance(self.weather.loss);
        let duplicated = !lost && self.random.chance(self.weather.duplication);
        self.toll.lost += u64::from(lost);
        self.toll.duplicated += u64::from(duplicated);
        let first = (!lost).then(|| self.arrival(now));
        let second = duplicated.then(|| self.arrival(now));
        first.into_iter().chain(second)
    }

    /// Returns what the network did so far.
    #[must_use]
    pub const fn toll(&self) -> Toll {
        self.toll
    }

    fn arrival(&mut self, now: Time) -> Time {
        let Weather {
            reordering,
            delay,
            jitter,
            overtaken,
            ..
        } = self.weather;
        let mut took = delay + self.up_to(jitter);
        if self.random.chance(reordering) {
            self.toll.reordered += 1;
            took += self.up_to(overtaken);
        }
        now.after(took)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.random.below(most.as_micros() as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fair_network_delivers_each_frame_once_and_in_order() {
        let mut netem = Netem::new(Weather::FAIR, 1);
        for at in 0..1000 {
            let arrivals: Vec<Time> = netem.pass(Time::from_millis(at)).collect();
            assert_eq!(arrivals, [Time::from_millis(at + 1)]);
        }
    }

    #[test]
    fn a_storm_loses_duplicates_and_reorders_as_often_as_it_says() {
        let mut netem = Netem::new(Weather::STORM, 42);
        let mut arrivals = Vec::new();
        for at in 0..20_000 {
            arrivals.extend(netem.pass(Time::from_millis(at)));
        }
        let Toll {
            sent,
            lost,
            duplicated,
            reordered,
        } = netem.toll();
        assert_eq!(sent, 20_000);
        assert_eq!(arrivals.len() as u64, sent - lost + duplicated);
        assert!((900..1_100).contains(&lost), "{lost} lost");
        assert!((850..1_050).contains(&duplicated), "{duplicated} twice");
        assert!((1_800..2_200).contains(&reordered), "{reordered} late");
        assert!(arrivals.windows(2).any(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn the_same_seed_gives_the_same_fate() {
        let fates = |seed| {
            let mut netem = Netem::new(Weather::STORM, seed);
            (0..100)
                .flat_map(|at| netem.pass(Time::from_millis(at)))
                .collect::<Vec<_>>()
        };
        assert_eq!(fates(5), fates(5));
        assert_ne!(fates(5), fates(6));
    }
}
