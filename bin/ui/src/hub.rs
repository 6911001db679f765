//! The last flows, and their way to whoever looks.

use flow::Flow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// Flows kept for whoever comes next.
pub(crate) const KEPT: usize = 10_000;
/// Flows kept because a browser was told of them and may ask for more.
const LISTED: usize = 8192;
/// Batches that wait for a browser that is slow.
const BATCHES: usize = 256;

/// A flow, by a number of its own.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) flow: Flow,
}

/// Flows that came together.
pub(crate) type Batch = Arc<[Arc<Seen>]>;

/// How the way from the relay is.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Health {
    /// Flows are coming, or would.
    pub(crate) connected: bool,
    /// Why not, or which nodes are missing.
    pub(crate) trouble: Option<String>,
    /// Nodes whose flows come.
    pub(crate) nodes: u32,
    /// Nodes whose flows do not.
    pub(crate) missing: Vec<String>,
    /// Events that were lost on the way here.
    pub(crate) lost: u64,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    news: broadcast::Sender<Batch>,
    health: watch::Sender<Health>,
    /// How many look.
    lookers: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    last: VecDeque<Arc<Seen>>,
    listed: VecDeque<Arc<Seen>>,
}

/// Somebody who looks; while there is one, the relay is asked.
#[derive(Debug)]
pub(crate) struct Looker(Hub);

impl Hub {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            kept: Mutex::default(),
            news: broadcast::Sender::new(BATCHES),
            health: watch::Sender::default(),
            lookers: watch::Sender::default(),
        }))
    }

    /// Nothing is left half done while it is held.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps flows and passes them on.
    pub(crate) fn push(&self, flows: impl IntoIterator<Item = Flow>) {
        let mut kept = self.kept();
        let numbered = flows.into_iter().map(|flow| {
            kept.next += 1;
            Arc::new(Seen { id: kept.next, flow })
        });
        let batch: Batch = numbered.collect();
        kept.last.extend(batch.iter().cloned());
        let over = kept.last.len().saturating_sub(KEPT);
        kept.last.drain(..over);
        // While the lock is held, so that nobody who comes now sees a flow twice or never. Nobody may be listening.
        let _ = self.0.news.send(batch);
    }

    /// Forgets what was kept: the next stream begins with the last flows anyway.
    pub(crate) fn clear(&self) {
        self.kept().last.clear();
    }

    /// What is kept, and what comes after it.
    pub(crate) fn look(&self) -> (Vec<Arc<Seen>>, broadcast::Receiver<Batch>, Looker) {
        let kept = self.kept();
        let news = self.0.news.subscribe();
        let last = kept.last.iter().cloned().collect();
        drop(kept);
        self.0.lookers.send_modify(|lookers| *lookers += 1);
        (last, news, Looker(self.clone()))
    }

    /// Remembers flows that a browser was told of.
    pub(crate) fn list(&self, flows: &[Arc<Seen>]) {
        let mut kept = self.kept();
        kept.listed.extend(flows.iter().cloned());
        let over = kept.listed.len().saturating_sub(LISTED);
        kept.listed.drain(..over);
    }

    /// A flow that was listed, or is one of the last.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<Seen>> {
        let kept = self.kept();
        let of = |flows: &VecDeque<Arc<Seen>>| flows.iter().rev().find(|seen| seen.id == id).cloned();
        of(&kept.listed).or_else(|| of(&kept.last))
    }

    pub(crate) fn health(&self) -> Health {
        self.0.health.borrow().clone()
    }

    pub(crate) fn set_health(&self, change: impl FnOnce(&mut Health)) {
        self.0.health.send_modify(change);
    }

    /// How many look, and when that changes.
    pub(crate) fn lookers(&self) -> watch::Receiver<usize> {
        self.0.lookers.subscribe()
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.0.0.lookers.send_modify(|lookers| *lookers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_sees_every_flow_once() {
        let hub = Hub::new();
        hub.push(vec![Flow::default(); KEPT + 5]);
        let (last, mut news, looker) = hub.look();
        assert_eq!((last.len(), last[0].id, *hub.lookers().borrow()), (KEPT, 6, 1));
        hub.push([Flow::default()]);
        let batch = news.try_recv().expect("the new one");
        assert_eq!((batch.len(), batch[0].id), (1, KEPT as u64 + 6));
        drop(looker);
        assert_eq!(*hub.lookers().borrow(), 0);
    }

    #[test]
    fn listed_flows_outlive_the_others_for_a_while() {
        let hub = Hub::new();
        hub.push([Flow::default()]);
        let (last, ..) = hub.look();
        hub.list(&last);
        hub.push(vec![Flow::default(); KEPT]);
        assert!(hub.find(1).is_some());
        hub.list(&vec![hub.find(5).expect("kept"); LISTED]);
        assert!(hub.find(1).is_none() && hub.find(5).is_some());
    }
}
