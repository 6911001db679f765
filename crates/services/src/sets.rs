//! Ranges of backend slots: equal sets of backends share one, a changed set gets a new one, and what nobody names any
//! more rests before it is written to again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use abi::{Backend, Range};

use crate::extents::Extents;
use crate::maglev::{Hashing, Table};
use crate::problem::Shortage;

/// How long slots rest after the kernel dropped the last frontend that named them, ns. A packet that read the frontend
/// before is through in microseconds; this leaves room for a machine that stalls.
pub const REST_NS: u64 = 1_000_000_000;

/// Backends to choose from, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// In the order of their slots, see [`in_order`]; no two equal.
    pub(crate) backends: Arc<[Backend]>,
    pub(crate) maglev: bool,
}

/// A hold on a range of slots, and on its Maglev table. Must be given back by [`Sets::release`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    start: u32,
    table: bool,
}

/// Owner of the slots of backends and Maglev tables.
#[derive(Debug)]
pub(crate) struct Sets {
    backends: Extents,
    backend_slots: u32,
    tables: Extents,
    hashing: Hashing,
    /// Tables found that are not as we would write them; named by frontends found, until those are replaced.
    foreign_tables: Vec<u32>,
    /// By their first slot.
    sets: BTreeMap<u32, Set>,
    by_content: HashMap<Arc<[Backend]>, u32>,
    /// Given back for the last time, in order; the revision of that update.
    released: VecDeque<(u64, Idle)>,
    /// Unknown to the kernel since then.
    resting: VecDeque<(u64, Idle)>,
    /// Grows with each last release.
    stamp: u64,
    writes: Writes,
}

/// What is to be written to the slots.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) backends: Vec<(u32, Backend)>,
    /// A slot may be freed and taken again in one update: the last word counts.
    pub(crate) maglev: BTreeMap<u32, Option<Table>>,
}

#[derive(Debug)]
struct Set {
    /// What lies in the slots; nothing if it could not be read, and then it is shared with nobody.
    backends: Arc<[Backend]>,
    length: u32,
    usage: Usage,
    table: Option<(u32, Usage)>,
}

/// How many hold it, and since which stamp nobody does.
#[derive(Debug, Default)]
struct Usage {
    holders: u32,
    idle: Option<u64>,
}

/// What nobody holds any more.
#[derive(Clone, Copy, Debug)]
enum Idle {
    /// The set at `start`, its table, or both, if they are idle since this very stamp.
    Set { start: u32, stamp: u64 },
    /// A table that belongs to no set.
    ForeignTable(u32),
}

impl Sets {
    pub(crate) fn new(backend_slots: u32, maglev_slots: u32, hashing: Hashing) -> Self {
        Self {
            backends: Extents::new(backend_slots),
            backend_slots,
            tables: Extents::new(maglev_slots),
            hashing,
            foreign_tables: Vec::new(),
            sets: BTreeMap::new(),
            by_content: HashMap::new(),
            released: VecDeque::new(),
            resting: VecDeque::new(),
            stamp: 0,
            writes: Writes::default(),
        }
    }

    /// A range with exactly these backends. Without room for the Maglev table, the range is there but chosen from at
    /// random.
    pub(crate) fn acquire(&mut self, choice: &Choice) -> (Option<Lease>, Option<Shortage>) {
        if choice.backends.is_empty() {
            return (None, None);
        }
        let start = match self.by_content.get(&choice.backends) {
            Some(start) => *start,
            None => match self.create(&choice.backends) {
                Some(start) => start,
                None => return (None, Some(Shortage::Backends(choice.backends.len()))),
            },
        };
        // Among one there is nothing to choose.
        let maglev = choice.maglev && (2..=self.hashing.max_backends()).contains(&choice.backends.len());
        let table = maglev && self.ensure_table(start);
        let shortage = (maglev && !table).then_some(Shortage::Tables);
        let lease = Lease { start, table };
        self.hold(&lease);
        (Some(lease), shortage)
    }

    /// Another lease like this one.
    pub(crate) fn again(&mut self, lease: &Lease) -> Lease {
        self.hold(lease);
        Lease { ..*lease }
    }

    /// The row that a lease makes.
    pub(crate) fn range(&self, lease: Option<&Lease>) -> Range {
        let Some((lease, set)) = lease.and_then(|lease| Some((lease, self.sets.get(&lease.start)?))) else {
            return Range::default();
        };
        let maglev = set.table.as_ref().filter(|_| lease.table).map_or(0, |(slot, _)| slot + 1);
        Range { start: lease.start, count: set.length, maglev }
    }

    /// Gives a lease back, as of the update with this revision.
    pub(crate) fn release(&mut self, lease: Option<Lease>, revision: u64) {
        let Some((lease, set)) =
            lease.and_then(|lease| self.sets.get_mut(&lease.start).map(|set| (lease, set)))
        else {
            return;
        };
        self.stamp += 1;
        let mut idle = set.usage.drop_one(self.stamp);
        if let Some((_, usage)) = set.table.as_mut().filter(|_| lease.table) {
            idle |= usage.drop_one(self.stamp);
        }
        if idle {
            self.released.push_back((revision, Idle::Set { start: lease.start, stamp: self.stamp }));
        }
    }

    /// The update with this revision replaces all frontends that were found.
    pub(crate) fn release_foreign(&mut self, revision: u64) {
        let tables = self.foreign_tables.drain(..).map(|slot| (revision, Idle::ForeignTable(slot)));
        self.released.extend(tables);
    }

    /// The kernel has all updates up to `revision`.
    pub(crate) fn realized(&mut self, revision: u64, now: u64) {
        while let Some((_, idle)) = self.released.pop_front_if(|(released, _)| *released <= revision) {
            self.resting.push_back((now, idle));
        }
    }

    /// Frees what has rested long enough and was not taken up again.
    pub(crate) fn reclaim(&mut self, now: u64) {
        while let Some((_, idle)) =
            self.resting.pop_front_if(|(since, _)| now.saturating_sub(*since) >= REST_NS)
        {
            self.free(idle);
        }
    }

    /// When something will be freed next, if all goes on as it is.
    pub(crate) fn due(&self) -> Option<u64> {
        self.resting.front().map(|(since, _)| since.saturating_add(REST_NS))
    }

    /// What is to be written since the last call.
    pub(crate) fn take_writes(&mut self) -> Writes {
        std::mem::take(&mut self.writes)
    }

    /// Every slot that is held, and its content.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, Backend)> {
        let held = self.sets.iter().filter(|(_, set)| set.usage.idle.is_none());
        held.flat_map(|(start, set)| (*start..).zip(set.backends.iter().copied()))
    }

    /// Every Maglev table that is held.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (u32, Table)> {
        self.sets.values().filter_map(|set| {
            let (slot, _) = set.table.as_ref().filter(|(_, usage)| usage.idle.is_none())?;
            Some((*slot, Table::new(Arc::clone(&set.backends), self.hashing)))
        })
    }

    /// Takes over slots that the kernel uses, and what lies in them, if that could be read. `false`: there are no such
    /// slots.
    pub(crate) fn adopt(&mut self, start: u32, length: u32, content: Option<Arc<[Backend]>>) -> bool {
        // What reaches beyond the end leads nowhere there, but its slots before the end are named all the same.
        let fitting = length.min(self.backend_slots.saturating_sub(start));
        if fitting == 0 || !self.backends.occupy(start, fitting) {
            return false;
        }
        let backends = content.filter(|_| fitting == length).unwrap_or_default();
        if !backends.is_empty() {
            // Of two equal ranges the first is used on; the other empties with its frontends.
            self.by_content.entry(Arc::clone(&backends)).or_insert(start);
        }
        self.sets.insert(start, Set { backends, length: fitting, usage: Usage::default(), table: None });
        true
    }

    /// Takes over a Maglev table: for good if it is as we would write it for the range adopted at `start`, else until
    /// nobody names it.
    pub(crate) fn adopt_table(&mut self, slot: u32, start: Option<u32>, entries: Option<&[u16]>) {
        if !self.tables.occupy(slot, 1) {
            return;
        }
        let set = start.and_then(|start| self.sets.get_mut(&start));
        let set = set.filter(|set| set.table.is_none() && !set.backends.is_empty());
        let fits =
            |set: &Set, entries| Table::new(Arc::clone(&set.backends), self.hashing).agrees_with(entries);
        match (set, entries) {
            (Some(set), Some(entries)) if fits(set, entries) => set.table = Some((slot, Usage::default())),
            _ => self.foreign_tables.push(slot),
        }
    }

    /// A lease on an adopted range.
    pub(crate) fn adopted(&mut self, start: u32, slot: Option<u32>) -> Option<Lease> {
        let set = self.sets.get(&start)?;
        let table = slot.is_some() && set.table.as_ref().map(|(slot, _)| *slot) == slot;
        let lease = Lease { start, table };
        self.hold(&lease);
        Some(lease)
    }

    fn create(&mut self, backends: &Arc<[Backend]>) -> Option<u32> {
        let length = u32::try_from(backends.len()).ok()?;
        let start = self.backends.take(length)?;
        self.writes.backends.extend((start..).zip(backends.iter().copied()));
        self.by_content.insert(Arc::clone(backends), start);
        let set = Set { backends: Arc::clone(backends), length, usage: Usage::default(), table: None };
        self.sets.insert(start, set);
        Some(start)
    }

    fn ensure_table(&mut self, start: u32) -> bool {
        let Some(set) = self.sets.get_mut(&start) else { return false };
        if set.table.is_none()
            && let Some(slot) = self.tables.take(1)
        {
            set.table = Some((slot, Usage::default()));
            self.writes.maglev.insert(slot, Some(Table::new(Arc::clone(&set.backends), self.hashing)));
        }
        set.table.is_some()
    }

    fn hold(&mut self, lease: &Lease) {
        let Some(set) = self.sets.get_mut(&lease.start) else { return };
        set.usage.add_one();
        if let Some((_, usage)) = set.table.as_mut().filter(|_| lease.table) {
            usage.add_one();
        }
    }

    fn free(&mut self, idle: Idle) {
        match idle {
            Idle::Set { start, stamp } => self.free_set(start, stamp),
            Idle::ForeignTable(slot) => self.free_table(slot),
        }
    }

    fn free_set(&mut self, start: u32, stamp: u64) {
        let Some(set) = self.sets.get_mut(&start) else { return };
        let is_free = set.usage.idle == Some(stamp);
        let table = set.table.take_if(|(_, usage)| usage.idle == Some(stamp));
        if let Some((slot, _)) = table {
            self.free_table(slot);
        }
        if is_free && let Some(set) = self.sets.remove(&start) {
            self.backends.give(start, set.length);
            if self.by_content.get(&set.backends) == Some(&start) {
                self.by_content.remove(&set.backends);
            }
        }
    }

    fn free_table(&mut self, slot: u32) {
        self.tables.give(slot, 1);
        self.writes.maglev.insert(slot, None);
    }
}

impl Usage {
    fn add_one(&mut self) {
        self.holders = self.holders.saturating_add(1);
        self.idle = None;
    }

    /// Whether nobody holds it now.
    fn drop_one(&mut self, stamp: u64) -> bool {
        self.holders = self.holders.saturating_sub(1);
        if self.holders == 0 {
            self.idle = Some(stamp);
        }
        self.holders == 0
    }
}

/// The order of backends in a range: by address and port as numbers, so that Maglev tables are alike on all nodes.
pub(crate) fn in_order(backend: &Backend) -> ([u32; 4], u16) {
    (backend.addr.words.map(u32::from_be), u16::from_be(backend.port))
}
