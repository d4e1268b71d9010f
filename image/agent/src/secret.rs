//! The local secret: who stands in front of the box and may change it.
//!
//! There is none until somebody sets one, and without it the local consoles only show. What is kept
//! is an Argon2id hash whose memory fits into a small box.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use nix::fcntl::{Flock, FlockArg};

use crate::durable;
use crate::places::Places;

/// Memory in KiB, passes and lanes: what OWASP asks for at least, on a box of 256 MB.
const COST: (u32, u32, u32) = (12 * 1024, 3, 1);
/// A hash that comes with a backup must not cost more than this.
const MOST_COST: (u32, u32, u32) = (64 * 1024, 16, 4);
const SHORTEST: usize = 10;
const LONGEST: usize = 128;
/// So many different characters are in it at least.
const DIFFERENT: usize = 5;
/// No hash is longer.
const LONGEST_HASH: u64 = 1024;
/// So many wrong ones in a row cost no waiting.
const FREE: u32 = 3;
/// What the first one after them costs; each further one costs twice as much.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// What became of a secret that somebody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the one.
    Right,
    /// It is not.
    Wrong,
    /// It was not looked at: there were too many wrong ones.
    Wait(Duration),
    /// There is none.
    Unset,
}

/// Wrong secrets in a row, on all local consoles together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Attempts {
    wrong: u32,
    /// When the last one was, since the start of the box.
    last: Duration,
}

impl Attempts {
    /// Returns how long nobody may try.
    fn wait(self, now: Duration) -> Duration {
        let Some(more) = self.wrong.checked_sub(FREE) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(more).unwrap_or(u32::MAX);
        let wait = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
        (self.last + wait).saturating_sub(now)
    }

    fn after(self, is_right: bool, now: Duration) -> Self {
        if is_right {
            return Self::default();
        }
        Self {
            wrong: self.wrong.saturating_add(1),
            last: now,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (wrong, last) = text.trim().split_once(' ')?;
        Some(Self {
            wrong: wrong.parse().ok()?,
            last: Duration::from_secs(last.parse().ok()?),
        })
    }
}

/// Returns the file of the hash.
pub(crate) fn file(places: &Places) -> PathBuf {
    places.shared().join("secret")
}

/// Says whether there is a secret.
pub(crate) fn is_set(places: &Places) -> bool {
    matches!(hash(places), Ok(Some(_)))
}

/// Says why a secret is not good enough; none where it is.
pub(crate) fn weakness(secret: &str) -> Option<String> {
    let count = secret.chars().count();
    if !(SHORTEST..=LONGEST).contains(&count) {
        return Some(format!(
            "a secret has {SHORTEST} to {LONGEST} characters, this one {count}"
        ));
    }
    if secret.chars().any(char::is_control) {
        return Some("a secret has no control characters".to_owned());
    }
    let mut different: Vec<char> = secret.chars().collect();
    different.sort_unstable();
    different.dedup();
    (different.len() < DIFFERENT)
        .then(|| format!("a secret has at least {DIFFERENT} different characters"))
}

/// Sets the secret.
///
/// # Errors
/// Says why it is not good enough, or what cannot be written.
pub(crate) fn set(places: &Places, secret: &str) -> Result<(), String> {
    if let Some(sentence) = weakness(secret) {
        return Err(sentence);
    }
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None);
    let params = params.map_err(|error| format!("the secret cannot be hashed: {error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(secret.as_bytes());
    let hash = hash.map_err(|error| format!("the secret cannot be hashed: {error}"))?;
    let cannot = |error: io::Error| format!("the secret cannot be written: {error}");
    durable::folder(&places.shared(), 0o700).map_err(cannot)?;
    durable::write(&file(places), format!("{hash}\n").as_bytes(), 0o600).map_err(cannot)?;
    let _ = fs::remove_file(attempts_file(places));
    Ok(())
}

/// Says whether a text is a hash that this box can take.
pub(crate) fn check_hash(text: &str) -> Result<(), String> {
    const NONE: &str = "it is no hash of a local secret";
    let hash = PasswordHash::new(text.trim()).map_err(|_| NONE.to_owned())?;
    let params = Params::try_from(&hash).map_err(|_| NONE.to_owned())?;
    let (memory, passes, lanes) = MOST_COST;
    let fits = params.m_cost() <= memory && params.t_cost() <= passes && params.p_cost() <= lanes;
    if hash.algorithm.as_str() == "argon2id" && hash.hash.is_some() && fits {
        return Ok(());
    }
    Err("the hash of the local secret costs more than this box has".to_owned())
}

/// Looks at a secret that somebody gives; several consoles wait for each other.
///
/// # Errors
/// Says what cannot be read.
pub(crate) fn verify(places: &Places, secret: &str) -> Result<Verdict, String> {
    let Some(hash) = hash(places)? else {
        return Ok(Verdict::Unset);
    };
    let cannot = |error: io::Error| format!("attempts cannot be counted: {error}");
    let mut file = attempts(places).map_err(cannot)?;
    let mut text = String::new();
    let read = (&mut *file).take(64).read_to_string(&mut text);
    read.map_err(cannot)?;
    let attempts = Attempts::parse(&text).unwrap_or_default();
    let now = uptime(places).map_err(cannot)?;
    let wait = attempts.wait(now);
    if wait > Duration::ZERO {
        return Ok(Verdict::Wait(wait));
    }
    // Counted before it is known: whoever cuts the attempt short has made it all the same.
    note(&mut file, attempts.after(false, now)).map_err(cannot)?;
    let parsed = PasswordHash::new(hash.trim()).map_err(|_| damaged(places))?;
    let is_right = secret.len() <= LONGEST * 4
        && Argon2::default()
            .verify_password(secret.as_bytes(), &parsed)
            .is_ok();
    if is_right {
        note(&mut file, Attempts::default()).map_err(cannot)?;
        return Ok(Verdict::Right);
    }
    Ok(Verdict::Wrong)
}

fn hash(places: &Places) -> Result<Option<String>, String> {
    let path = file(places);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let mut text = String::new();
    let read = file.take(LONGEST_HASH).read_to_string(&mut text);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    check_hash(&text).map_err(|_| damaged(places))?;
    Ok(Some(text))
}

fn damaged(places: &Places) -> String {
    format!(
        "{} is damaged; start the box with `reset local secret` of the boot menu",
        file(places).display()
    )
}

fn attempts_file(places: &Places) -> PathBuf {
    places.run.join("secret-attempts")
}

fn attempts(places: &Places) -> io::Result<Flock<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(attempts_file(places))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

fn note(file: &mut File, attempts: Attempts) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{} {}", attempts.wrong, attempts.last.as_secs())
}

fn uptime(places: &Places) -> io::Result<Duration> {
    let text = fs::read_to_string(places.proc.join("uptime"))?;
    let seconds = parse_uptime(&text);
    seconds.ok_or_else(|| io::Error::other("/proc/uptime says no time"))
}

/// Reads what the kernel says in `/proc/uptime`.
pub(crate) fn parse_uptime(text: &str) -> Option<Duration> {
    let (seconds, _) = text.split_once('.')?;
    Some(Duration::from_secs(seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn places(folder: &Folder) -> Places {
        let places = Places::under(folder.path());
        for path in [&places.run, &places.proc] {
            fs::create_dir_all(path).unwrap();
        }
        at(&places, 100);
        places
    }

    fn at(places: &Places, seconds: u64) {
        fs::write(places.proc.join("uptime"), format!("{seconds}.17 3.2\n")).unwrap();
    }

    #[test]
    fn there_is_none_until_it_is_set_and_then_only_it_opens() {
        let folder = Folder::new("secret");
        let places = places(&folder);
        assert_eq!(verify(&places, ""), Ok(Verdict::Unset));
        assert!(!is_set(&places));
        set(&places, "correct horse").unwrap();
        assert!(is_set(&places));
        assert_eq!(verify(&places, "correct horse"), Ok(Verdict::Right));
        assert_eq!(verify(&places, "correct horse "), Ok(Verdict::Wrong));
        let kept = fs::read_to_string(file(&places)).unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=12288,t=3,p=1$"),
            "{kept}"
        );
    }

    #[test]
    fn a_damaged_hash_opens_for_nobody_and_says_the_way_back() {
        let folder = Folder::new("secret-damaged");
        let places = places(&folder);
        fs::create_dir_all(places.shared()).unwrap();
        for text in ["", "correct horse", "$argon2id$v=19$m=12288,t=3,p=1$"] {
            fs::write(file(&places), text).unwrap();
            let error = verify(&places, text).unwrap_err();
            assert!(error.contains("reset local secret"), "{error}");
        }
    }

    #[test]
    fn wrong_ones_in_a_row_cost_more_and_more_time_and_even_the_right_one_waits() {
        let folder = Folder::new("secret-wait");
        let places = places(&folder);
        set(&places, "correct horse").unwrap();
        for _ in 0..FREE {
            assert_eq!(verify(&places, "x"), Ok(Verdict::Wrong));
        }
        let wait = Ok(Verdict::Wait(FIRST_WAIT));
        assert_eq!(verify(&places, "correct horse"), wait);
        at(&places, 105);
        assert_eq!(verify(&places, "x"), Ok(Verdict::Wrong));
        let wait = Ok(Verdict::Wait(FIRST_WAIT * 2));
        assert_eq!(verify(&places, "correct horse"), wait);
        at(&places, 115);
        assert_eq!(verify(&places, "correct horse"), Ok(Verdict::Right));
        assert_eq!(verify(&places, "x"), Ok(Verdict::Wrong));
    }

    #[test]
    fn waiting_ends() {
        let now = Duration::from_secs(1000);
        for wrong in [FREE + 6, FREE + 31, FREE + 32, u32::MAX] {
            let attempts = Attempts { wrong, last: now };
            assert_eq!(attempts.wait(now), LONGEST_WAIT, "{wrong}");
            assert_eq!(attempts.wait(now + LONGEST_WAIT), Duration::ZERO);
            assert!(attempts.after(false, now).wrong >= wrong);
        }
    }

    #[test]
    fn weak_ones_are_refused_with_a_reason() {
        for (secret, says) in [
            ("", "10 to 128"),
            ("short", "10 to 128"),
            ("aaaaaaaaaaaaaa", "different"),
            ("correct\thorse", "control"),
        ] {
            let sentence = weakness(secret).unwrap();
            assert!(sentence.contains(says), "{secret}: {sentence}");
        }
        assert!(weakness(&"xyzäö".repeat(26)).is_some());
        assert_eq!(weakness("richtig pferd"), None);
        assert_eq!(weakness("äöüäöüß?ßx"), None);
    }

    #[test]
    fn a_hash_of_a_backup_must_not_cost_what_the_box_has_not() {
        let salt = "$c29tZXNhbHRzb21lc2FsdA$";
        let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let with = |head: &str| check_hash(&format!("{head}{salt}{hash}\n"));
        assert_eq!(with("$argon2id$v=19$m=12288,t=3,p=1"), Ok(()));
        assert!(with("$argon2id$v=19$m=4194304,t=3,p=1").is_err());
        assert!(with("$argon2id$v=19$m=12288,t=100000,p=1").is_err());
        assert!(with("$argon2d$v=19$m=12288,t=3,p=1").is_err());
        assert!(with("$5$").is_err());
        assert!(check_hash("").is_err());
    }
}
