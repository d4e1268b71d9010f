//! Answers as `weir` prints them.

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_control::{Request, What};

use crate::model::data::Answer;

/// Returns the lines of an answer.
///
/// # Errors
/// When a row is not what it should be.
pub(super) fn lines(request: &Request, rows: Vec<Value>) -> Result<Vec<String>, String> {
    let text = match request {
        Request::Show { what, .. } => shown(*what, rows)?,
        Request::Explain(_) => weir_control::explained(&read(rows)?),
        Request::Doctor {} => weir_control::checks(&read(rows)?),
        Request::Diff { .. } => weir_control::changes(&read(rows)?),
        Request::Draining { .. } => {
            let rows = read(rows)?;
            rows.iter().map(weir_control::drain).collect()
        }
        // Whatever else has no form of its own: its rows as they are.
        Request::Hello(_)
        | Request::Apply { .. }
        | Request::Capture(_)
        | Request::Confirm {}
        | Request::Maintenance { .. }
        | Request::Synproxy { .. }
        | Request::Deny { .. }
        | Request::Rollback { .. }
        | Request::Drain { .. }
        | Request::Enable { .. }
        | Request::Weight { .. }
        | Request::Tell(_) => {
            let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
    };
    Ok(text.lines().map(str::to_owned).collect())
}

fn shown(what: What, rows: Vec<Value>) -> Result<String, String> {
    Ok(match Answer::read(what, rows)? {
        Answer::Services(rows) => weir_control::services(&rows),
        Answer::Pools(rows) => weir_control::pools(&rows),
        Answer::Sessions(rows) => weir_control::sessions(&rows),
        Answer::Ports(rows) => weir_control::ports(&rows),
        Answer::Workers(rows) => weir_control::workers(&rows),
        Answer::Ledger(row) => weir_control::ledger(&row),
        Answer::Flood(rows) => weir_control::floods(&rows),
        Answer::Config(rows) => rows.join("\n"),
        Answer::Health(rows) => weir_control::health(&rows),
        Answer::Events(rows) => weir_control::events(&rows),
        Answer::Syslog(rows) => weir_control::syslog(&rows),
        Answer::Generations(rows) => weir_control::generations(&rows),
        Answer::History(rows) => weir_control::history(&rows),
        Answer::Overrides(rows) => weir_control::overrides(&rows),
        Answer::Status(row) => weir_control::status(&row),
    })
}

fn read<T: DeserializeOwned>(rows: Vec<Value>) -> Result<Vec<T>, String> {
    let rows = rows.into_iter().map(serde_json::from_value);
    rows.collect::<Result<_, _>>()
        .map_err(|error| format!("a row of the daemon cannot be read: {error}"))
}
