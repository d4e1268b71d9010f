//! Ways back: from a backup, with a new local secret, from a full and a damaged data partition, and to
//! the box as it was delivered.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_lab::scenario::Run;

use super::power::{marks, service};
use super::{Appliance, CONSOLE, PATIENCE, START, ports, within};
use crate::site::{BootPartition, partition};

/// The secret that is set on the way back in.
const ANOTHER: &str = "nine geese over a quiet lake";
/// How long the data partition may take to be filled.
const FILL: Duration = Duration::from_mins(2);
/// So much of a damaged partition is zeros.
const DAMAGE: usize = 32 << 20;

/// What somebody does who can log in, or stands before the box.
pub(super) fn run(run: &mut Run, it: &mut Appliance) {
    run.check("image: a backup is restored", || restore(it));
    run.check("image: a new local secret by `weir.recover=1`", || {
        recover(it)
    });
    run.check("image: a full data partition starts, and says so", || {
        full(it)
    });
}

/// What is left of a box that is off.
pub(super) fn run_off(run: &mut Run, it: &mut Appliance) -> Result<()> {
    let disk = it.plan.disk.clone().context("it has no disk")?;
    let copy = it.site.disk(&disk, "damaged")?;
    it.plan.disk = Some(copy.clone());
    run.check(
        "image: a damaged data partition starts, and says so",
        || {
            damage(&copy)?;
            it.power_on()?;
            let serial = &mut it.guest()?.serial;
            serial.wait("a console", START, |screen| screen.contains(CONSOLE))?;
            serial.keys("q")?;
            serial.expect("cannot be mounted", PATIENCE)?;
            serial.expect("Choice: ", PATIENCE)?;
            Ok("a console, and the reason above its menu".to_owned())
        },
    );
    it.cut()?;
    it.plan.disk = Some(disk);
    it.power_on()?;
    it.wait_up()?;
    run.check(
        "image: `factory-reset` makes it as it was delivered",
        || {
            it.site.operator.refused("factory-reset lb9", "")?;
            // The connection ends with the box.
            let _ = it.site.operator.run("factory-reset box");
            let serial = &mut it.guest()?.serial;
            serial.expect("Name of the appliance", START)?;
            it.site.operator.refused("show status", "")?;
            Ok("it asks for its name, and lets nobody in".to_owned())
        },
    );
    it.cut()
}

fn restore(it: &mut Appliance) -> Result<String> {
    let site = &it.site;
    let apply = |number| {
        let conf = it.configuration(&service(number));
        site.operator.run_with_input("apply -", &conf)
    };
    apply(7001)?;
    let mut command = site.operator.command("backup");
    let output = command.stderr(Stdio::inherit()).output();
    let backup = output.context("cannot run ssh")?;
    ensure!(backup.status.success(), "no backup: {}", backup.status);
    apply(7002)?;
    let file = site.dir().join("box.backup");
    fs::write(&file, &backup.stdout).context("the backup cannot be kept")?;
    let mut command = site.operator.command("restore -");
    let input = File::open(&file).context("the backup cannot be read")?;
    // The connection may end before the answer comes.
    let said = command.stdin(Stdio::from(input)).output();
    said.context("cannot run ssh")?;
    within(START, || {
        let found = marks(&site.operator.run("show services --json")?);
        ensure!(found == [7001], "{found:?}");
        Ok(format!(
            "{} bytes, and service mark-7001 is back",
            backup.stdout.len()
        ))
    })
}

fn recover(it: &mut Appliance) -> Result<String> {
    it.cut()?;
    kernel_words(it, "weir.recover=1")?;
    it.power_on()?;
    let serial = &mut it.guest()?.serial;
    serial.expect("asked for a new local secret", START)?;
    for question in ["not shown", "Once more"] {
        serial.expect(question, PATIENCE)?;
        serial.line(ANOTHER)?;
    }
    serial.wait("a console", START, |screen| screen.contains(CONSOLE))?;
    it.wait_up()?;
    ports::maintenance(it, ANOTHER, &["echo o''pen"], "open")?;
    it.cut()?;
    kernel_words(it, "")?;
    it.power_on()?;
    it.wait_up()?;
    Ok("it opens the maintenance shell; keys and services stayed".to_owned())
}

fn full(it: &mut Appliance) -> Result<String> {
    let fill = "dd if=/dev/zero of=/data/fill bs=1M 2>/dev/null; sync; echo fil''led";
    it.guest()?.serial.skip();
    ports::maintenance_within(it, ANOTHER, &[fill], "filled", FILL)?;
    it.cut()?;
    it.power_on()?;
    it.wait_up()?;
    let report = it.site.operator.run("doctor")?;
    let line = report.lines().find(|line| line.contains(" data "));
    let line = line.with_context(|| format!("nothing is said of it:\n{report}"))?;
    ensure!(!line.trim_start().starts_with("ok"), "{line}");
    let refused = it.configuration(&service(7003));
    let said = it.site.operator.run_with_input("apply -", &refused);
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    ports::maintenance(it, ANOTHER, &["rm /data/fill; echo emp''ty"], "empty")?;
    let apply = match said {
        Ok(_) => "an apply works".to_owned(),
        Err(error) => format!("an apply says: {error:#}"),
    };
    Ok(format!("{line}; {apply}"))
}

/// Sets more words for the kernel, as GRUB's environment block has them.
fn kernel_words(it: &Appliance, words: &str) -> Result<()> {
    const BLOCK: &str = "grub/grubenv";
    let disk = it.plan.disk.as_ref().context("it has no disk")?;
    let boot = BootPartition::of(disk)?;
    let text = boot.get(BLOCK)?;
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("args=") && !line.starts_with("##"));
    let mut lines: Vec<&str> = kept.collect();
    let args = format!("args={words}");
    if !words.is_empty() {
        lines.push(&args);
    }
    let block = lines.join("\n") + "\n";
    let block = format!("{block:#<1024}");
    boot.put(BLOCK, &block, it.site.dir())
}

/// Writes zeros over the beginning of the data partition, and over every copy of what says what it is.
fn damage(disk: &Path) -> Result<()> {
    let start = partition(disk, "data")?;
    let mut file = OpenOptions::new().write(true).open(disk)?;
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&vec![0; DAMAGE])
        .context("the disk cannot be written")
}
