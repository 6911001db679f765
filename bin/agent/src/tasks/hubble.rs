//! Hubble's server: flows over gRPC on a unix socket, and on TCP where that is wanted.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use flow::{AgentNews, LostSource};
use futures::future::BoxFuture;
use kube_watch::Clients;
use observer::{History, Observer, Peer};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::config::{Hubble, HubbleTls};
use crate::exports;
use crate::names::Fixed;
use crate::owner::Handle;
use crate::tasks::events::Sink;
use crate::tasks::{drop_events, hubble_metrics};

/// How often the list of the other servers is brought up to date.
const PEERS_INTERVAL: Duration = Duration::from_secs(5);

/// The server's tasks, and where flows go in.
pub(crate) struct Server {
    /// To be run until the agent stops.
    pub(crate) futures: Vec<BoxFuture<'static, Result<()>>>,
    /// Takes flows.
    pub(crate) sink: Sink,
}

/// How long to wait with flows for a disk that is full.
const HISTORY_INTERVAL: Duration = Duration::from_secs(5);
/// How often certificates are looked for that are not there yet.
const TLS_INTERVAL: Duration = Duration::from_secs(5);

/// An observer that has seen nothing but the agent's start.
pub(crate) fn observer(hubble: &Hubble, fixed: &Fixed) -> Observer {
    let observer = Observer::new(observer::Config {
        node_name: fixed.node.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capacity: hubble.capacity,
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    observer.note(AgentNews::Started(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)));
    observer
}

/// Opens the sockets and sets the server up.
///
/// # Errors
/// A socket cannot be opened.
pub(crate) async fn start(
    hubble: &Hubble,
    observer: Observer,
    handle: &Handle,
    clients: &Clients,
    stop: &CancellationToken,
) -> Result<Server> {
    let mut futures: Vec<BoxFuture<'static, Result<()>>> = Vec::new();
    let listener = unix(hubble)?;
    let (server, ended) = (observer.clone(), stop.clone().cancelled_owned());
    futures.push(Box::pin(async move { Ok(server.serve_unix(listener, ended).await?) }));
    if let Some(address) = hubble.listen {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} (--hubble-listen-address)"))?;
        let (server, ended) = (observer.clone(), stop.clone().cancelled_owned());
        match hubble.tls.clone() {
            None => futures.push(Box::pin(async move { Ok(server.serve_tcp(listener, ended).await?) })),
            Some(tls) => futures.push(Box::pin(async move {
                let tls = certificates(tls).await;
                Ok(server.serve(Arc::new(tls).accept(listener), ended).await?)
            })),
        }
        futures.push(Box::pin(keep_peers(observer.clone(), handle.clone(), address, hubble.tls.is_some())));
    }
    if hubble.export.is_some() || hubble.exports.is_some() {
        let exporting = exports::run(observer.clone(), hubble.export.clone(), hubble.exports.clone());
        futures.push(Box::pin(exporting));
    }
    let counters = match &hubble.metrics {
        None => None,
        Some(wanted) => {
            let (counters, serving) = hubble_metrics::start(wanted).await?;
            futures.push(Box::pin(serving));
            Some(counters)
        }
    };
    if let Some((folder, largest)) = &hubble.history {
        let history = History::open(folder.clone(), *largest).with_context(|| {
            format!("the history of flows in {} cannot be used (--hubble-history-path)", folder.display())
        })?;
        observer.set_history(history);
        futures.push(Box::pin(keep_history(observer.clone(), folder.clone())));
    }
    let mut drops = hubble.drop_events.clone().map(|wanted| {
        let (watcher, events) = drop_events::watcher(wanted);
        futures.push(Box::pin(drop_events::write(clients.clone(), events)));
        watcher
    });
    let redaction = hubble.redaction.clone();
    let sink = Box::new(move |mut flows: Vec<flow::Flow>, lost: u64| {
        if let Some(redaction) = &redaction {
            flows.iter_mut().for_each(|flow| redaction.apply(flow));
        }
        if let Some(drops) = &mut drops {
            drops.look(&flows, Instant::now());
        }
        if let Some(counters) = &counters {
            counters.count(&flows, lost);
        }
        observer.lost(LostSource::KernelRing, lost, None);
        observer.extend(flows);
    });
    Ok(Server { futures, sink })
}

/// Keeps flows on disk, and begins again when the disk is full or the like.
async fn keep_history(observer: Observer, folder: PathBuf) -> Result<()> {
    let mut told = String::new();
    loop {
        match observer.keep_history().await {
            // The server closes: the agent stops.
            Ok(()) => std::future::pending().await,
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    tracing::warn!(folder = %folder.display(), error = text, "flows cannot be kept on disk");
                    told = text;
                }
            }
        }
        tokio::time::sleep(HISTORY_INTERVAL).await;
    }
}

/// Waits for certificates: whoever makes them may come after the agent.
async fn certificates(tls: HubbleTls) -> grpc::Server {
    let mut told = String::new();
    loop {
        match grpc::Server::new(tls.identity.clone(), tls.clients.clone()) {
            Ok(server) => return server,
            Err(error) => {
                let text = crate::text(&error);
                if text != told {
                    tracing::warn!(error = text, "flows are not served on TCP until there are certificates");
                    told = text;
                }
            }
        }
        tokio::time::sleep(TLS_INTERVAL).await;
    }
}

fn unix(hubble: &Hubble) -> Result<UnixListener> {
    let path = &hubble.socket;
    let using = || format!("cannot listen on {} (--hubble-socket-path)", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(using)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(using),
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(using)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(using)?;
    Ok(listener)
}

/// Every agent of the cluster serves flows on the same port.
async fn keep_peers(observer: Observer, handle: Handle, listen: SocketAddr, tls: bool) -> Result<()> {
    loop {
        let peers = handle.ask(move |owner| {
            let settings = owner.state.settings();
            let others = owner.state.nodes().filter(|n| n.name != settings.node.name);
            let peer = |node: &agent_core::Node| {
                Some(Peer {
                    name: format!("{}/{}", settings.cluster, node.name),
                    address: SocketAddr::new(node.primary()?, listen.port()).to_string(),
                    tls_server_name: tls.then(|| server_name(&node.name, &settings.cluster)),
                })
            };
            [&settings.node].into_iter().chain(others).filter_map(peer).collect()
        });
        observer.set_peers(peers.await?);
        tokio::time::sleep(PEERS_INTERVAL).await;
    }
}

/// The name that a node's certificate is for. Dots would add levels, which a certificate for `*.CLUSTER.…` does not
/// cover.
fn server_name(node: &str, cluster: &str) -> String {
    format!("{}.{}.hubble-grpc.cilium.io", node.replace('.', "-"), cluster.replace('.', "-"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn certificates_are_for_nodes_of_a_cluster() {
        assert_eq!(super::server_name("n1.example.org", "east"), "n1-example-org.east.hubble-grpc.cilium.io");
    }
}
