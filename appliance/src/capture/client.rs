//! `weir capture`: writes what the daemon's workers take into a file that other programs read.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use weir_control::{CaptureOrder, CaptureRow, CapturedFrame, Filter, PortRow, Request, What};

use super::pcapng::{Direction, Writer};
use super::tap::SNAP_LEN;
use crate::{output, show};

/// The name of the standard output.
const STDOUT: &str = "-";
/// Whatever the port of a frame is, it must have a number in the file.
const UNKNOWN: &str = "unknown";

/// What is to be captured, and where to.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) file: PathBuf,
    /// A file that is there is written over.
    pub(crate) force: bool,
    pub(crate) service: Option<String>,
    pub(crate) client: Option<Ipv4Addr>,
    pub(crate) dropped: Option<String>,
    pub(crate) limit: u64,
    pub(crate) seconds: u64,
    pub(crate) socket: Option<PathBuf>,
}

/// Carries out the order, and says what was captured on the standard error.
///
/// # Errors
/// When the daemon refuses, or the file cannot be written.
pub(crate) fn capture(order: &Order) -> Result<()> {
    let out = order.file.as_path();
    if out != Path::new(STDOUT) {
        output::look(out, order.force)?;
    }
    let taken = take(order, &|| open(out, order.force))?;
    eprintln!("weir: {taken}");
    Ok(())
}

/// Carries out an order of the console, into a file of its own that nobody else may read; returns
/// where that is and what it has.
///
/// # Errors
/// When the daemon refuses, or the file cannot be written.
pub(crate) fn capture_beside(socket: Option<PathBuf>, wanted: &CaptureOrder) -> Result<String> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let name = format!("weir-{}.pcapng", now.replace([':', '-'], ""));
    let file = std::env::temp_dir().join(name);
    let order = Order {
        file: file.clone(),
        force: false,
        service: wanted.service.clone(),
        client: wanted.client,
        dropped: wanted.dropped.clone(),
        limit: wanted.limit,
        seconds: wanted.seconds,
        socket,
    };
    let make = || -> Result<Box<dyn Write>> {
        // What is there already is not ours, or not to be lost.
        Ok(Box::new(BufWriter::new(output::create(&file, false)?)))
    };
    let taken = take(&order, &make)?;
    Ok(format!("{} has {taken}", file.display()))
}

/// Captures into what is opened once the daemon begins; returns what was captured.
fn take(order: &Order, open: &dyn Fn() -> Result<Box<dyn Write>>) -> Result<String> {
    let mut client = show::connect(order.socket.as_deref())?;
    let ports: Vec<PortRow> = client.show(What::Ports, Filter::default())?;
    let mut names: Vec<String> = ports.into_iter().map(|port| port.name).collect();
    names.push(UNKNOWN.to_owned());
    let numbers: BTreeMap<String, u32> = names.iter().cloned().zip(0..).collect();
    let request = Request::Capture(CaptureOrder {
        service: order.service.clone(),
        client: order.client,
        dropped: order.dropped.clone(),
        limit: order.limit,
        seconds: order.seconds,
    });
    let mut rows = client.request(&request)?;
    // The first line comes at once: what is refused leaves no file.
    let mut row = rows.next_row()?;
    let out = open()?;
    let cannot = || format!("cannot write {}", order.file.display());
    let mut writer = Writer::new(out, &names, SNAP_LEN as u32).with_context(cannot)?;
    let (mut captured, mut missed) = (0, 0);
    while let Some(value) = row {
        let told: CaptureRow =
            serde_json::from_value(value).context("a row of the daemon cannot be read")?;
        (captured, missed) = (told.captured, told.missed);
        if let Some(frame) = told.frame {
            write(&mut writer, &numbers, &frame).with_context(cannot)?;
        } else {
            // It can be read while it grows.
            writer.flush().with_context(cannot)?;
        }
        row = rows.next_row()?;
    }
    writer.flush().with_context(cannot)?;
    let missing = match missed {
        0 => String::new(),
        missed => format!("; {missed} more found no room, try a narrower filter"),
    };
    let plural = if captured == 1 { "" } else { "s" };
    Ok(format!("{captured} frame{plural} captured{missing}"))
}

fn open(file: &Path, force: bool) -> Result<Box<dyn Write>> {
    if file == Path::new(STDOUT) {
        ensure!(
            !io::stdout().is_terminal(),
            "a capture is nothing for a terminal; name a file, or send it to another program"
        );
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(BufWriter::new(output::create(file, force)?)))
}

fn write<W: Write>(
    writer: &mut Writer<W>,
    numbers: &BTreeMap<String, u32>,
    frame: &CapturedFrame,
) -> io::Result<()> {
    let number = numbers.get(&frame.port).or_else(|| numbers.get(UNKNOWN));
    let direction = if frame.came_in {
        Direction::In
    } else {
        Direction::Out
    };
    let bytes = bytes(&frame.bytes);
    writer.packet(
        Duration::from_micros(frame.at_us),
        number.copied().unwrap_or_default(),
        direction,
        (&bytes, frame.len),
        &format!("worker {}: {}", frame.worker, frame.verdict),
    )
}

fn bytes(digits: &str) -> Vec<u8> {
    let digits = digits.as_bytes().as_chunks::<2>().0;
    digits
        .iter()
        .filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_bytes_that_they_were_made_of() {
        assert_eq!(bytes("00ff7f10"), [0, 255, 127, 16]);
        assert_eq!(bytes(""), [0; 0]);
    }
}
