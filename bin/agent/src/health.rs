//! `/healthz` for the kubelet's probes, on the loopback addresses.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Listens on `port` of each loopback address there is, and answers 200 once `ready` says so.
///
/// # Errors
/// The port is taken.
pub(crate) async fn serve(
    port: u16,
    ready: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + Send + 'static> {
    let answer = move || {
        let code = if *ready.borrow() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        async move { (code, if code == StatusCode::OK { "ok\n" } else { "the agent is starting\n" }) }
    };
    let router = Router::new().route("/healthz", get(answer));
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let listener = TcpListener::bind(v4).await.with_context(|| {
        format!("cannot listen on {v4} for health probes: choose another --agent-health-port")
    })?;
    // A node may run without IPv6.
    let second = TcpListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)).await.ok();
    Ok(async move {
        let also = async {
            match second {
                Some(listener) => axum::serve(listener, router.clone()).await,
                None => std::future::pending().await,
            }
        };
        // Serving a listener never ends by itself.
        let _ = tokio::join!(axum::serve(listener, router.clone()), also);
    })
}
