//! Local addresses that several groups or services have: pools are shared as a whole.

use std::net::IpAddr;

use super::draft::{Draft, DraftSection};
use crate::note::{Notes, Severity};
use crate::service::range;

/// Joins pools that have an address in common, and those that have all of them under one name.
pub(super) fn join(draft: &mut Draft, notes: &mut Notes) {
    let ranges: Vec<(String, Vec<(IpAddr, IpAddr)>)> = draft
        .of_kind("lip-pool")
        .map(|pool| {
            let values = pool.lines.iter().map(|line| line.value.as_str());
            (pool.name.clone(), values.filter_map(range).collect())
        })
        .collect();
    // Sorted by where they begin, ranges that overlap are neighbours.
    let mut all: Vec<((IpAddr, IpAddr), usize)> = ranges
        .iter()
        .enumerate()
        .flat_map(|(pool, (_, ranges))| ranges.iter().map(move |range| (*range, pool)))
        .collect();
    all.sort_unstable();
    let mut leader: Vec<usize> = (0..ranges.len()).collect();
    let mut reaching: Option<(IpAddr, usize)> = None;
    for ((first, last), pool) in all {
        if let Some((end, other)) = reaching
            && first <= end
            && first.is_ipv4() == end.is_ipv4()
        {
            let (a, b) = (find(&leader, pool), find(&leader, other));
            let (low, high) = (a.min(b), a.max(b));
            if let Some(of_high) = leader.get_mut(high) {
                *of_high = low;
            }
        }
        if reaching.is_none_or(|(end, _)| last > end) {
            reaching = Some((last, pool));
        }
    }
    for (pool, (name, _)) in ranges.iter().enumerate() {
        let into = find(&leader, pool);
        let Some((keep, _)) = ranges.get(into).filter(|_| into != pool) else {
            continue;
        };
        merge(draft, keep, name, notes);
    }
    for pool in draft.sections.iter_mut().filter(|s| s.kind == "lip-pool") {
        without_overlaps(pool);
    }
}

fn find(leader: &[usize], pool: usize) -> usize {
    let mut at = pool;
    while let Some(up) = leader.get(at).filter(|up| **up != at) {
        at = *up;
    }
    at
}

/// Puts one pool into another.
fn merge(draft: &mut Draft, keep: &str, gone: &str, notes: &mut Notes) {
    let is_gone = |s: &DraftSection| s.kind == "lip-pool" && s.name == gone;
    let Some(at) = draft.sections.iter().position(is_gone) else {
        return;
    };
    let gone_pool = draft.sections.remove(at);
    for service in &mut draft.sections {
        for line in &mut service.lines {
            if line.key == "lip-pool" && line.value == gone {
                keep.clone_into(&mut line.value);
            }
        }
    }
    let values = |pool: &DraftSection| -> Vec<String> {
        pool.lines.iter().map(|line| line.value.clone()).collect()
    };
    let Some(pool) = draft
        .sections
        .iter_mut()
        .find(|s| s.kind == "lip-pool" && s.name == keep)
    else {
        return;
    };
    if values(pool) == values(&gone_pool) {
        return;
    }
    pool.lines.extend(gone_pool.lines);
    let text = format!(
        "the local addresses of {gone} and {keep} overlap; both are [lip-pool {keep}], whose services use all of them"
    );
    notes.add(gone_pool.place.as_ref(), Severity::Advice, text);
}

/// Takes what an earlier line of the pool has out of later ones.
fn without_overlaps(pool: &mut DraftSection) {
    let mut ends: Vec<(IpAddr, IpAddr)> = Vec::new();
    let mut overlaps = false;
    for line in &pool.lines {
        let Some((first, last)) = range(&line.value) else {
            continue;
        };
        overlaps |= ends.iter().any(|(a, b)| first <= *b && *a <= last);
        ends.push((first, last));
    }
    if !overlaps {
        return;
    }
    ends.sort_unstable();
    let mut joined: Vec<(IpAddr, IpAddr)> = Vec::new();
    for (first, last) in ends {
        match joined.last_mut() {
            Some((_, end)) if first <= *end && first.is_ipv4() == end.is_ipv4() => {
                *end = last.max(*end);
            }
            _ => joined.push((first, last)),
        }
    }
    let Some(line) = pool.lines.first().cloned() else {
        return;
    };
    pool.lines = joined
        .into_iter()
        .map(|(first, last)| {
            let mut line = line.clone();
            line.value = if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            };
            line
        })
        .collect();
}
