//! From changed services back to the sections of a configuration.

use std::collections::BTreeSet;

use weir_model::Protocol;

use super::{Edited, pools};
use crate::command::{At, Refusal, unsupported};
use crate::document::{Document, Section};
use crate::service::{LOCAL, Persist, Service, duration, write_ranges};

/// Writes what changed between two lists of services into the sections, and parts those that
/// cannot serve yet.
pub(super) fn write(
    mut document: Document,
    before: &[Service],
    after: &[Service],
) -> Result<Edited, Refusal> {
    let mut said = Vec::new();
    let names: BTreeSet<&str> = after.iter().map(|s| s.section.as_str()).collect();
    for gone in before {
        if !names.contains(gone.section.as_str()) {
            document.remove("service", &gone.section);
        }
    }
    for (at, service) in after.iter().enumerate() {
        let first = after.iter().position(|s| s.section == service.section);
        if first != Some(at) {
            continue;
        }
        let of_section = |s: &&Service| s.section == service.section;
        let now: Vec<&Service> = after.iter().filter(of_section).collect();
        let then: Vec<&Service> = before.iter().filter(of_section).collect();
        section(&mut document, &then, &now)?;
    }
    pools::write(&mut document, before, after, &mut said)?;
    let pending = part(&mut document, before, after, &mut said);
    pools::remove_unused(&mut document);
    Ok(Edited {
        running: document,
        pending,
        said,
    })
}

/// Writes everything but the local addresses.
fn section(document: &mut Document, then: &[&Service], now: &[&Service]) -> Result<(), Refusal> {
    let [service, others @ ..] = now else {
        return Ok(());
    };
    if let Some(other) = others.iter().find(|other| !service.is_like(other)) {
        return unsupported(format!(
            "{} and {} are addresses of one [service {}], which ipvsadm can change or remove together only; give them a [service] each in weir.conf",
            service.at, other.at, service.section
        ));
    }
    let old = then.first().copied();
    if old.is_none() {
        document.push(Section::new("service", &service.section));
    }
    let Some(section) = document.find_mut("service", &service.section) else {
        return Ok(());
    };
    if then.len() != now.len() {
        section.set("listen", now.iter().map(|s| s.at.to_string()));
    }
    let differs =
        |differs: fn(&Service, &Service) -> bool| old.is_none_or(|old| differs(old, service));
    if differs(|a, b| a.scheduler != b.scheduler) {
        section.set("scheduler", [service.scheduler.clone()]);
    }
    let is_new_and_off = old.is_none() && !service.synproxy;
    if differs(|a, b| a.synproxy != b.synproxy) && !is_new_and_off {
        // ipvsadm has no third way: a service answers every SYN itself, or none.
        let mode = if service.synproxy { "always" } else { "off" };
        section.set("synproxy", [mode.to_owned()]);
    }
    if differs(|a, b| a.persist != b.persist)
        && let Some(persist) = service.persist
    {
        section.set("persist", [persist_value(persist)]);
    }
    if service.idle_given && differs(|a, b| a.idle != b.idle || !a.idle_given) {
        section.set("idle", [duration(service.idle)]);
    }
    let is_default = service.fin_wait == service.idle && section.one("timeout-fin-wait").is_none();
    if service.at.protocol == Protocol::Tcp
        && differs(|a, b| a.fin_wait != b.fin_wait)
        && !is_default
    {
        let said = section
            .one("timeout-fin-wait")
            .is_some_and(|e| !e.is_default);
        if said || service.fin_wait != service.idle {
            section.set("timeout-fin-wait", [duration(service.fin_wait)]);
        }
    }
    if differs(|a, b| a.reals != b.reals) {
        section.set(
            "real",
            service.reals.iter().map(crate::service::Real::value),
        );
    }
    Ok(())
}

fn persist_value(persist: Persist) -> String {
    format!("{}  per=/{}", duration(persist.seconds), persist.prefix)
}

/// Takes the services that lack something out of the configuration.
fn part(
    document: &mut Document,
    before: &[Service],
    after: &[Service],
    said: &mut Vec<String>,
) -> Document {
    let mut pending = Document::default();
    for service in after.iter().filter(|service| !service.is_complete()) {
        let Some(section) = document.find_mut("service", &service.section) else {
            continue;
        };
        section.set("lip-pool", []);
        section.set(LOCAL, write_each(service));
        let section = section.clone();
        document.remove("service", &service.section);
        pending.sections.push(section);
        let was = before.iter().find(|old| old.at == service.at);
        if was != Some(service) {
            let took_traffic = was.is_some_and(Service::is_complete);
            said.push(waits(&service.at, service, took_traffic));
        }
    }
    pending
}

fn write_each(service: &Service) -> Vec<String> {
    service.locals.iter().map(ToString::to_string).collect()
}

fn waits(at: &At, service: &Service, took_traffic: bool) -> String {
    let lacks = match (service.reals.is_empty(), service.locals.is_empty()) {
        (true, true) => "a real server (-a) and a local address (-P)",
        (true, false) => "a real server (-a)",
        (false, _) => "a local address (-P)",
    };
    let now = if took_traffic {
        "takes no more traffic"
    } else {
        "takes no traffic yet"
    };
    format!("{at} {now}: it waits for {lacks}")
}

/// Writes a pool's addresses.
pub(super) fn set_addresses(pool: &mut Section, addresses: &BTreeSet<std::net::IpAddr>) {
    let addresses: Vec<_> = addresses.iter().copied().collect();
    pool.set("address", write_ranges(&addresses));
}
