//! The ring behind its lock, and what is counted on the way in.

use crate::rate::Rate;
use flow::{Cursor, Flow, LostEvents, Ring};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a namespace is remembered after its last flow, ns.
const NAMESPACE_LIFETIME: u64 = 3_600_000_000_000;

/// What the ring holds.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A flow.
    Flow(Arc<Flow>),
    /// Events that did not become flows.
    Lost(LostEvents),
}

impl Entry {
    /// When, ns since the Unix epoch.
    pub(crate) fn time(&self) -> u64 {
        match self {
            Entry::Flow(flow) => flow.time,
            Entry::Lost(lost) => lost.last,
        }
    }
}

/// The flows of this node.
#[derive(Debug)]
pub(crate) struct Store(Mutex<State>);

#[derive(Debug)]
struct State {
    ring: Ring<Entry>,
    /// Flows ever seen.
    seen: u64,
    rate: Rate,
    /// Cluster and namespace → last flow, ns since the Unix epoch.
    namespaces: BTreeMap<(String, String), u64>,
}

/// Figures for `ServerStatus`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Entries in the ring.
    pub(crate) held: u64,
    /// Room in the ring.
    pub(crate) capacity: u64,
    /// Flows ever seen.
    pub(crate) seen: u64,
    /// Flows a second over the last minute.
    pub(crate) rate: f64,
}

impl Store {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(State {
            ring: Ring::new(capacity),
            seen: 0,
            rate: Rate::default(),
            namespaces: BTreeMap::new(),
        }))
    }

    /// Adds flows. `now` is in ns since the Unix epoch.
    pub(crate) fn push(&self, flows: impl Iterator<Item = Flow>, now: u64) {
        let mut state = self.lock();
        let mut count = 0;
        for flow in flows {
            state.note_namespaces(&flow, now);
            state.ring.push(Entry::Flow(Arc::new(flow)));
            count += 1;
        }
        state.seen += count;
        state.rate.add(count, now);
    }

    /// Adds lost events, to the last entry if that tells of the same loss: a storm of losses must not push the flows
    /// out of the ring.
    pub(crate) fn lost(&self, lost: LostEvents) {
        let mut state = self.lock();
        if let Some(Entry::Lost(last)) = state.ring.last_mut()
            && last.source == lost.source
            && last.cpu == lost.cpu
        {
            last.count += lost.count;
            last.last = lost.last;
        } else {
            state.ring.push(Entry::Lost(lost));
        }
    }

    /// All entries, oldest first, and the place after them.
    pub(crate) fn snapshot(&self) -> (Vec<Entry>, Cursor) {
        let state = self.lock();
        (state.ring.iter().cloned().collect(), state.ring.end())
    }

    /// The place after the newest entry.
    pub(crate) fn end(&self) -> Cursor {
        self.lock().ring.end()
    }

    /// Reads up to `most` entries into `out`, and returns how many were overwritten before they could be read.
    pub(crate) fn read(&self, cursor: &mut Cursor, most: usize, out: &mut Vec<Entry>) -> u64 {
        let state = self.lock();
        let mut missed = 0;
        for _ in 0..most {
            let (lost, entry) = state.ring.next(cursor);
            missed += lost;
            match entry {
                Some(entry) => out.push(entry.clone()),
                None => break,
            }
        }
        missed
    }

    pub(crate) fn figures(&self, now: u64) -> Figures {
        let state = self.lock();
        Figures {
            held: state.ring.len() as u64,
            capacity: state.ring.capacity() as u64,
            seen: state.seen,
            rate: state.rate.per_second(now),
        }
    }

    /// Clusters and namespaces with a flow in the last hour.
    pub(crate) fn namespaces(&self, now: u64) -> Vec<(String, String)> {
        let mut state = self.lock();
        state.namespaces.retain(|_, last| last.saturating_add(NAMESPACE_LIFETIME) > now);
        state.namespaces.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves the ring whole: every step of it is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_namespaces(&mut self, flow: &Flow, now: u64) {
        let pods = [&flow.source, &flow.destination].into_iter().filter_map(|end| end.pod.as_deref());
        for pod in pods.filter(|pod| !pod.namespace.is_empty()) {
            // A linear look, because a lookup by key would have to build one.
            let known =
                self.namespaces.iter_mut().find(|((c, n), _)| *c == pod.cluster && *n == pod.namespace);
            match known {
                Some((_, last)) => *last = now,
                None => {
                    self.namespaces.insert((pod.cluster.clone(), pod.namespace.clone()), now);
                }
            }
        }
    }
}
