//! Garbage collection of flows and translated connections.
//!
//! The programs never delete: they write when an entry may go, and this walks the tables in batches and deletes what is due.
//! A packet that revives an entry between the look and the delete loses it; its flow is then decided again, by the policy of
//! now, as after any expiry.

use std::time::Duration;

use abi::{Flow, NatValue};

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
    /// Answered translated connections, two entries each.
    pub nat: TableStats,
    /// Translated connections nobody answered yet, two entries each.
    pub nat_half_open: TableStats,
}

impl GcStats {
    /// When to sweep next, `last` being the wait before this sweep: sooner when much was found or a table gets full, later when little was.
    pub fn next_interval(&self, last: Duration) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(5);
        const LONGEST: Duration = Duration::from_secs(600);
        let tables = [self.flows, self.half_open, self.nat, self.nat_half_open];
        let deleted: usize = tables.iter().map(|table| table.deleted).sum();
        let seen: usize = deleted + tables.iter().map(|table| table.alive).sum::<usize>();
        // What is half-open lives in LRUs that may be full without harm.
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

/// A sweep, a piece at a time.
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
    NatHalfOpen,
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
            Stage::Nat => sweep(&maps.nat, cursor, &mut stats.nat, |_, entry: &NatValue| entry.expires < now),
            Stage::NatHalfOpen => {
                sweep(&maps.nat_half_open, cursor, &mut stats.nat_half_open, |_, entry| entry.expires < now)
            }
        };
        if result.is_ok() && !self.cursor.is_done() {
            return Ok(Progress::More);
        }
        self.cursor = Cursor::new(self.chunk);
        self.stage = match self.stage {
            Stage::Flows => Stage::HalfOpen,
            Stage::HalfOpen => Stage::Nat,
            Stage::Nat => Stage::NatHalfOpen,
            Stage::NatHalfOpen => Stage::Flows,
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
