//! The configuration file: lexer with spans, schema table, diagnostics.
//!
//! There is one way from text to a [`Snapshot`]: the file becomes a tree of the `config` crate by
//! our own format, the schema's defaults lie below it and the environment's scalars of `[node]`
//! above; the merged tree is read by the schema, and what was read is checked as a whole. Every
//! mistake on the way goes into one [`Report`], with its place.

#![forbid(unsafe_code)]

mod compile;
mod diagnostic;
mod effective;
mod files;
mod format;
mod layers;
mod lexer;
mod schema;
mod source;
mod suggest;
mod tree;
mod units;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use config::Source as _;
use weir_model::Snapshot;

pub use diagnostic::{Format, Purpose, Report, Style};
pub use effective::{Effective, EffectiveSection, EffectiveValue};
pub use files::NamedFiles;
pub use layers::{Env, NoEnv, ProcessEnv};
pub use schema::{help, keys};

use diagnostic::Sink;
use format::Ini;
use layers::Layer;
use source::{Place, Sources};

/// Where the file is when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/weir/weir.conf";

/// The largest file that is read.
const LARGEST: u64 = 16 << 20;

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the daemon runs on.
    pub snapshot: Snapshot,
    /// What holds, for people.
    pub effective: Effective,
    /// Where the file names other files.
    pub files: NamedFiles,
}

/// Reads a file.
///
/// Ids are those of `previous` where an object has the same name, and never given out again.
///
/// # Errors
/// Returns every mistake.
pub fn load(path: &Path, env: &dyn Env, previous: Option<&Snapshot>) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let words = error.to_string();
        let words = words.split(" (os error").next().unwrap_or_default();
        return Err(Report::nowhere(format!(
            "cannot read {name}: {}",
            words.to_lowercase()
        )));
    }
    if bytes.len() as u64 > LARGEST {
        let most = LARGEST >> 20;
        return Err(Report::nowhere(format!(
            "{name} is larger than {most} MiB; is it the right file?"
        )));
    }
    parse(&name, &bytes, env, previous)
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
    let mut sources = Sources::default();
    let text = String::from_utf8_lossy(bytes);
    let source = sources.add(name, &text);
    let sink = Arc::new(Mutex::new(Sink::default()));
    let format = Ini {
        name: sources.name(source).to_owned(),
        source,
        sink: Arc::clone(&sink),
    };
    let file = config::File::from_str(&text, format).collect();
    let mut sink = std::mem::take(&mut *sink.lock().unwrap_or_else(PoisonError::into_inner));
    not_text(bytes, source, &mut sink);

    let merged = file.and_then(|file| {
        config::Config::builder()
            .add_source(Layer::defaults(&file))
            .add_source(Layer(file))
            .add_source(Layer::environment(env, &mut sources, &mut sink))
            .build()
    });
    let found = match merged {
        Ok(merged) => {
            let objects = tree::read(&merged.cache, &sources, &mut sink);
            let snapshot = compile::compile(&objects, previous, &mut sink);
            snapshot.map(|snapshot| Loaded {
                snapshot,
                effective: Effective::new(&objects),
                files: NamedFiles::new(&objects, &sources),
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

/// Writes the effective file: values as given, defaults as comments. Reading it again gives the
/// same configuration.
#[must_use]
pub fn print_effective(loaded: &Loaded) -> String {
    loaded.effective.to_string()
}

/// Reports the first byte that is not UTF-8.
fn not_text(bytes: &[u8], source: usize, sink: &mut Sink) {
    let Err(error) = std::str::from_utf8(bytes) else {
        return;
    };
    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
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
