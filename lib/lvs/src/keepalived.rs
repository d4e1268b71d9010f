//! Reads a keepalived.conf, that of alibaba's edition with FullNAT above all.

mod blocks;
mod checks;
mod server;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weir_model::Protocol;

use crate::import::draft::{Draft, DraftSection, proper_name};
use crate::note::{Notes, Place, quote};
use crate::service::expand;
use blocks::Statement;
pub use blocks::{Files, NoFiles};
use checks::Profiles;

/// What other parts of the file refer to.
#[derive(Default)]
struct Groups {
    /// Groups of virtual servers: addresses and ports.
    servers: BTreeMap<String, Vec<(IpAddr, u16)>>,
    /// The pool that each group of local addresses became.
    pools: BTreeMap<String, String>,
}

/// Reads a keepalived.conf into a draft.
pub(crate) fn read(
    name: &str,
    text: &str,
    files: &dyn Files,
    lip: Option<&str>,
    notes: &mut Notes,
) -> Draft {
    let statements = blocks::read(name, text, files, notes);
    let mut draft = Draft::default();
    let mut groups = Groups::default();
    let mut profiles = Profiles::default();
    for statement in &statements {
        match statement.keyword() {
            "virtual_server_group" => server_group(statement, &mut groups, notes),
            "local_address_group" => local_group(statement, &mut draft, &mut groups, notes),
            _ => {}
        }
    }
    for statement in &statements {
        match statement.keyword() {
            "virtual_server_group" | "local_address_group" => {}
            "virtual_server" => {
                let mut reader = server::Reader {
                    draft: &mut draft,
                    groups: &groups,
                    profiles: &mut profiles,
                    lip,
                    notes,
                };
                reader.virtual_server(statement);
            }
            "global_defs" => global_defs(statement, &mut draft, notes),
            _ => top_level(statement, &mut draft, notes),
        }
    }
    unused(&statements, notes);
    draft
}

/// Tells groups of virtual servers that none has.
fn unused(statements: &[Statement], notes: &mut Notes) {
    let with = |keyword: &'static str| {
        let all = statements.iter();
        all.filter(move |statement| statement.keyword() == keyword)
    };
    let used: BTreeSet<&str> = with("virtual_server")
        .filter(|server| server.word(1) == Some("group"))
        .filter_map(|server| server.word(2))
        .collect();
    for group in with("virtual_server_group") {
        if let Some(name) = group.word(1).filter(|name| !used.contains(name)) {
            let text = format!(
                "no virtual_server has the virtual_server_group {}",
                quote(name)
            );
            notes.left_out(&group.place, text);
        }
    }
}

fn global_defs(statement: &Statement, draft: &mut Draft, notes: &mut Notes) {
    words::surplus(statement, notes);
    for inner in words::once(statement.inside(), notes) {
        words::surplus(inner, notes);
        match inner.keyword() {
            "router_id" | "lvs_id" => {
                let Some(name) = inner.word(1) else {
                    notes.bad(&inner.place, "`router_id` names nothing");
                    continue;
                };
                if draft.has("node", "") {
                    notes.left_out(&inner.place, "the node has a name already");
                    continue;
                }
                let mut node = DraftSection::new("node", "", Some(&inner.place));
                node.add("name", proper_name(name), &inner.place, inner.keyword());
                draft.sections.insert(0, node);
            }
            other => words::without(words::GLOBAL, "global_defs", other, inner, notes),
        }
    }
}

/// Everything at the top level that is neither of services nor of groups.
fn top_level(statement: &Statement, draft: &mut Draft, notes: &mut Notes) {
    let keyword = statement.keyword();
    if keyword == "vrrp_instance" {
        for inner in statement.inside() {
            if inner.keyword() == "interface"
                && let Some(device) = inner.word(1)
            {
                draft.devices.push(device.to_owned());
            }
        }
    }
    words::without(words::TOP, "keepalived.conf", keyword, statement, notes);
}

fn server_group(statement: &Statement, groups: &mut Groups, notes: &mut Notes) {
    let Some(name) = statement.word(1) else {
        notes.bad(&statement.place, "the virtual_server_group has no name");
        return;
    };
    words::surplus(statement, notes);
    let mut addresses = Vec::new();
    for inner in statement.inside() {
        behind(inner, 2, notes);
        if inner.keyword() == "fwmark" {
            notes.left_out(&inner.place, words::MARKS);
            continue;
        }
        let (Some(range), port) = (inner.word(0), inner.word(1)) else {
            continue;
        };
        let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) else {
            let text = format!("`{}` has no port", quote(range));
            notes.bad(&inner.place, text);
            continue;
        };
        let Some(all) = address_range(range, &inner.place, notes) else {
            continue;
        };
        if port == 0 {
            notes.left_out(&inner.place, words::EVERY_PORT);
            continue;
        }
        addresses.extend(all.into_iter().map(|address| (address, port)));
    }
    if groups.servers.insert(name.to_owned(), addresses).is_some() {
        let text = format!("the virtual_server_group {} is there twice", quote(name));
        notes.bad(&statement.place, text);
    }
}

fn local_group(statement: &Statement, draft: &mut Draft, groups: &mut Groups, notes: &mut Notes) {
    let Some(name) = statement.word(1) else {
        notes.bad(&statement.place, "the local_address_group has no name");
        return;
    };
    if groups.pools.contains_key(name) {
        let text = format!("the local_address_group {} is there twice", quote(name));
        notes.bad(&statement.place, text);
        return;
    }
    words::surplus(statement, notes);
    let pool_name = draft.free_name("lip-pool", name);
    let mut pool = DraftSection::new("lip-pool", &pool_name, Some(&statement.place));
    for inner in statement.inside() {
        let range = inner.keyword();
        let Some(all) = address_range(range, &inner.place, notes) else {
            continue;
        };
        behind(inner, 1, notes);
        if let (Some(first), Some(last)) = (all.first(), all.last()) {
            let value = if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            };
            pool.add("address", value, &inner.place, "local_address_group");
        }
    }
    if pool.lines.is_empty() {
        let text = format!("the local_address_group {} has no address", quote(name));
        notes.left_out(&statement.place, text);
        return;
    }
    groups.pools.insert(name.to_owned(), pool_name);
    draft.sections.push(pool);
}

/// Tells what stands behind an address of a group besides what belongs there.
fn behind(inner: &Statement, words: usize, notes: &mut Notes) {
    if let Some(word) = inner.word(words) {
        let text = format!("`{}` behind `{}`", quote(word), quote(inner.keyword()));
        notes.unknown(&inner.place, text);
    }
    if inner.block.is_some() {
        let text = format!("a block behind `{}`", quote(inner.keyword()));
        notes.unknown(&inner.place, text);
    }
}

/// Reads `ADDRESS` or `ADDRESS-N`, N being where the last byte (of IPv6: the last group, in
/// hexadecimal) ends.
fn address_range(text: &str, place: &Place, notes: &mut Notes) -> Option<Vec<IpAddr>> {
    let (first, end) = match text.split_once('-') {
        Some((first, end)) => (first, Some(end)),
        None => (text, None),
    };
    let Ok(first) = first.parse::<IpAddr>() else {
        notes.bad(place, format!("`{}` is not an address", quote(first)));
        return None;
    };
    let last = match (first, end) {
        (_, None) => Some(first),
        (IpAddr::V4(v4), Some(end)) => end.parse::<u8>().ok().map(|end| {
            let mut octets = v4.octets();
            if let Some(last) = octets.last_mut() {
                *last = end;
            }
            IpAddr::from(octets)
        }),
        (IpAddr::V6(v6), Some(end)) => u16::from_str_radix(end, 16).ok().map(|end| {
            let mut segments = v6.segments();
            if let Some(last) = segments.last_mut() {
                *last = end;
            }
            IpAddr::from(segments)
        }),
    };
    let Some(last) = last.filter(|last| *last >= first) else {
        let text = format!(
            "the range `{}` does not end behind its beginning",
            quote(text)
        );
        notes.bad(place, text);
        return None;
    };
    Some(expand(first, last))
}

/// Reads `tcp` or `udp`, in any case.
fn protocol_of(word: &str) -> Option<Protocol> {
    let word = word.to_ascii_lowercase();
    let found = Protocol::NAMES.iter().find(|(name, _)| *name == word);
    found.map(|(_, protocol)| *protocol)
}

#[cfg(test)]
mod tests;
