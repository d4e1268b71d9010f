//! The types that values have: how each is read, and how it is described.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use weir_model::{AddressRange, Protocol};

use super::addresses::{
    address, addresses, endpoint, interface, listen, network, own_endpoint, port_number,
    prefix_length,
};
use super::{Availability, Kind};
use crate::lexer::quote;
use crate::suggest::nearest;
use crate::units::{self, Problem};

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    /// A name of letters, digits, `.`, `_` and `-`.
    Name,
    /// A network device, as the kernel names it.
    Device,
    /// An absolute path.
    Path,
    /// A host name or address.
    Host,
    /// A host name or address with a port, or a path.
    Server,
    /// A path that a URL has behind its host.
    UrlPath,
    /// Bytes as text, of which `%` and two hexadecimal digits write any.
    Bytes,
    /// One of several words.
    Choice(&'static [Choice]),
    /// `yes` or `no`.
    Flag,
    /// A whole number.
    Int { min: u64, max: u64 },
    /// A number that may end in k, M or G.
    Count { min: u64, max: u64 },
    /// A duration.
    Duration { min: Duration, max: Duration },
    /// A size in bytes.
    Size { min: u64, max: u64 },
    /// A share of a whole.
    Share { min: u64, max: u64 },
    /// A number per second.
    Rate { min: u64, max: u64 },
    /// Two numbers.
    Range { min: u64, max: u64 },
    /// Cores.
    Cpus,
    /// A prefix length: `/24`.
    PrefixLength,
    /// A network, host bits zero.
    Network,
    /// An address with the prefix length of its subnet.
    Interface,
    /// An address.
    Address,
    /// Addresses: a network, `FIRST-LAST` or one.
    Addresses,
    /// `ADDRESS:PORT/tcp` or `/udp`.
    Listen,
    /// `ADDRESS:PORT`.
    Endpoint,
    /// `ADDRESS:PORT` of this machine.
    OwnEndpoint,
    /// The name of another section.
    Reference(Kind),
    /// A word with a meaning of its own, or a value of another type.
    WordOr(&'static str, &'static Self),
}

/// A word that a value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) name: &'static str,
    pub(crate) availability: Availability,
    pub(crate) help: &'static str,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Text(String),
    Bytes(Vec<u8>),
    /// A choice, or the word of [`Type::WordOr`].
    Word(&'static str),
    Flag(bool),
    Number(u64),
    Duration(Duration),
    Range(u64, u64),
    Cpus(Vec<u16>),
    Network(IpNet),
    Address(IpAddr),
    Addresses(AddressRange),
    Listen(IpAddr, u16, Protocol),
    Endpoint(IpAddr, u16),
}

impl Choice {
    pub(super) const fn now(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            availability: Availability::Now,
            help,
        }
    }

    pub(super) const fn later(
        name: &'static str,
        capability: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            availability: Availability::Later(capability),
            help,
        }
    }

    /// Says whether this build has it.
    pub(crate) fn is_now(&self) -> bool {
        self.availability == Availability::Now
    }
}

impl Type {
    /// Reads a value.
    pub(crate) fn parse(&self, value: &str) -> Result<Parsed, Problem> {
        let found = self.read(value);
        // These may be made of anything.
        if matches!(self, Self::Bytes | Self::Path | Self::UrlPath) {
            return found;
        }
        found.map_err(|problem| typography(value, problem))
    }

    fn read(&self, value: &str) -> Result<Parsed, Problem> {
        match self {
            Self::Name | Self::Reference(_) => name(value),
            Self::Device => device(value),
            Self::Path => path(value),
            Self::Host => host(value),
            Self::Server if value.starts_with('/') => path(value),
            Self::Server => server(value),
            Self::UrlPath if value.starts_with('/') => Ok(Parsed::Text(value.to_owned())),
            Self::UrlPath => Err(Problem::whole(
                value,
                format!("`{}` is not the path of a URL", quote(value)),
                "it begins with `/`",
            )),
            Self::Bytes => match units::bytes(value) {
                Some(bytes) => Ok(Parsed::Bytes(bytes)),
                None => Err(Problem::whole(
                    value,
                    format!(
                        "`{}` has a `%` without two hexadecimal digits",
                        quote(value)
                    ),
                    "`%20` is a blank, `%25` a percent sign",
                )),
            },
            Self::Choice(choices) => choice(value, choices),
            Self::Flag => match value {
                "yes" => Ok(Parsed::Flag(true)),
                "no" => Ok(Parsed::Flag(false)),
                _ => Err(Problem::whole(
                    value,
                    format!("`{}` is neither `yes` nor `no`", quote(value)),
                    "",
                )),
            },
            Self::Int { min, max } => {
                within(value, units::number(value)?, *min, *max, |n| n.to_string())
            }
            Self::Count { min, max } => {
                within(value, units::count(value)?, *min, *max, units::write_count)
            }
            Self::Size { min, max } => {
                within(value, units::size(value)?, *min, *max, units::write_size)
            }
            Self::Share { min, max } => {
                within(value, units::share(value)?, *min, *max, |n| format!("{n}%"))
            }
            Self::Duration { min, max } => {
                let found = units::duration(value)?;
                if (*min..=*max).contains(&found) {
                    return Ok(Parsed::Duration(found));
                }
                Err(out_of_range(
                    value,
                    &units::write_duration(*min),
                    &units::write_duration(*max),
                ))
            }
            Self::Rate { min, max } => {
                within(value, units::rate(value)?, *min, *max, units::write_rate)
            }
            Self::Range { min, max } => {
                units::range(value, *min, *max).map(|(first, last)| Parsed::Range(first, last))
            }
            Self::Cpus => units::cpus(value).map(Parsed::Cpus),
            Self::PrefixLength => prefix_length(value),
            Self::Network => network(value),
            Self::Interface => interface(value),
            Self::Address => address(value).map(Parsed::Address),
            Self::Addresses => addresses(value).map(Parsed::Addresses),
            Self::Listen => listen(value),
            Self::OwnEndpoint => own_endpoint(value, "e.g. 127.0.0.1:9110")
                .map(|(ip, port)| Parsed::Endpoint(ip, port)),
            Self::Endpoint => {
                endpoint(value, "e.g. 10.0.1.11:443").map(|(ip, port)| Parsed::Endpoint(ip, port))
            }
            Self::WordOr(word, _) if value == *word => Ok(Parsed::Word(word)),
            Self::WordOr(_, other) => other.read(value),
        }
    }

    /// Describes what a value looks like.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Name => "a name of letters, digits, `.`, `_` and `-`".to_owned(),
            Self::Device => "a network device, e.g. ens1f0".to_owned(),
            Self::Path => "an absolute path".to_owned(),
            Self::Host => "a host name or an address".to_owned(),
            Self::Server => "HOST:PORT, or the path of a Unix socket".to_owned(),
            Self::UrlPath => "the path of a URL, e.g. /healthz".to_owned(),
            Self::Bytes => "text; %20 is a blank, %0a a line feed, %25 a percent sign".to_owned(),
            Self::Choice(choices) => {
                let names: Vec<&str> = choices.iter().map(|choice| choice.name).collect();
                names.join(" | ")
            }
            Self::Flag => "yes | no".to_owned(),
            Self::Int { min, max } => format!("a number between {min} and {max}"),
            Self::Count { min, max } => {
                let (min, max) = (units::write_count(*min), units::write_count(*max));
                format!("a number between {min} and {max}, e.g. 500, 20k or 2M")
            }
            Self::Duration { min, max } => format!(
                "a duration between {} and {}, e.g. 5s",
                units::write_duration(*min),
                units::write_duration(*max)
            ),
            Self::Size { min, max } => {
                let (min, max) = (units::write_size(*min), units::write_size(*max));
                format!("a size between {min} and {max}, e.g. 64KiB")
            }
            Self::Share { min, max } => format!("a share between {min}% and {max}%"),
            Self::Rate { min, max } => {
                let (min, max) = (units::write_rate(*min), units::write_rate(*max));
                format!("a rate between {min} and {max}, e.g. 20k/s")
            }
            Self::Range { min, max } => format!("FIRST-LAST, both between {min} and {max}"),
            Self::Cpus => "cores, e.g. 2-5,7".to_owned(),
            Self::PrefixLength => "a prefix length, e.g. /24".to_owned(),
            Self::Network => "a network, e.g. 192.0.2.0/24".to_owned(),
            Self::Interface => "an address with its prefix length, e.g. 10.0.0.2/16".to_owned(),
            Self::Address => "an address".to_owned(),
            Self::Addresses => "a network, FIRST-LAST, or one address".to_owned(),
            Self::Listen => "ADDRESS:PORT/tcp or ADDRESS:PORT/udp".to_owned(),
            Self::Endpoint => "ADDRESS:PORT".to_owned(),
            Self::OwnEndpoint => "ADDRESS:PORT of this machine; 0.0.0.0 is each address".to_owned(),
            Self::Reference(kind) => {
                let name = format!("the name of a [{}]", kind.spec().word);
                match kind.implied() {
                    [] => name,
                    words => format!("{} | {name}", words.join(" | ")),
                }
            }
            Self::WordOr(word, other) => format!("{word} | {}", other.describe()),
        }
    }
}

/// Says why a word cannot be a name; none when it can.
pub(crate) fn name_problem(value: &str) -> Option<Problem> {
    const LONGEST: usize = 64;
    let message = || format!("`{}` is not a name", quote(value));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(at) = value.chars().position(|c| !allowed(c)) {
        let note = "names are made of letters, digits, `.`, `_` and `-`";
        return Some(Problem::part((at, 1), message(), note));
    }
    if value.len() > LONGEST {
        let note = format!("a name has at most {LONGEST} characters");
        return Some(Problem::whole(value, message(), note));
    }
    None
}

/// Tells quotes, and letters that only look right, where they are what is wrong with a value.
fn typography(value: &str, problem: Problem) -> Problem {
    let quotes = |c: char| matches!(c, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}');
    if let Some(at) = value.chars().position(quotes) {
        return Problem::part(
            (at, 1),
            problem.message,
            "values are written without quotes",
        );
    }
    // What is not text has been told already.
    let foreign = |c: char| !c.is_ascii() && c != char::REPLACEMENT_CHARACTER;
    let Some((at, c)) = value.chars().enumerate().find(|(_, c)| foreign(*c)) else {
        return problem;
    };
    let code = u32::from(c);
    let note = format!("U+{code:04X} stands here, which is not ASCII");
    Problem::part((at, 1), problem.message, note)
}

fn name(value: &str) -> Result<Parsed, Problem> {
    name_problem(value).map_or_else(|| Ok(Parsed::Text(value.to_owned())), Err)
}

fn device(value: &str) -> Result<Parsed, Problem> {
    // IFNAMSIZ is 16 with the closing NUL.
    const LONGEST: usize = 15;
    let message = || format!("`{}` cannot be the name of a device", quote(value));
    if value.len() > LONGEST {
        let note = format!("the kernel allows {LONGEST} characters");
        return Err(Problem::whole(value, message(), note));
    }
    if let Some(at) = value
        .chars()
        .position(|c| !c.is_ascii_graphic() || matches!(c, '/' | ':'))
    {
        return Err(Problem::part((at, 1), message(), ""));
    }
    if matches!(value, "." | "..") {
        return Err(Problem::whole(value, message(), ""));
    }
    Ok(Parsed::Text(value.to_owned()))
}

fn path(value: &str) -> Result<Parsed, Problem> {
    if value.starts_with('/') {
        return Ok(Parsed::Text(value.to_owned()));
    }
    Err(Problem::whole(
        value,
        format!("`{}` is not an absolute path", quote(value)),
        "it begins with `/`",
    ))
}

fn host(value: &str) -> Result<Parsed, Problem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_');
    match value.chars().position(|c| !allowed(c)) {
        None => Ok(Parsed::Text(value.to_owned())),
        Some(at) => Err(Problem::part(
            (at, 1),
            format!("`{}` is neither a host name nor an address", quote(value)),
            "",
        )),
    }
}

fn server(value: &str) -> Result<Parsed, Problem> {
    let message = || format!("`{}` is not HOST:PORT", quote(value));
    let Some((name, port)) = value.rsplit_once(':') else {
        return Err(Problem::whole(
            value,
            message(),
            "e.g. siem.example.net:6514",
        ));
    };
    let at = value.chars().count() - port.chars().count();
    port_number(port, at, &message)?;
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    host(bare)?;
    Ok(Parsed::Text(value.to_owned()))
}

/// What LVS calls schedulers and ways to forward.
const THEIRS: [(&str, &str); 8] = [
    ("mh", "maglev"),
    ("fo", "failover"),
    ("fnat", "fullnat"),
    ("masq", "nat"),
    ("dr", "direct"),
    ("gate", "direct"),
    ("tun", "tunnel"),
    ("ipip", "tunnel"),
];

fn choice(value: &str, choices: &'static [Choice]) -> Result<Parsed, Problem> {
    if let Some(choice) = choices.iter().find(|choice| choice.name == value) {
        return Ok(Parsed::Word(choice.name));
    }
    let names = || choices.iter().map(|choice| choice.name);
    let lower = value.to_ascii_lowercase();
    let theirs = THEIRS.iter().find(|(theirs, _)| *theirs == lower);
    let theirs = theirs.and_then(|(_, ours)| names().find(|name| name == ours));
    let note = theirs.or_else(|| nearest(value, names())).map_or_else(
        || {
            let usable = choices
                .iter()
                .filter(|choice| choice.availability == Availability::Now);
            let mut names: Vec<&str> = usable.map(|choice| choice.name).collect();
            if names.is_empty() {
                names = choices.iter().map(|choice| choice.name).collect();
            }
            format!("must be one of {}", names.join(", "))
        },
        |near| format!("did you mean `{near}`?"),
    );
    let message = format!("`{}` is not a possible value", quote(value));
    Err(Problem::whole(value, message, note))
}

fn within(
    value: &str,
    found: u64,
    min: u64,
    max: u64,
    write: impl Fn(u64) -> String,
) -> Result<Parsed, Problem> {
    if (min..=max).contains(&found) {
        return Ok(Parsed::Number(found));
    }
    Err(out_of_range(value, &write(min), &write(max)))
}

fn out_of_range(value: &str, min: &str, max: &str) -> Problem {
    Problem::whole(
        value,
        format!("`{}` is out of range", quote(value)),
        format!("must be between {min} and {max}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(of: Type, value: &str) -> Problem {
        of.parse(value).unwrap_err()
    }

    #[test]
    fn a_service_address_has_address_port_and_protocol() {
        assert_eq!(
            Type::Listen.parse("203.0.113.10:443/tcp"),
            Ok(Parsed::Listen(
                "203.0.113.10".parse().unwrap(),
                443,
                Protocol::Tcp
            ))
        );
        assert_eq!(
            Type::Listen.parse("[2001:db8::10]:53/udp"),
            Ok(Parsed::Listen(
                "2001:db8::10".parse().unwrap(),
                53,
                Protocol::Udp
            ))
        );
        for (value, at) in [
            ("203.0.113.10:443", 16),
            ("203.0.113.10:443/sctp", 17),
            ("203.0.113.10:0/tcp", 13),
            ("203.0.113.10:70000/tcp", 13),
            ("203.0.113.10:+80/tcp", 13),
            ("203.0.113.300:443/tcp", 0),
            ("203.0.113.10/tcp", 12),
            ("2001:db8::1:443/tcp", 0),
            ("[2001:db8::1:443/tcp", 0),
            ("127.0.0.1:80/tcp", 0),
            ("224.0.0.1:80/tcp", 0),
        ] {
            assert_eq!(problem(Type::Listen, value).at, at, "{value}");
        }
    }

    #[test]
    fn local_addresses_are_a_network_a_range_or_one() {
        let range = |first: &str, last: &str| {
            Ok(Parsed::Addresses(AddressRange {
                first: first.parse().unwrap(),
                last: last.parse().unwrap(),
            }))
        };
        assert_eq!(
            Type::Addresses.parse("10.0.8.0/28"),
            range("10.0.8.0", "10.0.8.15")
        );
        assert_eq!(
            Type::Addresses.parse("10.0.8.32-10.0.8.39"),
            range("10.0.8.32", "10.0.8.39")
        );
        assert_eq!(
            Type::Addresses.parse("10.0.8.7"),
            range("10.0.8.7", "10.0.8.7")
        );
        assert_eq!(
            problem(Type::Addresses, "10.0.8.1/28").note,
            "did you mean 10.0.8.0/28?"
        );
        assert_eq!(
            problem(Type::Addresses, "10.0.8.9-10.0.8.1").note,
            "write 10.0.8.1-10.0.8.9"
        );
        assert_eq!(problem(Type::Addresses, "10.0.8.9-10.0.8").at, 9);
        assert!(Type::Addresses.parse("10.0.8.9-2001:db8::1").is_err());
        assert!(Type::Addresses.parse("0.0.0.0/0").is_err());
    }

    #[test]
    fn an_address_that_is_almost_one_says_what_is_wrong() {
        assert_eq!(
            problem(Type::Address, "10.0.0.256").note,
            "numbers in an address end at 255"
        );
        assert_eq!(
            problem(Type::Address, "10.0.1").note,
            "an IPv4 address has four numbers"
        );
        assert_eq!(
            problem(Type::Address, "10.0.0.01").note,
            "numbers in an address have no leading zeros"
        );
        assert!(
            problem(Type::Address, "gateway")
                .note
                .contains("names are not looked up")
        );
    }

    #[test]
    fn a_port_address_is_one_that_a_host_can_have() {
        assert!(Type::Interface.parse("10.0.0.2/16").is_ok());
        assert!(Type::Interface.parse("10.0.0.2/31").is_ok());
        assert!(Type::Interface.parse("10.0.0.0/31").is_ok());
        assert!(Type::Interface.parse("2001:db8::2/64").is_ok());
        for value in [
            "10.0.0.2",
            "10.0.0.0/16",
            "10.0.255.255/16",
            "10.0.0.2/33",
            "10.0.0.2/",
            "10.0.0.2/+8",
            "127.0.0.1/8",
        ] {
            assert!(Type::Interface.parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn the_nearest_choice_is_suggested_and_otherwise_all_are_named() {
        const ROUND: Type = Type::Choice(&[Choice::now("rr", "."), Choice::now("wlc", ".")]);
        assert_eq!(problem(ROUND, "wcl").note, "did you mean `wlc`?");
        assert_eq!(problem(ROUND, "hash").note, "must be one of rr, wlc");
    }

    #[test]
    fn numbers_outside_their_range_are_told_the_range() {
        let of = Type::Share { min: 1, max: 100 };
        assert_eq!(problem(of, "0%").note, "must be between 1% and 100%");
        let of = Type::Duration {
            min: Duration::from_millis(100),
            max: Duration::from_hours(24),
        };
        assert_eq!(problem(of, "2d").note, "must be between 100ms and 1d");
    }

    #[test]
    fn device_names_are_what_the_kernel_allows() {
        assert!(Type::Device.parse("enp129s0f1np1").is_ok());
        for value in ["a/b", "..", "averyverylongname", "a:b"] {
            assert!(Type::Device.parse(value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_type_panic(text in "[0-9a-f.:/\\[\\]tcpu-]{0,40}|\\PC{0,20}") {
            for of in [
                Type::Name, Type::Device, Type::Path, Type::Host, Type::Server, Type::UrlPath,
                Type::Flag, Type::PrefixLength, Type::Network, Type::Interface, Type::Address,
                Type::Addresses, Type::Listen, Type::Endpoint, Type::OwnEndpoint,
            ] {
                if let Err(problem) = of.parse(&text) {
                    prop_assert!(!problem.message.is_empty());
                    prop_assert!(problem.at <= text.chars().count());
                }
            }
        }
    }
}
