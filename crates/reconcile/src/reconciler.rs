use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

use crate::{
    Backoff, Failed, Failure, Revision, Target,
    pending::{Have, Pending},
};

/// Which kind of change goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Upserts before deletes: make before break. When the target says it is full, the deletes are done and the
    /// refused upserts tried again in the same run.
    #[default]
    UpsertsFirst,
    /// Deletes before upserts, for targets where old and new exclude each other.
    DeletesFirst,
}

/// How a [`Reconciler`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Which kind of change goes first.
    pub order: Order,
    /// When failed keys are tried again.
    pub backoff: Backoff,
}

/// What one run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Items written.
    pub upserted: usize,
    /// Items deleted.
    pub deleted: usize,
    /// Items that failed and will be tried again.
    pub failed: usize,
}

impl Report {
    /// Whether the run did not touch the target.
    pub fn is_silent(&self) -> bool {
        *self == Report::default()
    }
}

/// What a full comparison found, each with how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    /// Desired, believed to be there, and not there.
    pub missing: usize,
    /// There with another value than was written.
    pub changed: usize,
    /// There although nobody here wrote it.
    pub foreign: usize,
}

impl Drift {
    /// All differences together.
    pub fn total(&self) -> usize {
        self.missing + self.changed + self.foreign
    }
}

/// Brings a [`Target`] to the desired table. See the crate's documentation for the invariants.
#[derive(Debug)]
pub struct Reconciler<K, V> {
    options: Options,
    desired: BTreeMap<K, V>,
    pending: BTreeMap<K, Pending<V>>,
    /// The newest revision that was asked for.
    asked: Revision,
    hold_deletes: bool,
}

impl<K, V> Default for Reconciler<K, V> {
    fn default() -> Self {
        Self::with_options(Options::default())
    }
}

impl<K, V> Reconciler<K, V> {
    /// An empty reconciler over an empty target.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty reconciler over an empty target, working as `options` say.
    pub fn with_options(options: Options) -> Self {
        Reconciler {
            options,
            desired: BTreeMap::new(),
            pending: BTreeMap::new(),
            asked: 0,
            hold_deletes: false,
        }
    }

    /// The desired table.
    pub fn desired(&self) -> &BTreeMap<K, V> {
        &self.desired
    }

    /// How many keys are not yet in the target as desired.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// While held, nothing is deleted: for the time at start when the desired table is not complete yet. Deletes that are
    /// held back do not count against [`Reconciler::realized`].
    pub fn hold_deletes(&mut self, hold: bool) {
        self.hold_deletes = hold;
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Reconciler<K, V> {
    /// Takes over what is in the target already: items equal to the desired ones are settled, others are changed by the
    /// next run, and what nobody desires is deleted, as long as `mine` says that it is ours. Call it once, before or
    /// after the first desired items, and not between runs (that is [`Reconciler::compare`]).
    pub fn adopt(&mut self, observed: impl IntoIterator<Item = (K, V)>, mine: impl Fn(&K, &V) -> bool) {
        let asked = self.asked;
        for (key, value) in observed {
            if self.desired.contains_key(&key) || mine(&key, &value) {
                self.note(key, Have::Value(value), asked);
            }
        }
    }

    /// Desires `value` under `key` as of `revision`.
    pub fn set(&mut self, key: K, value: V, revision: Revision) {
        self.change(key, Some(value), revision);
    }

    /// Desires nothing under `key` as of `revision`.
    pub fn remove(&mut self, key: &K, revision: Revision) {
        if self.desired.contains_key(key) {
            self.change(key.clone(), None, revision);
        }
        self.advance(revision);
    }

    /// Desires exactly `table` as of `revision`; equal items cost nothing.
    pub fn replace(&mut self, table: BTreeMap<K, V>, revision: Revision) {
        let gone: Vec<K> = self.desired.keys().filter(|key| !table.contains_key(key)).cloned().collect();
        for key in gone {
            self.change(key, None, revision);
        }
        for (key, value) in table {
            self.change(key, Some(value), revision);
        }
        self.advance(revision);
    }

    /// Notes that the desired table is complete as of `revision`, also if nothing changed with it.
    pub fn advance(&mut self, revision: Revision) {
        self.asked = self.asked.max(revision);
    }

    /// Writes what is pending and due. Doing it again at once is a no-op.
    pub fn run<T: Target<K, V>>(&mut self, target: &mut T, now: Duration) -> Report {
        let mut report = Report::default();
        if self.pending.is_empty() {
            return report;
        }
        let (upserts, deletes) = self.due(now);
        match self.options.order {
            Order::UpsertsFirst => {
                let refused = self.upsert(target, &upserts, now, &mut report, true);
                let freed = self.delete(target, &deletes, now, &mut report);
                self.again(target, refused, freed, now, &mut report);
            }
            Order::DeletesFirst => {
                self.delete(target, &deletes, now, &mut report);
                self.upsert(target, &upserts, now, &mut report, false);
            }
        }
        report
    }

    /// The newest revision of which everything is in the target.
    pub fn realized(&self) -> Revision {
        let held = |key: &K| self.hold_deletes && !self.desired.contains_key(key);
        let oldest = self.pending.iter().filter(|(key, _)| !held(key)).map(|(_, p)| p.since).min();
        oldest.map_or(self.asked, |since| since.saturating_sub(1).min(self.asked))
    }

    /// Whether `key` is in the target as desired (also when nothing is desired and nothing is there).
    pub fn is_settled(&self, key: &K) -> bool {
        !self.pending.contains_key(key)
    }

    /// The keys that failed, and why, in key order.
    pub fn failures(&self) -> impl Iterator<Item = (&K, &Failure)> {
        self.pending.iter().filter_map(|(key, p)| p.failure.as_ref().map(|failure| (key, failure)))
    }

    /// When the next run has something to do: at once (`Duration::ZERO`), at a time, or never.
    pub fn next_run(&self) -> Option<Duration> {
        let held = |key: &K| self.hold_deletes && !self.desired.contains_key(key);
        let due = |p: &Pending<V>| p.failure.as_ref().map_or(Duration::ZERO, |failure| failure.retry_at);
        self.pending.iter().filter(|(key, _)| !held(key)).map(|(_, p)| due(p)).min()
    }

    /// Reads the whole target and compares. What drifted becomes pending, so the next run repairs it; foreign items are
    /// counted, and deleted only if `mine` says that they are ours.
    ///
    /// # Errors
    /// When the target cannot be read; nothing changes then.
    pub fn compare<T: Target<K, V>>(
        &mut self,
        target: &mut T,
        mine: impl Fn(&K, &V) -> bool,
    ) -> Result<Drift, T::Error> {
        let mut seen: BTreeMap<K, V> = target.dump()?.into_iter().collect();
        let mut drift = Drift::default();
        let mut drifted = Vec::new();
        for (key, want) in &self.desired {
            let have = seen.remove(key);
            if self.pending.contains_key(key) {
                continue;
            }
            match have {
                Some(value) if value == *want => {}
                Some(value) => {
                    drift.changed += 1;
                    drifted.push((key.clone(), Have::Value(value)));
                }
                None => {
                    drift.missing += 1;
                    drifted.push((key.clone(), Have::Nothing));
                }
            }
        }
        for (key, value) in seen {
            if self.pending.contains_key(&key) {
                continue;
            }
            drift.foreign += 1;
            if mine(&key, &value) {
                drifted.push((key, Have::Value(value)));
            }
        }
        let asked = self.asked;
        for (key, have) in drifted {
            self.note(key, have, asked);
        }
        Ok(drift)
    }

    /// Sets what is known of `key` in the target and makes it pending if that is not what is desired.
    fn note(&mut self, key: K, have: Have<V>, since: Revision) {
        if have.is(self.desired.get(&key)) {
            self.pending.remove(&key);
        } else {
            self.pending.entry(key).and_modify(|p| p.have = have.clone()).or_insert(Pending {
                have,
                since,
                failure: None,
            });
        }
    }

    fn change(&mut self, key: K, want: Option<V>, revision: Revision) {
        self.advance(revision);
        let before = match &want {
            Some(value) => self.desired.insert(key.clone(), value.clone()),
            None => self.desired.remove(&key),
        };
        if before == want {
            return;
        }
        match self.pending.entry(key) {
            Entry::Occupied(mut entry) => {
                if entry.get().have.is(want.as_ref()) {
                    entry.remove();
                } else {
                    // A new wish deserves a new try, however often the old one failed.
                    entry.get_mut().failure = None;
                }
            }
            Entry::Vacant(entry) => {
                let have = before.map_or(Have::Nothing, Have::Value);
                entry.insert(Pending { have, since: revision, failure: None });
            }
        }
    }

    fn due(&self, now: Duration) -> (Vec<(K, V)>, Vec<K>) {
        let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
        for (key, pending) in &self.pending {
            if pending.failure.as_ref().is_some_and(|failure| failure.retry_at > now) {
                continue;
            }
            match self.desired.get(key) {
                Some(value) => upserts.push((key.clone(), value.clone())),
                None if self.hold_deletes => {}
                None => deletes.push(key.clone()),
            }
        }
        (upserts, deletes)
    }

    /// Gives the items that were refused for want of room, if `hope` says that room may be made.
    fn upsert<T: Target<K, V>>(
        &mut self,
        target: &mut T,
        items: &[(K, V)],
        now: Duration,
        report: &mut Report,
        hope: bool,
    ) -> Vec<(K, V, T::Error)> {
        if items.is_empty() {
            return Vec::new();
        }
        let failed = target.upsert_batch(items);
        let mut refused = Vec::new();
        let ok = settle(items.len(), failed, |index, error| {
            let (key, value) = &items[index];
            if hope && target.is_full(&error) {
                refused.push((key.clone(), value.clone(), error));
            } else {
                self.fail(key, error, now);
                report.failed += 1;
            }
        });
        for index in ok {
            self.pending.remove(&items[index].0);
            report.upserted += 1;
        }
        refused
    }

    fn delete<T: Target<K, V>>(
        &mut self,
        target: &mut T,
        keys: &[K],
        now: Duration,
        report: &mut Report,
    ) -> usize {
        if keys.is_empty() {
            return 0;
        }
        let failed = target.delete_batch(keys);
        let ok = settle(keys.len(), failed, |index, error| {
            self.fail(&keys[index], error, now);
            report.failed += 1;
        });
        for index in &ok {
            self.pending.remove(&keys[*index]);
        }
        report.deleted += ok.len();
        ok.len()
    }

    /// Tries the upserts again that found no room, now that `freed` items are gone.
    fn again<T: Target<K, V>>(
        &mut self,
        target: &mut T,
        refused: Vec<(K, V, T::Error)>,
        freed: usize,
        now: Duration,
        report: &mut Report,
    ) {
        if freed > 0 {
            let items: Vec<(K, V)> = refused.into_iter().map(|(key, value, _)| (key, value)).collect();
            self.upsert(target, &items, now, report, false);
        } else {
            for (key, _, error) in refused {
                self.fail(&key, error, now);
                report.failed += 1;
            }
        }
    }

    fn fail(&mut self, key: &K, error: impl std::error::Error + Send + Sync + 'static, now: Duration) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        let attempts = pending.failure.as_ref().map_or(0, |failure| failure.attempts).saturating_add(1);
        let retry_at = now.saturating_add(self.options.backoff.delay(attempts));
        pending.have = Have::Unknown;
        pending.failure = Some(Failure { error: Arc::new(error), attempts, retry_at });
    }
}

/// Hands each failure to `on_failure` and gives the positions of the others.
fn settle<E>(len: usize, failed: Vec<Failed<E>>, mut on_failure: impl FnMut(usize, E)) -> Vec<usize> {
    let mut ok = vec![true; len];
    for (index, error) in failed {
        // A target that names a position twice, or one that does not exist, must not corrupt our books.
        if let Some(slot) = ok.get_mut(index).filter(|slot| **slot) {
            *slot = false;
            on_failure(index, error);
        }
    }
    ok.iter().enumerate().filter_map(|(index, ok)| ok.then_some(index)).collect()
}
