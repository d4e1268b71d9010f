//! `diff`: what a configuration would change, and what that does to live sessions.

use std::net::SocketAddr;

use weir_conf::{Change, Purpose, Report, SourceText, Style};
use weir_control::{ChangeRow, Code, ConfigText, Rejection, ValueChange};
use weir_model::{DrainEnd, Role, Snapshot};

use super::kept::Kept;
use super::scene::Scene;
use crate::configuration;

/// Returns the texts of files that a client sent, or of the daemon's own where it sent none.
///
/// # Errors
/// Returns which of them cannot be read.
pub(super) fn texts(kept: &Kept, sent: &[ConfigText]) -> Result<Vec<SourceText>, Rejection> {
    if !sent.is_empty() {
        let sent = sent.iter();
        return Ok(sent
            .map(|text| SourceText::new(text.name.as_str(), text.text.as_bytes()))
            .collect());
    }
    kept.own_files().map_err(|report| Rejection {
        code: Code::Mistakes,
        text: report.render(Style::long(Purpose::Apply)),
    })
}

/// Returns the text of a configuration that is kept.
pub(super) fn kept_text(generation: u64, text: &str) -> SourceText {
    SourceText::new(format!("configuration {generation}"), text.as_bytes())
}

/// Says what texts would change.
///
/// # Errors
/// Returns every mistake in them.
pub(super) fn rows(
    scene: &Scene,
    sent: &[ConfigText],
    role: Role,
) -> Result<Vec<ChangeRow>, Rejection> {
    let texts = texts(&scene.kept, sent)?;
    let running = &scene.running;
    // Its own files are what the daemon itself names.
    let role = if sent.is_empty() {
        Role::Operator
    } else {
        role
    };
    let composed = configuration::compose_for(role, &texts, &running.snapshot);
    let loaded = composed.map_err(|report| mistakes(&report))?;
    let traffic = scene.fleet.traffic();
    let new = &loaded.snapshot;
    let objects = weir_conf::difference(&running.values, &loaded.effective).into_iter();
    Ok(objects
        .map(|object| {
            let heading = object.heading.trim_matches(['[', ']']);
            let (kind, name) = heading.split_once(' ').unwrap_or((heading, ""));
            let mut services = running.snapshot.services.iter();
            let service = services.find(|service| kind == "service" && service.name == name);
            let values = object.values.iter();
            ChangeRow {
                change: word(object.change).to_owned(),
                effect: match object.change {
                    Change::Changed => String::new(),
                    Change::Added | Change::Removed => of_object(kind, object.change).to_owned(),
                },
                sessions: service.map(|service| traffic.service(service.id).sessions),
                values: values
                    .map(|value| ValueChange {
                        key: value.key.to_owned(),
                        before: value.before.clone(),
                        after: value.after.clone(),
                        effect: match object.change {
                            Change::Changed => {
                                let before = value.before.as_deref();
                                let special = of_service(kind, name, value.key, before, new);
                                let special = special.filter(|_| value.change() == Change::Removed);
                                special.unwrap_or_else(|| {
                                    of_value(kind, value.key, value.change()).to_owned()
                                })
                            }
                            Change::Added | Change::Removed => String::new(),
                        },
                    })
                    .collect(),
                object: object.heading,
            }
        })
        .collect())
}

/// Refuses a configuration that nobody wants to run yet.
pub(super) fn mistakes(report: &Report) -> Rejection {
    Rejection {
        code: Code::Mistakes,
        text: report.render(Style::long(Purpose::Check)),
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    }
}

/// Says what a new object, or one that is gone, does to live sessions.
fn of_object(kind: &str, change: Change) -> &'static str {
    match (kind, change) {
        ("port" | "workers" | "control", _) => "needs a restart",
        ("service", Change::Removed) => "its sessions are reset with their next packet",
        ("lip-pool", Change::Removed) => "sessions that use its addresses are reset",
        ("route", _) => "packets take another way at once; sessions go on",
        _ => "",
    }
}

/// Says what a value that a service no longer has does to live sessions, where that depends on what
/// else the new configuration says.
fn of_service(
    kind: &str,
    name: &str,
    key: &str,
    before: Option<&str>,
    new: &Snapshot,
) -> Option<String> {
    let mut services = new.services.iter();
    let service = services.find(|service| kind == "service" && service.name == name)?;
    match (key, service.drain) {
        ("real", Some(drain)) => {
            let after = humantime::format_duration(drain.after);
            Some(match drain.then {
                DrainEnd::Reset => format!(
                    "it gets no new sessions; those that are open may go on for {after}, then they \
                     are reset"
                ),
                DrainEnd::Keep => format!(
                    "it gets no new sessions; those that are open go on, and who is left in {after} \
                     is told"
                ),
            })
        }
        ("listen", _) => {
            let at = before?.split(['/', ' ']).next()?;
            let at: SocketAddr = at.parse().ok()?;
            let stays = new.owned_addresses().contains(&at.ip());
            (!stays).then(|| {
                "the address is given up, and packets of sessions that are open there are lost"
                    .to_owned()
            })
        }
        _ => None,
    }
}

/// Says what a value that changes does to live sessions.
fn of_value(kind: &str, key: &str, change: Change) -> &'static str {
    match (kind, key, change) {
        ("port", "device" | "driver" | "queues", _) | ("workers" | "control", ..) => {
            "needs a restart"
        }
        ("port", "gateway" | "address", _) | ("route", ..) => {
            "packets take another way at once; sessions go on"
        }
        ("management", "device" | "address" | "gateway" | "ssh-port", _) => {
            "traffic goes on; logins by SSH may break"
        }
        ("lip-pool", "address", Change::Removed) => "sessions that use it are reset",
        ("lip-pool", ..) => "for new sessions; those that are open keep their ports",
        ("service", "listen", Change::Removed) => {
            "no new sessions there; those that are open go on"
        }
        ("service", "real", Change::Removed) => {
            "it gets no new sessions; those that are open go on"
        }
        ("service", "real" | "scheduler" | "lip-pool" | "health", _) => {
            "for new sessions; those that are open go on"
        }
        ("service", "persist", _) => {
            "for new sessions; with several workers, those that are open may end"
        }
        ("service", key, _) if key == "idle" || key.starts_with("timeout-") => {
            "for all sessions, with their next packet"
        }
        ("defence", "deny", Change::Added | Change::Changed)
        | ("defence", "allow", Change::Removed | Change::Changed)
        | ("service", "defence", Change::Added | Change::Changed) => {
            "sessions of clients that it denies now are reset; others go on"
        }
        ("synproxy", "secret-file" | "secret-rotation" | "cookie-lifetime", _) => {
            "handshakes that are under way fail once; sessions go on"
        }
        _ => "sessions go on",
    }
}
