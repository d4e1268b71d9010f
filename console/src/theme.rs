//! How things look. State is never colour alone: it has a word as well.

use ratatui::style::{Color, Modifier, Style};

use crate::term::profile::{Colour, Profile};

/// The look of a profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    /// Which colours there are.
    pub(crate) colour: Colour,
    /// Whether there is more than ASCII.
    pub(crate) utf8: bool,
    /// Whether graphs are swept rather than scrolled.
    pub(crate) sweeps: bool,
}

#[expect(
    clippy::unused_self,
    reason = "what looks the same on every terminal is asked for as the rest is"
)]
impl Theme {
    /// Returns the look of a terminal.
    pub(crate) fn of(profile: Profile) -> Self {
        Self {
            colour: profile.colour,
            utf8: profile.utf8,
            sweeps: profile.is_slow,
        }
    }

    /// What is neither more nor less than others.
    pub(crate) const fn plain(self) -> Style {
        Style::new()
    }

    /// What is read first.
    pub(crate) const fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is read last.
    pub(crate) fn dim(self) -> Style {
        match self.colour {
            Colour::Mono | Colour::Ansi8 => Style::new(),
            Colour::Ansi256 => Style::new().fg(Color::Indexed(245)),
        }
    }

    /// The headings of tables.
    pub(crate) fn heading(self) -> Style {
        let style = Style::new().add_modifier(Modifier::UNDERLINED);
        match self.colour {
            Colour::Mono => style,
            Colour::Ansi8 => style.fg(Color::Cyan),
            Colour::Ansi256 => style.fg(Color::Indexed(110)),
        }
    }

    /// Names of values.
    pub(crate) fn label(self) -> Style {
        match self.colour {
            Colour::Mono => Style::new(),
            Colour::Ansi8 => Style::new().fg(Color::Cyan),
            Colour::Ansi256 => Style::new().fg(Color::Indexed(110)),
        }
    }

    /// The line that the keys act on, and the screen that is open.
    pub(crate) const fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// As it should be.
    pub(crate) fn good(self) -> Style {
        match self.colour {
            Colour::Mono => Style::new(),
            Colour::Ansi8 => Style::new().fg(Color::Green),
            Colour::Ansi256 => Style::new().fg(Color::Indexed(114)),
        }
    }

    /// Somebody should look at it.
    pub(crate) fn warn(self) -> Style {
        let style = self.strong();
        match self.colour {
            Colour::Mono => style,
            Colour::Ansi8 => style.fg(Color::Yellow),
            Colour::Ansi256 => style.fg(Color::Indexed(221)),
        }
    }

    /// Somebody must look at it.
    pub(crate) fn bad(self) -> Style {
        let style = self.strong();
        match self.colour {
            Colour::Mono => style,
            Colour::Ansi8 => style.fg(Color::Red),
            Colour::Ansi256 => style.fg(Color::Indexed(203)),
        }
    }

    /// Somebody must look at it, wherever on the screen that person looks.
    pub(crate) fn alarm(self) -> Style {
        self.bad().add_modifier(Modifier::REVERSED)
    }

    /// Keys in hints.
    pub(crate) const fn key(self) -> Style {
        self.strong()
    }

    /// Bars and graphs.
    pub(crate) fn graph(self) -> Style {
        match self.colour {
            Colour::Mono => Style::new(),
            Colour::Ansi8 => Style::new().fg(Color::Green),
            Colour::Ansi256 => Style::new().fg(Color::Indexed(79)),
        }
    }
}
