//! The agent's sentences for whoever looks into the kernel's log: an appliance has no other file
//! that cannot fill up.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

/// Says a sentence.
pub(crate) fn say(sentence: impl Display) {
    let line = format!("<5>weir-agent: {sentence}\n");
    let log = OpenOptions::new().write(true).open("/dev/kmsg");
    let said = log.and_then(|mut log| log.write_all(line.as_bytes()));
    if said.is_err() {
        let _ = std::io::stderr().write_all(line.get(3..).unwrap_or_default().as_bytes());
    }
}
