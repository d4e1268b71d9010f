//! Both drivers, one and two queues: everything a service and its neighbours need.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};

use super::soundness::{download, echo, pages, wrk};
use super::{DRIVERS, Run};
use crate::inside::Task;
use crate::inside::servers::Listen;
use crate::inside::transfer::{Bulk, Datagrams};
use crate::lab::{LB_WAN, Lab, Topology, VIP};
use crate::process::Transport;
use crate::server::{self, BigFile, ECHO_PORT, Nginx, Share};
use crate::{WeirConf, WeirProcess};

pub(super) fn run(run: &mut Run) -> Result<()> {
    let big = server::big_file()?;
    for queues in [1, 2] {
        let lab = Lab::new(Topology::with_queues(queues))?;
        let _nginx = Nginx::start_all(&lab)?;
        let _servers = [server::udp_echo(&lab, 0)?, server::tcp_echo(&lab, 0)?];
        for driver in DRIVERS {
            let name = format!(
                "{driver}, {queues} queue{}",
                if queues == 1 { "" } else { "s" }
            );
            one(run, &lab, driver, &big).with_context(|| name)?;
        }
    }
    Ok(())
}

fn one(run: &mut Run, lab: &Lab, driver: &str, big: &BigFile) -> Result<()> {
    let queues = lab.topology().queues;
    let seconds = run.figure(1, 10);
    let share = if run.long || queues == 1 {
        Share::Whole
    } else {
        Share::Quarter
    };
    let conf = WeirConf::new(driver, queues, lab.dir());
    let weir = WeirProcess::start(lab, &run.weir, &conf)?;
    let name = |what: &str| format!("{driver}/{queues}q {what}");
    run.check(&name("1,000 pages"), || pages(lab));
    run.check(&name("wrk keep-alive"), || {
        wrk(&lab.wrk("/bench", seconds, true)?)
    });
    run.check(&name("wrk close"), || {
        wrk(&lab.wrk("/bench", seconds, false)?)
    });
    run.check(&name("a download"), || download(lab, big, share));
    run.check(&name("TCP echo"), || echo(lab, ECHO_PORT, 32 << 20));
    run.check(&name("UDP echo"), || {
        let target = SocketAddrV4::new(VIP, ECHO_PORT);
        let report = lab.datagrams(Datagrams {
            target,
            count: 500,
            size: 1400,
        })?;
        ensure!(report.lost == 0, "{report:?}");
        Ok(format!(
            "{} datagrams, slowest {:.1} ms",
            report.same, report.slowest_ms
        ))
    });
    run.check(&name("ping VIP"), || answers(lab.ping(VIP, 20)?));
    run.check(&name("own address"), || own_address(lab));
    run.check(&name("ledger"), || {
        Ok(weir.ledger().with_context(|| weir.log_tail())?.to_string())
    });
    Ok(())
}

/// Traffic to the load balancer's own address must reach the kernel, whatever the driver.
fn own_address(lab: &Lab) -> Result<String> {
    let target = SocketAddrV4::new(LB_WAN, 2222);
    let task = Task::TcpEcho(Listen {
        listen: target.into(),
    });
    let mut server = lab.start("own-address", &mut lab.helper(&lab.lb, &task)?)?;
    server.wait_listening(Transport::Tcp, target.port())?;
    let pings = answers(lab.ping(LB_WAN, 20)?)?;
    let bytes = 1 << 20;
    let report = lab.bulk(Bulk { target, bytes })?;
    ensure!(
        report.failure.is_none() && report.same == bytes,
        "{report:?}"
    );
    Ok(format!("{pings}, 1 MiB echoed by the kernel's TCP"))
}

fn answers(answers: u32) -> Result<String> {
    ensure!(answers == 20, "{answers} of 20 pings answered");
    Ok("20 of 20 pings".to_owned())
}
