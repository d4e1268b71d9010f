//! The reference manual, made of the table.

use std::fmt::Write;

use weir_model::{Counter, DropReason};

use super::help::{default_of, example_of, later};
use super::{Choice, KeySpec, Kind, Naming, SECTIONS, SectionSpec, Type};

const HEAD: &str = "\
# Reference

<!-- Made by `weir help --markdown`. Whoever changes the schema makes it anew:
     WEIR_BLESS=1 cargo test -p weir-conf --test reference -->

Every section and key of `weir.conf`, every drop reason and every counter. `weir help KEY` says the same on the box, e.g.
`weir help service.idle`. How it all works together is in the [manual](manual.md).

A file has sections, `[kind name]`, and keys below them, `key = value`. A list is a key that is given more than once; an option
stands behind the value, `real = 10.0.1.11:443  weight=3`. `#` and `;` begin a comment at the beginning of a line or after a
blank.

| values | look like |
|---|---|
| durations | `500ms`, `15s`, `5m`, `1h30m`, `7d`; the unit is required |
| rates | `200/s`, `20k/s` |
| sizes | `16KiB`, `64MiB`, `1GiB` |
| numbers | `3`; where they may be large also `50k`, `2M` |
| shares | `80%` |
| prefixes | `/24` |

";

/// Returns the reference manual as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for section in &SECTIONS {
        let link = section.pattern();
        let keys: Vec<String> = section
            .keys
            .iter()
            .map(|key| format!("[`{}`](#{})", key.key, anchor(section, key)))
            .collect();
        let _ = writeln!(text, "- `{link}`: {}", keys.join(", "));
    }
    text.push_str(
        "- [environment](#environment), [drop reasons](#drop-reasons), [counters](#counters)\n",
    );
    for section in &SECTIONS {
        write_section(&mut text, section);
    }
    environment(&mut text);
    drop_reasons(&mut text);
    counters(&mut text);
    text
}

fn anchor(section: &SectionSpec, key: &KeySpec) -> String {
    format!("{}{}", section.word, key.key)
}

fn write_section(text: &mut String, section: &SectionSpec) {
    let _ = writeln!(text, "\n## {}\n", section.pattern());
    let naming = match section.naming {
        Naming::Single => "There is one at most, without a name.",
        Naming::Named => "There can be many; each has a name.",
        Naming::Prefix => "There can be many; the name is a network.",
    };
    let later = later(section.availability);
    let _ = writeln!(text, "{}{later} {naming}", section.help);
    let implied = section.kind.implied();
    if !implied.is_empty() {
        let names: Vec<String> = implied.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            text,
            "Where no section has the name, {} a profile of defaults.",
            match names.as_slice() {
                [one] => format!("{one} means"),
                _ => format!("{} mean", names.join(", ")),
            }
        );
    }
    for key in section.keys {
        write_key(text, section, key);
    }
}

fn write_key(text: &mut String, section: &SectionSpec, key: &KeySpec) {
    let (word, name) = (section.word, key.key);
    let _ = writeln!(text, "\n### {word}.{name}\n");
    let _ = writeln!(text, "{}{}\n", key.help, later(key.availability));
    let list = if key.list {
        "; may be given more than once"
    } else {
        ""
    };
    let _ = writeln!(text, "- value: {}{list}", listed(&key.of.describe()));
    choices(text, "  ", &key.of);
    if let Some(protocol) = key.only {
        let _ = writeln!(text, "- only for {} services", protocol.name());
    }
    let _ = writeln!(text, "- default: {}", listed(&default_of(key)));
    for option in key.options {
        let default = option.default.map(|value| format!("; default {value}"));
        let _ = writeln!(
            text,
            "- option `{}=`: {}{}. {}{}",
            option.name,
            listed(&option.of.describe()),
            default.unwrap_or_default(),
            option.help,
            later(option.availability)
        );
        choices(text, "  ", &option.of);
    }
    let _ = writeln!(text, "- example: `{}`", example_of(key));
}

fn choices(text: &mut String, indent: &str, of: &Type) {
    let Type::Choice(choices) = of else {
        return;
    };
    for Choice {
        name,
        help,
        availability,
    } in *choices
    {
        let _ = writeln!(text, "{indent}- `{name}`: {help}{}", later(*availability));
    }
}

/// Separates alternatives by commas, as sentences do.
fn listed(text: &str) -> String {
    text.replace(" | ", ", ")
}

fn environment(text: &mut String) {
    text.push_str(
        "\n## Environment\n\nScalars of `[node]` from the environment win over the file.\n\n",
    );
    text.push_str("| variable | stands for |\n|---|---|\n");
    for key in Kind::Node.spec().keys.iter().filter(|key| !key.list) {
        let variable = key.key.to_uppercase().replace('-', "_");
        let _ = writeln!(text, "| `WEIR_NODE_{variable}` | `node.{}` |", key.key);
    }
}

fn drop_reasons(text: &mut String) {
    text.push_str("\n## Drop reasons\n\nOf `weir show ledger`. What to do about them is in the [manual](manual.md#watching).\n\n");
    text.push_str("| reason | says |\n|---|---|\n");
    for reason in DropReason::ALL {
        let _ = writeln!(
            text,
            "| `{}` | {} |",
            reason.label(),
            reason.documentation()
        );
    }
}

fn counters(text: &mut String) {
    text.push_str("\n## Counters\n\nOf each worker.\n\n| counter | counts |\n|---|---|\n");
    for counter in Counter::ALL {
        let _ = writeln!(
            text,
            "| `{}` | {} |",
            counter.label(),
            counter.documentation()
        );
    }
}
