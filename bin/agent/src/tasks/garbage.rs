//! Sweeps the flow and masquerade tables, a piece at a time so that nobody waits.

use std::sync::Arc;
use std::time::Duration;

use loader::{Gc, Object, Progress};

/// Entries looked at before others get their turn: some hundred µs.
const CHUNK: usize = 1024;
/// The first sweep after the start.
const FIRST: Duration = Duration::from_secs(10);

/// Sweeps for ever.
pub(crate) async fn run(object: Arc<Object>) {
    let mut gc = Gc::new(CHUNK);
    let mut interval = FIRST;
    loop {
        tokio::time::sleep(interval).await;
        let stats = loop {
            match gc.step(&object.maps, loader::monotonic_ns()) {
                Ok(Progress::Done(stats)) => break stats,
                Ok(Progress::More) => {}
                Err(error) => tracing::warn!(error = %crate::text(&error), "a table cannot be swept"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        interval = stats.next_interval(interval);
        tracing::debug!(?stats, next = ?interval, "swept");
        for (table, stats) in [("conntrack", stats.flows), ("masquerade", stats.nat)] {
            if stats.pressure() > 0.9 {
                tracing::warn!(
                    table,
                    used = stats.alive,
                    size = stats.capacity,
                    "a table is nearly full: new connections will be dropped; enlarge it (bpf-ct-global-tcp-max, bpf-nat-global-max)"
                );
            }
        }
    }
}
