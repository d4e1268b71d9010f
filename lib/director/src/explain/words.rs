//! The words of an explanation: stable names for programs, sentences for people.

use core::fmt;

use weir_model::{BadAck, DropReason, Offer, PortId, Snapshot};

use super::{CookieTrial, Destination, Explained, Fate, Sender, SessionSyn, SynproxyState};

/// A decision as a sentence, with the names that a snapshot gives.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a> {
    explained: &'a Explained,
    snapshot: &'a Snapshot,
}

impl Explained {
    /// Returns the name of what is decided.
    #[must_use]
    pub const fn decision(&self) -> &'static str {
        match self {
            Self::Source(..) => "source",
            Self::Destination(..) => "destination",
            Self::Service(_) => "service",
            Self::Owner { .. } => "owner",
            Self::Session(_) => "session",
            Self::Syn { .. } => "syn",
            Self::Synproxy { .. } => "synproxy",
            Self::SynAck { .. } => "syn-ack",
            Self::Cookie(_) => "cookie",
            Self::Defence(..) => "defence",
            Self::Persist { .. } => "persist",
            Self::Limit { .. } => "limit",
            Self::Real { .. } => "real",
            Self::Pick { .. } => "pick",
            Self::Ports { .. } => "ports",
            Self::Table { .. } => "table",
            Self::Route { .. } => "route",
            Self::Neighbour { .. } => "neighbour",
            Self::Fate(_) => "verdict",
        }
    }

    /// Returns the name of what was decided.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Source(_, Sender::Client) => "client",
            Self::Source(_, Sender::Martian) => "martian",
            Self::Source(_, Sender::Own) => "own",
            Self::Destination(_, Destination::Vip) => "vip",
            Self::Destination(_, Destination::Lip) => "lip",
            Self::Destination(_, Destination::Foreign) => "foreign",
            Self::Service(Some(_)) | Self::Neighbour { mac: Some(_), .. } => "known",
            Self::Service(None) | Self::Session(None) | Self::Route { hop: None, .. } => "none",
            Self::Owner { here: true, .. } => "here",
            Self::Owner { here: false, .. } => "elsewhere",
            Self::Session(Some(session)) => session.state.name(),
            Self::Syn { other, .. } => match other {
                SessionSyn::Replaces => "replaces",
                SessionSyn::Cookie => "cookie",
                SessionSyn::Challenged => "challenged",
                SessionSyn::Absorbed => "absorbed",
                SessionSyn::Passed => "passed",
            },
            Self::Synproxy { state, .. } => match state {
                SynproxyState::Off => "off",
                SynproxyState::Quiet => "quiet",
                SynproxyState::Verifying => "verifying",
                SynproxyState::Triggered => "triggered",
                SynproxyState::Hinted => "hinted",
                SynproxyState::Always => "always",
                SynproxyState::Draining => "draining",
            },
            Self::SynAck { .. } => "offered",
            Self::Cookie(CookieTrial::Tried(_)) => "tried",
            Self::Cookie(CookieTrial::TriedIfForeign) => "tried-if-foreign",
            Self::Cookie(CookieTrial::Deferred) => "deferred",
            Self::Cookie(CookieTrial::NotTried) => "not-tried",
            Self::Defence(_, reason) => reason.label(),
            Self::Persist { .. } => "kept",
            Self::Limit { full, .. } => room(!full),
            Self::Real { down: true, .. } => "down",
            Self::Real { weight: 0, .. } => "drain",
            Self::Real { full: true, .. } => "full",
            Self::Real { .. } => "candidate",
            Self::Pick { draining: true, .. } => "draining",
            Self::Pick { sorry: true, .. } => "sorry",
            Self::Pick { real: Some(_), .. } => "picked",
            Self::Pick { real: None, .. } => "nobody",
            Self::Ports { used, total, .. } => room(used < total),
            Self::Table { sessions, capacity } => room(sessions < capacity),
            Self::Route { hop: Some(_), .. } => "found",
            Self::Neighbour { mac: None, .. } => "unknown",
            Self::Fate(fate) => match fate {
                Fate::Host => "host",
                Fate::Drop(_) => "drop",
                Fate::Refuse(_) => "refuse",
                Fate::SynAck => "reply",
                Fate::IfValid => "if-valid",
                Fate::Wait => "wait",
                Fate::Hold(_) => "hold",
                Fate::Forward(_) => "forward",
            },
        }
    }

    /// Returns the sentence that says it with its numbers.
    #[must_use]
    pub const fn sentence<'a>(&'a self, snapshot: &'a Snapshot) -> Sentence<'a> {
        Sentence {
            explained: self,
            snapshot,
        }
    }
}

const fn room(has: bool) -> &'static str {
    if has { "room" } else { "full" }
}

impl fmt::Display for Sentence<'_> {
    #[expect(
        clippy::too_many_lines,
        reason = "an arm for each decision, in their order"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.explained {
            Explained::Source(address, Sender::Client) => write!(f, "{address} may send"),
            Explained::Source(address, Sender::Martian) => {
                write!(f, "no sender may have the address {address}")
            }
            Explained::Source(address, Sender::Own) => {
                write!(f, "{address} is ours; somebody forges it")
            }
            Explained::Destination(address, Destination::Vip) => write!(f, "{address} is a VIP"),
            Explained::Destination(address, Destination::Lip) => {
                write!(f, "{address} is a LIP, to which only real servers send")
            }
            Explained::Destination(address, Destination::Foreign) => {
                write!(f, "{address} is no address of Weir's")
            }
            Explained::Service(Some(id)) => {
                let service = self.snapshot.services.get(id.index());
                let name = service.map_or("?", |service| service.name.as_str());
                write!(f, "service {name} listens there")
            }
            Explained::Service(None) => f.write_str("no service listens at that port"),
            Explained::Owner {
                worker, workers, ..
            } => write!(f, "worker {worker} of {workers} owns the flow"),
            Explained::Session(None) => f.write_str("it belongs to no session"),
            Explained::Session(Some(session)) => write!(
                f,
                "it belongs to a session from {}:{} to {}:{}, opened {} s ago, silent for {} s",
                session.lip.0,
                session.lip.1,
                session.real.0,
                session.real.1,
                session.age_ms / 1000,
                session.idle_ms / 1000
            ),
            Explained::Syn { repeated, other } => write!(
                f,
                "a repetition of the session's own SYN {}; another SYN {}",
                becomes(*repeated),
                becomes(*other)
            ),
            Explained::Synproxy { .. } => self.synproxy(f),
            Explained::SynAck { .. } => self.syn_ack(f),
            Explained::Cookie(trial) => f.write_str(match trial {
                CookieTrial::Tried(BadAck::Drop) => {
                    "its acknowledgement is tried as a cookie; one that is not ours is dropped"
                }
                CookieTrial::Tried(BadAck::Reset) => {
                    "its acknowledgement is tried as a cookie; one that is not ours gets a RST"
                }
                CookieTrial::TriedIfForeign => {
                    "its acknowledgement is tried as a cookie if it fits nothing of the session"
                }
                CookieTrial::Deferred => {
                    "the service waits for the first byte: only a segment with data is tried as a \
                     cookie"
                }
                CookieTrial::NotTried => {
                    "it is not tried as a cookie: its flags are not those of one, or none is good \
                     now"
                }
            }),
            Explained::Defence(client, DropReason::Denied) => {
                write!(f, "packets of {client} are denied")
            }
            Explained::Defence(_, DropReason::InvalidFlags) => {
                f.write_str("no host sends these flags, and the service refuses them")
            }
            Explained::Defence(client, reason) => {
                write!(
                    f,
                    "the prefix of {client} has used up its rate: {}",
                    reason.label()
                )
            }
            Explained::Persist {
                address: (address, port),
                ..
            } => write!(f, "the client had {address}:{port} before and keeps it"),
            Explained::Limit {
                sessions,
                most,
                full,
            } => {
                write!(f, "the service has {sessions} sessions on this worker")?;
                match most {
                    Some(most) if *full => write!(f, " and may have {most}: none is opened now"),
                    Some(most) => write!(f, " and may have {most}"),
                    None => f.write_str(" and no limit"),
                }
            }
            Explained::Real {
                address: (address, port),
                weight,
                down,
                full,
                load,
                ..
            } => {
                let health = match (down, full) {
                    (true, _) => "is down",
                    (false, true) => "is full",
                    (false, false) => "takes part",
                };
                write!(
                    f,
                    "{address}:{port} {health}: weight {weight}, {} established and {} other \
                     sessions on this worker",
                    load.established, load.inactive
                )
            }
            Explained::Pick { draining: true, .. } => {
                f.write_str("no session is opened: Weir is stopping or in maintenance")
            }
            Explained::Pick {
                address: Some((address, port)),
                sorry: true,
                ..
            } => write!(
                f,
                "no real server takes sessions, so the sorry server {address}:{port} does"
            ),
            Explained::Pick {
                scheduler, address, ..
            } => match address {
                Some((address, port)) => {
                    write!(f, "{} picks {address}:{port} next", scheduler.name())
                }
                None => write!(f, "{} finds no real server", scheduler.name()),
            },
            Explained::Ports { pool, used, total } => {
                let pool = self.snapshot.pools.get(pool.index());
                let name = pool.map_or("?", |pool| pool.name.as_str());
                write!(
                    f,
                    "pool {name} has {used} of {total} ports towards it in use on this worker"
                )
            }
            Explained::Table { sessions, capacity } => {
                write!(f, "{sessions} of {capacity} sessions of this worker exist")?;
                if sessions < capacity {
                    return Ok(());
                }
                f.write_str("; one that is over or half open has to go")
            }
            Explained::Route { to, hop: None } => write!(f, "no route leads to {to}"),
            Explained::Route {
                to,
                hop: Some((port, neighbour)),
            } => {
                write!(f, "{to} is reached by port {}", self.port(*port))?;
                if neighbour == to {
                    return Ok(());
                }
                write!(f, " through {neighbour}")
            }
            Explained::Neighbour { address, mac, .. } => match mac {
                Some(mac) => write!(f, "{address} is at {mac}"),
                None => write!(f, "the Ethernet address of {address} is not known"),
            },
            Explained::Fate(fate) => self.fate(f, *fate),
        }
    }
}

impl Sentence<'_> {
    fn synproxy(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explained::Synproxy {
            state,
            unanswered_per_s,
            enter,
            ..
        } = self.explained
        else {
            return Ok(());
        };
        match state {
            SynproxyState::Off => return f.write_str("SYNs are passed on: the service has none"),
            SynproxyState::Always => return f.write_str("every SYN is answered with a cookie"),
            SynproxyState::Draining => {
                return f.write_str("no cookie is sent: Weir is stopping or in maintenance");
            }
            SynproxyState::Quiet => f.write_str("SYNs are passed on: there is no flood")?,
            SynproxyState::Verifying => {
                f.write_str("SYNs are passed on, and cookies that come back are still good")?;
            }
            SynproxyState::Triggered => {
                f.write_str("SYNs are answered with cookies: this worker sees a flood")?;
            }
            SynproxyState::Hinted => {
                f.write_str("SYNs are answered with cookies: another worker sees a flood")?;
            }
        }
        if *enter == 0 {
            return Ok(());
        }
        write!(
            f,
            " ({unanswered_per_s} unanswered SYN/s here, a flood begins at {enter})"
        )
    }

    fn syn_ack(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explained::SynAck {
            offer:
                Offer {
                    mss,
                    wscale,
                    sack,
                    timestamps,
                },
            window,
            port,
            reflect_limit,
        } = self.explained
        else {
            return Ok(());
        };
        write!(f, "of what its SYN offers it is offered mss {mss}")?;
        if let Some(wscale) = wscale {
            write!(f, ", wscale {wscale}")?;
        }
        for (offered, name) in [(sack, "sackOK"), (timestamps, "timestamps")] {
            if *offered {
                write!(f, ", {name}")?;
            }
        }
        write!(f, ", window {window}")?;
        if let Some(port) = port {
            write!(f, ", coming in by port {}", self.port(*port))?;
        }
        if *reflect_limit > 0 {
            write!(
                f,
                "; its /24 gets at most {reflect_limit} SYN-ACKs per second"
            )?;
        }
        Ok(())
    }

    fn fate(&self, f: &mut fmt::Formatter<'_>, fate: Fate) -> fmt::Result {
        match fate {
            Fate::Host => f.write_str(
                "it goes to the host's network stack, or is dropped (not-ours) where the driver \
                 has no way to it",
            ),
            Fate::Drop(reason) => {
                write!(f, "it is dropped ({}): ", reason.label())?;
                f.write_str(reason.documentation())
            }
            Fate::Refuse(reason @ DropReason::NoService) => write!(
                f,
                "it is dropped ({}) and its sender gets an ICMP port unreachable: {}",
                reason.label(),
                reason.documentation()
            ),
            Fate::Refuse(reason) => write!(
                f,
                "it is dropped ({}) and its sender gets a RST: {}",
                reason.label(),
                reason.documentation()
            ),
            Fate::SynAck => f.write_str(
                "it is turned into a SYN-ACK with a cookie; nothing is remembered of it",
            ),
            Fate::IfValid => f.write_str(
                "with a valid cookie a session is opened and the real server is asked; else it \
                 is refused as `bad-ack` says (bad-cookie or stale-cookie)",
            ),
            Fate::Wait => f.write_str(
                "its data is held until the real server has answered; without data it is absorbed",
            ),
            Fate::Hold(port) => write!(
                f,
                "it is held for the answer to ARP, then leaves by port {}",
                self.port(port)
            ),
            Fate::Forward(port) => {
                write!(f, "it is translated and leaves by port {}", self.port(port))
            }
        }
    }

    fn port(&self, id: PortId) -> &str {
        let port = self.snapshot.ports.get(id.index());
        port.map_or("?", |port| port.name.as_str())
    }
}

const fn becomes(syn: SessionSyn) -> &'static str {
    match syn {
        SessionSyn::Replaces => "replaces the session",
        SessionSyn::Cookie => "is answered with a cookie",
        SessionSyn::Challenged => "is answered with an ACK about the session",
        SessionSyn::Absorbed => "is absorbed",
        SessionSyn::Passed => "is passed on to the real server",
    }
}
