//! `weir check`: every mistake of a configuration at once, and what it is to be warned of.

use std::io;
use std::path::Path;

use weir_conf::{Loaded, Report, SourceText, Style};

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

/// Checks a file with those of `conf.d` beside it, or the standard input.
///
/// # Errors
/// Returns every mistake.
pub(super) fn check(file: &Path, style: Style) -> Result<Checked, Report> {
    let texts = if file == Path::new(STDIN) {
        weir_conf::read_from("<stdin>", io::stdin())?
    } else {
        weir_conf::read(file)?
    };
    let (loaded, findings) = configuration::compose(&texts, None)?;
    let warnings = loaded.named.warnings(&findings);
    Ok(Checked {
        said: summary(&texts, &loaded, warnings.as_ref().map_or(0, Report::count)),
        warned: warnings.map_or_else(String::new, |report| report.render(style)),
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
