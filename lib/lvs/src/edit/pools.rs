//! Local addresses of services become pools, which services share and which never overlap.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::write::set_addresses;
use crate::command::{Refusal, unsupported};
use crate::document::{Document, Section};
use crate::service::{LOCAL, Service, pool_addresses};

/// How the names of pools begin that ipvsadm made, and that go with their last service.
const OURS: &str = "ipvsadm-";

type Addresses = BTreeSet<IpAddr>;

/// A set of local addresses, and the sections that want it.
struct Wish {
    addresses: Addresses,
    sections: Vec<String>,
    /// Whether one of the sections had more before.
    shrinks: bool,
}

/// Finds or makes a pool for each service whose local addresses changed.
pub(super) fn write(
    document: &mut Document,
    before: &[Service],
    after: &[Service],
    said: &mut Vec<String>,
) -> Result<(), Refusal> {
    for wish in wishes(document, before, after) {
        grant(document, &wish, after, said)?;
    }
    Ok(())
}

/// Removes pools of ours that nothing refers to.
pub(super) fn remove_unused(document: &mut Document) {
    let unused: Vec<String> = document
        .of_kind("lip-pool")
        .filter(|pool| pool.name.starts_with(OURS) && users(document, &pool.name).is_empty())
        .map(|pool| pool.name.clone())
        .collect();
    for name in unused {
        document.remove("lip-pool", &name);
    }
}

/// Collects what changed; sections that want the same get the same.
fn wishes(document: &Document, before: &[Service], after: &[Service]) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for service in after.iter().filter(|service| service.is_complete()) {
        let wanted: Addresses = service.locals.iter().copied().collect();
        let old = before.iter().find(|old| old.at == service.at);
        let had: Addresses = old.into_iter().flat_map(|s| s.locals.clone()).collect();
        let section = document.find("service", &service.section);
        let has_pool = section.is_some_and(|section| section.one("lip-pool").is_some());
        if had == wanted && has_pool {
            continue;
        }
        let shrinks = has_pool && !had.is_subset(&wanted);
        match wishes.iter_mut().find(|wish| wish.addresses == wanted) {
            Some(wish) => {
                wish.shrinks |= shrinks;
                if !wish.sections.contains(&service.section) {
                    wish.sections.push(service.section.clone());
                }
            }
            None => wishes.push(Wish {
                addresses: wanted,
                sections: vec![service.section.clone()],
                shrinks,
            }),
        }
    }
    wishes
}

fn grant(
    document: &mut Document,
    wish: &Wish,
    after: &[Service],
    said: &mut Vec<String>,
) -> Result<(), Refusal> {
    let overlapping: Vec<(String, Addresses)> = document
        .of_kind("lip-pool")
        .map(|pool| {
            (
                pool.name.clone(),
                pool_addresses(pool).into_iter().collect(),
            )
        })
        .filter(|(_, addresses): &(String, Addresses)| !addresses.is_disjoint(&wish.addresses))
        .collect();
    if let [(name, addresses)] = overlapping.as_slice()
        && *addresses == wish.addresses
    {
        refer(document, wish, name);
        return Ok(());
    }
    if overlapping.is_empty() {
        let name = match own_pool(document, wish, after) {
            Some(name) => name,
            None => new_pool(document, wish, after)?,
        };
        fill(document, wish, &name, &wish.addresses);
        return Ok(());
    }
    let foreign = |name: &str| {
        let users = users(document, name);
        let foreign = users.into_iter().find(|user| !wish.sections.contains(user));
        // Who is about to leave it is no user.
        foreign.filter(|user| {
            let complete = |s: &Service| s.section == *user && s.is_complete();
            after.iter().any(complete)
        })
    };
    let first_foreign = overlapping.iter().find_map(|(name, _)| foreign(name));
    let (keep, rest) = match overlapping.as_slice() {
        [(first, _), rest @ ..] => (first.clone(), rest.to_vec()),
        [] => return Ok(()),
    };
    let Some(other) = first_foreign else {
        // Nobody else cares: the first pool becomes what is wanted.
        fill(document, wish, &keep, &wish.addresses);
        for (name, _) in rest {
            document.remove("lip-pool", &name);
        }
        return Ok(());
    };
    if wish.shrinks {
        return unsupported(format!(
            "[lip-pool {keep}] also serves [service {other}]: services share pools as a whole; give the two services pools of their own in weir.conf"
        ));
    }
    let mut all = wish.addresses.clone();
    for (_, addresses) in &overlapping {
        all.extend(addresses);
    }
    let what = match rest.len() {
        0 => format!("[lip-pool {keep}] serves"),
        _ => format!("pools with an address in common became one: [lip-pool {keep}] serves"),
    };
    said.push(format!(
        "{what} [service {}] and [service {other}], with all of its {} local addresses",
        wish.sections.join("], [service "),
        all.len()
    ));
    for (name, _) in rest {
        for user in users(document, &name) {
            if let Some(section) = document.find_mut("service", &user) {
                section.set("lip-pool", [keep.clone()]);
            }
        }
        document.remove("lip-pool", &name);
    }
    fill(document, wish, &keep, &all);
    Ok(())
}

/// Returns the pool that all sections of the wish use and nobody else.
fn own_pool(document: &Document, wish: &Wish, after: &[Service]) -> Option<String> {
    let mut pools = wish.sections.iter().map(|name| {
        let section = document.find("service", name)?;
        section.one("lip-pool").map(|entry| entry.value.clone())
    });
    let first = pools.next()??;
    let same = pools.all(|pool| pool.as_ref() == Some(&first));
    let alone = users(document, &first).iter().all(|user| {
        let leaves = || after.iter().all(|s| s.section != *user || !s.is_complete());
        wish.sections.contains(user) || leaves()
    });
    (same && alone).then_some(first)
}

fn new_pool(document: &mut Document, wish: &Wish, after: &[Service]) -> Result<String, Refusal> {
    let Some(first) = wish.addresses.first() else {
        return unsupported("a pool needs an address");
    };
    let port = port_for(document, *first, wish, after)?;
    let base = format!("{OURS}{}", first.to_string().replace(':', "-"));
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    let name = names.find(|name| document.find("lip-pool", name).is_none());
    let name = name.unwrap_or(base);
    let mut pool = Section::new("lip-pool", &name);
    pool.add("port", &port);
    document.push(pool);
    Ok(name)
}

/// Finds the port whose neighbours see a local address: the one with its network, else the one
/// with the network of the real servers, else the only one.
fn port_for(
    document: &Document,
    local: IpAddr,
    wish: &Wish,
    after: &[Service],
) -> Result<String, Refusal> {
    let ports: Vec<&Section> = document.of_kind("port").collect();
    let port_with = |address: IpAddr| {
        ports.iter().find(|port| {
            let mut nets = port.all("address").filter_map(|n| n.parse::<IpNet>().ok());
            nets.any(|net| net.contains(&address))
        })
    };
    let mut reals = after
        .iter()
        .filter(|service| wish.sections.contains(&service.section))
        .flat_map(|service| &service.reals)
        .map(|real| real.at.ip());
    let found = port_with(local).or_else(|| reals.find_map(port_with));
    match (found, ports.as_slice()) {
        (Some(port), _) | (None, [port]) => Ok(port.name.clone()),
        (None, _) => {
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            unsupported(format!(
                "the local address {local} is on the network of no port ({}); write a [lip-pool] with it in weir.conf",
                names.join(", ")
            ))
        }
    }
}

fn fill(document: &mut Document, wish: &Wish, name: &str, addresses: &Addresses) {
    if let Some(pool) = document.find_mut("lip-pool", name) {
        set_addresses(pool, addresses);
    }
    refer(document, wish, name);
}

fn refer(document: &mut Document, wish: &Wish, name: &str) {
    for section in &wish.sections {
        if let Some(section) = document.find_mut("service", section) {
            section.set(LOCAL, []);
            section.set("lip-pool", [name.to_owned()]);
        }
    }
}

/// Returns the names of the services that refer to a pool.
fn users(document: &Document, pool: &str) -> Vec<String> {
    let of_pool = |section: &&Section| section.one("lip-pool").is_some_and(|e| e.value == pool);
    let sections = document.of_kind("service").filter(of_pool);
    sections.map(|section| section.name.clone()).collect()
}
