//! Keeps the clock: asks servers for the time (SNTP) and has the kernel's clock follow them.
//!
//! What is wrong by little is mended by running faster or slower, so that nobody sees time jump; what
//! is wrong by much is set at once. When servers are silent the clock goes on at the pace that was
//! found right.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clock_steering::unix::UnixClock;
use clock_steering::{Clock as _, LeapIndicator, TimeOffset};
use rsntp::{Config, SntpClient};

use crate::events::Event;
use crate::handle::Handle;

/// A clock that is wrong by more is set.
const STEP: f64 = 0.128;
/// No clock is so bad that it has to run faster or slower by more than this, in millionths.
const MOST_PPM: f64 = 400.0;
/// The share of an error that is taken for a wrong pace.
const SHARE_OF_PACE: f64 = 0.25;
/// The pauses between questions: shortly at first, then ever longer while all is well.
const SHORTEST: Duration = Duration::from_secs(16);
const LONGEST: Duration = Duration::from_secs(1024);
/// The pause while no server has answered yet.
const IMPATIENT: Duration = Duration::from_secs(4);
/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Silence for so long is worth an event.
const SILENCE: Duration = Duration::from_mins(15);

/// What is done to the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// It is set by so many seconds, and runs at this pace (millionths faster) from then on.
    Step(f64, f64),
    /// It runs at this pace until the next answer.
    Pace(f64),
}

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Discipline {
    /// The pace that was found right, in millionths.
    pace: f64,
    pause: Duration,
    is_followed: bool,
}

impl Discipline {
    /// Begins with a clock of which nothing is known.
    pub(crate) const fn new() -> Self {
        Self {
            pace: 0.0,
            pause: IMPATIENT,
            is_followed: false,
        }
    }

    /// Returns how long to wait with the next question.
    pub(crate) const fn pause(&self) -> Duration {
        self.pause
    }

    /// Takes an answer: by how many seconds the clock is behind.
    pub(crate) fn answered(&mut self, behind: f64) -> Act {
        if behind.abs() > STEP {
            // The pace of before may be what led here.
            self.pace = if self.is_followed {
                self.pace / 2.0
            } else {
                0.0
            };
            self.pause = SHORTEST;
            self.is_followed = true;
            return Act::Step(behind, self.pace);
        }
        let rate = |seconds: f64, over: Duration| seconds / over.as_secs_f64() * 1e6;
        if self.is_followed {
            let wrong = rate(behind, self.pause);
            self.pace = (self.pace + wrong * SHARE_OF_PACE).clamp(-MOST_PPM, MOST_PPM);
        }
        self.is_followed = true;
        // Answers of a network are as exact as that.
        let is_well = behind.abs() < 0.005;
        self.pause = if is_well {
            self.pause * 2
        } else {
            self.pause / 2
        };
        self.pause = self.pause.clamp(SHORTEST, LONGEST);
        let mend = rate(behind, self.pause);
        Act::Pace((self.pace + mend).clamp(-MOST_PPM, MOST_PPM))
    }

    /// Takes that nobody answered: the clock goes on at the pace that was found right.
    pub(crate) fn unanswered(&mut self) -> Option<Act> {
        let pause = if self.is_followed {
            SHORTEST
        } else {
            IMPATIENT
        };
        self.pause = (self.pause * 2).clamp(pause, pause * 4);
        self.is_followed.then_some(Act::Pace(self.pace))
    }
}

/// The servers that are asked; clones are the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Servers(Arc<Mutex<(Vec<String>, u64)>>);

impl Servers {
    /// Sets the list; a new one is asked at once.
    pub(crate) fn set(&self, servers: Vec<String>) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.0 != servers {
            *guard = (servers, guard.1 + 1);
        }
    }

    fn get(&self) -> (Vec<String>, u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Starts the thread that keeps the clock.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(handle: Handle, servers: Servers) -> std::io::Result<()> {
    let builder = thread::Builder::new().name("clock".to_owned());
    builder.spawn(move || keep(&handle, &servers)).map(drop)
}

fn keep(handle: &Handle, servers: &Servers) {
    let mut discipline = Discipline::new();
    let mut heard = Instant::now();
    let mut said: Option<bool> = None;
    loop {
        let (list, of) = servers.get();
        if list.is_empty() {
            wait(servers, of, LONGEST);
            heard = Instant::now();
            continue;
        }
        let answer = list.iter().find_map(|server| Some((ask(server)?, server)));
        let act = if let Some((behind, server)) = answer {
            heard = Instant::now();
            if said != Some(true) {
                said = Some(true);
                let text = format!("the clock follows {server}; it was wrong by {behind:.3} s");
                let event = Event::notice("clock", text);
                let event = event.field("server", server);
                handle.say(event.field("behind_s", format!("{behind:.3}")));
            }
            Some(discipline.answered(behind))
        } else {
            if said != Some(false) && heard.elapsed() > SILENCE {
                said = Some(false);
                let text = format!("no time server answers: {}", list.join(", "));
                handle.say(Event::warning("clock", text));
            }
            discipline.unanswered()
        };
        if let Some(act) = act
            && let Err(error) = do_it(act, answer.is_some())
        {
            crate::log::say(format_args!("the clock cannot be set: {error}"));
        }
        wait(servers, of, discipline.pause());
    }
}

/// Waits, but not when there are other servers to be asked.
fn wait(servers: &Servers, of: u64, pause: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < pause && servers.get().1 == of {
        thread::sleep(Duration::from_millis(500));
    }
}

/// Asks one server by how many seconds the clock is behind.
fn ask(server: &str) -> Option<f64> {
    let client = SntpClient::with_config(Config::default().timeout(TIMEOUT));
    let answer = client.synchronize(server).ok()?;
    let behind = answer.clock_offset().as_secs_f64();
    behind.is_finite().then_some(behind)
}

fn do_it(act: Act, is_fresh: bool) -> Result<(), clock_steering::unix::Error> {
    let clock = UnixClock::CLOCK_REALTIME;
    clock.disable_kernel_ntp_algorithm()?;
    match act {
        Act::Step(by, pace) => {
            let whole = by.floor();
            clock.step_clock(TimeOffset {
                seconds: whole as _,
                nanos: Duration::try_from_secs_f64(by - whole)
                    .unwrap_or_default()
                    .subsec_nanos(),
            })?;
            clock.set_frequency(pace)?;
        }
        Act::Pace(pace) => {
            clock.set_frequency(pace)?;
        }
    }
    if is_fresh {
        // Only now it is known to be right; the kernel then sets the machine's own clock, too.
        clock.error_estimate_update(Duration::from_millis(5), Duration::from_millis(50))?;
        clock.set_leap_seconds(LeapIndicator::NoWarning)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that runs wrong by so many millionths, kept for some hours.
    fn kept(mut behind: f64, wrong_ppm: f64, hours: u32) -> (f64, u32) {
        let mut discipline = Discipline::new();
        let (mut steps, mut at) = (0, 0.0);
        while at < f64::from(hours) * 3600.0 {
            let pace = match discipline.answered(behind) {
                Act::Step(by, pace) => {
                    steps += 1;
                    behind -= by;
                    pace
                }
                Act::Pace(pace) => pace,
            };
            let pause = discipline.pause().as_secs_f64();
            at += pause;
            behind += (wrong_ppm - pace) * 1e-6 * pause;
        }
        (behind, steps)
    }

    #[test]
    fn a_clock_that_is_wrong_by_years_is_set_once_and_then_kept() {
        for wrong in [0.0, 20.0, -100.0] {
            let (behind, steps) = kept(1e8, wrong, 3);
            assert_eq!(steps, 1, "{wrong}");
            assert!(behind.abs() < 0.002, "{wrong}: {behind}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_by_little_is_never_set() {
        let (behind, steps) = kept(0.05, 30.0, 3);
        assert_eq!(steps, 0);
        assert!(behind.abs() < 0.002, "{behind}");
    }

    #[test]
    fn silence_keeps_the_pace_that_was_found() {
        let mut discipline = Discipline::new();
        assert_eq!(discipline.unanswered(), None);
        assert!(discipline.pause() <= Duration::from_secs(16));
        discipline.answered(0.001);
        for _ in 0..20 {
            discipline.answered(0.001);
        }
        let Some(Act::Pace(pace)) = discipline.unanswered() else {
            panic!("it has a pace");
        };
        assert!(pace > 0.0 && pace < MOST_PPM);
        assert!(discipline.pause() <= Duration::from_secs(64));
    }

    #[test]
    fn an_answer_from_the_end_of_time_does_not_break_the_clock() {
        let mut discipline = Discipline::new();
        let Act::Step(_, pace) = discipline.answered(4e9) else {
            panic!("it is set");
        };
        assert!(pace.abs() <= MOST_PPM);
        for behind in [-0.127, 0.127, -0.127] {
            let Act::Pace(pace) = discipline.answered(behind) else {
                panic!("it is not set");
            };
            assert!(pace.abs() <= MOST_PPM);
        }
    }

    #[test]
    fn other_servers_are_noticed() {
        let servers = Servers::default();
        let (_, before) = servers.get();
        servers.set(vec!["192.0.2.1".to_owned()]);
        let (list, after) = servers.get();
        assert_eq!((list.len(), after), (1, before + 1));
        servers.set(vec!["192.0.2.1".to_owned()]);
        assert_eq!(servers.get().1, after);
    }
}
