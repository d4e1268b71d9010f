//! What a worker publishes: ledger, counters and port statistics for every turn that did
//! something, traffic of services and real servers a little less often.

use std::sync::Arc;

use netmap_io::PortStats;
use weir_director::Director;
use weir_model::{
    Counters, DropReason, KnockCounters, Ledger, RealId, ServiceId, Snapshot, TrafficCounters,
};

use crate::board::Board;
use crate::publish::flood::FloodBoard;

pub(crate) mod flood;

/// The words of one port's statistics.
const PORT_WORDS: usize = 7;

/// What a worker publishes beside its ledger and counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// Sessions that exist.
    pub(crate) sessions: u64,
    /// Those of them that are over and only remembered.
    pub(crate) over: u64,
    /// Those of them that nothing has proven yet.
    pub(crate) half_open: u64,
    /// Sessions that the table holds at most.
    pub(crate) capacity: u64,
    /// Turns of the loop.
    pub(crate) turns: u64,
    /// Microseconds of turns that found something to do.
    pub(crate) busy_us: u64,
    /// Times that the worker went to sleep.
    pub(crate) sleeps: u64,
    /// Notices for the control thread that found its channel full.
    pub(crate) notices_lost: u64,
    /// Records of the session log that found no room.
    pub(crate) session_log_lost: u64,
}

/// One picture of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) vitals: Vitals,
    /// Statistics of the worker's queue of each port, in the order in which they were opened.
    pub(crate) ports: Vec<PortStats>,
}

/// The board of a worker's ledger, counters and ports.
#[derive(Debug)]
pub(crate) struct Published {
    board: Board,
    ports: usize,
}

impl Published {
    /// Makes the board of a worker with so many ports.
    pub(crate) fn new(ports: usize) -> Self {
        let fixed = LEDGER_WORDS + weir_model::Counter::COUNT + VITAL_WORDS;
        Self {
            board: Board::new(fixed + ports * PORT_WORDS),
            ports,
        }
    }

    /// Publishes; only the worker calls this.
    #[inline]
    pub(crate) fn write<'a>(
        &self,
        ledger: &Ledger,
        counters: &Counters,
        vitals: Vitals,
        ports: impl Iterator<Item = &'a PortStats>,
    ) {
        let words = ledger_words(ledger)
            .chain(counters.values().iter().copied())
            .chain(vital_words(vitals))
            .chain(ports.flat_map(port_words));
        self.board.write(words);
    }

    /// Reads the latest picture.
    pub(crate) fn read(&self) -> Picture {
        let words = self.board.read();
        let mut words = words.into_iter();
        let ledger = read_ledger(&mut words);
        let mut counters = Counters::default();
        for (value, word) in counters.values_mut().iter_mut().zip(&mut words) {
            *value = word;
        }
        let vitals = read_vitals(&mut words);
        let ports = (0..self.ports).map(|_| read_port(&mut words)).collect();
        Picture {
            ledger,
            counters,
            vitals,
            ports,
        }
    }
}

/// What one worker publishes of the services and real servers of one snapshot; a new snapshot
/// brings new boards.
#[derive(Debug)]
pub(crate) struct Boards {
    pub(crate) traffic: TrafficBoard,
    pub(crate) flood: FloodBoard,
}

impl Boards {
    /// Makes boards with room for whatever the snapshot knows.
    pub(crate) fn new(snapshot: &Snapshot) -> Arc<Self> {
        Arc::new(Self {
            traffic: TrafficBoard::new(snapshot),
            flood: FloodBoard::new(snapshot),
        })
    }
}

/// A board of so many records of the same length.
#[derive(Debug)]
struct Records<const N: usize>(Board);

impl<const N: usize> Records<N> {
    fn new(count: usize) -> Self {
        Self(Board::new(count * N))
    }

    fn write(&self, records: impl Iterator<Item = [u64; N]>) {
        self.0.write(records.flatten());
    }

    fn read(&self) -> Vec<[u64; N]> {
        self.0.read().as_chunks::<N>().0.to_vec()
    }
}

/// The board of one worker's traffic under one snapshot.
#[derive(Debug)]
pub(crate) struct TrafficBoard {
    records: Records<{ TrafficCounters::COUNT }>,
    knocks: Records<{ KnockCounters::COUNT }>,
    services: usize,
    reals: usize,
}

/// Traffic by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) services: Vec<TrafficCounters>,
    pub(crate) reals: Vec<TrafficCounters>,
    pub(crate) knocks: Vec<KnockCounters>,
}

impl TrafficBoard {
    /// Makes a board with room for every service and real server that the snapshot knows.
    fn new(snapshot: &Snapshot) -> Self {
        let (services, reals) = (snapshot.services.bound(), snapshot.real_bound as usize);
        Self {
            records: Records::new(services + reals),
            knocks: Records::new(reals),
            services,
            reals,
        }
    }

    /// Publishes; only the worker calls this.
    pub(crate) fn write(&self, director: &Director) {
        let services =
            (0..self.services).map(|id| director.service_traffic(ServiceId(id as u16)).to_array());
        let reals = (0..self.reals).map(|id| director.real_traffic(RealId(id as u32)).to_array());
        self.records.write(services.chain(reals));
        let knocks = (0..self.reals).map(|id| director.real_knocks(RealId(id as u32)).to_array());
        self.knocks.write(knocks);
    }

    /// Publishes what a test has a worker count.
    #[cfg(test)]
    pub(crate) fn play(&self, traffic: &Traffic) {
        let (services, reals) = (0..self.services, 0..self.reals);
        let services = services.map(|id| traffic.service(ServiceId(id as u16)).to_array());
        let counted = reals.clone().map(|id| traffic.real(RealId(id as u32)));
        let counted = counted.map(TrafficCounters::to_array);
        self.records.write(services.chain(counted));
        let knocks = reals.map(|id| traffic.knocks(RealId(id as u32)).to_array());
        self.knocks.write(knocks);
    }

    /// Reads the latest picture.
    pub(crate) fn read(&self) -> Traffic {
        let records = self.records.read().into_iter();
        let mut all = records.map(TrafficCounters::from_array);
        let knocks = self.knocks.read().into_iter();
        Traffic {
            services: all.by_ref().take(self.services).collect(),
            reals: all.collect(),
            knocks: knocks.map(KnockCounters::from_array).collect(),
        }
    }
}

impl Traffic {
    /// Adds another worker's traffic.
    pub(crate) fn add(&mut self, other: &Self) {
        add_all(&mut self.services, &other.services, TrafficCounters::add);
        add_all(&mut self.reals, &other.reals, TrafficCounters::add);
        add_all(&mut self.knocks, &other.knocks, KnockCounters::add);
    }

    /// Returns the traffic of a service; zero for one that no worker knows yet.
    pub(crate) fn service(&self, id: ServiceId) -> TrafficCounters {
        self.services.get(id.index()).copied().unwrap_or_default()
    }

    /// Returns the traffic of a real server; zero for one that no worker knows yet.
    pub(crate) fn real(&self, id: RealId) -> TrafficCounters {
        self.reals.get(id.index()).copied().unwrap_or_default()
    }

    /// Returns how a real server answers SYNs.
    pub(crate) fn knocks(&self, id: RealId) -> KnockCounters {
        self.knocks.get(id.index()).copied().unwrap_or_default()
    }
}

fn add_all<T: Copy + Default>(mine: &mut Vec<T>, theirs: &[T], add: impl Fn(&mut T, &T)) {
    if mine.len() < theirs.len() {
        mine.resize(theirs.len(), T::default());
    }
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        add(mine, theirs);
    }
}

const LEDGER_WORDS: usize = 7 + DropReason::COUNT;
const VITAL_WORDS: usize = 9;

fn ledger_words(ledger: &Ledger) -> impl Iterator<Item = u64> {
    let Ledger {
        rx,
        originated,
        handed_in,
        tx,
        delivered,
        held,
        handed_out,
        dropped,
    } = *ledger;
    [rx, originated, handed_in, tx, delivered, held, handed_out]
        .into_iter()
        .chain(dropped)
}

fn read_ledger(words: &mut impl Iterator<Item = u64>) -> Ledger {
    let [rx, originated, handed_in, tx, delivered, held, handed_out] = take(words);
    Ledger {
        rx,
        originated,
        handed_in,
        tx,
        delivered,
        held,
        handed_out,
        dropped: take(words),
    }
}

fn vital_words(vitals: Vitals) -> [u64; VITAL_WORDS] {
    let Vitals {
        sessions,
        over,
        half_open,
        capacity,
        turns,
        busy_us,
        sleeps,
        notices_lost,
        session_log_lost,
    } = vitals;
    [
        sessions,
        over,
        half_open,
        capacity,
        turns,
        busy_us,
        sleeps,
        notices_lost,
        session_log_lost,
    ]
}

fn read_vitals(words: &mut impl Iterator<Item = u64>) -> Vitals {
    let [
        sessions,
        over,
        half_open,
        capacity,
        turns,
        busy_us,
        sleeps,
        notices_lost,
        session_log_lost,
    ] = take(words);
    Vitals {
        sessions,
        over,
        half_open,
        capacity,
        turns,
        busy_us,
        sleeps,
        notices_lost,
        session_log_lost,
    }
}

fn port_words(stats: &PortStats) -> [u64; PORT_WORDS] {
    let PortStats {
        rx_frames,
        rx_bytes,
        tx_frames,
        tx_bytes,
        rx_ring_lost,
        rx_invalid,
        tx_ring_lost,
    } = *stats;
    [
        rx_frames,
        rx_bytes,
        tx_frames,
        tx_bytes,
        rx_ring_lost,
        rx_invalid,
        tx_ring_lost,
    ]
}

fn read_port(words: &mut impl Iterator<Item = u64>) -> PortStats {
    let [
        rx_frames,
        rx_bytes,
        tx_frames,
        tx_bytes,
        rx_ring_lost,
        rx_invalid,
        tx_ring_lost,
    ] = take(words);
    PortStats {
        rx_frames,
        rx_bytes,
        tx_frames,
        tx_bytes,
        rx_ring_lost,
        rx_invalid,
        tx_ring_lost,
    }
}

fn take<const N: usize>(words: &mut impl Iterator<Item = u64>) -> [u64; N] {
    std::array::from_fn(|_| words.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use weir_model::Counter;

    use super::*;

    #[test]
    fn a_picture_is_read_as_it_was_written() {
        let mut ledger = Ledger {
            rx: 9,
            originated: 1,
            tx: 5,
            delivered: 2,
            held: 1,
            handed_out: 1,
            ..Ledger::default()
        };
        ledger.drop(DropReason::Internal);
        let mut counters = Counters::default();
        counters.count(Counter::NeighbourLearned);
        let vitals = Vitals {
            sessions: 3,
            over: 2,
            half_open: 10,
            capacity: 4,
            turns: 5,
            busy_us: 6,
            sleeps: 7,
            notices_lost: 8,
            session_log_lost: 9,
        };
        let wan = PortStats {
            rx_frames: 1,
            tx_ring_lost: 2,
            ..PortStats::default()
        };
        let lan = PortStats {
            tx_bytes: 3,
            ..PortStats::default()
        };
        let published = Published::new(2);
        published.write(&ledger, &counters, vitals, [wan, lan].iter());
        let picture = Picture {
            ledger,
            counters,
            vitals,
            ports: vec![wan, lan],
        };
        assert!(picture.ledger.balanced());
        assert_eq!(published.read(), picture);
    }

    #[test]
    fn traffic_of_workers_with_different_snapshots_adds_up() {
        let one = TrafficCounters {
            opened: 1,
            ..TrafficCounters::default()
        };
        let mut sum = Traffic {
            services: vec![one],
            ..Traffic::default()
        };
        let knocks = KnockCounters {
            asked: 3,
            answered: 2,
        };
        sum.add(&Traffic {
            services: vec![one, one],
            reals: vec![one],
            knocks: vec![knocks],
        });
        assert_eq!(sum.knocks(RealId(0)), knocks);
        assert_eq!(sum.service(ServiceId(0)).opened, 2);
        assert_eq!(sum.service(ServiceId(1)).opened, 1);
        assert_eq!(sum.real(RealId(0)).opened, 1);
        assert_eq!(sum.real(RealId(9)).opened, 0);
    }
}
