//! `persist`: clients keep their real server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use weir_model::RealState;

use super::field::{Conn, Field, web};

const WORKERS: u8 = 3;
const DOWN: RealState = RealState {
    weight: None,
    up: false,
    draining: false,
};

const DRAINING: RealState = RealState {
    weight: None,
    up: true,
    draining: true,
};

fn text(persist: &str, reals: &[&str]) -> String {
    let lines = format!("[service web]\nscheduler = rr\npersist = {persist}\ntimeout-close = 1s\n");
    web(&lines, reals)
}

/// Sessions are remembered for `timeout-close` after their end, and timers are granular.
const LATE_MS: u64 = 1500;

/// What the model remembers of a client: its real server, its open sessions, and when the last one
/// began or ended.
#[derive(Clone, Copy)]
struct Kept {
    real: usize,
    open: u32,
    seen_ms: u64,
}

/// Says where clients of a prefix have to go.
struct Model {
    mask: u32,
    timeout_ms: u64,
    kept: BTreeMap<u32, Kept>,
}

impl Model {
    fn of(&self, client: Ipv4Addr) -> u32 {
        u32::from(client) & self.mask
    }

    /// Returns the real server that a client has, and whether that is certain.
    fn had(&self, client: Ipv4Addr, now_ms: u64) -> Option<(usize, bool)> {
        let kept = self.kept.get(&self.of(client))?;
        let since_ms = now_ms - kept.seen_ms;
        let certain = kept.open > 0 || since_ms < self.timeout_ms;
        (certain || since_ms < self.timeout_ms + LATE_MS).then_some((kept.real, certain))
    }

    fn opened(&mut self, conn: &Conn, kept: bool, now_ms: u64) {
        let prefix = self.of(conn.client.0);
        let open = self
            .kept
            .get(&prefix)
            .filter(|_| kept)
            .map_or(0, |it| it.open);
        let kept = Kept {
            real: conn.real,
            open: open + 1,
            seen_ms: now_ms,
        };
        self.kept.insert(prefix, kept);
    }

    fn ended(&mut self, conn: &Conn, now_ms: u64) {
        let prefix = self.of(conn.client.0);
        let kept = self.kept.get_mut(&prefix);
        if let Some(kept) = kept.filter(|it| it.real == conn.real) {
            kept.open = kept.open.saturating_sub(1);
            kept.seen_ms = now_ms;
        }
    }
}

/// Lets clients come and go while real servers do, and holds every pick against the model.
fn judge(persist: &str, timeout_ms: u64, prefix: u32) {
    let mut field = Field::new(WORKERS, &text(persist, &["", "", "weight=0", ""]));
    let mut model = Model {
        mask: u32::MAX << (32 - prefix),
        timeout_ms,
        kept: BTreeMap::new(),
    };
    let mut states = [RealState::default(); 4];
    let mut open: Vec<Conn> = Vec::new();
    let (mut stayed, mut moved, mut forgotten) = (0, 0, 0);
    for _ in 0..2000 {
        let now_ms = field.world.time().as_millis();
        match field.random.below(24) {
            0 | 1 => {
                let time = Duration::from_millis(500 + field.random.below(2000));
                field.wait(time);
            }
            2 => {
                for conn in open.drain(..) {
                    field.end(&conn);
                    model.ended(&conn, now_ms);
                }
                // No session of a client that comes back is one that is still remembered.
                let time = LATE_MS + field.random.below(2 * timeout_ms);
                field.wait(Duration::from_millis(time));
            }
            3 => {
                let at = field.random.below(2) as usize;
                let choice = [DOWN, DRAINING, RealState::default()];
                states[at] = choice[field.random.below(3) as usize];
                field.set(at, states[at]);
            }
            _ => {
                let net = 0x2d00_0000 + (field.random.below(20) << 8) as u32;
                let client = field.random.below(3) as u32;
                let client = field.of(Ipv4Addr::from(net + client));
                let had = model.had(client.0, now_ms);
                field.moved();
                let conn = field.opened(client);
                let used = field.moved().get("persist-used") == 1;
                let takes = |at: usize| at != 2 && states[at].effective_weight(1) == 1;
                assert!(takes(conn.real), "{} takes none", conn.real);
                match had {
                    Some((real, certain)) if takes(real) => {
                        assert!(used || !certain, "{client:?} had {real}");
                        assert!(!used || conn.real == real);
                        stayed += u32::from(certain);
                    }
                    Some(_) => {
                        assert!(!used);
                        moved += 1;
                    }
                    None => {
                        assert!(!used);
                        forgotten += 1;
                    }
                }
                model.opened(&conn, used, now_ms);
                open.push(conn);
            }
        }
    }
    assert!(
        stayed > 300 && moved > 10 && forgotten > 60,
        "{stayed} stayed, {moved} moved, {forgotten} forgotten"
    );
}

#[test]
fn clients_keep_their_real_server_until_their_time_is_over_or_it_takes_none() {
    judge("4s", 4000, 32);
    judge("20s  per=/24", 20_000, 24);
    judge("6s  per=/20", 6000, 20);
}

#[test]
fn a_prefix_is_one_client_on_every_worker_and_its_neighbour_another() {
    let mut field = Field::new(WORKERS, &text("10s  per=/24", &["", "", ""]));
    let mut of_net = BTreeMap::new();
    let mut workers = BTreeMap::new();
    for round in 0..6u32 {
        for net in 0..30u32 {
            let client = Ipv4Addr::from(0x2d00_0000 + (net << 8) + round * 17);
            let client = field.of(client);
            let conn = field.opened(client);
            assert_eq!(*of_net.entry(net).or_insert(conn.real), conn.real);
            assert_eq!(*workers.entry(net).or_insert(conn.worker), conn.worker);
        }
    }
    // The scheduler spread them: rr begins at another one on each worker.
    for at in 0..3 {
        let count = of_net.values().filter(|it| **it == at).count();
        assert!((5..=15).contains(&count), "{of_net:?}");
    }
}

#[test]
fn a_client_comes_back_to_one_that_was_full_and_not_to_one_that_was_down() {
    let mut field = Field::new(1, &text("60s", &["max-sessions=2", ""]));
    let client = Ipv4Addr::new(45, 0, 0, 1);
    let open = |field: &mut Field| {
        let socket = field.of(client);
        field.opened(socket)
    };
    let first = open(&mut field);
    let other = usize::from(first.real == 0);
    assert_eq!(field.world.tally().get("persist-moved"), 0);
    let second = open(&mut field);
    assert_eq!(second.real, first.real);
    if first.real == 0 {
        // Only this session goes elsewhere.
        assert_eq!(open(&mut field).real, 1);
        assert_eq!(field.world.tally().get("persist-moved"), 1);
        field.end(&first);
        assert_eq!(open(&mut field).real, 0);
    }
    field.set(first.real, DOWN);
    assert_eq!(open(&mut field).real, other);
    field.set(first.real, RealState::default());
    assert_eq!(open(&mut field).real, other);
}

#[test]
fn a_real_server_that_is_removed_leaves_its_clients_to_the_others() {
    let mut field = Field::new(WORKERS, &text("60s", &["", "", ""]));
    let clients: Vec<Ipv4Addr> = (0..40)
        .map(|n| Ipv4Addr::from(0x2d00_0000 + n * 77))
        .collect();
    let open = |field: &mut Field| -> Vec<usize> {
        let one = |client: &Ipv4Addr| {
            let socket = field.of(*client);
            field.opened(socket).real
        };
        clients.iter().map(one).collect()
    };
    let before = open(&mut field);
    field.apply(&text("60s", &["", ""]));
    let after = open(&mut field);
    for (was, is) in before.iter().zip(&after) {
        assert!(if *was == 2 { *is < 2 } else { was == is });
    }
    assert_eq!(open(&mut field), after);
}

#[test]
fn clients_are_forgotten_when_they_are_told_apart_otherwise_or_not_at_all() {
    let kept = text("4s", &["", ""]);
    let lines = "[service web]\nscheduler = rr\ntimeout-close = 1s\n";
    for between in [web(lines, &["", ""]), text("4s  per=/24", &["", ""])] {
        let mut field = Field::new(1, &kept);
        let client = field.stranger();
        let conn = field.opened(client);
        // Its session ends while it does not count.
        field.apply(&between);
        field.end(&conn);
        field.wait(Duration::from_secs(3));
        field.apply(&kept);
        field.wait(Duration::from_secs(10));
        let client = field.of(client.0);
        field.moved();
        field.opened(client);
        assert_eq!(field.moved().get("persist-used"), 0);
    }
}
