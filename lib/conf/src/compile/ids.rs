//! Ids that belong to a name for as long as the daemon lives.

use std::collections::BTreeMap;

/// Gives out the ids of one kind.
#[derive(Debug)]
pub(super) struct Ids<K> {
    known: BTreeMap<K, usize>,
    next: usize,
    most: usize,
}

impl<K: Ord> Ids<K> {
    /// Continues from the previous snapshot: its names keep their ids, and ids below its bound are
    /// not given out again.
    pub(super) fn new(
        known: impl IntoIterator<Item = (K, usize)>,
        bound: usize,
        most: usize,
    ) -> Self {
        Self {
            known: known.into_iter().collect(),
            next: bound,
            most,
        }
    }

    /// Returns the id of a name; none when all are used up.
    pub(super) fn of(&mut self, name: K) -> Option<usize> {
        if let Some(id) = self.known.get(&name) {
            return Some(*id);
        }
        if self.next >= self.most {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.known.insert(name, id);
        Some(id)
    }

    /// Returns one more than the highest id ever given out.
    pub(super) fn bound(&self) -> usize {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_id_and_an_id_is_never_given_to_another_name() {
        let mut ids = Ids::new([("web", 0), ("dns", 2)], 4, 6);
        assert_eq!(ids.of("dns"), Some(2));
        assert_eq!(ids.of("mail"), Some(4));
        assert_eq!(ids.of("mail"), Some(4));
        assert_eq!(ids.of("ftp"), Some(5));
        assert_eq!(ids.of("ssh"), None);
        assert_eq!(ids.of("web"), Some(0));
        assert_eq!(ids.bound(), 6);
    }
}
