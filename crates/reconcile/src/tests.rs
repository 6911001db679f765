use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use crate::{Drift, Failed, MemoryTarget, Options, Order, Reconciler, Report, Target};

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Full,
    Broken,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for Refusal {}

/// A table with room for `room` keys, in which operations whose number is in `broken` fail, half of them after all.
#[derive(Default)]
struct Flaky {
    table: BTreeMap<u8, u8>,
    room: Option<usize>,
    broken: Vec<bool>,
    operations: usize,
    log: Vec<String>,
}

impl Flaky {
    fn fails(&mut self) -> bool {
        self.operations += 1;
        self.broken.get(self.operations - 1).copied().unwrap_or(false)
    }
}

impl Target<u8, u8> for Flaky {
    type Error = Refusal;

    fn upsert_batch(&mut self, items: &[(u8, u8)]) -> Vec<Failed<Refusal>> {
        let mut failed = Vec::new();
        for (index, (key, value)) in items.iter().enumerate() {
            self.log.push(format!("+{key}"));
            let full =
                self.room.is_some_and(|room| self.table.len() >= room && !self.table.contains_key(key));
            if full {
                failed.push((index, Refusal::Full));
            } else if self.fails() {
                // Half of the failures come after the write took effect.
                if self.operations.is_multiple_of(2) {
                    self.table.insert(*key, *value);
                }
                failed.push((index, Refusal::Broken));
            } else {
                self.table.insert(*key, *value);
            }
        }
        failed
    }

    fn delete_batch(&mut self, keys: &[u8]) -> Vec<Failed<Refusal>> {
        let mut failed = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            self.log.push(format!("-{key}"));
            if self.fails() {
                failed.push((index, Refusal::Broken));
            } else {
                self.table.remove(key);
            }
        }
        failed
    }

    fn dump(&mut self) -> Result<Vec<(u8, u8)>, Refusal> {
        Ok(self.table.iter().map(|(k, v)| (*k, *v)).collect())
    }

    fn is_full(&self, error: &Refusal) -> bool {
        *error == Refusal::Full
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn table(items: &[(u8, u8)]) -> BTreeMap<u8, u8> {
    items.iter().copied().collect()
}

fn any_table() -> impl Strategy<Value = BTreeMap<u8, u8>> {
    prop::collection::btree_map(0u8..20, 0u8..4, 0..20)
}

proptest! {
    #[test]
    fn any_sequence_of_wishes_over_a_failing_target_converges_and_is_silent_then(
        found in any_table(),
        wishes in prop::collection::vec(any_table(), 1..6),
        broken in prop::collection::vec(any::<bool>(), 0..120),
        deletes_first in any::<bool>(),
    ) {
        let order = if deletes_first { Order::DeletesFirst } else { Order::UpsertsFirst };
        let mut target = Flaky { table: found.clone(), broken, ..Default::default() };
        let mut reconciler = Reconciler::with_options(Options { order, ..Default::default() });
        reconciler.adopt(found, |_, _| true);
        let mut now = Duration::ZERO;
        for (revision, wish) in wishes.iter().enumerate() {
            reconciler.replace(wish.clone(), revision as u64 + 1);
            reconciler.run(&mut target, now);
            // What is said to be settled is there, at any time.
            for key in 0..20 {
                if reconciler.is_settled(&key) {
                    prop_assert_eq!(target.table.get(&key), wish.get(&key));
                }
            }
            now += SECOND;
        }
        let last = wishes.len() as u64;
        for _ in 0..200 {
            let Some(at) = reconciler.next_run() else { break };
            prop_assert!(reconciler.realized() < last);
            now = now.max(at);
            reconciler.run(&mut target, now);
        }
        prop_assert_eq!(&target.table, &wishes[wishes.len() - 1]);
        prop_assert_eq!(reconciler.realized(), last);
        prop_assert_eq!(reconciler.failures().count(), 0);
        let operations = target.log.len();
        reconciler.replace(wishes[wishes.len() - 1].clone(), last);
        prop_assert!(reconciler.run(&mut target, now).is_silent());
        prop_assert_eq!(target.log.len(), operations);
        prop_assert_eq!(reconciler.compare(&mut target, |_, _| true), Ok(Drift::default()));
    }

    #[test]
    fn foreign_keys_are_never_touched(found in any_table(), wishes in prop::collection::vec(any_table(), 1..5)) {
        // Keys from 10 up belong to somebody else, and we never ask for them.
        let mine = |key: &u8, _: &u8| *key < 10;
        let foreign: BTreeMap<u8, u8> = found.iter().filter(|(k, _)| **k >= 10).map(|(k, v)| (*k, *v)).collect();
        let mut target = MemoryTarget { table: found.clone(), writes: 0 };
        let mut reconciler = Reconciler::new();
        reconciler.adopt(found, mine);
        for (revision, wish) in wishes.into_iter().enumerate() {
            let wish: BTreeMap<u8, u8> = wish.into_iter().filter(|(key, _)| *key < 10).collect();
            reconciler.replace(wish.clone(), revision as u64 + 1);
            reconciler.run(&mut target, Duration::ZERO);
            let drift = reconciler.compare(&mut target, mine).expect("memory cannot fail");
            prop_assert_eq!(drift, Drift { foreign: foreign.len(), ..Default::default() });
            let mut expected = wish;
            expected.extend(foreign.iter());
            prop_assert_eq!(&target.table, &expected);
        }
    }
}

#[test]
fn what_was_adopted_as_desired_is_not_written_again() {
    let mut target = MemoryTarget { table: table(&[(1, 1), (2, 2), (3, 3)]), writes: 0 };
    let mut reconciler = Reconciler::new();
    reconciler.adopt(target.dump().expect("memory cannot fail"), |_, _| true);
    reconciler.replace(table(&[(1, 1), (2, 9)]), 1);
    let report = reconciler.run(&mut target, Duration::ZERO);
    assert_eq!(report, Report { upserted: 1, deleted: 1, failed: 0 });
    assert_eq!(target.writes, 2);
}

#[test]
fn held_deletes_wait_until_the_wishes_are_complete() {
    let mut target = MemoryTarget { table: table(&[(1, 1), (2, 2)]), writes: 0 };
    let mut reconciler = Reconciler::new();
    reconciler.hold_deletes(true);
    reconciler.adopt(target.dump().expect("memory cannot fail"), |_, _| true);
    reconciler.set(1, 1, 1);
    assert!(reconciler.run(&mut target, Duration::ZERO).is_silent());
    assert_eq!((reconciler.realized(), reconciler.next_run()), (1, None));
    reconciler.hold_deletes(false);
    assert_eq!(reconciler.run(&mut target, Duration::ZERO).deleted, 1);
    assert_eq!(target.table, table(&[(1, 1)]));
}

#[test]
fn make_comes_before_break_unless_asked_otherwise() {
    for (order, expected) in [(Order::UpsertsFirst, ["+2", "-1"]), (Order::DeletesFirst, ["-1", "+2"])] {
        let mut target = Flaky { table: table(&[(1, 1)]), ..Default::default() };
        let mut reconciler = Reconciler::with_options(Options { order, ..Default::default() });
        reconciler.adopt([(1, 1)], |_, _| true);
        reconciler.replace(table(&[(2, 2)]), 1);
        reconciler.run(&mut target, Duration::ZERO);
        assert_eq!(target.log, expected);
    }
}

#[test]
fn a_full_table_is_made_room_in_within_one_run() {
    let mut target = Flaky { table: table(&[(1, 1), (2, 2)]), room: Some(2), ..Default::default() };
    let mut reconciler = Reconciler::new();
    reconciler.adopt([(1, 1), (2, 2)], |_, _| true);
    reconciler.replace(table(&[(3, 3), (4, 4)]), 1);
    let report = reconciler.run(&mut target, Duration::ZERO);
    assert_eq!(report, Report { upserted: 2, deleted: 2, failed: 0 });
    // With nothing to delete the refusal is an error like any other.
    reconciler.set(5, 5, 2);
    assert_eq!(reconciler.run(&mut target, Duration::ZERO).failed, 1);
    assert_eq!(reconciler.realized(), 1);
}

#[test]
fn failures_are_retried_key_by_key_with_growing_waits() {
    let mut target = Flaky { broken: vec![true, false, true, true], ..Default::default() };
    let mut reconciler = Reconciler::new();
    reconciler.set(1, 1, 1);
    reconciler.set(2, 2, 2);
    assert_eq!(reconciler.run(&mut target, SECOND), Report { upserted: 1, deleted: 0, failed: 1 });
    assert_eq!(reconciler.realized(), 0);
    assert!(reconciler.is_settled(&2) && !reconciler.is_settled(&1));
    let mut waits = Vec::new();
    let mut now = SECOND;
    while let Some(at) = reconciler.next_run() {
        assert!(reconciler.run(&mut target, now).is_silent(), "nothing is due before {at:?}");
        waits.push((at - now).as_millis());
        now = at;
        reconciler.run(&mut target, now);
    }
    assert_eq!(waits, [50, 100, 200]);
    assert_eq!((reconciler.realized(), target.table), (2, table(&[(1, 1), (2, 2)])));
}

#[test]
fn drift_is_counted_and_repaired() {
    let mut target = MemoryTarget::default();
    let mut reconciler = Reconciler::new();
    reconciler.replace(table(&[(1, 1), (2, 2), (3, 3)]), 1);
    reconciler.run(&mut target, Duration::ZERO);
    target.table = table(&[(1, 1), (2, 7), (9, 9)]);
    let drift = reconciler.compare(&mut target, |_, _| true).expect("memory cannot fail");
    assert_eq!(drift, Drift { missing: 1, changed: 1, foreign: 1 });
    reconciler.run(&mut target, Duration::ZERO);
    assert_eq!(target.table, table(&[(1, 1), (2, 2), (3, 3)]));
}
