//! Names of network cards that stay: each card keeps the name that it got first.
//!
//! The kernel numbers cards in the order in which it finds them, which changes when one is added.
//! Which name belongs to which card is kept on the data partition, by its own Ethernet address; new
//! cards get the next free number in the order of their place on the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use crate::places::Places;

/// What names of cards begin with.
const PREFIX: &str = "eth";
/// Where the names are kept.
const FILE: &str = "nics";

/// A card, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nic {
    /// Its name now.
    pub(crate) name: String,
    /// Its own Ethernet address.
    pub(crate) mac: String,
    /// Its place on the bus, e.g. `0000:00:03.0`.
    pub(crate) path: String,
}

/// Which names cards get, and what is new of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Every name that was ever given, by Ethernet address.
    pub(crate) known: BTreeMap<String, String>,
    /// The names of before and the new ones of the cards that are there.
    pub(crate) renames: Vec<(String, String)>,
    /// Cards that got a name for the first time.
    pub(crate) new: Vec<(String, String)>,
    /// Names whose cards are not there.
    pub(crate) gone: Vec<(String, String)>,
}

/// Decides which names cards get.
///
/// A new card takes the name of one that is gone where it sits in the same place: a card that was
/// replaced is configured like the one of before.
pub(crate) fn naming(
    known: &BTreeMap<String, String>,
    places: &BTreeMap<String, String>,
    nics: &[Nic],
) -> Naming {
    let mut nics = nics.to_vec();
    nics.sort_by(|a, b| {
        bus_order(&a.path)
            .cmp(&bus_order(&b.path))
            .then_with(|| a.mac.cmp(&b.mac))
    });
    let there: BTreeSet<&str> = nics.iter().map(|nic| nic.mac.as_str()).collect();
    let mut naming = Naming {
        known: known.clone(),
        ..Naming::default()
    };
    for nic in &nics {
        if naming.known.contains_key(&nic.mac) {
            continue;
        }
        let replaced = places.get(&nic.path).and_then(|name| {
            let mut same = naming.known.iter().filter(|(_, known)| *known == name);
            let (mac, _) = same.next()?;
            (!there.contains(mac.as_str())).then(|| (mac.clone(), name.clone()))
        });
        let name = if let Some((mac, name)) = replaced {
            naming.known.remove(&mac);
            name
        } else {
            let taken: BTreeSet<&String> = naming.known.values().collect();
            let mut free = (0_u32..).map(|number| format!("{PREFIX}{number}"));
            free.find(|name| !taken.contains(name)).unwrap_or_default()
        };
        naming.known.insert(nic.mac.clone(), name.clone());
        naming.new.push((name, nic.mac.clone()));
    }
    for nic in &nics {
        if let Some(name) = naming.known.get(&nic.mac).filter(|name| **name != nic.name) {
            naming.renames.push((nic.name.clone(), name.clone()));
        }
    }
    let gone = naming
        .known
        .iter()
        .filter(|(mac, _)| !there.contains(mac.as_str()));
    naming.gone = gone
        .map(|(mac, name)| (name.clone(), mac.clone()))
        .collect();
    naming
}

/// Returns the renames in an order in which no name is taken twice: by way of names that nobody has.
pub(crate) fn steps(renames: &[(String, String)]) -> Vec<(String, String)> {
    let aside = |at: usize| format!("weir-nic{at}");
    let away = renames
        .iter()
        .enumerate()
        .map(|(at, (old, _))| (old.clone(), aside(at)));
    let back = renames
        .iter()
        .enumerate()
        .map(|(at, (_, new))| (aside(at), new.clone()));
    away.chain(back).collect()
}

/// Places on the bus in their order: numbers in them are hexadecimal.
fn bus_order(path: &str) -> (Vec<u64>, String) {
    let parts = path.split(|c: char| !c.is_ascii_hexdigit());
    let numbers = parts.filter_map(|part| u64::from_str_radix(part, 16).ok());
    (numbers.collect(), path.to_owned())
}

/// Returns the cards of this machine: devices of hardware, not bridges and tunnels.
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn found(sys: &Path) -> io::Result<Vec<Nic>> {
    let mut nics = Vec::new();
    for entry in fs::read_dir(sys.join("class/net"))? {
        let folder = entry?.path();
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let Ok(device) = fs::canonicalize(folder.join("device")) else {
            continue;
        };
        let (Some(mac), Some(name)) = (read("address"), folder.file_name()) else {
            continue;
        };
        // The own address of a card that is part of a bundle is not the one that it shows.
        let is_ethernet = read("type").is_some_and(|kind| kind.trim() == "1");
        let mac = mac.trim().to_ascii_lowercase();
        if is_ethernet && mac != "00:00:00:00:00:00" {
            nics.push(Nic {
                name: name.to_string_lossy().into_owned(),
                mac,
                path: place_of(&device),
            });
        }
    }
    Ok(nics)
}

/// The last part of a device's path that is a place on a PCI bus; of others the whole path.
fn place_of(device: &Path) -> String {
    let parts = device.components().rev();
    let mut parts = parts.map(|part| part.as_os_str().to_string_lossy());
    let is_place = |part: &str| {
        let mut pieces = part.split([':', '.']);
        let count = pieces.clone().count();
        count == 4
            && pieces.all(|piece| !piece.is_empty() && piece.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let place = parts.find(|part| is_place(part));
    place.map_or_else(
        || device.display().to_string(),
        std::borrow::Cow::into_owned,
    )
}

/// Reads the names that were given: lines of an Ethernet address, a name and a place.
fn read(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut known, mut places) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(mac), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        known.insert(mac.to_owned(), name.to_owned());
        if let Some(place) = words.next() {
            places.insert(place.to_owned(), name.to_owned());
        }
    }
    (known, places)
}

/// Writes the names that were given.
fn written(known: &BTreeMap<String, String>, places: &BTreeMap<String, String>) -> String {
    let line = |(mac, name): (&String, &String)| {
        let place = places.iter().find(|(_, of)| *of == name);
        let place = place
            .map(|(place, _)| format!(" {place}"))
            .unwrap_or_default();
        format!("{mac} {name}{place}\n")
    };
    known.iter().map(line).collect()
}

/// Gives the cards their names, and keeps which they are; returns what is worth knowing of it.
///
/// # Errors
/// When the kernel does not tell, or the names cannot be kept.
pub(crate) fn name_all(
    places: &Places,
    rename: &mut dyn FnMut(&str, &str) -> Result<(), String>,
) -> io::Result<(Naming, Vec<String>)> {
    let file = places.shared().join(FILE);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let (known, sites) = read(&text);
    let nics = found(&places.sys)?;
    let naming = naming(&known, &sites, &nics);
    let mut failed = Vec::new();
    for (old, new) in steps(&naming.renames) {
        if let Err(why) = rename(&old, &new) {
            failed.push(format!("`{old}` cannot become `{new}`: {why}"));
        }
    }
    let mut sites = sites;
    for nic in &nics {
        if let Some(name) = naming.known.get(&nic.mac) {
            sites.retain(|_, of| of != name);
            sites.insert(nic.path.clone(), name.clone());
        }
    }
    let new = written(&naming.known, &sites);
    if new != text {
        crate::durable::write(&file, new.as_bytes(), 0o600)?;
    }
    Ok((naming, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, mac: &str, path: &str) -> Nic {
        Nic {
            name: name.to_owned(),
            mac: mac.to_owned(),
            path: path.to_owned(),
        }
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        all.iter().map(own).collect()
    }

    fn map(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs(all).into_iter().collect()
    }

    #[test]
    fn at_first_cards_are_numbered_by_their_place() {
        let nics = [
            nic("eth0", "aa", "0000:03:00.0"),
            nic("eth1", "bb", "0000:00:1f.6"),
            nic("eth2", "cc", "0000:00:0a.0"),
        ];
        let found = naming(&BTreeMap::new(), &BTreeMap::new(), &nics);
        let known = map(&[("aa", "eth2"), ("bb", "eth1"), ("cc", "eth0")]);
        assert_eq!(found.known, known);
        let renames = pairs(&[("eth2", "eth0"), ("eth0", "eth2")]);
        assert_eq!(found.renames, renames);
        assert_eq!(found.new.len(), 3);
        assert_eq!(
            steps(&renames),
            pairs(&[
                ("eth2", "weir-nic0"),
                ("eth0", "weir-nic1"),
                ("weir-nic0", "eth0"),
                ("weir-nic1", "eth2"),
            ])
        );
        // The next time nothing is new.
        let again = [
            nic("eth2", "aa", "0000:03:00.0"),
            nic("eth1", "bb", "0000:00:1f.6"),
            nic("eth0", "cc", "0000:00:0a.0"),
        ];
        let again = naming(&found.known, &BTreeMap::new(), &again);
        assert_eq!((again.renames.len(), again.new.len()), (0, 0));
    }

    #[test]
    fn a_card_that_is_added_changes_no_name() {
        let known = map(&[("aa", "eth0"), ("bb", "eth1")]);
        let nics = [
            nic("eth0", "new", "0000:00:02.0"),
            nic("eth1", "aa", "0000:00:03.0"),
            nic("eth2", "bb", "0000:00:04.0"),
        ];
        let found = naming(&known, &BTreeMap::new(), &nics);
        let renames = pairs(&[("eth0", "eth2"), ("eth1", "eth0"), ("eth2", "eth1")]);
        assert_eq!(found.renames, renames);
        assert_eq!(found.new, pairs(&[("eth2", "new")]));
    }

    #[test]
    fn a_card_that_is_gone_keeps_its_name_for_the_day_it_comes_back() {
        let known = map(&[("aa", "eth0"), ("bb", "eth1")]);
        let nics = [nic("eth0", "bb", "0000:00:04.0")];
        let found = naming(&known, &BTreeMap::new(), &nics);
        assert_eq!(found.known, known);
        assert_eq!(found.gone, pairs(&[("eth0", "aa")]));
        assert_eq!(found.renames, pairs(&[("eth0", "eth1")]));
    }

    #[test]
    fn a_card_in_the_place_of_one_that_is_gone_takes_its_name() {
        let known = map(&[("aa", "eth0"), ("bb", "eth1")]);
        let places = map(&[("0000:00:03.0", "eth0"), ("0000:00:04.0", "eth1")]);
        let nics = [
            nic("eth0", "aa", "0000:00:03.0"),
            nic("eth1", "other", "0000:00:04.0"),
        ];
        let found = naming(&known, &places, &nics);
        assert_eq!(found.known, map(&[("aa", "eth0"), ("other", "eth1")]));
        assert_eq!((found.renames.len(), found.gone.len()), (0, 0));
        // A second port of the card in the same place is another one while the first is there.
        let nics = [
            nic("eth0", "aa", "0000:00:03.0"),
            nic("eth1", "bb", "0000:00:04.0"),
            nic("eth2", "cc", "0000:00:04.0"),
        ];
        let found = naming(&known, &places, &nics);
        assert_eq!(found.new, pairs(&[("eth2", "cc")]));
    }

    #[test]
    fn what_is_kept_reads_back_and_places_are_those_of_the_bus() {
        let known = map(&[("aa", "eth0"), ("bb", "eth1")]);
        let places = map(&[("0000:00:03.0", "eth0")]);
        let text = written(&known, &places);
        assert_eq!(text, "aa eth0 0000:00:03.0\nbb eth1\n");
        assert_eq!(read(&text), (known, places));
        let place = place_of(Path::new("/sys/devices/pci0000:00/0000:00:03.0/virtio1"));
        assert_eq!(place, "0000:00:03.0");
        assert!(bus_order("0000:00:0a.0") < bus_order("0000:00:10.0"));
    }
}
