//! `weir capture`: tcpdump reads what Weir's own tap wrote, on both sides of the translation.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::soundness::pages;
use super::{DRIVERS, Run};
use crate::command::run as output;
use crate::lab::{Lab, Topology, VIP};
use crate::process::Process;
use crate::server::Nginx;
use crate::{WeirConf, WeirProcess};

/// Nobody listens there.
const CLOSED_PORT: u16 = 81;
const FRAMES: usize = 400;
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn run(run: &mut Run) -> Result<()> {
    for driver in DRIVERS {
        let lab = Lab::new(Topology::default())?;
        let _nginx = Nginx::start_all(&lab)?;
        let conf = WeirConf::new(driver, 1, lab.dir());
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        run.check(&format!("{driver}: a capture of a service"), || {
            let limit = FRAMES.to_string();
            let mut taking = Taking::start(&lab, &weir, &["--service", "web", "--limit", &limit])?;
            pages(&lab)?;
            let (text, _) = taking.end()?;
            let vip = format!("{VIP}.80");
            let frames = text.lines().count();
            ensure!(frames == FRAMES, "{frames} frames:\n{}", begin(&text));
            let outside = text.lines().filter(|line| line.contains(&vip)).count();
            let (all, inside) = (2 * outside, frames - outside);
            ensure!(
                all.abs_diff(frames) < FRAMES / 4 && inside > 0,
                "{outside} of {frames} frames are of the client's side:\n{}",
                begin(&text)
            );
            Ok(format!("{outside} outside, {inside} inside"))
        });
        run.check(&format!("{driver}: a capture of what is dropped"), || {
            let wanted = ["--dropped", "no-service", "--seconds", "2"];
            let mut taking = Taking::start(&lab, &weir, &wanted)?;
            // At once: the capture ends by the clock.
            let closed = format!("curl -s -m 1 http://{VIP}:{CLOSED_PORT}/");
            ensure!(lab.client.run(&closed).is_err(), "somebody answers there");
            pages(&lab)?;
            let (text, bytes) = taking.end()?;
            let port = format!("{VIP}.{CLOSED_PORT}:");
            ensure!(
                text.lines().count() > 0 && text.lines().all(|line| line.contains(&port)),
                "{}",
                begin(&text)
            );
            let comment = b"worker 0: drop: no-service";
            ensure!(
                bytes.windows(comment.len()).any(|part| part == comment),
                "the comment is not there"
            );
            Ok(format!("{} frames", text.lines().count()))
        });
        run.check(&format!("{driver}: the ledger afterwards"), || {
            weir.ledger().map(|ledger| ledger.to_string())
        });
        weir.stop()?;
    }
    Ok(())
}

/// A capture under way.
struct Taking {
    process: Process,
    file: PathBuf,
}

impl Taking {
    fn start(lab: &Lab, weir: &WeirProcess<'_>, wanted: &[&str]) -> Result<Self> {
        let file = lab.dir().join("weir.pcapng");
        let _ = fs::remove_file(&file);
        let mut command = weir.command("capture");
        command.arg("-w").arg(&file).args(wanted);
        let mut process = lab.start("weir-capture", &mut command)?;
        let end = Instant::now() + PATIENCE;
        while !file.exists() {
            ensure!(process.is_running(), "it ended: {}", process.log_tail());
            ensure!(Instant::now() < end, "it does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { process, file })
    }

    /// Waits for its end and returns what tcpdump says of the file, and the file.
    fn end(&mut self) -> Result<(String, Vec<u8>)> {
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.process.log_tail());
        let text = output(Command::new("tcpdump").args(["-nr"]).arg(&self.file))?;
        let bytes = fs::read(&self.file).context("cannot read the capture")?;
        Ok((text, bytes))
    }
}

fn begin(text: &str) -> String {
    text.lines().take(10).collect::<Vec<_>>().join("\n")
}
