//! The configurations that lives begin with and change to.

use std::sync::OnceLock;

use anyhow::{Result, bail, ensure};
use weir_model::{MasterKey, Snapshot};
use weir_testkit::{snapshot, snapshot_after};

const TEXT: &str = include_str!("../../conf/all.conf");

/// What each variant changes in the text; the first changes nothing.
const CHANGES: [(&str, &str); 16] = [
    ("", ""),
    ("synproxy        = firm", "synproxy        = off"),
    ("synproxy        = quick", "synproxy        = always"),
    ("synproxy        = quick", "synproxy        = off"),
    ("203.0.113.10:82/tcp", "203.0.113.10:84/tcp"),
    ("[service always]", "[service renamed]"),
    ("5000-5011", "5004-5020"),
    ("5000-5011", "5000-5003"),
    ("10.0.8.1-10.0.8.2", "10.0.8.2-10.0.8.3"),
    ("10.0.1.11:8080   weight=3", "10.0.1.11:8080   weight=0"),
    ("10.8.1.12:8082", "10.8.1.13:8082"),
    ("timestamps      = strip", "timestamps      = translate"),
    ("client-window   = closed", "client-window   = open"),
    ("defer           = yes", "defer           = no"),
    ("connection-reuse = no", "connection-reuse = yes"),
    ("203.0.113.53:53/udp", "203.0.113.54:53/udp"),
];

/// Returns the variant that a life begins with; each is read once.
pub(super) fn first(byte: u8) -> Result<Snapshot> {
    static ALL: OnceLock<Result<Vec<Snapshot>, String>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let all = CHANGES.iter().map(|change| {
            let mut first = snapshot("all.conf", &text(*change)?)?;
            give_keys(&mut first);
            Ok(first)
        });
        all.collect::<Result<_>>()
            .map_err(|error| format!("{error:#}"))
    });
    match all {
        Ok(all) => Ok(all[usize::from(byte) % all.len()].clone()),
        Err(error) => bail!("{error}"),
    }
}

/// Reads a variant that follows a configuration: what keeps its name keeps its id.
pub(super) fn next(byte: u8, before: &Snapshot) -> Result<Snapshot> {
    let change = CHANGES[usize::from(byte) % CHANGES.len()];
    let mut next = snapshot_after("all.conf", &text(change)?, before)?;
    give_keys(&mut next);
    Ok(next)
}

fn text((from, to): (&str, &str)) -> Result<String> {
    ensure!(TEXT.contains(from), "`{from}` is not in all.conf");
    Ok(TEXT.replace(from, to))
}

/// Fills in the master keys, as the daemon does for a profile without `secret-file`.
fn give_keys(snapshot: &mut Snapshot) {
    for at in 0..snapshot.services.bound() {
        let Some(service) = snapshot.services.get(at) else {
            continue;
        };
        let mut service = service.clone();
        service.synproxy.master = MasterKey(*b"key of a fuzzer!");
        snapshot.services.insert(at, service);
    }
}
