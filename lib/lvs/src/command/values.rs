//! Values of ipvsadm's options.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_model::Protocol;

use super::{Refusal, syntax, unsupported};
use crate::names::Names;
use crate::note::quote;

/// How long ipvsadm has a client persist where nothing is said.
pub(super) const PERSISTENT_S: u32 = 360;

/// 31 days: the longest time that ipvsadm takes, and that a session of Weir may be silent.
pub(super) const MOST_SECONDS: u32 = 31 * 24 * 3600;

/// Schedulers by ipvsadm's names and ours.
pub(crate) const SCHEDULERS: &[(&str, &str)] = &[
    ("rr", "rr"),
    ("wrr", "wrr"),
    ("lc", "lc"),
    ("wlc", "wlc"),
    ("lblc", "lblc"),
    ("lblcr", "lblcr"),
    ("dh", "dh"),
    ("sh", "sh"),
    ("sed", "sed"),
    ("nq", "nq"),
    ("fo", "failover"),
    ("mh", "maglev"),
    // Ours only; so that what -S writes can be read.
    ("p2c", "p2c"),
];

/// Reads the name of a scheduler; returns ours.
pub(crate) fn scheduler(name: &str) -> Result<&'static str, Refusal> {
    if let Some((_, ours)) = SCHEDULERS.iter().find(|(theirs, _)| *theirs == name) {
        return Ok(ours);
    }
    if name == "ovf" {
        return unsupported(
            "the scheduler ovf is not in Weir; `scheduler = failover` with max-sessions of the real servers comes closest",
        );
    }
    let names: Vec<&str> = SCHEDULERS.iter().map(|(theirs, _)| *theirs).collect();
    syntax(format!(
        "there is no scheduler `{}`; there is {}",
        quote(name),
        names.join(" ")
    ))
}

/// Reads `enable` or `disable`, of which any beginning will do.
pub(super) fn switch(text: &str) -> Result<bool, Refusal> {
    for (word, on) in [("enable", true), ("disable", false)] {
        if !text.is_empty() && word.starts_with(text) {
            return Ok(on);
        }
    }
    syntax(format!("-j is enable or disable, not `{}`", quote(text)))
}

/// Reads a number of seconds that is not zero.
pub(super) fn seconds(option: &str, text: &str) -> Result<u32, Refusal> {
    match number(option, text, MOST_SECONDS)? {
        0 => syntax(format!("{option} 0 would be no time at all")),
        seconds => Ok(seconds),
    }
}

/// Reads a number.
pub(crate) fn number(option: &str, text: &str, most: u32) -> Result<u32, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(number) if digits && number <= most => Ok(number),
        _ if digits => syntax(format!("{option} {}: the most is {most}", quote(text))),
        _ => syntax(format!("{option} `{}` is not a number", quote(text))),
    }
}

/// Reads a mask of clients: for IPv4 as an address, for IPv6 as the length of the prefix.
pub(crate) fn mask(text: &str, is_v6: bool) -> Result<u8, Refusal> {
    if is_v6 {
        return match text.parse::<u8>() {
            Ok(length @ 1..=128) => Ok(length),
            _ => syntax(format!(
                "-M `{}` is not the length of a prefix; for IPv6 it is 1 to 128",
                quote(text)
            )),
        };
    }
    let Ok(mask) = text.parse::<Ipv4Addr>() else {
        return syntax(format!(
            "-M `{}` is not a mask, e.g. 255.255.255.0",
            quote(text)
        ));
    };
    let bits = u32::from(mask);
    if bits.leading_ones() + bits.trailing_zeros().min(32) < 32 {
        return unsupported(format!(
            "-M {mask} has holes; Weir counts clients of one prefix together, e.g. 255.255.255.0"
        ));
    }
    Ok(bits.leading_ones() as u8)
}

/// Reads `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`, numbers or names.
pub(crate) fn host_port(
    text: &str,
    protocol: Protocol,
    names: &dyn Names,
) -> Result<(IpAddr, Option<u16>), Refusal> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, behind)) = rest.split_once(']') else {
            return syntax(format!("`{}` lacks a `]`", quote(text)));
        };
        let Ok(address) = inside.parse::<Ipv6Addr>() else {
            return syntax(format!("`{}` is not an IPv6 address", quote(inside)));
        };
        let port = match behind.strip_prefix(':') {
            Some(port) => Some(port_of(port, protocol, names)?),
            None if behind.is_empty() => None,
            None => return syntax(format!("`{}` is not [ADDRESS]:PORT", quote(text))),
        };
        return Ok((IpAddr::V6(address), port));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port_of(port, protocol, names)?)),
        None => (text, None),
    };
    Ok((host_of(host, names)?, port))
}

fn host_of(host: &str, names: &dyn Names) -> Result<IpAddr, Refusal> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(IpAddr::V4(address));
    }
    if let Some(address) = names.host(host) {
        return Ok(address);
    }
    syntax(format!(
        "`{}` is not an address, and no host of that name is known; `ipvsadm -S -n` writes numbers",
        quote(host)
    ))
}

fn port_of(text: &str, protocol: Protocol, names: &dyn Names) -> Result<u16, Refusal> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let Ok(port) = text.parse::<u16>() else {
            return syntax(format!("the port {} is greater than 65535", quote(text)));
        };
        return Ok(port);
    }
    if let Some(port) = names.port(text, protocol) {
        return Ok(port);
    }
    syntax(format!(
        "`{}` is not a port, and none of that name is known; `ipvsadm -S -n` writes numbers",
        quote(text)
    ))
}
