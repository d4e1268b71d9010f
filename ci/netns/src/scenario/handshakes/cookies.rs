//! Whose cookies are good: across a restart, on another Weir, with another secret, and too late.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{OTHER_SECRET, SECRET, SHORT_LIVED, secret};
use crate::inside::raw::{Half, RawAck, RawReport};
use crate::lab::Lab;
use crate::scenario::{Run, soundness};
use crate::server::ECHO_PORT;
use crate::weir::find_row;
use crate::{WeirConf, WeirProcess};

/// Longer than the life of a short-lived cookie.
const TOO_LATE: Duration = Duration::from_secs(9);

/// A cookie that waits for the end of its life.
pub(super) struct Old {
    half: Half,
    since: Instant,
}

/// Keeps one of two short-lived cookies for later; the other one is good.
pub(super) fn keep_one(lab: &Lab) -> Result<Old> {
    // One who sends again what is lost while Weir learns who is where.
    soundness::echo(lab, SHORT_LIVED, 1 << 10)?;
    let (first, second) = (lab.raw_syn(SHORT_LIVED)?, lab.raw_syn(SHORT_LIVED)?);
    let since = Instant::now();
    accepted(&echo(lab, first)?)?;
    Ok(Old {
        half: second,
        since,
    })
}

pub(super) fn run<'lab>(
    run: &mut Run,
    lab: &'lab Lab,
    driver: &str,
    weir: WeirProcess<'lab>,
    conf: &WeirConf,
    old: Old,
) -> Result<()> {
    let program = run.weir.clone();
    run.check(
        &format!("{driver}: a replay after the cookie's life"),
        || replay(lab, &weir, old),
    );
    let half = lab.raw_syn(ECHO_PORT)?;
    weir.kill()?;
    let weir = WeirProcess::start(lab, &program, conf)?;
    run.check(&format!("{driver}: a restart during a handshake"), || {
        accepted(&echo(lab, half)?)
    });
    let half = lab.raw_syn(ECHO_PORT)?;
    weir.stop()?;
    // Another node: another pool of local addresses, and the same secret file.
    let mut peer = conf.clone();
    for pool in &mut peer.pools {
        pool.addresses = vec![crate::lab::lip(7)];
    }
    let weir = WeirProcess::start(lab, &program, &peer)?;
    run.check(
        &format!("{driver}: another Weir with the same secret"),
        || accepted(&echo(lab, half)?),
    );
    let half = lab.raw_syn(ECHO_PORT)?;
    weir.stop()?;
    secret(lab, OTHER_SECRET)?;
    let weir = WeirProcess::start(lab, &program, conf)?;
    run.check(
        &format!("{driver}: another Weir with another secret"),
        || {
            let report = echo(lab, half)?;
            ensure!(report.answer.is_empty(), "{report:?}");
            let bad = cookies(&weir, "echo", "cookie_bad")?;
            ensure!(bad > 0, "cookie_bad is {bad}");
            Ok(format!("refused, cookie_bad {bad}"))
        },
    );
    run.check(&format!("{driver}: ledger after the restarts"), || {
        Ok(weir.ledger().with_context(|| weir.log_tail())?.to_string())
    });
    secret(lab, SECRET)
}

fn replay(lab: &Lab, weir: &WeirProcess<'_>, Old { half, since }: Old) -> Result<String> {
    thread::sleep(TOO_LATE.saturating_sub(since.elapsed()));
    let report = echo(lab, half)?;
    ensure!(report.answer.is_empty(), "{report:?}");
    let stale = cookies(weir, "short-lived", "cookie_stale")?;
    ensure!(stale == 1, "cookie_stale is {stale}");
    Ok(format!(
        "refused when older than {TOO_LATE:?}, cookie_stale {stale}"
    ))
}

fn echo(lab: &Lab, half: Half) -> Result<RawReport> {
    let say = "it is me again";
    lab.raw_ack(RawAck {
        half,
        say: say.to_owned(),
        fin: false,
        listen_ms: 1_500,
        wanted: say.len(),
    })
}

fn accepted(report: &RawReport) -> Result<String> {
    ensure!(report.answer == "it is me again", "{report:?}");
    Ok(format!("accepted, echoed after {:.1} ms", report.ms))
}

/// Reads one of the counters of `weir show flood`.
fn cookies(weir: &WeirProcess<'_>, service: &str, counter: &str) -> Result<u64> {
    let flood = weir.show("flood")?;
    let row = find_row(&flood, "service", service)?;
    row.get(counter)
        .and_then(Value::as_u64)
        .with_context(|| format!("no {counter} in {row}"))
}
