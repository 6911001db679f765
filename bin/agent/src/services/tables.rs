//! The tables of services in the kernel, written in the order that [`services::Update`] asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use abi::maps as names;
use abi::{Backend, Frontend, FrontendKey, MemberKey, SourceRangeKey};
use anyhow::Result;
use loader::{MaglevTables, Maps, Object};
use reconcile::{Reconciler, Report};
use services::{Balancer, Found, Settings, Table, Update};

use crate::kernel::Shared;

/// What of the services is in the kernel.
pub(super) struct ServiceTables {
    maglev: MaglevTables,
    frontends: Reconciler<FrontendKey, Frontend>,
    members: Reconciler<MemberKey, u32>,
    source_ranges: Reconciler<SourceRangeKey, u32>,
    /// Slots that could not be written; until they are, no frontend may change.
    unwritten: BTreeMap<u32, Backend>,
    /// Maglev tables, likewise.
    unwritten_tables: BTreeMap<u32, Option<Table>>,
    /// What was written to which table, since the start.
    pub(super) written: BTreeMap<&'static str, Report>,
}

impl ServiceTables {
    /// Takes over what is there, and a balancer that knows of it.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub(super) fn adopt(object: &Object, settings: &Settings) -> Result<(Self, Balancer)> {
        let maps = &object.maps;
        let mut tables = Self {
            maglev: MaglevTables::new(&maps.maglev)?,
            frontends: Reconciler::new(),
            members: Reconciler::new(),
            source_ranges: Reconciler::new(),
            unwritten: BTreeMap::new(),
            unwritten_tables: BTreeMap::new(),
            written: BTreeMap::new(),
        };
        let (frontends, members) = (maps.frontends.dump()?, maps.members.dump()?);
        let source_ranges = maps.source_ranges.dump()?;
        take_over(&mut tables.frontends, &frontends);
        take_over(&mut tables.members, &members);
        take_over(&mut tables.source_ranges, &source_ranges);
        let backend = |slot| maps.backends.get(&slot).ok().flatten();
        let maglev = |slot| tables.maglev.read(slot, settings.maglev_size).ok().flatten();
        let found = Found { frontends, members, source_ranges, backend: &backend, maglev: &maglev };
        let balancer = Balancer::adopt(settings.clone(), &found);
        Ok((tables, balancer))
    }

    /// Writes an update, and what failed before. Says whether connections have to look again.
    pub(super) fn apply(&mut self, update: Update, maps: &Maps, now: Duration) -> bool {
        let Update { revision, backends, maglev, members, source_ranges, frontends } = update;
        self.unwritten.extend(backends);
        self.unwritten_tables.extend(maglev);
        set_all(&mut self.members, members, revision);
        set_all(&mut self.source_ranges, source_ranges, revision);
        set_all(&mut self.frontends, frontends, revision);
        self.members.advance(revision);
        self.source_ranges.advance(revision);
        self.frontends.advance(revision);
        self.write_backends(maps);
        self.write_tables(true);
        let mut reports = Vec::new();
        // What is chosen has to be there; what goes, goes when nobody chooses it any more.
        self.hold_deletes(true);
        self.write_rows(maps, now, &mut reports);
        if self.unwritten.is_empty() && self.unwritten_tables.values().all(Option::is_none) {
            reports.push((names::FRONTENDS, self.frontends.run(&mut Shared(&maps.frontends), now)));
        }
        self.hold_deletes(false);
        self.write_rows(maps, now, &mut reports);
        self.write_tables(false);
        for (table, report) in &reports {
            let sum = self.written.entry(table).or_default();
            sum.upserted += report.upserted;
            sum.deleted += report.deleted;
            sum.failed += report.failed;
        }
        reports.iter().any(|(_, report)| report.upserted + report.deleted > 0)
    }

    fn hold_deletes(&mut self, hold: bool) {
        self.members.hold_deletes(hold);
        self.source_ranges.hold_deletes(hold);
    }

    fn write_rows(&mut self, maps: &Maps, now: Duration, reports: &mut Vec<(&'static str, Report)>) {
        reports.push((names::MEMBERS, self.members.run(&mut Shared(&maps.members), now)));
        reports.push((names::SOURCE_RANGES, self.source_ranges.run(&mut Shared(&maps.source_ranges), now)));
    }

    fn write_backends(&mut self, maps: &Maps) {
        let items: Vec<(u32, Backend)> = std::mem::take(&mut self.unwritten).into_iter().collect();
        if items.is_empty() {
            return;
        }
        for (index, error) in maps.backends.upsert_batch(&items) {
            if let Some((slot, backend)) = items.get(index) {
                tracing::error!(
                    slot,
                    error = crate::text(&error),
                    "a backend cannot be written and is tried again"
                );
                self.unwritten.insert(*slot, *backend);
            }
        }
    }

    /// Writes new Maglev tables, or frees those that nobody names.
    fn write_tables(&mut self, fresh: bool) {
        let due: Vec<u32> = self
            .unwritten_tables
            .iter()
            .filter(|(_, table)| table.is_some() == fresh)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in due {
            let Some(table) = self.unwritten_tables.remove(&slot) else { continue };
            let done = match &table {
                Some(table) => self.maglev.write(slot, &table.entries()),
                None => self.maglev.clear(slot),
            };
            if let Err(error) = done {
                tracing::error!(
                    slot,
                    error = crate::text(&error),
                    "a Maglev table cannot be written and is tried again"
                );
                self.unwritten_tables.insert(slot, table);
            }
        }
    }

    /// Whether the kernel has all that was asked for, but for rows that a full table refuses.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten.is_empty()
            && self.unwritten_tables.is_empty()
            && self.frontends.pending()
                == self
                    .frontends
                    .failures()
                    .filter(|(key, _)| self.frontends.desired().contains_key(key))
                    .count()
    }

    /// When [`ServiceTables::apply`] has something to try again.
    pub(super) fn next_run(&self) -> Option<Duration> {
        if !self.unwritten.is_empty() || !self.unwritten_tables.is_empty() {
            return Some(Duration::ZERO);
        }
        let tables = [self.frontends.next_run(), self.members.next_run(), self.source_ranges.next_run()];
        tables.into_iter().flatten().min()
    }

    /// Rows that could not be written, each in one line.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        let frontends = self.frontends.failures().map(|(key, failure)| {
            format!("frontend {}:{}: {}", key.addr, u16::from_be(key.port), failure.error)
        });
        let members = self.members.failures().map(|(key, failure)| {
            format!("backend {}:{}: {}", key.addr, u16::from_be(key.port), failure.error)
        });
        frontends.chain(members)
    }

    /// The frontends as they should be.
    pub(super) fn frontends(&self) -> &BTreeMap<FrontendKey, Frontend> {
        self.frontends.desired()
    }
}

/// Rows that are there are wanted until an update says otherwise: the balancer knows of them, and its updates name only
/// those that differ.
fn take_over<K: Ord + Copy, V: Copy + PartialEq>(table: &mut Reconciler<K, V>, found: &[(K, V)]) {
    table.adopt(found.iter().copied(), |_, _| true);
    table.replace(found.iter().copied().collect(), 0);
}

fn set_all<K: Ord + Clone, V: Clone + PartialEq>(
    table: &mut Reconciler<K, V>,
    delta: services::Delta<K, V>,
    revision: u64,
) {
    for (key, value) in delta {
        match value {
            Some(value) => table.set(key, value, revision),
            None => table.remove(&key, revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use reconcile::{Failed, Target};

    use super::*;

    struct Kernel(BTreeMap<u32, u32>);

    impl Target<u32, u32> for Kernel {
        type Error = io::Error;

        fn upsert_batch(&mut self, items: &[(u32, u32)]) -> Vec<Failed<io::Error>> {
            self.0.extend(items.iter().copied());
            Vec::new()
        }

        fn delete_batch(&mut self, keys: &[u32]) -> Vec<Failed<io::Error>> {
            self.0.retain(|key, _| !keys.contains(key));
            Vec::new()
        }

        fn dump(&mut self) -> Result<Vec<(u32, u32)>, io::Error> {
            Ok(self.0.iter().map(|(key, value)| (*key, *value)).collect())
        }
    }

    #[test]
    fn what_was_found_and_stays_wanted_is_not_touched() {
        let found = [(1, 10), (2, 20)];
        let mut table = Reconciler::new();
        let mut kernel = Kernel(found.into());
        take_over(&mut table, &found);
        // As the first update: 1 is as wanted and not named, 2 is not wanted any more, 3 is new.
        set_all(&mut table, [(2, None), (3, Some(30))].into_iter().collect(), 1);
        let report = table.run(&mut kernel, Duration::ZERO);
        assert_eq!((report.upserted, report.deleted), (1, 1));
        assert_eq!(kernel.0, BTreeMap::from([(1, 10), (3, 30)]));
    }
}
