//! Real clients and servers: pages, latency and bulk data through what stands in the middle.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::middle::{FLOOD_PORT, Job, Middle};
use super::one_core::{Receive, SWITCH_LINK};
use super::table::{Series, Target};
use super::wire::Wire;
use crate::client::load::Way;
use crate::command::{run, words};
use crate::inside::Task;
use crate::inside::flood::{Behind, Burst, Flood, FloodReport, Vector};
use crate::inside::ping::{PingPong, PingReport};
use crate::lab::{Lab, Offloads, Topology, VIP};
use crate::plain::PlainRouter;
use crate::server::{self, ECHO_PORT, IPERF_PORT, Nginx};

/// Frames per second beside the datagrams that are timed.
const BESIDE: u32 = 20_000;
/// A scheduling priority above everything that is not timed.
const PRIORITY: &str = "10";

/// Where clients find the service.
fn target(middle: Middle, port: u16) -> SocketAddrV4 {
    match middle {
        Middle::Plain | Middle::Bare(_) => SocketAddrV4::new(PlainRouter::TARGET, port),
        Middle::Weir(_) | Middle::Kernel | Middle::Haproxy => SocketAddrV4::new(VIP, port),
    }
}

/// Pages per second with a connection for each, and on connections that stay open.
#[derive(Debug)]
struct Pages {
    middle: Middle,
    close: Series,
    close_cost: Series,
    keep: Series,
    keep_cost: Series,
}

pub(super) fn pages(bench: &mut Bench) -> Result<()> {
    let lab = Lab::new(Topology {
        offloads: Offloads::Off,
        ..Topology::default()
    })?;
    let _nginx = {
        let _kept = bench.cores.keep_clear_of_weir()?;
        Nginx::start_all(&lab)?
    };
    let mut all: Vec<Pages> = [
        Middle::Weir("af-xdp"),
        Middle::Kernel,
        Middle::Weir("af-packet"),
        Middle::Haproxy,
        Middle::Plain,
    ]
    .into_iter()
    .filter(|middle| bench.wants(&middle.name(Job::Serve)))
    .map(|middle| Pages {
        middle,
        close: Series::default(),
        close_cost: Series::default(),
        keep: Series::default(),
        keep_cost: Series::default(),
    })
    .collect();
    for _ in 0..bench.rounds() {
        for pages in &mut all {
            one(bench, &lab, pages).with_context(|| pages.middle.name(Job::Serve))?;
        }
    }
    print_pages(bench, &all);
    Ok(())
}

fn one(bench: &Bench, lab: &Lab, pages: &mut Pages) -> Result<()> {
    let running = pages.middle.start(bench, lab, Job::Serve)?;
    let _kept = bench.cores.keep_clear_of_weir()?;
    let seconds = bench.figure(1, 3);
    let watch = running.watch(bench.cores);
    let address = *target(pages.middle, 80).ip();
    for keep_alive in [false, true] {
        let watching = watch.start()?;
        let report = lab.wrk_at(address, "/bench", seconds, keep_alive)?;
        let cost = watching.cost()?;
        ensure!(report.errors == 0, "{} errors", report.errors);
        let (rate, spent) = if keep_alive {
            (&mut pages.keep, &mut pages.keep_cost)
        } else {
            (&mut pages.close, &mut pages.close_cost)
        };
        rate.push(report.per_second);
        spent.push(per(cost.threads_ns, report.requests) / 1e3);
    }
    running.stop()
}

fn print_pages(bench: &mut Bench, all: &[Pages]) {
    let kinds = [
        ("connections", "conn/s", false),
        ("requests", "pages/s", true),
    ];
    for (what, unit, keep_alive) in kinds {
        let rate = |pages: &Pages| {
            if keep_alive {
                pages.keep.clone()
            } else {
                pages.close.clone()
            }
        };
        for pages in all {
            let name = format!("{what}: {}", pages.middle.name(Job::Serve));
            let spent = if keep_alive {
                &pages.keep_cost
            } else {
                &pages.close_cost
            };
            let note = format!("{:.1} us of CPU each", spent.median());
            bench.table.add(&name, unit, &rate(pages), None, &note);
        }
        let of = |wanted| all.iter().find(|pages| pages.middle == wanted).map(rate);
        for driver in crate::scenario::DRIVERS {
            let Some(weir) = of(Middle::Weir(driver)) else {
                continue;
            };
            for (other, least) in [(Middle::Kernel, 0.9), (Middle::Haproxy, 1.0)] {
                let Some(figure) = of(other) else { continue };
                let name = format!("{what}: weir {driver} / {}", other.name(Job::Serve));
                // Requests on open connections are too noisy to be held to anything.
                let target = (driver == "af-xdp" && !keep_alive).then_some(Target::AtLeast(least));
                bench.table.add(&name, "x", &weir.over(&figure), target, "");
            }
        }
    }
}

/// How long answers take.
#[derive(Debug)]
struct Times {
    middle: Middle,
    p50: Series,
    p99: Series,
    p999: Series,
}

pub(super) fn latency(bench: &mut Bench) -> Result<()> {
    let lab = Lab::for_floods(1)?;
    let echo = {
        let _kept = bench.cores.keep_clear_of_weir()?;
        server::udp_echo(&lab, 0)?
    };
    prefer(echo.pid().cast_signed())?;
    let mut all: Vec<Times> = [
        Middle::Plain,
        Middle::Weir("af-xdp"),
        Middle::Kernel,
        Middle::Bare("af-xdp"),
        Middle::Weir("af-packet"),
    ]
    .into_iter()
    .filter(|middle| *middle == Middle::Plain || bench.wants(&middle.name(Job::Serve)))
    .map(|middle| Times {
        middle,
        p50: Series::default(),
        p99: Series::default(),
        p999: Series::default(),
    })
    .collect();
    for _ in 0..bench.rounds() {
        for times in &mut all {
            let report =
                ping(bench, &lab, times.middle).with_context(|| times.middle.name(Job::Serve))?;
            times.p50.push(report.p50);
            times.p99.push(report.p99);
            times.p999.push(report.p999);
        }
    }
    print_times(bench, &all);
    Ok(())
}

fn ping(bench: &Bench, lab: &Lab, middle: Middle) -> Result<PingReport> {
    let running = middle.start(bench, lab, Job::Serve)?;
    let _wire = if let (Middle::Bare(_), Some(real)) = (middle, lab.reals.first()) {
        Some(Wire::between_the_ends(lab, real)?)
    } else {
        None
    };
    let _kept = bench.cores.keep_clear_of_weir()?;
    // Whatever the two ends do is done at once: what is timed is the middle.
    for poller in super::one_core::pollers_of_the_ends() {
        prefer(poller)?;
    }
    let ms = bench.figure(1_500, 4_000);
    let burst = Burst {
        after_ms: 0,
        rate: BESIDE,
        ms,
    };
    let flood = Flood {
        target: target(middle, FLOOD_PORT),
        flows: Some(10),
        // A program on live frames holds the core of both ends for 30 to 100 us in each call.
        by_socket: true,
        grain: 4,
        debt: 16,
        behind: Some(Behind {
            namespace: lab.switch.name().to_owned(),
            link: SWITCH_LINK.to_owned(),
            port: FLOOD_PORT,
        }),
        ..lab.flood(FLOOD_PORT, &[Vector::Udp], &[burst])?
    };
    let flooding = lab.start_flood(flood)?;
    let task = Task::PingPong(PingPong {
        target: target(middle, ECHO_PORT),
        count: bench.figure(5_000, 15_000),
        pause_us: 0,
    });
    let mut command = words("chrt -f");
    let helper = lab.helper(&lab.client, &task)?;
    command
        .arg(PRIORITY)
        .arg(helper.get_program())
        .args(helper.get_args());
    let text = run(&mut command)?;
    let line = text.lines().last().context("the client said nothing")?;
    let report: PingReport = serde_json::from_str(line).context("cannot read the report")?;
    let flood: FloodReport = flooding.report()?;
    if bench.talks {
        println!(
            "  {}: {report:?} beside {:.0}/s",
            middle.name(Job::Serve),
            flood.handled()
        );
    }
    ensure!(flood.forwarded > 0, "nothing of the flood was forwarded");
    running.stop()?;
    Ok(report)
}

fn print_times(bench: &mut Bench, all: &[Times]) {
    type Pick = fn(&Times) -> &Series;
    let picks: [(&str, Pick); 3] = [
        ("p50", |times| &times.p50),
        ("p99", |times| &times.p99),
        ("p99.9", |times| &times.p999),
    ];
    for (name, pick) in picks {
        for times in all {
            let title = format!(
                "latency {name}: {}, there and back",
                times.middle.name(Job::Serve)
            );
            bench.table.figure(&title, "us", pick(times));
        }
        let of = |wanted| all.iter().find(|times| times.middle == wanted).map(pick);
        let Some(direct) = of(Middle::Plain) else {
            continue;
        };
        let nft = of(Middle::Kernel).map(|nft| nft.minus(direct));
        let bare = of(Middle::Bare("af-xdp")).map(|bare| bare.minus(direct));
        for driver in crate::scenario::DRIVERS {
            let Some(weir) = of(Middle::Weir(driver)) else {
                continue;
            };
            let added = weir.minus(direct);
            let allowed = nft.as_ref().map(|nft| 1.5 * nft.median().max(0.0) + 20.0);
            let target = allowed
                .filter(|_| name == "p99" && driver == "af-xdp")
                .map(Target::AtMost);
            let others = [("nft DNAT+SNAT", &nft), ("the bare forwarder", &bare)];
            let others = others.into_iter().filter_map(|(who, adds)| {
                Some(format!("{who} adds {:.1}", adds.as_ref()?.median()))
            });
            let note = others.collect::<Vec<_>>().join(", ");
            let title = format!("latency {name}: weir {driver} adds");
            bench.table.add(&title, "us", &added, target, &note);
        }
    }
}

/// Gives a process or kernel thread precedence on its core.
fn prefer(pid: i32) -> Result<()> {
    run(words("chrt -f -p").arg(PRIORITY).arg(pid.to_string())).map(drop)
}

/// Bits per second of one stream.
#[derive(Debug)]
struct Streams {
    middle: Middle,
    up: Series,
    down: Series,
}

pub(super) fn bulk(bench: &mut Bench) -> Result<()> {
    let plans = [
        (Offloads::Off, "af-xdp", 0.7, "offloads off"),
        (Offloads::Default, "af-packet", 0.5, "offloads on"),
    ];
    for (offloads, driver, least, name) in plans {
        let lab = Lab::new(Topology {
            reals: 1,
            offloads,
            ..Topology::default()
        })?;
        let mut all = [Middle::Kernel, Middle::Weir(driver)].map(|middle| Streams {
            middle,
            up: Series::default(),
            down: Series::default(),
        });
        for _ in 0..bench.rounds() {
            for streams in &mut all {
                stream(bench, &lab, streams).with_context(|| streams.middle.name(Job::Serve))?;
            }
        }
        let [nft, weir] = &all;
        for (way, pick) in [("up", false), ("down", true)] {
            let of = |streams: &Streams| {
                if pick {
                    streams.down.clone()
                } else {
                    streams.up.clone()
                }
            };
            for streams in &all {
                let title = format!("bulk {way}, {name}: {}", streams.middle.name(Job::Serve));
                bench.table.figure(&title, "Gbit/s", &of(streams));
            }
            let title = format!("bulk {way}, {name}: weir {driver} / nft");
            let ratio = of(weir).over(&of(nft));
            bench
                .table
                .check(&title, "x", &ratio, Target::AtLeast(least));
        }
    }
    Ok(())
}

fn stream(bench: &Bench, lab: &Lab, streams: &mut Streams) -> Result<()> {
    // Frames stay as they were sent: the load balancer's devices glue nothing together.
    let receive = match streams.middle {
        Middle::Weir("af-xdp") => Receive::Threads,
        Middle::Weir(_) | Middle::Bare(_) | Middle::Kernel | Middle::Haproxy | Middle::Plain => {
            Receive::Backlog
        }
    };
    let running = streams
        .middle
        .start_with(bench, lab, Job::Serve, receive, |_| {})?;
    let _kept = bench.cores.keep_clear_of_weir()?;
    // A server of its own: one whose last client went away may still wait for it.
    let _iperf = server::iperf(lab, 0)?;
    let seconds = bench.figure(1, 3);
    for (way, series) in [(Way::Up, &mut streams.up), (Way::Down, &mut streams.down)] {
        let bits = lab.iperf(target(streams.middle, IPERF_PORT), way, seconds)?;
        series.push(bits / 1e9);
    }
    running.stop()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of seconds are far below 2^52"
)]
fn per(spent: u64, count: u64) -> f64 {
    spent as f64 / count.max(1) as f64
}
