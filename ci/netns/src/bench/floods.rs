//! Cookies and translated packets: what one core can, and what each costs it.

use anyhow::{Context as _, Result};

use super::Bench;
use super::middle::{Job, Middle, Running};
use super::one_core::SWITCH_LINK;
use super::table::{Series, Target};
use crate::command::words;
use crate::inside::flood::{Behind, Burst, Flood, FloodReport, Vector};
use crate::lab::Lab;
use crate::server::ECHO_PORT;

/// Frames per second at which the cost of one is taken.
pub(super) const PACE: u32 = 150_000;
/// Frames at once.
const GRAIN: u32 = 64;
/// The most frames at once: half of what fits into the ring of a veth.
const DEBT: u32 = 128;
/// Paced bursts one after the other: whose turn it is on the core may settle differently each time.
const BURSTS: usize = 3;
/// The share of the core's busy time, in percent, that may go to others; some goes to going to sleep
/// and waking up.
const FOREIGN: f64 = 15.0;
/// Two to the power of this many flows are translated.
const FLOWS: u8 = 16;
/// The rates at which the peak is looked for, in thousands per second; 0: all there is.
const LADDER: [u32; 6] = [300, 450, 600, 750, 1_000, 0];

/// The figures of one in the middle.
#[derive(Debug)]
struct Figures {
    middle: Middle,
    cost: Series,
    lost: Series,
    foreign: Series,
    peak: Series,
    peak_at: Series,
    overload: Series,
    offered: Series,
}

impl Figures {
    fn of(middle: Middle) -> Self {
        let none = Series::default;
        Self {
            middle,
            cost: none(),
            lost: none(),
            foreign: none(),
            peak: none(),
            peak_at: none(),
            overload: none(),
            offered: none(),
        }
    }
}

pub(super) fn cookies(bench: &mut Bench) -> Result<()> {
    let lab = Lab::for_floods(1)?;
    let figures = measure(bench, &lab, Job::Cookies)?;
    print(bench, &figures, Job::Cookies, (1.15, 1.9));
    Ok(())
}

pub(super) fn forward(bench: &mut Bench) -> Result<()> {
    let lab = Lab::for_floods(1)?;
    let figures = measure(bench, &lab, Job::Forward)?;
    print(bench, &figures, Job::Forward, (1.2, 1.25));
    Ok(())
}

fn measure(bench: &Bench, lab: &Lab, job: Job) -> Result<Vec<Figures>> {
    let mut all: Vec<Figures> = [
        Middle::Weir("af-xdp"),
        Middle::Bare("af-xdp"),
        Middle::Kernel,
        Middle::Weir("af-packet"),
        Middle::Bare("af-packet"),
    ]
    .into_iter()
    .filter(|middle| bench.wants(&middle.name(job)))
    .map(Figures::of)
    .collect();
    for number in 0..2 * bench.rounds() {
        let climbs = number < bench.rounds();
        for figures in &mut all {
            round(bench, lab, job, figures, climbs).with_context(|| figures.middle.name(job))?;
        }
    }
    Ok(all)
}

/// Measures one in the middle once: the cost of a frame at a pace that it can keep, then, if asked
/// to, what it handles of more and more, up to everything that the generator can.
fn round(bench: &Bench, lab: &Lab, job: Job, figures: &mut Figures, climbs: bool) -> Result<()> {
    let running = figures.middle.start(bench, lab, job)?;
    let _kept = bench.cores.keep_clear_of_weir()?;
    let ms = bench.figure(300, 500);
    let paced = |rate, ms| Burst {
        after_ms: 20,
        rate,
        ms,
    };
    // All flows are opened, and what the kernel allocates is allocated.
    let mut bursts = vec![paced(PACE, 1_000)];
    bursts.extend([paced(PACE, ms); BURSTS]);
    let ladder = if climbs { &LADDER[..] } else { &[] };
    let climb = |thousands: &u32| paced(thousands * 1_000, bench.figure(300, 500));
    bursts.extend(ladder.iter().map(climb));
    let reports = lab.flood_apart(flood(bench, lab, job, &running, &bursts)?)?;
    let Some((steady, ladder)) = reports
        .get(1..)
        .and_then(|all| all.split_at_checked(BURSTS))
    else {
        return running.stop();
    };
    let costs: Series = steady.iter().map(FloodReport::per_frame).collect();
    figures.cost.push(costs.median());
    let lost = |report: &FloodReport| 100.0 * (1.0 - report.handled() / report.rate());
    figures
        .lost
        .push(steady.iter().map(lost).collect::<Series>().median());
    let foreign = |report: &FloodReport| 100.0 * report.cost.foreign();
    figures
        .foreign
        .push(steady.iter().map(foreign).collect::<Series>().median());
    let best = ladder
        .iter()
        .max_by(|one, other| one.handled().total_cmp(&other.handled()));
    if let (Some(best), Some(all)) = (best, ladder.last()) {
        figures.peak.push(best.handled());
        figures.peak_at.push(best.rate());
        figures
            .overload
            .push(100.0 * all.handled() / best.handled());
        figures.offered.push(all.rate() / best.handled());
    }
    if let Some(folder) = &bench.perf {
        let name = format!("{}.perf", figures.middle.name(job).replace([' ', '+'], "-"));
        let _perf = lab.start(
            "perf",
            words("perf record -q -e cpu-clock -F 4999 -g -C")
                .arg(bench.cores.weir.to_string())
                .arg("-o")
                .arg(folder.join(name))
                .args(["sleep", "1.5"]),
        )?;
        lab.flood_apart(flood(bench, lab, job, &running, &[paced(PACE, 2_000)])?)?;
    }
    if bench.talks {
        println!("  {}: {}", figures.middle.name(job), line(&reports));
    }
    running.stop()
}

fn line(reports: &[FloodReport]) -> String {
    let figure = |report: &FloodReport| {
        format!(
            "{:.0}k>{:.0}k {:.0}/{:.0}ns",
            report.rate() / 1e3,
            report.handled() / 1e3,
            report.per_frame(),
            report.core_per_frame()
        )
    };
    let all: Vec<String> = reports.iter().map(figure).collect();
    all.join("  ")
}

pub(super) fn flood(
    bench: &Bench,
    lab: &Lab,
    job: Job,
    running: &Running<'_>,
    bursts: &[Burst],
) -> Result<Flood> {
    let vector = match job {
        Job::Cookies => Vector::Syn,
        Job::Forward | Job::Serve => Vector::Udp,
    };
    let behind = Behind {
        namespace: lab.switch.name().to_owned(),
        link: SWITCH_LINK.to_owned(),
        port: ECHO_PORT,
    };
    Ok(Flood {
        flows: (job == Job::Forward).then_some(FLOWS),
        grain: GRAIN,
        debt: DEBT,
        behind: (job == Job::Forward).then_some(behind),
        watch: Some(running.watch(bench.cores)),
        ..lab.flood(ECHO_PORT, &[vector], bursts)?
    })
}

fn print(bench: &mut Bench, all: &[Figures], job: Job, (bare, kernel): (f64, f64)) {
    let what = match job {
        Job::Cookies => "cookie",
        Job::Forward | Job::Serve => "FullNAT 64k",
    };
    for figures in all {
        let name = figures.middle.name(job);
        let lost = figures.lost.median();
        let mut notes = Vec::new();
        if lost > 0.1 {
            notes.push(format!("{lost:.1} % lost at this pace"));
        }
        let foreign = figures.foreign.median();
        if foreign > FOREIGN {
            notes.push(format!(
                "others had the core for {foreign:.0} % of its busy time"
            ));
        }
        let note = notes.join(", ");
        let table = &mut bench.table;
        table.add(
            &format!("{what}: {name}"),
            "ns/packet",
            &figures.cost,
            None,
            &note,
        );
        let note = format!("when {:.0} k/s are offered", figures.peak_at.median() / 1e3);
        table.add(
            &format!("{what}: {name}, peak"),
            "packets/s",
            &figures.peak,
            None,
            &note,
        );
        let note = format!(
            "of the peak, at {:.1} times the peak",
            figures.offered.median()
        );
        let target = (figures.middle == Middle::Weir("af-xdp")).then_some(Target::AtLeast(50.0));
        let name = format!("{what}: {name}, overload");
        table.add(&name, "%", &figures.overload, target, &note);
    }
    let cost = |wanted| {
        all.iter()
            .find(|figures| figures.middle == wanted)
            .map(|f| &f.cost)
    };
    for driver in crate::scenario::DRIVERS {
        let Some(weir) = cost(Middle::Weir(driver)) else {
            continue;
        };
        // The targets are af-xdp's: af-packet is there for kernels and devices without.
        let wanted = |target| (driver == "af-xdp").then_some(target);
        if let Some(floor) = cost(Middle::Bare(driver)) {
            let name = format!("{what}: weir {driver} / bare");
            let target = wanted(Target::AtMost(bare));
            bench.table.add(&name, "x", &weir.over(floor), target, "");
        }
        if let Some(nft) = cost(Middle::Kernel) {
            let name = format!("{what}: nft / weir {driver}");
            let target = wanted(Target::AtLeast(kernel));
            bench.table.add(&name, "x", &nft.over(weir), target, "");
        }
    }
}
