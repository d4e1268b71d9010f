//! The configurations that lives begin with and change to.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
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

/// The configurations of one life, one after the other.
#[derive(Default)]
pub(super) struct Variants(Vec<usize>);

impl Variants {
    /// Reads a variant that follows `before`: what keeps its name keeps its id.
    pub(super) fn next(&mut self, byte: u8, before: Option<&Snapshot>) -> Result<Snapshot> {
        let at = usize::from(byte) % CHANGES.len();
        self.0.push(at);
        if self.0.len() > REMEMBERED {
            return read(at, before);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = known.get(&self.0) {
            return Ok(snapshot.clone());
        }
        let snapshot = read(at, before)?;
        known.insert(self.0.clone(), snapshot.clone());
        Ok(snapshot)
    }
}

/// Reading takes as long as a hundred actions, and a fuzzer's lives begin alike.
static KNOWN: Mutex<BTreeMap<Vec<usize>, Snapshot>> = Mutex::new(BTreeMap::new());
/// How long the histories are whose end is remembered.
const REMEMBERED: usize = 2;

fn read(at: usize, before: Option<&Snapshot>) -> Result<Snapshot> {
    let text = text(CHANGES[at])?;
    let mut snapshot = match before {
        None => snapshot("all.conf", &text)?,
        Some(before) => snapshot_after("all.conf", &text, before)?,
    };
    give_keys(&mut snapshot);
    Ok(snapshot)
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
