//! LIP pools: what their addresses may be.

use std::net::IpAddr;

use weir_model::AddressRange;

use super::network::Network;
use crate::diagnostic::Sink;
use crate::schema::{Kind, Parsed};
use crate::source::Place;
use crate::tree::{Object, of_kind};

/// Local addresses are numbered in two bytes.
pub(super) const MOST_LIPS: u64 = 65_535;

/// A range of local addresses with its pool and place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    pub(super) ends: AddressRange,
    pub(super) pool: &'a str,
    pub(super) place: Place,
}

/// Returns the ranges of all pools in ascending order of their first address.
pub(super) fn ranges(objects: &[Object]) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = of_kind(objects, Kind::LipPool)
        .flat_map(|pool| {
            pool.all("address").iter().filter_map(|item| {
                let Parsed::Addresses(range) = item.parsed else {
                    return None;
                };
                Some(Range {
                    ends: range,
                    pool: &pool.name,
                    place: item.place?,
                })
            })
        })
        .collect();
    ranges.sort_by_key(|range| (range.ends.first, range.place));
    ranges
}

/// Returns the range that has an address.
pub(super) fn range_with<'a, 'b>(ranges: &'b [Range<'a>], ip: IpAddr) -> Option<&'b Range<'a>> {
    let below = ranges.partition_point(|range| range.ends.first <= ip);
    let nearest = ranges.get(below.checked_sub(1)?)?;
    let same_family = nearest.ends.first.is_ipv4() == ip.is_ipv4();
    (same_family && ip <= nearest.ends.last).then_some(nearest)
}

/// Checks every pool.
pub(super) fn check(objects: &[Object], network: &Network<'_>, sink: &mut Sink) {
    let ranges = ranges(objects);
    let mut total = 0;
    let mut in_file_order: Vec<&Range<'_>> = ranges.iter().collect();
    in_file_order.sort_by_key(|range| range.place);
    for range in in_file_order {
        let AddressRange { first, last } = range.ends;
        let (IpAddr::V4(low), IpAddr::V4(high)) = (first, last) else {
            let message = format!("the local address {first} is not available in this build");
            sink.at(range.place, message, "it belongs to IPv6");
            continue;
        };
        let size = u64::from(u32::from(high)) - u64::from(u32::from(low)) + 1;
        let before = total;
        total += size;
        if before <= MOST_LIPS && total > MOST_LIPS {
            sink.at(
                range.place,
                format!("{total} local addresses are too many"),
                format!("there can be {MOST_LIPS} in all pools together"),
            );
        }
        not_hosts(range, network, sink);
    }
    overlaps(&ranges, sink);
    for pool in of_kind(objects, Kind::LipPool) {
        source_ports(pool, network, sink);
    }
}

/// Two pools with one address would give the same source port twice.
fn overlaps(ranges: &[Range<'_>], sink: &mut Sink) {
    let mut reaching: Option<&Range<'_>> = None;
    for range in ranges {
        let Some(before) = reaching else {
            reaching = Some(range);
            continue;
        };
        if range.ends.first <= before.ends.last {
            let (earlier, later) = if before.place < range.place {
                (before, range)
            } else {
                (range, before)
            };
            let message = if earlier.pool == later.pool {
                format!("addresses of [lip-pool {}] overlap", later.pool)
            } else {
                format!(
                    "[lip-pool {}] and [lip-pool {}] overlap",
                    earlier.pool, later.pool
                )
            };
            sink.between(
                message,
                later.place,
                format!("{} is here", range.ends.first),
                Some(earlier.place),
                "and here",
            );
        }
        if range.ends.last > before.ends.last {
            reaching = Some(range);
        }
    }
}

fn not_hosts(range: &Range<'_>, network: &Network<'_>, sink: &mut Sink) {
    for (net, _, _) in &network.connected {
        let net = net.trunc();
        for ip in [net.network(), net.broadcast()] {
            if !(range.ends.first..=range.ends.last).contains(&ip) {
                continue;
            }
            if let Some((what, net)) = network.not_a_host(ip) {
                let message = format!("[lip-pool {}] has {ip}, {what} {net}", range.pool);
                sink.at(range.place, message, "no host can have it; leave it out");
            }
        }
    }
}

fn source_ports(pool: &Object, network: &Network<'_>, sink: &mut Sink) {
    let Some(item) = pool.one("source-ports") else {
        return;
    };
    let (Parsed::Range(first, last), Some(place)) = (&item.parsed, item.place) else {
        return;
    };
    let Some((workers, cpus)) = network.cpus else {
        return;
    };
    let ports = last - first + 1;
    if ports < workers as u64 {
        sink.between(
            format!(
                "{} has fewer source ports than there are workers",
                pool.title()
            ),
            place,
            format!("{ports} in all; each worker has its own"),
            cpus,
            format!("one worker per core: {workers}"),
        );
    }
}
