//! The connection to the daemon: a thread that asks again and again for what the open screen shows,
//! and one for each change. What was asked for and not answered is never asked again by itself.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use serde_json::{Value, json};
use weir_control::{
    Asked, Client, ClientError, Code, DEFAULT_SOCKETS, Filter, Greeting, IdentityRow, Request,
    Rows, What,
};

use crate::Options;
use crate::model::Want;
use crate::model::data::Answer;
use crate::model::link::LinkNews;
use crate::update::Message;

/// How long to wait before the connection is tried again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A console keeps the daemon busy for at most this part of the time.
const BUSY_PART: u32 = 40;

/// A daemon that is slow for other reasons is asked again after this long.
const MOST_PAUSE: Duration = Duration::from_secs(10);

/// What is narrowed otherwise is asked for again no sooner.
const QUICK: Duration = Duration::from_millis(200);

/// What is due so soon is asked for with what is due now.
const TOGETHER: Duration = Duration::from_millis(100);

/// What is asked of the threads.
#[derive(Debug)]
pub(crate) struct Link {
    orders: Sender<Order>,
    options: Options,
    began: Instant,
}

/// What the thread that asks again and again is told.
#[derive(Debug)]
enum Order {
    /// Other things are wanted from now on.
    Want(Vec<Want>),
    /// All of it is wanted now.
    Now,
}

impl Link {
    /// Starts to ask. Times are counted from `began`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start<T: Send + 'static>(
        options: &Options,
        began: Instant,
        news: Sender<T>,
        message: fn(Message) -> T,
    ) -> io::Result<Self> {
        let (orders, take) = unbounded();
        let watch = Watch {
            options: options.clone(),
            began,
            wants: Vec::new(),
            due: BTreeMap::new(),
            free: BTreeMap::new(),
            take,
            tell: Box::new(move |said| news.send(message(said)).is_ok()),
        };
        let thread = thread::Builder::new().name("link".to_owned());
        thread.spawn(move || watch.run())?;
        Ok(Self {
            orders,
            options: options.clone(),
            began,
        })
    }

    /// Wants other things told from now on.
    pub(crate) fn want(&self, wants: Vec<Want>) {
        // The thread ends only with us.
        let _ = self.orders.send(Order::Want(wants));
    }

    /// Has all that is wanted told now, as far as the daemon is not kept too busy by it.
    pub(crate) fn refresh(&self) {
        let _ = self.orders.send(Order::Now);
    }

    /// Sends a change over a connection of its own, so that the display goes on while it takes its
    /// time.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn send<T: Send + 'static>(
        &self,
        ticket: u64,
        asked: Asked,
        news: Sender<T>,
        message: fn(Message) -> T,
    ) -> io::Result<()> {
        let options = self.options.clone();
        let thread = thread::Builder::new().name("change".to_owned());
        thread.spawn(move || {
            let rows = if let Request::Capture(order) = &asked.request {
                let taken = options.capture.take(order);
                taken.map(|text| vec![json!({ "text": text })])
            } else {
                let rows = connect(&options)
                    .and_then(|mut connected| collect(connected.client.ask(&asked)?));
                rows.map_err(|error| why(&error))
            };
            let _ = news.send(message(Message::Replied { ticket, rows }));
        })?;
        let _ = self.began;
        Ok(())
    }
}

/// Says why; what matters most comes first, for what is long is cut.
fn why(error: &ClientError) -> String {
    match error {
        ClientError::Unknown(why) => format!("IT MAY BE DONE OR NOT: {why}"),
        // A report of several lines ends with how many mistakes there are, not with a code.
        ClientError::Refused {
            code: Code::Mistakes,
            text,
        } => text.trim_end().to_owned(),
        ClientError::Connect { .. }
        | ClientError::Broken { .. }
        | ClientError::Silent { .. }
        | ClientError::Foreign { .. }
        | ClientError::Schema { .. }
        | ClientError::Refused { .. } => error.to_string(),
    }
}

struct Connected {
    client: Client,
    greeting: Greeting,
    identity: Option<IdentityRow>,
}

fn connect(options: &Options) -> Result<Connected, ClientError> {
    let mut client = match &options.socket {
        Some(path) => Client::connect(path),
        // A console that changes nothing takes no operator's place.
        None if options.read_only => Client::connect_first(DEFAULT_SOCKETS.iter().rev()),
        None => Client::connect_first(DEFAULT_SOCKETS),
    }?;
    let greeting = client.greeting().clone();
    let said = options.introduction.clone().unwrap_or_default();
    let identity = match all_rows(&mut client, &Request::Hello(said)) {
        Ok(rows) => rows
            .into_iter()
            .next()
            .and_then(|row| serde_json::from_value(row).ok()),
        // It does not know who asks, or does not believe it: it goes by our account.
        Err(ClientError::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Connected {
        client,
        greeting,
        identity,
    })
}

fn all_rows(client: &mut Client, request: &Request) -> Result<Vec<Value>, ClientError> {
    collect(client.request(request)?)
}

fn collect(mut rows: Rows<'_>) -> Result<Vec<Value>, ClientError> {
    let mut all = Vec::new();
    while let Some(row) = rows.next_row()? {
        all.push(row);
    }
    Ok(all)
}

/// The thread that asks again and again.
struct Watch {
    options: Options,
    began: Instant,
    wants: Vec<Want>,
    /// When each is to be asked for next, by its place.
    due: BTreeMap<usize, Instant>,
    /// When something may be asked for again, by its name: not at each key that narrows it otherwise.
    free: BTreeMap<&'static str, Instant>,
    take: Receiver<Order>,
    tell: Box<dyn Fn(Message) -> bool + Send>,
}

/// Why the thread stops to do what it does.
enum Stop {
    /// Nobody listens any more.
    Over,
    /// The connection is gone.
    Lost(String),
}

impl Watch {
    fn run(mut self) {
        let mut pause = BACK_OFF.0;
        loop {
            let stop = match connect(&self.options) {
                Ok(Connected {
                    client,
                    greeting,
                    identity,
                }) => {
                    pause = BACK_OFF.0;
                    let news = LinkNews::Up { greeting, identity };
                    if (self.tell)(Message::Link(news)) {
                        self.due.clear();
                        self.ask(client)
                    } else {
                        Stop::Over
                    }
                }
                Err(error) => Stop::Lost(error.to_string()),
            };
            let Stop::Lost(why) = stop else {
                return;
            };
            if !(self.tell)(Message::Link(LinkNews::Down(why))) || !self.wait(pause) {
                return;
            }
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// Waits; says whether anybody still listens.
    fn wait(&mut self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            match self.take.recv_deadline(end) {
                Ok(Order::Want(wants)) => self.wants = wants,
                Ok(Order::Now) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn ask(&mut self, mut client: Client) -> Stop {
        loop {
            while let Ok(order) = self.take.try_recv() {
                self.obey(order);
            }
            let now = Instant::now();
            let next = (0..self.wants.len())
                .map(|place| self.due.get(&place).copied().unwrap_or(now))
                .min();
            match next {
                Some(at) if at <= now => {
                    if let Err(stop) = self.ask_round(now, &mut client) {
                        return stop;
                    }
                }
                Some(at) => match self.take.recv_deadline(at) {
                    Ok(order) => self.obey(order),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Stop::Over,
                },
                None => match self.take.recv() {
                    Ok(order) => self.obey(order),
                    Err(_) => return Stop::Over,
                },
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Want(wants) => self.change(wants),
            Order::Now => {
                let now = Instant::now();
                for (place, want) in self.wants.iter().enumerate() {
                    let free = self.free.get(want.what.name()).copied().unwrap_or(now);
                    if let Some(due) = self.due.get_mut(&place) {
                        *due = free.min(*due);
                    }
                }
            }
        }
    }

    /// Asks for all that is due, or nearly so. What has rates is asked for in a row: where a second
    /// ended between two answers, the older one is asked for again, so that what is shown at once is
    /// of one second and adds up. What may be long comes last: it is not what is asked for again.
    fn ask_round(&mut self, now: Instant, client: &mut Client) -> Result<(), Stop> {
        let due = |place: &usize| self.due.get(place).is_none_or(|at| *at <= now + TOGETHER);
        let mut due: Vec<usize> = (0..self.wants.len()).filter(due).collect();
        let is_long = |want: &Want| want.what == What::Services;
        due.sort_by_key(|place| self.wants.get(*place).is_some_and(is_long));
        let mut together = Vec::new();
        let mut others = Vec::new();
        for place in due {
            let has_rates = self
                .wants
                .get(place)
                .is_some_and(|want| has_rates(want.what));
            if has_rates {
                together.extend(self.ask_for(place, now, client)?.map(|told| (place, told)));
            } else {
                others.push(place);
            }
        }
        let newest = together.iter().filter_map(|(_, told)| second(told)).max();
        for (place, told) in &mut together {
            if second(told) < newest
                && let Some(anew) = self.ask_for(*place, now, client)?
            {
                *told = anew;
            }
        }
        let together: Vec<Message> = together.into_iter().map(|(_, told)| told).collect();
        if !together.is_empty() && !(self.tell)(Message::Together(together)) {
            return Err(Stop::Over);
        }
        for place in others {
            if let Some(told) = self.ask_for(place, now, client)?
                && !(self.tell)(told)
            {
                return Err(Stop::Over);
            }
        }
        Ok(())
    }

    /// What was wanted already keeps its turn; what is new is asked for now, or as soon as may be.
    fn change(&mut self, wants: Vec<Want>) {
        let mut due = BTreeMap::new();
        for (place, want) in wants.iter().enumerate() {
            let old = self.wants.iter().position(|old| old.is_same(want));
            let at = match old.and_then(|old| self.due.get(&old)) {
                Some(at) => Some((*at).min(Instant::now() + want.every)),
                None => self.free.get(want.what.name()).copied(),
            };
            if let Some(at) = at {
                due.insert(place, at);
            }
        }
        self.wants = wants;
        self.due = due;
    }

    /// Asks for one of the wants in the round that began then.
    fn ask_for(
        &mut self,
        place: usize,
        round: Instant,
        client: &mut Client,
    ) -> Result<Option<Message>, Stop> {
        let Some(Want {
            what,
            filter,
            every,
        }) = self.wants.get(place).cloned()
        else {
            return Ok(None);
        };
        let asked = Instant::now();
        let rows = ask_once(client, what, &filter);
        let told = Instant::now();
        let pause = pace(told - asked);
        // What is asked for together stays together.
        let due = (round + every).max(asked + pause);
        self.due.insert(place, due);
        self.free.insert(what.name(), asked + pause.max(QUICK));
        let answer = match rows {
            Ok(rows) => Answer::read(what, rows),
            Err(error @ ClientError::Refused { .. }) => Err(error.to_string()),
            Err(error) => return Err(Stop::Lost(error.to_string())),
        };
        Ok(Some(Message::Told {
            what,
            filter,
            answer,
            at: told - self.began,
            took: told - asked,
        }))
    }
}

/// Says whether an answer has rates that add up to those of others.
fn has_rates(what: What) -> bool {
    matches!(
        what,
        What::Status | What::Services | What::Ports | What::Workers | What::Ledger | What::Flood
    )
}

/// Returns the number of the second that an answer is of, where it has one.
fn second(message: &Message) -> Option<u64> {
    if let Message::Told {
        answer: Ok(answer), ..
    } = message
    {
        answer.second()
    } else {
        None
    }
}

/// How often something may be asked for that takes so long: a console, and the daemon for it, are
/// busy for a small part of the time, however many services there are.
pub(crate) fn pace(took: Duration) -> Duration {
    (took * BUSY_PART).min(MOST_PAUSE)
}

fn ask_once(client: &mut Client, what: What, filter: &Filter) -> Result<Vec<Value>, ClientError> {
    let filter = filter.clone();
    all_rows(client, &Request::Show { what, filter })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use weir_control::{Reply, Role};

    use super::*;
    use crate::tests::fixture::{Daemon, State};

    /// A daemon whose second ends after its first answer, and then not any more.
    fn daemon(listener: &UnixListener) {
        let (mut stream, _) = listener.accept().unwrap();
        let requests = BufReader::new(stream.try_clone().unwrap());
        let greeting = Daemon::greeting(Role::Operator).to_line();
        stream.write_all(greeting.as_bytes()).unwrap();
        let mut second = 4;
        for line in requests.lines() {
            let asked = Asked::parse(&line.unwrap()).unwrap();
            let answer = if let Request::Show { what, filter } = asked.request {
                let daemon = Daemon {
                    state: State::Calm,
                    second,
                    trial: None,
                };
                second = 5;
                daemon.lines(what, &filter).concat()
            } else {
                let row = Reply::identity(&Daemon::identity(Role::Operator)).to_line();
                row + &Reply::done(1).to_line()
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    #[test]
    fn what_is_shown_at_once_is_of_one_second_also_where_one_ended_meanwhile() {
        let path = std::env::temp_dir().join(format!("weir-link-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let answering = thread::spawn(move || daemon(&listener));
        let options = Options {
            socket: Some(path.clone()),
            ..Options::default()
        };
        let (news, happened) = unbounded();
        let link = Link::start(&options, Instant::now(), news, |message| message).unwrap();
        let want = |what| Want {
            what,
            filter: Filter::default(),
            every: Duration::from_mins(1),
        };
        link.want(vec![
            want(What::Status),
            want(What::Services),
            want(What::Pools),
            want(What::Ports),
        ]);
        let patience = Duration::from_secs(20);
        let together = loop {
            if let Message::Together(all) = happened.recv_timeout(patience).unwrap() {
                break all;
            }
        };
        let seconds: Vec<_> = together.iter().map(second).collect();
        assert_eq!(seconds, [Some(5), Some(5), Some(5)]);
        // What has no rates of that second comes by itself.
        let next = happened.recv_timeout(patience).unwrap();
        assert!(matches!(
            next,
            Message::Told {
                what: What::Pools,
                ..
            }
        ));
        drop((link, happened));
        std::fs::remove_file(path).unwrap();
        answering.join().unwrap();
    }

    #[test]
    fn a_change_that_may_be_done_or_not_is_said_to_be_before_anything_else() {
        let silent = ClientError::Silent {
            path: "/run/weir/operate.sock".into(),
            patience: Duration::from_mins(1),
        };
        assert!(why(&silent).starts_with("/run/weir"));
        let unknown = why(&ClientError::Unknown(Box::new(silent)));
        assert!(
            unknown.starts_with("IT MAY BE DONE OR NOT: /run"),
            "{unknown}"
        );
    }
}
