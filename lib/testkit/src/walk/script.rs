//! The text of a walk, line by line.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ipnet::Ipv4Net;
use weir_model::Offer;
use weir_wire::{EthAddr, TcpFlags};

use super::options::{Options, hex};
use super::value::{Value, number};

/// A line of a walk and its place.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) item: Item,
}

/// What a line says.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "most lines are packets")]
pub(crate) enum Item {
    /// `config FILE`, `workers N` and the like: how the world is made.
    Setup(String, Vec<String>),
    /// `let NAME = VALUE`.
    Let(String, Value),
    /// `check A after B`, `check A == B`, `check A != B`.
    Check(Value, String, Value),
    /// `moved LIST`.
    Moved(String),
    /// `sessions N`.
    Sessions(u32),
    /// `state NAME`: that of every session.
    State(String),
    /// `ports N`: local ports in use.
    Ports(u32),
    /// `apply FILE`: another configuration.
    Apply(String),
    /// `drain`: no new sessions.
    Drain,
    /// `introduce FACE`: its Ethernet address becomes known.
    Introduce(String),
    /// `secret HEX`: the master key of all cookies.
    Secret(Vec<u8>),
    /// `offer FACE ...`: what was learned of a service's real servers.
    Offer(String, Offer),
    /// `real-down FACE` or `real-up FACE`: what a health check found.
    Real(String, bool),
    /// `skew MS`: the wall clock alone is moved.
    Skew(i64),
    /// `restart`: directors that remember nothing.
    Restart,
    /// `flooded FACE LIST`: the flood counters of a service.
    Flooded(String, String),
    /// `events LIST`.
    Events(String),
    /// `TIME flood ...`.
    Flood(At, Flood),
    /// `TIME nothing`: time passes and nothing leaves.
    Nothing(At),
    /// A packet.
    Packet(At, Packet),
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Since the start of the walk.
    Start(Duration),
    /// Since the line before.
    Last(Duration),
}

/// Packets from random addresses.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    pub(crate) count: u32,
    pub(crate) kind: FloodKind,
    pub(crate) to: String,
    pub(crate) from: Ipv4Net,
    /// The one port that all come from.
    pub(crate) sport: Option<u16>,
    pub(crate) over: Duration,
    pub(crate) worker: u8,
}

/// What a flood consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloodKind {
    Tcp(TcpFlags),
    Udp,
}

/// A packet, its direction and what is special about it.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// The face or port on the left.
    pub(crate) left: Who,
    /// Whether it travels from left to right.
    pub(crate) rightward: bool,
    /// The face on the right; none for frames of a port.
    pub(crate) right: Option<Who>,
    pub(crate) body: Body,
    pub(crate) extra: Extra,
}

/// A face and a port: `client`, `vip:80`, `lip:P`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) face: String,
    pub(crate) port: Option<Value>,
}

/// What a packet is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Tcp {
        flags: TcpFlags,
        seq: Value,
        len: u16,
        ack: Option<Value>,
        win: Option<u16>,
        options: Options,
    },
    Udp {
        len: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        /// The identifier and sequence number of an echo.
        echo: Option<(u16, u16)>,
        mtu: u16,
        len: u16,
        quote: Option<Box<Packet>>,
    },
    /// Another protocol.
    Proto {
        protocol: u8,
        len: u16,
    },
    /// `arp who-has A tell B` or `arp reply A is-at M [to B]`.
    Arp {
        request: bool,
        first: String,
        second: String,
        /// Whom a reply is for.
        to: Option<String>,
    },
    /// A frame of these bytes.
    Raw(Vec<u8>),
}

/// What is special about a packet; what is not said is not compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) ttl: Option<u8>,
    pub(crate) tos: Option<u8>,
    pub(crate) id: Option<u16>,
    pub(crate) df: Option<bool>,
    pub(crate) vlan: Option<u16>,
    pub(crate) sum: Option<String>,
    pub(crate) worker: Option<u8>,
    /// Bytes of Ethernet padding.
    pub(crate) pad: usize,
    /// The frame ends after so many bytes.
    pub(crate) cut: Option<usize>,
    /// The place of a fragment in bytes, and whether more follow.
    pub(crate) frag: Option<(u16, bool)>,
    /// The port that it arrives on, against what its source says.
    pub(crate) port: Option<String>,
    /// The total length that the IPv4 header has.
    pub(crate) total: Option<u16>,
    /// The Ethernet address of the outside station.
    pub(crate) mac: Option<EthAddr>,
    /// Options of the IPv4 header.
    pub(crate) ip_options: Vec<u8>,
    /// The lengths of the patterns that the payload stands in, and where.
    pub(crate) of: Vec<usize>,
    pub(crate) at: usize,
}

/// Reads a walk.
pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let stripped = without_comment(line).trim();
        if stripped.is_empty() {
            continue;
        }
        let item = parse_item(stripped)
            .with_context(|| format!("{name}:{}: cannot read `{stripped}`", at + 1))?;
        lines.push(Line {
            number: at + 1,
            text: stripped.to_owned(),
            item,
        });
    }
    Ok(lines)
}

fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return &line[..at];
        }
        before = c;
    }
    line
}

fn parse_item(text: &str) -> Result<Item> {
    let mut words = Words::new(text);
    let first = words.next().unwrap_or_default();
    if first.starts_with(|c: char| c.is_ascii_digit() || c == '+') {
        let at = At::parse(&first)?;
        return parse_timed(at, words);
    }
    let rest: Vec<String> = words.collect();
    let rest_of_line = text[first.len()..].trim().to_owned();
    let strings: Vec<&str> = rest.iter().map(String::as_str).collect();
    Ok(match (first.as_str(), strings.as_slice()) {
        ("let", [name, "=", value]) => Item::Let((*name).to_owned(), Value::parse(value)?),
        ("check", [left, how, right]) => {
            ensure!(
                ["after", "==", "!="].contains(how),
                "`{how}` is none of after, == and !="
            );
            Item::Check(Value::parse(left)?, (*how).to_owned(), Value::parse(right)?)
        }
        ("moved", _) => Item::Moved(rest_of_line),
        ("sessions", [count]) => Item::Sessions(number(count)?),
        ("ports", [count]) => Item::Ports(number(count)?),
        ("state", [name]) => Item::State((*name).to_owned()),
        ("apply", [file]) => Item::Apply((*file).to_owned()),
        ("drain", []) => Item::Drain,
        ("introduce", [face]) => Item::Introduce((*face).to_owned()),
        ("secret", [key]) => Item::Secret(hex(key)?),
        ("offer", [face, what @ ..]) => Item::Offer((*face).to_owned(), parse_offer(what)?),
        ("real-down", [face]) => Item::Real((*face).to_owned(), false),
        ("real-up", [face]) => Item::Real((*face).to_owned(), true),
        ("skew", [millis]) => Item::Skew(millis.parse()?),
        ("restart", []) => Item::Restart,
        ("flooded", [face, _, ..]) => Item::Flooded(
            (*face).to_owned(),
            rest_of_line[face.len()..].trim().to_owned(),
        ),
        ("events", _) => Item::Events(rest_of_line),
        (
            "config" | "workers" | "table" | "mtu" | "delivers" | "neighbours" | "face"
            | "tolerance" | "seed" | "uptime" | "wall",
            _,
        ) => Item::Setup(first, rest),
        _ => bail!("`{first}` begins no line that walks know"),
    })
}

fn parse_timed(at: At, mut words: Words<'_>) -> Result<Item> {
    let left = words.expect("a face or port")?;
    if left == "nothing" {
        return Ok(Item::Nothing(at));
    }
    if left == "flood" {
        return Ok(Item::Flood(at, parse_flood(&mut words)?));
    }
    let packet = parse_packet(&left, words)?;
    Ok(Item::Packet(at, packet))
}

fn parse_flood(words: &mut Words<'_>) -> Result<Flood> {
    let count = number(&words.expect("a number of packets")?)?;
    let kind = match words.expect("what it consists of")?.as_str() {
        "syn" => FloodKind::Tcp(TcpFlags::SYN),
        "ack" => FloodKind::Tcp(TcpFlags::ACK),
        "fin" => FloodKind::Tcp(TcpFlags::FIN | TcpFlags::ACK),
        "rst" => FloodKind::Tcp(TcpFlags::RST),
        "udp" => FloodKind::Udp,
        other => bail!("`{other}` is none of syn, ack, fin, rst and udp"),
    };
    let to = words
        .option(">")
        .context("`> FACE` is missing behind what the flood consists of")?;
    let mut flood = Flood {
        count,
        kind,
        to,
        // Nobody in a walk lives there, and the gateway leads to them.
        from: "100.64.0.0/10".parse()?,
        sport: None,
        over: Duration::ZERO,
        worker: 0,
    };
    while let Some(word) = words.next() {
        let value = words.expect("a value")?;
        match word.as_str() {
            "from" => flood.from = value.parse()?,
            "sport" => flood.sport = Some(u16::try_from(number(&value)?)?),
            "over" => flood.over = Duration::try_from_secs_f64(value.parse()?)?,
            "worker" => flood.worker = u8::try_from(number(&value)?)?,
            other => bail!("`{other}` is nothing that walks know of a flood"),
        }
    }
    Ok(flood)
}

fn parse_offer(words: &[&str]) -> Result<Offer> {
    let mut offer = Offer {
        wscale: None,
        sack: false,
        timestamps: false,
        ..Offer::default()
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().context("a value is missing");
        match *word {
            "mss" => offer.mss = u16::try_from(number(value()?)?)?,
            "wscale" => offer.wscale = Some(u8::try_from(number(value()?)?)?),
            "sack" => offer.sack = true,
            "ts" => offer.timestamps = true,
            other => bail!("`{other}` is nothing that walks know of an offer"),
        }
    }
    Ok(offer)
}

fn parse_packet(left: &str, mut words: Words<'_>) -> Result<Packet> {
    let arrow = words.expect("`>` or `<`")?;
    let rightward = match arrow.as_str() {
        ">" => true,
        "<" => false,
        other => bail!("`{other}` is neither `>` nor `<`"),
    };
    let next = words.expect("a face, `arp` or `raw`")?;
    let (right, body) = match next.as_str() {
        "arp" => (None, parse_arp(&mut words)?),
        "raw" => (None, Body::Raw(hex(&words.expect("bytes")?)?)),
        face => (Some(Who::parse(face)?), parse_body(&mut words)?),
    };
    Ok(Packet {
        left: Who::parse(left)?,
        rightward,
        right,
        body,
        extra: parse_extra(&mut words)?,
    })
}

fn parse_body(words: &mut Words<'_>) -> Result<Body> {
    let first = words.expect("flags or a protocol")?;
    match first.as_str() {
        "udp" => Ok(Body::Udp {
            len: parenthesised(&words.expect("(length)")?)?,
        }),
        "proto" => Ok(Body::Proto {
            protocol: u8::try_from(number(&words.expect("a protocol number")?)?)?,
            len: parenthesised(&words.expect("(length)")?)?,
        }),
        "icmp" => parse_icmp(words),
        flags => parse_tcp(flags, words),
    }
}

fn parse_tcp(flags: &str, words: &mut Words<'_>) -> Result<Body> {
    let mut set = TcpFlags::NONE;
    for letter in flags.chars() {
        set |= match letter {
            'S' => TcpFlags::SYN,
            'F' => TcpFlags::FIN,
            'R' => TcpFlags::RST,
            'P' => TcpFlags::PSH,
            '.' => TcpFlags::ACK,
            'U' => TcpFlags::URG,
            'E' => TcpFlags::ECE,
            'W' => TcpFlags::CWR,
            '-' => TcpFlags::NONE,
            other => bail!("`{other}` in `{flags}` is no TCP flag"),
        };
    }
    let numbers = words.expect("seq:end(length)")?;
    let (seq, rest) = numbers
        .split_once(':')
        .with_context(|| format!("`{numbers}` is not seq:end(length)"))?;
    let (end, len) = rest
        .split_once('(')
        .with_context(|| format!("`{numbers}` is not seq:end(length)"))?;
    let len = parenthesised(&format!("({len}"))?;
    let seq = Value::parse(seq)?;
    let sum = Value::parse(&format!("{seq}+{len}"))?;
    ensure!(
        Value::parse(end)? == sum,
        "`{numbers}`: the end should be {sum}"
    );
    let ack = words
        .option("ack")
        .map(|it| Value::parse(&it))
        .transpose()?;
    ensure!(
        ack.is_some() == set.contains(TcpFlags::ACK),
        "`ack` and the flag `.` go together"
    );
    let win = match words.option("win").as_deref() {
        None | Some("*") => None,
        Some(win) => Some(u16::try_from(number(win)?)?),
    };
    let options = words.group('<', '>').unwrap_or_default();
    Ok(Body::Tcp {
        flags: set,
        seq,
        len,
        ack,
        win,
        options: Options::parse(&options)?,
    })
}

fn parse_icmp(words: &mut Words<'_>) -> Result<Body> {
    let name = words.expect("an ICMP message")?;
    let (kind, code) = match name.as_str() {
        "echo-request" => (8, 0),
        "echo-reply" => (0, 0),
        "net-unreachable" => (3, 0),
        "host-unreachable" => (3, 1),
        "port-unreachable" => (3, 3),
        "frag-needed" => (3, 4),
        "time-exceeded" => (11, 0),
        "type" => {
            let kind = u8::try_from(number(&words.expect("a type")?)?)?;
            let code = words.option("code").context("`code` is missing")?;
            (kind, u8::try_from(number(&code)?)?)
        }
        other => bail!("`{other}` is no ICMP message that walks know"),
    };
    let mut echo = None;
    if let Some(id) = words.option("id") {
        let seq = words.option("seq").context("`seq` is missing")?;
        echo = Some((u16::try_from(number(&id)?)?, u16::try_from(number(&seq)?)?));
    }
    let mtu = match words.option("mtu") {
        Some(mtu) => u16::try_from(number(&mtu)?)?,
        None => 0,
    };
    let len = match words.peek() {
        Some(word) if word.starts_with('(') => parenthesised(&words.expect("(length)")?)?,
        _ => 0,
    };
    let quote = match words.group('[', ']') {
        Some(quoted) => {
            let mut inner = Words::new(&quoted);
            let left = inner.expect("a face")?;
            Some(Box::new(
                parse_packet(&left, inner).context("in the quoted packet")?,
            ))
        }
        None => None,
    };
    Ok(Body::Icmp {
        kind,
        code,
        echo,
        mtu,
        len,
        quote,
    })
}

fn parse_arp(words: &mut Words<'_>) -> Result<Body> {
    let verb = words.expect("`who-has` or `reply`")?;
    let first = words.expect("an address")?;
    let (request, between) = match verb.as_str() {
        "who-has" => (true, "tell"),
        "reply" => (false, "is-at"),
        other => bail!("`{other}` is neither `who-has` nor `reply`"),
    };
    let second = words
        .option(between)
        .with_context(|| format!("`{between}` is missing"))?;
    Ok(Body::Arp {
        request,
        first,
        second,
        to: words.option("to"),
    })
}

fn parse_extra(words: &mut Words<'_>) -> Result<Extra> {
    let mut extra = Extra::default();
    while let Some(word) = words.next() {
        let mut value = || words.expect("a value");
        match word.as_str() {
            "ttl" => extra.ttl = Some(u8::try_from(number(&value()?)?)?),
            "tos" => extra.tos = Some(u8::try_from(number(&value()?)?)?),
            "id" => extra.id = Some(u16::try_from(number(&value()?)?)?),
            "df" => extra.df = Some(true),
            "nodf" => extra.df = Some(false),
            "vlan" => extra.vlan = Some(u16::try_from(number(&value()?)?)?),
            "sum" => extra.sum = Some(value()?),
            "worker" => extra.worker = Some(u8::try_from(number(&value()?)?)?),
            "pad" => extra.pad = number(&value()?)? as usize,
            "cut" => extra.cut = Some(number(&value()?)? as usize),
            "mac" => {
                let text = value()?;
                let mac = text.parse().ok();
                extra.mac = Some(mac.with_context(|| format!("`{text}` is no Ethernet address"))?);
            }
            "port" => extra.port = Some(value()?),
            "ipopts" => extra.ip_options = hex(&value()?)?,
            "of" => {
                let text = value()?;
                let parts = text.split('+').map(|it| Ok(number(it)? as usize));
                extra.of = parts.collect::<Result<_>>()?;
            }
            "at" => extra.at = number(&value()?)? as usize,
            "total" => extra.total = Some(u16::try_from(number(&value()?)?)?),
            "frag" => {
                let text = value()?;
                let offset = text.trim_end_matches('+');
                extra.frag = Some((u16::try_from(number(offset)?)?, text.ends_with('+')));
            }
            other => bail!("`{other}` is nothing that walks know of a packet"),
        }
    }
    Ok(extra)
}

fn parenthesised(text: &str) -> Result<u16> {
    let inner = text
        .strip_prefix('(')
        .and_then(|it| it.strip_suffix(')'))
        .with_context(|| format!("`{text}` is not (length)"))?;
    Ok(u16::try_from(number(inner)?)?)
}

impl At {
    fn parse(text: &str) -> Result<Self> {
        let (relative, seconds) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // Microseconds by digits: a float would round some of them.
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        ensure!(fraction.len() <= 6, "`{text}`: microseconds are the least");
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole
                .parse()
                .with_context(|| format!("`{text}` is not a time"))?
        };
        let micros: u64 = format!("{fraction:0<6}")
            .parse()
            .with_context(|| format!("`{text}` is not a time"))?;
        let time = Duration::from_micros(whole * 1_000_000 + micros);
        Ok(if relative {
            Self::Last(time)
        } else {
            Self::Start(time)
        })
    }
}

impl Who {
    fn parse(text: &str) -> Result<Self> {
        let (face, port) = match text.split_once(':') {
            Some((face, port)) => (face, Some(Value::parse(port)?)),
            None => (text, None),
        };
        Ok(Self {
            face: face.to_owned(),
            port,
        })
    }
}

/// Words between blanks; `<...>` and `[...]` are taken as a whole.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn peek(&self) -> Option<&'a str> {
        self.rest.split_whitespace().next()
    }

    fn expect(&mut self, what: &str) -> Result<String> {
        self.next().with_context(|| format!("{what} is missing"))
    }

    /// The word behind `name`, if `name` comes next.
    fn option(&mut self, name: &str) -> Option<String> {
        if self.peek()? != name {
            return None;
        }
        self.next();
        self.next()
    }

    /// What stands between two brackets, if they come next.
    fn group(&mut self, open: char, close: char) -> Option<String> {
        let inner = self.rest.trim_start().strip_prefix(open)?;
        let mut depth = 1;
        for (at, c) in inner.char_indices() {
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
            }
            if depth == 0 {
                self.rest = &inner[at + c.len_utf8()..];
                return Some(inner[..at].to_owned());
            }
        }
        None
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let word = self.peek()?;
        let start = self.rest.len() - self.rest.trim_start().len();
        self.rest = &self.rest[start + word.len()..];
        Some(word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", parse("x.walk", text).unwrap_err())
    }

    #[test]
    fn a_packet_line_is_read_whole() {
        let text = "\n+.020  lip:P > real:25 FP. L+1:L+11(10) ack S+1 win 502 <nop,nop,ts 1 T> ttl 63 # why\n";
        let lines = parse("x.walk", text).unwrap();
        assert_eq!(lines[0].number, 2);
        let Item::Packet(at, packet) = &lines[0].item else {
            panic!("{lines:?}");
        };
        assert_eq!(*at, At::Last(Duration::from_millis(20)));
        assert_eq!(packet.left.port, Some(Value::parse("P").unwrap()));
        assert_eq!(packet.extra.ttl, Some(63));
        let Body::Tcp {
            flags, len, win, ..
        } = &packet.body
        else {
            panic!("{packet:?}");
        };
        assert_eq!(flags.to_string(), "FP.");
        assert_eq!((*len, *win), (10, Some(502)));
    }

    #[test]
    fn a_quoted_packet_is_read_with_its_own_options() {
        let text =
            "0.0 real > lip icmp frag-needed mtu 1300 [lip > real . 1:1461(1460) ack 2 <ts 1 2>]";
        let lines = parse("x.walk", text).unwrap();
        let Item::Packet(_, packet) = &lines[0].item else {
            panic!("{lines:?}");
        };
        let Body::Icmp { mtu, quote, .. } = &packet.body else {
            panic!("{packet:?}");
        };
        assert_eq!(*mtu, 1300);
        assert!(quote.is_some());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let text = "config a.conf\n+0 client > vip S 0:1(0) win 1";
        assert_eq!(
            error(text),
            "x.walk:2: cannot read `+0 client > vip S 0:1(0) win 1`: `0:1(0)`: the end should be 0"
        );
        assert!(error("+0 client > vip . 0:0(0) win 1").contains("go together"));
        assert!(error("+0 client = vip S 0:0(0)").contains("neither `>` nor `<`"));
        assert!(error("+0 client > vip X 0:0(0)").contains("no TCP flag"));
        assert!(error("+0 client > vip S 0:0(0) blue").contains("`blue`"));
        assert!(error("frobnicate 3").contains("begins no line"));
        assert!(error("+1.0000001 nothing").contains("microseconds"));
    }
}
