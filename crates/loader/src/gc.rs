//! Garbage collection of flows and masquerade entries.
//!
//! The programs never delete: they write when an entry may go, and this walks the tables in batches and deletes what is due.
//! A packet that revives an entry between the look and the delete loses it; its flow is then decided again, by the policy of
//! now, as after any expiry.

use std::time::Duration;

use abi::{
    Addr, Flow, FlowKey, NatKey, NatValue,
    flow::{CLOSING_LIFETIME, OTHER_LIFETIME, TCP_LIFETIME},
    nat::{BACK, OUT},
};

use crate::{
    map::MapError,
    maps::Maps,
    table::{Cursor, Plain, Table},
};

/// What a sweep found in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableStats {
    /// Entries that stay.
    pub alive: usize,
    /// Entries that were deleted.
    pub deleted: usize,
    /// Entries the table can hold.
    pub capacity: usize,
}

impl TableStats {
    /// Share of the table in use after the sweep, 0 to 1.
    pub fn pressure(&self) -> f64 {
        if self.capacity == 0 { 0.0 } else { self.alive as f64 / self.capacity as f64 }
    }
}

/// What one sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcStats {
    /// Answered flows.
    pub flows: TableStats,
    /// Flows nobody answered yet.
    pub half_open: TableStats,
    /// Masquerade entries, two a connection.
    pub nat: TableStats,
}

impl GcStats {
    /// When to sweep next, `last` being the wait before this sweep: sooner when much was found or a table gets full, later when little was.
    pub fn next_interval(&self, last: Duration) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(5);
        const LONGEST: Duration = Duration::from_secs(600);
        let tables = [self.flows, self.half_open, self.nat];
        let deleted: usize = tables.iter().map(|table| table.deleted).sum();
        let seen: usize = deleted + tables.iter().map(|table| table.alive).sum::<usize>();
        // Half-open flows live in an LRU that may be full without harm.
        let full = self.flows.pressure().max(self.nat.pressure());
        let next = if full > 0.75 {
            SHORTEST
        } else if deleted * 4 > seen {
            last / 2
        } else if deleted * 20 < seen || seen == 0 {
            last * 3 / 2
        } else {
            last
        };
        next.clamp(SHORTEST, LONGEST)
    }
}

/// Where a sweep stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to look at.
    More,
    /// The sweep is through; the next step starts another one.
    Done(GcStats),
}

/// A sweep, a piece at a time. Flows go before masquerade entries, which live as long as their flows.
#[derive(Debug)]
pub struct Gc {
    chunk: usize,
    stage: Stage,
    cursor: Cursor,
    stats: GcStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Flows,
    HalfOpen,
    Nat,
}

impl Gc {
    /// A sweep that looks at `chunk` entries a step; 4,096 take about a millisecond.
    pub fn new(chunk: usize) -> Self {
        Gc { chunk, stage: Stage::Flows, cursor: Cursor::new(chunk), stats: GcStats::default() }
    }

    /// Looks at the next entries and deletes those that are due at `now` (ns of the monotonic clock, as
    /// [`crate::monotonic_ns`] gives it).
    ///
    /// # Errors
    /// When the kernel refuses to read; the next step goes on with the next table, so that one broken table does not keep
    /// the others from being swept.
    pub fn step(&mut self, maps: &Maps, now: u64) -> Result<Progress, MapError> {
        let Gc { stage, cursor, stats, .. } = self;
        let result = match stage {
            Stage::Flows => sweep(&maps.flows, cursor, &mut stats.flows, |_, flow| flow.expires < now),
            Stage::HalfOpen => {
                sweep(&maps.half_open, cursor, &mut stats.half_open, |_, flow: &Flow| flow.expires < now)
            }
            Stage::Nat => {
                sweep(&maps.nat, cursor, &mut stats.nat, |key, value| nat_is_dead(maps, key, value, now))
            }
        };
        if result.is_ok() && !self.cursor.is_done() {
            return Ok(Progress::More);
        }
        self.cursor = Cursor::new(self.chunk);
        self.stage = match self.stage {
            Stage::Flows => Stage::HalfOpen,
            Stage::HalfOpen => Stage::Nat,
            Stage::Nat => Stage::Flows,
        };
        let through = self.stage == Stage::Flows;
        let done = if through { Progress::Done(std::mem::take(&mut self.stats)) } else { Progress::More };
        result.map(|()| done)
    }

    /// A whole sweep on the calling thread, with a pause after each step.
    ///
    /// # Errors
    /// As [`Gc::step`]; the next call goes on with the table after the one that failed.
    pub fn sweep(&mut self, maps: &Maps, pause: Duration) -> Result<GcStats, MapError> {
        loop {
            match self.step(maps, crate::monotonic_ns())? {
                Progress::Done(stats) => return Ok(stats),
                Progress::More => std::thread::sleep(pause),
            }
        }
    }
}

fn sweep<K: Plain, V: Plain>(
    table: &Table<K, V>,
    cursor: &mut Cursor,
    stats: &mut TableStats,
    dead: impl Fn(&K, &V) -> bool,
) -> Result<(), MapError> {
    let items = table.chunk(cursor)?;
    let keys: Vec<K> = items.iter().filter(|(key, value)| dead(key, value)).map(|(key, _)| *key).collect();
    let kept = table.delete_batch(&keys).len();
    stats.deleted += keys.len() - kept;
    stats.alive += items.len() - keys.len() + kept;
    stats.capacity = table.map().spec().max_entries as usize;
    Ok(())
}

/// Whether a masquerade entry may go. A pod's entry lives as long as the flow between its true ends, and a little longer
/// than the packet that made it; an entry of the node's own connection, which has no flow, as long as an idle flow would. Of
/// a pair only the outgoing half is kept fresh by packets, so the other one follows it.
fn nat_is_dead(maps: &Maps, key: &NatKey, value: &NatValue, now: u64) -> bool {
    let age = now.saturating_sub(value.used);
    if age < CLOSING_LIFETIME {
        return false;
    }
    // What cannot be read is not known to be dead.
    let absent = |found: Result<bool, MapError>| found.is_ok_and(|found| !found);
    if key.direction != OUT {
        return absent(maps.nat.get(&outgoing(key, value)).map(|twin| twin.is_some()));
    }
    if key.source == value.addr {
        return age >= if key.protocol == TCP { TCP_LIFETIME } else { OTHER_LIFETIME };
    }
    let flow = flow_key((key.source, key.source_port), (key.destination, key.destination_port), key.protocol);
    absent(maps.flows.get(&flow).map(|flow| flow.is_some()))
        && absent(maps.half_open.get(&flow).map(|flow| flow.is_some()))
}

/// IP protocol number.
const TCP: u8 = 6;

/// Key of the outgoing half of the pair whose returning half is `key`.
fn outgoing(key: &NatKey, value: &NatValue) -> NatKey {
    debug_assert_eq!(key.direction, BACK);
    NatKey {
        source: value.addr,
        destination: key.source,
        source_port: value.port,
        destination_port: key.source_port,
        protocol: key.protocol,
        direction: OUT,
        _pad: 0,
    }
}

/// The canonical key of the flow between two ends.
fn flow_key(a: (Addr, u16), b: (Addr, u16), protocol: u8) -> FlowKey {
    let a_is_lower = a.0.below(&b.0) || (a.0 == b.0 && a.1 <= b.1);
    let (low, high) = if a_is_lower { (a, b) } else { (b, a) };
    FlowKey { addr: [low.0, high.0], port: [low.1, high.1], protocol, _pad: [0; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(alive: usize, deleted: usize) -> GcStats {
        GcStats { flows: TableStats { alive, deleted, capacity: 1000 }, ..Default::default() }
    }

    #[test]
    fn the_interval_follows_what_was_found() {
        let minute = Duration::from_secs(60);
        assert_eq!(stats(100, 100).next_interval(minute), minute / 2);
        assert_eq!(stats(100, 1).next_interval(minute), minute * 3 / 2);
        assert_eq!(stats(90, 10).next_interval(minute), minute);
        assert_eq!(stats(900, 0).next_interval(minute), Duration::from_secs(5));
        assert_eq!(stats(0, 0).next_interval(minute * 10), minute * 10);
    }
}
