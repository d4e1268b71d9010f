//! What is changed while the box runs and reaches beyond the daemon: a port's first IPv6 address, which
//! the kernel must be willing to take; and a trial of nothing new.

use anyhow::{Context as _, Result, ensure};
use weir_lab::lab::{LB_LAN, REAL_LINK};
use weir_lab::patience::within;
use weir_lab::scenario::Run;

use super::PATIENCE;
use crate::site::Site;

const PORT: &str = "2001:db8:81::1";
const REAL: &str = "2001:db8:81::11";

pub(super) fn run(run: &mut Run, site: &Site) -> Result<()> {
    let without = site.operator.run("show config")?;
    let address = format!("{LB_LAN}/24\n");
    let more = format!("{address}address = {PORT}/64\n");
    let with = without.replacen(&address, &more, 1);
    run.check(
        "image: a port gets its first IPv6 address by `apply`",
        || {
            ensure!(with != without, "no port has {LB_LAN}/24:\n{without}");
            has_no_ipv6(site)?;
            site.operator.run_with_input("apply -", &with)?;
            answers(site)
        },
    );
    run.check("image: a trial of what runs can be confirmed", || {
        let tried = site
            .operator
            .run_with_input("apply - --confirm 5m", &with)?;
        ensure!(tried.contains("nothing changed"), "it said: {tried}");
        let said = site.operator.run("confirm")?;
        ensure!(
            said.contains("nothing was to be confirmed"),
            "it said: {said}"
        );
        Ok(said.trim().to_owned())
    });
    run.check("image: it is back after a trial without it", || {
        site.operator
            .run_with_input("apply - --confirm 3s", &without)?;
        within(PATIENCE, || {
            let config = site.operator.run("show config")?;
            ensure!(config.contains(PORT), "it is not back:\n{config}");
            answers(site)
        })
    });
    Ok(())
}

/// Asks the port from the side of real servers.
fn answers(site: &Site) -> Result<String> {
    within(PATIENCE, || {
        ensure!(ping(site)?, "{PORT} does not answer");
        Ok(format!("{PORT} answers"))
    })
}

/// Says that the port answers nobody there.
pub(super) fn has_no_ipv6(site: &Site) -> Result<String> {
    ensure!(!ping(site)?, "{PORT} answers");
    Ok(format!("{PORT} does not answer"))
}

fn ping(site: &Site) -> Result<bool> {
    let real = site.lab.real(0)?;
    let setting = |value| real.sysctl(&format!("net/ipv6/conf/{REAL_LINK}/disable_ipv6"), value);
    setting("0").context("this machine has no IPv6 to ask by")?;
    let own = format!("{REAL}/64 dev {REAL_LINK}");
    let output = real
        .ip(&format!("-6 address add {own} nodad"))
        .and_then(|_| {
            let ping = format!("-6 -n -c 2 -i 0.3 -W 1 {PORT}");
            let mut ping_command = real.command("ping");
            ping_command.args(ping.split(' '));
            ping_command.output().context("cannot run ping")
        });
    // The address goes with it.
    setting("1")?;
    let said = String::from_utf8(output?.stdout)?;
    ensure!(said.contains("transmitted"), "ping: {said}");
    Ok(said.contains(&format!("bytes from {PORT}")))
}
