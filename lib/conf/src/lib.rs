//! The configuration file: lexer with spans, schema table, diagnostics.
//!
//! There is one way from texts to a [`Snapshot`]: the file and those of `conf.d` beside it become
//! trees of the `config` crate by our own format; the schema's defaults lie below them and the
//! environment's scalars of `[node]` above; the merged tree is read by the schema, and what was
//! read is checked as a whole. Every mistake on the way goes into one [`Report`], with its place.

#![forbid(unsafe_code)]

mod compile;
mod diagnostic;
mod difference;
mod effective;
mod format;
mod layers;
mod lexer;
mod named;
mod read;
mod schema;
mod source;
mod suggest;
mod tree;
mod units;
#[cfg(test)]
mod wrong;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use config::{ConfigError, Map, Source as _, Value};
use weir_model::Snapshot;

pub use compile::{Management, ManagementAddress};
pub use diagnostic::{Format, Purpose, Report, Severity, Style, Told, ToldPlace};
pub use difference::{Change, ObjectDifference, ValueDifference, difference};
pub use effective::{Effective, EffectiveSection, EffectiveValue};
pub use layers::{Env, NoEnv, ProcessEnv};
pub use named::{Finding, Named};
pub use read::{SourceText, read, read_from};
pub use schema::{help, keys, names, reference};
pub use suggest::instead;

use diagnostic::Sink;
use format::{Ini, Reading};
use layers::Layer;
use source::{Place, Sources};

/// Where the file is when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/weir/weir.conf";

/// The format of configurations that this software writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the daemon runs on.
    pub snapshot: Snapshot,
    /// What the agent of the appliance's image sets up; the daemon has no use for it.
    pub management: Management,
    /// What holds, for people.
    pub effective: Effective,
    /// Where it names files and devices, and what it is to be warned of.
    pub named: Named,
}

/// Reads a file and those of `conf.d` beside it.
///
/// Ids are those of `previous` where an object has the same name, and never given out again.
///
/// # Errors
/// Returns every mistake.
pub fn load(path: &Path, env: &dyn Env, previous: Option<&Snapshot>) -> Result<Loaded, Report> {
    compose(&read(path)?, env, previous)
}

/// Reads a text as if it were a file of the given name, without an environment.
///
/// # Errors
/// Returns every mistake.
pub fn parse_str(name: &str, text: &str, previous: Option<&Snapshot>) -> Result<Loaded, Report> {
    parse(name, text.as_bytes(), &NoEnv, previous)
}

/// Reads the bytes of a file of the given name.
///
/// # Errors
/// Returns every mistake.
pub fn parse(
    name: &str,
    bytes: &[u8],
    env: &dyn Env,
    previous: Option<&Snapshot>,
) -> Result<Loaded, Report> {
    compose(&[SourceText::new(name, bytes)], env, previous)
}

/// Puts a configuration together of texts that each add objects, as [`read`] returns them, and of
/// the environment.
///
/// # Errors
/// Returns every mistake.
pub fn compose(
    texts: &[SourceText],
    env: &dyn Env,
    previous: Option<&Snapshot>,
) -> Result<Loaded, Report> {
    let mut names = BTreeSet::new();
    if let Some(text) = texts.iter().find(|text| !names.insert(&text.name)) {
        // Places could not be told apart.
        let message = format!("the file {} is given twice", text.name);
        return Err(Report::nowhere(message));
    }
    let mut sources = Sources::default();
    let (files, mut sink) = files(texts, &mut sources);
    let merged = files.and_then(|files| {
        config::Config::builder()
            .add_source(Layer::defaults(&files))
            .add_source(Layer(files))
            .add_source(Layer::environment(env, &mut sources, &mut sink))
            .build()
    });
    let found = match merged {
        Ok(merged) => {
            let objects = tree::read(&merged.cache, &sources, &mut sink);
            let snapshot = compile::compile(&objects, previous, &mut sink);
            snapshot
                .zip(compile::management(&objects))
                .map(|(snapshot, management)| Loaded {
                    snapshot,
                    management,
                    effective: Effective::new(&objects),
                    named: Named::new(&objects, &sources, sink.take_warnings()),
                })
        }
        Err(error) => {
            sink.nowhere(format!("the configuration cannot be put together: {error}"));
            None
        }
    };
    match (sink.into_report(sources), found) {
        (None, Some(loaded)) => Ok(loaded),
        (Some(report), _) => Err(report),
        (None, None) => Err(Report::nowhere(
            "the configuration was refused without a reason; please report this".to_owned(),
        )),
    }
}

/// Merges the trees of all texts; no object is in two of them.
fn files(
    texts: &[SourceText],
    sources: &mut Sources,
) -> (Result<Map<String, Value>, ConfigError>, Sink) {
    let reading = Arc::new(Mutex::new(Reading::default()));
    let mut builder = config::Config::builder();
    for SourceText { name, bytes } in texts {
        let is_utf16 = is_utf16(bytes);
        let text = if is_utf16 {
            Cow::Borrowed("")
        } else {
            String::from_utf8_lossy(bytes)
        };
        let source = sources.add(name, &text);
        let format = Ini {
            name: sources.name(source).to_owned(),
            source,
            reading: Arc::clone(&reading),
        };
        builder = builder.add_source(config::File::from_str(&text, format));
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        if is_utf16 {
            utf16(source, &mut reading.sink);
        } else {
            not_text(bytes, source, &mut reading.sink);
        }
    }
    let files = builder.build().and_then(|config| config.collect());
    let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
    (files, std::mem::take(&mut reading.sink))
}

/// Writes the effective file: the values of all layers in one text, defaults as comments. Reading it
/// again gives the same configuration, so it is also what is kept of one.
#[must_use]
pub fn print_effective(loaded: &Loaded) -> String {
    loaded.effective.to_string()
}

/// Says whether a text is in UTF-16, as some editors save it: it begins with a byte order mark, or
/// every other byte at its beginning is 0.
fn is_utf16(bytes: &[u8]) -> bool {
    const HEAD: usize = 64;
    let head = bytes.get(..HEAD.min(bytes.len() & !1)).unwrap_or_default();
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).all(|byte| *byte == 0);
    matches!(head, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || head.len() >= 4 && zeros(0) != zeros(1)
}

/// Reports one mistake instead of one on each line.
fn utf16(source: usize, sink: &mut Sink) {
    let place = Place {
        source,
        line: 1,
        column: 1,
        width: 1,
    };
    let note = "save it as UTF-8; `iconv -f UTF-16 -t UTF-8` does that";
    sink.at(place, "the file is in UTF-16", note);
    sink.lose_section("");
}

/// Reports the first byte that is not UTF-8.
fn not_text(bytes: &[u8], source: usize, sink: &mut Sink) {
    let Err(error) = std::str::from_utf8(bytes) else {
        return;
    };
    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
    if before.is_empty() {
        sink.lose_section("");
    }
    let before = String::from_utf8_lossy(before);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
    sink.at(
        Place {
            source,
            line,
            column,
            width: 1,
        },
        format!("the byte 0x{byte:02x} is not text"),
        "the file must be UTF-8",
    );
}
