//! The operator's metrics, under Cilium's names. One that waits to lead has few.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use ipam::Family;
use kube_watch::Clients;
use metrics::{Counters, Kind, Page, Timings};

use crate::health::Health;
use crate::plan::{Action, Pool};
use crate::world::World;

/// What the leader saw last.
#[derive(Clone, Debug, Default)]
struct Seen {
    nodes: usize,
    cilium_nodes: usize,
    endpoints: usize,
    identities: usize,
    pools: Vec<Pool>,
}

/// What is counted and seen. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    seen: Arc<Mutex<Seen>>,
    actions: Counters<2>,
    identities: Counters<1>,
    endpoints: Counters<1>,
    restarts: Counters<1>,
    cidrs: Counters<1>,
    calls: Counters<3>,
    call_time: Timings<2>,
}

impl Default for Metrics {
    fn default() -> Self {
        let by_outcome = |name, help, label| {
            let counters = Counters::new(name, help, [label]);
            // They stand at 0 before anything has happened.
            for outcome in ["success", "fail"] {
                counters.add([outcome], 0);
            }
            counters
        };
        Self {
            seen: Arc::default(),
            actions: Counters::new(
                "cilium_operator_actions_total",
                "Writes to the API server by what they were about",
                ["action", "outcome"],
            ),
            identities: by_outcome(
                "cilium_operator_identity_gc_entries_total",
                "Unused identities that were to be deleted, by outcome",
                "outcome",
            ),
            endpoints: by_outcome(
                "cilium_operator_endpoint_gc_objects_total",
                "CiliumEndpoints without a pod that were to be deleted, by outcome",
                "outcome",
            ),
            restarts: by_outcome(
                "cilium_operator_unmanaged_pods_total",
                "Pods without our network that were to be restarted, by outcome",
                "outcome",
            ),
            cidrs: by_outcome(
                "cilium_operator_ipam_allocation_ops_total",
                "Pod CIDRs that were to be given to nodes, by outcome",
                "outcome",
            ),
            calls: Counters::new(
                "cilium_operator_k8s_client_api_calls_total",
                "Requests to the API server, by method and by the answer's status",
                ["host", "method", "return_code"],
            ),
            call_time: Timings::new(
                "cilium_operator_k8s_client_api_latency_time_seconds",
                "Time until an answer of the API server began",
                ["path", "method"],
            ),
        }
    }
}

impl Metrics {
    /// Counts what is asked of the API server.
    pub(crate) fn follow(&self, clients: &Clients, host: String) {
        let (calls, time) = (self.calls.clone(), self.call_time.clone());
        clients.on_call(move |method, status, took| {
            calls.add([&host, method, &status.to_string()], 1);
            time.add(["", method], took);
        });
    }

    /// The leader has looked at the world.
    pub(crate) fn saw(&self, world: &World, pools: Vec<Pool>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen {
            nodes: world.nodes.iter().count(),
            cilium_nodes: world.cilium_nodes.iter().count(),
            endpoints: world.endpoints.iter().count(),
            identities: world.identities.iter().count(),
            pools,
        };
    }

    /// The leader has done something, or failed to.
    pub(crate) fn did(&self, action: &Action, well: bool) {
        let outcome = if well { "success" } else { "fail" };
        let (name, counter) = match action {
            Action::AssignCidrs { .. } => ("assign-cidrs", Some(&self.cidrs)),
            Action::ReportAddressError { .. } => ("report-address-error", None),
            Action::MarkIdentity { .. } => ("mark-identity", None),
            Action::UnmarkIdentity { .. } => ("unmark-identity", None),
            Action::DeleteIdentity { .. } => ("delete-identity", Some(&self.identities)),
            Action::DeleteEndpoint { .. } => ("delete-endpoint", Some(&self.endpoints)),
            Action::DeleteCiliumNode { .. } => ("delete-node", None),
            Action::RemoveTaint { .. } => ("remove-taint", None),
            Action::AddTaint { .. } => ("add-taint", None),
            Action::NetworkIsUp { .. } => ("network-is-up", None),
            Action::RestartPod { .. } => ("restart-pod", Some(&self.restarts)),
        };
        self.actions.add([name, outcome], 1);
        if let Some(counter) = counter {
            counter.add([outcome], 1);
        }
    }

    /// The routes.
    pub(crate) fn routes(&self, health: Health) -> Router {
        let answer = |State((metrics, health)): State<(Metrics, Health)>| async move {
            ([(CONTENT_TYPE, ::metrics::CONTENT_TYPE)], metrics.page(health.leads()))
        };
        Router::new().route("/metrics", get(answer)).with_state((self.clone(), health))
    }

    fn page(&self, leads: bool) -> String {
        let mut page = Page::default();
        let mut version = page.metric("cilium_operator_version", Kind::Gauge, "What runs");
        version.add(&[("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)], 1.0);
        ::metrics::write_process(&mut page, "cilium_operator");
        let leading = if leads { 1.0 } else { 0.0 };
        page.gauge(
            "cilium_operator_leader",
            "1 where this operator does the work, 0 where it waits",
            leading,
        );
        for counters in [&self.identities, &self.endpoints, &self.restarts, &self.cidrs] {
            counters.write(&mut page);
        }
        self.actions.write(&mut page);
        self.calls.write(&mut page);
        self.call_time.write(&mut page);
        if leads {
            of_leader(&mut page, &self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
        page.finish()
    }
}

fn of_leader(page: &mut Page, seen: &Seen) {
    page.gauge("cilium_operator_nodes", "Kubernetes nodes", seen.nodes as f64);
    page.gauge("cilium_operator_ipam_nodes", "CiliumNodes", seen.cilium_nodes as f64);
    page.gauge("cilium_operator_endpoints", "CiliumEndpoints", seen.endpoints as f64);
    page.gauge("cilium_operator_identities", "CiliumIdentities", seen.identities as f64);
    let family = |pool: &Pool| if pool.family == Family::V4 { "ipv4" } else { "ipv6" };
    let mut used = page.metric("cilium_operator_ipam_used_cidrs", Kind::Gauge, "Pod CIDRs that nodes have");
    for pool in &seen.pools {
        used.add(&[("family", family(pool))], pool.used as f64);
    }
    let help = "Pod CIDRs that there are still for nodes";
    let mut free = page.metric("cilium_operator_ipam_available_cidrs", Kind::Gauge, help);
    for pool in &seen.pools {
        free.add(&[("family", family(pool))], pool.total as f64 - pool.used as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_tells_of_the_cluster_and_others_do_not() {
        let metrics = Metrics::default();
        metrics.saw(&World::default(), vec![Pool { family: Family::V4, used: 3, total: 16 }]);
        metrics.did(&Action::NetworkIsUp { node: "n1".to_owned() }, false);
        let page = metrics.page(true);
        for line in [
            "cilium_operator_leader 1",
            "cilium_operator_ipam_available_cidrs{family=\"ipv4\"} 13",
            "cilium_operator_actions_total{action=\"network-is-up\",outcome=\"fail\"} 1",
            "cilium_operator_identity_gc_entries_total{outcome=\"fail\"} 0",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
        }
        assert!(!metrics.page(false).contains("ipam_available_cidrs"));
    }
}
