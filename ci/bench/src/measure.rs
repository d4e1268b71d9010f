//! Rounds: each runner in turn, again and again, so that whatever else the machine does meets all.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::arena::BURST;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often each runner has its turn.
    pub(crate) rounds: usize,
    /// Bursts of a turn that are measured.
    pub(crate) bursts: usize,
    /// Bursts of a turn before that, which bring its memory back into the caches.
    pub(crate) warm_up: usize,
}

/// The figure of each round, ascending: mostly nanoseconds per packet.
#[derive(Clone, Debug)]
pub(crate) struct Figure(Vec<f64>);

impl Figure {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Returns the figure of so many packets.
    pub(crate) fn times(&self, packets: f64) -> Self {
        Self(self.0.iter().map(|value| value * packets).collect())
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Returns the quarter of the rounds below and above which the middle half lies.
    pub(crate) fn quartiles(&self) -> (f64, f64) {
        (self.at(0.25), self.at(0.75))
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "the number of rounds is small"
    )]
    fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// Measures runners in turn; `burst` lets one of them walk a burst.
pub(crate) fn race<R: Copy>(
    effort: Effort,
    runners: &[R],
    mut burst: impl FnMut(R) -> Result<Duration>,
) -> Result<Vec<Figure>> {
    let clock = clock_cost();
    let mut figures = vec![Vec::new(); runners.len()];
    for _ in 0..effort.rounds {
        for (runner, figure) in runners.iter().zip(&mut figures) {
            for _ in 0..effort.warm_up {
                burst(*runner)?;
            }
            let mut walked = Duration::ZERO;
            for _ in 0..effort.bursts {
                walked += burst(*runner)?.saturating_sub(clock);
            }
            figure.push(per_packet(walked, effort.bursts * BURST));
        }
    }
    Ok(figures.into_iter().map(Figure::new).collect())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(crate) fn per_packet(time: Duration, packets: usize) -> f64 {
    time.as_secs_f64() * 1e9 / packets as f64
}

/// Returns what reading the clock twice takes: it is no part of a walk.
pub(crate) fn clock_cost() -> Duration {
    let mut costs: Vec<Duration> = (0..1001)
        .map(|_| {
            let start = Instant::now();
            black_box(&start);
            start.elapsed()
        })
        .collect();
    costs.sort();
    costs.get(500).copied().unwrap_or_default()
}
