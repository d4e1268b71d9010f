//! Asks the schema of this build what of a draft it takes, and leaves out the rest with its reason.

use super::draft::{Draft, DraftLine};
use super::ports::PortGiven;
use super::text;
use crate::note::{Notes, Severity};

/// A draft is never asked about more often: each time something is left out.
const MOST_ROUNDS: usize = 200;

/// Leaves out what `weir check` refuses whatever ports the machine has.
pub(super) fn refuse(draft: &mut Draft, ports: &[PortGiven], notes: &mut Notes) {
    for _ in 0..MOST_ROUNDS {
        let (file, lines) = text::probe(draft, ports);
        let Err(report) = weir_conf::parse_str("probe", &file, None) else {
            return;
        };
        let found = report.messages().zip(report.places());
        let mut found: Vec<_> = found
            .filter_map(|(message, place)| {
                let (line, column) = place?;
                let (section, line) = lines.get(line.checked_sub(1)?).copied()??;
                Some((section, line, column, message))
            })
            .collect();
        // What is wrong with a line says more than what the section lacks for it.
        found.sort_by_key(|(section, line, ..)| (*section, line.is_none()));
        let mut changed = false;
        for (section, line, column, message) in found {
            changed |= leave_out(draft, (section, line, column), message, notes);
        }
        if !changed {
            return;
        }
    }
}

/// Leaves out a line, or the section if it is nothing without that line; says whether it was not
/// left out before.
fn leave_out(
    draft: &mut Draft,
    (section_at, line_at, column): (usize, Option<usize>, usize),
    message: &str,
    notes: &mut Notes,
) -> bool {
    let Some(section) = draft.sections.get_mut(section_at) else {
        return false;
    };
    if section.refused.is_some() {
        return false;
    }
    let (kind, name) = (section.kind, section.name.clone());
    let line = line_at.and_then(|at| section.lines.get_mut(at));
    let (place, text) = match line {
        Some(line) if line.refused.is_some() => return false,
        Some(line) => {
            let text = format!("`{}`: {message}", line.was);
            if without_option(line, column) {
                notes.add(line.place.as_ref(), Severity::LeftOut, text);
                return true;
            }
            line.refused = Some(message.to_owned());
            let place = line.place.clone();
            if line.is_vital && !others_of_key(section.lines.as_slice(), line_at) {
                section.refused = Some(message.to_owned());
            }
            (place, text)
        }
        None => {
            section.refused = Some(message.to_owned());
            (section.place.clone(), format!("[{kind} {name}]: {message}"))
        }
    };
    let is_gone = section.refused.is_some();
    notes.add(place.as_ref(), Severity::LeftOut, text);
    if is_gone && kind == "health" {
        instead(draft, &name, notes);
    }
    true
}

/// Takes the option at a column of the probe's line off the value; says whether there is one.
fn without_option(line: &mut DraftLine, column: usize) -> bool {
    let before = line.key.chars().count() + " = ".len();
    let Some(at) = column.checked_sub(before + 1) else {
        return false;
    };
    let mut words: Vec<&str> = line.value.split("  ").collect();
    let mut begins = 0;
    for (index, word) in words.iter().enumerate() {
        let ends = begins + word.chars().count();
        if index > 0 && (begins..ends).contains(&at) {
            words.remove(index);
            line.value = words.join("  ");
            return true;
        }
        begins = ends + 2;
    }
    false
}

/// Says whether a list has entries besides one.
fn others_of_key(lines: &[DraftLine], at: Option<usize>) -> bool {
    let Some(line) = at.and_then(|at| lines.get(at)) else {
        return false;
    };
    let mut others = lines.iter().enumerate();
    others.any(|(i, other)| Some(i) != at && other.key == line.key && other.refused.is_none())
}

/// A check that this build cannot make becomes one that it can.
fn instead(draft: &mut Draft, profile: &str, notes: &mut Notes) {
    for service in draft.sections.iter_mut().filter(|s| s.kind == "service") {
        for line in &mut service.lines {
            if line.key == "health" && line.value == profile {
                "tcp".clone_into(&mut line.value);
                let text = format!(
                    "[service {}] is checked by TCP connections every 2s instead",
                    service.name
                );
                notes.add(line.place.as_ref(), Severity::Advice, text);
            }
        }
    }
}
