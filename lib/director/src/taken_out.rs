//! Sessions whose real server was taken out.

use nat_engine::SessionId;
use weir_model::{Now, RealId};

use crate::Director;

/// Sessions that one call resets at most: there must be room for what both ends are sent.
const RESETS: usize = 64;

impl Director {
    /// Resets the sessions of a real server at `places` places of the table from `cursor` on;
    /// returns how many these were, and where to go on: none at the end of the table.
    pub fn reset_sessions(
        &mut self,
        now: Now,
        real: RealId,
        cursor: u32,
        places: u32,
    ) -> (u32, Option<u32>) {
        let mut found: [Option<SessionId>; RESETS] = [None; RESETS];
        let mut room = found.iter_mut();
        let scan = self.table.scan(cursor, places);
        let mut next = scan.cursor();
        let alive = |session: &nat_engine::Session| !session.state.is_closed();
        for (id, _) in scan.filter(|(_, session)| session.real_id == real && alive(session)) {
            let Some(place) = room.next() else {
                next = Some(id.0);
                break;
            };
            *place = Some(id);
        }
        let mut count = 0;
        for id in found.into_iter().flatten() {
            self.reset(now, id);
            count += 1;
        }
        (count, next)
    }
}
