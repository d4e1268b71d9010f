//! Persistence, and what a `[defence]` profile drops, with real clients.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::{DRIVERS, Run};
use crate::inside::http::{HttpGet, HttpReport};
use crate::lab::{Lab, Topology, VIP, client_address};
use crate::server::Nginx;
use crate::{Service, WeirConf, WeirProcess};

const CLIENTS: u8 = 3;
const PAGES: u64 = 40;
/// SYNs that a client may send at once, and a second.
const RATE: u64 = 20;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let drivers = if run.long {
        &DRIVERS[..]
    } else {
        &DRIVERS[..1]
    };
    for driver in drivers {
        let lab = Lab::new(Topology {
            clients: CLIENTS,
            queues: 2,
            ..Topology::default()
        })?;
        let _nginx = Nginx::start_all(&lab)?;
        let mut conf = WeirConf::new(driver, 2, lab.dir());
        let web = Service::tcp("web", 80, &[0, 1]);
        conf.services = vec![with(&web, "persist         = 10m")];
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        let defence = Defence { lab: &lab, weir };
        run.check(&format!("{driver}: clients keep their real server"), || {
            defence.keeps()
        });
        conf.services = vec![with(&web, "defence         = edge")];
        conf.more = format!(
            "[defence edge]\nsyn-rate        = {RATE}/s  burst={RATE}\ndeny            = {}/32\nallow           = {}/32\n",
            client_address(1),
            client_address(2)
        );
        defence.weir.apply(&conf, &[])?;
        run.check(&format!("{driver}: who is denied gets nothing"), || {
            defence.denies()
        });
        run.check(&format!("{driver}: SYNs come as often as they may"), || {
            defence.limits()
        });
        run.check(&format!("{driver}: ledger"), || {
            Ok(defence.weir.ledger()?.to_string())
        });
    }
    Ok(())
}

fn with(service: &Service, key: &str) -> Service {
    Service {
        more: format!("{}\n{key}", service.more),
        ..service.clone()
    }
}

struct Defence<'lab> {
    lab: &'lab Lab,
    weir: WeirProcess<'lab>,
}

impl Defence<'_> {
    /// Two workers and round robin would spread them over both.
    fn keeps(&self) -> Result<String> {
        let mut told = Vec::new();
        for client in 0..CLIENTS {
            let report = self.pages(client, PAGES, 10)?;
            ensure!(report.ok == PAGES, "client {client}: {report:?}");
            let mut servers = report.servers.keys();
            let (Some(server), None) = (servers.next(), servers.next()) else {
                bail!("client {client}: {:?}", report.servers);
            };
            told.push(format!("{} at {server}", client_address(client)));
        }
        let used = self.weir.counter("persist-used")?;
        let expected = u64::from(CLIENTS) * PAGES - u64::from(CLIENTS);
        ensure!(used == expected, "persist-used {used}, not {expected}");
        Ok(told.join(", "))
    }

    fn denies(&self) -> Result<String> {
        let mut curl = self.lab.client.command("curl");
        let from = client_address(1).to_string();
        curl.args(["-sS", "--max-time", "0.5", "--interface", &from]);
        let page = curl.arg(format!("http://{VIP}/page")).output();
        ensure!(
            !page.context("cannot run curl")?.status.success(),
            "a denied client got a page"
        );
        let denied = self.dropped("denied")?;
        ensure!(denied > 0, "nothing was dropped");
        let report = self.pages(0, 10, 5)?;
        ensure!(report.ok == 10, "{report:?}");
        ensure!(self.dropped("denied")? == denied, "others are denied, too");
        Ok(format!("{denied} packets dropped"))
    }

    fn limits(&self) -> Result<String> {
        let begun = Instant::now();
        let opened = self.weir.counter("session-opened")?;
        // Clients send a SYN that was dropped again, a second later.
        let report = self.pages(0, 3 * RATE, 10)?;
        let opened = self.weir.counter("session-opened")? - opened;
        let most = RATE + (begun.elapsed().as_secs() + 1) * RATE;
        ensure!(
            report.ok == 3 * RATE && opened <= most,
            "{opened} of {most} opened: {report:?}"
        );
        let dropped = self.dropped("syn-rate")?;
        ensure!(dropped > 0, "nothing was dropped");
        let report = self.pages(2, 4 * RATE, 5)?;
        ensure!(report.ok == 4 * RATE, "an allowed client: {report:?}");
        ensure!(
            self.dropped("syn-rate")? == dropped,
            "an allowed client is limited"
        );
        Ok(format!(
            "{opened} connections opened, {dropped} SYNs dropped, {} pages for who is allowed",
            report.ok
        ))
    }

    fn pages(&self, client: u8, count: u64, within_s: u64) -> Result<HttpReport> {
        self.lab.http_get(HttpGet {
            sources: vec![client_address(client)],
            within_s,
            ..self.lab.pages(80, "/page", count)
        })
    }

    fn dropped(&self, reason: &str) -> Result<u64> {
        let ledger = self.weir.show("ledger")?;
        let dropped = ledger.get("dropped");
        let count = dropped.and_then(|it| it.get(reason)?.as_u64());
        count.with_context(|| format!("no {reason} in {ledger}"))
    }
}
