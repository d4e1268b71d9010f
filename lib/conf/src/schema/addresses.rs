//! Addresses in their forms: networks, ranges, addresses with ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weir_model::{AddressRange, Protocol};

use super::Parsed;
use crate::lexer::quote;
use crate::units::Problem;

pub(super) fn prefix_length(value: &str) -> Result<Parsed, Problem> {
    let message = || format!("`{}` is not a prefix length", quote(value));
    let Some(length) = value.strip_prefix('/') else {
        return Err(Problem::whole(value, message(), "e.g. /24"));
    };
    match length.parse::<u64>() {
        Ok(length) if length <= 128 => Ok(Parsed::Number(length)),
        Ok(_) | Err(_) => Err(Problem::whole(value, message(), "e.g. /24")),
    }
}

pub(super) fn network(value: &str) -> Result<Parsed, Problem> {
    let net = prefix(value, "e.g. 192.0.2.0/24")?;
    no_host_bits(value, net)?;
    Ok(Parsed::Network(net))
}

pub(super) fn interface(value: &str) -> Result<Parsed, Problem> {
    let net = prefix(value, "e.g. 10.0.0.2/16")?;
    let message = |what: &str| format!("`{value}` cannot be a port's address: it is {what}");
    usable(net.addr()).map_err(|what| Problem::whole(value, message(what), ""))?;
    if let IpNet::V4(v4) = net
        && v4.prefix_len() < 31
    {
        let note = "hosts have the addresses between the first and the last of a network";
        if v4.addr() == v4.network() {
            return Err(Problem::whole(value, message("the network's own"), note));
        }
        if v4.addr() == v4.broadcast() {
            return Err(Problem::whole(
                value,
                message("the network's broadcast address"),
                note,
            ));
        }
    }
    Ok(Parsed::Network(net))
}

/// Reads `ADDRESS/LENGTH`.
fn prefix(value: &str, example: &str) -> Result<IpNet, Problem> {
    let Some((ip, length)) = value.split_once('/') else {
        let end = value.chars().count();
        return Err(match value.parse::<IpAddr>() {
            Ok(_) => Problem::part((end, 1), format!("`{value}` has no prefix length"), example),
            Err(_) => not_an_address(value),
        });
    };
    let ip = address_in(value, ip, 0)?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    match length.parse::<u8>() {
        Ok(length) if digits && length <= longest => {
            IpNet::new(ip, length).map_err(|_| not_an_address(value))
        }
        Ok(_) | Err(_) => {
            let at = value.chars().count() - length.chars().count();
            Err(Problem::part(
                (at, length.chars().count()),
                format!("`{}` has no proper prefix length", quote(value)),
                format!("must be between 0 and {longest}"),
            ))
        }
    }
}

fn no_host_bits(value: &str, net: IpNet) -> Result<(), Problem> {
    if net.addr() == net.network() {
        return Ok(());
    }
    Err(Problem::whole(
        value,
        format!("`{value}` is not a network: bits behind the prefix are set"),
        format!("did you mean {}?", net.trunc()),
    ))
}

/// Reads a single address that traffic can have.
pub(super) fn address(value: &str) -> Result<IpAddr, Problem> {
    if let Some((ip, length)) = value.split_once('/')
        && ip.parse::<IpAddr>().is_ok()
    {
        let at = (ip.chars().count(), length.chars().count() + 1);
        let message = format!("`{}` is a network, not an address", quote(value));
        return Err(Problem::part(at, message, format!("write {ip}")));
    }
    address_in(value, value, 0)
}

fn address_in(value: &str, part: &str, at: usize) -> Result<IpAddr, Problem> {
    part.parse().map_err(|_| {
        let bad = not_an_address(part);
        if part.is_empty() {
            return Problem::part(
                (at, 1),
                format!("an address is missing in `{}`", quote(value)),
                "",
            );
        }
        bad.shifted(at)
    })
}

fn not_an_address(part: &str) -> Problem {
    let octets: Vec<&str> = part.split('.').collect();
    let numeric = octets
        .iter()
        .all(|o| !o.is_empty() && o.bytes().all(|b| b.is_ascii_digit()));
    let note = if numeric && octets.len() == 4 {
        if octets
            .iter()
            .any(|octet| octet.len() > 1 && octet.starts_with('0'))
        {
            "numbers in an address have no leading zeros"
        } else {
            "numbers in an address end at 255"
        }
    } else if numeric && octets.len() > 1 {
        "an IPv4 address has four numbers"
    } else {
        "e.g. 192.0.2.1; names are not looked up"
    };
    Problem::whole(part, format!("`{}` is not an address", quote(part)), note)
}

pub(super) fn addresses(value: &str) -> Result<AddressRange, Problem> {
    let range = |first, last| AddressRange { first, last };
    let found = if value.contains('/') {
        let net = prefix(value, "")?;
        no_host_bits(value, net)?;
        range(net.network(), net.broadcast())
    } else if let Some((first, last)) = value.split_once('-') {
        let at = first.chars().count() + 1;
        let (first, last) = (address_in(value, first, 0)?, address_in(value, last, at)?);
        if first.is_ipv4() != last.is_ipv4() {
            let message = format!(
                "`{}` goes from one address family to the other",
                quote(value)
            );
            return Err(Problem::whole(value, message, ""));
        }
        if first > last {
            return Err(Problem::whole(
                value,
                format!("the range `{}` is reversed", quote(value)),
                format!("write {last}-{first}"),
            ));
        }
        range(first, last)
    } else {
        let ip = address(value)?;
        range(ip, ip)
    };
    for end in [found.first, found.last] {
        usable(end).map_err(|what| {
            Problem::whole(
                value,
                format!("`{value}` cannot be a local address: {end} is {what}"),
                "",
            )
        })?;
    }
    Ok(found)
}

pub(super) fn listen(value: &str) -> Result<Parsed, Problem> {
    let message = || format!("`{}` is not ADDRESS:PORT/PROTOCOL", quote(value));
    let Some((at, word)) = value.split_once('/') else {
        let end = value.chars().count();
        return Err(Problem::part((end, 1), message(), "needs `/tcp` or `/udp`"));
    };
    let Some((_, protocol)) = Protocol::NAMES.iter().find(|(name, _)| *name == word) else {
        let start = at.chars().count() + 1;
        let names = &Protocol::NAMES;
        let meant = names
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word));
        let note = meant.map_or_else(
            || "the protocol is tcp or udp".to_owned(),
            |(name, _)| format!("write `/{name}`"),
        );
        return Err(Problem::part(
            (start, word.chars().count().max(1)),
            message(),
            note,
        ));
    };
    let (ip, port) = endpoint(at, "e.g. 203.0.113.10:443/tcp")?;
    Ok(Parsed::Listen(ip, port, *protocol))
}

/// Reads `ADDRESS:PORT` or `[ADDRESS]:PORT`.
pub(super) fn endpoint(value: &str, example: &str) -> Result<(IpAddr, u16), Problem> {
    let (ip, port) = any_endpoint(value, example)?;
    usable(ip).map_err(|what| unreachable(value, ip, what))?;
    Ok((ip, port))
}

/// Reads where this machine itself listens: the loopback address is one, and `0.0.0.0` is all.
pub(super) fn own_endpoint(value: &str, example: &str) -> Result<(IpAddr, u16), Problem> {
    let (ip, port) = any_endpoint(value, example)?;
    if ip.is_unspecified() || ip.is_loopback() {
        return Ok((ip, port));
    }
    usable(ip).map_err(|what| unreachable(value, ip, what))?;
    Ok((ip, port))
}

fn unreachable(value: &str, ip: IpAddr, what: &str) -> Problem {
    let message = format!("`{value}` cannot be reached: {ip} is {what}");
    Problem::whole(value, message, "")
}

fn any_endpoint(value: &str, example: &str) -> Result<(IpAddr, u16), Problem> {
    let message = || format!("`{}` is not ADDRESS:PORT", quote(value));
    if let Some((at, word)) = value.split_once('/')
        && Protocol::NAMES
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(word))
    {
        let place = (at.chars().count(), word.chars().count() + 1);
        let note = format!("write {at}; the protocol is that of the service");
        return Err(Problem::part(place, message(), note));
    }
    let Some((ip, port)) = value.rsplit_once(':') else {
        let end = value.chars().count();
        return Err(match value.parse::<IpAddr>() {
            Ok(_) => Problem::part((end, 1), format!("`{value}` has no port"), example),
            Err(_) => Problem::whole(value, message(), example),
        });
    };
    let at = value.chars().count() - port.chars().count();
    let ip = if let Some(inside) = ip.strip_prefix('[') {
        let Some(v6) = inside.strip_suffix(']') else {
            return Err(Problem::whole(value, message(), "`]` is missing"));
        };
        let ip: Result<Ipv6Addr, _> = v6.parse();
        ip.map(IpAddr::V6)
            .map_err(|_| not_an_address(v6).shifted(1))?
    } else if ip.contains(':') {
        return Err(Problem::whole(
            value,
            message(),
            "an IPv6 address stands in brackets, e.g. [2001:db8::1]:443",
        ));
    } else {
        address_in(value, ip, 0)?
    };
    let port = port_number(port, at, &message)?;
    Ok((ip, port))
}

pub(super) fn port_number(
    text: &str,
    at: usize,
    message: &impl Fn() -> String,
) -> Result<u16, Problem> {
    let width = text.chars().count().max(1);
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if port > 0 && digits => Ok(port),
        Ok(_) | Err(_) => Err(Problem::part(
            (at, width),
            message(),
            "a port is a number between 1 and 65535",
        )),
    }
}

/// Says what an address is that no host can have.
fn usable(ip: IpAddr) -> Result<(), &'static str> {
    let (unspecified, loopback, multicast) =
        (ip.is_unspecified(), ip.is_loopback(), ip.is_multicast());
    if unspecified {
        return Err("the unspecified address");
    }
    if loopback {
        return Err("a loopback address");
    }
    if multicast {
        return Err("a multicast address");
    }
    match ip {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Err("the broadcast address"),
        IpAddr::V4(v4) if v4.octets().first() == Some(&0) => Err("in 0.0.0.0/8"),
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(()),
    }
}
