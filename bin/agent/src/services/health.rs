//! What load balancers outside ask a node: does it have endpoints of this service? And of the node: is its proxy alive?

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Json;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use services::Health;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Handle;

/// How often the wanted ports are looked at. Load balancers ask every few seconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// A port that is served, and what it answers.
struct Served {
    answer: watch::Sender<Health>,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the health check ports of all services that have one, and `bind` (kube-proxy's own), for ever.
///
/// # Errors
/// `bind` is taken.
pub(crate) async fn serve(
    handle: Handle,
    ready: watch::Receiver<bool>,
    bind: Option<SocketAddr>,
    ports: bool,
) -> Result<()> {
    let own = async {
        match bind {
            Some(address) => serve_node(address, ready).await,
            None => std::future::pending().await,
        }
    };
    let ports = async { if ports { follow(handle).await } else { std::future::pending().await } };
    tokio::try_join!(own, ports).map(|_| ())
}

/// `GET /healthz` as kube-proxy answers it.
async fn serve_node(address: SocketAddr, ready: watch::Receiver<bool>) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another --kube-proxy-replacement-healthz-bind-address, or stop the kube-proxy that has it")
    })?;
    let answer = move || {
        let healthy = *ready.borrow();
        let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        async move { (code, Json(json!({ "healthy": healthy }))) }
    };
    let router = axum::Router::new().route("/healthz", get(answer));
    axum::serve(listener, router).await.context("the health check of the service proxy fails")
}

async fn follow(handle: Handle) -> Result<()> {
    let mut served: BTreeMap<u16, Served> = BTreeMap::new();
    loop {
        let wanted: Vec<Health> =
            handle.ask(|services| services.balancer.health().cloned().collect()).await?;
        served.retain(|port, _| wanted.iter().any(|health| health.port == *port));
        for health in wanted {
            match served.get(&health.port) {
                Some(port) if !port.task.is_finished() => {
                    port.answer.send_if_modified(|old| {
                        let changed = *old != health;
                        *old = health;
                        changed
                    });
                }
                _ => {
                    served.insert(health.port, open(health));
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Opens the port of a service; tried again with the next look if it is taken.
fn open(health: Health) -> Served {
    let port = health.port;
    let (answer, asked) = watch::channel(health);
    let task = tokio::spawn(async move {
        let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let bound = match TcpListener::bind(address).await {
            Ok(bound) => Ok(bound),
            // A node may run without IPv6.
            Err(_) => TcpListener::bind(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port)).await,
        };
        let listener = match bound {
            Ok(listener) => listener,
            Err(error) => {
                let service = asked.borrow().service.to_string();
                return tracing::warn!(service, port, %error, "the service's health check port cannot be opened");
            }
        };
        let router = axum::Router::new().fallback(move || {
            let (code, body) = text(&asked.borrow());
            async move { (code, Json(body)) }
        });
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(port, %error, "a service's health check port fails");
        }
    });
    Served { answer, task }
}

/// The answer, in kube-proxy's form.
fn text(health: &Health) -> (StatusCode, Value) {
    let code = if health.local_endpoints > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "service": { "namespace": &*health.service.namespace, "name": &*health.service.name },
        "localEndpoints": health.local_endpoints,
        "serviceProxyHealthy": true,
    });
    (code, body)
}
