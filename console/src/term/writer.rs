//! The thread that writes frames: whoever waits for a slow line, or one that was stopped with XOFF,
//! waits here.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::stdio::stdout;
use rustix::termios::tcdrain;

/// Says that a frame is out, to the last byte.
pub(crate) type Written = io::Result<usize>;

/// Whether no more is written: the terminal is given back.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// As much at once as a stopped frame may go on after the terminal was given back.
const PIECE: usize = 256;

/// Has no more written than the piece that is on its way.
pub(crate) fn stop() {
    STOPPED.store(true, Ordering::Relaxed);
}

/// Starts the thread. It takes a frame at a time and says when the line has sent it.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start<T: Send + 'static>(
    done: Sender<T>,
    message: fn(Written) -> T,
) -> io::Result<Sender<Vec<u8>>> {
    let (frames, take): (Sender<Vec<u8>>, Receiver<Vec<u8>>) = bounded(2);
    thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            for frame in take {
                if done.send(message(write(&frame))).is_err() {
                    return;
                }
            }
        })?;
    Ok(frames)
}

fn write(frame: &[u8]) -> Written {
    let mut rest = frame;
    while !rest.is_empty() && !STOPPED.load(Ordering::Relaxed) {
        let piece = rest.get(..PIECE).unwrap_or(rest);
        match rustix::io::write(stdout(), piece) {
            Ok(length) => rest = rest.get(length..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The kernel's queue may be seconds long: what is not on the line is not shown yet.
    match tcdrain(stdout()) {
        Ok(()) | Err(rustix::io::Errno::INTR | rustix::io::Errno::NOTTY) => Ok(frame.len()),
        Err(error) => Err(error.into()),
    }
}
