//! Changes on their way into the queue, in batches.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::change::Change;

/// Changes wait this long for company, counted from the first of a batch.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// A batch of this many is sent at once.
pub(crate) const BATCH: usize = 512;

/// The queue's receiver is gone.
pub(crate) struct Closed;

/// Changes on their way into the queue.
pub(crate) struct Outlet<K, M, F> {
    pending: Vec<Change<K>>,
    deadline: Option<Instant>,
    queue: mpsc::Sender<M>,
    message: F,
}

impl<K, M, F: Fn(Vec<Change<K>>) -> M> Outlet<K, M, F> {
    pub(crate) fn new(queue: mpsc::Sender<M>, message: F) -> Self {
        Self { pending: Vec::new(), deadline: None, queue, message }
    }

    /// When what is pending must be sent.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn push(&mut self, change: Change<K>) {
        self.pending.push(change);
        let now = Instant::now();
        let due = if self.pending.len() >= BATCH { now } else { now + DEBOUNCE };
        self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
    }

    /// Sends what is pending; waits while the queue is full.
    pub(crate) async fn flush(&mut self) -> Result<(), Closed> {
        self.deadline = None;
        if self.pending.is_empty() {
            return Ok(());
        }
        let message = (self.message)(std::mem::take(&mut self.pending));
        self.queue.send(message).await.map_err(|_| Closed)
    }
}
