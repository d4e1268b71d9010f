//! The trial of a slot that was just written: it stays where it proves healthy, and goes otherwise.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::boot::Boot;
use crate::events::Event;
use crate::observe::Seen;
use crate::places::Places;
use crate::slot::Slot;
use crate::update::journal::{Journal, Stage};
use crate::words::Words;

/// How long all has to be well.
const WELL: Duration = Duration::from_secs(10);
/// How long there is for that.
const PATIENCE: Duration = Duration::from_mins(2);
/// The word that gives another time.
const SECONDS: &str = "weir.trial-seconds";

/// What a trial has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Wait,
    /// The slot stays.
    Confirmed(Vec<Event>),
    /// The box is to start again, with the slot of before.
    GiveUp(Vec<Event>),
}

/// What is decided of a trial, by time and health alone.
#[derive(Clone, Debug)]
struct Course {
    patience: Duration,
    /// Ports whose link was up before.
    links: BTreeSet<String>,
    /// Since when all is well, without a break.
    well_since: Option<Duration>,
}

/// What a look at the health came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    /// It needs more time; why, where something is not well.
    Wait(Option<String>),
    Good,
    /// Its time is over, and why it was not well.
    Late(String),
}

impl Course {
    fn look(&mut self, now: Duration, seen: &Seen) -> Look {
        match fault(seen, &self.links) {
            None => {
                let since = *self.well_since.get_or_insert(now);
                // Who was well when the time was over may finish.
                if now.saturating_sub(since) >= WELL {
                    return Look::Good;
                }
                if now >= self.patience + WELL {
                    return Look::Late("it was never well for long enough".to_owned());
                }
                Look::Wait(None)
            }
            Some(why) if now >= self.patience => Look::Late(why),
            Some(why) => {
                self.well_since = None;
                Look::Wait(Some(why))
            }
        }
    }
}

/// Returns what is not well, if anything is.
fn fault(seen: &Seen, links: &BTreeSet<String>) -> Option<String> {
    let Some(status) = &seen.status else {
        return Some("the daemon does not answer".to_owned());
    };
    if seen.workers.is_empty() {
        return Some("no worker runs".to_owned());
    }
    if status.generation == 0 {
        return Some("no configuration is applied".to_owned());
    }
    if !status.balanced {
        return Some("the ledger does not balance".to_owned());
    }
    let down = links.iter().find(|name| {
        let port = seen.ports.iter().find(|port| &&port.name == name);
        !port.is_some_and(|port| port.link_up)
    });
    down.map(|name| format!("the link of port {name} is down, which was up before the update"))
}

/// A trial of the slot that runs.
#[derive(Debug)]
pub(crate) struct Trial {
    places: Places,
    slot: Slot,
    journal: Journal,
    course: Course,
    /// How long it went on before this agent began.
    before: Duration,
}

impl Trial {
    /// Returns the trial where the slot runs on trial and nothing is decided yet.
    pub(crate) fn begin(places: &Places, words: &Words) -> Option<Self> {
        if !words.trial {
            return None;
        }
        let slot = words.slot;
        let env = Boot::at(&places.boot).environment().ok()?;
        // An agent that is started again after the decision has nothing to decide.
        if env.get("trial") != Some(slot.name()) {
            return None;
        }
        let journal = Journal::read(places);
        let mut journal = if journal.slot == slot.name() {
            journal
        } else {
            // The data partition is another one; health alone decides.
            Journal {
                slot: slot.name().to_owned(),
                ..Journal::default()
            }
        };
        journal.stage = Stage::Started;
        "it stopped without a word: a panic, a hang, or the power".clone_into(&mut journal.why);
        // A full data partition must not make a good slot a bad one.
        let _ = journal.write(places);
        let seconds = words.get(SECONDS).and_then(|text| text.parse().ok());
        let course = Course {
            patience: seconds.map_or(PATIENCE, Duration::from_secs),
            links: journal.links.iter().cloned().collect(),
            well_since: None,
        };
        Some(Self {
            before: already(places),
            places: places.clone(),
            slot,
            journal,
            course,
        })
    }

    /// Returns the event that says that there is one.
    pub(crate) fn event(&self) -> Event {
        let seconds = self.course.patience.as_secs();
        let text = format!(
            "slot {} with {} runs on trial; it stays if all is well for {} s within {seconds} s",
            self.slot,
            or_unknown(&self.journal.version),
            WELL.as_secs()
        );
        self.with_facts(Event::notice("update-trial", text))
    }

    /// Looks at the health; `now` is the time since the trial began.
    pub(crate) fn tick(&mut self, now: Duration, seen: &Seen) -> Verdict {
        match self.course.look(now + self.before, seen) {
            Look::Wait(why) => {
                if let Some(why) = why
                    && why != self.journal.why
                {
                    self.journal.why = why;
                    let _ = self.journal.write(&self.places);
                }
                Verdict::Wait
            }
            Look::Good => self.confirm(now),
            Look::Late(why) => self.give_up(why),
        }
    }

    fn confirm(&mut self, now: Duration) -> Verdict {
        let slot = self.slot;
        let boot = Boot::at(&self.places.boot);
        let written = boot.change_environment(|env| {
            env.set("slot", slot.name())?;
            env.set("trial", "")?;
            env.set("tried", "0")
        });
        if let Err(error) = written {
            let why = format!("it was well, but cannot be made to stay: {error}");
            if now + self.before < self.course.patience + WELL {
                return Verdict::Wait;
            }
            return self.give_up(why);
        }
        self.journal.stage = Stage::Confirmed;
        self.journal.why = String::new();
        let _ = self.journal.write(&self.places);
        self.over();
        let version = or_unknown(&self.journal.version).to_owned();
        let text = format!("slot {slot} with {version} is good and stays");
        let event = Event::notice("update-confirmed", text);
        Verdict::Confirmed(vec![self.with_facts(event)])
    }

    fn give_up(&mut self, why: String) -> Verdict {
        let slot = self.slot;
        let text = format!("slot {slot} is given up: {why}; the box starts the one of before");
        self.journal.stage = Stage::Failed;
        self.journal.why = why;
        let _ = self.journal.write(&self.places);
        self.over();
        let event = Event::error("update-failed", text);
        Verdict::GiveUp(vec![self.with_facts(event)])
    }

    /// Tells those who would start the box again, if nothing were decided, that something is.
    fn over(&self) {
        let _ = fs::write(self.places.run.join("trial-over"), "");
    }

    fn with_facts(&self, event: Event) -> Event {
        let event = event.field("slot", self.slot);
        event.field("version", or_unknown(&self.journal.version))
    }
}

/// Returns how long an earlier agent of this start has tried the slot: one that fails again and again
/// must not have all the time of the world.
fn already(places: &Places) -> Duration {
    let uptime = fs::read_to_string(places.proc.join("uptime")).unwrap_or_default();
    let number = |text: &str| text.split(' ').next()?.trim().parse::<f64>().ok();
    let Some(now) = number(&uptime).filter(|now| now.is_finite() && *now >= 0.0) else {
        return Duration::ZERO;
    };
    let path: PathBuf = places.run.join("trial-began");
    let began = fs::read_to_string(&path)
        .ok()
        .and_then(|text| number(&text));
    let Some(began) = began else {
        let _ = fs::write(path, format!("{now}\n"));
        return Duration::ZERO;
    };
    Duration::try_from_secs_f64(now - began).unwrap_or_default()
}

/// Says what became of a slot that was tried and is not the one that runs, and notes that it is over.
pub(crate) fn after_failure(places: &Places, words: &Words) -> Vec<Event> {
    let Some(failed) = words.failed else {
        return Vec::new();
    };
    let boot = Boot::at(&places.boot);
    let tried = boot.environment().ok();
    let tried = tried.is_some_and(|env| env.get("trial") == Some(failed.name()));
    let mut journal = Journal::read(places);
    let is_of_journal = journal.slot == failed.name() && journal.stage != Stage::Confirmed;
    let (version, why) = if tried && is_of_journal {
        (or_unknown(&journal.version).to_owned(), reason(&journal))
    } else if tried {
        let why = "nothing is known of how far it came";
        ("an unknown version".to_owned(), why.to_owned())
    } else {
        // Nothing was tried: the boot loader could not load the slot that it should.
        let text = format!(
            "slot {failed} cannot be loaded; the box runs slot {}: write slot {failed} anew with an \
             update",
            words.slot
        );
        let event = Event::error("update-failed", text);
        return vec![event.field("slot", failed)];
    };
    let text = format!(
        "the trial of slot {failed} with {version} failed: {why}; the box runs slot {} as before",
        words.slot
    );
    let mut events = vec![
        Event::error("update-failed", text)
            .field("slot", failed)
            .field("version", &version)
            .field("reason", &why),
    ];
    if is_of_journal {
        journal.stage = Stage::Failed;
        journal.why = why;
        let _ = journal.write(places);
    }
    let cleared = boot.change_environment(|env| {
        env.set("trial", "")?;
        env.set("tried", "0")
    });
    if let Err(error) = cleared {
        let text = format!("the boot loader still takes slot {failed} for one on trial: {error}");
        events.push(Event::error("update-failed", text));
    }
    events
}

fn reason(journal: &Journal) -> String {
    match journal.stage {
        Stage::Failed => journal.why.clone(),
        Stage::Started => format!("its agent ran, then {}", last_word(&journal.why)),
        Stage::Written | Stage::None | Stage::Confirmed => {
            "it never came as far as its agent: the kernel or the start of the system failed or \
             hung, or `weir` does not run"
                .to_owned()
        }
    }
}

/// The journal's last word is what was not well, or what was to be read where nothing else comes.
fn last_word(why: &str) -> String {
    if why.starts_with("it stopped") {
        return why.to_owned();
    }
    format!("it stopped without a word; before that {why}")
}

fn or_unknown(version: &str) -> &str {
    if version.is_empty() { "?" } else { version }
}

#[cfg(test)]
mod tests {
    use weir_control::{PortRow, StatusRow, WorkerRow};

    use super::*;
    use crate::grubenv::GrubEnv;
    use crate::testing::Folder;

    fn healthy() -> Seen {
        Seen {
            status: Some(StatusRow {
                generation: 7,
                balanced: true,
                ..StatusRow::default()
            }),
            ports: vec![PortRow {
                name: "wan".to_owned(),
                link_up: true,
                ..PortRow::default()
            }],
            workers: vec![WorkerRow::default()],
            ..Seen::default()
        }
    }

    fn course() -> Course {
        Course {
            patience: PATIENCE,
            links: ["wan".to_owned()].into(),
            well_since: None,
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn ten_seconds_of_health_are_enough_and_a_break_begins_them_anew() {
        let mut course = course();
        assert_eq!(course.look(seconds(3), &healthy()), Look::Wait(None));
        assert_eq!(course.look(seconds(12), &healthy()), Look::Wait(None));
        let gone = course.look(seconds(12), &Seen::default());
        assert_eq!(
            gone,
            Look::Wait(Some("the daemon does not answer".to_owned()))
        );
        assert_eq!(course.look(seconds(13), &healthy()), Look::Wait(None));
        assert_eq!(course.look(seconds(22), &healthy()), Look::Wait(None));
        assert_eq!(course.look(seconds(23), &healthy()), Look::Good);
    }

    #[test]
    fn what_is_well_at_the_last_moment_may_finish_and_what_is_not_is_late() {
        let mut late = course();
        assert_eq!(late.look(seconds(119), &healthy()), Look::Wait(None));
        assert_eq!(late.look(seconds(129), &healthy()), Look::Good);
        let mut never = course();
        assert!(matches!(
            never.look(seconds(119), &Seen::default()),
            Look::Wait(_)
        ));
        let why = "the daemon does not answer".to_owned();
        assert_eq!(never.look(seconds(120), &Seen::default()), Look::Late(why));
        // Health that comes and goes does not go on for ever.
        let mut flaps = course();
        for n in 0..=130 {
            let seen = if n % 9 == 0 {
                Seen::default()
            } else {
                healthy()
            };
            if matches!(flaps.look(seconds(n), &seen), Look::Late(_)) {
                return;
            }
        }
        panic!("it still waits");
    }

    #[test]
    fn each_thing_that_is_not_well_is_named() {
        let links = course().links;
        assert_eq!(fault(&healthy(), &links), None);
        let mut seen = healthy();
        seen.workers.clear();
        assert_eq!(fault(&seen, &links).unwrap(), "no worker runs");
        let mut seen = healthy();
        seen.status.as_mut().unwrap().generation = 0;
        assert_eq!(fault(&seen, &links).unwrap(), "no configuration is applied");
        let mut seen = healthy();
        seen.status.as_mut().unwrap().balanced = false;
        assert_eq!(fault(&seen, &links).unwrap(), "the ledger does not balance");
        for ports in [
            Vec::new(),
            vec![PortRow {
                name: "wan".to_owned(),
                ..PortRow::default()
            }],
        ] {
            let seen = Seen { ports, ..healthy() };
            let why = fault(&seen, &links).unwrap();
            assert!(why.starts_with("the link of port wan is down"), "{why}");
            assert_eq!(fault(&seen, &BTreeSet::new()), None);
        }
    }

    /// A box of slot b on trial, with a journal.
    fn tried(home: &Folder, stage: Stage) -> Places {
        let places = Places::under(home.path());
        for folder in [
            places.boot.join("grub"),
            places.run.clone(),
            places.proc.clone(),
        ] {
            fs::create_dir_all(folder).unwrap();
        }
        let mut env = GrubEnv::default();
        for (name, value) in [
            ("slot", "a"),
            ("trial", "b"),
            ("tried", "1"),
            ("args", "x=1"),
        ] {
            env.set(name, value).unwrap();
        }
        fs::write(places.boot.join("grub/grubenv"), env.to_block().unwrap()).unwrap();
        let journal = Journal {
            slot: "b".to_owned(),
            version: "0.2.0".to_owned(),
            links: vec!["wan".to_owned()],
            stage,
            ..Journal::default()
        };
        journal.write(&places).unwrap();
        places
    }

    fn variables(places: &Places) -> [String; 4] {
        let env = Boot::at(&places.boot).environment().unwrap();
        ["slot", "trial", "tried", "args"].map(|name| env.get(name).unwrap().to_owned())
    }

    fn words(text: &str) -> Words {
        Words::parse(text)
    }

    #[test]
    fn a_good_slot_is_confirmed_once() {
        let home = Folder::new("trial-good");
        let places = tried(&home, Stage::Written);
        let line = words("weir.slot=b weir.trial=1 weir.trial-seconds=25");
        assert!(Trial::begin(&places, &words("weir.slot=a weir.trial=0")).is_none());
        let mut trial = Trial::begin(&places, &line).unwrap();
        assert!(
            trial
                .event()
                .text
                .contains("slot b with 0.2.0 runs on trial")
        );
        assert_eq!(trial.tick(seconds(1), &Seen::default()), Verdict::Wait);
        assert_eq!(Journal::read(&places).why, "the daemon does not answer");
        assert_eq!(trial.tick(seconds(2), &healthy()), Verdict::Wait);
        let Verdict::Confirmed(events) = trial.tick(seconds(12), &healthy()) else {
            panic!("not confirmed");
        };
        assert_eq!(events[0].code, "update-confirmed");
        assert_eq!(variables(&places), ["b", "", "0", "x=1"]);
        assert_eq!(Journal::read(&places).stage, Stage::Confirmed);
        assert!(places.run.join("trial-over").exists());
        assert!(Trial::begin(&places, &line).is_none(), "decided already");
    }

    #[test]
    fn a_bad_slot_gives_up_and_the_old_one_says_why() {
        let home = Folder::new("trial-bad");
        let places = tried(&home, Stage::Written);
        let line = words("weir.slot=b weir.trial=1 weir.trial-seconds=25");
        let mut trial = Trial::begin(&places, &line).unwrap();
        assert_eq!(trial.tick(seconds(24), &Seen::default()), Verdict::Wait);
        let Verdict::GiveUp(events) = trial.tick(seconds(25), &Seen::default()) else {
            panic!("it does not give up");
        };
        assert_eq!(events[0].code, "update-failed");
        assert_eq!(variables(&places), ["a", "b", "1", "x=1"]);

        let old = words("weir.slot=a weir.trial=0 weir.failed=b");
        let events = after_failure(&places, &old);
        let text = "the trial of slot b with 0.2.0 failed: the daemon does not answer; the box runs \
                    slot a as before";
        assert_eq!(events[0].text, text);
        assert_eq!(variables(&places), ["a", "", "0", "x=1"]);
        assert!(
            Journal::read(&places)
                .line()
                .ends_with("failed, the daemon does not answer")
        );
    }

    #[test]
    fn a_slot_that_panics_or_hangs_is_told_by_how_far_it_came() {
        let old = words("weir.slot=a weir.failed=b");
        for (stage, started, why) in [
            (Stage::Written, false, "it never came as far as its agent"),
            (
                Stage::Written,
                true,
                "its agent ran, then it stopped without a word: a panic",
            ),
        ] {
            let home = Folder::new("trial-dead");
            let places = tried(&home, stage);
            if started {
                Trial::begin(&places, &words("weir.slot=b weir.trial=1")).unwrap();
            }
            let events = after_failure(&places, &old);
            assert_eq!(events.len(), 1);
            assert!(events[0].text.contains(why), "{}", events[0].text);
            assert_eq!(variables(&places), ["a", "", "0", "x=1"]);
        }
        let home = Folder::new("trial-unloadable");
        let places = tried(&home, Stage::Confirmed);
        Boot::at(&places.boot)
            .change_environment(|env| env.set("trial", ""))
            .unwrap();
        let events = after_failure(&places, &old);
        assert!(
            events[0].text.starts_with("slot b cannot be loaded"),
            "{}",
            events[0].text
        );
        assert!(after_failure(&places, &words("weir.slot=a")).is_empty());
    }

    #[test]
    fn an_agent_that_is_started_again_gets_no_new_time() {
        let home = Folder::new("trial-again");
        let places = tried(&home, Stage::Written);
        let line = words("weir.slot=b weir.trial=1 weir.trial-seconds=25");
        fs::write(places.proc.join("uptime"), "7.50 3.00\n").unwrap();
        let mut trial = Trial::begin(&places, &line).unwrap();
        assert_eq!(trial.tick(seconds(20), &Seen::default()), Verdict::Wait);
        fs::write(places.proc.join("uptime"), "31.00 3.00\n").unwrap();
        let mut again = Trial::begin(&places, &line).unwrap();
        let verdict = again.tick(seconds(2), &Seen::default());
        assert!(matches!(verdict, Verdict::GiveUp(_)), "{verdict:?}");
    }
}
