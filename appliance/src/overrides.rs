//! `weir maintenance`, `weir synproxy` and `weir deny`: what operators set at run time over the configuration.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use weir_control::{Filter, OverrideRow, Request, What};

use crate::apply::{self, Failure, Order};
use crate::show;

/// Has the daemon set something, and writes what holds now.
///
/// # Errors
/// When the daemon cannot be asked or refuses.
pub(crate) fn set(order: &Order, request: &Request) -> Result<(), Failure> {
    let rows = apply::ask(order, request)?;
    let row = rows.into_iter().next();
    let row = row.context("the daemon did not say what it did")?;
    let text = if order.json {
        format!("{row}\n")
    } else {
        let row: OverrideRow = serde_json::from_value(row).context("the answer cannot be read")?;
        sentence(&row)
    };
    Ok(show::unless_closed(
        io::stdout().write_all(text.as_bytes()),
    )?)
}

fn sentence(row: &OverrideRow) -> String {
    if row.setting == "deny" && row.value.is_empty() {
        return format!("{} is no longer denied by command\n", row.object);
    }
    if row.value != row.configured {
        return format!("{}\n", row.sentence());
    }
    if row.object.is_empty() {
        return format!("{} is {}\n", row.setting, row.value);
    }
    format!(
        "{} of {} is {}, as the configuration says\n",
        row.setting, row.object, row.value
    )
}

/// Writes which networks are denied by command.
///
/// # Errors
/// When the daemon cannot be asked.
pub(crate) fn denied(order: &Order) -> Result<()> {
    let mut client = show::connect(order.socket.as_deref())?;
    let mut rows: Vec<OverrideRow> = client.show(What::Overrides, Filter::default())?;
    rows.retain(|row| row.setting == "deny");
    let text = if order.json {
        serde_json::to_string(&rows)? + "\n"
    } else if rows.is_empty() {
        "no network is denied by command\n".to_owned()
    } else {
        weir_control::overrides(&rows)
    };
    show::unless_closed(io::stdout().write_all(text.as_bytes()))
}

/// Reads the words `for TIME` behind a setting; none means until somebody takes it back.
///
/// # Errors
/// When they are other words.
pub(crate) fn span(words: &[String]) -> Result<Option<Duration>, String> {
    match words {
        [] => Ok(None),
        [word, time] if word == "for" => {
            let span = humantime::parse_duration(time);
            let span = span.map_err(|error| format!("`{time}`: {error}; e.g. for 10m"))?;
            if span < Duration::from_secs(1) {
                return Err(format!("`{time}` is too short; e.g. for 10m"));
            }
            Ok(Some(span))
        }
        [time] if humantime::parse_duration(time).is_ok() => {
            Err(format!("`for` is missing before `{time}`; e.g. for 10m"))
        }
        words => Err(format!(
            "`{}` is not `for` and a time; e.g. for 10m",
            words.join(" ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_and_a_time_say_how_long() {
        let span_of = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            span(&words)
        };
        assert_eq!(span_of(""), Ok(None));
        assert_eq!(span_of("for 10m"), Ok(Some(Duration::from_mins(10))));
        for wrong in ["for", "10m", "for 10", "during 10m", "for 10ms"] {
            let error = span_of(wrong).unwrap_err();
            assert!(error.contains("for 10m"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_holds_again_is_told_as_the_configurations() {
        let row = OverrideRow {
            setting: "synproxy".to_owned(),
            object: "web".to_owned(),
            value: "adaptive".to_owned(),
            configured: "adaptive".to_owned(),
            ..OverrideRow::default()
        };
        assert_eq!(
            sentence(&row),
            "synproxy of web is adaptive, as the configuration says\n"
        );
        let off = OverrideRow {
            setting: "maintenance".to_owned(),
            value: "off".to_owned(),
            configured: "off".to_owned(),
            ..OverrideRow::default()
        };
        assert_eq!(sentence(&off), "maintenance is off\n");
        let denied = OverrideRow {
            setting: "deny".to_owned(),
            object: "192.0.2.0/24".to_owned(),
            value: "denied".to_owned(),
            by: "alice".to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            ..OverrideRow::default()
        };
        let said = "192.0.2.0/24 is denied since 2026-01-02T03:04:05Z, by alice\n";
        assert_eq!(sentence(&denied), said);
        let ended = OverrideRow {
            value: String::new(),
            ..denied
        };
        let said = "192.0.2.0/24 is no longer denied by command\n";
        assert_eq!(sentence(&ended), said);
    }
}
