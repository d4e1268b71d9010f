//! `weir explain`: asks the daemon what would become of a packet.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use weir_control::{ExplainRow, Question, Request, Side};

use crate::show;

/// What is to be explained, and how.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) question: Question,
    pub(crate) json: bool,
    pub(crate) socket: Option<PathBuf>,
}

/// Carries out the order.
///
/// # Errors
/// When the daemon cannot be asked or refuses.
pub(crate) fn explain(order: &Order) -> Result<()> {
    let mut client = show::connect(order.socket.as_deref())?;
    let mut rows = client.request(&Request::Explain(order.question.clone()))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next_row()? {
        all.push(row);
    }
    let text = if order.json {
        format!("{}\n", Value::Array(all))
    } else {
        let rows = all.into_iter().map(serde_json::from_value::<ExplainRow>);
        let rows = rows.collect::<Result<Vec<_>, _>>();
        let rows = rows.context("a row of the daemon cannot be read")?;
        let text = weir_control::explained(&rows);
        match &order.question.candidate {
            None => text,
            Some(_) => text + &differences(&rows),
        }
    };
    show::unless_closed(io::stdout().write_all(text.as_bytes()))
}

/// Counts what a candidate decides otherwise.
fn differences(rows: &[ExplainRow]) -> String {
    let differ = rows.iter().filter(|row| row.side != Side::Both).count();
    match differ {
        0 => "nothing differs from the running configuration\n".to_owned(),
        1 => "1 decision differs from the running configuration\n".to_owned(),
        many => format!("{many} decisions differ from the running configuration\n"),
    }
}
