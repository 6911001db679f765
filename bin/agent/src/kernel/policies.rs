//! Policy tables: which slot holds which, and how one changes.

use std::sync::Arc;
use std::time::Duration;

use abi::maps::size;
use abi::{PodFacts, PolicyEntry};
use agent_core::State;
use loader::{PolicyContent, PolicyTrieKey};
use policy::{PolicyTable, TableDelta, TableId, TableKey};

use super::Kernel;

/// What is deleted last.
pub(super) enum Leaving {
    /// Entries of a table in use.
    Entries(TableId, Vec<PolicyTrieKey>),
    /// A table that no pod uses.
    Table(TableId),
}

fn trie_key(key: &TableKey) -> PolicyTrieKey {
    PolicyTrieKey { len: key.prefix_len(), key: key.abi() }
}

/// A table in the kernel's form.
fn content(table: &PolicyTable) -> PolicyContent {
    table.entries.iter().map(|(key, entry)| (trie_key(key), *entry)).collect()
}

/// Entries that the kernel has room for in one table.
const ROOM: usize = size::POLICY as usize;

/// What is written of a table, and whether that is all of it: one that does not fit closes its pods.
fn fitting(table: &PolicyTable, room: usize) -> (PolicyContent, bool) {
    if table.entries.len() <= room {
        return (content(table), true);
    }
    let mut locked = content(&table.locked_down());
    if locked.len() > room {
        locked.clear();
    }
    (locked, false)
}

/// Whether a row names the slot.
fn names<'a>(rows: impl IntoIterator<Item = &'a PodFacts>, slot: u32) -> bool {
    rows.into_iter().any(|row| row.policy == slot)
}

impl Kernel {
    /// Writes a whole table into a slot of its own; on failure it is kept for another try.
    pub(super) fn publish(&mut self, id: TableId, table: Arc<PolicyTable>) {
        let (content, whole) = fitting(&table, ROOM);
        if whole {
            self.locked.remove(&id);
        } else if self.locked.insert(id, table.entries.len()).is_none() {
            tracing::error!(
                table = id.0,
                entries = table.entries.len(),
                room = ROOM,
                "a policy table does not fit: its pods are locked down, and nobody but their own node and the API server \
                 reaches them, as far as policy lets these; fewer rules, or rules that name fewer identities, unlock them"
            );
        }
        match self.tables.publish(&content) {
            Ok(slot) => {
                self.slots.insert(id, slot);
                self.unpublished.remove(&id);
            }
            Err(error) => {
                tracing::error!(table = id.0, error = %crate::text(&error), "a policy table cannot be written; its pods keep the old policy");
                self.unpublished.insert(id, table);
            }
        }
    }

    /// Writes the new entries of a table in use; what is to be deleted comes back, for later.
    pub(super) fn edit(&mut self, id: TableId, delta: TableDelta, state: &State) -> Option<Leaving> {
        let whole = |id| !self.locked.contains_key(id);
        let Some(slot) = self.slots.get(&id).copied().filter(|_| whole(&id)) else {
            // Never written, or not in full: the whole table, as it is now, is what waits.
            self.republish(id, state);
            return None;
        };
        let upserts: Vec<(PolicyTrieKey, PolicyEntry)> =
            delta.upserts.iter().map(|(key, entry)| (trie_key(key), *entry)).collect();
        if let Err(error) = self.tables.edit(slot, &upserts, &[]) {
            tracing::warn!(table = id.0, error = %crate::text(&error), "a policy table cannot be changed in place; writing it anew");
            self.republish(id, state);
            return None;
        }
        (!delta.deletes.is_empty())
            .then(|| Leaving::Entries(id, delta.deletes.iter().map(trie_key).collect()))
    }

    /// Deletes what no address and no pod leads to any more.
    pub(super) fn leave(&mut self, leaving: Leaving, state: &State) {
        match leaving {
            Leaving::Table(id) => {
                self.unpublished.remove(&id);
                self.locked.remove(&id);
                // Pods whose new table could not be written still use it.
                self.retired.extend(self.slots.remove(&id));
            }
            Leaving::Entries(id, deletes) => {
                let Some(slot) = self.slots.get(&id).copied() else { return };
                if let Err(error) = self.tables.edit(slot, &[], &deletes) {
                    // What stays would allow whoever gets the identity's number next.
                    let error = crate::text(&error);
                    tracing::warn!(
                        table = id.0,
                        error,
                        "entries of a policy table cannot be deleted; writing it anew"
                    );
                    self.republish(id, state);
                }
            }
        }
    }

    /// Lets the slots rest that pods have moved away from. One that a pod's row still names waits: recycled, it would give
    /// that pod the policy of another.
    pub(super) fn retire(&mut self, now: Duration) {
        let settled = self.pods.pending() == 0;
        for slot in std::mem::take(&mut self.retired) {
            if settled && !names(self.pods.desired().values(), slot) {
                self.tables.release(slot, now);
            } else {
                self.retired.push(slot);
            }
        }
    }

    fn republish(&mut self, id: TableId, state: &State) {
        let Some(table) = state.engine().table(id) else { return };
        let old = self.slots.remove(&id);
        self.publish(id, table);
        match (self.slots.contains_key(&id), old) {
            // The pods move first.
            (true, Some(old)) => self.retired.push(old),
            (false, Some(old)) => {
                self.slots.insert(id, old);
            }
            _ => {}
        }
        self.place_users(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_does_not_fit_closes_its_pods() {
        let key = |identity| TableKey {
            direction: policy::Direction::Ingress,
            identity: types::NumericIdentity(identity),
            block: types::NumericIdentity::UNKNOWN,
            l4: policy::L4Key::ANY,
        };
        let allow = PolicyEntry { precedence: 1, ..PolicyEntry::default() };
        let pods = (1000..1010).map(|identity| (key(identity), allow));
        let node = (key(abi::identity::HOST), allow);
        let table = PolicyTable { entries: pods.chain([node]).collect(), ..PolicyTable::default() };
        let (whole, fits) = fitting(&table, 11);
        assert!(fits && whole.len() == 11);
        let (locked, fits) = fitting(&table, 10);
        let left: Vec<u32> = locked.keys().map(|key| key.key.identity).collect();
        assert_eq!((left, fits), (vec![abi::identity::HOST], false));
        assert!(fitting(&table, 0).0.is_empty(), "not even that fits");
    }

    #[test]
    fn a_slot_is_named_by_any_row_that_has_it() {
        let row = |policy| PodFacts { policy, ..PodFacts::default() };
        assert!(names(&[row(3), row(7)], 7));
        assert!(!names(&[row(3), row(7)], 8) && !names(&[], 3));
    }
}
