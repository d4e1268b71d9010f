//! The terminal's mode while the console runs, and its return on every way out.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    InputModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr,
};

use crate::term::profile::Profile;
use crate::term::writer;

/// What is to be restored; none once it was, or before there was a guard.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

struct Saved {
    modes: Termios,
    end: Vec<u8>,
}

/// Restores the terminal when it goes.
#[derive(Debug)]
pub(crate) struct Guard(());

impl Guard {
    /// Takes the terminal: raw, except that XON and XOFF go on to work where they did.
    ///
    /// # Errors
    /// When standard input is no terminal that can be set.
    pub(crate) fn enter(profile: Profile) -> io::Result<Self> {
        let modes = tcgetattr(stdin())?;
        let mut raw = modes.clone();
        raw.make_raw();
        let flow = InputModes::IXON | InputModes::IXOFF;
        raw.input_modes |= modes.input_modes & flow;
        *saved() = Some(Saved {
            modes,
            end: end(profile),
        });
        let guard = Self(());
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns what makes a terminal ours.
pub(crate) fn begin(profile: Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    if profile.marks_pastes {
        // It has a second screen: what was on the first comes back.
        bytes.extend_from_slice(b"\x1b[?1049h\x1b[?2004h");
    }
    // The last column does not wrap.
    bytes.extend_from_slice(b"\x1b[?7l");
    bytes
}

fn end(profile: Profile) -> Vec<u8> {
    let mut bytes = b"\x1b[m\x1b[?7h".to_vec();
    if profile.hides_cursor {
        bytes.extend_from_slice(b"\x1b[?25h");
    }
    if profile.marks_pastes {
        bytes.extend_from_slice(b"\x1b[?2004l\x1b[?1049l");
    } else {
        bytes.extend_from_slice(b"\x1b[H\x1b[J");
    }
    bytes
}

/// Gives the terminal back as it was, once; whoever comes second has nothing to do.
pub(crate) fn restore() {
    let Some(Saved { modes, end }) = saved().take() else {
        return;
    };
    // A frame that is under way would come after our last words, or keep them back for ever.
    let _ = tcflush(stdout(), QueueSelector::OFlush);
    if accepts(stdout(), Duration::from_millis(500)) {
        let _ = rustix::io::write(stdout(), &end);
    }
    // Keys that were typed ahead are not for the shell. To flush and set at once would wait for a
    // line that was stopped with XOFF, for ever and with all signals blocked.
    let _ = tcflush(stdin(), QueueSelector::IFlush);
    let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
}

/// Has the terminal restored before a panic says what it has to say.
pub(crate) fn restore_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The rest of a frame would come over the shell.
        writer::stop();
        restore();
        before(panic);
        // Whichever thread it was: what is left of the console would draw on.
        std::process::exit(101);
    }));
}

fn saved() -> std::sync::MutexGuard<'static, Option<Saved>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accepts(terminal: impl AsFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(&terminal, PollFlags::OUT)];
    let patience = Timespec::try_from(patience).ok();
    let ready = poll(&mut fds, patience.as_ref());
    ready.is_ok_and(|ready| ready > 0)
}
