//! Policy tables: inner tries in the slots of `AX_POLICIES`.
//!
//! Putting a trie into a slot makes the kernel wait for an RCU grace period (tens of ms), filling one does not. So a worker
//! thread keeps empty tries in slots ahead of time, many with one wait, and publishing a table only fills a spare.

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::mpsc,
    thread,
    time::Duration,
};

use abi::{PolicyEntry, PolicyKey, maps::size, tables::POLICY_STATIC_BITS};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    map::{Map, MapError, MapSpec},
    table::{CHUNK, Cursor, Table},
};

/// Key of a policy trie: how many bits of the key count, then the key.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
pub struct PolicyTrieKey {
    /// 40 (identity and direction), 48 (and protocol), or 49–64 (and a prefix of the port); native order.
    pub len: u32,
    /// The key.
    pub key: PolicyKey,
}

impl PolicyTrieKey {
    /// The key under which `entry` is stored: [`PolicyEntry::bits`] says how long it is.
    pub fn new(key: PolicyKey, entry: &PolicyEntry) -> Self {
        PolicyTrieKey { len: POLICY_STATIC_BITS + u32::from(entry.bits), key }
    }
}

/// The content of one table.
pub type PolicyContent = BTreeMap<PolicyTrieKey, PolicyEntry>;

type Trie = Table<PolicyTrieKey, PolicyEntry>;

/// A slot never given out, so that a pod whose facts are all zero has no table and its packets are dropped.
pub const NO_TABLE: u32 = 0;

/// How long a released table stays as it is: far longer than any packet that looked up the slot is on its way.
const GRACE: Duration = Duration::from_secs(1);

/// The policy tables of a node. One owner; see the module's documentation for the worker behind it.
#[derive(Debug)]
pub struct PolicyTables {
    live: BTreeMap<u32, Trie>,
    /// Tables found at start that nobody asked for yet, with their content.
    unclaimed: BTreeMap<u32, (Trie, PolicyContent)>,
    /// Released tables in the order of release.
    released: VecDeque<(Duration, u32, Trie)>,
    spares: mpsc::Receiver<Result<(u32, Trie), MapError>>,
    /// `None` only while dropping: the worker ends when it is gone.
    orders: Option<mpsc::Sender<Order>>,
    worker: Option<thread::JoinHandle<()>>,
    /// Spares that were ordered and have not been taken.
    ordered: usize,
    pool: usize,
    slots: u32,
}

enum Order {
    /// Put so many empty tries into free slots.
    Fill(usize),
    /// Empty this table and offer it as a spare.
    Recycle(u32, Trie),
}

/// The thread that puts tries into slots.
struct Worker {
    outer: Table<u32, u32>,
    free: Vec<u32>,
    spares: mpsc::Sender<Result<(u32, Trie), MapError>>,
}

/// What [`PolicyTables`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyStats {
    /// Tables in use.
    pub live: usize,
    /// Tables found at start that nobody asked for yet.
    pub unclaimed: usize,
    /// Tables that wait to be emptied.
    pub released: usize,
    /// Slots altogether.
    pub slots: u32,
}

impl PolicyTables {
    /// Takes over the tables in `outer` (the map [`abi::maps::POLICIES`]) and keeps about `pool` spares ready.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn adopt(outer: Map, pool: usize) -> Result<Self, MapError> {
        let slots = outer.spec().max_entries;
        let found = read_slots(&outer)?;
        // Taken from the end: low slots first.
        let free = (NO_TABLE + 1..slots).rev().filter(|slot| !found.contains_key(slot)).collect();
        let (order_sender, orders) = mpsc::channel();
        let (spare_sender, spares) = mpsc::channel();
        let mut tables = PolicyTables {
            live: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            released: VecDeque::new(),
            spares,
            orders: Some(order_sender),
            worker: None,
            ordered: 0,
            pool: pool.max(1),
            slots,
        };
        for (slot, (trie, content)) in found {
            if content.is_empty() {
                tables.ordered += 1;
                // The receiver is ours, so it is there.
                let _ = spare_sender.send(Ok((slot, trie)));
            } else {
                tables.unclaimed.insert(slot, (trie, content));
            }
        }
        let worker = Worker { outer: Table::new(outer)?, free, spares: spare_sender };
        tables.worker = Some(thread::spawn(move || worker.run(&orders)));
        tables.refill();
        Ok(tables)
    }

    /// Makes a table with this content and gives its slot. A table found at start with the same content is taken instead,
    /// so that a restart changes nothing. Packets see the table once an entry of a pod names the slot.
    ///
    /// # Errors
    /// When there is no slot left or the kernel refuses; no table is made then.
    pub fn publish(&mut self, content: &PolicyContent) -> Result<u32, MapError> {
        let known = self.unclaimed.iter().find(|(_, (_, found))| found == content).map(|(slot, _)| *slot);
        if let Some((slot, (trie, _))) = known.and_then(|slot| self.unclaimed.remove_entry(&slot)) {
            self.live.insert(slot, trie);
            return Ok(slot);
        }
        let (slot, trie) = self.spare()?;
        let items: Vec<_> = content.iter().map(|(key, entry)| (*key, *entry)).collect();
        if let Some((_, error)) = trie.upsert_batch(&items).into_iter().next() {
            self.order(Order::Recycle(slot, trie));
            return Err(error);
        }
        self.live.insert(slot, trie);
        Ok(slot)
    }

    /// Changes a table in place, upserts first. Packets may see any part of the change, so it is only for changes in which
    /// every step is right by itself, such as one more identity.
    ///
    /// # Errors
    /// When there is no table in `slot`, or the kernel refuses a part: then the content is between old and new, and the
    /// caller publishes a whole table instead.
    pub fn edit(
        &mut self,
        slot: u32,
        upserts: &[(PolicyTrieKey, PolicyEntry)],
        deletes: &[PolicyTrieKey],
    ) -> Result<(), MapError> {
        let trie = self.live.get(&slot).ok_or(MapError::NoTable { slot })?;
        let mut failed = trie.upsert_batch(upserts);
        failed.extend(trie.delete_batch(deletes));
        failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Gives a table up. No pod's entry may name it any more; it is emptied and used again by a later [`PolicyTables::tick`],
    /// when every packet that still uses it is through. `now` is a time since any fixed point.
    pub fn release(&mut self, slot: u32, now: Duration) {
        if let Some(trie) = self.live.remove(&slot) {
            self.released.push_back((now, slot, trie));
        }
    }

    /// Gives up all tables that were found at start and never asked for; to be called once the first desired state is
    /// complete and every pod's entry was written.
    pub fn release_unclaimed(&mut self, now: Duration) {
        for (slot, (trie, _)) in std::mem::take(&mut self.unclaimed) {
            self.released.push_back((now, slot, trie));
        }
    }

    /// Recycles what was released long enough ago. Never waits.
    pub fn tick(&mut self, now: Duration) {
        while self.released.front().is_some_and(|(at, ..)| at.saturating_add(GRACE) <= now) {
            if let Some((_, slot, trie)) = self.released.pop_front() {
                self.order(Order::Recycle(slot, trie));
            }
        }
    }

    /// The content of a table, as it is in the kernel.
    ///
    /// # Errors
    /// When there is no table in `slot`, or it cannot be read.
    pub fn content(&self, slot: u32) -> Result<PolicyContent, MapError> {
        let trie = self.live.get(&slot).ok_or(MapError::NoTable { slot })?;
        Ok(trie.dump()?.into_iter().collect())
    }

    /// How many tables are in which state.
    pub fn stats(&self) -> PolicyStats {
        PolicyStats {
            live: self.live.len(),
            unclaimed: self.unclaimed.len(),
            released: self.released.len(),
            slots: self.slots,
        }
    }

    /// A spare; waits for the worker only when more tables were published at once than the pool holds.
    fn spare(&mut self) -> Result<(u32, Trie), MapError> {
        self.refill();
        let spare = self.spares.recv().map_err(|_| MapError::NoSlot { slots: self.slots })?;
        self.ordered -= 1;
        self.refill();
        spare
    }

    fn refill(&mut self) {
        if self.ordered <= self.pool / 2 {
            let missing = self.pool - self.ordered;
            self.order(Order::Fill(missing));
        }
    }

    fn order(&mut self, order: Order) {
        self.ordered += match &order {
            Order::Fill(count) => *count,
            Order::Recycle(..) => 1,
        };
        if let Some(orders) = &self.orders {
            // The worker only ends when this sender does.
            let _ = orders.send(order);
        }
    }
}

impl Drop for PolicyTables {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl Worker {
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        for order in orders {
            let spares = match order {
                Order::Fill(count) => self.fill(count),
                Order::Recycle(slot, trie) => vec![trie.clear().map(|()| (slot, trie))],
            };
            for spare in spares {
                if self.spares.send(spare).is_err() {
                    return;
                }
            }
        }
    }

    /// Gives `count` answers: spares, or why there is none.
    fn fill(&mut self, count: usize) -> Vec<Result<(u32, Trie), MapError>> {
        let slots = self.outer.map().spec().max_entries;
        let mut answers = Vec::new();
        let mut made = Vec::new();
        for _ in 0..count {
            match (self.free.pop(), new_trie()) {
                (None, _) => answers.push(Err(MapError::NoSlot { slots })),
                (Some(slot), Ok(trie)) => made.push((slot, trie)),
                (Some(slot), Err(error)) => {
                    self.free.push(slot);
                    answers.push(Err(error));
                }
            }
        }
        let items: Vec<(u32, u32)> =
            made.iter().map(|(slot, trie)| (*slot, trie.map().as_fd().as_raw_fd() as u32)).collect();
        let mut failed: BTreeMap<usize, MapError> = self.outer.upsert_batch(&items).into_iter().collect();
        for (index, (slot, trie)) in made.into_iter().enumerate() {
            answers.push(match failed.remove(&index) {
                None => Ok((slot, trie)),
                Some(error) => {
                    self.free.push(slot);
                    Err(error)
                }
            });
        }
        answers
    }
}

/// The content of every table that is pinned in `outer`, without owning it: for tools.
///
/// # Errors
/// When the tables cannot be read.
pub fn read_policies(outer: &Map) -> Result<BTreeMap<u32, PolicyContent>, MapError> {
    Ok(read_slots(outer)?.into_iter().map(|(slot, (_, content))| (slot, content)).collect())
}

/// The content of the tables in these slots of `outer`, without owning it: for tools that know which ones pods use. Slots
/// without a table are left out.
///
/// # Errors
/// When a table cannot be read.
pub fn read_policies_in(
    outer: &Map,
    slots: impl IntoIterator<Item = u32>,
) -> Result<BTreeMap<u32, PolicyContent>, MapError> {
    let table: Table<u32, u32> = Table::new(outer.try_clone()?)?;
    let mut found = BTreeMap::new();
    for slot in slots {
        // Gone again, if somebody else clears the slot just now.
        let Some(Ok(map)) = table.get(&slot)?.map(Map::by_id) else { continue };
        found.insert(slot, Trie::new(map)?.dump()?.into_iter().collect());
    }
    Ok(found)
}

fn read_slots(outer: &Map) -> Result<BTreeMap<u32, (Trie, PolicyContent)>, MapError> {
    let slots: Table<u32, u32> = Table::new(outer.try_clone()?)?;
    let mut cursor = Cursor::new(CHUNK);
    let mut found = BTreeMap::new();
    while !cursor.is_done() {
        for (slot, id) in slots.chunk(&mut cursor)? {
            // Gone again, if somebody else clears the slot just now.
            let Ok(map) = Map::by_id(id) else { continue };
            let trie = Trie::new(map)?;
            let content = trie.dump()?.into_iter().collect();
            found.insert(slot, (trie, content));
        }
    }
    Ok(found)
}

fn new_trie() -> Result<Trie, MapError> {
    Trie::new(Map::create("ax_policy", policy_spec())?)
}

/// What the kernel demands of every inner map of [`abi::maps::POLICIES`]. Tries only exist without preallocation, so the number of
/// entries costs nothing.
pub(crate) fn policy_spec() -> MapSpec {
    let kind = crate::MapKind::BPF_MAP_TYPE_LPM_TRIE;
    MapSpec::new(kind, size_of::<PolicyTrieKey>(), size_of::<PolicyEntry>(), size::POLICY)
        .flags(aya_obj::generated::BPF_F_NO_PREALLOC)
}
