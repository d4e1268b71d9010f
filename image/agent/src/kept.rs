//! What the agent knows of the configuration before the daemon answers: of the file, or of what ran
//! last.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::durable;
use crate::observe::BoxOf;
use crate::places::Places;

/// Where it is kept what ran last, behind the print of the file of then.
const FILE: &str = "ran-last.conf";

fn path(places: &Places) -> PathBuf {
    places.state.join(FILE)
}

/// Returns the print of the configuration file as it is.
fn print(places: &Places) -> String {
    let bytes = fs::read(places.config()).unwrap_or_default();
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Keeps what runs, and nobody is still trying.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn keep(places: &Places, text: &str) -> io::Result<()> {
    let new = format!("# {}\n{text}\n", print(places));
    let file = path(places);
    if fs::read_to_string(&file).is_ok_and(|old| old == new) {
        return Ok(());
    }
    durable::write(&file, new.as_bytes(), 0o600)
}

/// Returns what holds until the daemon answers, and what is wrong with the file where it is not that
/// of the file: what ran last goes before it while nobody has changed the file, and where the file
/// has mistakes.
pub(crate) fn at_start(places: &Places) -> (Option<BoxOf>, Option<String>) {
    let kept = fs::read_to_string(path(places)).unwrap_or_default();
    let of_then = kept.lines().next().and_then(|line| line.strip_prefix("# "));
    let is_of_this_file = of_then == Some(print(places).as_str());
    let ran_last = || {
        let loaded = weir_conf::parse_str("ran last", &kept, None).ok()?;
        of_then.map(|_| BoxOf::of(&loaded))
    };
    if is_of_this_file && let Some(found) = ran_last() {
        return (Some(found), None);
    }
    match weir_conf::load(&places.config(), &weir_conf::NoEnv, None) {
        Ok(loaded) => (Some(BoxOf::of(&loaded)), None),
        Err(report) => {
            let first = report.messages().next().unwrap_or_default();
            let file = places.config();
            let sentence = format!("{} has mistakes: {first}", file.display());
            (ran_last(), Some(sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn config(address: &str) -> String {
        format!("[management]\naddress = {address}\n")
    }

    fn address(found: Option<BoxOf>) -> Option<String> {
        let address = found?.management.address?;
        match address {
            weir_conf::ManagementAddress::Fixed(net) => Some(net.to_string()),
            weir_conf::ManagementAddress::Dhcp => Some("dhcp".to_owned()),
        }
    }

    #[test]
    fn the_file_holds_unless_something_else_ran_since() {
        let folder = Folder::new("kept");
        let places = Places::under(folder.path());
        fs::create_dir_all(&places.etc).unwrap();
        fs::create_dir_all(&places.state).unwrap();
        let (none, wrong) = at_start(&places);
        assert!(none.is_none() && wrong.is_some());
        fs::write(places.config(), config("192.0.2.1/24")).unwrap();
        assert_eq!(
            address(at_start(&places).0).as_deref(),
            Some("192.0.2.1/24")
        );
        // Something was applied that is not in the file.
        keep(&places, &config("192.0.2.2/24")).unwrap();
        assert_eq!(
            address(at_start(&places).0).as_deref(),
            Some("192.0.2.2/24")
        );
        // Then somebody changed the file.
        fs::write(places.config(), config("192.0.2.3/24")).unwrap();
        assert_eq!(
            address(at_start(&places).0).as_deref(),
            Some("192.0.2.3/24")
        );
        // And wrongly so.
        fs::write(places.config(), "[management]\naddress = nonsense\n").unwrap();
        let (found, wrong) = at_start(&places);
        assert_eq!(address(found).as_deref(), Some("192.0.2.2/24"));
        assert!(wrong.unwrap().contains("has mistakes"));
    }
}
