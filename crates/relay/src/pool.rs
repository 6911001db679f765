//! The nodes, and the connections to them.

use futures::future::BoxFuture;
use hubble_pb::peer::peer_client::PeerClient;
use hubble_pb::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Waits between attempts to reach a node, from and to.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often a connection is tried.
const CHECK: Duration = Duration::from_secs(10);
/// A node that does not answer within this time counts as gone astray.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a server: address (`host:port`, or `unix://…`), and the name its certificate must be for, if it speaks TLS.
pub type Dial =
    Arc<dyn Fn(String, Option<String>) -> BoxFuture<'static, Result<Channel, String>> + Send + Sync>;

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// As `cluster/name`.
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) tls_server_name: Option<String>,
    /// The connection, or why there is none.
    pub(crate) channel: Result<Channel, String>,
}

/// All nodes there are, kept up to date in the background.
#[derive(Clone, Debug)]
pub struct Pool {
    nodes: watch::Receiver<BTreeMap<String, Node>>,
}

/// Nodes by the state of the connection to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// They can be asked.
    pub connected: usize,
    /// They cannot, and were tried.
    pub failed: usize,
    /// They were never tried.
    pub not_yet: usize,
}

/// Why there is no connection to a node that was just heard of.
const NOT_YET: &str = "not asked yet";

type Nodes = watch::Sender<BTreeMap<String, Node>>;

impl Pool {
    /// A pool that learns of nodes at `peer_service`, and the task that keeps it up to date until `stop`.
    pub fn new(
        peer_service: String,
        peer_service_name: Option<String>,
        dial: Dial,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, nodes) = watch::channel(BTreeMap::new());
        let keep = async move {
            tokio::select! {
                () = keep(peer_service, peer_service_name, dial, sender) => {}
                () = stop.cancelled() => {}
            }
        };
        (Self { nodes }, keep)
    }

    /// The nodes as they are.
    pub(crate) fn now(&self) -> BTreeMap<String, Node> {
        self.nodes.borrow().clone()
    }

    /// The nodes as they come and go.
    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<String, Node>> {
        self.nodes.clone()
    }

    /// How many nodes can be asked.
    pub fn reached(&self) -> Reached {
        let mut reached = Reached::default();
        for node in self.nodes.borrow().values() {
            match &node.channel {
                Ok(_) => reached.connected += 1,
                Err(why) if why == NOT_YET => reached.not_yet += 1,
                Err(_) => reached.failed += 1,
            }
        }
        reached
    }

    /// Whether any node can be asked.
    pub fn is_ready(&self) -> bool {
        self.nodes.borrow().values().any(|node| node.channel.is_ok())
    }
}

/// Follows the peer service for ever. What it told stays while it cannot be asked.
async fn keep(address: String, server_name: Option<String>, dial: Dial, nodes: Nodes) {
    let nodes = Arc::new(nodes);
    let mut tasks = Tasks::default();
    let mut wait = RETRY.0;
    loop {
        match follow(&address, server_name.clone(), &dial, &nodes, &mut tasks, &mut wait).await {
            Ok(()) => tracing::debug!("the peer service has ended its stream"),
            Err(error) => tracing::warn!(address, error, "the peer service cannot be asked for nodes"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

/// The task of each node. Dropping it ends them all.
#[derive(Default)]
struct Tasks {
    tasks: JoinSet<()>,
    stops: BTreeMap<String, CancellationToken>,
}

async fn follow(
    address: &str,
    server_name: Option<String>,
    dial: &Dial,
    nodes: &Arc<Nodes>,
    tasks: &mut Tasks,
    wait: &mut Duration,
) -> Result<(), String> {
    let channel = dial(address.to_owned(), server_name).await?;
    let request = PeerClient::new(channel).notify(NotifyRequest {}).await;
    let mut changes = request.map_err(|status| status.message().to_owned())?.into_inner();
    // A new stream begins with all nodes there are; those that it does not name in time are gone.
    let mut named = Some(Vec::new());
    loop {
        let change = match &named {
            None => changes.message().await,
            Some(_) => match tokio::time::timeout(CHECK_TIMEOUT, changes.message()).await {
                Ok(change) => change,
                Err(_) => {
                    forget_others(&named.take().unwrap_or_default(), nodes, tasks);
                    continue;
                }
            },
        };
        let Some(change) = change.map_err(|status| status.message().to_owned())? else { return Ok(()) };
        *wait = RETRY.0;
        if let Some(named) = &mut named {
            named.push(change.name.clone());
        }
        apply(change, dial, nodes, tasks);
    }
}

fn forget_others(named: &[String], nodes: &Nodes, tasks: &mut Tasks) {
    let gone: Vec<_> = nodes.borrow().keys().filter(|name| !named.contains(name)).cloned().collect();
    gone.iter().for_each(|name| forget(name, nodes, tasks));
}

fn forget(name: &str, nodes: &Nodes, tasks: &mut Tasks) {
    if let Some(stop) = tasks.stops.remove(name) {
        stop.cancel();
    }
    nodes.send_modify(|nodes| drop(nodes.remove(name)));
}

fn apply(change: ChangeNotification, dial: &Dial, nodes: &Arc<Nodes>, tasks: &mut Tasks) {
    let kind = change.r#type();
    let tls_server_name = change.tls.map(|tls| tls.server_name);
    let (name, address) = (change.name, change.address);
    let known = nodes.borrow().get(&name).map(|node| (node.address.clone(), node.tls_server_name.clone()));
    if kind == ChangeNotificationType::PeerDeleted {
        return forget(&name, nodes, tasks);
    }
    if known == Some((address.clone(), tls_server_name.clone())) {
        return;
    }
    forget(&name, nodes, tasks);
    let channel = Err(NOT_YET.to_owned());
    let node = Node { name: name.clone(), address, tls_server_name, channel };
    nodes.send_modify(|nodes| drop(nodes.insert(name.clone(), node.clone())));
    let stop = CancellationToken::new();
    tasks.stops.insert(name, stop.clone());
    // Ended ones are collected here, so that they do not pile up.
    while tasks.tasks.try_join_next().is_some() {}
    let (dial, nodes) = (Arc::clone(dial), Arc::clone(nodes));
    tasks.tasks.spawn(async move {
        tokio::select! {
            () = stay_connected(node, dial, &nodes) => {}
            () = stop.cancelled() => {}
        }
    });
}

/// Connects, and looks after the connection, for ever.
async fn stay_connected(node: Node, dial: Dial, nodes: &Nodes) {
    let mut wait = RETRY.0;
    loop {
        let outcome = async {
            let channel = dial(node.address.clone(), node.tls_server_name.clone()).await?;
            check(&channel).await?;
            Ok::<_, String>(channel)
        };
        match outcome.await {
            Ok(channel) => {
                tracing::info!(node = node.name, address = node.address, "connected");
                wait = RETRY.0;
                set(nodes, &node.name, Ok(channel.clone()));
                let error = loop {
                    tokio::time::sleep(CHECK).await;
                    if let Err(error) = check(&channel).await {
                        break error;
                    }
                };
                tracing::warn!(node = node.name, error, "does not answer any more");
                set(nodes, &node.name, Err(error));
            }
            Err(error) => {
                tracing::debug!(node = node.name, error, "cannot be reached");
                set(nodes, &node.name, Err(error));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
            }
        }
    }
}

fn set(nodes: &Nodes, name: &str, channel: Result<Channel, String>) {
    nodes.send_if_modified(|nodes| match nodes.get_mut(name) {
        Some(node) => {
            let news = node.channel.is_ok() != channel.is_ok();
            node.channel = channel;
            news
        }
        None => false,
    });
}

/// Any answer will do, also that it does not know how it is.
async fn check(channel: &Channel) -> Result<(), String> {
    let request = HealthCheckRequest { service: String::new() };
    let mut client = HealthClient::new(channel.clone());
    let asking = client.check(request);
    match tokio::time::timeout(CHECK_TIMEOUT, asking).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) if status.code() == tonic::Code::NotFound => Ok(()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("no answer within {CHECK_TIMEOUT:?}")),
    }
}
