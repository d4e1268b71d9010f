//! What operators set at run time over the configuration: maintenance, when a service answers SYNs
//! with cookies, and whose packets are dropped. They hold by name until somebody takes them back, their time is over, the
//! configuration changes what they are set over, or the daemon ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_control::{Code, ModeWish, OverrideRow, Rejection, Reply};
use weir_director::Networks;
use weir_model::{EventClass, Protocol, ServiceId, Severity, Snapshot, SynproxyMode};

use super::apply::{Applying, Asker, Found, Wanted, Wish};
use super::operator::Operator;
use super::server::ClientId;
use super::{Control, answer};
use crate::configuration::Configuration;
use crate::event::EventRecord;
use crate::secret;

mod deny;

pub(crate) use deny::Wish as DenyWish;

/// The longest time that an override may be set for.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// What is set over the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    maintenance: Option<Set>,
    /// By the service's name.
    synproxy: BTreeMap<String, Synproxy>,
    denied: deny::Denials,
    /// Whether a worker has not been told of what is denied now.
    untold: bool,
}

/// When something ends, on both clocks.
type Until = (Instant, SystemTime);

/// Who set something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    by: String,
    since: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Synproxy {
    mode: SynproxyMode,
    /// What the configuration says.
    configured: SynproxyMode,
    set: Set,
    until: Option<Until>,
}

/// What a configuration itself says of the services that something is set for.
pub(crate) type Configured = BTreeMap<String, SynproxyMode>;

impl Overrides {
    /// Says whether the appliance opens no new sessions.
    pub(crate) fn is_maintenance(&self) -> bool {
        self.maintenance.is_some()
    }

    /// Returns a row for each override.
    pub(crate) fn rows(&self) -> Vec<OverrideRow> {
        let maintenance = self.maintenance.as_ref().map(maintenance_row);
        let synproxy = self.synproxy.iter().map(|(name, one)| one.row(name));
        let denied = self.denied.rows();
        maintenance
            .into_iter()
            .chain(synproxy)
            .chain(denied)
            .collect()
    }

    /// Returns the networks that are denied, as a director takes them.
    pub(crate) fn denied(&self) -> Arc<Networks> {
        self.denied.networks()
    }

    /// Returns what is set for a service, where something is.
    pub(crate) fn synproxy(&self, service: &str) -> Option<OverrideRow> {
        let one = self.synproxy.get(service)?;
        Some(one.row(service))
    }

    /// Puts what is set into a snapshot that a configuration was just made into, and returns what
    /// the configuration itself says there. What it changes is left as it says.
    pub(crate) fn put_into(&self, snapshot: &mut Snapshot) -> Configured {
        let mut configured = Configured::new();
        for (name, one) in &self.synproxy {
            let Some(id) = service_of(snapshot, name) else {
                continue;
            };
            let said = mode_of(snapshot, id);
            configured.extend(said.map(|mode| (name.clone(), mode)));
            if said == Some(one.configured) {
                set_mode(snapshot, id, one.mode);
            }
        }
        configured
    }

    /// Forgets what a configuration, which runs now, has changed or no longer has; returns a
    /// sentence for each.
    pub(crate) fn settle(&mut self, configured: &Configured) -> Vec<String> {
        let mut sentences = Vec::new();
        self.synproxy.retain(|name, one| {
            let sentence = match configured.get(name) {
                Some(mode) if *mode == one.configured => return true,
                Some(mode) => format!(
                    "synproxy of {name} is {} as the new configuration says; it was set to {} by {}",
                    mode.name(),
                    one.mode.name(),
                    one.set.by
                ),
                None => format!(
                    "synproxy of {name} was set to {} by {}; there is no such service of TCP any \
                     more",
                    one.mode.name(),
                    one.set.by
                ),
            };
            sentences.push(sentence);
            false
        });
        sentences
    }

    /// Takes back what is set of a snapshot that runs.
    fn take_out_of(&self, snapshot: &mut Snapshot) {
        for (name, one) in &self.synproxy {
            if let Some(id) = service_of(snapshot, name) {
                set_mode(snapshot, id, one.configured);
            }
        }
    }

    /// Returns the names of those whose time is over.
    fn over(&self, now: Instant) -> Vec<String> {
        let all = self.synproxy.iter();
        all.filter(|(_, one)| one.until.is_some_and(|(at, _)| now >= at))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

impl Synproxy {
    fn row(&self, name: &str) -> OverrideRow {
        OverrideRow {
            setting: "synproxy".to_owned(),
            object: name.to_owned(),
            value: self.mode.name().to_owned(),
            configured: self.configured.name().to_owned(),
            by: self.set.by.clone(),
            since: moment(self.set.since),
            until: self.until.map(|(_, at)| moment(at)),
        }
    }
}

fn maintenance_row(set: &Set) -> OverrideRow {
    OverrideRow {
        setting: "maintenance".to_owned(),
        value: "on".to_owned(),
        configured: "off".to_owned(),
        by: set.by.clone(),
        since: moment(set.since),
        ..OverrideRow::default()
    }
}

fn moment(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Finds a service that has SYNs; one that has become a service of UDP is another.
fn service_of(snapshot: &Snapshot, name: &str) -> Option<ServiceId> {
    let mut all = snapshot.services.iter();
    let found = all.find(|service| service.name == name && service.protocol == Protocol::Tcp);
    found.map(|service| service.id)
}

fn mode_of(snapshot: &Snapshot, id: ServiceId) -> Option<SynproxyMode> {
    let service = snapshot.services.get(id.index())?;
    Some(service.synproxy.mode)
}

fn set_mode(snapshot: &mut Snapshot, id: ServiceId, mode: SynproxyMode) {
    if let Some(mut service) = snapshot.services.get(id.index()).cloned() {
        service.synproxy.mode = mode;
        snapshot.services.insert(id.index(), service);
    }
}

impl Control {
    /// Opens no new sessions from now on, or opens them again.
    pub(super) fn set_maintenance(&mut self, client: ClientId, operator: &Operator, on: bool) {
        if self.scene.stopping.is_some() {
            let text = "the daemon is stopping".to_owned();
            let refused = Reply::refused(&Rejection {
                code: Code::Stopping,
                text,
            });
            return self.finish(client, &[refused]);
        }
        let before = self.scene.overrides.is_maintenance();
        if before != on {
            self.scene.overrides.maintenance = on.then(|| Set {
                by: operator.to_string(),
                since: SystemTime::now(),
            });
            self.scene.fleet.admit(!on);
            let sessions = self.live_sessions();
            let (severity, sentence) = if on {
                let sentence =
                    format!("maintenance by {operator}: no new sessions; {sessions} go on");
                (Severity::Warning, sentence)
            } else {
                let sentence = format!("maintenance ended by {operator}: new sessions are opened");
                (Severity::Notice, sentence)
            };
            let record = EventRecord::new(EventClass::Operator, severity, "maintenance", sentence);
            let record = record
                .field("by", &operator.name)
                .field("from", &operator.from)
                .field("what", if on { "on" } else { "off" })
                .field("generation", self.scene.running.snapshot.generation.0);
            self.scene.events.say(Instant::now(), record);
        }
        let row = match &self.scene.overrides.maintenance {
            Some(set) => maintenance_row(set),
            None => OverrideRow {
                setting: "maintenance".to_owned(),
                value: "off".to_owned(),
                configured: "off".to_owned(),
                ..OverrideRow::default()
            },
        };
        self.finish(client, &[Reply::overridden(&row), Reply::done(1)]);
    }

    /// Sets when a service answers SYNs with cookies.
    pub(super) fn set_synproxy(
        &mut self,
        asker: Asker,
        service: &str,
        wish: ModeWish,
        span: Option<Duration>,
    ) {
        match self.with_synproxy(&asker, service, wish, span) {
            Ok(next) => self.run_over(asker, service, next),
            Err(rejection) => self.refuse_override(&asker, &rejection),
        }
    }

    /// Takes back what has come to its end.
    pub(super) fn look_at_overrides(&mut self) {
        self.end_denials();
        self.tell_denied();
        let over = self.scene.overrides.over(Instant::now());
        let Some(name) = over.first().filter(|_| self.applying.is_none()) else {
            return;
        };
        self.set_synproxy(Asker::Time, name, ModeWish::Default, None);
    }

    /// Returns what is set when this is set as well.
    fn with_synproxy(
        &self,
        asker: &Asker,
        name: &str,
        wish: ModeWish,
        span: Option<Duration>,
    ) -> Result<Overrides, Rejection> {
        let refused = |code, text: String| Err(Rejection { code, text });
        if self.scene.stopping.is_some() {
            return refused(Code::Stopping, "the daemon is stopping".to_owned());
        }
        if self.applying.is_some() {
            let text = "a configuration is being applied; try again".to_owned();
            return refused(Code::Busy, text);
        }
        if span.is_some_and(|span| span > LONGEST) {
            let text = "a setting may hold for a year at most; leave the time out".to_owned();
            return refused(Code::BadArgument, text);
        }
        let snapshot = &self.scene.running.snapshot;
        let filter = weir_control::Filter {
            service: Some(name.to_owned()),
            ..weir_control::Filter::default()
        };
        let id = answer::service_of(snapshot, &filter)?.unwrap_or_default();
        let Some(service) = snapshot.services.get(id.index()) else {
            return refused(Code::UnknownName, format!("there is no service `{name}`"));
        };
        if service.protocol != Protocol::Tcp {
            let text = format!("{name} is a service of UDP, which has no SYNs");
            return refused(Code::BadArgument, text);
        }
        let mut next = self.scene.overrides.clone();
        let set = next.synproxy.remove(name);
        let configured = set.map_or(service.synproxy.mode, |set| set.configured);
        if let Some(mode) = wish.mode() {
            let one = Synproxy {
                mode,
                configured,
                set: Set {
                    by: asker.name(),
                    since: SystemTime::now(),
                },
                until: span.map(|span| (Instant::now() + span, SystemTime::now() + span)),
            };
            next.synproxy.insert(name.to_owned(), one);
        }
        Ok(next)
    }

    /// Has the workers run on the configuration with this set over it.
    fn run_over(&mut self, asker: Asker, service: &str, next: Overrides) {
        let mut snapshot = Snapshot::clone(&self.scene.running.snapshot);
        self.scene.overrides.take_out_of(&mut snapshot);
        let configured = next.put_into(&mut snapshot);
        if let Err(rejection) = self.read_secret(&asker, service, &mut snapshot) {
            return self.refuse_override(&asker, &rejection);
        }
        let running = &self.scene.running;
        let configuration = Configuration {
            snapshot: Arc::new(snapshot),
            ..running.clone()
        };
        self.scene.fleet.apply(&configuration.snapshot);
        self.applying = Some(Applying {
            found: Found {
                configuration,
                files: String::new(),
                earlier: None,
                configured,
            },
            wish: Wish {
                asker,
                wanted: Wanted::Over(service.to_owned(), next),
                confirm: None,
                over: None,
            },
        });
    }

    /// Gives a service the key that goes with its mode: what the configuration says of a secret file
    /// counts for no service that answers no SYNs.
    fn read_secret(
        &mut self,
        asker: &Asker,
        service: &str,
        snapshot: &mut Snapshot,
    ) -> Result<(), Rejection> {
        let Some(id) = service_of(snapshot, service) else {
            return Ok(());
        };
        let (severity, lines) = match secret::fill_one(snapshot, id, &self.fallback_key) {
            Ok(lines) => (Severity::Notice, lines),
            // What has come to its end ends all the same, with the key that there is.
            Err(error) if matches!(asker, Asker::Time) => {
                let line = format!("{service} goes on with the key it has: {error:#}");
                (Severity::Error, vec![line])
            }
            Err(error) => {
                return Err(Rejection {
                    code: Code::Failed,
                    text: format!("{error:#}; nothing changed"),
                });
            }
        };
        for line in lines {
            let now = Instant::now();
            self.scene.events.system(now, severity, "secret", line);
        }
        Ok(())
    }

    /// Every worker runs on the configuration with this set over it.
    pub(super) fn finish_override(
        &mut self,
        configuration: Configuration,
        asker: &Asker,
        service: &str,
        next: Overrides,
    ) {
        self.scene.running = configuration;
        // The rest may have been set anew meanwhile.
        self.scene.overrides.synproxy = next.synproxy;
        self.watch_health();
        let snapshot = &self.scene.running.snapshot;
        let mode = service_of(snapshot, service).and_then(|id| mode_of(snapshot, id));
        let mode = mode.map_or("gone", SynproxyMode::name);
        let row = self.scene.overrides.synproxy(service);
        let (by, generation) = (asker.by(), snapshot.generation.0);
        let sentence = match &row {
            Some(row) => row.sentence(),
            None => format!("synproxy of {service} is {mode} again{by}, as the configuration says"),
        };
        let record = super::apply::operator_event(Severity::Warning, "synproxy", sentence, asker);
        let record = record.field("service", service).field("what", mode);
        let record = record.field("generation", generation);
        self.scene.events.say(Instant::now(), record);
        if let Asker::Client(client, _) = asker {
            let row = row.unwrap_or_else(|| OverrideRow {
                setting: "synproxy".to_owned(),
                object: service.to_owned(),
                value: mode.to_owned(),
                configured: mode.to_owned(),
                ..OverrideRow::default()
            });
            self.finish(*client, &[Reply::overridden(&row), Reply::done(1)]);
        }
    }

    fn refuse_override(&mut self, asker: &Asker, rejection: &Rejection) {
        if let Asker::Client(client, _) = asker {
            self.finish(*client, &[Reply::refused(rejection)]);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing::{around, web};

    fn snapshot(mode: &str) -> Snapshot {
        let profile = format!("[synproxy one]\nmode = {mode}\n");
        let text = around!().to_owned() + &profile + web!() + "synproxy = one\n";
        weir_testkit::snapshot("test.conf", &text).unwrap()
    }

    pub(in crate::control) fn overrides(mode: SynproxyMode, configured: SynproxyMode) -> Overrides {
        let one = Synproxy {
            mode,
            configured,
            set: set(),
            until: None,
        };
        Overrides {
            synproxy: [("web".to_owned(), one)].into(),
            ..Overrides::default()
        }
    }

    pub(in crate::control) fn maintenance() -> Overrides {
        Overrides {
            maintenance: Some(set()),
            ..Overrides::default()
        }
    }

    fn set() -> Set {
        Set {
            by: "alice (ssh 192.0.2.1)".to_owned(),
            since: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_set_holds_over_each_configuration_that_says_the_same_as_before() {
        let mut set = overrides(SynproxyMode::Always, SynproxyMode::Adaptive);
        let mut next = snapshot("adaptive");
        let configured = set.put_into(&mut next);
        assert_eq!(mode_of(&next, ServiceId(0)), Some(SynproxyMode::Always));
        assert_eq!(set.settle(&configured), Vec::<String>::new());
        assert_eq!(set.rows()[0].value, "always");
        set.take_out_of(&mut next);
        assert_eq!(next, snapshot("adaptive"));
    }

    #[test]
    fn a_configuration_that_says_something_new_wins_and_that_is_said() {
        let mut set = overrides(SynproxyMode::Always, SynproxyMode::Adaptive);
        let mut next = snapshot("off");
        let configured = set.put_into(&mut next);
        assert_eq!(mode_of(&next, ServiceId(0)), Some(SynproxyMode::Off));
        assert_eq!(
            set.settle(&configured),
            [
                "synproxy of web is off as the new configuration says; it was set to always by alice \
              (ssh 192.0.2.1)"
            ]
        );
        assert_eq!(set.rows(), []);
    }

    #[test]
    fn what_is_set_for_a_service_ends_where_that_has_become_one_of_udp() {
        let mut set = overrides(SynproxyMode::Always, SynproxyMode::Off);
        let mut next = snapshot("off");
        let mut service = next.services.get(0).unwrap().clone();
        service.protocol = Protocol::Udp;
        next.services.insert(0, service);
        let before = next.clone();
        let configured = set.put_into(&mut next);
        assert_eq!(next, before);
        assert_eq!(set.settle(&configured).len(), 1);
        assert_eq!(set, Overrides::default());
    }

    #[test]
    fn what_is_set_for_a_service_goes_with_it_and_ends_when_its_time_is_over() {
        let mut set = overrides(SynproxyMode::Off, SynproxyMode::Adaptive);
        let now = Instant::now();
        assert!(set.over(now).is_empty());
        let until = (now, SystemTime::UNIX_EPOCH + Duration::from_mins(10));
        set.synproxy.get_mut("web").unwrap().until = Some(until);
        assert_eq!(set.over(now), ["web"]);
        assert_eq!(set.rows()[0].until.as_deref(), Some("1970-01-01T00:10:00Z"));
        let sentences = set.settle(&Configured::new());
        assert!(
            sentences[0].contains("no such service of TCP any more"),
            "{sentences:?}"
        );
        assert_eq!(set, Overrides::default());
    }
}
