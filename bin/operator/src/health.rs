//! `/healthz`: whether this process does its work. An API server that is away is not its fault, and a restart would not
//! bring it back, so that does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

/// A leader whose loop has not come round for this long is stuck. One round can take as long as its slowest request.
const STUCK: Duration = Duration::from_secs(120);

/// What the probes see. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    leading: AtomicBool,
    /// Milliseconds from start to the last sign of life of a leader.
    beat: AtomicU64,
}

impl Health {
    /// A process that waits to lead.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            leading: AtomicBool::new(false),
            beat: AtomicU64::new(0),
        }))
    }

    /// Whether this process leads.
    pub(crate) fn set_leading(&self, leading: bool) {
        self.beat();
        self.0.leading.store(leading, Ordering::Relaxed);
    }

    /// Whether this process leads now.
    pub(crate) fn leads(&self) -> bool {
        self.0.leading.load(Ordering::Relaxed)
    }

    /// The leader's loop has come round.
    pub(crate) fn beat(&self) {
        let millis = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.beat.store(millis, Ordering::Relaxed);
    }

    fn answer(&self, now: Instant) -> (StatusCode, &'static str) {
        let beat = self.0.start + Duration::from_millis(self.0.beat.load(Ordering::Relaxed));
        match self.0.leading.load(Ordering::Relaxed) {
            false => (StatusCode::OK, "ok: standing by\n"),
            true if now.saturating_duration_since(beat) > STUCK => {
                (StatusCode::INTERNAL_SERVER_ERROR, "the leader's loop is stuck\n")
            }
            true => (StatusCode::OK, "ok: leading\n"),
        }
    }
}

/// The routes.
pub(crate) fn routes(health: Health) -> Router {
    let answer = |State(health): State<Health>| async move { health.answer(Instant::now()) };
    Router::new().route("/healthz", get(answer)).with_state(health)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_that_stands_still_is_unhealthy() {
        let health = Health::new();
        let late = Instant::now() + STUCK + Duration::from_secs(5);
        assert_eq!(health.answer(late).0, StatusCode::OK);
        health.set_leading(true);
        assert_eq!(health.answer(Instant::now()), (StatusCode::OK, "ok: leading\n"));
        assert_eq!(health.answer(late).0, StatusCode::INTERNAL_SERVER_ERROR);
        health.set_leading(false);
        assert_eq!(health.answer(late).0, StatusCode::OK);
    }
}
