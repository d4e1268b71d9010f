//! The power is cut while one configuration after the other is applied.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_lab::scenario::Run;

use super::Appliance;
use crate::site::Site;

/// The longest time until the power is cut, in milliseconds; shorter ones are spread evenly.
const LONGEST_MS: u64 = 6_000;

pub(super) fn run(run: &mut Run, appliance: &mut Appliance, times: u32) -> Result<()> {
    let mut random = u64::from(std::process::id()) << 20 | 1;
    let mut number = 1;
    for turn in 1..=times {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let after = Duration::from_millis(random % LONGEST_MS);
        let tried = AtomicU64::new(number);
        let done = AtomicU64::new(0);
        let over = AtomicBool::new(false);
        let Appliance {
            site,
            guest,
            driver,
            ..
        } = &mut *appliance;
        let guest = guest.take().context("it is off")?;
        thread::scope(|scope| -> Result<()> {
            scope.spawn(|| apply(site, driver, &tried, &done, &over));
            thread::sleep(after);
            over.store(true, Ordering::Relaxed);
            guest.cut_power()
        })?;
        appliance.power_on()?;
        appliance.wait_up()?;
        let (tried, done) = (tried.into_inner(), done.into_inner());
        run.check(&format!("image: power cut {turn} of {times}"), || {
            let services = appliance.site.operator.run("show services --json")?;
            let marks = marks(&services);
            ensure!(services.contains("\"web\""), "torn: {services}");
            // Before the first of them was done, that of before may hold.
            let expected = done..=tried;
            ensure!(
                marks.len() <= 1
                    && marks.first().map_or(done == 0, |mark| {
                        expected.contains(mark) || done == 0 && *mark < tried
                    }),
                "{done} was done and {tried} tried, and now {marks:?} holds"
            );
            let pages = appliance.site.lab.pages(80, "/page", 20);
            let report = appliance.site.lab.http_get(pages)?;
            ensure!(report.ok == 20, "{:?}", report.failures);
            Ok(format!(
                "after {:.1} s; {done} was done, {tried} tried, {marks:?} holds, and traffic flows",
                after.as_secs_f32()
            ))
        });
        number = tried + 1;
    }
    Ok(())
}

/// Applies configurations, each with the next number, until it is over.
fn apply(site: &Site, driver: &str, tried: &AtomicU64, done: &AtomicU64, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let number = tried.load(Ordering::Relaxed);
        let said = site
            .operator
            .run_with_input("apply -", &site.configuration(driver, &service(number)));
        if said.is_err() {
            return;
        }
        done.store(number, Ordering::Relaxed);
        if over.load(Ordering::Relaxed) {
            return;
        }
        tried.store(number + 1, Ordering::Relaxed);
    }
}

/// Writes a service that has a number in its name.
pub(super) fn service(number: u64) -> String {
    format!(
        "[service mark-{number}]\nlisten = 10.80.0.100:8080/tcp\nlip-pool = blue\n\
         scheduler = rr\nreal = 10.81.0.11:80\n"
    )
}

/// Finds the numbers in the names of services.
pub(super) fn marks(services: &str) -> Vec<u64> {
    services
        .split("\"mark-")
        .skip(1)
        .filter_map(|rest| rest.split('"').next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_out_of_names() {
        let services = "{\"name\":\"mark-17\"}\n{\"name\":\"web\"}\n";
        assert_eq!(marks(services), [17]);
        assert_eq!(marks("{\"name\":\"web\"}"), [0_u64; 0]);
    }
}
