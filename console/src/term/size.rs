//! How big the terminal is. A serial line does not know: the terminal is asked where its cursor comes
//! to when it is sent far to the right and down.

use std::os::fd::AsFd;
use std::time::Duration;

use ratatui::layout::Size;
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

/// The size that every terminal has.
pub(crate) const USUAL: Size = Size {
    width: 80,
    height: 24,
};

/// Asks for the size; the answer is [`crate::term::input::Input::CursorAt`].
pub(crate) const QUERY: &[u8] = b"\x1b7\x1b[999;999H\x1b[6n\x1b8";

/// How long the first frame waits for the answer.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Returns what the kernel knows, where it knows something.
pub(crate) fn known(terminal: impl AsFd) -> Option<Size> {
    let size = tcgetwinsize(terminal).ok()?;
    sane(size.ws_col, size.ws_row)
}

/// Tells the kernel, for whatever runs there after us.
pub(crate) fn keep(terminal: impl AsFd, size: Size) {
    let size = Winsize {
        ws_row: size.height,
        ws_col: size.width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // It is a kindness: the size holds for us anyway.
    let _ = tcsetwinsize(terminal, size);
}

/// Returns the size where it can be one.
pub(crate) fn sane(width: u16, height: u16) -> Option<Size> {
    let possible = (2..=1000).contains(&width) && (2..=1000).contains(&height);
    possible.then_some(Size { width, height })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nought_by_nought_and_what_no_terminal_has_are_no_sizes() {
        assert_eq!(sane(0, 0), None);
        assert_eq!(sane(80, 0), None);
        assert_eq!(sane(65_535, 65_535), None);
        assert_eq!(sane(80, 24), Some(USUAL));
    }
}
