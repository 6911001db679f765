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
    /// When to sweep next, `busy` being what this sweep took of a processor: so that sweeping takes 0.2 % of one, and soon
    /// where a table gets full. A node with little to sweep looks often, so that a table that fills is noticed in time.
    pub fn next_interval(&self, busy: Duration) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(5);
        const LONGEST: Duration = Duration::from_secs(600);
        // What is half-open lives in LRUs that may be full without harm.
        let full = self.flows.pressure().max(self.nat.pressure());
        if full > 0.75 { SHORTEST } else { busy.saturating_mul(500).clamp(SHORTEST, LONGEST) }
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

    fn stats(alive: usize) -> GcStats {
        GcStats { flows: TableStats { alive, deleted: 0, capacity: 1000 }, ..Default::default() }
    }

    #[test]
    fn the_interval_follows_the_cost_and_the_room_left() {
        let ms = Duration::from_millis;
        assert_eq!(stats(100).next_interval(ms(1)), Duration::from_secs(5));
        assert_eq!(stats(100).next_interval(ms(60)), Duration::from_secs(30));
        assert_eq!(stats(100).next_interval(ms(60_000)), Duration::from_secs(600));
        assert_eq!(stats(900).next_interval(ms(60)), Duration::from_secs(5));
    }
}
