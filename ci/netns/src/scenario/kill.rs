//! kill -9: no XDP program stays, no setting is lost, and a restart works at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::soundness::pages;
use super::{DRIVERS, Run};
use crate::lab::{Lab, Topology};
use crate::patience::within;
use crate::server::Nginx;
use crate::{WeirConf, WeirProcess};

pub(super) fn run(run: &mut Run) -> Result<()> {
    for driver in DRIVERS {
        let lab = Lab::new(Topology {
            queues: 2,
            ..Topology::default()
        })?;
        let _nginx = Nginx::start_all(&lab)?;
        // One queue of a device that has two: the daemon must change and restore the channels.
        let conf = WeirConf::new(driver, 1, lab.dir());
        let original = lab.lb_settings()?;
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        run.check(&format!("{driver}: pages before the kill"), || pages(&lab));
        weir.kill()?;
        run.check(&format!("{driver}: no program after kill -9"), || {
            no_program(&lab)
        });
        let started = Instant::now();
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        let ready = started.elapsed();
        run.check(&format!("{driver}: pages after a restart at once"), || {
            Ok(format!("ready after {ready:.2?}; {}", pages(&lab)?))
        });
        run.check(&format!("{driver}: ledger"), || {
            Ok(weir.ledger()?.to_string())
        });
        run.check(
            &format!("{driver}: settings after the restart and SIGTERM"),
            || {
                let status = weir.stop()?;
                ensure!(status.success(), "SIGTERM ended it with {status}");
                no_program(&lab)?;
                same(&original, &lab.lb_settings()?)
            },
        );
    }
    Ok(())
}

fn no_program(lab: &Lab) -> Result<String> {
    // The kernel detaches the program when it tears down the killed process, a moment later.
    within(Duration::from_secs(20), || {
        let links = WeirProcess::xdp_links(lab)?;
        ensure!(links.is_empty(), "still attached to {links:?}");
        Ok("no XDP program on any interface".to_owned())
    })
}

fn same(before: &str, after: &str) -> Result<String> {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let lost = old
        .iter()
        .filter(|line| !new.contains(line))
        .map(|line| format!("- {line}"));
    let found = new
        .iter()
        .filter(|line| !old.contains(line))
        .map(|line| format!("+ {line}"));
    let changes: Vec<String> = lost.chain(found).collect();
    ensure!(changes.is_empty(), "changed:\n{}", changes.join("\n"));
    Ok(format!("{} lines of settings as before", old.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_setting_is_shown_both_ways() {
        let error = same("mtu 1500\ntso on\n", "mtu 1500\ntso off\n")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "changed:\n- tso on\n+ tso off");
        assert!(same("mtu 1500\n", "mtu 1500\n").is_ok());
    }
}
