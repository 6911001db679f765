//! How the agent gets on with the API server.

use metrics::{Kind, Page};

use super::Sources;

pub(super) fn write(page: &mut Page, sources: &Sources) {
    let healths: Vec<_> = sources.watches.iter().map(kube_watch::Watched::health).collect();
    let mut events = page.metric(
        "cilium_kubernetes_events_total",
        Kind::Counter,
        "Objects that watches have delivered, by kind and by what became of them",
    );
    // Two watches may be about one kind.
    let mut kinds: std::collections::BTreeMap<&str, [u64; 3]> = std::collections::BTreeMap::new();
    for health in &healths {
        let counts = kinds.entry(&health.kind).or_default();
        for (sum, count) in counts.iter_mut().zip([health.applied, health.deleted, health.invalid]) {
            *sum += count;
        }
    }
    for (kind, counts) in &kinds {
        for ((action, status), count) in
            [("update", "success"), ("delete", "success"), ("update", "failed")].into_iter().zip(counts)
        {
            let labels = [("scope", *kind), ("action", action), ("status", status)];
            events.add(&labels, *count as f64);
        }
    }
    let silent = healths.iter().filter(|health| !health.connected).count();
    page.gauge(
        "cilium_kubernetes_watches_failing",
        "Watches that the API server does not answer",
        silent as f64,
    );
    let waiting = sources.outboxes.endpoints.len()
        + sources.outboxes.conditions.len()
        + sources.outboxes.identities.len();
    page.gauge("cilium_kubernetes_writes_waiting", "Objects that wait to be written", waiting as f64);
}
