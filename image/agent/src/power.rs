//! The power button: what a hypervisor pushes when its operator shuts a guest down.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use crate::handle::{Handle, Message};

/// The kernel's number of the key.
const KEY_POWER: u16 = 116;
/// The kernel's number of events that are keys.
const EV_KEY: u16 = 1;
/// An event: two times of 64 bits, type, code, value.
const EVENT: usize = 24;

/// Starts a thread for each device that has the button.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(handle: &Handle) -> std::io::Result<()> {
    for device in devices(&handle.places().sys) {
        let Ok(mut file) = File::open(&device) else {
            continue;
        };
        let handle = handle.clone();
        let builder = thread::Builder::new().name("power".to_owned());
        builder.spawn(move || {
            let mut event = [0; EVENT];
            while file.read_exact(&mut event).is_ok() {
                if is_push(&event) {
                    handle.tell(Message::PowerButton);
                }
            }
        })?;
    }
    Ok(())
}

fn devices(sys: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(sys.join("class/input")).into_iter().flatten();
    let entries = entries.flatten().filter(|entry| {
        let keys = entry.path().join("device/capabilities/key");
        fs::read_to_string(keys).is_ok_and(|bits| has_key(&bits, KEY_POWER))
    });
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let names = entries.map(name).filter(|name| name.starts_with("event"));
    names
        .map(|name| Path::new("/dev/input").join(name))
        .collect()
}

/// Reads the kernel's bits: words of 64 in hexadecimal, the lowest last.
fn has_key(bits: &str, key: u16) -> bool {
    let mut words = bits.split_whitespace().rev();
    let word = words.nth(usize::from(key / 64));
    let word = word.and_then(|word| u64::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word >> (key % 64) & 1 == 1)
}

fn is_push(event: &[u8; EVENT]) -> bool {
    let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event;
    u16::from_ne_bytes([t0, t1]) == EV_KEY
        && u16::from_ne_bytes([c0, c1]) == KEY_POWER
        && i32::from_ne_bytes([v0, v1, v2, v3]) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_button_is_found_among_the_keys_of_a_device() {
        assert!(has_key("10000000000000 0\n", 116));
        assert!(!has_key("10000000000000 0\n", 115));
        assert!(!has_key("10000000000000", 116));
        assert!(!has_key("", 116));
        // A keyboard has many.
        assert!(has_key(
            "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe",
            116
        ));
    }

    #[test]
    fn only_its_push_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [7; EVENT];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..24].copy_from_slice(&value.to_ne_bytes());
            event
        };
        assert!(is_push(&event(1, 116, 1)));
        assert!(!is_push(&event(1, 116, 0)));
        assert!(!is_push(&event(1, 115, 1)));
        assert!(!is_push(&event(0, 0, 0)));
    }
}
