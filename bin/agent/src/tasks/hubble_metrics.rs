//! Hubble's metrics: counted as flows come, served over HTTP.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::routing::get;
use flow::{Flow, LostSource};
use flow_metrics::{Format, Metrics};
use tokio::net::TcpListener;

use crate::config::HubbleMetrics;

/// How often series are looked for that nothing was counted in.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// What is counted. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Counters(Arc<Mutex<Metrics>>);

impl Counters {
    /// Counts flows, and events that were lost before they became any.
    pub(crate) fn count(&self, flows: &[Flow], lost: u64) {
        let (mut metrics, now) = (self.lock(), loader::monotonic_ns());
        flows.iter().for_each(|flow| metrics.observe(flow, now));
        if lost > 0 {
            metrics.lost(LostSource::KernelRing, lost, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        // Every step of counting leaves the numbers whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters, and the task that serves them and lets old series go.
///
/// # Errors
/// The address cannot be listened on, or the list makes no sense.
pub(crate) async fn start(
    wanted: &HubbleMetrics,
) -> Result<(Counters, impl Future<Output = Result<()>> + Send + 'static)> {
    let metrics = Metrics::parse(wanted.list.iter().map(String::as_str)).context("--hubble-metrics")?;
    let counters = Counters(Arc::new(Mutex::new(metrics)));
    let listener = TcpListener::bind(wanted.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--hubble-metrics-server)", wanted.listen))?;
    let (served, open) = (counters.clone(), wanted.open_metrics);
    let answer = move |headers: HeaderMap| {
        let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let format = match open && accepted.contains("application/openmetrics-text") {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        };
        let text = served.lock().write(format);
        async move { ([(CONTENT_TYPE, format.content_type())], text) }
    };
    let router = Router::new().route("/metrics", get(answer));
    let kept = counters.clone();
    let serving = async move {
        let expiring = async {
            loop {
                tokio::time::sleep(EXPIRY_INTERVAL).await;
                kept.lock().expire(loader::monotonic_ns());
            }
        };
        tokio::select! {
            served = axum::serve(listener, router) => served.context("Hubble's metrics cannot be served"),
            () = expiring => Ok(()),
        }
    };
    Ok((counters, serving))
}
