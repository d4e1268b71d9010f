//! The worker: one thread, one queue of every port, one director. Its loop is one screen.

use std::sync::Arc;
use std::time::Duration;

use mio::Waker;
use netmap_io::Port;
use weir_director::{Director, Notice, Source};
use weir_model::{Now, Poll, PortId, Time};

use crate::clock::Clock;
use crate::command::{Answer, Command, News, RESET_PLACES, WorkerEnd};
use crate::doorbell::Doorbell;
use crate::failure;
use crate::handoff::HandOff;
use crate::idle::Idle;
use crate::publish::flood::ServiceFlood;
use crate::publish::{Boards, Published, Vitals};
use crate::worker::frames::Frames;

pub(crate) mod frames;
#[cfg(test)]
mod tests;

/// A worker takes so many commands a turn, so that a storm of ARP does not stop the packets.
const COMMANDS_A_TURN: usize = 16;
/// What the director originates in a turn at most; the rest waits for the next.
const ORIGINATED_A_TURN: usize = 256;
/// Notices to control in a turn at most.
const NOTICES_A_TURN: usize = 64;
/// A worker that always has something to do publishes its books this often; otherwise they are
/// published when there is nothing to do.
const BOOKS_EVERY_US: u64 = 1_000;
/// The traffic of all services is published within this time.
const TRAFFIC_EVERY_US: u64 = 10_000;
/// The floods of all services are published within this time, those of one at once when its
/// trigger turns.
const FLOOD_EVERY_US: u64 = 100_000;
/// The kernel is asked for ring losses this often.
const PORT_STATS_EVERY_US: u64 = 100_000;

/// What a worker is made of.
pub(crate) struct WorkerParts {
    pub(crate) clock: Clock,
    pub(crate) director: Director,
    pub(crate) pool: netmap_io::FramePool,
    pub(crate) ports: Vec<(PortId, Box<dyn Port>)>,
    pub(crate) hand_off: HandOff,
    pub(crate) control: WorkerEnd,
    pub(crate) waker: Arc<Waker>,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) published: Arc<Published>,
    pub(crate) boards: Arc<Boards>,
    pub(crate) burst: usize,
    pub(crate) poll: Poll,
    pub(crate) spin: Duration,
}

/// One worker.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says of another thing whether it is due"
)]
pub(crate) struct Worker {
    clock: Clock,
    director: Director,
    frames: Frames,
    control: WorkerEnd,
    waker: Arc<Waker>,
    /// Whether control must be woken at the end of the turn.
    told: bool,
    stopping: bool,
    idle: Idle,
    published: Arc<Published>,
    boards: Arc<Boards>,
    books_at: Time,
    /// Whether something was done since the books were published.
    old_books: bool,
    traffic_at: Time,
    /// Whether something was done since the traffic was published.
    old_traffic: bool,
    flood_at: Time,
    /// The page of the board that is written next.
    flood_page: usize,
    /// Pages that were written before the last packets came or sessions ended.
    flood_old_pages: usize,
    port_stats_at: Time,
    vitals: Vitals,
    last: (Time, bool),
}

impl Worker {
    /// Puts a worker together.
    pub(crate) fn new(parts: WorkerParts) -> Self {
        let fds: Vec<i32> = parts
            .ports
            .iter()
            .filter_map(|(_, port)| port.poll_fd())
            .collect();
        let idle = Idle::new(parts.poll, parts.spin, parts.bell, fds.into_iter());
        let mut worker = Self {
            clock: parts.clock,
            director: parts.director,
            frames: Frames::new(parts.pool, parts.ports, parts.hand_off, parts.burst),
            control: parts.control,
            waker: parts.waker,
            told: false,
            stopping: false,
            idle,
            published: parts.published,
            boards: parts.boards,
            books_at: Time::default(),
            old_books: false,
            traffic_at: Time::default(),
            old_traffic: false,
            flood_at: Time::default(),
            flood_page: 0,
            flood_old_pages: 0,
            port_stats_at: Time::default(),
            vitals: Vitals::default(),
            last: (Time::default(), false),
        };
        worker.publish(Now::default());
        worker
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        while !self.stopping {
            self.turn();
        }
        // Control reads once more what was done until now.
        self.traffic_at = Time::default();
        let now = self.clock.now();
        self.publish(now);
    }

    /// One turn of the loop; says whether there was something to do.
    pub(crate) fn turn(&mut self) -> bool {
        let now = self.clock.now();
        self.account(now.time);
        let mut work = self.take_commands(now);
        for source in 0..self.frames.hand_off_sources() {
            if self.frames.take_handed_in(source) > 0 {
                work += self.walk(now, Source::HandedIn);
            }
        }
        for port in 0..self.frames.port_count() {
            if self.frames.receive(port) > 0 {
                work += self.walk(now, Source::Wire);
            }
        }
        self.director.tick(now);
        work += self
            .frames
            .originate(&mut self.director, now, ORIGINATED_A_TURN);
        self.frames.flush();
        self.log_sessions();
        self.tell_control();
        let worked = work > 0;
        self.last = (now.time, worked);
        if worked {
            self.flood_old_pages = self.boards.flood.pages();
            self.old_books = true;
            self.old_traffic = true;
            self.idle.worked();
            if now.time >= self.books_at {
                self.publish(now);
            }
        } else if self.idle.is_sleepy(now.time) {
            self.publish(now);
            self.sleep(now);
        } else if self.old_books || now.time >= self.traffic_at {
            // Timers change the books of a worker that never sleeps, too.
            self.publish(now);
        }
        worked
    }

    /// Processes the frames that were taken and carries out the verdicts.
    fn walk(&mut self, now: Now, source: Source) -> usize {
        let (director, news) = (&mut self.director, &self.control.news);
        let mut told = false;
        let count = self.frames.walk(director, now, source, &mut |port, frame| {
            told = true;
            let frame = frame.to_vec();
            let _ = news.try_send(News::Crashed { port, frame });
        });
        self.told |= told;
        count
    }

    fn take_commands(&mut self, now: Now) -> usize {
        for taken in 0..COMMANDS_A_TURN {
            // Nobody else sends answers here, so there is room for this one when it is sent.
            if self.control.answers.is_full() {
                return taken;
            }
            let Ok(command) = self.control.commands.try_recv() else {
                return taken;
            };
            if let Some(answer) = self.obey(now, command) {
                self.told = true;
                let _ = self.control.answers.try_send(answer);
            }
        }
        COMMANDS_A_TURN
    }

    fn obey(&mut self, now: Now, command: Command) -> Option<Answer> {
        match command {
            Command::Apply { snapshot, boards } => {
                let retired = self.director.apply(now, snapshot);
                let boards = std::mem::replace(&mut self.boards, boards);
                self.boards.traffic.write(&self.director);
                for page in 0..self.boards.flood.pages() {
                    self.publish_flood(page);
                }
                Some(Answer::Applied { retired, boards })
            }
            Command::Arp { port, arp } => {
                self.director.heard_arp(now, port, &arp);
                None
            }
            Command::Neighbour { port, address, mac } => {
                self.director.learn_neighbour(now, port, address, mac);
                None
            }
            Command::Sessions {
                ticket,
                cursor,
                mut rows,
            } => {
                let places = rows.capacity() as u32;
                let next = self.director.sessions(now, cursor, places, &mut |session| {
                    push_within_capacity(&mut rows, session);
                });
                Some(Answer::Sessions { ticket, rows, next })
            }
            Command::PoolUse { ticket, mut rows } => {
                self.director
                    .pool_use(&mut |pool_use| push_within_capacity(&mut rows, pool_use));
                Some(Answer::PoolUse { ticket, rows })
            }
            Command::Explain {
                ticket,
                query,
                mut decisions,
            } => {
                let mut push = |decision| push_within_capacity(&mut decisions, decision);
                self.director.explain(now, &query, &mut push);
                Some(Answer::Explained { ticket, decisions })
            }
            Command::Neighbours { ticket, mut rows } => {
                let mut push = |neighbour| push_within_capacity(&mut rows, neighbour);
                self.director.neighbours(&mut push);
                Some(Answer::Neighbours { ticket, rows })
            }
            Command::Reach {
                ticket,
                to,
                mut rows,
            } => {
                for destination in &to {
                    let reach = self.director.reach(now, *destination);
                    push_within_capacity(&mut rows, reach);
                }
                Some(Answer::Reached { ticket, to, rows })
            }
            Command::FloodHint { service, active } => {
                self.director.set_flood_hint(service, active);
                None
            }
            Command::Real { real, state } => {
                self.director.set_real_state(real, state);
                None
            }
            Command::Vip { address, withdrawn } => {
                self.director.set_withdrawn(address, withdrawn);
                None
            }
            Command::Offer { service, offer } => {
                self.director.set_offer(service, offer);
                None
            }
            Command::Capture(tap) => Some(Answer::Untapped(self.frames.tap(tap))),
            Command::Reset { real, cursor } => {
                let director = &mut self.director;
                let (count, next) = director.reset_sessions(now, real, cursor, RESET_PLACES);
                Some(Answer::Reset { real, count, next })
            }
            Command::Deny { networks } => {
                let retired = self.director.deny(networks);
                Some(Answer::Denied { retired })
            }
            Command::Admit { sessions } => {
                self.director.admit(sessions);
                None
            }
            Command::Stop => {
                self.stopping = true;
                None
            }
        }
    }

    /// Passes on what the director wants control to know; control is woken once a turn.
    fn tell_control(&mut self) {
        for _ in 0..NOTICES_A_TURN {
            let Some(notice) = self.director.next_notice() else {
                break;
            };
            if let Notice::Flood { service, .. } = notice
                && let Some(page) = self.boards.flood.page_of(service)
            {
                // Before control hears of it: the board is where it looks.
                self.publish_flood(page);
            }
            self.tell(News::Notice(notice));
        }
        self.told |= self.frames.captured();
        while let Some((port, error)) = self.frames.next_failure() {
            self.tell(News::PortFailed { port, error });
        }
        if self.told {
            self.told = false;
            // Control looks into its channels every 100 ms in any case.
            let _ = self.waker.wake();
        }
    }

    /// Puts what became of logged sessions where control takes it, which is no reason to wake it.
    fn log_sessions(&mut self) {
        if !self.director.has_session_log() {
            return;
        }
        let (sessions, mut refused) = (&mut self.control.sessions, 0);
        let lost = self.director.fetch_session_log(&mut |record| {
            refused += u64::from(sessions.push(record).is_err());
        });
        self.vitals.session_log_lost += lost + refused;
    }

    fn tell(&mut self, news: News) {
        self.told = true;
        self.vitals.notices_lost += u64::from(self.control.news.try_send(news).is_err());
    }

    fn account(&mut self, now: Time) {
        let (last, worked) = self.last;
        if worked {
            self.vitals.busy_us += now.as_micros().saturating_sub(last.as_micros());
        }
        self.vitals.turns += 1;
    }

    fn publish(&mut self, now: Now) {
        let micros = now.time.as_micros();
        self.books_at = Time::from_micros(micros + BOOKS_EVERY_US);
        self.old_books = false;
        if now.time >= self.port_stats_at {
            self.port_stats_at = Time::from_micros(micros + PORT_STATS_EVERY_US);
            self.frames.refresh_port_stats();
        }
        let pages = self.boards.flood.pages();
        let sessions = u64::from(self.director.session_count());
        if sessions != self.vitals.sessions {
            // By timers, too, which are no work.
            self.old_traffic = true;
            self.flood_old_pages = pages;
        }
        self.vitals.sessions = sessions;
        self.vitals.over = u64::from(self.director.over_count());
        self.vitals.half_open = u64::from(self.director.half_open_count());
        if now.time >= self.traffic_at {
            self.traffic_at = Time::from_micros(micros + TRAFFIC_EVERY_US);
            self.old_traffic = false;
            self.boards.traffic.write(&self.director);
        }
        if now.time >= self.flood_at && pages > 0 {
            self.flood_at = Time::from_micros(micros + FLOOD_EVERY_US / pages as u64);
            self.flood_page = (self.flood_page + 1) % pages;
            self.flood_old_pages = self.flood_old_pages.saturating_sub(1);
            self.publish_flood(self.flood_page);
        }
        self.vitals.capacity = u64::from(self.director.session_capacity());
        self.vitals.sleeps = self.idle.sleeps();
        let ports = self.frames.port_stats();
        self.published.write(
            self.director.ledger(),
            self.director.counters(),
            self.vitals,
            ports,
        );
    }

    fn publish_flood(&self, page: usize) {
        let (director, board) = (&self.director, &self.boards.flood);
        board.write(page, |service| ServiceFlood::of(director, service));
    }

    fn sleep(&mut self, now: Now) {
        let mut at_most = self.director.idle_for(now);
        let mut wake_at = |due: Time| {
            let due = due.as_micros().saturating_sub(now.time.as_micros());
            at_most = at_most.min(Duration::from_micros(due));
        };
        if self.old_traffic {
            wake_at(self.traffic_at);
        }
        if self.flood_old_pages > 0 {
            wake_at(self.flood_at);
        }
        let (frames, commands) = (&self.frames, &self.control.commands);
        let is_work = || frames.is_handed_in() || !commands.is_empty();
        if let Err(error) = self.idle.sleep(at_most, is_work) {
            failure::die(&format!("a worker cannot wait for its ports: {error}"));
        }
    }
}

fn push_within_capacity<T>(rows: &mut Vec<T>, row: T) {
    if rows.len() < rows.capacity() {
        rows.push(row);
    }
}
