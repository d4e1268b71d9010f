//! The master keys of SYNPROXY cookies: read from the secret files that profiles name, or made for
//! as long as the daemon lives.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};
use weir_model::{MasterKey, Service, ServiceId, Snapshot, SynproxyMode};
use zeroize::Zeroizing;

use crate::daemon::random;
use crate::log::words;

/// What a secret has at least.
const LEAST_BYTES: usize = 16;
/// Two hex digits are a byte.
const LEAST_DIGITS: usize = 2 * LEAST_BYTES;
/// Whatever is larger is another file.
const MOST_BYTES: u64 = 64 << 10;

/// What is wrong with a secret file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The file, as the configuration names it.
    pub(crate) path: String,
    /// The sentence, which names the file.
    pub(crate) sentence: String,
    /// What to do.
    pub(crate) advice: String,
}

/// What existing secret files are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What keeps them from being used.
    pub(crate) mistakes: Vec<Mistake>,
    /// What does not, but should be changed.
    pub(crate) warnings: Vec<Mistake>,
}

/// A secret file that was read.
struct Secret {
    key: MasterKey,
    warning: Option<Mistake>,
}

/// Gives every service its master key: that of its secret file, which is made when it is not there,
/// or the fallback. Returns what people should know, a line each.
///
/// # Errors
/// When a secret file cannot be read, is none, or cannot be made.
pub(crate) fn fill(snapshot: &mut Snapshot, fallback: &MasterKey) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut keys: BTreeMap<String, MasterKey> = BTreeMap::new();
    for path in secret_files(snapshot) {
        keys.insert(path.to_owned(), read_or_make(path, &mut lines)?);
    }
    for at in 0..snapshot.services.bound() {
        let Some(mut service) = snapshot.services.get(at).cloned() else {
            continue;
        };
        let key = secret_file(&service).and_then(|path| keys.get(path));
        service.synproxy.master = *key.unwrap_or(fallback);
        snapshot.services.insert(at, service);
    }
    Ok(lines)
}

/// Gives one service its master key as [`fill`] does, and leaves those of the others as they are.
///
/// # Errors
/// When its secret file cannot be read, is none, or cannot be made.
pub(crate) fn fill_one(
    snapshot: &mut Snapshot,
    id: ServiceId,
    fallback: &MasterKey,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if let Some(mut service) = snapshot.services.get(id.index()).cloned() {
        let key = secret_file(&service).map(|path| read_or_make(path, &mut lines));
        service.synproxy.master = key.transpose()?.unwrap_or(*fallback);
        snapshot.services.insert(id.index(), service);
    }
    Ok(lines)
}

fn read_or_make(path: &str, lines: &mut Vec<String>) -> Result<MasterKey> {
    let secret = if let Some(secret) = read(path)? {
        secret
    } else {
        create(Path::new(path)).with_context(|| format!("cannot make {path}"))?;
        lines.push(format!(
            "made {path}; copy it to every other Weir of the cluster, or their cookies are \
             not accepted here"
        ));
        read(path)?.with_context(|| format!("{path} was made and is gone"))?
    };
    lines.extend(secret.warning.map(|warning| format!("warning: {warning}")));
    Ok(secret.key)
}

/// Looks at the secret files that exist, and makes none.
pub(crate) fn check(snapshot: &Snapshot) -> Findings {
    let mut findings = Findings::default();
    for path in secret_files(snapshot) {
        match read(path) {
            Ok(Some(secret)) => findings.warnings.extend(secret.warning),
            Ok(None) => findings.warnings.extend(no_folder(path)),
            Err(mistake) => findings.mistakes.push(mistake),
        }
    }
    findings
}

/// Looks at those secret files that the running configuration names, too; of any other one it says
/// the same.
pub(crate) fn check_known(snapshot: &Snapshot, running: &Snapshot) -> Vec<Mistake> {
    let all = running.services.iter();
    let known: Vec<&str> = all
        .filter_map(|service| service.synproxy.secret_file.as_deref())
        .collect();
    let mistakes = secret_files(snapshot).into_iter().filter_map(|path| {
        if known.contains(&path) {
            return read(path).err();
        }
        Some(Mistake {
            path: path.to_owned(),
            sentence: "the running configuration does not name this file".to_owned(),
            advice: "for a viewer no other one is looked at".to_owned(),
        })
    });
    mistakes.collect()
}

/// Warns of a secret file that the start could not make.
fn no_folder(path: &str) -> Option<Mistake> {
    let folder = Path::new(path).parent()?;
    if folder.is_dir() {
        return None;
    }
    let folder = folder.display();
    Some(Mistake {
        path: path.to_owned(),
        sentence: format!("there is no folder {folder} to make {path} in"),
        advice: format!("weir would not start; `mkdir -p {folder}`"),
    })
}

/// Returns each secret file that is in use, once.
fn secret_files(snapshot: &Snapshot) -> Vec<&str> {
    let mut paths: Vec<&str> = snapshot.services.iter().filter_map(secret_file).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn secret_file(service: &Service) -> Option<&str> {
    match service.synproxy.mode {
        SynproxyMode::Off => None,
        SynproxyMode::Adaptive | SynproxyMode::Always => service.synproxy.secret_file.as_deref(),
    }
}

/// Reads a secret file; none when there is no such file.
fn read(path: &str) -> Result<Option<Secret>, Mistake> {
    let mistake = |sentence: String, advice: &str| Mistake {
        path: path.to_owned(),
        sentence,
        advice: advice.to_owned(),
    };
    let unreadable = |error: &io::Error| {
        let advice = if error.kind() == io::ErrorKind::PermissionDenied {
            "try it as the user that Weir runs as"
        } else {
            ""
        };
        mistake(format!("cannot read {path}: {}", words(error)), advice)
    };
    // Opening a pipe would wait for a writer.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let facts = file.metadata().map_err(|error| unreadable(&error))?;
    if !facts.is_file() {
        return Err(mistake(format!("{path} is not a regular file"), ""));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let mut limited = file.take(MOST_BYTES + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    let key = key_of(&bytes).map_err(|cause| {
        mistake(
            format!("{path} is no secret: {cause}"),
            "write 32 hex digits or more, or remove it to have one made",
        )
    })?;
    let mode = facts.permissions().mode() & 0o777;
    let warning = (mode & 0o077 != 0).then(|| {
        mistake(
            format!("{path} is open to others than its owner (mode {mode:04o})"),
            "`chmod 600` it",
        )
    });
    Ok(Some(Secret { key, warning }))
}

/// Makes the master key of what a secret file has: hex digits, or bytes as they are.
fn key_of(content: &[u8]) -> Result<MasterKey, String> {
    if content.len() as u64 > MOST_BYTES {
        return Err(format!("it is larger than {} KiB", MOST_BYTES >> 10));
    }
    // An editor ends a text with a new line, and a peer's perhaps does not. In bytes that were
    // drawn at random a blank is as good as any other.
    let is_text = content
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let content = if is_text {
        content.trim_ascii()
    } else {
        content
    };
    let digits: Option<Vec<u8>> = content.iter().map(|byte| digit(*byte)).collect();
    let Some(digits) = digits.map(Zeroizing::new) else {
        return match content.len() {
            len if len < LEAST_BYTES => Err(format!("it has {len} of {LEAST_BYTES} bytes")),
            _ => Ok(derive(content)),
        };
    };
    if digits.is_empty() {
        return Err("it is empty".to_owned());
    }
    if digits.len() < LEAST_DIGITS {
        return Err(format!(
            "it has {} of {LEAST_DIGITS} hex digits",
            digits.len()
        ));
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(format!(
            "it has {} hex digits, and two make a byte",
            digits.len()
        ));
    };
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low);
    let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(bytes.collect());
    Ok(derive(&bytes))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The first half of the SHA-256 of a secret.
fn derive(secret: &[u8]) -> MasterKey {
    let hash: [u8; 32] = Sha256::digest(secret).into();
    let mut key = MasterKey::default();
    for (to, from) in key.0.iter_mut().zip(hash) {
        *to = from;
    }
    key
}

/// Writes a new secret beside the file and gives it the file's name when it is on the disk: nobody
/// ever reads half of one.
fn create(path: &Path) -> Result<()> {
    let (first, second) = (random()?, random()?);
    let (first, second) = (u128::from_be_bytes(first), u128::from_be_bytes(second));
    let text = Zeroizing::new(format!("{first:032x}{second:032x}\n"));
    let new = beside(path);
    let written = write_new(&new, text.as_bytes()).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        // The first error is the one to tell.
        let _ = fs::remove_file(&new);
        anyhow::bail!("{}", words(&error));
    }
    if let Some(Ok(directory)) = path.parent().map(File::open) {
        // Without it a crash of the machine may lose the name; the next start makes another one.
        let _ = directory.sync_all();
    }
    Ok(())
}

fn write_new(new: &Path, bytes: &[u8]) -> io::Result<()> {
    // What an earlier process with our id left.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        if self.advice.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.advice)
    }
}

impl std::error::Error for Mistake {}

#[cfg(test)]
mod tests;
