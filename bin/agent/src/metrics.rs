//! The agent's own metrics, under Cilium's names.

mod collect;
mod health;
mod tables;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use kube_watch::{Clients, Watched};
use loader::{GcStats, Object};
use metrics::{Counters, Selection, Timings};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::outbox::Outboxes;

/// The file of a page and where it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Where.
    pub listen: SocketAddr,
    /// Which metrics.
    pub selection: Selection,
}

/// What is counted while it happens. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    regenerations: Counters<1>,
    regeneration_time: Timings<2>,
    policy_delay: Timings<1>,
    policy_changes: Counters<1>,
    api_calls: Counters<3>,
    api_time: Timings<2>,
}

impl Default for Counts {
    fn default() -> Self {
        let regenerations = "Endpoint regenerations that have ended, by outcome";
        let policy_changes = "Policy objects taken in, by outcome";
        let calls = "Requests to the API server, by method and by the answer's status";
        let counts = Self {
            regenerations: Counters::new("cilium_endpoint_regenerations_total", regenerations, ["outcome"]),
            regeneration_time: Timings::new(
                "cilium_endpoint_regeneration_time_stats_seconds",
                "Time from a change to an endpoint that is ready again",
                ["scope", "status"],
            ),
            policy_delay: Timings::new(
                "cilium_policy_implementation_delay",
                "Seconds from a change of policy to tables that hold it",
                ["source"],
            ),
            policy_changes: Counters::new("cilium_policy_change_total", policy_changes, ["outcome"]),
            api_calls: Counters::new(
                "cilium_k8s_client_api_calls_total",
                calls,
                ["host", "method", "return_code"],
            ),
            api_time: Timings::new(
                "cilium_k8s_client_api_latency_time_seconds",
                "Time until an answer of the API server began",
                ["path", "method"],
            ),
        };
        // They stand at 0 before anything has happened, so that rates and alerts have something to look at.
        for outcome in ["success", "fail"] {
            counts.regenerations.add([outcome], 0);
            counts.policy_changes.add([outcome], 0);
        }
        counts
    }
}

impl Counts {
    /// Counts what is asked of the API server.
    pub(crate) fn follow(&self, clients: &Clients, host: String) {
        let (calls, time) = (self.api_calls.clone(), self.api_time.clone());
        clients.on_call(move |method, status, took| {
            calls.add([&host, method, &status.to_string()], 1);
            // Which object was asked for would be a series each.
            time.add(["", method], took);
        });
    }

    /// Endpoints became ready, `since` a change.
    pub(crate) fn regenerated(&self, endpoints: usize, since: Option<Instant>) {
        self.regenerations.add(["success"], endpoints as u64);
        for since in since.into_iter().take(endpoints) {
            self.regeneration_time.add(["total", "success"], since.elapsed());
        }
    }

    /// The tables do not hold yet what they should.
    pub(crate) fn not_written(&self, endpoints: usize) {
        self.regenerations.add(["fail"], endpoints as u64);
    }

    /// A change of policy holds, `delay` after it was learned.
    pub(crate) fn policy_holds(&self, delay: Duration) {
        self.policy_delay.add(["k8s"], delay);
    }

    /// Policy objects were taken in or refused.
    pub(crate) fn policies(&self, good: usize, refused: usize) {
        self.policy_changes.add(["success"], good as u64);
        self.policy_changes.add(["fail"], refused as u64);
    }
}

/// What the tables of flows looked like at the last sweep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sweeps {
    /// Tables that are nearly full, each in one sentence.
    pub shortages: Vec<String>,
    /// What the last one found.
    pub last: GcStats,
    /// How many there were.
    pub runs: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// How long the last one took.
    pub took: Duration,
}

/// Where the numbers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    /// Pods and policies.
    pub handle: crate::owner::Handle,
    /// Services.
    pub services: crate::services::Handle,
    /// The kernel's tables.
    pub object: Arc<Object>,
    /// What is counted while it happens.
    pub counts: Counts,
    /// Sweeps of the tables of flows.
    pub sweeps: watch::Receiver<Sweeps>,
    /// How the watches do.
    pub watches: Arc<Vec<Watched>>,
    /// What waits to be written.
    pub outboxes: Outboxes,
    /// When the agent started, and how long it took until pods could be served.
    pub bootstrap: watch::Receiver<Option<Duration>>,
}

/// Opens the address; what comes back serves it.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) async fn start(
    wanted: &Wanted,
    sources: Sources,
) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
    let listener = TcpListener::bind(wanted.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--prometheus-serve-addr)", wanted.listen))?;
    let selection = wanted.selection.clone();
    let answer = move || {
        let (sources, selection) = (sources.clone(), selection.clone());
        async move {
            let page = collect::page(&sources, selection).await;
            let text =
                page.map_err(|error| (axum::http::StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")))?;
            Ok::<_, (axum::http::StatusCode, String)>(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
        }
    };
    let router = Router::new().route("/metrics", get(answer));
    Ok(async move { axum::serve(listener, router).await.context("metrics cannot be served") })
}
