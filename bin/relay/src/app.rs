//! The relay, put together.

use crate::config::Config;
use crate::metrics;
use anyhow::Context;
use grpc::{Client, Trust};
use relay::{Dial, Pool, Relay};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// How often certificates are looked for that are not there yet.
const TLS_INTERVAL: Duration = Duration::from_secs(5);

/// Serves until it is told to stop.
///
/// # Errors
/// An address cannot be listened on.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let listener = bind("listen-address", config.listen).await?;
    let health = bind("health-listen-address", config.health).await?;
    let numbers = match config.metrics {
        Some(address) => Some(bind("metrics-listen-address", address).await?),
        None => None,
    };
    let serving = async {
        tokio::try_join!(serve(&config, listener, numbers, &stop), serve_health(health, &stop))?;
        Ok(())
    };
    tokio::select! {
        served = serving => served,
        _ = terminate.recv() => { stop.cancel(); Ok(()) }
        _ = interrupt.recv() => { stop.cancel(); Ok(()) }
    }
}

async fn bind(option: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on --{option}={address}"))
}

async fn serve(
    config: &Config,
    listener: TcpListener,
    numbers: Option<TcpListener>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let dial = dial(config).await;
    // The certificates of nodes are for names of the cluster; this one is for none of them, and they cover it all the same.
    let peer_name = config
        .nodes
        .is_some()
        .then(|| format!("hubble-peer.{}.hubble-grpc.cilium.io", config.cluster.replace('.', "-")));
    let (pool, keep) = Pool::new(config.peer_service.clone(), peer_name, dial, stop.clone());
    let numbers = async {
        match numbers {
            Some(listener) => axum::serve(listener, metrics::routes(pool.clone())).await,
            None => std::future::pending().await,
        }
    };
    let relay = Relay::new(
        relay::Config {
            name: hostname(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            window: config.window,
        },
        pool.clone(),
    );
    tracing::info!(address = %config.listen, peers = config.peer_service, tls = config.server.is_some(), "serving");
    let ended = stop.clone().cancelled_owned();
    let serving = async {
        match &config.server {
            None => relay.serve(TcpListenerStream::new(listener), ended).await,
            Some((identity, clients)) => {
                let server = wait("serving", || grpc::Server::new(identity.clone(), clients.clone())).await;
                relay.serve(Arc::new(server).accept(listener), ended).await
            }
        }
    };
    tokio::select! {
        served = serving => Ok(served?),
        served = numbers => served.context("cannot serve metrics"),
        () = keep => Ok(()),
    }
}

/// For the kubelet: this process answers. Whether nodes do is another question, and no reason to restart it.
async fn serve_health(listener: TcpListener, stop: &CancellationToken) -> anyhow::Result<()> {
    let (_, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(health);
    let ended = stop.clone().cancelled_owned();
    Ok(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), ended).await?)
}

/// The way to nodes.
async fn dial(config: &Config) -> Dial {
    let client = match &config.nodes {
        None => None,
        Some(tls) => {
            let make = || Client::new(Trust::Files(tls.authorities.clone()), tls.identity.clone());
            Some(Arc::new(wait("asking nodes", make).await))
        }
    };
    let timeout = config.dial_timeout;
    Arc::new(move |address, server_name| {
        let client = client.clone();
        Box::pin(async move {
            let connecting = async {
                match (client, server_name) {
                    _ if address.starts_with("unix://") => endpoint(address)?.connect().await.map_err(text),
                    (Some(client), Some(name)) => {
                        let endpoint = endpoint(format!("https://{address}"))?;
                        client.connect(endpoint, address, name).await.map_err(text)
                    }
                    (None, None) => endpoint(format!("http://{address}"))?.connect().await.map_err(text),
                    (None, Some(_)) => {
                        Err("it wants TLS: give certificates, or drop --disable-client-tls".to_owned())
                    }
                    (Some(_), None) => {
                        Err("it speaks no TLS: set --disable-client-tls to ask it all the same".to_owned())
                    }
                }
            };
            let connected = tokio::time::timeout(timeout, connecting).await;
            connected.unwrap_or_else(|_| Err(format!("no connection within {timeout:?}")))
        })
    })
}

fn endpoint(uri: String) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(uri).map_err(|error| error.to_string())?;
    // Finds nodes that are gone without a word, so that streams from them do not stay silent for ever.
    Ok(endpoint
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true))
}

/// An error with its causes.
fn text(error: tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Waits for certificates: whoever makes them may come later.
async fn wait<T>(what: &str, make: impl Fn() -> Result<T, grpc::CertError>) -> T {
    let mut told = String::new();
    loop {
        match make() {
            Ok(made) => return made,
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::new(error));
                if text != told {
                    tracing::warn!(error = text, "{what} has to wait for certificates");
                    told = text;
                }
            }
        }
        tokio::time::sleep(TLS_INTERVAL).await;
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "hubble-relay".to_owned(), |name| name.trim().to_owned())
}
