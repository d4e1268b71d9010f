//! A daemon that is played: it listens on a socket, says what the fixture says, and keeps what it was
//! asked to change.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weir_control::{Asked, Reply, Request, Role};

use super::desk::PATIENCE;
use crate::tests::fixture::{Daemon, State};

/// The daemon; it goes away when dropped, and its connections with it.
pub(super) struct Played {
    path: PathBuf,
    changes: Arc<Mutex<Vec<Request>>>,
    open: Arc<Mutex<Vec<UnixStream>>>,
    is_over: Arc<AtomicBool>,
    door: Option<JoinHandle<()>>,
}

impl Played {
    /// Begins to listen.
    pub(super) fn listen(path: &Path, state: State) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let changes = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let door = {
            let (changes, open, is_over) = (changes.clone(), open.clone(), is_over.clone());
            thread::spawn(move || {
                let began = Instant::now();
                for stream in listener.incoming() {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let stream = stream.unwrap();
                    open.lock().unwrap().push(stream.try_clone().unwrap());
                    let changes = changes.clone();
                    thread::spawn(move || serve(stream, state, began, &changes));
                }
            })
        };
        Self {
            path: path.to_owned(),
            changes,
            open,
            is_over,
            door: Some(door),
        }
    }

    /// Returns what it was asked to change.
    pub(super) fn changes(&self) -> Vec<Request> {
        self.changes.lock().unwrap().clone()
    }

    /// Waits until it was asked to change something.
    pub(super) fn wait_for_change(&self) {
        let end = Instant::now() + PATIENCE;
        while self.changes.lock().unwrap().is_empty() {
            assert!(Instant::now() < end, "nothing was asked for");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Whoever waits at the door is woken by one who knocks.
        drop(UnixStream::connect(&self.path));
        if let Some(door) = self.door.take() {
            drop(door.join());
        }
        drop(std::fs::remove_file(&self.path));
        for stream in self.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// Answers until the other side has gone. A change is kept, and never answered.
fn serve(mut stream: UnixStream, state: State, began: Instant, changes: &Mutex<Vec<Request>>) {
    let requests = BufReader::new(stream.try_clone().unwrap());
    let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
    if !say(&Daemon::greeting(Role::Operator).to_line()) {
        return;
    }
    for line in requests.lines() {
        let Ok(line) = line else {
            return;
        };
        let second = 1 + began.elapsed().as_secs();
        let answer = match Asked::parse(&line).map(|asked| asked.request) {
            Ok(Request::Show { what, filter }) => Daemon {
                state,
                second,
                trial: None,
            }
            .lines(what, &filter)
            .concat(),
            Ok(Request::Hello(_)) => {
                let row = Reply::identity(&Daemon::identity(Role::Operator)).to_line();
                row + &Reply::done(1).to_line()
            }
            Ok(request) => {
                changes.lock().unwrap().push(request);
                continue;
            }
            Err(rejection) => Reply::refused(&rejection).to_line(),
        };
        if !say(&answer) {
            return;
        }
    }
}
