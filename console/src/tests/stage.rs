//! A console without a terminal and without a daemon: keys and answers go in, screens and bytes come
//! out.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Modifier};
use weir_control::{Request, Role};

use crate::model::link::LinkNews;
use crate::model::screen::ScreenId;
use crate::model::{Clock, Effect, Model};
use crate::term::backend::Screen;
use crate::term::input::{Input, Key, Parser};
use crate::term::profile::{Colour, Profile};
use crate::tests::fixture::{BEGIN, Daemon, State};
use crate::theme::Theme;
use crate::update::{Message, update};
use crate::view;

/// A VT220 on a serial line.
pub(crate) const MONO: Profile = Profile {
    colour: Colour::Mono,
    utf8: false,
    hides_cursor: true,
    marks_pastes: false,
    is_slow: true,
};

/// A console of Linux.
pub(crate) const ANSI8: Profile = Profile {
    colour: Colour::Ansi8,
    utf8: false,
    hides_cursor: true,
    marks_pastes: false,
    is_slow: false,
};

/// A window on somebody's desk.
pub(crate) const WIDE: Profile = Profile {
    colour: Colour::Ansi256,
    utf8: true,
    hides_cursor: true,
    marks_pastes: true,
    is_slow: false,
};

pub(crate) struct Stage {
    pub(crate) model: Model,
    pub(crate) daemon: Daemon,
    pub(crate) clock: Clock,
    terminal: Terminal<Screen>,
}

impl Stage {
    /// Makes a console that was told everything twice by a daemon in a state.
    pub(crate) fn new(profile: Profile, (width, height): (u16, u16), state: State) -> Self {
        Self::with_role(profile, (width, height), state, Role::Operator)
    }

    pub(crate) fn with_role(
        profile: Profile,
        (width, height): (u16, u16),
        of: State,
        role: Role,
    ) -> Self {
        let size = Size { width, height };
        let mut stage = Self {
            model: Model::new(Theme::of(profile), size, false),
            daemon: Daemon {
                state: of,
                second: 1,
                trial: None,
            },
            clock: Clock {
                up: Duration::from_secs(1),
                unix: BEGIN + 1,
            },
            terminal: Terminal::new(Screen::new(profile, size)).unwrap(),
        };
        stage.message(Message::Link(LinkNews::Up {
            greeting: Daemon::greeting(role),
            identity: Some(Daemon::identity(role)),
        }));
        stage.terminal.clear().unwrap();
        stage.tell();
        stage.pass(1);
        stage
    }

    /// Opens a screen as an operator does, and has it told twice.
    pub(crate) fn open(&mut self, screen: ScreenId) {
        let at = ScreenId::ALL.iter().position(|it| *it == screen).unwrap();
        self.key(Key::Char(char::from(b'1' + at as u8)));
        self.tell();
        self.pass(1);
    }

    /// Where the daemon is to go away, it goes, and four seconds pass.
    pub(crate) fn lose(&mut self) {
        if self.daemon.state == State::Lost {
            self.fall_silent(4);
        }
    }

    /// The daemon goes away, and so many seconds pass.
    pub(crate) fn fall_silent(&mut self, seconds: u64) {
        self.message(Message::Link(LinkNews::Down(
            "cannot connect to /run/weir/operate.sock: nobody listens there".to_owned(),
        )));
        self.clock.up += Duration::from_secs(seconds);
        self.clock.unix += seconds;
        self.message(Message::Tick);
    }

    /// Makes the terminal another size.
    pub(crate) fn resize(&mut self, (width, height): (u16, u16)) {
        self.message(Message::Size(Size { width, height }));
    }

    /// Lets seconds pass, and the daemon tell what is wanted.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.daemon.second += seconds;
        self.clock.up += Duration::from_secs(seconds);
        self.clock.unix += seconds;
        self.tell();
    }

    /// Has the daemon tell what is wanted.
    pub(crate) fn tell(&mut self) {
        let at = self.clock.up;
        for want in self.model.wants() {
            let told = self.daemon.told(want.what, want.filter, at);
            self.message(told);
        }
    }

    pub(crate) fn message(&mut self, message: Message) -> Vec<Effect> {
        update(&mut self.model, message, self.clock)
    }

    pub(crate) fn key(&mut self, key: Key) -> Vec<Effect> {
        self.message(Message::Key(key))
    }

    /// Types what a person would.
    pub(crate) fn keys(&mut self, text: &str) -> Vec<Effect> {
        let inputs = Parser::default().push(text.as_bytes());
        let mut effects = Vec::new();
        for input in inputs {
            effects.extend(match input {
                Input::Key(key) => self.key(key),
                Input::Paste(text, length) => self.message(Message::Paste(text, length)),
                Input::CursorAt(..) => Vec::new(),
            });
        }
        effects
    }

    /// Does something, and has the daemon answer what was asked by it.
    pub(crate) fn reply(&mut self, does: impl FnOnce(&mut Self) -> Vec<Effect>) -> Vec<Request> {
        let mut asked = Vec::new();
        let mut effects = does(self);
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                if let Effect::Send {
                    ticket,
                    asked: sent,
                } = effect
                {
                    let request = sent.request;
                    let rows = self.daemon.reply(&request);
                    asked.push(request);
                    next.extend(self.message(Message::Replied { ticket, rows }));
                }
            }
            effects = next;
        }
        asked
    }

    /// Lets a second pass in which nothing is typed; returns what was asked meanwhile.
    pub(crate) fn settle(&mut self) -> Vec<Request> {
        self.clock.up += Duration::from_secs(1);
        self.clock.unix += 1;
        self.reply(|stage| stage.message(Message::Tick))
    }

    /// Draws a frame; returns its bytes.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let model = &self.model;
        self.terminal
            .draw(|frame| {
                if let Some(position) = view::draw(model, frame.buffer_mut()) {
                    frame.set_cursor_position(position);
                }
            })
            .unwrap();
        self.terminal.backend_mut().take()
    }

    /// Draws into a buffer.
    pub(crate) fn buffer(&self) -> Buffer {
        let Size { width, height } = self.model.size;
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        view::draw(&self.model, &mut buffer);
        buffer
    }

    /// Returns the text of the screen, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let buffer = self.buffer();
        let area = *buffer.area();
        (0..area.height)
            .map(|y| {
                let cells = (0..area.width).filter_map(|x| buffer.cell((x, y)));
                let line: String = cells.map(Cell::symbol).collect();
                line.trim_end().to_owned()
            })
            .collect()
    }

    /// Returns the text of the screen, and, where there are looks, a second one of a letter each.
    pub(crate) fn picture(&self, with_looks: bool) -> String {
        let mut text = self.lines().join("\n");
        if with_looks {
            text.push_str(
                "\n\nr red, g green, y yellow, c cyan, b bold, u underlined, # reversed\n",
            );
            text.push_str(&self.looks().join("\n"));
        }
        text
    }

    fn looks(&self) -> Vec<String> {
        let buffer = self.buffer();
        let area = *buffer.area();
        (0..area.height)
            .map(|y| {
                let cells = (0..area.width).filter_map(|x| buffer.cell((x, y)));
                let line: String = cells
                    .map(|cell| {
                        let has = |modifier| cell.modifier.contains(modifier);
                        let colours = [
                            (Color::Red, 'r'),
                            (Color::Green, 'g'),
                            (Color::Yellow, 'y'),
                            (Color::Cyan, 'c'),
                        ];
                        let coloured = colours.iter().find(|(colour, _)| *colour == cell.fg);
                        let letter = match coloured {
                            Some((_, letter)) => *letter,
                            None if has(Modifier::BOLD) => 'b',
                            None if has(Modifier::UNDERLINED) => 'u',
                            None => ' ',
                        };
                        match (has(Modifier::REVERSED), letter) {
                            (true, ' ') => '#',
                            (true, letter) => letter.to_ascii_uppercase(),
                            (false, letter) => letter,
                        }
                    })
                    .collect();
                line.trim_end().to_owned()
            })
            .collect()
    }
}
