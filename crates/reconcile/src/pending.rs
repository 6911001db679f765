use std::{sync::Arc, time::Duration};

use crate::Revision;

/// How long to wait before a failed key is tried again: doubles from `first` up to `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait.
    pub limit: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(50), limit: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after the `attempts`-th failure in a row (1 = the first).
    pub fn delay(&self, attempts: u32) -> Duration {
        let factor = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.limit)
    }
}

/// Why a key is not in the target as desired.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What the target said last.
    pub error: Arc<dyn std::error::Error + Send + Sync>,
    /// Failures in a row.
    pub attempts: u32,
    /// When it is tried again.
    pub retry_at: Duration,
}

/// A key whose content in the target is not, or not surely, what is desired.
#[derive(Debug)]
pub(crate) struct Pending<V> {
    /// What the target holds.
    pub(crate) have: Have<V>,
    /// The revision that first asked for something the target does not have yet.
    pub(crate) since: Revision,
    pub(crate) failure: Option<Failure>,
}

/// What is known of one key in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Have<V> {
    /// The key is not there.
    Nothing,
    /// The key is there with this value.
    Value(V),
    /// A write failed half way, so either may be true.
    Unknown,
}

impl<V: PartialEq> Have<V> {
    pub(crate) fn is(&self, want: Option<&V>) -> bool {
        match (self, want) {
            (Have::Nothing, None) => true,
            (Have::Value(have), Some(want)) => have == want,
            _ => false,
        }
    }
}
