//! How a watch is doing, for status and readiness.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// State of one watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchHealth {
    /// Kind of object.
    pub kind: String,
    /// Whether a full list was delivered once.
    pub synced: bool,
    /// Whether the last request succeeded.
    pub connected: bool,
    /// When the server last said something: an answer, an event, a bookmark.
    pub last_contact: Option<Instant>,
    /// Failures since the last success.
    pub failures: u32,
    /// The last failure, kept after it is over.
    pub last_error: Option<String>,
    /// Objects that exist, as far as known.
    pub objects: usize,
    /// Full lists delivered.
    pub resets: u64,
    /// Objects that were new or had changed, those of full lists too, since start.
    pub applied: u64,
    /// Objects that went, as far as watches told, since start.
    pub deleted: u64,
    /// Objects that could not be read, since start.
    pub invalid: u64,
    /// Empty lists that a second list did not confirm.
    pub refuted_empty_lists: u64,
}

impl WatchHealth {
    pub(crate) fn new(kind: String) -> Self {
        Self {
            kind,
            synced: false,
            connected: false,
            last_contact: None,
            failures: 0,
            last_error: None,
            objects: 0,
            resets: 0,
            applied: 0,
            deleted: 0,
            invalid: 0,
            refuted_empty_lists: 0,
        }
    }

    /// How long the server has been silent, at `now`.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        self.last_contact.map(|contact| now.saturating_duration_since(contact))
    }
}

/// A view of one watch; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watched(pub(crate) watch::Receiver<WatchHealth>);

impl Watched {
    /// The state now.
    #[must_use]
    pub fn health(&self) -> WatchHealth {
        self.0.borrow().clone()
    }

    /// Waits until a first full list was delivered. Returns whether it was: false when the watch has ended before.
    pub async fn synced(&mut self) -> bool {
        self.0.wait_for(|health| health.synced).await.is_ok()
    }
}
