//! Two workers while every flow moves between the queues many times in its life.

use anyhow::{Result, ensure};

use super::soundness::{echo, wrk};
use super::{DRIVERS, Run};
use crate::lab::{CLIENT_LINK, Lab, REAL_LINK, Topology};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::server::{self, ECHO_PORT, Nginx};
use crate::{WeirConf, WeirProcess};

pub(super) fn run(run: &mut Run) -> Result<()> {
    let seconds = run.figure(2, 10);
    for driver in DRIVERS {
        let lab = Lab::new(Topology::with_queues(2))?;
        let _nginx = Nginx::start_all(&lab)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        let conf = WeirConf::new(driver, 2, lab.dir());
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        let mut moving = vec![mover(&lab, &lab.client, CLIENT_LINK)?];
        for real in &lab.reals {
            moving.push(mover(&lab, real, REAL_LINK)?);
        }
        run.check(&format!("{driver}: wrk while flows move"), || {
            let figure = wrk(&lab.wrk("/bench", seconds, true)?)?;
            ensure!(
                moving.iter_mut().all(Process::is_running),
                "the queues stopped moving"
            );
            Ok(figure)
        });
        run.check(
            &format!("{driver}: new connections while flows move"),
            || wrk(&lab.wrk("/bench", seconds, false)?),
        );
        run.check(&format!("{driver}: bytes while flows move"), || {
            echo(&lab, ECHO_PORT, 32 << 20)
        });
        drop(moving);
        run.check(
            &format!("{driver}: handed off, and exact on each worker"),
            || {
                let workers = weir.show("ledger")?;
                let workers = workers
                    .get("workers")
                    .and_then(|all| all.as_array().map(Vec::len));
                ensure!(workers == Some(2), "{workers:?} workers instead of 2");
                let ledger = weir.ledger()?;
                ensure!(
                    ledger.handed_out() > 0,
                    "nothing was handed from worker to worker"
                );
                Ok(format!(
                    "{} of {} frames handed off; {ledger}",
                    ledger.handed_out(),
                    ledger.rx()
                ))
            },
        );
    }
    Ok(())
}

/// Sends everything that leaves `link` through one queue, and every 20 ms through the other.
fn mover(lab: &Lab, namespace: &Namespace, link: &str) -> Result<Process> {
    let cpus = std::thread::available_parallelism()?.get().min(16);
    let all = format!("{:x}", (1_u32 << cpus) - 1);
    let queue = |n| format!("/sys/class/net/{link}/queues/tx-{n}/xps_cpus");
    let (first, second) = (queue(0), queue(1));
    // 3,000 rounds bound it to a few minutes should its owner be killed.
    let script = format!(
        "n=0; while [ $n -lt 3000 ]; do n=$((n + 1)); \
         echo 0 > {second}; echo {all} > {first}; sleep 0.02; \
         echo 0 > {first}; echo {all} > {second}; sleep 0.02; done"
    );
    let mut command = namespace.command("sh");
    lab.start(
        &format!("mover-{}", namespace.name()),
        command.args(["-ec", &script]),
    )
}
