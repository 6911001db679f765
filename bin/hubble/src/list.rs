//! `hubble list` and `hubble watch`.

use crate::cli::{ListOptions, ListOutput, Server};
use crate::connect::connect;
use crate::status::go_duration;
use crate::table;
use anyhow::Context;
use flow::format::clean;
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::{GetNamespacesRequest, GetNodesRequest, Namespace, Node};
use hubble_pb::peer::peer_client::PeerClient;
use hubble_pb::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};
use hubble_pb::relay::NodeState;
use std::io::Write;
use tonic::Request;

const UNKNOWN: &str = "N/A";

pub(crate) async fn nodes(options: &ListOptions, server: &Server, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut request = Request::new(GetNodesRequest {});
    request.set_timeout(server.request_timeout);
    let answer = ObserverClient::new(connect(server).await?).get_nodes(request).await;
    let mut nodes = answer.context("the server does not list its nodes")?.into_inner().nodes;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    match options.output {
        ListOutput::Json => writeln!(out, "{}", serde_json::to_string_pretty(&nodes)?)?,
        output => table::write(out, &node_rows(&nodes, output == ListOutput::Wide))?,
    }
    Ok(())
}

fn node_rows(nodes: &[Node], wide: bool) -> Vec<Vec<String>> {
    let mut heads = vec!["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS"];
    if wide {
        heads.extend(["VERSION", "ADDRESS", "TLS"]);
    }
    let heads = heads.into_iter().map(str::to_owned).collect();
    std::iter::once(heads).chain(nodes.iter().map(|node| node_row(node, wide))).collect()
}

fn node_row(node: &Node, wide: bool) -> Vec<String> {
    let state = match NodeState::try_from(node.state) {
        Ok(NodeState::NodeConnected) => "Connected",
        Ok(NodeState::NodeUnavailable) => "Unavailable",
        Ok(NodeState::NodeGone) => "Gone",
        Ok(NodeState::NodeError) => "Error",
        _ => "Unknown",
    };
    let seconds = (node.uptime_ns + 500_000_000) / 1_000_000_000;
    let (age, rate) = match seconds {
        0 => (UNKNOWN.to_owned(), UNKNOWN.to_owned()),
        s => (go_duration(s * 1_000_000_000), format!("{:.2}", node.seen_flows as f64 / s as f64)),
    };
    let filled = match node.max_flows {
        0 => UNKNOWN.to_owned(),
        max => format!("{}/{max} ({:6.2}%)", node.num_flows, node.num_flows as f64 / max as f64 * 100.0),
    };
    let mut row = vec![clean(&node.name).into_owned(), state.to_owned(), age, rate, filled];
    if wide {
        let or_unknown =
            |text: &str| if text.is_empty() { UNKNOWN.to_owned() } else { clean(text).into_owned() };
        let tls = node.tls.as_ref().map_or(UNKNOWN, |tls| if tls.enabled { "Enabled" } else { "Disabled" });
        row.extend([or_unknown(&node.version), clean(&node.address).into_owned(), tls.to_owned()]);
    }
    row
}

pub(crate) async fn namespaces(
    options: &ListOptions,
    server: &Server,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut request = Request::new(GetNamespacesRequest {});
    request.set_timeout(server.request_timeout);
    let answer = ObserverClient::new(connect(server).await?).get_namespaces(request).await;
    let namespaces = answer.context("the server does not list its namespaces")?.into_inner().namespaces;
    match options.output {
        ListOutput::Json => writeln!(out, "{}", serde_json::to_string_pretty(&namespaces)?)?,
        output => table::write(out, &namespace_rows(&namespaces, output == ListOutput::Wide))?,
    }
    Ok(())
}

fn namespace_rows(namespaces: &[Namespace], wide: bool) -> Vec<Vec<String>> {
    let row = |namespace: &str, cluster: &str| {
        let mut row = vec![clean(namespace).into_owned()];
        if wide && !cluster.is_empty() {
            row.push(clean(cluster).into_owned());
        }
        row
    };
    let heads = row("NAMESPACE", "CLUSTER");
    std::iter::once(heads).chain(namespaces.iter().map(|n| row(&n.namespace, &n.cluster))).collect()
}

pub(crate) async fn watch_peers(server: &Server, out: &mut dyn Write) -> anyhow::Result<()> {
    let answer = PeerClient::new(connect(server).await?).notify(NotifyRequest {}).await;
    let mut changes = answer.context("the server does not tell of its peers")?.into_inner();
    while let Some(change) = changes.message().await.context("the server stopped telling of its peers")? {
        writeln!(out, "{}", peer_line(&change))?;
        out.flush()?;
    }
    Ok(())
}

fn peer_line(change: &ChangeNotification) -> String {
    let what = ChangeNotificationType::try_from(change.r#type).unwrap_or_default().as_str_name();
    let tls = change.tls.as_ref().map(|tls| format!(" (TLS.ServerName: {})", clean(&tls.server_name)));
    format!("{what:<12} {} {}{}", clean(&change.address), clean(&change.name), tls.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_read_as_hubble_prints_them() {
        let node = Node {
            name: "default/n1".into(),
            state: NodeState::NodeConnected.into(),
            uptime_ns: 61_400_000_000,
            num_flows: 1000,
            max_flows: 4000,
            seen_flows: 610,
            ..Node::default()
        };
        assert_eq!(
            node_row(&node, false),
            ["default/n1", "Connected", "1m1s", "10.00", "1000/4000 ( 25.00%)"]
        );
        let new = Node { name: "n".into(), ..Node::default() };
        assert_eq!(node_row(&new, true), ["n", "Unknown", "N/A", "N/A", "N/A", "N/A", "", "N/A"]);
    }

    #[test]
    fn peers_read_as_hubble_prints_them() {
        let change = ChangeNotification {
            name: "default/n1".into(),
            address: "10.0.0.1:4244".into(),
            r#type: ChangeNotificationType::PeerAdded.into(),
            tls: None,
        };
        assert_eq!(peer_line(&change), "PEER_ADDED   10.0.0.1:4244 default/n1");
    }
}
