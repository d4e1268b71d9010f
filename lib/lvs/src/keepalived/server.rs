//! A virtual server with its real servers becomes a service.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use weir_model::Protocol;

use super::blocks::Statement;
use super::checks::{self, Common, Profiles};
use super::{Groups, protocol_of, words};
use crate::command::{At, Refusal, values};
use crate::edit::name_of;
use crate::import::draft::{Draft, DraftSection};
use crate::note::{Notes, Place, quote};
use crate::service::duration;

/// Reads virtual servers.
pub(super) struct Reader<'a> {
    pub(super) draft: &'a mut Draft,
    pub(super) groups: &'a Groups,
    pub(super) profiles: &'a mut Profiles,
    /// The pool of services that name no local addresses.
    pub(super) lip: Option<&'a str>,
    pub(super) notes: &'a mut Notes,
}

/// The addresses of a virtual server, and the name of their group where they have one.
type Named = (Option<String>, Vec<(IpAddr, u16)>);

/// A real server.
struct Real {
    address: IpAddr,
    /// Zero means the port of the service.
    port: u16,
    options: Vec<String>,
    check: Option<(checks::Check, Place)>,
    place: Place,
}

/// What is gathered before it can be written.
#[derive(Default)]
struct Gathered<'a> {
    protocol: Option<Protocol>,
    scheduler: Option<(&'static str, Place)>,
    kind: Option<(&'a str, Place)>,
    pool: Option<(String, Place)>,
    persist: Option<(u32, Place)>,
    granularity: Option<(&'a str, Place)>,
    quorum: Option<(u32, Place)>,
    hysteresis: Option<(u32, Place)>,
    sorry: Option<(IpAddr, u16, Place)>,
    /// Lines that need nothing else to be known: key, value, what it was, and its place.
    lines: Vec<(&'static str, String, String, Place)>,
    reals: Vec<Real>,
    common: Common,
    without_checks: Option<Place>,
}

impl Reader<'_> {
    /// Reads a virtual server; what stands for several ports may become several services.
    pub(super) fn virtual_server(&mut self, statement: &Statement) {
        let place = &statement.place;
        words::surplus(statement, self.notes);
        let Some((name, addresses)) = self.addresses(statement) else {
            return;
        };
        if statement.block.is_none() {
            self.notes.bad(place, "the virtual_server has no `{ }`");
            return;
        }
        let gathered = self.gather(statement);
        let protocol = gathered.protocol.unwrap_or(Protocol::Tcp);
        if gathered.reals.is_empty() {
            self.notes
                .left_out(place, "a virtual_server without a real_server");
            return;
        }
        let keeps_port = gathered.reals.iter().any(|real| real.port == 0);
        let mut ports: Vec<u16> = addresses.iter().map(|(_, port)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        if ports.contains(&0) {
            self.notes.left_out(place, words::EVERY_PORT);
            return;
        }
        let split = keeps_port && ports.len() > 1;
        let services = if split { ports } else { vec![0] };
        for port in services {
            let of_part = addresses.iter().filter(|(_, p)| port == 0 || *p == port);
            let listens: Vec<At> = of_part
                .map(|(address, port)| At {
                    protocol,
                    address: *address,
                    port: *port,
                })
                .collect();
            let Some(first) = listens.first() else {
                continue;
            };
            let wanted = match (&name, split) {
                (Some(name), false) => name.clone(),
                (Some(name), true) => format!("{name}-{port}"),
                (None, _) => name_of(first),
            };
            self.write(&wanted, &listens, &gathered, place);
        }
    }

    /// Returns the name and the addresses of a virtual server.
    fn addresses(&mut self, statement: &Statement) -> Option<Named> {
        let place = &statement.place;
        match (statement.word(1), statement.word(2)) {
            (Some("fwmark"), _) => {
                self.notes.left_out(
                    place,
                    format!("a virtual_server of a mark: {}", words::MARKS),
                );
                None
            }
            (Some("group"), Some(group)) => {
                let found = self.groups.servers.get(group);
                if found.is_none() {
                    let text = format!("there is no virtual_server_group {}", quote(group));
                    self.notes.bad(place, text);
                }
                if found.is_some_and(Vec::is_empty) {
                    let text = format!("the virtual_server_group {} has no address", quote(group));
                    self.notes.left_out(place, text);
                    return None;
                }
                Some((Some(group.to_owned()), found?.clone()))
            }
            (Some(address), port) => {
                let port = port.unwrap_or("0").parse::<u16>();
                let (Ok(address), Ok(port)) = (address.parse::<IpAddr>(), port) else {
                    let text = "a virtual_server is `ADDRESS PORT`, `group NAME` or `fwmark N`";
                    self.notes.bad(place, text);
                    return None;
                };
                Some((None, vec![(address, port)]))
            }
            (None, _) => {
                self.notes.bad(place, "the virtual_server has no address");
                None
            }
        }
    }

    fn gather<'a>(&mut self, statement: &'a Statement) -> Gathered<'a> {
        let mut gathered = Gathered::default();
        // What checks share may stand behind the real servers.
        let inside = words::once(statement.inside(), self.notes);
        for inner in inside.iter().copied() {
            self.common(inner, &mut gathered.common);
            if inner.keyword() == "protocol" {
                let word = inner.word(1).unwrap_or_default();
                gathered.protocol = protocol_of(word);
                if gathered.protocol.is_none() {
                    let text = format!("Weir carries TCP and UDP, not `{}`", quote(word));
                    self.notes.bad(&inner.place, text);
                }
            }
        }
        for inner in inside {
            words::surplus(inner, self.notes);
            self.keyword(inner, &mut gathered);
        }
        gathered
    }

    fn common(&mut self, inner: &Statement, common: &mut Common) {
        match (inner.keyword(), inner.word(1)) {
            ("delay_loop", Some(value)) => {
                common.delay_loop_ms = checks::milliseconds(value, &inner.place, self.notes);
            }
            ("alpha", _) => common.alpha = true,
            ("virtualhost", Some(host)) => common.virtualhost = Some(host.to_owned()),
            ("retry", Some(value)) => {
                let retry = checks::number(value, &inner.place, self.notes);
                common.retry = retry.map(|retry| checks::failures(retry, &inner.place, self.notes));
            }
            (_, _) => {}
        }
    }

    fn keyword<'a>(&mut self, inner: &'a Statement, gathered: &mut Gathered<'a>) {
        let place = &inner.place;
        let number = |notes: &mut Notes| {
            let text = inner.word(1).unwrap_or_default();
            checks::number(text, place, notes).map(|number| (number, place.clone()))
        };
        match inner.keyword() {
            // The first ones were read before. What is down gets no new sessions and keeps those it
            // has, in any case.
            "protocol" | "delay_loop" | "virtualhost" | "retry" | "alpha"
            | "inhibit_on_failure" => {}
            "lb_algo" | "lvs_sched" => gathered.scheduler = self.scheduler(inner),
            "lb_kind" | "lvs_method" => {
                gathered.kind = Some((inner.word(1).unwrap_or_default(), place.clone()));
            }
            "laddr_group_name" => gathered.pool = self.pool(inner),
            "syn_proxy" => gathered.line("synproxy", "always".to_owned(), inner),
            "est_timeout" | "establish_timeout" | "established_timeout" => {
                match number(self.notes) {
                    None | Some((0, _)) => {}
                    Some((seconds, _)) => gathered.line("idle", duration(seconds), inner),
                }
            }
            "quorum" => gathered.quorum = number(self.notes),
            "hysteresis" => gathered.hysteresis = number(self.notes),
            "persistence_timeout" => {
                gathered.persist = match inner.word(1) {
                    None => Some((360, place.clone())),
                    Some(_) => number(self.notes),
                };
            }
            "persistence_granularity" => {
                gathered.granularity = inner.word(1).map(|mask| (mask, place.clone()));
            }
            "sorry_server" => gathered.sorry = self.endpoint(inner),
            "omega" => gathered.line("omega", "yes".to_owned(), inner),
            "quorum_up" | "quorum_down" => self.hook(inner, gathered),
            "real_server" => self.real_server(inner, gathered),
            other => words::without(words::SERVER, "virtual_server", other, inner, self.notes),
        }
    }

    fn scheduler(&mut self, inner: &Statement) -> Option<(&'static str, Place)> {
        match values::scheduler(inner.word(1).unwrap_or_default()) {
            Ok(name) => Some((name, inner.place.clone())),
            Err(Refusal::Syntax(text)) => {
                self.notes.bad(&inner.place, text);
                None
            }
            Err(Refusal::Unsupported(text)) => {
                self.notes.left_out(&inner.place, text);
                None
            }
        }
    }

    fn pool(&mut self, inner: &Statement) -> Option<(String, Place)> {
        let name = inner.word(1).unwrap_or_default();
        let pool = self.groups.pools.get(name);
        if pool.is_none() {
            let text = format!(
                "there is no local_address_group {} with an address",
                quote(name)
            );
            self.notes.bad(&inner.place, text);
        }
        Some((pool?.clone(), inner.place.clone()))
    }

    fn endpoint(&mut self, inner: &Statement) -> Option<(IpAddr, u16, Place)> {
        let port = inner.word(2).unwrap_or("0").parse::<u16>();
        let address = inner.word(1).unwrap_or_default().parse::<IpAddr>();
        let (Ok(address), Ok(port)) = (address, port) else {
            let text = format!("`{}` is not followed by ADDRESS PORT", inner.keyword());
            self.notes.bad(&inner.place, text);
            return None;
        };
        Some((address, port, inner.place.clone()))
    }

    /// Commands on transitions, which mostly move the VIP, as Weir does by itself.
    fn hook(&mut self, inner: &Statement, gathered: &mut Gathered<'_>) {
        let command = inner.words.get(1..).unwrap_or_default().join(" ");
        let keyword = inner.keyword();
        let place = &inner.place;
        let binds = ["ip addr", "ip address", "/sbin/ip ", "ifconfig", "ip -"];
        if binds.iter().any(|words| command.contains(words)) {
            let text = format!(
                "`{keyword}`: Weir answers for the VIP itself, and no longer does when the quorum is lost"
            );
            self.notes.left_out(place, text);
            return;
        }
        let key = match keyword {
            "quorum_up" => "quorum-up",
            _ => "quorum-down",
        };
        if command.starts_with('/') && !command.contains(char::is_whitespace) {
            gathered.line(key, command, inner);
            return;
        }
        let text = format!(
            "`{keyword} {}`: Weir runs programs by their path only, without arguments or a shell; the event in the log says the same",
            quote(&command)
        );
        self.notes.left_out(place, text);
    }

    fn real_server(&mut self, statement: &Statement, gathered: &mut Gathered<'_>) {
        let Some((address, port, place)) = self.endpoint(statement) else {
            return;
        };
        let mut real = Real {
            address,
            port,
            options: Vec::new(),
            check: None,
            place,
        };
        let mut common = gathered.common.clone();
        let inside = words::once(statement.inside(), self.notes);
        for inner in inside.iter().copied() {
            self.common(inner, &mut common);
        }
        let protocol = gathered.protocol.unwrap_or(Protocol::Tcp);
        for inner in inside {
            words::surplus(inner, self.notes);
            let option = match inner.keyword() {
                "weight" => Some("weight"),
                "uthreshold" => Some("max-sessions"),
                "lthreshold" => Some("min-sessions"),
                _ => None,
            };
            if let Some(option) = option {
                let text = inner.word(1).unwrap_or_default();
                let number = checks::number(text, &inner.place, self.notes);
                let is_default = (option == "weight" && number == Some(1))
                    || (option != "weight" && number == Some(0));
                if let Some(number) = number.filter(|_| !is_default) {
                    real.options.push(format!("{option}={number}"));
                }
                continue;
            }
            match inner.keyword() {
                "delay_loop" | "retry" | "alpha" | "inhibit_on_failure" => {}
                "notify_up" | "notify_down" => {
                    let text = format!(
                        "`{}`: no program is run; `real-up` and `real-down` are events in the log and in [syslog]",
                        inner.keyword()
                    );
                    self.notes.left_out(&inner.place, text);
                }
                keyword if checks::is_checker(keyword) => {
                    if real.check.is_some() {
                        let text = format!(
                            "`{keyword}`: a second checker; Weir has one check per service"
                        );
                        self.notes.left_out(&inner.place, text);
                        continue;
                    }
                    let check = checks::check(inner, &common, port, protocol, self.notes);
                    real.check = check.map(|check| (check, inner.place.clone()));
                }
                other => words::without(words::REAL, "real_server", other, inner, self.notes),
            }
        }
        if real.check.is_none() {
            let place = || real.place.clone();
            gathered.without_checks.get_or_insert_with(place);
        }
        gathered.reals.push(real);
    }

    fn write(&mut self, wanted: &str, listens: &[At], gathered: &Gathered<'_>, place: &Place) {
        let name = self.draft.free_name("service", wanted);
        let mut service = DraftSection::new("service", &name, Some(place));
        for at in listens {
            service.add_vital("listen", at.to_string(), place, "virtual_server");
        }
        self.forward(&mut service, gathered, place);
        // keepalived has no scheduler of its own where none is given; ipvsadm's is wlc.
        if let Some((scheduler, place)) = &gathered.scheduler {
            service.add("scheduler", *scheduler, place, "lb_algo");
        }
        for (key, value, was, place) in &gathered.lines {
            if !service.has_key(key) {
                service.add(key, value, place, was);
            }
        }
        self.health(&mut service, gathered);
        self.persist(&mut service, gathered, listens);
        if let Some((quorum, place)) = &gathered.quorum {
            let hysteresis = gathered.hysteresis.as_ref().filter(|(h, _)| *h != 0);
            let value = match hysteresis {
                Some((hysteresis, _)) => format!("{quorum}  hysteresis={hysteresis}"),
                None => quorum.to_string(),
            };
            service.add("quorum", value, place, "quorum");
        } else if let Some((_, place)) = &gathered.hysteresis {
            self.notes.left_out(place, "`hysteresis` without a quorum");
        }
        let own_port = listens.first().map_or(0, |at| at.port);
        for real in &gathered.reals {
            let port = if real.port == 0 { own_port } else { real.port };
            let mut value = SocketAddr::new(real.address, port).to_string();
            for option in &real.options {
                value.push_str("  ");
                value.push_str(option);
            }
            service.add("real", value, &real.place, "real_server");
        }
        if let Some((address, port, place)) = &gathered.sorry {
            let port = if *port == 0 { own_port } else { *port };
            let value = SocketAddr::new(*address, port).to_string();
            service.add("sorry", value, place, "sorry_server");
        }
        self.draft.sections.push(service);
    }

    fn forward(&mut self, service: &mut DraftSection, gathered: &Gathered<'_>, place: &Place) {
        let (kind, kind_place) = match &gathered.kind {
            Some((kind, place)) => (*kind, place.clone()),
            None => ("", place.clone()),
        };
        let forward = match kind.to_ascii_uppercase().as_str() {
            "FNAT" | "FULLNAT" => "fullnat",
            "NAT" => "nat",
            "DR" => "direct",
            "TUN" => "tunnel",
            _ => {
                let text = format!("`lb_kind {}` is not FNAT, NAT, DR or TUN", quote(kind));
                self.notes.bad(&kind_place, text);
                return;
            }
        };
        if forward != "fullnat" {
            service.add_vital("forward", forward, &kind_place, "lb_kind");
        }
        match (&gathered.pool, self.lip) {
            (Some((pool, place)), _) => {
                service.add_vital("lip-pool", pool, place, "laddr_group_name");
            }
            (None, Some(lip)) => service.add_vital("lip-pool", lip, place, "--lip"),
            (None, None) => {}
        }
    }

    /// One check serves the whole service.
    fn health(&mut self, service: &mut DraftSection, gathered: &Gathered<'_>) {
        let mut checked = gathered.reals.iter().filter_map(|real| real.check.as_ref());
        let Some((check, place)) = checked.next() else {
            return;
        };
        let name = self.profiles.name_of(check, self.draft, place);
        service.add("health", &name, place, "a checker");
        for (other, place) in checked {
            if other != check {
                let text = format!(
                    "a checker unlike that of the first real server; all of [service {}] are checked as the first one is: [health {name}]",
                    service.name
                );
                self.notes.left_out(place, text);
            }
        }
        if let Some(place) = &gathered.without_checks {
            let text =
                format!("it had no checker, and is checked like its neighbours: [health {name}]");
            self.notes.advice(place, text);
        }
    }

    fn persist(&mut self, service: &mut DraftSection, gathered: &Gathered<'_>, listens: &[At]) {
        let Some((seconds, place)) = &gathered.persist else {
            if let Some((_, place)) = &gathered.granularity {
                let text = "`persistence_granularity` without a persistence_timeout";
                self.notes.left_out(place, text);
            }
            return;
        };
        if *seconds == 0 {
            if let Some((_, place)) = &gathered.granularity {
                let text = "`persistence_granularity`: `persistence_timeout 0` is no persistence";
                self.notes.left_out(place, text);
            }
            return;
        }
        let mut value = duration(*seconds);
        if let Some((mask, place)) = &gathered.granularity {
            let is_v6 = listens.first().is_some_and(|at| at.address.is_ipv6());
            match values::mask(mask, is_v6) {
                Ok(prefix) => {
                    let _ = write!(value, "  per=/{prefix}");
                }
                Err(Refusal::Syntax(text)) => {
                    let text = text.replacen("-M", "persistence_granularity", 1);
                    self.notes.bad(place, text);
                }
                Err(Refusal::Unsupported(text)) => {
                    let text = text.replacen("-M", "persistence_granularity", 1);
                    self.notes.left_out(place, text);
                }
            }
        }
        service.add("persist", value, place, "persistence_timeout");
    }
}

impl Gathered<'_> {
    fn line(&mut self, key: &'static str, value: String, inner: &Statement) {
        let was = inner.keyword().to_owned();
        self.lines.push((key, value, was, inner.place.clone()));
    }
}
