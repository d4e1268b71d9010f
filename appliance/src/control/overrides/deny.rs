//! Networks whose packets operators drop, for all services.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weir_control::{Code, OverrideRow, Rejection, Reply};
use weir_director::Networks;
use weir_model::Severity;

use super::{LONGEST, Set, Until, moment};
use crate::control::Control;
use crate::control::apply::{Asker, operator_event};

/// More belong into a file: somebody has to keep them.
const MOST: usize = 1024;

/// The networks that operators deny.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Denials(BTreeMap<Ipv4Net, Denial>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Denial {
    set: Set,
    until: Option<Until>,
}

/// What an operator wants of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// As it was written.
    pub(crate) network: String,
    /// Whether it is to be denied, or no longer.
    pub(crate) on: bool,
    pub(crate) span: Option<Duration>,
}

impl Denials {
    /// Returns a row for each.
    pub(super) fn rows(&self) -> impl Iterator<Item = OverrideRow> {
        self.0.iter().map(|(network, denial)| OverrideRow {
            setting: "deny".to_owned(),
            object: network.to_string(),
            value: "denied".to_owned(),
            by: denial.set.by.clone(),
            since: moment(denial.set.since),
            until: denial.until.map(|(_, at)| moment(at)),
            ..OverrideRow::default()
        })
    }

    /// Returns them as a director takes them.
    pub(super) fn networks(&self) -> Arc<Networks> {
        let all: Vec<IpNet> = self.0.keys().copied().map(IpNet::V4).collect();
        Arc::new(Networks::denied(&all))
    }

    /// Returns those whose time is over.
    fn over(&self, now: Instant) -> Vec<Ipv4Net> {
        let all = self.0.iter();
        all.filter(|(_, one)| one.until.is_some_and(|(at, _)| now >= at))
            .map(|(network, _)| *network)
            .collect()
    }

    /// Does what is wanted; returns the network, which is denied now or no longer.
    fn change(&mut self, asker: &Asker, wish: &Wish) -> Result<Ipv4Net, Rejection> {
        let refused = |code, text: String| Err(Rejection { code, text });
        let network = match read(&wish.network) {
            Ok(network) => network,
            Err(text) => return refused(Code::BadArgument, text),
        };
        if !wish.on {
            if wish.span.is_some() {
                let text = "what is taken back has no time".to_owned();
                return refused(Code::BadArgument, text);
            }
            if self.0.remove(&network).is_none() {
                let text = format!(
                    "{network} is not denied by command; `weir deny list` shows what is, and \
                     `weir explain` who denies a client"
                );
                return refused(Code::NothingToDo, text);
            }
            return Ok(network);
        }
        if wish.span.is_some_and(|span| span > LONGEST) {
            let text = "a setting may hold for a year at most; leave the time out".to_owned();
            return refused(Code::BadArgument, text);
        }
        if self.0.len() >= MOST && !self.0.contains_key(&network) {
            let text = format!(
                "{MOST} networks are denied by command already; `deny` of a [defence] profile \
                 takes more"
            );
            return refused(Code::BadArgument, text);
        }
        let denial = Denial {
            set: Set {
                by: asker.name(),
                since: SystemTime::now(),
            },
            until: wish
                .span
                .map(|span| (Instant::now() + span, SystemTime::now() + span)),
        };
        self.0.insert(network, denial);
        Ok(network)
    }
}

impl Control {
    /// Drops the packets of a network for all services, or does so no longer.
    pub(in crate::control) fn deny(&mut self, asker: &Asker, wish: &Wish) {
        let changed = if self.scene.stopping.is_some() {
            Err(Rejection {
                code: Code::Stopping,
                text: "the daemon is stopping".to_owned(),
            })
        } else {
            self.scene.overrides.denied.change(asker, wish)
        };
        match changed {
            Ok(network) => self.denied(asker, network),
            Err(rejection) => self.refuse_override(asker, &rejection),
        }
    }

    fn denied(&mut self, asker: &Asker, network: Ipv4Net) {
        self.scene.overrides.untold = true;
        self.tell_denied();
        let name = network.to_string();
        let row = self.scene.overrides.denied.rows();
        let row = row.into_iter().find(|row| row.object == name);
        let (sentence, what) = match &row {
            Some(row) => (row.sentence(), "denied"),
            None => (
                format!("the denial of {name} was ended{}", asker.by()),
                "no longer denied",
            ),
        };
        let record = operator_event(Severity::Warning, "deny", sentence, asker);
        let record = record.field("network", &name).field("what", what);
        let generation = self.scene.running.snapshot.generation.0;
        let record = record.field("generation", generation);
        self.scene.events.say(Instant::now(), record);
        if let Asker::Client(client, _) = asker {
            let row = row.unwrap_or_else(|| OverrideRow {
                setting: "deny".to_owned(),
                object: name,
                ..OverrideRow::default()
            });
            self.finish(*client, &[Reply::overridden(&row), Reply::done(1)]);
        }
    }

    /// Tells the workers which networks are denied, as long as one of them does not know.
    pub(super) fn tell_denied(&mut self) {
        let overrides = &mut self.scene.overrides;
        if overrides.untold {
            overrides.untold = !self.scene.fleet.deny(&overrides.denied.networks());
        }
    }

    /// Takes back what has come to its end.
    pub(super) fn end_denials(&mut self) {
        for network in self.scene.overrides.denied.over(Instant::now()) {
            let wish = Wish {
                network: network.to_string(),
                on: false,
                span: None,
            };
            self.deny(&Asker::Time, &wish);
        }
    }
}

/// Reads a network, or an address, which is a network of one.
fn read(text: &str) -> Result<Ipv4Net, String> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Ipv4Net::from(address));
    }
    if text.parse::<Ipv6Net>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
        return Err("this build balances IPv4 only; no packet of IPv6 gets through".to_owned());
    }
    let Ok(network) = text.parse::<Ipv4Net>() else {
        return Err("a network is written 192.0.2.0/24, one address 192.0.2.7".to_owned());
    };
    if network.addr() != network.network() {
        return Err(format!(
            "{network} has bits behind its prefix; did you mean {}, or {} alone?",
            network.trunc(),
            network.addr()
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(network: &str, on: bool) -> Wish {
        Wish {
            network: network.to_owned(),
            on,
            span: None,
        }
    }

    #[test]
    fn a_network_is_a_prefix_or_an_address_and_anything_else_is_told() {
        assert_eq!(read("192.0.2.0/24").unwrap().to_string(), "192.0.2.0/24");
        assert_eq!(read("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        for (text, sentence) in [
            (
                "192.0.2.7/24",
                "did you mean 192.0.2.0/24, or 192.0.2.7 alone?",
            ),
            ("2001:db8::/32", "IPv4 only"),
            ("::1", "IPv4 only"),
            ("192.0.2.0/33", "is written 192.0.2.0/24"),
            ("example.net", "is written 192.0.2.0/24"),
            ("", "is written 192.0.2.0/24"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(sentence), "{text}: {error}");
        }
    }

    #[test]
    fn there_is_room_for_so_many_and_what_is_there_can_be_set_again() {
        let mut denials = Denials::default();
        for n in 0..MOST {
            let network = format!("198.51.{}.{}", n >> 8, n & 255);
            denials.change(&Asker::Time, &wish(&network, true)).unwrap();
        }
        let more = denials.change(&Asker::Time, &wish("192.0.2.0/24", true));
        assert!(more.unwrap_err().text.contains("[defence]"));
        let again = wish("198.51.0.0", true);
        assert!(denials.change(&Asker::Time, &again).is_ok());
        assert_eq!(denials.rows().count(), MOST);
        let gone = denials.change(&Asker::Time, &wish("192.0.2.0/24", false));
        assert_eq!(gone.unwrap_err().code, Code::NothingToDo);
    }
}
