//! `weir check`: every mistake of a configuration at once, and what it is to be warned of.

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use weir_conf::{Loaded, Report, Severity, SourceText, Style};
use weir_model::Snapshot;

use crate::configuration;

/// Stands for the standard input where a file is asked for.
const STDIN: &str = "-";

/// What came of checking.
pub(super) struct Checked {
    /// What goes to standard output.
    pub(super) said: String,
    /// What goes to standard error.
    pub(super) warned: String,
}

/// How it is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// For people, or for an editor.
    Text(Style),
    /// For programs, on standard output.
    Json,
}

/// Checks a file and tells all that there is to say, and whether there is no mistake.
pub(super) fn tell(file: &Path, told: Told) -> (Checked, bool) {
    let checked = loaded(file);
    let is_good = checked.is_ok();
    let checked = match (told, checked) {
        (Told::Json, checked) => Checked {
            said: format!("{}\n", json(file, &checked)),
            warned: String::new(),
        },
        (Told::Text(style), Ok((texts, loaded, warnings))) => Checked {
            said: summary(&texts, &loaded, warnings.as_ref().map_or(0, Report::count)),
            warned: warnings.map_or_else(String::new, |report| report.render(style)),
        },
        (Told::Text(style), Err(report)) => Checked {
            said: String::new(),
            warned: report.render(style),
        },
    };
    (checked, is_good)
}

type Found = (Vec<SourceText>, Loaded, Option<Report>);

/// Reads a file with those of `conf.d` beside it, or the standard input.
///
/// # Errors
/// Returns every mistake.
fn loaded(file: &Path) -> Result<Found, Report> {
    let texts = if file == Path::new(STDIN) {
        weir_conf::read_from("<stdin>", io::stdin())?
    } else {
        weir_conf::read(file)?
    };
    let (loaded, findings) = configuration::compose(&texts, None)?;
    let warnings = loaded.named.warnings(&findings);
    Ok((texts, loaded, warnings))
}

/// Returns all of it for programs: the first 20 mistakes, or the first 20 warnings.
fn json(file: &Path, checked: &Result<Found, Report>) -> Value {
    let (report, services, pools) = match checked {
        Ok((_, loaded, warnings)) => {
            let Snapshot {
                services, pools, ..
            } = &loaded.snapshot;
            let counts = (Some(services.count()), Some(pools.count()));
            (warnings.as_ref(), counts.0, counts.1)
        }
        Err(report) => (Some(report), None, None),
    };
    let count = |severity| match report {
        Some(report) if report.severity() == severity => report.count(),
        Some(_) | None => 0,
    };
    let mistakes = report.map_or_else(Vec::new, |report| {
        let word = match report.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let told = report.told().into_iter();
        told.map(|told| mistake(word, told)).collect()
    });
    let (errors, warned) = (count(Severity::Error), count(Severity::Warning));
    json!({
        "file": file.display().to_string(),
        "ok": checked.is_ok(),
        "errors": errors,
        "warnings": warned,
        "services": services,
        "pools": pools,
        "mistakes": mistakes,
    })
}

fn mistake(word: &str, told: weir_conf::Told) -> Value {
    let mut places = told.places.into_iter();
    let first = places.next();
    let related: Vec<Value> = places
        .map(|place| {
            json!({
                "file": place.file, "line": place.line, "column": place.column,
                "width": place.width, "note": place.note,
            })
        })
        .collect();
    let first = first.as_ref();
    json!({
        "severity": word,
        "file": first.map(|place| &place.file),
        "line": first.map(|place| place.line),
        "column": first.map(|place| place.column),
        "width": first.map(|place| place.width),
        "message": told.message,
        "note": first.map(|place| &place.note),
        "related": related,
    })
}

fn summary(texts: &[SourceText], loaded: &Loaded, warnings: usize) -> String {
    let name = texts.first().map_or("", |text| text.name.as_str());
    let further = match texts.len() {
        0 | 1 => String::new(),
        count => format!(" and {} of conf.d", counted(count - 1, "file")),
    };
    let services = counted(loaded.snapshot.services.count(), "service");
    let pools = counted(loaded.snapshot.pools.count(), "LIP pool");
    let warned = match warnings {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    format!("{name}{further}: {services}, {pools}; no mistakes{warned}\n")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
