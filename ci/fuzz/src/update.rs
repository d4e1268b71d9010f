//! Whatever an update file holds: what was not signed is not believed, what is refused is refused
//! with a sentence, and what is taken is what was signed.

use std::io::Cursor;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use minisign::KeyPair;
use tar::{Builder, Header};
use weir_agent::slots::{Entry, Manifest};

use crate::choice::Choice;

/// No sentence is longer.
const LONGEST_SENTENCE: usize = 600;
const VERSION: &str = "0.1.0+12";

/// What came of many update files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Examined {
    /// Were taken.
    pub taken: u64,
    /// Were refused before anything of them was believed.
    pub unsigned: u64,
    /// Were signed, and refused for what they say or hold.
    pub refused: u64,
}

/// Reads the bytes as an update file, then as changes of a good one.
pub(crate) fn run(data: &[u8]) -> Result<()> {
    ensure!(examine(data)?.is_err(), "bytes of a stranger are taken");
    many(&mut Choice::Bytes(data)).map(drop)
}

/// Changes good update files until the source of decisions ends.
pub(crate) fn many(choice: &mut Choice<'_>) -> Result<Examined> {
    let mut examined = Examined::default();
    while choice.another() {
        match choice.below(3) {
            0 => signed_as_it_is(choice, &mut examined)?,
            1 => changed_before(choice, &mut examined)?,
            _ => changed_behind(choice, &mut examined)?,
        }
    }
    Ok(examined)
}

/// What was signed is changed afterwards, or not.
fn changed_behind(choice: &mut Choice<'_>, examined: &mut Examined) -> Result<()> {
    let good = good()?;
    let mut bytes = good.update.clone();
    change(&mut bytes, choice);
    match examine(&bytes)? {
        Ok(manifest) => {
            ensure!(manifest == good.manifest, "another one is taken");
            examined.taken += 1;
        }
        Err(_) => examined.unsigned += 1,
    }
    Ok(())
}

/// A manifest that was changed is signed: whoever has the key may be wrong.
fn changed_before(choice: &mut Choice<'_>, examined: &mut Examined) -> Result<()> {
    let mut text = good()?.manifest.to_string().into_bytes();
    change(&mut text, choice);
    judge(&pack(&text, &FILES)?, examined)
}

/// Files that are not what the manifest says.
fn signed_as_it_is(choice: &mut Choice<'_>, examined: &mut Examined) -> Result<()> {
    let text = good()?.manifest.to_string();
    let mut files = FILES.map(|(name, bytes)| (name, bytes.to_vec()));
    if let Some((_, bytes)) = files.get_mut(choice.below(3)) {
        change(bytes, choice);
    }
    let files = [0, 1].map(|n| (files[n].0, files[n].1.as_slice()));
    judge(&pack(text.as_bytes(), &files)?, examined)
}

fn judge(update: &[u8], examined: &mut Examined) -> Result<()> {
    match examine(update)? {
        Ok(_) => examined.taken += 1,
        Err(_) => examined.refused += 1,
    }
    Ok(())
}

/// Reads an update file; holds what is said of it against the rules.
fn examine(update: &[u8]) -> Result<Result<Manifest, String>> {
    let read = weir_agent::examine(Cursor::new(update), &good()?.public);
    match &read {
        Ok(manifest) => {
            let again = Manifest::parse(&manifest.to_string());
            ensure!(
                again.as_ref() == Ok(manifest),
                "{manifest} reads back as {again:?}"
            );
            for file in &manifest.files {
                let known = FILES.iter().any(|(name, _)| *name == file.name);
                ensure!(known, "a file named {:?} is taken", file.name);
            }
        }
        Err(sentence) => ensure!(
            !sentence.is_empty()
                && sentence.len() <= LONGEST_SENTENCE
                && !sentence.chars().any(char::is_control),
            "this is no sentence: {sentence:?}"
        ),
    }
    Ok(read)
}

/// Writes over, cuts out and puts in a few bytes, or none.
fn change(bytes: &mut Vec<u8>, choice: &mut Choice<'_>) {
    for _ in 0..choice.below(4) {
        let at = usize::from(choice.short())
            .checked_rem(bytes.len())
            .unwrap_or(0);
        match choice.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, choice.byte()),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => {
                let byte = choice.byte();
                if let Some(old) = bytes.get_mut(at) {
                    *old = byte;
                }
            }
        }
    }
}

const FILES: [(&str, &[u8]); 2] = [("vmlinuz", &[7; 600]), ("initrd", &[9; 1100])];

/// An update as it should be, and the key that signed it.
struct Good {
    manifest: Manifest,
    update: Vec<u8>,
    public: String,
}

fn key() -> Result<&'static KeyPair> {
    static KEY: OnceLock<Option<KeyPair>> = OnceLock::new();
    let made = KEY.get_or_init(|| KeyPair::generate_unencrypted_keypair().ok());
    made.as_ref().context("there is no randomness")
}

fn good() -> Result<&'static Good> {
    static GOOD: OnceLock<Result<Good, String>> = OnceLock::new();
    let made = GOOD.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| anyhow!(error.clone()))
}

fn make() -> Result<Good> {
    let manifest = Manifest {
        version: VERSION.parse().context("the version")?,
        arch: "x86_64".to_owned(),
        config_format: 1,
        files: FILES
            .iter()
            .map(|(name, bytes)| Entry::of(name, bytes))
            .collect(),
    };
    Ok(Good {
        update: pack(manifest.to_string().as_bytes(), &FILES)?,
        manifest,
        public: key()?.pk.to_box()?.to_string(),
    })
}

fn pack(manifest: &[u8], files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let signature = minisign::sign(None, &key()?.sk, Cursor::new(manifest), Some("weir"), None)?;
    let signature = signature.into_string();
    let mut archive = Builder::new(Vec::new());
    let head = [
        ("manifest", manifest),
        ("manifest.minisig", signature.as_bytes()),
    ];
    for (name, bytes) in head.iter().chain(files) {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes)?;
    }
    Ok(archive.into_inner()?)
}
