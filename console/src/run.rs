//! The loop: keys, answers and time go in, frames come out.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::sys::signal::{SigSet, Signal};
use ratatui::Terminal;
use ratatui::layout::Size;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};
use rustix::termios::isatty;

use crate::link::Link;
use crate::model::{Clock, Effect, Model, Want, config};
use crate::term::backend::Screen;
use crate::term::guard::{self, Guard};
use crate::term::input::{Input, Parser};
use crate::term::profile::Profile;
use crate::term::size;
use crate::term::writer::{self, Written};
use crate::theme::Theme;
use crate::update::{Message, update};
use crate::{ConsoleError, Options, view};

/// How long a bare escape waits for the rest of an arrow key.
const ESCAPE: Duration = Duration::from_millis(100);
/// What may have happened without having been looked at.
const EVENTS: usize = 1024;

/// Something that happened.
enum Event {
    Input(Input),
    /// Nobody is at the terminal any more.
    InputEnded,
    Signal(Signal),
    Written(Written),
    Message(Message),
}

/// Says why there can be no console here, where there can be none.
#[must_use]
pub fn unfit(options: &Options) -> Option<String> {
    if !isatty(stdin()) || !isatty(stdout()) {
        return Some("the console needs a terminal; this is none".to_owned());
    }
    let profile = Profile::of(options.colour, options.ascii, variable);
    profile.is_none().then(|| {
        let term = variable("TERM").unwrap_or_default();
        format!("the console needs a terminal that can move its cursor; TERM is `{term}`")
    })
}

/// Runs the console until somebody leaves it.
///
/// # Errors
/// When the terminal cannot be used. It is restored in any case.
pub fn run(options: &Options) -> Result<ExitCode, ConsoleError> {
    let Some(profile) = Profile::of(options.colour, options.ascii, variable) else {
        let error = std::io::Error::other("it cannot move its cursor");
        return Err(ConsoleError::Terminal(error));
    };
    let (tell, happened) = bounded(EVENTS);
    let signals = wanted_signals();
    // Before there is another thread, so that none takes them.
    signals
        .thread_block()
        .map_err(|errno| ConsoleError::Terminal(errno.into()))?;
    guard::restore_on_panic();
    let guard = Guard::enter(profile).map_err(ConsoleError::Terminal)?;
    let console = Console::start(options, profile, signals, tell);
    let code = console.and_then(|console| console.serve(&happened));
    writer::stop();
    drop(guard);
    code
}

struct Console {
    model: Model,
    terminal: Terminal<Screen>,
    link: Link,
    wants: Vec<Want>,
    frames: Sender<Vec<u8>>,
    /// Whether a frame is on its way: the next one waits.
    writing: bool,
    began: Instant,
    /// Since when the terminal was asked for its size.
    asked_size: Option<Instant>,
    /// Whether it is to be asked once what is on its way is written.
    asks_size: bool,
    /// Whether nothing is drawn until it answers.
    unsized_yet: bool,
    tell: Sender<Event>,
}

impl Console {
    fn start(
        options: &Options,
        profile: Profile,
        signals: SigSet,
        tell: Sender<Event>,
    ) -> Result<Self, ConsoleError> {
        let began = Instant::now();
        let frames = writer::start(tell.clone(), Event::Written).map_err(ConsoleError::Thread)?;
        watch_input(tell.clone()).map_err(ConsoleError::Thread)?;
        watch_signals(signals, tell.clone()).map_err(ConsoleError::Thread)?;
        let link = Link::start(options, began, tell.clone(), Event::Message);
        let link = link.map_err(ConsoleError::Thread)?;
        let known = size::known(stdout());
        let size = known.unwrap_or(size::USUAL);
        let mut model = Model::new(Theme::of(profile), size, options.read_only);
        model.grammar = options.grammar.clone();
        let terminal = match Terminal::new(Screen::new(profile, size)) {
            Ok(terminal) => terminal,
            Err(never) => match never {},
        };
        let mut console = Self {
            model,
            terminal,
            link,
            wants: Vec::new(),
            frames,
            writing: false,
            began,
            asked_size: None,
            asks_size: false,
            unsized_yet: known.is_none(),
            tell,
        };
        let mut first = guard::begin(profile);
        if console.unsized_yet {
            first.extend_from_slice(size::QUERY);
            console.asked_size = Some(began);
        }
        console.write(first);
        console.redraw();
        Ok(console)
    }

    fn serve(mut self, happened: &Receiver<Event>) -> Result<ExitCode, ConsoleError> {
        loop {
            self.want();
            self.draw();
            let first = match happened.recv_timeout(self.until_next()) {
                Ok(event) => event,
                // What is due by then is done like anything else: the candidate is asked about so.
                Err(RecvTimeoutError::Timeout) => Event::Message(Message::Tick),
                Err(RecvTimeoutError::Disconnected) => return Ok(ExitCode::SUCCESS),
            };
            self.settle_size();
            // Whatever else happened is in the same frame.
            let more = happened.try_iter().take(EVENTS).collect::<Vec<_>>();
            for event in std::iter::once(first).chain(more) {
                if let Some(code) = self.on(event)? {
                    return Ok(code);
                }
            }
        }
    }

    fn on(&mut self, event: Event) -> Result<Option<ExitCode>, ConsoleError> {
        let effects = match event {
            Event::Input(Input::Key(key)) => self.take(Message::Key(key)),
            Event::Input(Input::Paste(text, length)) => self.take(Message::Paste(text, length)),
            Event::Input(Input::CursorAt(width, height)) => {
                // However late it comes; but only where it was asked for.
                if self.asked_size.is_some()
                    && let Some(size) = size::sane(width, height)
                {
                    size::keep(stdout(), size);
                    self.resize(size);
                }
                self.unsized_yet = false;
                Vec::new()
            }
            Event::InputEnded => return Ok(Some(ExitCode::SUCCESS)),
            Event::Signal(Signal::SIGWINCH) => {
                if let Some(size) = size::known(stdout()) {
                    self.unsized_yet = false;
                    self.resize(size);
                }
                Vec::new()
            }
            Event::Signal(signal) => return Ok(Some(ExitCode::from(128 + signal as u8))),
            Event::Written(written) => {
                written.map_err(ConsoleError::Terminal)?;
                self.writing = false;
                if std::mem::take(&mut self.asks_size) {
                    self.ask_size();
                }
                Vec::new()
            }
            Event::Message(message) => self.take(message),
        };
        for effect in effects {
            match effect {
                Effect::Send { ticket, asked } => {
                    let tell = self.tell.clone();
                    let sent = self.link.send(ticket, asked, tell, Event::Message);
                    sent.map_err(ConsoleError::Thread)?;
                }
                Effect::Refresh => self.link.refresh(),
                Effect::Redraw => self.redraw(),
                Effect::AskSize => self.ask_size(),
                Effect::Leave => return Ok(Some(ExitCode::SUCCESS)),
            }
        }
        Ok(None)
    }

    fn take(&mut self, message: Message) -> Vec<Effect> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let clock = Clock {
            up: self.began.elapsed(),
            unix: unix.map_or(0, |since| since.as_secs()),
        };
        update(&mut self.model, message, clock)
    }

    /// Tells the link what is shown now, where that changed.
    fn want(&mut self) {
        let wants = self.model.wants();
        if wants != self.wants {
            self.wants.clone_from(&wants);
            self.link.want(wants);
        }
    }

    fn draw(&mut self) {
        // Never more than a frame behind: on a slow line frames are left out.
        if self.writing || self.unsized_yet {
            return;
        }
        let model = &self.model;
        let drawn = self.terminal.draw(|frame| {
            if let Some(position) = view::draw(model, frame.buffer_mut()) {
                frame.set_cursor_position(position);
            }
        });
        match drawn {
            Ok(_) => {}
            Err(never) => match never {},
        }
        let bytes = self.terminal.backend_mut().take();
        if !bytes.is_empty() {
            self.write(bytes);
        }
    }

    fn write(&mut self, bytes: Vec<u8>) {
        // Written or not, the writer says so.
        self.writing = self.frames.send(bytes).is_ok();
    }

    fn redraw(&mut self) {
        match self.terminal.clear() {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    /// Asks once however often it is wanted: on a line that was stopped, questions that pile up would
    /// keep us from hearing keys and signals.
    fn ask_size(&mut self) {
        if self.writing {
            self.asks_size = true;
            return;
        }
        self.asked_size = Some(Instant::now());
        self.write(size::QUERY.to_vec());
    }

    /// A terminal that does not answer is of the usual size.
    fn settle_size(&mut self) {
        let asked = self.asked_size;
        if self.unsized_yet && asked.is_none_or(|asked| asked.elapsed() >= size::PATIENCE) {
            self.unsized_yet = false;
        }
    }

    fn resize(&mut self, size: Size) {
        if size == self.model.size {
            return;
        }
        self.terminal.backend_mut().resize(size);
        self.take(Message::Size(size));
    }

    /// Until the clock of the header goes on, or the terminal had its time to answer.
    fn until_next(&self) -> Duration {
        if self.unsized_yet {
            return Duration::from_millis(50);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let part = now.map_or(0, |since| since.subsec_millis());
        let tick = Duration::from_millis(u64::from(1000 - part.min(999)));
        // What is typed is checked once nothing more is.
        let due = config::due_in(&self.model, self.began.elapsed());
        due.map_or(tick, |due| tick.min(due.max(Duration::from_millis(20))))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn wanted_signals() -> SigSet {
    let all = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGWINCH,
    ];
    all.into_iter().collect()
}

fn watch_signals(signals: SigSet, tell: Sender<Event>) -> std::io::Result<()> {
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        while let Ok(signal) = signals.wait() {
            if tell.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Reads what is typed.
fn watch_input(tell: Sender<Event>) -> std::io::Result<()> {
    let thread = thread::Builder::new().name("input".to_owned());
    thread.spawn(move || {
        let mut parser = Parser::default();
        let mut piece = vec![0; 4096];
        loop {
            if parser.waits() && !arrives(ESCAPE) {
                if let Some(input) = parser.timeout()
                    && tell.send(Event::Input(input)).is_err()
                {
                    return;
                }
                continue;
            }
            let length = match rustix::io::read(stdin(), &mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => break,
            };
            for input in parser.push(piece.get(..length).unwrap_or_default()) {
                if tell.send(Event::Input(input)).is_err() {
                    return;
                }
            }
        }
        let _ = tell.send(Event::InputEnded);
    })?;
    Ok(())
}

fn arrives(patience: Duration) -> bool {
    let stdin = stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let patience = Timespec::try_from(patience).ok();
    poll(&mut fds, patience.as_ref()).is_ok_and(|ready| ready > 0)
}
