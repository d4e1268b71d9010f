//! Established connections to one service.

use anyhow::{Context as _, Result, ensure};
use weir_model::Verdict;
use weir_rig::{DATAGRAMS, LAN, PLAIN, WAN, client};
use weir_testkit::Random;
use weir_wire::Protocol;

use crate::arena::{Arena, BURST};
use crate::connection::{Connection, Side};
use crate::frames::{Kind, Templates, read};
use crate::rig::Rig;

/// What connections are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// Until a connection is established, and the client's address has been told.
const OPENING: [(Side, Kind); 4] = [
    (Side::Client, Kind::Syn),
    (Side::Real, Kind::SynAck),
    (Side::Client, Kind::Data),
    (Side::Real, Kind::Ack),
];
const FIRST_DATAGRAMS: [(Side, Kind); 2] =
    [(Side::Client, Kind::Datagram), (Side::Real, Kind::Datagram)];

/// Established connections.
pub(crate) struct Flows {
    pub(crate) all: Vec<Connection>,
    transport: Transport,
    next_client: u32,
}

impl Flows {
    pub(crate) const fn new(transport: Transport) -> Self {
        Self {
            all: Vec::new(),
            transport,
            next_client: 0,
        }
    }

    /// Makes room for so many connections, and touches it.
    pub(crate) fn reserve(&mut self, count: u32) {
        self.all = vec![Connection::new(client(0), 0); count as usize];
        self.all.clear();
    }

    /// Opens so many connections more.
    pub(crate) fn open(
        &mut self,
        rig: &mut Rig,
        arena: &mut Arena,
        templates: &Templates,
        count: u32,
    ) -> Result<()> {
        self.all.reserve(count as usize);
        let steps: &[_] = match self.transport {
            Transport::Tcp => &OPENING,
            Transport::Udp => &FIRST_DATAGRAMS,
        };
        let mut left = count as usize;
        while left > 0 {
            let burst = left.min(BURST);
            let first = self.all.len();
            for _ in 0..burst {
                let next = self.next(rig);
                self.all.push(next);
            }
            let opened = self.all.get_mut(first..).unwrap_or_default();
            for (step, &(side, kind)) in steps.iter().enumerate() {
                exchange(rig, arena, templates, opened, side, kind, step == 0)?;
            }
            left -= burst;
        }
        Ok(())
    }

    /// Adds the next data of a random connection to a burst.
    pub(crate) fn add_data(
        &mut self,
        arena: &mut Arena,
        templates: &Templates,
        random: &mut Random,
        side: Side,
    ) -> Result<()> {
        let number = random.below(self.all.len() as u64) as usize;
        let connection = self.all.get_mut(number).context("no connection")?;
        let kind = match self.transport {
            Transport::Tcp => Kind::Data,
            Transport::Udp => Kind::Datagram,
        };
        connection.send(arena, templates, side, kind)
    }

    /// Returns a connection to open that is this worker's.
    fn next(&mut self, rig: &Rig) -> Connection {
        let (service, protocol) = match self.transport {
            Transport::Tcp => (PLAIN, Protocol::TCP),
            Transport::Udp => (DATAGRAMS, Protocol::UDP),
        };
        loop {
            let client = client(self.next_client);
            self.next_client += 1;
            if rig.owns(client, service, protocol) {
                return Connection::new(client, service);
            }
        }
    }
}

/// Lets one side of each connection send a packet, which is to be forwarded.
fn exchange(
    rig: &mut Rig,
    arena: &mut Arena,
    templates: &Templates,
    connections: &mut [Connection],
    side: Side,
    kind: Kind,
    opens: bool,
) -> Result<()> {
    arena.clear();
    for connection in &mut *connections {
        connection.send(arena, templates, side, kind)?;
    }
    let to = match side {
        Side::Client => LAN,
        Side::Real => WAN,
    };
    let mut packets = arena.packets();
    rig.walk(&mut packets);
    for (packet, connection) in packets.iter().zip(connections) {
        let verdict = packet.verdict;
        ensure!(verdict == Verdict::Forward(to), "{kind:?}: {verdict:?}");
        if opens {
            connection.meet_real(&read(packet.frame.bytes())?)?;
        }
    }
    Ok(())
}
