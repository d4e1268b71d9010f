//! The one way from texts to a snapshot, for `check`, start and apply alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use weir_conf::{Effective, Finding, Loaded, ProcessEnv, Report, SourceText};
use weir_model::{Check, Generation, Role, Snapshot};

use crate::control::sockets;
use crate::doctor::appliance;
use crate::secret::{self, Mistake};
use crate::state::{self, State};
use crate::taken::{self, Taken};

/// A configuration and what says it in full.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) snapshot: Arc<Snapshot>,
    /// What holds, value by value.
    pub(crate) values: Effective,
    /// The same as a text that reads back as this configuration.
    pub(crate) effective: String,
}

/// What a daemon starts on.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) configuration: Configuration,
    pub(crate) origin: Origin,
    /// What people should know of how it was found.
    pub(crate) sentences: Vec<String>,
}

/// Where the configuration of a start came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the daemon's own files, whose print this is.
    Files(String),
    /// It ran before and is kept as that.
    Kept,
}

/// Puts a configuration together, looks at the secret files that it names, and returns what it is
/// to be warned of besides what it is warned of by itself.
///
/// # Errors
/// Returns every mistake.
pub(crate) fn compose(
    texts: &[SourceText],
    running: Option<&Snapshot>,
) -> Result<(Loaded, Vec<Finding>), Report> {
    let loaded = weir_conf::compose(texts, &ProcessEnv, running)?;
    let secrets = secret::check(&loaded.snapshot);
    if let Some(report) = loaded.named.mistakes(&findings(secrets.mistakes)) {
        return Err(report);
    }
    let mut warnings = missing_devices(&loaded.snapshot);
    warnings.extend(taken_addresses(&loaded.snapshot));
    warnings.extend(missing_cores(&loaded.snapshot));
    warnings.extend(missing_groups(&loaded.snapshot));
    warnings.extend(missing_files(&loaded.snapshot));
    warnings.extend(findings(secrets.warnings));
    Ok((loaded, warnings))
}

/// The same for whoever asks in this role: for a viewer the daemon looks at no files but those that
/// its running configuration names, or it would tell anybody what is where.
///
/// # Errors
/// Returns every mistake.
pub(crate) fn compose_for(
    role: Role,
    texts: &[SourceText],
    running: &Snapshot,
) -> Result<Loaded, Report> {
    match role {
        Role::Operator => compose(texts, Some(running)).map(|(loaded, _)| loaded),
        Role::Viewer => {
            let loaded = weir_conf::compose(texts, &ProcessEnv, Some(running))?;
            let mistakes = secret::check_known(&loaded.snapshot, running);
            match loaded.named.mistakes(&findings(mistakes)) {
                Some(report) => Err(report),
                None => Ok(loaded),
            }
        }
    }
}

/// A file may be checked on another machine than the one that it is for.
fn missing_devices(snapshot: &Snapshot) -> Vec<Finding> {
    let devices = snapshot.ports.iter().map(|port| port.device.as_str());
    // What /sys shows is another network namespace's where somebody only changed that.
    let missing = devices.filter(|device| if_nametoindex(*device) == Err(Errno::ENODEV));
    let finding = |device: &str| Finding {
        named: device.to_owned(),
        message: format!("this machine has no device `{device}`"),
        note: "`ip link` lists those it has; weir would not start here".to_owned(),
    };
    missing.map(finding).collect()
}

/// VIPs and LIPs that the kernel has: it takes what Weir is to get, or answers beside it.
fn taken_addresses(snapshot: &Snapshot) -> Vec<Finding> {
    let taken = taken::of(snapshot, &taken::addresses());
    let finding = |taken: Taken| Finding {
        message: taken.text(),
        note: taken.advice(),
        named: taken.named,
    };
    taken.into_iter().map(finding).collect()
}

fn missing_cores(snapshot: &Snapshot) -> Vec<Finding> {
    let all = Path::new("/sys/devices/system/cpu");
    let keys = [
        ("workers.cpus", &snapshot.workers.cpus),
        ("control.cpus", &snapshot.control.cpus),
    ];
    let missing = keys.into_iter().filter_map(|(key, cores)| {
        let core = cores
            .iter()
            .find(|core| !all.join(format!("cpu{core}")).exists())?;
        Some(Finding {
            named: key.to_owned(),
            message: format!("this machine has no core {core}"),
            note: "`lscpu` lists those it has; weir would not start here".to_owned(),
        })
    });
    missing.collect()
}

fn missing_groups(snapshot: &Snapshot) -> Vec<Finding> {
    let sockets = snapshot.control.sockets.iter();
    let groups: BTreeSet<&str> = sockets.filter_map(|it| it.group.as_deref()).collect();
    let missing = groups.into_iter().filter_map(|group| {
        let error = sockets::group_id(group).err()?;
        Some(Finding {
            named: format!("group={group}"),
            message: format!("the control socket cannot be given to {group}"),
            note: format!("{error:#}; weir would not start here"),
        })
    });
    missing.collect()
}

/// Certificates and programs: without them checks and hooks fail when they are needed.
fn missing_files(snapshot: &Snapshot) -> Vec<Finding> {
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    for service in snapshot.services.iter() {
        let (ca_file, program) = match service.health.as_ref().map(|health| &health.check) {
            Some(Check::Http(check)) => (
                check.tls.as_ref().and_then(|tls| tls.ca_file.as_deref()),
                None,
            ),
            Some(Check::Exec(check)) => (None, Some(check.program.as_str())),
            Some(Check::Tcp | Check::Udp(_) | Check::Ping) | None => (None, None),
        };
        files.extend(ca_file.map(|file| (file, "checks cannot be made")));
        files.extend(program.map(|file| (file, "checks cannot be made")));
        let of = &service.availability;
        let hooks = of.quorum_up.iter().chain(&of.quorum_down);
        files.extend(hooks.map(|file| (file.as_str(), "it cannot be run")));
    }
    for receiver in &snapshot.syslog {
        let file = receiver.ca_file.as_deref();
        files.extend(file.map(|file| (file, "nothing can be sent")));
    }
    let missing = files
        .into_iter()
        .filter(|(file, _)| !Path::new(file).is_file());
    let finding = |(file, outcome): (&str, &str)| Finding {
        named: file.to_owned(),
        message: format!("there is no file {file}"),
        note: format!("{outcome} without it"),
    };
    missing.map(finding).collect()
}

fn findings(mistakes: Vec<Mistake>) -> Vec<Finding> {
    let finding = |mistake: Mistake| Finding {
        named: mistake.path,
        message: mistake.sentence,
        note: mistake.advice,
    };
    mistakes.into_iter().map(finding).collect()
}

/// Reads the daemon's own files for the start; where they are what they were when the configuration
/// that ran last was applied, that one is started again.
///
/// # Errors
/// Returns every mistake.
pub(crate) fn start(file: &Path, state: &State) -> Result<Start, Report> {
    let texts = weir_conf::read(file)?;
    let print = state::print_of(&texts);
    let mut sentences = Vec::new();
    match state.running() {
        Ok(Some(kept)) if kept.files == print || state.tried().as_ref() == Some(&print) => {
            let text = SourceText::new(format!("configuration {}", kept.generation), kept.text);
            match compose(&[text], None) {
                Ok((loaded, _)) => {
                    if kept.files != print {
                        sentences.push(format!(
                            "{} was being tried and nobody confirmed it; configuration {} of \
                             before runs",
                            file.display(),
                            kept.generation
                        ));
                    } else if !appliance::is_one(Path::new("/")) && !says_the_same(&texts, &loaded)
                    {
                        // Nobody can edit the files of an appliance.
                        sentences.push(format!(
                            "configuration {} runs, which was applied last; {} says something else",
                            kept.generation,
                            file.display()
                        ));
                    }
                    return Ok(Start {
                        configuration: configuration(loaded, kept.generation),
                        origin: Origin::Kept,
                        sentences,
                    });
                }
                Err(_) => sentences.push(format!(
                    "configuration {}, which ran last, has mistakes now; {} holds",
                    kept.generation,
                    file.display()
                )),
            }
        }
        Ok(Some(kept)) => sentences.push(format!(
            "{} was changed since configuration {} was applied; the file holds",
            file.display(),
            kept.generation
        )),
        Ok(None) => {}
        Err(error) => sentences.push(format!("{error}; {} holds", file.display())),
    }
    let (loaded, _) = compose(&texts, None)?;
    Ok(Start {
        configuration: configuration(loaded, next_generation(state)),
        origin: Origin::Files(print),
        sentences,
    })
}

/// Returns what ran last, whatever the files say now.
///
/// # Errors
/// Says why there is none.
pub(crate) fn last_good(state: &State) -> Result<Start, String> {
    let kept = state.running()?;
    let kept = kept.ok_or("no configuration has run here before")?;
    let name = format!("configuration {}", kept.generation);
    let text = SourceText::new(name.clone(), kept.text);
    let (loaded, _) = compose(&[text], None).map_err(|_| format!("{name} has mistakes now"))?;
    Ok(Start {
        configuration: configuration(loaded, kept.generation),
        origin: Origin::Kept,
        sentences: vec![format!("{name} of {} runs, which ran last", kept.at)],
    })
}

/// Numbers a configuration.
pub(crate) fn configuration(mut loaded: Loaded, generation: u64) -> Configuration {
    let effective = weir_conf::print_effective(&loaded);
    loaded.snapshot.generation = Generation(generation);
    Configuration {
        snapshot: Arc::new(loaded.snapshot),
        values: loaded.effective,
        effective,
    }
}

/// Says whether texts mean a configuration.
fn says_the_same(texts: &[SourceText], loaded: &Loaded) -> bool {
    compose(texts, None).is_ok_and(|(other, _)| other.effective == loaded.effective)
}

fn next_generation(state: &State) -> u64 {
    state.generations().last().map_or(1, |last| last + 1)
}
