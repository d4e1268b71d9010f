//! Looking at a table a few places at a time.

use super::{FREE, SessionTable};
use crate::{Session, SessionId};

impl SessionTable {
    /// Looks at up to `places` places from `cursor` on for a dump that goes on over many turns;
    /// begin with cursor 0. Sessions that live through the whole dump are seen exactly once.
    #[must_use]
    pub fn scan(&self, cursor: u32, places: u32) -> Scan<'_> {
        let start = (cursor as usize).min(self.sessions.len());
        let end = start
            .saturating_add(places as usize)
            .min(self.sessions.len());
        Scan {
            places: self.sessions.get(start..end).unwrap_or_default().iter(),
            next: start as u32,
            after: (end < self.sessions.len()).then_some(end as u32),
        }
    }
}

/// The sessions at some places of a table, as [`SessionTable::scan`] yields them.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    places: core::slice::Iter<'a, Session>,
    next: u32,
    after: Option<u32>,
}

impl Scan<'_> {
    /// Returns where the next scan goes on; none when this one reaches the table's end.
    #[must_use]
    pub const fn cursor(&self) -> Option<u32> {
        self.after
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = (SessionId, &'a Session);

    fn next(&mut self) -> Option<Self::Item> {
        for session in self.places.by_ref() {
            let id = SessionId(self.next);
            self.next += 1;
            if session.protocol != FREE {
                return Some((id, session));
            }
        }
        None
    }
}
