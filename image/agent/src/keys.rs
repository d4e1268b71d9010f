//! The public keys of operators and viewers.
//!
//! What is kept is type, key and name, nothing else: whatever options somebody gives with a key are
//! dropped, and the lines that SSH reads are made here.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use weir_control::{Login, Role};

use crate::durable;
use crate::events::Event;
use crate::places::Places;
use crate::protocol::KeyRow;

mod public;

pub(crate) use public::Key;

/// The most keys of a role.
const MOST: usize = 200;
/// The most bytes that are read of a file of keys.
const LONGEST_FILE: u64 = 1 << 20;
/// The program that a key opens, and nothing else.
const PROGRAM: &str = "/usr/bin/weir agent login";
/// What SSH offers beside programs and terminals is not for this box.
pub(crate) const LIMITS: &str = "no-port-forwarding,no-agent-forwarding,no-X11-forwarding";

/// The keys of both roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    operators: Vec<Key>,
    viewers: Vec<Key>,
}

impl Keys {
    /// Reads the keys that are kept. A line that is damaged is told and left out: one bad line must
    /// not shut everybody out.
    pub(crate) fn load(places: &Places) -> (Self, Vec<String>) {
        let mut complaints = Vec::new();
        let mut keys = Self::default();
        for (_, role) in Role::NAMES {
            let path = kept(places, *role);
            let text = match read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    complaints.push(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            let name = path.display().to_string();
            let (added, mut wrong) = keys.add_all(*role, &name, &text);
            complaints.append(&mut wrong);
            debug_assert!(added <= MOST);
        }
        (keys, complaints)
    }

    /// Returns the keys of a role.
    pub(crate) fn of(&self, role: Role) -> &[Key] {
        match role {
            Role::Operator => &self.operators,
            Role::Viewer => &self.viewers,
        }
    }

    fn of_mut(&mut self, role: Role) -> &mut Vec<Key> {
        match role {
            Role::Operator => &mut self.operators,
            Role::Viewer => &mut self.viewers,
        }
    }

    /// Returns how many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.operators.len() + self.viewers.len()
    }

    /// Adds a key.
    ///
    /// # Errors
    /// Says why it cannot be one.
    pub(crate) fn add(&mut self, role: Role, key: Key) -> Result<(), String> {
        let keys = self.of_mut(role);
        if let Some(same) = keys.iter().find(|same| same.is_same(&key)) {
            return Err(format!(
                "this key is there already, as that of {}",
                same.name()
            ));
        }
        if keys.iter().any(|other| other.name() == key.name()) {
            return Err(format!(
                "there is a key of {} already; write another name behind this one, or remove that",
                key.name()
            ));
        }
        if keys.len() >= MOST {
            return Err(format!("there are {MOST} keys of that role already"));
        }
        keys.push(key);
        Ok(())
    }

    /// Adds the keys of a file; a name that is taken gets a number. Returns how many were added and
    /// what is wrong with the others.
    pub(crate) fn add_all(&mut self, role: Role, file: &str, text: &str) -> (usize, Vec<String>) {
        let mut complaints = Vec::new();
        let mut added = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).map(|key| self.with_free_name(role, key));
            match key.and_then(|key| self.add(role, key)) {
                Ok(()) => added += 1,
                Err(sentence) => complaints.push(format!("{file}:{number}: {sentence}")),
            }
        }
        (added, complaints)
    }

    fn with_free_name(&self, role: Role, key: Key) -> Key {
        let is_taken = |name: &Login| {
            let mut keys = self.of(role).iter();
            keys.any(|other| other.name() == name && !other.is_same(&key))
        };
        if !is_taken(key.name()) {
            return key;
        }
        let mut names = (2..=MOST + 1).filter_map(|number| public::numbered(key.name(), number));
        match names.find(|name| !is_taken(name)) {
            Some(name) => key.named(name),
            None => key,
        }
    }

    /// Removes a key by its name or fingerprint and returns it.
    ///
    /// # Errors
    /// Says that there is none, or that it is the last one of an operator.
    pub(crate) fn remove(&mut self, role: Role, which: &str, last: bool) -> Result<Key, String> {
        let keys = self.of_mut(role);
        let is_it = |key: &Key| key.name().to_string() == which || key.fingerprint() == which;
        let Some(place) = keys.iter().position(is_it) else {
            return Err(format!(
                "there is no key `{}` of {}; `weir key list` shows those that there are",
                which.escape_debug(),
                match role {
                    Role::Operator => "an operator",
                    Role::Viewer => "a viewer",
                }
            ));
        };
        if role == Role::Operator && keys.len() == 1 && !last {
            return Err(format!(
                "{which} is the last key of an operator; without it only the local consoles are \
                 left: say it again with --last"
            ));
        }
        Ok(keys.remove(place))
    }

    /// Finds who has the key of a fingerprint in a role.
    pub(crate) fn who(&self, role: Role, fingerprint: &str) -> Option<&Login> {
        let mut keys = self.of(role).iter();
        let key = keys.find(|key| key.fingerprint() == fingerprint)?;
        Some(key.name())
    }

    /// Returns the rows of `key list`.
    pub(crate) fn rows(&self) -> Vec<KeyRow> {
        let of = |role: Role| {
            self.of(role).iter().map(move |key| KeyRow {
                role: role.name().to_owned(),
                name: key.name().to_string(),
                kind: key.kind().to_owned(),
                fingerprint: key.fingerprint(),
            })
        };
        of(Role::Operator).chain(of(Role::Viewer)).collect()
    }

    /// Returns the file that is kept of a role.
    pub(crate) fn text(&self, role: Role) -> String {
        let lines = self.of(role).iter().map(Key::line);
        lines.map(|line| line + "\n").collect()
    }

    /// Writes what is kept.
    pub(crate) fn save(&self, places: &Places) -> io::Result<()> {
        for (_, role) in Role::NAMES {
            let path = kept(places, *role);
            if let Some(folder) = path.parent() {
                durable::folder(folder, 0o700)?;
            }
            durable::write(&path, self.text(*role).as_bytes(), 0o600)?;
        }
        Ok(())
    }
}

/// Returns the file in which the keys of a role are kept.
pub(crate) fn kept(places: &Places, role: Role) -> PathBuf {
    places.shared().join("keys").join(role.name())
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(LONGEST_FILE)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the lines that SSH reads for a role: one program, and nothing but it.
pub(crate) fn authorized(keys: &[Key], role: Role) -> String {
    let line = |key: &Key| {
        let (role, name) = (role.name(), key.name());
        format!(
            "command=\"{PROGRAM} {role} {name}\",{LIMITS} {}\n",
            key.line()
        )
    };
    keys.iter().map(line).collect()
}

/// Writes what SSH reads, from the keys that are kept. Returns how many keys there are, and what is
/// wrong with those that were left out.
pub(crate) fn install(places: &Places) -> io::Result<(usize, Vec<String>)> {
    let (keys, complaints) = Keys::load(places);
    for (_, role) in Role::NAMES {
        let folder = home(places, *role).join(".ssh");
        // SSH looks there as the account that logs in, which owns nothing of it.
        durable::folder(&home(places, *role), 0o755)?;
        durable::folder(&folder, 0o755)?;
        let text = authorized(keys.of(*role), *role);
        durable::write(&folder.join("authorized_keys"), text.as_bytes(), 0o644)?;
    }
    Ok((keys.count(), complaints))
}

fn home(places: &Places, role: Role) -> PathBuf {
    places.run.with_file_name("weir-home").join(role.name())
}

/// The event of a key that came or went.
pub(crate) fn event(code: &'static str, role: Role, key: &Key, by: &str, from: &str) -> Event {
    let does = if code == "key-added" {
        "let in"
    } else {
        "shut out"
    };
    let text = format!("{by} {does} {} as {}", key.name(), role.name());
    Event::notice(code, text)
        .field("by", by)
        .field("from", from)
        .field("role", role.name())
        .field("name", key.name())
        .field("fingerprint", key.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";
    const BOB: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f bob";

    fn keys() -> Keys {
        let mut keys = Keys::default();
        keys.add(Role::Operator, Key::parse(ALICE).unwrap())
            .unwrap();
        keys.add(Role::Viewer, Key::parse(BOB).unwrap()).unwrap();
        keys
    }

    #[test]
    fn the_last_operator_is_removed_only_by_whoever_says_so_twice() {
        let mut keys = keys();
        let error = keys.remove(Role::Operator, "alice", false).unwrap_err();
        assert!(error.contains("--last"), "{error}");
        assert_eq!(keys.of(Role::Operator).len(), 1);
        keys.remove(Role::Operator, "alice", true).unwrap();
        // A viewer's last one is nothing special.
        keys.remove(Role::Viewer, "bob", false).unwrap();
        assert_eq!(keys.count(), 0);
        assert!(keys.remove(Role::Viewer, "bob", false).is_err());
    }

    #[test]
    fn one_of_two_operators_goes_by_name_or_by_fingerprint() {
        let mut keys = keys();
        keys.add(Role::Operator, Key::parse(BOB).unwrap()).unwrap();
        let print = Key::parse(BOB).unwrap().fingerprint();
        assert_eq!(keys.who(Role::Operator, &print).unwrap().to_string(), "bob");
        assert_eq!(keys.who(Role::Operator, "SHA256:x"), None);
        let gone = keys.remove(Role::Operator, &print, false).unwrap();
        assert_eq!(gone.name().to_string(), "bob");
        assert!(keys.remove(Role::Operator, "bob", false).is_err());
    }

    #[test]
    fn a_key_or_a_name_is_there_once() {
        let mut keys = keys();
        let again = Key::parse(&ALICE.replace("alice", "eve")).unwrap();
        let error = keys.add(Role::Operator, again).unwrap_err();
        assert!(error.contains("as that of alice"), "{error}");
        let other = Key::parse(&BOB.replace("bob", "alice")).unwrap();
        let error = keys.add(Role::Operator, other).unwrap_err();
        assert!(error.contains("key of alice already"), "{error}");
    }

    #[test]
    fn of_a_file_every_good_line_counts_and_every_bad_one_is_told() {
        let mut keys = Keys::default();
        let text = format!(
            "# mine\n\n{ALICE}\nssh-dss AAAA carol\n{}\n{ALICE}\n",
            BOB.replace("bob", "alice")
        );
        let (added, wrong) = keys.add_all(Role::Operator, "operator.keys", &text);
        assert_eq!(added, 2);
        let names: Vec<String> = keys.rows().into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["alice", "alice-2"]);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("operator.keys:4: "), "{wrong:?}");
        assert!(wrong[1].contains("there already"), "{wrong:?}");
    }

    #[test]
    fn ssh_gets_one_program_and_nothing_else() {
        let evil = format!("command=\"/bin/sh\",environment=\"A=b\" {ALICE}");
        let mut keys = Keys::default();
        keys.add(Role::Operator, Key::parse(&evil).unwrap())
            .unwrap();
        assert_eq!(
            authorized(keys.of(Role::Operator), Role::Operator),
            format!(
                "command=\"/usr/bin/weir agent login operator alice\",no-port-forwarding,\
                 no-agent-forwarding,no-X11-forwarding {ALICE}\n"
            )
        );
    }

    #[test]
    fn what_is_kept_comes_back_and_a_damaged_line_shuts_nobody_out() {
        let folder = Folder::new("keys");
        let places = Places::under(folder.path());
        assert_eq!(install(&places).unwrap(), (0, vec![]));
        keys().save(&places).unwrap();
        assert_eq!(Keys::load(&places), (keys(), vec![]));
        let path = kept(&places, Role::Operator);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"ssh-ed25519 \xff\xfe\x00garbage\n");
        fs::write(&path, bytes).unwrap();
        let (count, complaints) = install(&places).unwrap();
        assert_eq!((count, complaints.len()), (2, 1), "{complaints:?}");
        let home = folder.path().join("run/weir-home/viewer/.ssh");
        let text = fs::read_to_string(home.join("authorized_keys")).unwrap();
        assert!(text.contains("agent login viewer bob\""), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
