//! Plays a walk, line by line, in a world of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_director::Director;
use weir_model::{Port, Snapshot, Time};
use weir_wire::{Describe, SeqNumber};

use super::script::{At, Item, Line, Packet, Who, parse};
use super::value::{Names, Value, number};
use crate::{Setup, Tally, World};

/// Plays a walk.
pub(super) fn play(name: &str, folder: &Path, text: &str) -> Result<()> {
    let lines = parse(name, text)?;
    let mut player = Player {
        folder: folder.to_owned(),
        setup: Setup::default(),
        config: None,
        faces: Faces::default(),
        names: Names::default(),
        tolerance: Duration::from_millis(1),
        last: Time::default(),
        start: Time::default(),
        settled: true,
        before: Tally::default(),
        floods: 0,
    };
    let mut world = None;
    for line in &lines {
        let place = || format!("{name}:{}: {}", line.number, line.text);
        if let Item::Setup(key, words) = &line.item {
            ensure!(
                world.is_none(),
                "{name}:{}: `{key}` comes too late",
                line.number
            );
            player.prepare(key, words).with_context(place)?;
            continue;
        }
        if world.is_none() {
            world = Some(player.start().with_context(place)?);
        }
        if let Some(world) = &mut world {
            player.line(world, line).with_context(place)?;
        }
    }
    ensure!(world.is_some(), "{name}: nothing happens");
    ensure!(
        player.settled,
        "{name}: the last word must be `moved`, so that nothing moves unseen"
    );
    Ok(())
}

/// Who is who, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faces(BTreeMap<String, (Ipv4Addr, Option<u16>)>);

impl Faces {
    /// Names what a configuration names; faces that exist keep their addresses.
    fn learn(&mut self, snapshot: &Snapshot) {
        let faces = self;
        faces.add("client", 1, Ipv4Addr::new(192, 0, 2, 7), Some(40_000));
        faces.add("client", 2, Ipv4Addr::new(192, 0, 2, 8), Some(40_000));
        for service in snapshot.services.iter() {
            for listen in &service.listen {
                faces.next("vip", listen.address, Some(listen.port));
            }
            for real in &service.reals {
                faces.next("real", real.address, Some(real.port));
            }
        }
        for lip in snapshot.pools.iter().flat_map(|pool| &pool.lips) {
            faces.next("lip", lip.address, None);
        }
        for (face, port) in ["router", "switch"].into_iter().zip(snapshot.ports.iter()) {
            if let Some(IpAddr::V4(gateway)) = port.gateways.first() {
                faces.add(face, 1, *gateway, None);
            } else if let Some(own) = own_address(port) {
                // The last host of a /24 around the port's own address.
                let [a, b, c, _] = own.octets();
                faces.add(face, 1, Ipv4Addr::new(a, b, c, 254), None);
            }
        }
        for port in snapshot.ports.iter() {
            if let Some(own) = own_address(port) {
                faces.add(&port.name, 1, own, None);
            }
        }
    }

    fn next(&mut self, face: &str, address: IpAddr, port: Option<u16>) {
        let IpAddr::V4(address) = address else { return };
        if self.0.values().any(|it| *it == (address, port)) {
            return;
        }
        let number =
            (1..=u32::from(u16::MAX)).find(|it| !self.0.contains_key(&numbered(face, *it)));
        self.add(face, number.unwrap_or(1), address, port);
    }

    fn add(&mut self, face: &str, number: u32, address: Ipv4Addr, port: Option<u16>) {
        self.0.insert(numbered(face, number), (address, port));
    }

    /// The address of a face, or the address itself.
    pub(super) fn address(&self, face: &str) -> Result<Ipv4Addr> {
        if let Some((address, _)) = self.0.get(face) {
            return Ok(*address);
        }
        let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
        face.parse().ok().with_context(|| {
            format!(
                "`{face}` is neither a face nor an address; there are {}",
                known.join(", ")
            )
        })
    }

    /// The port that a face has by itself.
    pub(super) fn own_port(&self, face: &str) -> Option<u16> {
        self.0.get(face).and_then(|(_, port)| *port)
    }

    /// The port of a face: as written, the face's own, or a name of its own.
    pub(super) fn port(&self, who: &Who) -> Value {
        if let Some(port) = &who.port {
            return port.clone();
        }
        if let Some((_, Some(port))) = self.0.get(&who.face) {
            return Value::from(u32::from(*port));
        }
        Value::named(&format!("{}.port", who.face))
    }

    /// The address and port of `client`, `client:40001` or `192.0.2.7:40000`.
    pub(super) fn socket(&self, text: &str) -> Result<SocketAddrV4> {
        let (face, port) = text
            .split_once(':')
            .map_or((text, None), |(face, port)| (face, Some(port)));
        let address = self.address(face)?;
        let port = if let Some(port) = port {
            u16::try_from(number(port)?)?
        } else {
            let own = self.0.get(face).and_then(|(_, port)| *port);
            own.with_context(|| format!("`{text}` has no port"))?
        };
        Ok(SocketAddrV4::new(address, port))
    }
}

fn own_address(port: &Port) -> Option<Ipv4Addr> {
    match port.addresses.first()?.addr() {
        IpAddr::V4(own) => Some(own),
        IpAddr::V6(_) => None,
    }
}

fn numbered(face: &str, number: u32) -> String {
    if number == 1 {
        face.to_owned()
    } else {
        format!("{face}{number}")
    }
}

/// The state of a walk that is played.
pub(super) struct Player {
    folder: PathBuf,
    setup: Setup,
    config: Option<Snapshot>,
    pub(super) faces: Faces,
    pub(super) names: Names,
    tolerance: Duration,
    start: Time,
    pub(super) last: Time,
    /// Whether nothing has happened since the last `moved`.
    pub(super) settled: bool,
    before: Tally,
    /// How many floods there were.
    pub(super) floods: u64,
}

impl Player {
    fn prepare(&mut self, key: &str, words: &[String]) -> Result<()> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (key, words.as_slice()) {
            ("config", [file]) => {
                let snapshot = self.load(file)?;
                self.faces.learn(&snapshot);
                self.config = Some(snapshot);
            }
            ("workers", [count]) => self.setup.workers = u8::try_from(number(count)?)?,
            ("table", [count]) => self.setup.sessions = number(count)?,
            ("mtu", [mtu]) => self.setup.mtu = u16::try_from(number(mtu)?)?,
            ("seed", [seed]) => self.setup.seed = u64::from(number(seed)?),
            ("uptime", [millis]) => self.setup.uptime_ms = millis.parse()?,
            ("wall", [millis]) => self.setup.wall_ms = millis.parse()?,
            ("delivers", []) => self.setup.delivers = true,
            ("neighbours", ["silent"]) => self.setup.neighbours_answer = false,
            ("tolerance", [seconds]) => {
                self.tolerance = Duration::try_from_secs_f64(seconds.parse()?)?;
            }
            ("face", [name, address]) => {
                let (address, port) = match address.split_once(':') {
                    Some((address, port)) => (address, Some(port.parse()?)),
                    None => (*address, None),
                };
                self.faces.add(name, 1, address.parse()?, port);
            }
            _ => bail!("`{key}` does not take this"),
        }
        Ok(())
    }

    fn load(&self, file: &str) -> Result<Snapshot> {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        crate::snapshot(&path.display().to_string(), &text)
    }

    fn start(&mut self) -> Result<World> {
        let config = self.config.clone().context("`config` comes first")?;
        let mut world = World::new(config, self.setup.clone())?;
        self.introduce_all(&mut world)?;
        // What is announced at the start is no part of the story.
        while world.take_emitted().is_some() {}
        world.take_events();
        self.before = world.tally();
        self.start = world.time();
        self.last = self.start;
        Ok(world)
    }

    /// Goes on with directors that remember nothing.
    pub(super) fn restart(&mut self, world: &mut World) -> Result<()> {
        world.restart()?;
        self.introduce_all(world)?;
        while world.take_emitted().is_some() {}
        self.before = world.tally();
        Ok(())
    }

    fn introduce_all(&self, world: &mut World) -> Result<()> {
        if self.setup.neighbours_answer {
            for (address, _) in self.faces.0.values() {
                world.introduce(*address);
            }
        }
        world.turn()
    }

    fn line(&mut self, world: &mut World, line: &Line) -> Result<()> {
        match &line.item {
            Item::Setup(..) => Ok(()),
            Item::Let(name, value) => {
                let number = self.names.give(value)?;
                self.names.bind(name, number);
                Ok(())
            }
            Item::Check(left, how, right) => self.check(left, how, right),
            Item::Moved(list) => {
                quiet(world)?;
                let expected = Tally::parse(list)?;
                let now = world.tally();
                now.since(&self.before).expect(&expected)?;
                self.before = now;
                self.settled = true;
                Ok(())
            }
            Item::Sessions(want) => {
                let got: u32 = world.directors().iter().map(Director::session_count).sum();
                ensure!(got == *want, "there are {got} sessions");
                ensure!(
                    world.sessions().len() == got as usize,
                    "the dump has another number"
                );
                Ok(())
            }
            Item::State(want) => {
                let sessions = world.sessions();
                ensure!(!sessions.is_empty(), "there is no session");
                for session in sessions {
                    ensure!(
                        session.state.name() == want,
                        "the state is {}",
                        session.state.name()
                    );
                }
                Ok(())
            }
            Item::Ports(want) => {
                let got = world.ports_used();
                ensure!(got == *want, "{got} local ports are in use");
                Ok(())
            }
            Item::Apply(file) => {
                self.settled = false;
                let snapshot = self.load_after(world, file)?;
                self.faces.learn(&snapshot);
                world.apply(snapshot)?;
                self.introduce_all(world)
            }
            Item::Drain => {
                self.settled = false;
                for director in world.directors_mut() {
                    director.admit(false);
                }
                world.turn()
            }
            Item::Introduce(face) => {
                self.settled = false;
                world.introduce(self.faces.address(face)?);
                world.turn()
            }
            Item::Secret(_)
            | Item::Offer(..)
            | Item::Real(..)
            | Item::Skew(_)
            | Item::Restart
            | Item::Flooded(..)
            | Item::Events(_)
            | Item::Flood(..) => self.synproxy_line(world, &line.item),
            Item::Nothing(at) => {
                self.settled = false;
                self.pass(world, *at)?;
                quiet(world)
            }
            Item::Packet(at, packet) => {
                self.settled = false;
                if self.goes_in_from(world, packet)? {
                    self.goes_in(world, *at, packet)
                } else {
                    self.comes_out(world, *at, packet)
                }
            }
        }
    }

    fn load_after(&self, world: &World, file: &str) -> Result<Snapshot> {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        crate::snapshot_after(&path.display().to_string(), &text, world.snapshot())
    }

    fn goes_in(&mut self, world: &mut World, at: At, packet: &Packet) -> Result<()> {
        self.pass(world, at)?;
        quiet(world)?;
        let (port, frame) = self.build(&world.around().clone(), packet)?;
        world.inject(packet.extra.worker.unwrap_or(0), port, &frame)?;
        Ok(())
    }

    fn comes_out(&mut self, world: &mut World, at: At, packet: &Packet) -> Result<()> {
        let earliest = self.time_of(at);
        let latest = earliest.after(self.tolerance);
        if !world.advance_until_emission(latest)? {
            bail!(
                "nothing came until {:?} after the start",
                latest.since(self.start)
            );
        }
        let Some(emitted) = world.take_emitted() else {
            bail!("nothing came");
        };
        let shown = Describe(&emitted.frame).to_string();
        let came = emitted.at.since(self.start);
        ensure!(
            emitted.at >= earliest,
            "too early, {came:?} after the start: {shown}"
        );
        ensure!(
            emitted.at <= latest,
            "too late, {came:?} after the start: {shown}"
        );
        self.last = emitted.at;
        let around = world.around().clone();
        self.meet(&around, packet, &emitted)
            .with_context(|| format!("\n  got {shown}"))
    }

    fn pass(&mut self, world: &mut World, at: At) -> Result<()> {
        let time = self.time_of(at);
        ensure!(time >= world.time(), "this time is over already");
        world.advance_to(time)?;
        self.last = time;
        Ok(())
    }

    pub(super) fn time_of(&self, at: At) -> Time {
        match at {
            At::Start(since) => self.start.after(since),
            At::Last(since) => self.last.after(since),
        }
    }

    /// Says whether the line's sender stands outside of Weir.
    fn goes_in_from(&self, world: &World, packet: &Packet) -> Result<bool> {
        let Some(right) = &packet.right else {
            return Ok(packet.rightward);
        };
        let from = if packet.rightward {
            &packet.left.face
        } else {
            &right.face
        };
        let address = self.faces.address(from)?;
        Ok(!world.is_ours(address))
    }

    fn check(&self, left: &Value, how: &str, right: &Value) -> Result<()> {
        let number = |value: &Value| {
            self.names
                .get(value)
                .with_context(|| format!("`{value}` is not bound"))
        };
        let (a, b) = (number(left)?, number(right)?);
        let holds = match how {
            "after" => SeqNumber(a).after(SeqNumber(b)),
            "==" => a == b,
            _ => a != b,
        };
        ensure!(holds, "{left} is {a}, {right} is {b}");
        Ok(())
    }
}

pub(super) fn quiet(world: &mut World) -> Result<()> {
    match world.take_emitted() {
        None => Ok(()),
        Some(emitted) => bail!(
            "before this line Weir sent what no line expects: {}",
            Describe(&emitted.frame)
        ),
    }
}
