//! The management network: from what is wanted to the commands that make it so.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_conf::{Management, ManagementAddress};

use crate::lease::Lease;
use crate::observe::{BoxOf, DataPort};

/// Whoever answers from the management address looks here, so that no answer leaves by a data port.
const TABLE: &str = "100";
/// The order of the rules; the kernel's own first rule has the number 0 and is moved behind ours.
const RULE_REFUSE: &str = "10";
const RULE_LOCAL: &str = "15";
const RULE_FROM: &str = "20";
/// A gateway of a data port is used where the management network has none.
const METRIC_OF_PORTS: &str = "200";

/// How often the kernel is given again what it refused.
const OFTEN: Duration = Duration::from_secs(2);
/// How often routes are looked for that the kernel has lost.
const SELDOM: Duration = Duration::from_secs(10);
/// What is refused for so long is worth an event.
const LATE: Duration = Duration::from_mins(1);

/// How the network of the box is, or is to be: what is known of it is all in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Network {
    /// The management device.
    pub(crate) device: String,
    /// Its address with the prefix length.
    pub(crate) address: Option<String>,
    /// The network of the address.
    pub(crate) net: Option<String>,
    /// Where the box itself sends what no network of its own has.
    pub(crate) gateway: Option<String>,
    /// The devices of data ports.
    pub(crate) ports: Vec<String>,
    /// Routes of data ports: destination, next hop, device.
    pub(crate) routes: Vec<(String, String, String)>,
    /// The default gateways of data ports.
    pub(crate) port_gateways: Vec<(String, String)>,
}

impl Network {
    /// Says what is to be, as far as it is known: with DHCP the address comes with the lease.
    pub(crate) fn wanted(of: &BoxOf, lease: Option<&Lease>) -> Self {
        let management = &of.management;
        let gateway = |ip: &DataPort| Some((ip.gateway.clone()?, ip.device.clone()));
        let mut network = Self {
            device: management.device.clone(),
            ports: of.ports.iter().map(|port| port.device.clone()).collect(),
            routes: of.routes.clone(),
            port_gateways: of.ports.iter().filter_map(gateway).collect(),
            ..Self::default()
        };
        match management.address {
            None => {}
            Some(ManagementAddress::Fixed(net)) => {
                network.address = Some(net.to_string());
                network.net = Some(net.trunc().to_string());
                network.gateway = management.gateway.map(|ip| ip.to_string());
            }
            Some(ManagementAddress::Dhcp) => {
                let lease = lease.filter(|lease| lease.device == management.device);
                network.address = lease.map(|lease| lease.address.to_string());
                network.net = lease.map(|lease| lease.address.trunc().to_string());
                network.gateway = lease
                    .and_then(|lease| lease.gateway)
                    .map(|ip| ip.to_string());
            }
        }
        network
    }

    /// Returns the bare management address.
    pub(crate) fn ip(&self) -> Option<&str> {
        self.address.as_deref()?.split('/').next()
    }

    /// Returns the commands that bring IPv4 routes back that the kernel has no longer; `text` is its
    /// table, as `/proc/net/route` shows it.
    pub(crate) fn lost_routes(&self, text: &str) -> Vec<Step> {
        let there: Vec<(String, Ipv4Addr, Ipv4Addr)> =
            text.lines().filter_map(kernel_route).collect();
        let is_there = |device: &str, to: &str, via: &str| {
            let net = to.split('/').next().unwrap_or(to);
            let to = if net == "default" { "0.0.0.0" } else { net };
            there.iter().any(|(name, net, gateway)| {
                name == device && net.to_string() == to && gateway.to_string() == via
            })
        };
        let mut lost = Vec::new();
        for route in self.all_routes() {
            let words: Vec<&str> = route.iter().map(String::as_str).collect();
            if let ["-4", to, "via", via, "dev", device, rest @ ..] = words.as_slice()
                && !rest.contains(&"table")
                && !is_there(device, to, via)
            {
                lost.push(command(&route, &["route", "replace"]));
            }
        }
        lost
    }

    fn family(&self) -> &'static str {
        if self.address.as_deref().is_some_and(|it| it.contains(':')) {
            "-6"
        } else {
            "-4"
        }
    }

    /// Returns the rules that it needs: the words behind `ip -4 rule add`.
    fn rules(&self) -> Vec<Vec<String>> {
        let Some(ip) = self.ip() else {
            return Vec::new();
        };
        let family = self.family();
        let mut rules = vec![vec![family, "pref", RULE_FROM, "from", ip, "lookup", TABLE]];
        for port in &self.ports {
            rules.push(vec![
                family,
                "pref",
                RULE_REFUSE,
                "iif",
                port,
                "to",
                ip,
                "type",
                "prohibit",
            ]);
        }
        rules.into_iter().map(owned).collect()
    }

    /// Returns the routes that it needs: the words behind `ip -4 route replace`.
    fn all_routes(&self) -> Vec<Vec<String>> {
        let mut routes = Vec::new();
        let family = self.family();
        let device = self.device.as_str();
        if let (Some(ip), Some(net)) = (self.ip(), self.net.as_deref()) {
            routes.push(vec![family, net, "dev", device, "src", ip, "table", TABLE]);
            if let Some(gateway) = self.gateway.as_deref() {
                routes.push(vec![family, "default", "via", gateway, "dev", device]);
                routes.push(vec![
                    family, "default", "via", gateway, "dev", device, "table", TABLE,
                ]);
            } else {
                // Not by a data port, whatever the other tables say.
                routes.push(vec![family, "unreachable", "default", "table", TABLE]);
            }
        }
        for (to, via, by) in &self.routes {
            routes.push(vec!["-4", to, "via", via, "dev", by]);
        }
        for (via, by) in &self.port_gateways {
            routes.push(vec![
                "-4",
                "default",
                "via",
                via,
                "dev",
                by,
                "metric",
                METRIC_OF_PORTS,
            ]);
        }
        routes.into_iter().map(owned).collect()
    }
}

/// One command of `ip`: its words.
pub(crate) type Step = Vec<String>;

/// Returns the commands that make the network another one. What both have is left alone, so that
/// sessions of SSH go on through any change that is not one of their address.
pub(crate) fn steps(before: &Network, after: &Network) -> Vec<Step> {
    let mut steps = Vec::new();
    let (old_rules, new_rules) = (before.rules(), after.rules());
    let (old_routes, new_routes) = (before.all_routes(), after.all_routes());
    let moved = before.device != after.device || before.address != after.address;
    for rule in old_rules.iter().filter(|it| !new_rules.contains(it)) {
        steps.push(command(rule, &["rule", "del"]));
    }
    for route in old_routes.iter().filter(|it| !new_routes.contains(it)) {
        steps.push(command(&without_source(route), &["route", "del"]));
    }
    if moved && let Some(address) = &before.address {
        steps.push(owned(vec!["addr", "del", address, "dev", &before.device]));
    }
    // The daemon has switched it on where it is a data port now.
    let is_left = before.device != after.device && !after.ports.contains(&before.device);
    if is_left && !before.device.is_empty() {
        steps.push(owned(vec!["link", "set", &before.device, "down"]));
    }
    if before.device != after.device && !after.device.is_empty() {
        steps.push(owned(vec!["link", "set", &after.device, "up"]));
    }
    if moved && let Some(address) = &after.address {
        steps.push(owned(vec!["addr", "add", address, "dev", &after.device]));
    }
    // With an old address its routes are gone, too.
    for route in new_routes
        .iter()
        .filter(|it| moved || !old_routes.contains(it))
    {
        steps.push(command(route, &["route", "replace"]));
    }
    for rule in new_rules.iter().filter(|it| !old_rules.contains(it)) {
        steps.push(command(rule, &["rule", "add"]));
    }
    steps
}

/// Returns the commands that have the kernel look at our rules before it looks whether an address
/// is its own; they are needed once, and fail when they were given before.
pub(crate) fn rules_first() -> Vec<Step> {
    let of = |family: &'static str| {
        [
            owned(vec![
                family, "rule", "add", "pref", RULE_LOCAL, "lookup", "local",
            ]),
            owned(vec![family, "rule", "del", "pref", "0", "lookup", "local"]),
        ]
    };
    [of("-4"), of("-6")].into_iter().flatten().collect()
}

/// Reads a line of `/proc/net/route`: the device, the network and the next hop.
fn kernel_route(line: &str) -> Option<(String, Ipv4Addr, Ipv4Addr)> {
    let mut words = line.split_whitespace();
    let device = words.next()?.to_owned();
    // Numbers as the machine has them, the address's first byte first.
    let mut address = || {
        let number = u32::from_str_radix(words.next()?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    Some((device, address()?, address()?))
}

fn command(words: &[String], verb: &[&str]) -> Step {
    let (family, rest) = words
        .split_first()
        .map_or(("-4", words), |(f, rest)| (f.as_str(), rest));
    let mut step = vec![family.to_owned()];
    step.extend(verb.iter().map(|&word| word.to_owned()));
    step.extend(rest.iter().cloned());
    step
}

/// A route is found by less than it is made of.
fn without_source(route: &[String]) -> Vec<String> {
    let mut words = route.to_vec();
    if let Some(at) = words.iter().position(|word| word == "src") {
        words.drain(at..(at + 2).min(words.len()));
    }
    words
}

fn owned(words: Vec<&str>) -> Step {
    words.into_iter().map(str::to_owned).collect()
}

/// Runs commands of `ip`; returns those that were refused, with why.
pub(crate) fn run_each(steps: &[Step]) -> Vec<(Step, String)> {
    let refused = |step: &Step| Some((step.clone(), run_one(&["ip"], step).err()?));
    steps.iter().filter_map(refused).collect()
}

/// What the kernel has refused: it is given again for a while before anybody is told, because some of
/// it waits for the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    steps: Vec<(Step, String)>,
    since: Duration,
    tried: Duration,
    is_told: bool,
}

impl Refused {
    /// Begins with what was refused of a change.
    pub(crate) fn new(steps: Vec<(Step, String)>, now: Duration) -> Self {
        // What is to go may be gone.
        let is_new = |(step, _): &(Step, String)| !step.iter().any(|word| word == "del");
        Self {
            steps: steps.into_iter().filter(is_new).collect(),
            since: now,
            tried: now,
            is_told: false,
        }
    }

    /// Says whether it is time to look again.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let pause = if self.steps.is_empty() { SELDOM } else { OFTEN };
        now.saturating_sub(self.tried) >= pause
    }

    /// Returns the commands.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.iter().map(|(step, _)| step.clone()).collect()
    }

    /// Takes what was refused this time; returns why, once, where it has been so for too long.
    pub(crate) fn again(&mut self, steps: Vec<(Step, String)>, now: Duration) -> Option<String> {
        self.tried = now;
        if self.steps.is_empty() || steps.is_empty() {
            self.since = now;
            self.is_told = false;
        }
        self.steps = steps;
        let (_, why) = self.steps.first()?;
        let is_late = now.saturating_sub(self.since) >= LATE && !self.is_told;
        self.is_told |= is_late;
        is_late.then(|| why.clone())
    }
}

/// Runs commands of `ip`; returns what went wrong, command by command.
pub(crate) fn run(steps: &[Step]) -> Vec<String> {
    run_by(&["ip"], steps)
}

/// Runs commands behind the words of a program.
fn run_by(program: &[&str], steps: &[Step]) -> Vec<String> {
    let run = |step: &Step| run_one(program, step).err();
    steps.iter().filter_map(run).collect()
}

fn run_one(program: &[&str], step: &[String]) -> Result<(), String> {
    let line = step.join(" ");
    let (first, rest) = program.split_first().unwrap_or((&"ip", &[]));
    let output = Command::new(first).args(rest).args(step).output();
    let output = output.map_err(|error| format!("`ip {line}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default().trim();
    Err(format!("`ip {line}`: {said}"))
}

/// Writes `resolv.conf`.
pub(crate) fn resolv_conf(management: &Management, lease: Option<&Lease>) -> String {
    let servers = match (management.dns.as_slice(), lease) {
        ([], Some(lease)) => lease.dns.as_slice(),
        (given, _) => given,
    };
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    // Whoever waits for a name waits for seconds, not for half a minute.
    text.push_str("options timeout:2 attempts:2\n");
    text
}

/// Returns who is asked for the time.
pub(crate) fn time_servers(management: &Management, lease: Option<&Lease>) -> Vec<String> {
    match (management.ntp.as_slice(), lease) {
        ([], Some(lease)) => lease.ntp.iter().map(IpAddr::to_string).collect(),
        (given, _) => given.to_vec(),
    }
}

/// Where the network that was set up is noted, for an agent that starts again.
const NOTE: &str = "network.json";

/// Reads how an agent before this one left the network.
pub(crate) fn noted(run: &Path) -> Network {
    let text = fs::read_to_string(run.join(NOTE)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Notes how the network was left.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note(run: &Path, network: &Network) -> io::Result<()> {
    let text = serde_json::to_string(network)?;
    fs::write(run.join(NOTE), text)
}

#[cfg(test)]
mod tests;
