//! Sweeps the tables of flows and translations, a piece at a time so that nobody waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use loader::{Gc, Object, Progress};
use tokio::sync::watch;

use crate::controllers::Controllers;
use crate::metrics::Sweeps;

/// Entries looked at before others get their turn: some hundred µs.
const CHUNK: usize = 1024;
/// The first sweep after the start.
const FIRST: Duration = Duration::from_secs(10);

/// Share of a table above which it is worth a warning.
const FULL: f64 = 0.9;

/// Sweeps for ever, and tells of each.
pub(crate) async fn run(object: Arc<Object>, sweeps: watch::Sender<Sweeps>, controllers: Controllers) {
    let mut gc = Gc::new(CHUNK);
    let mut interval = FIRST;
    loop {
        tokio::time::sleep(interval).await;
        let (start, mut busy, mut failure) = (Instant::now(), Duration::ZERO, None);
        let stats = loop {
            let step = Instant::now();
            let progress = gc.step(&object.maps, loader::monotonic_ns());
            busy += step.elapsed();
            match progress {
                Ok(Progress::Done(stats)) => break stats,
                Ok(Progress::More) => {}
                Err(error) => {
                    tracing::warn!(error = %crate::text(&error), "a table cannot be swept");
                    failure = Some(crate::text(&error));
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let failed = u64::from(failure.is_some());
        controllers.ran("bpf-map-gc", &failure.map_or(Ok(()), Err));
        interval = stats.next_interval(busy);
        tracing::debug!(?stats, next = ?interval, "swept");
        let full: Vec<String> = [
            ("conntrack", "bpf-ct-global-tcp-max", stats.flows),
            ("translation", "bpf-nat-global-max", stats.nat),
        ]
        .into_iter()
        .filter(|(.., stats)| stats.pressure() > FULL)
        .map(|(table, option, stats)| {
            format!(
                "the {table} table is {:.0}% full: more connections stay among those that a flood may evict; enlarge --{option}={}",
                stats.pressure() * 100.0,
                stats.capacity
            )
        })
        .collect();
        for problem in &full {
            tracing::warn!(problem, "connections are tracked only as long as there is room");
        }
        sweeps.send_modify(|sweeps| {
            *sweeps = Sweeps {
                shortages: full,
                last: stats,
                runs: sweeps.runs + 1,
                failed: sweeps.failed + failed,
                took: start.elapsed(),
            };
        });
    }
}
