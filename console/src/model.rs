//! Everything that the console knows and remembers. Nothing here asks, waits or draws.

pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod dialog;
pub(crate) mod editline;
pub(crate) mod editor;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod flood;
pub(crate) mod history;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod pools;
pub(crate) mod ports;
pub(crate) mod screen;
pub(crate) mod services;
pub(crate) mod sessions;
pub(crate) mod undo;

use std::time::Duration;

use ratatui::layout::Size;
use weir_control::{Asked, Filter, Request, Role, What};

use crate::grammar::Grammar;
use crate::keymap::{Action, Global};
use crate::model::config::Config;
use crate::model::data::Data;
use crate::model::dialog::Dialog;
use crate::model::editline::EditLine;
use crate::model::events::Events;
use crate::model::flood::Flood;
use crate::model::link::Link;
use crate::model::pools::Pools;
use crate::model::ports::Ports;
use crate::model::screen::ScreenId;
use crate::model::services::Services;
use crate::model::sessions::Sessions;
use crate::theme::Theme;

/// Lines above the open screen: header, tabs, rule.
pub(crate) const HEADER_LINES: u16 = 4;
/// Lines of the screen that are not the open screen's; below it: rule, status, hints.
pub(crate) const FRAME_LINES: u16 = HEADER_LINES + 3;
/// The least that the screens are made for.
pub(crate) const LEAST: (u16, u16) = (80, 24);
/// How long a toast stays.
const TOAST: Duration = Duration::from_secs(8);
/// How often is enough for what hardly changes.
const SELDOM: Duration = Duration::from_secs(2);
/// How long an undo is offered.
const UNDO: Duration = Duration::from_secs(30);
/// How long an operator may do nothing and stay one.
pub(crate) const IDLE_OPERATOR: Duration = Duration::from_mins(10);

/// What time it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Since the console's start.
    pub(crate) up: Duration,
    /// Seconds since 1970.
    pub(crate) unix: u64,
}

/// What the keys go to.
#[derive(Debug)]
pub(crate) enum Mode {
    /// The open screen.
    Screen,
    /// The filter line of the open screen.
    Filter { line: EditLine, inverse: bool },
    /// The command line.
    Command(EditLine),
    /// The candidate of the configuration.
    Editor,
    /// The help; what it is searched for, and how far it is scrolled.
    Help { search: EditLine, top: usize },
    /// A text that was asked for once.
    Page(Page),
    /// A question that must be answered first.
    Dialog(Box<Dialog>),
}

/// A text over the open screen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
    pub(crate) top: usize,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It is said in a sentence.
    Say,
    /// It is shown as `weir` prints it.
    Print,
    /// They are all events that the daemon keeps.
    Events,
    /// It is what becomes of the next packet of the session that is looked at.
    Explain,
    /// They are the sessions that a denial would cut off.
    Denied,
    /// It is what the daemon says of the candidate.
    Check,
    /// It is what became of a configuration.
    Applied,
}

/// How something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
}

/// A sentence above the hints that goes by itself.
#[derive(Clone, Debug)]
pub(crate) struct Toast {
    pub(crate) text: String,
    pub(crate) tone: Tone,
    pub(crate) until: Duration,
}

/// What takes back what was changed last.
#[derive(Clone, Debug)]
pub(crate) struct Undo {
    pub(crate) request: Request,
    pub(crate) until: Duration,
}

/// A change that was sent and not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: u64,
    /// What is done, as a person says it: `drain of 10.0.1.11:443@web`.
    pub(crate) what: String,
    /// What was asked.
    pub(crate) request: Request,
    /// What takes it back, where something does.
    pub(crate) undo: Option<Request>,
    pub(crate) after: After,
}

/// Something that the open screen wants told again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) what: What,
    pub(crate) filter: Filter,
    /// How often.
    pub(crate) every: Duration,
}

impl Want {
    /// Says whether another one wants the same, also where it wants only what came since.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let plain = |filter: &Filter| Filter {
            after: None,
            ..filter.clone()
        };
        self.what == other.what && plain(&self.filter) == plain(&other.filter)
    }
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Have what is shown told now: something may have changed.
    Refresh,
    /// Ask the daemon, once.
    Send { ticket: u64, asked: Asked },
    /// Draw everything anew.
    Redraw,
    /// Ask the terminal how big it is.
    AskSize,
    /// Leave.
    Leave,
}

/// The state of the console.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) clock: Clock,
    pub(crate) size: Size,
    pub(crate) theme: Theme,
    pub(crate) read_only: bool,
    /// What the command line understands.
    pub(crate) grammar: Grammar,
    pub(crate) link: Link,
    pub(crate) data: Data,
    pub(crate) screen: ScreenId,
    pub(crate) mode: Mode,
    pub(crate) services: Services,
    pub(crate) pools: Pools,
    pub(crate) flood: Flood,
    pub(crate) ports: Ports,
    pub(crate) sessions: Sessions,
    pub(crate) events: Events,
    pub(crate) config: Config,
    pub(crate) toast: Option<Toast>,
    pub(crate) undo: Option<Undo>,
    pub(crate) pending: Vec<Pending>,
    /// An answer that waits until nothing is typed and nothing is asked.
    pub(crate) waiting: Option<Page>,
    /// The commands that were typed, the youngest last.
    pub(crate) commands: Vec<String>,
    /// Since when the display stands still.
    pub(crate) paused: Option<Clock>,
    pub(crate) every: Duration,
    /// When a key came last.
    pub(crate) key_at: Duration,
    /// Whether an operator who did nothing for long became a viewer.
    pub(crate) fell_back: bool,
    /// Until when what is typed belongs to a paste, or to a question that was taken back.
    pub(crate) paste_until: Duration,
    next_ticket: u64,
}

impl Model {
    /// Makes the state of a console that has heard nothing yet.
    pub(crate) fn new(theme: Theme, size: Size, read_only: bool) -> Self {
        Self {
            clock: Clock::default(),
            size,
            theme,
            read_only,
            grammar: Grammar::default(),
            link: Link::default(),
            data: Data::default(),
            screen: ScreenId::Services,
            mode: Mode::Screen,
            services: Services::default(),
            pools: Pools::default(),
            flood: Flood::default(),
            ports: Ports::default(),
            sessions: Sessions::default(),
            events: Events::default(),
            config: Config::default(),
            toast: None,
            undo: None,
            pending: Vec::new(),
            waiting: None,
            commands: Vec::new(),
            paused: None,
            every: Duration::from_secs(1),
            key_at: Duration::ZERO,
            fell_back: false,
            paste_until: Duration::ZERO,
            next_ticket: 1,
        }
    }

    /// Returns how many lines the open screen has.
    pub(crate) fn body_height(&self) -> usize {
        usize::from(self.size.height.saturating_sub(FRAME_LINES))
    }

    /// Returns how many lines of a list the open screen has: one is the heading.
    pub(crate) fn list_height(&self) -> usize {
        self.body_height().saturating_sub(1)
    }

    /// Returns how many pools and real servers are seen: one line is the heading, one the refusals.
    pub(crate) fn pools_height(&self) -> usize {
        self.body_height().saturating_sub(2)
    }

    /// Says whether the keys go to the editor.
    pub(crate) fn mode_is_editor(&self) -> bool {
        matches!(self.mode, Mode::Editor)
    }

    /// Returns how many services with SYNs are seen.
    pub(crate) fn flood_height(&self) -> usize {
        let services = self.data.flood.as_ref().map_or(0, |told| told.value.len());
        flood::list_height(self.body_height(), services)
    }

    /// Says whether the terminal is large enough for the screens.
    pub(crate) fn is_shown(&self) -> bool {
        self.size.width >= LEAST.0 && self.size.height >= LEAST.1
    }

    /// Returns what this console may do, or why not more.
    pub(crate) fn role(&self) -> Result<(), &'static str> {
        if self.read_only {
            return Err("this console was started with --read-only");
        }
        if self.fell_back {
            return Err("nobody touched a key for 10 minutes: any key that changes something asks");
        }
        match self.link.role() {
            Some(Role::Operator) => Ok(()),
            Some(Role::Viewer) => Err("needs operator: this socket is for viewers"),
            None => Err("the daemon is not connected"),
        }
    }

    /// Returns what the open screen and the header want told.
    pub(crate) fn wants(&self) -> Vec<Want> {
        let mut wants = vec![Want {
            what: What::Status,
            filter: Filter::default(),
            every: self.every.min(Duration::from_secs(2)),
        }];
        if self.paused.is_none() {
            // What takes a change back is what was set before it.
            wants.push(screen::every(What::Overrides, self.every.max(SELDOM)));
            wants.extend(screen::wants(self));
        }
        wants
    }

    /// Shows a sentence for some seconds.
    pub(crate) fn say(&mut self, tone: Tone, text: impl Into<String>) {
        self.toast = Some(Toast {
            text: text.into(),
            tone,
            until: self.clock.up + TOAST,
        });
    }

    /// Asks a question; what is done is meant for the configuration that runs now.
    pub(crate) fn question(&mut self, mut dialog: Dialog) {
        dialog.seen = self.seen();
        self.mode = Mode::Dialog(Box::new(dialog));
    }

    /// Returns the number of the configuration that runs, as far as somebody can have seen it.
    fn seen(&self) -> Option<u64> {
        let status = self.data.status.as_ref()?;
        Some(status.value.generation).filter(|generation| *generation > 0)
    }

    /// Sends a change that is meant for what runs now, and remembers what takes it back.
    pub(crate) fn order(&mut self, what: impl Into<String>, request: Request) -> Vec<Effect> {
        self.order_for(self.seen(), what, request)
    }

    /// Sends a change that is meant for a configuration: the daemon does nothing where another one
    /// runs.
    pub(crate) fn order_for(
        &mut self,
        seen: Option<u64>,
        what: impl Into<String>,
        request: Request,
    ) -> Vec<Effect> {
        // What was done before is no longer what was done last.
        self.undo = None;
        let undo = undo::of(self, &request);
        let changes_all = matches!(
            request,
            Request::Apply { .. } | Request::Confirm {} | Request::Rollback { .. }
        );
        let after = if changes_all {
            After::Applied
        } else {
            After::Say
        };
        let mut asked = Asked::from(request);
        // An apply brings what it was made from itself, and a capture changes nothing.
        if !matches!(asked.request, Request::Apply { .. } | Request::Capture(_)) {
            asked.expect_generation = seen;
        }
        self.send(what.into(), asked, undo, after)
    }

    /// Takes back what was changed last, as long as that is offered.
    pub(crate) fn take_back(&mut self) -> Vec<Effect> {
        let Some(undo) = self.undo.take() else {
            return Vec::new();
        };
        let since = (self.clock.up + UNDO).saturating_sub(undo.until);
        let mut asked = Asked::from(undo::later(undo.request, since));
        asked.expect_generation = self.seen();
        self.send("undo".to_owned(), asked, None, After::Say)
    }

    /// Asks the daemon once, and shows what it answers.
    pub(crate) fn print(&mut self, what: impl Into<String>, request: Request) -> Vec<Effect> {
        self.ask(what.into(), request, After::Print)
    }

    /// Asks the daemon once.
    pub(crate) fn ask(&mut self, what: String, request: Request, after: After) -> Vec<Effect> {
        self.send(what, Asked::from(request), None, after)
    }

    fn send(
        &mut self,
        what: String,
        asked: Asked,
        undo: Option<Request>,
        after: After,
    ) -> Vec<Effect> {
        let ticket = self.ticket();
        self.pending.push(Pending {
            ticket,
            what,
            request: asked.request.clone(),
            undo,
            after,
        });
        vec![Effect::Send { ticket, asked }]
    }

    /// Returns a number that no request had.
    pub(crate) fn ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    /// Offers to take back what was just done.
    pub(crate) fn offer_undo(&mut self, request: Request) {
        self.undo = Some(Undo {
            request,
            until: self.clock.up + UNDO,
        });
    }

    /// Says whether a key of the footer would do something now; else why not.
    pub(crate) fn permits(&self, role: Role, action: Action) -> Result<(), &'static str> {
        match role {
            Role::Viewer => Ok(()),
            Role::Operator if action == Action::Global(Global::Undo) && self.undo.is_none() => {
                Err("there is nothing to undo")
            }
            Role::Operator => self.role(),
        }
    }
}
