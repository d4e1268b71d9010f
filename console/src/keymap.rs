//! The keys: one table gives what they do, the hints of the footer and the help.

use crate::model::list::Step;
use crate::model::screen::ScreenId;
use crate::term::input::Key;
use weir_control::Role;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Goes up or down on the open screen, or in what is over it.
    Step(Step),
    /// Means the same on every screen.
    Global(Global),
    /// Means what the open screen makes of it.
    Screen(Verb),
}

/// What means the same on every screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    Go(ScreenId),
    NextScreen,
    PreviousScreen,
    Filter,
    InverseFilter,
    Pause,
    Faster,
    Slower,
    Redraw,
    CommandLine,
    Help,
    Undo,
    Leave,
    Maintenance,
    Alarms,
}

/// What a screen does with what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Open,
    Back,
    Fold,
    Unfold,
    FoldAll,
    Span,
    Figure,
    Sort,
    ReverseSort,
    Drain,
    Enable,
    Weight,
    Synproxy,
    Deny,
    Capture,
    Part,
    Edit,
    Apply,
    Confirm,
    Rollback,
    Discard,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) keys: &'static [Key],
    pub(crate) action: Action,
    /// Where it works; everywhere where it names none.
    pub(crate) screens: &'static [ScreenId],
    pub(crate) role: Role,
    /// Its hint in the footer; empty for none.
    pub(crate) hint: &'static str,
    pub(crate) help: &'static str,
}

const EVERYWHERE: &[ScreenId] = &[];

const fn bind(
    role: Role,
    keys: &'static [Key],
    action: Action,
    screens: &'static [ScreenId],
    (hint, help): (&'static str, &'static str),
) -> Binding {
    Binding {
        keys,
        action,
        screens,
        role,
        hint,
        help,
    }
}

const fn view(
    keys: &'static [Key],
    action: Action,
    screens: &'static [ScreenId],
    hint: &'static str,
    help: &'static str,
) -> Binding {
    bind(Role::Viewer, keys, action, screens, (hint, help))
}

const fn operate(
    keys: &'static [Key],
    action: Action,
    screens: &'static [ScreenId],
    hint: &'static str,
    help: &'static str,
) -> Binding {
    bind(Role::Operator, keys, action, screens, (hint, help))
}

use Global as G;
use Key as K;
use ScreenId as S;
use Verb as V;

const fn go(step: Step) -> Action {
    Action::Step(step)
}

const fn any(what: Global) -> Action {
    Action::Global(what)
}

const fn own(verb: Verb) -> Action {
    Action::Screen(verb)
}

const LISTS: &[S] = &[
    S::Services,
    S::Pools,
    S::Flood,
    S::Sessions,
    S::Ports,
    S::Events,
];

/// Events stay in their order.
const SORTED: &[S] = &[S::Services, S::Pools, S::Flood, S::Sessions, S::Ports];

const GRAPHS: &[S] = &[S::Flood, S::Ports];

/// Every binding, in the order of the footer and of the help: on a narrow terminal the last hints are
/// left out, so that what is done about an attack comes before how lists are arranged.
#[rustfmt::skip]
pub(crate) const BINDINGS: &[Binding] = &[
    view(&[K::Enter], own(V::Open), LISTS, "Enter open", "open what is selected: its details"),
    view(&[K::Char('/')], any(G::Filter), LISTS, "/ filter", "filter: show only lines with a text"),
    view(&[K::Char('!')], any(G::InverseFilter), LISTS, "", "filter: show only lines without a text"),
    operate(&[K::Char('d')], own(V::Drain), &[S::Services], "d drain", "drain a real server: it gets no new sessions"),
    operate(&[K::Char('e')], own(V::Enable), &[S::Services], "e enable", "enable it: it gets new sessions again"),
    operate(&[K::Char('w')], own(V::Weight), &[S::Services], "w weight", "weight of a real server: its share of new sessions"),
    operate(&[K::Char('x')], own(V::Deny), &[S::Flood, S::Sessions], "x deny", "deny a prefix: its packets are dropped, for a time"),
    view(&[K::Char('s')], own(V::Sort), SORTED, "s sort", "sort by the next column"),
    operate(&[K::Char('o')], own(V::Synproxy), &[S::Services, S::Flood], "o synproxy", "synproxy: when a service answers SYNs with cookies"),
    operate(&[K::Char('c')], own(V::Capture), &[S::Services, S::Flood, S::Sessions], "c capture", "capture: copy frames of what is selected into a file"),
    view(&[K::Char('S')], own(V::ReverseSort), SORTED, "", "sort the other way round"),
    view(&[K::Char('t')], own(V::Span), GRAPHS, "t span", "time span of the graph: 10 minutes, 1, 6 or 24 hours"),
    view(&[K::Char('v')], own(V::Figure), GRAPHS, "v graph", "what the graph shows: SYNs, sessions, packets, drops"),
    view(&[K::Char('v')], own(V::Part), &[S::Config], "v view", "view what runs, the candidate, its changes, what ran before"),
    view(&[K::Char('e')], own(V::Edit), &[S::Config], "e edit", "edit a candidate; Esc ends that, and nothing runs yet"),
    operate(&[K::Char('a')], own(V::Apply), &[S::Config], "a apply", "apply the candidate on trial, until somebody confirms it"),
    operate(&[K::Char('c')], own(V::Confirm), &[S::Config], "c confirm", "confirm: the configuration stays that runs on trial"),
    operate(&[K::Char('b')], own(V::Rollback), &[S::Config], "b rollback", "roll back: bring a configuration back that ran before"),
    view(&[K::Char('x')], own(V::Discard), &[S::Config], "", "discard the candidate"),
    operate(&[K::Char('m')], any(G::Maintenance), EVERYWHERE, "", "maintenance: no new sessions here; again to end it"),
    operate(&[K::Char('u')], any(G::Undo), EVERYWHERE, "", "undo what was changed last, as long as that is offered"),
    view(&[K::Char('A')], any(G::Alarms), EVERYWHERE, "", "alarms: what is wrong now, the worst first"),
    view(&[K::Char('p')], any(G::Pause), EVERYWHERE, "p pause", "pause the display, not the appliance; again to go on"),
    view(&[K::Char('?')], any(G::Help), EVERYWHERE, "? help", "this help; type to search it"),
    view(&[K::Char('q'), K::Ctrl('c')], any(G::Leave), EVERYWHERE, "q quit", "quit the console; the appliance runs on"),
    view(&[K::Esc, K::Backspace], own(V::Back), EVERYWHERE, "", "back: always safe"),
    view(&[K::Char('1')], any(G::Go(S::Services)), EVERYWHERE, "", "services and their real servers"),
    view(&[K::Char('2')], any(G::Go(S::Pools)), EVERYWHERE, "", "LIP pools and the ports they have left"),
    view(&[K::Char('3')], any(G::Go(S::Flood)), EVERYWHERE, "", "SYN floods and what becomes of them"),
    view(&[K::Char('4')], any(G::Go(S::Sessions)), EVERYWHERE, "", "sessions"),
    view(&[K::Char('5')], any(G::Go(S::Ports)), EVERYWHERE, "", "ports, workers and the ledger"),
    view(&[K::Char('6')], any(G::Go(S::Events)), EVERYWHERE, "", "what happened"),
    view(&[K::Char('7')], any(G::Go(S::Config)), EVERYWHERE, "", "the configuration"),
    view(&[K::Tab], any(G::NextScreen), EVERYWHERE, "", "the next screen"),
    view(&[K::BackTab], any(G::PreviousScreen), EVERYWHERE, "", "the screen before"),
    view(&[K::Up, K::Char('k')], go(Step::Up), EVERYWHERE, "", "up"),
    view(&[K::Down, K::Char('j')], go(Step::Down), EVERYWHERE, "", "down"),
    view(&[K::PageUp], go(Step::PageUp), EVERYWHERE, "", "a page up"),
    view(&[K::PageDown, K::Char(' ')], go(Step::PageDown), EVERYWHERE, "", "a page down"),
    view(&[K::Home, K::Char('g')], go(Step::Top), EVERYWHERE, "", "the first line"),
    view(&[K::End, K::Char('G')], go(Step::Bottom), EVERYWHERE, "", "the last line"),
    view(&[K::Left, K::Char('h')], own(V::Fold), &[S::Services], "", "hide the real servers of a service"),
    view(&[K::Right, K::Char('l')], own(V::Unfold), &[S::Services], "", "show the real servers of a service"),
    view(&[K::Char('z')], own(V::FoldAll), &[S::Services], "", "hide or show all real servers"),
    view(&[K::Char('+')], any(G::Faster), EVERYWHERE, "", "refresh more often, down to every 0.5 s"),
    view(&[K::Char('-')], any(G::Slower), EVERYWHERE, "", "refresh less often, up to every 10 s"),
    view(&[K::Char('r'), K::Ctrl('l')], any(G::Redraw), EVERYWHERE, "", "draw anew, and ask the terminal how big it is"),
    view(&[K::Char(':')], any(G::CommandLine), EVERYWHERE, "", "command line: as `weir`, Tab completes"),
];

impl Binding {
    /// Says whether it works on a screen.
    pub(crate) fn is_on(&self, screen: ScreenId) -> bool {
        self.screens.is_empty() || self.screens.contains(&screen)
    }
}

/// Returns what a key does on a screen.
pub(crate) fn binding(key: Key, screen: ScreenId) -> Option<&'static Binding> {
    let mut all = BINDINGS.iter();
    all.find(|binding| binding.is_on(screen) && binding.keys.contains(&key))
}

/// Returns how a key is written.
pub(crate) fn name(key: Key) -> String {
    match key {
        Key::Char(' ') => "Space".to_owned(),
        Key::Char(symbol) => symbol.to_string(),
        Key::Ctrl(letter) => format!("Ctrl-{}", letter.to_ascii_uppercase()),
        Key::Enter => "Enter".to_owned(),
        Key::Esc => "Esc".to_owned(),
        Key::Backspace => "Backspace".to_owned(),
        Key::Delete => "Del".to_owned(),
        Key::Tab => "Tab".to_owned(),
        Key::BackTab => "Shift-Tab".to_owned(),
        Key::Up => "Up".to_owned(),
        Key::Down => "Down".to_owned(),
        Key::Left => "Left".to_owned(),
        Key::Right => "Right".to_owned(),
        Key::PageUp => "PgUp".to_owned(),
        Key::PageDown => "PgDn".to_owned(),
        Key::Home => "Home".to_owned(),
        Key::End => "End".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_does_two_things_on_a_screen() {
        for screen in ScreenId::ALL {
            let mut seen = Vec::new();
            for binding in BINDINGS.iter().filter(|binding| binding.is_on(screen)) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key:?} twice on {screen:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn no_key_is_bound_that_a_line_or_a_multiplexer_takes_for_itself() {
        for binding in BINDINGS {
            for key in binding.keys {
                let allowed = match key {
                    Key::Char(symbol) => {
                        symbol.is_ascii_graphic() && *symbol != '~' || *symbol == ' '
                    }
                    // XON, XOFF, screen, tmux, telnet: and suspending, which would leave a raw line.
                    Key::Ctrl(letter) => !"sqabz]".contains(*letter),
                    Key::Enter
                    | Key::Esc
                    | Key::Backspace
                    | Key::Delete
                    | Key::Tab
                    | Key::BackTab
                    | Key::Up
                    | Key::Down
                    | Key::Left
                    | Key::Right
                    | Key::PageUp
                    | Key::PageDown
                    | Key::Home
                    | Key::End => true,
                };
                assert!(allowed, "{key:?}");
            }
        }
    }

    #[test]
    fn every_hint_begins_with_its_key_and_every_binding_has_a_help() {
        for binding in BINDINGS {
            let first = binding.keys.first().copied().map(name).unwrap_or_default();
            let hint = binding.hint;
            assert!(
                hint.is_empty() || hint.starts_with(&format!("{first} ")),
                "{hint}"
            );
            assert!(!binding.help.is_empty(), "{first}");
        }
    }

    #[test]
    fn whoever_searches_the_help_for_the_word_of_a_hint_finds_its_key() {
        for binding in BINDINGS.iter().filter(|binding| !binding.hint.is_empty()) {
            let (_, word) = binding.hint.split_once(' ').unwrap();
            let verb = word.get(..4).unwrap_or(word);
            assert!(binding.help.contains(verb), "{word}: {}", binding.help);
        }
        // The design size has so much room for it.
        for binding in BINDINGS {
            assert!(binding.help.len() <= 60, "{}", binding.help);
        }
    }

    #[test]
    fn what_changes_something_needs_an_operator() {
        for (key, screen) in [('d', S::Services), ('w', S::Services), ('m', S::Pools)] {
            let found = binding(Key::Char(key), screen).unwrap();
            assert_eq!(found.role, Role::Operator);
        }
        assert!(binding(Key::Char('d'), S::Pools).is_none());
    }
}
