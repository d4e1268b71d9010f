//! The server of the page: one thread, a few visitors, each of whom has little time.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, socket, sockopt,
};

use super::{Facts, page};

/// Visitors at the same time; one more takes the place of the one that came first.
const MOST_VISITORS: usize = 16;
/// Visitors that wait until they are let in.
const WAITING: i32 = 128;
/// Bytes of a request's head; a longer one is refused.
const LONGEST_HEAD: usize = 8 * 1024;
const MOST_HEADERS: usize = 64;
/// Pieces that are read of what a visitor sends behind its request.
const MOST_LEFTOVERS: usize = 16;
/// A visitor has so long from its first byte to its last.
const VISIT: Duration = Duration::from_secs(10);
/// A page is shown for so long before another one is made.
const FRESH: Duration = Duration::from_millis(100);

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
/// The visitors have the tokens from here on.
const FIRST_VISITOR: usize = 2;

/// Control's handle of the thread that serves the page.
#[derive(Debug)]
pub(crate) struct Exporter {
    shown: Arc<Mutex<Arc<Facts>>>,
    listeners: Sender<Option<TcpListener>>,
    waker: Arc<Waker>,
    /// The socket that the thread has.
    serving: Option<(SocketAddr, OwnedFd)>,
}

/// Opens a socket where ours has the port already, perhaps at all addresses.
fn bind_beside(address: SocketAddr, ours: &OwnedFd) -> io::Result<TcpListener> {
    setsockopt(ours, sockopt::ReusePort, &true)?;
    let opened = bind(address, true);
    // Nobody else may join.
    let _ = setsockopt(ours, sockopt::ReusePort, &false);
    opened
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &shared)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    nix::sys::socket::listen(&socket, Backlog::new(WAITING)?)?;
    setsockopt(&socket, sockopt::ReusePort, &false)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Exporter {
    /// Starts the thread; it serves nothing before it gets a listener.
    ///
    /// # Errors
    /// When there is no thread or event loop to be had.
    pub(crate) fn start() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        // What is shown to whoever comes before control has told anything.
        let facts = Facts {
            started: started.unwrap_or_default().as_secs_f64(),
            ..Facts::default()
        };
        let shown = Arc::new(Mutex::new(Arc::new(facts)));
        let (listeners, take_listeners) = unbounded();
        let server = Server {
            poll,
            shown: shown.clone(),
            listeners: take_listeners,
            listener: None,
            visitors: VecDeque::new(),
            next_token: FIRST_VISITOR,
            last: None,
        };
        let builder = thread::Builder::new().name("metrics".to_owned());
        builder.spawn(move || server.run())?;
        Ok(Self {
            shown,
            listeners,
            waker,
            serving: None,
        })
    }

    /// Opens a socket for the page, which is still served by the one of before.
    ///
    /// # Errors
    /// When the address is taken by others, or not ours.
    pub(crate) fn open(&self, address: SocketAddr) -> Result<TcpListener> {
        let opened = match &self.serving {
            Some((running, ours)) if running.port() == address.port() => bind_beside(address, ours),
            Some(_) | None => bind(address, false),
        };
        opened.with_context(|| format!("[metrics] listen = {address}"))
    }

    /// Serves the page there from now on, or nowhere.
    pub(crate) fn serve(&mut self, listener: Option<TcpListener>) {
        self.serving = listener.as_ref().and_then(|listener| {
            let ours = listener.as_fd().try_clone_to_owned();
            Some((listener.local_addr().ok()?, ours.ok()?))
        });
        // The thread lives as long as the process.
        let _ = self.listeners.send(listener);
        let _ = self.waker.wake();
    }

    /// Shows what control knows now.
    pub(crate) fn show(&self, facts: Facts) {
        *lock(&self.shown) = Arc::new(facts);
    }
}

fn lock(shown: &Mutex<Arc<Facts>>) -> MutexGuard<'_, Arc<Facts>> {
    // What is behind the lock is replaced as a whole.
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Server {
    poll: Poll,
    shown: Arc<Mutex<Arc<Facts>>>,
    listeners: Receiver<Option<TcpListener>>,
    listener: Option<TcpListener>,
    /// Whoever came first is in front.
    visitors: VecDeque<Visitor>,
    next_token: usize,
    last: Option<(Instant, Arc<str>)>,
}

struct Visitor {
    token: Token,
    stream: TcpStream,
    head: Vec<u8>,
    answer: Vec<u8>,
    written: usize,
    leaves_at: Instant,
}

/// How far a visitor has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Something more has to happen.
    Waits,
    /// Its request is complete, and says this.
    Asks(Wanted),
    /// It has gone, or has to.
    Over,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Page,
    OtherPath,
    OtherMethod,
    Nonsense,
    TooLong,
}

impl Server {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let now = Instant::now();
            let next = self.visitors.front().map(|visitor| visitor.leaves_at);
            let wait = next.map(|at| at.saturating_duration_since(now));
            // Interrupted, or out of memory for a moment: both pass.
            if self.poll.poll(&mut events, wait).is_err() {
                thread::sleep(Duration::from_millis(10));
            }
            for event in &events {
                match event.token() {
                    WAKER => self.take_listener(),
                    LISTENER => self.accept(),
                    token => self.attend(token),
                }
            }
            let now = Instant::now();
            self.visitors.retain(|visitor| visitor.leaves_at > now);
        }
    }

    fn take_listener(&mut self) {
        while let Ok(listener) = self.listeners.try_recv() {
            // Whoever has knocked at the old one gets the page, too.
            self.accept();
            self.listener = listener;
            if let Some(listener) = &mut self.listener {
                let registry = self.poll.registry();
                // An event loop that takes no socket serves nobody; whoever reads the page sees that.
                let _ = registry.register(listener, LISTENER, Interest::READABLE);
            }
        }
    }

    fn accept(&mut self) {
        while let Some(listener) = &self.listener
            && let Ok((mut stream, _)) = listener.accept()
        {
            let token = Token(self.next_token);
            self.next_token += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            if registry.register(&mut stream, token, interest).is_err() {
                continue;
            }
            if self.visitors.len() == MOST_VISITORS {
                self.visitors.pop_front();
            }
            self.visitors.push_back(Visitor {
                token,
                stream,
                head: Vec::new(),
                answer: Vec::new(),
                written: 0,
                leaves_at: Instant::now() + VISIT,
            });
            self.attend(token);
        }
    }

    fn attend(&mut self, token: Token) {
        let Some(place) = self.visitors.iter().position(|v| v.token == token) else {
            return;
        };
        let progress = self.visitors.get_mut(place).map(Visitor::go_on);
        let progress = match progress {
            Some(Progress::Asks(wanted)) => {
                let answer = self.answer(wanted);
                self.visitors.get_mut(place).map(|visitor| {
                    visitor.answer = answer;
                    visitor.go_on()
                })
            }
            other => other,
        };
        if progress == Some(Progress::Over) {
            self.visitors.remove(place);
        }
    }

    fn answer(&mut self, wanted: Wanted) -> Vec<u8> {
        const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        const TEXT: &str = "text/plain; charset=utf-8";
        let (status, kind, body) = match wanted {
            Wanted::Page => match self.page() {
                Some(page) => ("200 OK", OPEN_METRICS, page),
                None => (
                    "500 Internal Server Error",
                    TEXT,
                    "the page cannot be written\n".into(),
                ),
            },
            Wanted::OtherPath => (
                "404 Not Found",
                TEXT,
                "there is only /metrics here\n".into(),
            ),
            Wanted::OtherMethod => (
                "405 Method Not Allowed",
                TEXT,
                "the page can be read with GET and nothing else\n".into(),
            ),
            Wanted::Nonsense => ("400 Bad Request", TEXT, "this is not HTTP/1\n".into()),
            Wanted::TooLong => (
                "431 Request Header Fields Too Large",
                TEXT,
                "the head of the request is longer than 8 KiB\n".into(),
            ),
        };
        let allow = if wanted == Wanted::OtherMethod {
            "Allow: GET\r\n"
        } else {
            ""
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
             Connection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body.as_bytes()].concat()
    }

    fn page(&mut self) -> Option<Arc<str>> {
        let now = Instant::now();
        let fresh = |(at, _): &&(Instant, Arc<str>)| now.saturating_duration_since(*at) < FRESH;
        if let Some((_, page)) = self.last.as_ref().filter(fresh) {
            return Some(page.clone());
        }
        let facts = lock(&self.shown).clone();
        let page: Arc<str> = page(&facts).ok()?.into();
        self.last = Some((now, page.clone()));
        Some(page)
    }
}

impl Visitor {
    fn go_on(&mut self) -> Progress {
        if self.answer.is_empty() {
            return self.read_head();
        }
        while let Some(rest) = self.answer.get(self.written..).filter(|r| !r.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Progress::Over,
                Ok(len) => self.written += len,
                Err(error) => {
                    if let Some(progress) = after(&error) {
                        return progress;
                    }
                }
            }
        }
        // What the visitor still sends would reset the connection under the answer if it were
        // closed now.
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut rest = [0; 4096];
        for _ in 0..MOST_LEFTOVERS {
            match self.stream.read(&mut rest) {
                Ok(0) => return Progress::Over,
                Ok(_) => {}
                Err(error) => {
                    if let Some(progress) = after(&error) {
                        return progress;
                    }
                }
            }
        }
        Progress::Over
    }

    fn read_head(&mut self) -> Progress {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Progress::Over,
                Ok(len) => self.head.extend(piece.get(..len).unwrap_or_default()),
                Err(error) => match after(&error) {
                    Some(progress) => return progress,
                    None => continue,
                },
            }
            if let Some(wanted) = wanted(&self.head) {
                return Progress::Asks(wanted);
            }
        }
    }
}

/// Says where an error leaves a visitor; none where it means nothing.
fn after(error: &io::Error) -> Option<Progress> {
    if error.kind() == io::ErrorKind::Interrupted {
        return None;
    }
    let waits = error.kind() == io::ErrorKind::WouldBlock;
    Some(if waits {
        Progress::Waits
    } else {
        Progress::Over
    })
}

/// Says what a head wants; none while it is not complete.
fn wanted(head: &[u8]) -> Option<Wanted> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() > LONGEST_HEAD => Some(Wanted::TooLong),
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            Some(match (request.method, path) {
                (Some("GET"), "/metrics") => Wanted::Page,
                (_, "/metrics") => Wanted::OtherMethod,
                (_, _) => Wanted::OtherPath,
            })
        }
        Err(httparse::Error::TooManyHeaders) => Some(Wanted::TooLong),
        Err(_) => Some(Wanted::Nonsense),
    }
}
