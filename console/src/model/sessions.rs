//! The sessions: some of them, because there may be millions. The daemon narrows them by service and
//! client and leaves out what is over the limit; the rest is done here.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_control::{ExplainRow, Filter, SessionRow, What};

use crate::model::filter::{Cycle, Sorting, TextFilter};
use crate::model::list::{Cursor, Step};
use crate::model::{Model, Want};

/// How many sessions are asked for.
pub(crate) const LIMIT: u64 = 1_000;
/// They are asked for no more often than this: the daemon looks through its tables each time.
const EVERY: Duration = Duration::from_secs(2);

/// What the sessions are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Client,
    Service,
    Real,
    State,
    Idle,
    Age,
}

/// What tells a session from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) client: String,
    pub(crate) listen: String,
    pub(crate) protocol: String,
}

/// A session that is looked at closely.
#[derive(Clone, Debug)]
pub(crate) struct Zoom {
    pub(crate) key: Key,
    pub(crate) service: String,
    /// As it was told last.
    pub(crate) row: SessionRow,
    /// Whether the daemon told other sessions of the client since, but not this one.
    pub(crate) gone: bool,
    /// What would become of its next packet, or why that is not known; none before the answer.
    pub(crate) explained: Option<Result<Vec<ExplainRow>, String>>,
    pub(crate) top: usize,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) rows: Vec<SessionRow>,
    /// How many the daemon told: as many as the limit means that there may be more.
    pub(crate) told: usize,
    /// What they were asked with.
    pub(crate) told_of: Filter,
    /// Places in the rows.
    pub(crate) lines: Vec<usize>,
    pub(crate) cursor: Cursor,
    pub(crate) sorting: Sorting<Sort>,
    pub(crate) filter: TextFilter,
    /// What the daemon is asked with: not each letter of an address that is being typed.
    pub(crate) asks: Filter,
    pub(crate) zoom: Option<Zoom>,
    selected: Option<Key>,
}

impl Cycle for Sort {
    const ALL: &'static [Self] = &[
        Self::Client,
        Self::Service,
        Self::Real,
        Self::State,
        Self::Idle,
        Self::Age,
    ];
}

impl Sort {
    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "by client",
            Self::Service => "by service",
            Self::Real => "by real server",
            Self::State => "by state",
            Self::Idle => "longest idle first",
            Self::Age => "oldest first",
        }
    }
}

impl Key {
    /// Returns that of a session.
    pub(crate) fn of(row: &SessionRow) -> Self {
        Self {
            client: row.client.clone(),
            listen: row.listen.clone(),
            protocol: row.protocol.clone(),
        }
    }

    fn is_of(&self, row: &SessionRow) -> bool {
        self.client == row.client && self.listen == row.listen && self.protocol == row.protocol
    }
}

/// Returns what the screen wants to be told.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    let sessions = &model.sessions;
    let filter = match &sessions.zoom {
        Some(zoom) => zoom.filter(),
        None => Filter {
            limit: Some(LIMIT),
            ..sessions.asks.clone()
        },
    };
    vec![Want {
        what: What::Sessions,
        filter,
        every: model.every.max(EVERY),
    }]
}

impl Zoom {
    /// What the daemon is asked with, so that the limit does not leave this one out.
    fn filter(&self) -> Filter {
        Filter {
            service: Some(self.service.clone()).filter(|name| !name.is_empty()),
            client: address(&self.key.client).map(|client| client.ip()),
            limit: Some(LIMIT),
            ..Filter::default()
        }
    }
}

impl Sessions {
    /// Takes what the daemon said.
    pub(crate) fn arrived(&mut self, filter: &Filter, rows: &[SessionRow], height: usize) {
        if let Some(zoom) = &mut self.zoom
            && *filter == zoom.filter()
        {
            let row = rows.iter().find(|row| zoom.key.is_of(row));
            zoom.gone = row.is_none();
            if let Some(row) = row {
                zoom.row = row.clone();
            }
            return;
        }
        self.rows = rows.to_vec();
        self.told = rows.len();
        self.told_of = filter.clone();
        self.rebuild(height);
    }

    /// Makes the lines anew; the selection stays on its session.
    pub(crate) fn rebuild(&mut self, height: usize) {
        let mut lines: Vec<(Option<SocketAddr>, usize)> = Vec::new();
        for (place, row) in self.rows.iter().enumerate() {
            if self.shows(row) {
                lines.push((address(&row.client), place));
            }
        }
        lines.sort_by(|a, b| {
            let order = match (self.rows.get(a.1), self.rows.get(b.1)) {
                (Some(one), Some(other)) => self.order(one, other),
                (None, _) | (_, None) => Ordering::Equal,
            };
            order.then_with(|| a.0.cmp(&b.0))
        });
        self.sorting.arrange(&mut lines);
        self.lines = lines.into_iter().map(|(_, place)| place).collect();
        let selected = self.selected.as_ref();
        let is_selected = |place: &usize| {
            let row = self.rows.get(*place);
            row.is_some_and(|row| selected.is_some_and(|key| key.is_of(row)))
        };
        let at = self.lines.iter().position(is_selected);
        let index = at.unwrap_or(self.cursor.index);
        self.cursor.select(index, self.lines.len(), height);
    }

    fn shows(&self, row: &SessionRow) -> bool {
        let SessionRow {
            client,
            listen,
            lip,
            real,
            protocol,
            state,
            service,
            ..
        } = row;
        let text = format!("{client} {service} {listen} {lip} {real} {protocol} {state}");
        let words = self.filter.text.split_whitespace();
        let finds = |word: &str| {
            let word = word.split_once('=').map_or(word, |(_, value)| value);
            let filter = TextFilter {
                text: word.to_owned(),
                inverse: false,
            };
            filter.finds(&text)
        };
        let mut words = words.peekable();
        words.peek().is_none() || words.all(finds) != self.filter.inverse
    }

    fn order(&self, a: &SessionRow, b: &SessionRow) -> Ordering {
        match self.sorting.by {
            Sort::Client => Ordering::Equal,
            Sort::Service => a.service.cmp(&b.service),
            Sort::Real => address(&a.real).cmp(&address(&b.real)),
            Sort::State => a.state.cmp(&b.state),
            Sort::Idle => b.idle_s.cmp(&a.idle_s),
            Sort::Age => b.age_s.cmp(&a.age_s),
        }
    }

    /// Goes up or down.
    pub(crate) fn go(&mut self, step: Step, height: usize) {
        self.cursor.go(step, self.lines.len(), height);
        self.selected = self.at_cursor().map(Key::of);
    }

    /// Returns what is selected.
    pub(crate) fn at_cursor(&self) -> Option<&SessionRow> {
        self.rows.get(*self.lines.get(self.cursor.index)?)
    }

    /// Opens the selected session.
    pub(crate) fn open(&mut self) -> Option<&Zoom> {
        let row = self.at_cursor()?.clone();
        self.selected = Some(Key::of(&row));
        self.zoom = Some(Zoom {
            key: Key::of(&row),
            service: row.service.clone(),
            row,
            gone: false,
            explained: None,
            top: 0,
        });
        self.zoom.as_ref()
    }

    /// Has the daemon narrow what it can: an address is a client, a name that it has a service.
    pub(crate) fn settle(&mut self, is_service: impl Fn(&str) -> bool) {
        let mut asks = Filter::default();
        let words = self.filter.text.split_whitespace();
        for word in words.filter(|_| !self.filter.inverse) {
            let (name, value) = word.split_once('=').unwrap_or(("", word));
            match (name, value.parse::<IpAddr>()) {
                ("" | "client", Ok(client)) => asks.client = Some(client),
                ("" | "service", _) if is_service(value) => {
                    asks.service = Some(value.to_owned());
                }
                _ => {}
            }
        }
        self.asks = asks;
    }

    /// Says whether the daemon left some out.
    pub(crate) fn is_cut(&self) -> bool {
        self.told as u64 >= LIMIT
    }
}

/// Reads an address and port.
pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(client: &str, service: &str, idle_s: u64) -> SessionRow {
        SessionRow {
            client: client.to_owned(),
            listen: "203.0.113.10:443".to_owned(),
            protocol: "tcp".to_owned(),
            service: service.to_owned(),
            idle_s,
            ..SessionRow::default()
        }
    }

    fn clients(sessions: &Sessions) -> Vec<&str> {
        let lines = sessions.lines.iter();
        lines
            .filter_map(|place| Some(sessions.rows.get(*place)?.client.as_str()))
            .collect()
    }

    #[test]
    fn sessions_are_sorted_as_addresses_and_the_selection_stays() {
        let mut sessions = Sessions::default();
        let rows = [
            row("10.0.0.10:7", "web", 3),
            row("10.0.0.9:70", "web", 1),
            row("10.0.0.9:8", "dns", 2),
        ];
        sessions.arrived(&Filter::default(), &rows, 9);
        assert_eq!(
            clients(&sessions),
            ["10.0.0.9:8", "10.0.0.9:70", "10.0.0.10:7"]
        );
        sessions.go(Step::Bottom, 9);
        sessions.sorting.by = Sort::Idle;
        sessions.rebuild(9);
        assert_eq!(
            clients(&sessions),
            ["10.0.0.10:7", "10.0.0.9:8", "10.0.0.9:70"]
        );
        assert_eq!(sessions.at_cursor().unwrap().client, "10.0.0.10:7");
    }

    #[test]
    fn the_daemon_narrows_by_what_it_knows_and_the_rest_is_done_here() {
        let mut sessions = Sessions::default();
        let is_service = |name: &str| name == "web";
        sessions.filter.text = "web 192.0.2.1 fin".to_owned();
        sessions.settle(is_service);
        let asks = Filter {
            service: Some("web".to_owned()),
            client: Some([192, 0, 2, 1].into()),
            ..Filter::default()
        };
        assert_eq!(sessions.asks, asks);
        sessions.filter.text = "service=web client=192.0.2.".to_owned();
        sessions.settle(is_service);
        assert_eq!(sessions.asks.service.as_deref(), Some("web"));
        assert_eq!(sessions.asks.client, None);
        assert!(sessions.shows(&row("192.0.2.9:1", "web", 0)));
        assert!(!sessions.shows(&row("192.0.3.9:1", "web", 0)));
        sessions.filter.inverse = true;
        sessions.settle(is_service);
        assert_eq!(sessions.asks, Filter::default());
        assert!(sessions.shows(&row("192.0.3.9:1", "web", 0)));
    }

    #[test]
    fn a_session_that_is_looked_at_is_told_by_itself_and_leaves_the_list_as_it_was() {
        let mut sessions = Sessions::default();
        let rows = [row("10.0.0.1:1", "web", 3), row("10.0.0.2:1", "web", 3)];
        sessions.arrived(&Filter::default(), &rows, 9);
        sessions.open();
        let filter = sessions.zoom.as_ref().unwrap().filter();
        sessions.arrived(&filter, &[row("10.0.0.1:1", "web", 4)], 9);
        let zoom = sessions.zoom.as_ref().unwrap();
        assert_eq!((zoom.row.idle_s, zoom.gone), (4, false));
        sessions.arrived(&filter, &[], 9);
        let zoom = sessions.zoom.as_ref().unwrap();
        assert_eq!((zoom.row.idle_s, zoom.gone), (4, true));
        assert_eq!(sessions.rows.len(), 2);
    }
}
