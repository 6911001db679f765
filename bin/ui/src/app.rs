//! The page's server, put together.

use crate::assets::Assets;
use crate::cluster::Reader;
use crate::config::Config;
use crate::http::{self, Site};
use crate::hub::Hub;
use crate::relay::Relay;
use anyhow::Context;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Serves until it is told to stop.
///
/// # Errors
/// The address cannot be listened on, or the page's folder cannot be read.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let assets = Assets::read(config.assets.as_deref())?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on --listen-address={}", config.listen))?;
    let (hub, relay) = (Hub::new(), Relay::new(&config));
    let following = tokio::spawn(relay.clone().keep(hub.clone(), stop.clone()));
    let site = Site { hub, relay, cluster: Reader::new(config.cluster.clone()), assets: Arc::new(assets) };
    let address = listener.local_addr()?;
    tracing::info!(%address, base = config.base, relay = config.relay, tls = config.tls.is_some(), "serving");
    let app = http::routes(site, &config.base);
    tokio::select! {
        served = axum::serve(listener, app).into_future() => served.context("cannot serve")?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Streams to browsers have no end of their own, so nobody waits for them.
    stop.cancel();
    following.await.context("following the relay")
}
