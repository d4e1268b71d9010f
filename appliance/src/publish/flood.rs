//! What a worker publishes about the SYNs of its TCP services.

use weir_director::{Director, Top};
use weir_model::{FloodCounters, HeavyHitter, Protocol, ServiceId, Snapshot};

use super::Records;

/// Prefixes, and fingerprints, of each service.
pub(crate) const TOPS: usize = 8;
/// Services that are published together.
const ON_A_PAGE: usize = 16;
/// The words of one service: its counters, whether its own trigger is on, and key and rate of each
/// heavy hitter.
const WORDS: usize = FloodCounters::COUNT + 1 + 2 * TOPS * 2;

/// The SYNs of one service, of one worker or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceFlood {
    pub(crate) counters: FloodCounters,
    /// Whether the worker itself sees a flood, whatever the others told it.
    pub(crate) triggered: bool,
    /// The heaviest prefixes, heaviest first.
    pub(crate) sources: Tops,
    /// The heaviest fingerprints, heaviest first.
    pub(crate) fingerprints: Tops,
}

/// Heavy hitters, a bounded number, heaviest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tops([HeavyHitter; TOPS]);

/// The SYNs of all TCP services, by id; services of other protocols have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flood {
    services: Vec<Option<ServiceFlood>>,
}

/// The board of one worker's floods under one snapshot.
///
/// A service takes about a microsecond to publish, so that thousands of them at once would keep a
/// worker from its rings: they are published by pages, each of which is consistent in itself.
#[derive(Debug)]
pub(crate) struct FloodBoard(Vec<Page>);

/// Some services, published together.
#[derive(Debug)]
struct Page {
    records: Records<WORDS>,
    services: Vec<ServiceId>,
}

impl FloodBoard {
    /// Makes a board with room for every TCP service of the snapshot.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let all = snapshot.services.iter();
        let tcp = all.filter(|service| service.protocol == Protocol::Tcp);
        let services: Vec<ServiceId> = tcp.map(|service| service.id).collect();
        let pages = services.chunks(ON_A_PAGE).map(|services| Page {
            records: Records::new(services.len()),
            services: services.to_vec(),
        });
        Self(pages.collect())
    }

    /// Returns the number of pages.
    pub(crate) fn pages(&self) -> usize {
        self.0.len()
    }

    /// Returns the page of a service.
    pub(crate) fn page_of(&self, service: ServiceId) -> Option<usize> {
        self.0
            .iter()
            .position(|page| page.services.contains(&service))
    }

    /// Publishes what `of` says of each service on a page; only the worker calls this.
    pub(crate) fn write(&self, page: usize, mut of: impl FnMut(ServiceId) -> ServiceFlood) {
        if let Some(page) = self.0.get(page) {
            let services = page.services.iter();
            page.records.write(services.map(|id| of(*id).to_words()));
        }
    }

    /// Reads the latest picture.
    pub(crate) fn read(&self) -> Flood {
        let all = self.0.iter().flat_map(|page| &page.services);
        let bound = all.map(|id| id.index() + 1).max();
        let mut services = vec![None; bound.unwrap_or_default()];
        for page in &self.0 {
            for (id, words) in page.services.iter().zip(page.records.read()) {
                if let Some(place) = services.get_mut(id.index()) {
                    *place = Some(ServiceFlood::from_words(&words));
                }
            }
        }
        Flood { services }
    }
}

impl Flood {
    /// Returns what is known of a service; none where the worker does not know it yet.
    pub(crate) fn service(&self, id: ServiceId) -> Option<&ServiceFlood> {
        self.services.get(id.index())?.as_ref()
    }
}

impl ServiceFlood {
    /// Asks a worker's director.
    pub(crate) fn of(director: &Director, service: ServiceId) -> Self {
        let mut flood = Self {
            counters: director.flood(service),
            triggered: director.flood_triggered(service),
            ..Self::default()
        };
        director.flood_tops(service, &mut |top, hitter| match top {
            Top::Source => flood.sources.insert(hitter),
            Top::Fingerprint => flood.fingerprints.insert(hitter),
        });
        flood
    }

    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.triggered |= other.triggered;
        self.sources.add(&other.sources);
        self.fingerprints.add(&other.fingerprints);
    }

    fn to_words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let tops = self.sources.iter().chain(self.fingerprints.iter());
        let values = self.counters.to_array().into_iter();
        let values = values.chain([u64::from(self.triggered)]);
        let values = values.chain(tops.flat_map(|top| [top.key, top.syn_per_s]));
        for (word, value) in words.iter_mut().zip(values) {
            *word = value;
        }
        words
    }

    fn from_words(words: &[u64; WORDS]) -> Self {
        let mut words = words.iter().copied();
        Self {
            counters: FloodCounters::from_array(super::take(&mut words)),
            triggered: words.next().is_some_and(|word| word != 0),
            sources: Tops::from_words(&mut words),
            fingerprints: Tops::from_words(&mut words),
        }
    }
}

impl Tops {
    /// Takes a heavy hitter in at its place, if there are not as many heavier ones.
    pub(crate) fn insert(&mut self, new: HeavyHitter) {
        let at = self.0.partition_point(|top| top.syn_per_s >= new.syn_per_s);
        if let Some(rest) = self.0.get_mut(at..).filter(|rest| !rest.is_empty()) {
            rest.rotate_right(1);
            if let Some(place) = rest.first_mut() {
                *place = new;
            }
        }
    }

    /// Returns those that there are and the empty places behind them.
    fn iter(&self) -> impl Iterator<Item = HeavyHitter> {
        self.0.into_iter()
    }

    /// Returns those that there are.
    pub(crate) fn heaviest(&self) -> impl Iterator<Item = HeavyHitter> {
        self.iter().filter(|top| top.syn_per_s > 0)
    }

    /// A flow belongs to one worker, so the rates of the same key add up.
    fn add(&mut self, other: &Self) {
        let mut all: Vec<HeavyHitter> = self.heaviest().collect();
        for theirs in other.heaviest() {
            match all.iter_mut().find(|mine| mine.key == theirs.key) {
                Some(mine) => mine.syn_per_s += theirs.syn_per_s,
                None => all.push(theirs),
            }
        }
        *self = Self::default();
        for top in all {
            self.insert(top);
        }
    }

    fn from_words(words: &mut impl Iterator<Item = u64>) -> Self {
        Self(std::array::from_fn(|_| {
            let [key, syn_per_s] = super::take(words);
            HeavyHitter { key, syn_per_s }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::testing::{around, dns, web};

    const CONF: &str = concat!(around!(), dns!(), web!());

    fn tops(all: &[(u64, u64)]) -> Tops {
        let mut tops = Tops::default();
        for &(key, syn_per_s) in all {
            tops.insert(HeavyHitter { key, syn_per_s });
        }
        tops
    }

    fn seen(tops: &Tops) -> Vec<(u64, u64)> {
        let heaviest = tops.heaviest();
        heaviest.map(|top| (top.key, top.syn_per_s)).collect()
    }

    #[test]
    fn floods_are_read_as_they_were_written_for_tcp_services_only() {
        let snapshot = weir_testkit::snapshot("test.conf", CONF).unwrap();
        let id = |name: &str| {
            snapshot
                .services
                .iter()
                .find(|s| s.name == name)
                .unwrap()
                .id
        };
        let flood = ServiceFlood {
            counters: FloodCounters::from_array(std::array::from_fn(|at| at as u64 + 1)),
            triggered: true,
            sources: tops(&[(1, 10), (2, 30)]),
            fingerprints: tops(&[(3, 20)]),
        };
        let board = FloodBoard::new(&snapshot);
        assert_eq!((board.pages(), board.page_of(id("dns"))), (1, None));
        board.write(board.page_of(id("web")).unwrap(), |service| {
            assert_eq!(service, id("web"));
            flood.clone()
        });
        let read = board.read();
        assert_eq!(read.service(id("web")), Some(&flood));
        assert_eq!(read.service(id("dns")), None);
        assert_eq!(read.service(ServiceId(99)), None);
    }

    #[test]
    fn many_services_are_published_page_by_page() {
        let mut services = String::new();
        for n in 1..=40 {
            let _ = write!(
                services,
                "[service s{n}]\nlisten = 10.80.0.100:{n}/tcp\nlip-pool = blue\n\
                 real = 10.80.0.11:80\n"
            );
        }
        let first = CONF.split("[service").next().unwrap();
        let text = format!("{first}{services}");
        let snapshot = weir_testkit::snapshot("test.conf", &text).unwrap();
        let ids: Vec<_> = snapshot.services.iter().map(|s| s.id).collect();
        let board = FloodBoard::new(&snapshot);
        assert_eq!(board.pages(), 3);
        let mut written = Vec::new();
        for page in 0..board.pages() {
            let before = written.len();
            board.write(page, |service| {
                written.push(service);
                assert_eq!(board.page_of(service), Some(page));
                let counters = FloodCounters {
                    syn_in: service.0.into(),
                    ..FloodCounters::default()
                };
                ServiceFlood {
                    counters,
                    ..ServiceFlood::default()
                }
            });
            assert!(written.len() - before <= ON_A_PAGE);
        }
        assert_eq!(written, ids);
        let read = board.read();
        for id in ids {
            let syn_in = read.service(id).unwrap().counters.syn_in;
            assert_eq!(syn_in, u64::from(id.0));
        }
    }

    #[test]
    fn the_heaviest_of_all_workers_come_first_and_equal_keys_add_up() {
        let mut sum = ServiceFlood {
            sources: tops(&[(7, 5), (8, 90), (9, 50)]),
            ..ServiceFlood::default()
        };
        sum.add(&ServiceFlood {
            sources: tops(&[(9, 60), (10, 1)]),
            triggered: true,
            ..ServiceFlood::default()
        });
        assert_eq!(seen(&sum.sources), [(9, 110), (8, 90), (7, 5), (10, 1)]);
        assert!(sum.triggered);
    }

    #[test]
    fn of_more_than_there_is_room_for_the_lightest_are_left_out() {
        let all: Vec<(u64, u64)> = (1..=20).map(|key| (key, key * 10)).collect();
        let heaviest: Vec<_> = all.iter().rev().take(TOPS).copied().collect();
        assert_eq!(seen(&tops(&all)), heaviest);
    }
}
