//! This node's own objects: read at start, written once, and the pod CIDRs waited for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_core::Node;
use anyhow::{Result, bail};
use futures::future::BoxFuture;
use ipam::PodAllocator;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as KubeNode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube_api::CiliumNode;
use kube_api::node::{IpamSpec, NodeAddress, NodeSpec};
use kube_watch::{ApiError, Change, Clients, Key, WatchSpec};
use tokio::sync::mpsc;

use crate::config::{Config, IpamMode};

/// Field manager of everything the agent applies.
pub(crate) const MANAGER: &str = "cilium-agent";

/// What is known of this node before anything is set up.
pub(crate) struct Own {
    /// The node, with router addresses and pod CIDRs.
    pub node: Node,
    /// Addresses for its pods.
    pub ipam: PodAllocator,
    /// Labels of its Node object when the agent started.
    pub labels: BTreeMap<String, String>,
}

/// Reads this node's objects and waits for its pod CIDRs, for as long as it takes. `present` are the router addresses
/// found on `cilium_host`; they are kept while they fit.
///
/// # Errors
/// The pod CIDRs cannot be used.
pub(crate) async fn discover(clients: &Clients, config: &Config, present: &[IpAddr]) -> Result<Own> {
    let kube: KubeNode =
        patient("this node's Node object", || async { clients.get(&Key::new("", &config.node_name)).await })
            .await;
    let underlay = underlay(&kube, config);
    if underlay.is_empty() {
        bail!(
            "node {} has no InternalIP of an enabled address family in its status: the kubelet must report one (--node-ip)",
            config.node_name
        );
    }
    announce(clients, config, &kube, &underlay, &[]).await;
    let pod_cidrs = pod_cidrs(clients, config, &kube).await?;
    let ipam = PodAllocator::new(pod_cidrs.iter().copied(), present)?;
    let families = [(config.ipv4, ipam::Family::V4), (config.ipv6, ipam::Family::V6)];
    let routers: Vec<IpAddr> =
        families.iter().filter(|(on, _)| *on).filter_map(|(_, f)| ipam.router(*f)).collect();
    announce(clients, config, &kube, &underlay, &routers).await;
    let node = Node { name: config.node_name.clone(), underlay, routers, pod_cidrs, ..Node::default() };
    let labels = kube.metadata.labels.unwrap_or_default();
    Ok(Own { node, ipam, labels })
}

/// The node's addresses under which others reach it, of the enabled families, IPv4 first.
fn underlay(kube: &KubeNode, _config: &Config) -> Vec<IpAddr> {
    let status = kube.status.as_ref().and_then(|s| s.addresses.as_ref());
    let internal = status.into_iter().flatten().filter(|a| a.type_ == NodeAddress::INTERNAL_IP);
    let mut addresses: Vec<IpAddr> = internal.filter_map(|a| a.address.parse().ok()).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

/// Writes the CiliumNode: addresses, and in Kubernetes mode the pod CIDRs.
async fn announce(
    clients: &Clients,
    config: &Config,
    kube: &KubeNode,
    underlay: &[IpAddr],
    routers: &[IpAddr],
) {
    let address = |kind: &str, ip: &IpAddr| NodeAddress { kind: kind.to_owned(), ip: ip.to_string() };
    let internal = underlay.iter().map(|ip| address(NodeAddress::INTERNAL_IP, ip));
    let router = routers.iter().map(|ip| address(NodeAddress::CILIUM_INTERNAL_IP, ip));
    let ipam = match config.ipam {
        // The operator owns the field.
        IpamMode::ClusterPool => IpamSpec::default(),
        IpamMode::Kubernetes => IpamSpec { pod_cidrs: node_cidrs(kube), ..IpamSpec::default() },
    };
    let spec = NodeSpec { addresses: internal.chain(router).collect(), ipam, ..NodeSpec::default() };
    let mut object = CiliumNode::new(&config.node_name, spec);
    object.metadata.labels.clone_from(&kube.metadata.labels);
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: config.node_name.clone(),
        uid: kube.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }]);
    patient("this node's CiliumNode object", || clients.apply(MANAGER, &object)).await;
}

/// Keeps the labels of the CiliumNode, by which policies select nodes, those of the Node, while the agent runs.
pub(crate) fn follow_labels(
    clients: &Clients,
    config: Arc<Config>,
    node: Node,
    labels: BTreeMap<String, String>,
) -> [BoxFuture<'static, ()>; 2] {
    let (queue, mut changes) = mpsc::channel::<Vec<Change<KubeNode>>>(1);
    let spec = WatchSpec::fields(format!("metadata.name={}", config.node_name));
    let (_, watching) = clients.watch(spec, queue, |batch| batch);
    let clients = clients.clone();
    let following = async move {
        let mut known = labels;
        while let Some(batch) = changes.recv().await {
            let last = batch.into_iter().rev().find_map(|change| match change {
                Change::Apply(node) => Some(node),
                Change::Reset(nodes) => nodes.into_iter().next(),
                Change::Delete(_) | Change::Invalid(_) => None,
            });
            let Some(kube) = last else { continue };
            let labels = kube.metadata.labels.clone().unwrap_or_default();
            if labels != known {
                announce(&clients, &config, &kube, &node.underlay, &node.routers).await;
                known = labels;
            }
        }
    };
    [Box::pin(watching), Box::pin(following)]
}

fn node_cidrs(kube: &KubeNode) -> Vec<String> {
    let spec = kube.spec.as_ref();
    let many = spec.and_then(|s| s.pod_cidrs.clone()).unwrap_or_default();
    if many.is_empty() { spec.and_then(|s| s.pod_cidr.clone()).into_iter().collect() } else { many }
}

/// The node's pod CIDRs of the enabled families, once there is one for each.
async fn pod_cidrs(clients: &Clients, config: &Config, kube: &KubeNode) -> Result<Vec<IpNet>> {
    let key = Key::new("", &config.node_name);
    let mut told = false;
    let mut kube = kube.clone();
    loop {
        let (raw, error) = match config.ipam {
            IpamMode::Kubernetes => (node_cidrs(&kube), String::new()),
            IpamMode::ClusterPool => {
                let own: CiliumNode = patient("this node's CiliumNode object", || clients.get(&key)).await;
                (own.spec.ipam.pod_cidrs, own.status.ipam.operator_status.error)
            }
        };
        let mut cidrs = Vec::new();
        for text in &raw {
            match text.parse::<IpNet>() {
                Ok(cidr) => cidrs.push(cidr),
                Err(_) => bail!(
                    "pod CIDR {text:?} of node {} is no prefix: correct it in its object",
                    config.node_name
                ),
            }
        }
        cidrs.retain(|c| if c.addr().is_ipv4() { config.ipv4 } else { config.ipv6 });
        let has = |v4: bool| cidrs.iter().any(|c| c.addr().is_ipv4() == v4);
        if (!config.ipv4 || has(true)) && (!config.ipv6 || has(false)) {
            return Ok(cidrs);
        }
        if !told || !error.is_empty() {
            tracing::info!(have = ?raw, ipam = %config.ipam, operator = error, "waiting for this node's pod CIDRs");
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(if told { 300 } else { 50 })).await;
        if config.ipam == IpamMode::Kubernetes {
            kube = patient("this node's Node object", || clients.get(&key)).await;
        }
    }
}

/// Asks until it works: an API server that is away only makes the start slower.
pub(crate) async fn patient<T, F>(what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut wait = Duration::from_millis(100);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                tracing::warn!(
                    what,
                    error = error.describe(),
                    "the API server refuses or is away; trying again"
                );
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
        }
    }
}
