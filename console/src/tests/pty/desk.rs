//! A terminal with a shell that runs the console, and what is seen of it.

use std::fs;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::layout::Size;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};

/// What the shell does. The test program's own threads must not take the console's signals.
const SHELL: &str = "printf 'a shell\\n'
env --block-signal=HUP,INT,QUIT,TERM,WINCH \"$@\"
printf 'left with %s.\\n' $?
read end";

/// How long anything may take on a machine that has much else to do.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// What the terminal got.
pub(super) struct Seen {
    /// What it shows of that.
    pub(super) terminal: vt100::Parser,
    /// All of it.
    pub(super) bytes: Vec<u8>,
}

/// A terminal and the shell there; the shell ends when this is dropped.
pub(super) struct Desk {
    master: Option<Arc<OwnedFd>>,
    slave: OwnedFd,
    before: Termios,
    shell: Child,
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    dir: PathBuf,
}

impl Desk {
    /// Starts the console on a terminal. Its socket is [`socket`] of the folder.
    pub(super) fn start(dir: &Path, term: &str, (width, height): (u16, u16)) -> Self {
        Self::with(dir, &[("TERM", term)], (width, height))
    }

    /// As [`Desk::start`], with these variables in the environment.
    pub(super) fn with(
        dir: &Path,
        variables: &[(&str, &str)],
        (width, height): (u16, u16),
    ) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&slave, winsize(width, height)).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut shell = Command::new("setsid");
        shell
            .args(["--ctty", "sh", "-c", SHELL, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", super::CONSOLE, "--ignored", "--nocapture"]);
        for name in ["NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE", "RUST_BACKTRACE"] {
            shell.env_remove(name);
        }
        shell
            .env(super::FOLDER, dir)
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let shell = shell.spawn().unwrap();
        let shown = if width == 0 {
            (80, 24)
        } else {
            (width, height)
        };
        let (columns, rows) = nonzero(shown.0, shown.1);
        let seen = Arc::new(Mutex::new(Seen {
            terminal: vt100::Parser::new(rows, columns, 0),
            bytes: Vec::new(),
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let master = Arc::new(master);
        let reader = {
            let (master, seen, is_over) = (master.clone(), seen.clone(), is_over.clone());
            thread::spawn(move || read(&master, &seen, &is_over))
        };
        Self {
            master: Some(master),
            slave,
            before,
            shell,
            seen,
            is_over,
            reader: Some(reader),
            dir: dir.to_owned(),
        }
    }

    /// Types.
    pub(super) fn keys(&self, text: &str) {
        self.send(text.as_bytes());
    }

    /// Sends what a terminal sends.
    pub(super) fn send(&self, bytes: &[u8]) {
        let master = self.master.as_ref().unwrap();
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = rustix::io::write(master, rest).unwrap();
            rest = &rest[length..];
        }
    }

    /// Makes what is shown bigger or smaller, and tells the kernel nothing: a serial line.
    pub(super) fn resize_shown(&self, width: u16, height: u16) {
        let mut seen = self.seen.lock().unwrap();
        let (width, height) = nonzero(width, height);
        seen.terminal.screen_mut().set_size(height, width);
    }

    /// Makes the terminal bigger or smaller.
    pub(super) fn resize(&self, width: u16, height: u16) {
        if width > 10 && height > 1 {
            self.resize_shown(width, height);
        }
        tcsetwinsize(self.master.as_ref().unwrap(), winsize(width, height)).unwrap();
    }

    /// Returns the size that the kernel knows.
    pub(super) fn size(&self) -> Size {
        let size = tcgetwinsize(&self.slave).unwrap();
        Size {
            width: size.ws_col,
            height: size.ws_row,
        }
    }

    /// Looks at what was seen so far.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.seen.lock().unwrap())
    }

    /// Returns the text that the terminal shows.
    pub(super) fn text(&self) -> String {
        self.look(|seen| seen.terminal.screen().contents())
    }

    /// Waits until the terminal shows something.
    pub(super) fn wait(&self, text: &str) {
        self.wait_until(text, |seen| {
            seen.terminal.screen().contents().contains(text)
        });
    }

    /// Waits until what was seen is as it should be; `what` says how.
    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !self.look(&is_so) {
            assert!(
                Instant::now() < end,
                "not seen: {what}; but:\n{}",
                self.text()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the console shows what the daemon says.
    pub(super) fn wait_for_console(&self) {
        self.wait("web-tls");
        self.wait("ledger ok");
    }

    /// Sends the console a signal.
    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Returns the process id of the console.
    pub(super) fn pid(&self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(self.dir.join("pid")).unwrap_or_default();
            if let Ok(pid) = text.trim().parse() {
                return pid;
            }
            assert!(Instant::now() < end, "it did not start: {}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the console has gone, and returns its exit status.
    pub(super) fn left(&self) -> u8 {
        self.wait_until("the shell is back", |seen| status(&seen.bytes).is_some());
        self.look(|seen| status(&seen.bytes)).unwrap()
    }

    /// Fails unless the terminal is as it was before there was a console.
    pub(super) fn assert_restored(&self) {
        let now = tcgetattr(&self.slave).unwrap();
        assert_eq!(format!("{now:?}"), format!("{:?}", self.before));
        self.look(|seen| {
            let screen = seen.terminal.screen();
            assert!(!screen.alternate_screen(), "the second screen is left open");
            assert!(!screen.hide_cursor(), "the cursor is left hidden");
            assert!(!screen.bracketed_paste(), "pastes are still marked");
            let last = |mode: &[u8]| seen.bytes.windows(mode.len()).rposition(|it| it == mode);
            let (wraps, not) = (last(b"\x1b[?7h"), last(b"\x1b[?7l"));
            assert!(wraps >= not, "lines do not wrap any more");
        });
    }

    /// Hangs up: the terminal is gone.
    pub(super) fn hang_up(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.master = None;
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // The console goes with its shell: that is the terminal's end.
        if let Ok(text) = fs::read_to_string(self.dir.join("pid"))
            && let Ok(pid) = text.trim().parse()
            && fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains(super::CONSOLE))
        {
            // It may have ended by itself just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.shell.kill());
        drop(self.shell.wait());
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

/// Waits until the console's process is gone.
pub(super) fn wait_for_end(pid: i32) {
    let end = Instant::now() + PATIENCE;
    // One whose parent is gone and that nobody buries yet has ended, too.
    let runs = || {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = text
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim().chars().next());
        state.is_some_and(|state| state != 'Z')
    };
    while runs() {
        assert!(Instant::now() < end, "the console still runs");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the socket that the console of a folder connects to.
pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("operate.sock")
}

fn nonzero(width: u16, height: u16) -> (NonZeroU16, NonZeroU16) {
    let at_least_one = |length| NonZeroU16::new(length).unwrap_or(NonZeroU16::MIN);
    (at_least_one(width), at_least_one(height))
}

fn winsize(width: u16, height: u16) -> Winsize {
    Winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn read(master: &OwnedFd, seen: &Mutex<Seen>, is_over: &AtomicBool) {
    let patience = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let mut piece = vec![0; 64 * 1024];
    while !is_over.load(Ordering::SeqCst) {
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        if !poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0) {
            continue;
        }
        let Ok(length) = rustix::io::read(master, &mut piece) else {
            return;
        };
        let mut seen = seen.lock().unwrap();
        seen.terminal.process(&piece[..length]);
        seen.bytes.extend_from_slice(&piece[..length]);
    }
}

/// Reads what the shell said last: with which status it was left.
fn status(bytes: &[u8]) -> Option<u8> {
    let text = String::from_utf8_lossy(bytes);
    let (_, rest) = text.rsplit_once("left with ")?;
    rest.split_once('.')?.0.parse().ok()
}
