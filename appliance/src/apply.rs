//! `weir apply`: has the daemon run on its file as it is now.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use weir_control::{AppliedRow, Request};

use crate::show;

/// What is to be applied.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) json: bool,
    pub(crate) socket: Option<PathBuf>,
}

/// Carries out the order.
///
/// # Errors
/// When the daemon cannot be asked or refuses; then its configuration is as it was.
pub(crate) fn apply(order: &Order) -> Result<()> {
    let mut client = show::connect(order.socket.as_deref())?;
    let mut rows = client.request(&Request::Apply {})?;
    let row = rows
        .next_row()?
        .context("the daemon did not say what it did")?;
    let text = if order.json {
        format!("{row}\n")
    } else {
        let row: AppliedRow =
            serde_json::from_value(row).context("the daemon's answer cannot be read")?;
        format!(
            "configuration {} applied: {}\n",
            row.generation, row.summary
        )
    };
    show::unless_closed(io::stdout().write_all(text.as_bytes()))
}
