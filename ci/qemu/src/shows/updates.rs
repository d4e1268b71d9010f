//! Updates: a good one and back, and bad ones that end where they began.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_lab::scenario::Run;

use super::power::{marks, service};
use super::{Appliance, PATIENCE, START, within};
use crate::images::{Fault, Images};

/// The number of the configuration that must hold whatever is tried.
const MARK: u64 = 4711;
/// How long a trial may take here, and the old slot's start behind it.
const TRIAL: Duration = Duration::from_mins(4);

pub(super) fn run(run: &mut Run, appliance: &mut Appliance, images: &Images) -> Result<()> {
    let conf = appliance.configuration(&service(MARK));
    appliance.site.operator.run_with_input("apply -", &conf)?;
    let (first, second) = (&images.first.version, &images.second.version);
    run.check("image: update to the next version", || {
        update(appliance, &images.second.update)?;
        let row = settled(appliance, "b", TRIAL)?;
        ensure!(text(&row, "version") == second, "{row}");
        intact(appliance)?;
        appliance.told("update-confirmed", second)
    });
    run.check("image: and back by `update --rollback`", || {
        // The connection may end before the answer comes.
        let _ = appliance.site.operator.run("update --rollback");
        let row = settled(appliance, "a", TRIAL)?;
        ensure!(text(&row, "version") == first, "{row}");
        intact(appliance)?;
        Ok(format!("version {first} in slot a"))
    });
    let faults = if run.long {
        &Fault::ALL[..]
    } else {
        &[Fault::Panic, Fault::Signature]
    };
    for fault in faults {
        let name = fault.name();
        run.check(&format!("image: an update that is bad: {name}"), || {
            let file = images.bad(*fault, appliance.site.dir())?;
            appliance.guest()?.serial.skip();
            let sent = update(appliance, &file);
            if fault.is_refused() {
                let error = sent.err().context("it was taken")?;
                intact(appliance)?;
                let event = event(appliance, "update-refused")?;
                return Ok(format!("{event}; and who sent it was told: {error:#}"));
            }
            sent?;
            // It is on trial before the old one is back.
            let serial = &mut appliance.guest()?.serial;
            serial.expect("slot b", TRIAL)?;
            serial.expect("slot a", TRIAL)?;
            let row = settled(appliance, "a", TRIAL)?;
            ensure!(text(&row, "version") == first, "{row}");
            intact(appliance)?;
            let event = event(appliance, "update-failed")?;
            // What the old slot says of the new one leaves the box, too.
            appliance.told("update-failed", "the trial of slot b")?;
            Ok(event)
        });
    }
    Ok(())
}

/// Sends an update's file by SSH; what was taken ends the connection.
fn update(appliance: &Appliance, file: &Path) -> Result<()> {
    let input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let output = appliance
        .site
        .operator
        .command("update -")
        .stdin(Stdio::from(input))
        .output()
        .context("cannot run ssh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // 255: the appliance was gone before it could say how it ended.
    ensure!(
        output.status.success() || output.status.code() == Some(255),
        "{}",
        said.trim()
    );
    Ok(())
}

/// Waits for an event of this code and returns what it says.
fn event(appliance: &Appliance, code: &str) -> Result<String> {
    within(PATIENCE, || {
        let events = appliance.site.operator.json("show events --json")?;
        let all = events.as_array().cloned().unwrap_or_default();
        let last = all.iter().rfind(|event| text(event, "code") == code);
        let last = last.with_context(|| format!("no event {code} says why: {events}"))?;
        Ok(text(last, "text").to_owned())
    })
}

/// Waits until the appliance runs in a slot for good, and returns what it says of itself.
fn settled(appliance: &mut Appliance, slot: &str, patience: Duration) -> Result<Value> {
    let site = &appliance.site;
    let row = within(patience, || {
        let row = site.operator.json("box --json")?;
        let on_trial = row.get("trial") == Some(&Value::Bool(true));
        ensure!(text(&row, "slot") == slot && !on_trial, "{row}");
        Ok(row)
    });
    match row {
        Ok(row) => Ok(row),
        Err(error) => Err(error.context(appliance.guest()?.serial.last_words())),
    }
}

/// Looks whether the configuration holds and traffic flows.
fn intact(appliance: &Appliance) -> Result<()> {
    let site = &appliance.site;
    let services = site.operator.wait("show services --json", START)?;
    ensure!(marks(&services) == [MARK], "{services}");
    let report = site.lab.http_get(site.lab.pages(80, "/page", 20))?;
    ensure!(report.ok == 20, "{:?}", report.failures);
    Ok(())
}

fn text<'row>(row: &'row Value, key: &str) -> &'row str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}
