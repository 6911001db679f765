//! Questions that every node answers once.

use crate::pool::Node;
use crate::service::Shared;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hubble_pb::observer as pb;
use hubble_pb::relay::NodeState;
use hubble_pb::wkt::UInt32Value;
use pb::observer_client::ObserverClient;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names of nodes that a status carries at most.
const NAMES: usize = 10;

/// Asks all nodes that can be reached, at the same time.
async fn ask<T, F>(shared: &Shared, question: impl Fn(ObserverClient<Channel>) -> F) -> Vec<(Node, Option<T>)>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let ask = |node: Node| {
        let asking = node.channel.clone().ok().map(|channel| question(ObserverClient::new(channel)));
        async move {
            let answer = match asking {
                None => None,
                Some(asking) => match tokio::time::timeout(PATIENCE, asking).await {
                    Ok(Ok(answer)) => Some(answer.into_inner()),
                    Ok(Err(status)) => {
                        tracing::debug!(node = node.name, %status, "a node refused a question");
                        None
                    }
                    Err(_) => None,
                },
            };
            (node, answer)
        }
    };
    let mut answers: Vec<_> =
        shared.pool.now().into_values().map(ask).collect::<FuturesUnordered<_>>().collect().await;
    answers.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    answers
}

async fn statuses(shared: &Shared) -> Vec<(Node, Option<pb::ServerStatusResponse>)> {
    ask(shared, |mut client| async move { client.server_status(pb::ServerStatusRequest {}).await }).await
}

/// Sums over all nodes; the uptime is that of the oldest.
pub(crate) async fn status(shared: &Shared) -> pb::ServerStatusResponse {
    let answers = statuses(shared).await;
    let mut sum = pb::ServerStatusResponse { version: shared.config.version.clone(), ..Default::default() };
    let mut silent = Vec::new();
    for (node, answer) in answers.iter() {
        let Some(answer) = answer else {
            silent.push(node.name.clone());
            continue;
        };
        sum.num_flows += answer.num_flows;
        sum.max_flows += answer.max_flows;
        sum.seen_flows += answer.seen_flows;
        sum.flows_rate += answer.flows_rate;
        sum.uptime_ns = sum.uptime_ns.max(answer.uptime_ns);
    }
    let number = |n: usize| Some(UInt32Value { value: u32::try_from(n).unwrap_or(u32::MAX) });
    sum.num_connected_nodes = number(answers.len() - silent.len());
    sum.num_unavailable_nodes = number(silent.len());
    silent.truncate(NAMES);
    sum.unavailable_nodes = silent;
    sum
}

/// All nodes, also those that do not answer.
pub(crate) async fn nodes(shared: &Shared) -> pb::GetNodesResponse {
    let node = |(node, answer): (Node, Option<pb::ServerStatusResponse>)| {
        let state = if answer.is_some() { NodeState::NodeConnected } else { NodeState::NodeUnavailable };
        let answer = answer.unwrap_or_default();
        pb::Node {
            name: node.name,
            version: answer.version,
            address: node.address,
            state: state.into(),
            tls: Some(pb::Tls {
                enabled: node.tls_server_name.is_some(),
                server_name: node.tls_server_name.unwrap_or_default(),
            }),
            uptime_ns: answer.uptime_ns,
            num_flows: answer.num_flows,
            max_flows: answer.max_flows,
            seen_flows: answer.seen_flows,
        }
    };
    pb::GetNodesResponse { nodes: statuses(shared).await.into_iter().map(node).collect() }
}

/// Namespaces of all nodes, each once.
pub(crate) async fn namespaces(shared: &Shared) -> pb::GetNamespacesResponse {
    let question = |mut client: ObserverClient<Channel>| async move {
        client.get_namespaces(pb::GetNamespacesRequest {}).await
    };
    let answers = ask(shared, question).await;
    let all = answers.into_iter().filter_map(|(_, answer)| answer).flat_map(|answer| answer.namespaces);
    let once: BTreeSet<_> = all.map(|found| (found.cluster, found.namespace)).collect();
    let namespaces = once.into_iter().map(|(cluster, namespace)| pb::Namespace { cluster, namespace });
    pb::GetNamespacesResponse { namespaces: namespaces.collect() }
}
