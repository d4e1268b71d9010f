//! What must hold of every configuration, told by reading it a second, simpler way.

use anyhow::{Context, Result, ensure};
use weir_conf::{
    Effective, Loaded, NoEnv, Purpose, Report, SourceText, Style, compose, parse_str,
    print_effective,
};

/// A key with its value, the words of it two blanks apart.
type Said = (String, String);

/// Reads the files and says whether they are accepted.
pub(super) fn judge(files: &[Vec<u8>]) -> Result<bool> {
    let names = ["a.conf", "b.conf"];
    let texts: Vec<SourceText> = files
        .iter()
        .zip(names)
        .map(|(bytes, name)| SourceText::new(name, bytes.as_slice()))
        .collect();
    let what = || {
        let texts: Vec<_> = files.iter().map(|it| String::from_utf8_lossy(it)).collect();
        format!("of\n{}", texts.join("--- the next file\n"))
    };
    match compose(&texts, &NoEnv, None) {
        Ok(loaded) => accepted(files, &loaded).with_context(what).map(|()| true),
        Err(report) => refused(files, &report).with_context(what).map(|()| false),
    }
}

/// Nothing that was said is missing, nothing was made up, and printing is reading.
fn accepted(files: &[Vec<u8>], loaded: &Loaded) -> Result<()> {
    let mut said: Vec<Said> = Vec::new();
    let mut headings = Vec::new();
    for file in files {
        let text = std::str::from_utf8(file).context("it is not even text")?;
        read(text, &mut headings, &mut said);
    }
    let mut held = held(&loaded.effective);
    said.sort();
    held.sort();
    ensure!(said == held, "said {said:?}\nholds {held:?}");
    let sections = loaded.effective.sections().iter();
    let has_values = sections.filter(|it| it.values.iter().any(|value| !value.is_default));
    for section in has_values {
        let heading = section.heading.as_str();
        let given = headings.iter().any(|it| it == heading);
        ensure!(given, "{heading} was never said: {headings:?}");
    }
    let printed = print_effective(loaded);
    let again = match parse_str("printed", &printed, None) {
        Ok(again) => again,
        Err(report) => anyhow::bail!("what is printed is refused: {report}\n{printed}"),
    };
    ensure!(
        again.snapshot == loaded.snapshot,
        "what is printed is something else:\n{printed}"
    );
    let twice = print_effective(&again);
    ensure!(twice == printed, "printed twice:\n{printed}\n{twice}");
    if let Some(warnings) = loaded.named.warnings(&[]) {
        layout(&warnings)?;
    }
    Ok(())
}

/// Reads lines as one who knows the format in two sentences.
fn read(text: &str, headings: &mut Vec<String>, said: &mut Vec<Said>) {
    let words = |text: &str| -> Vec<String> {
        let words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines() {
        let mut end = line.len();
        let mut before = ' ';
        for (at, c) in line.char_indices() {
            if matches!(c, '#' | ';') && matches!(before, ' ' | '\t') {
                end = at;
                break;
            }
            before = c;
        }
        let line = line[..end].trim_matches([' ', '\t', '\r']);
        if line.starts_with('[') {
            let inside = line.trim_matches(['[', ']']);
            headings.push(format!("[{}]", words(inside).join(" ")));
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim_matches([' ', '\t']).to_owned();
            said.push((key, words(value).join("  ")));
        }
    }
}

fn held(effective: &Effective) -> Vec<Said> {
    let values = effective.sections().iter().flat_map(|it| &it.values);
    let given = values.filter(|value| !value.is_default);
    given
        .map(|value| (value.key.to_owned(), value.value.clone()))
        .collect()
}

/// Every mistake has a place that is there, or none at all.
fn refused(files: &[Vec<u8>], report: &Report) -> Result<()> {
    ensure!(report.count() > 0, "refused without a reason");
    for (place, name) in report.places().zip(report.source_names()) {
        let (Some((line, column)), Some(name)) = (place, name) else {
            continue;
        };
        let at = usize::from(name == "b.conf");
        let text = String::from_utf8_lossy(files.get(at).context("a file of its own")?);
        let width = text
            .lines()
            .nth(line.wrapping_sub(1))
            .map(|it| it.chars().count());
        let width = width.with_context(|| format!("{name} has no line {line}: {report}"))?;
        ensure!(
            (1..=width + 1).contains(&column),
            "{name}:{line} has no column {column}: {report}"
        );
    }
    layout(report)
}

fn layout(report: &Report) -> Result<()> {
    let long = report.render(Style::long(Purpose::Check));
    ensure!(long.is_ascii(), "not for every terminal: {long}");
    for line in long.lines().filter(|line| !line.contains("--> ")) {
        ensure!(
            line.len() <= 80,
            "a line has {} columns: {line}",
            line.len()
        );
    }
    let short = report.render(Style::short());
    let told = report.count().min(20);
    ensure!(
        short.lines().count() == told,
        "{told} mistakes on {} lines: {short}",
        short.lines().count()
    );
    Ok(())
}
