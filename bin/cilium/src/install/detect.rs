//! What a cluster is like, and what follows from it.

use super::values::{Values, set};
use crate::cluster::{self, Reach};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What the kubeconfig calls the cluster.
    pub(super) cluster: Option<String>,
    /// Address and port of the API server as nodes reach it.
    pub(super) server: Option<(String, u16)>,
    /// `kind`, `K3s`, `minikube`.
    pub(super) flavour: Option<&'static str>,
    /// Its version, for rendering without it.
    pub(super) kubernetes: Option<String>,
    /// kube-proxy runs.
    pub(super) kube_proxy: bool,
    /// Pod CIDRs of each node.
    pub(super) pod_cidrs: Vec<Vec<String>>,
    /// Addresses of nodes.
    pub(super) node_addresses: Vec<IpAddr>,
    /// Other pod networks: product, and NAMESPACE/NAME of its DaemonSet.
    pub(super) networks: Vec<(&'static str, String)>,
}

/// What follows.
#[derive(Debug)]
pub(super) struct Decided {
    /// Values below the user's.
    pub(super) values: Value,
    /// What is told.
    pub(super) lines: Vec<String>,
}

const FLANNEL: &str = "Flannel";
/// Values that make Cilium the plugin after Flannel: it connects the nodes, and its rules masquerade.
const BEHIND_FLANNEL: [(&str, &str); 4] = [
    ("cni.chainingMode", "flannel"),
    ("routingMode", "native"),
    ("enableIPv4Masquerade", "false"),
    ("enableIPv6Masquerade", "false"),
];
/// DaemonSets of other pod networks.
const NETWORKS: [(&str, &str); 8] = [
    ("kube-flannel-ds", FLANNEL),
    ("kube-flannel", FLANNEL),
    ("canal", "Canal"),
    ("calico-node", "Calico"),
    ("aws-node", "the AWS VPC CNI"),
    ("weave-net", "Weave"),
    ("kindnet", "kindnet"),
    ("antrea-agent", "Antrea"),
];
/// Ranges for pods, the first that no node has an address in is taken.
const POOLS: [(&str, u32, u32); 3] = [
    ("10.0.0.0/8", 0x0a00_0000, 0xff00_0000),
    ("172.16.0.0/12", 0xac10_0000, 0xfff0_0000),
    ("192.168.0.0/16", 0xc0a8_0000, 0xffff_0000),
];

/// Looks at a cluster.
pub(super) async fn look(reach: &Reach) -> Result<Facts> {
    let clients = &reach.clients;
    let (cluster, server) = reach.config.cluster()?.unzip();
    let nodes = cluster::list(clients, "/api/v1/nodes").await?;
    let sets = cluster::list(clients, "/apis/apps/v1/daemonsets").await?;
    let pods = cluster::list(clients, "/api/v1/namespaces/kube-system/pods").await?;
    let slices =
        cluster::list(clients, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices").await?;
    let version = clients.read("/version").await.ok();
    let mut facts = of_nodes(&nodes);
    facts.cluster = cluster;
    facts.kubernetes = version.and_then(|version| version["gitVersion"].as_str().map(str::to_owned));
    facts.server = server.flatten().as_deref().and_then(address).or_else(|| of_slices(&slices));
    let name = |object: &Value| object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let label =
        |pod: &Value, key: &str| pod.pointer("/metadata/labels").is_some_and(|l| l[key] == "kube-proxy");
    facts.kube_proxy = pods.iter().any(|pod| label(pod, "k8s-app") || label(pod, "component"))
        || sets.iter().any(|set| name(set).as_deref() == Some("kube-proxy"))
        // It runs inside the agent of K3s, where nobody sees it.
        || facts.flavour == Some("K3s");
    for set in &sets {
        let namespace = set.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let found = name(set).and_then(|name| NETWORKS.iter().find(|(known, _)| *known == name));
        facts.networks.extend(found.map(|(name, product)| (*product, format!("{namespace}/{name}"))));
    }
    Ok(facts)
}

fn of_nodes(nodes: &[Value]) -> Facts {
    let text =
        |node: &Value, path: &str| node.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut facts = Facts::default();
    for node in nodes {
        if text(node, "/spec/providerID").starts_with("kind://") {
            facts.flavour = Some("kind");
        } else if text(node, "/status/nodeInfo/kubeletVersion").contains("+k3s") {
            facts.flavour = Some("K3s");
        } else if node.pointer("/metadata/labels/minikube.k8s.io~1name").is_some() {
            facts.flavour = Some("minikube");
        }
        let cidrs = node.pointer("/spec/podCIDRs").and_then(Value::as_array);
        let cidrs = cidrs.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        facts.pod_cidrs.push(cidrs.collect());
        let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
        let addresses = addresses.into_iter().flatten().filter(|one| one["type"] == "InternalIP");
        facts
            .node_addresses
            .extend(addresses.filter_map(|one| one["address"].as_str()?.parse::<IpAddr>().ok()));
    }
    facts
}

/// Host and port of an URL; `None` where only this machine could reach it.
fn address(url: &str) -> Option<(String, u16)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next()?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (rest, 443),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let local =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    (!local).then(|| (host.to_owned(), port))
}

/// What the service `kubernetes` leads to.
fn of_slices(slices: &[Value]) -> Option<(String, u16)> {
    let slice = slices
        .iter()
        .find(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes")?;
    let host = slice.pointer("/endpoints/0/addresses/0")?.as_str()?.to_owned();
    let port = slice.pointer("/ports/0/port")?.as_u64()?;
    Some((host, u16::try_from(port).ok()?))
}

/// What follows from the facts where the user says nothing.
pub(super) fn decide(facts: &Facts, user: &Values) -> Decided {
    let mut decided = Decided { values: Value::Object(Map::new()), lines: Vec::new() };
    if let Some(flavour) = facts.flavour {
        decided.lines.push(format!("🔮 Auto-detected Kubernetes kind: {flavour}"));
    }
    name(facts, user, &mut decided);
    let chained = networks(facts, user, &mut decided);
    if !chained {
        addresses(facts, user, &mut decided);
    }
    services(facts, user, &mut decided);
    decided
}

impl Decided {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        set(&mut self.values, key, value.into());
    }

    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }
}

fn name(facts: &Facts, user: &Values, decided: &mut Decided) {
    if let Some(name) = user.get("cluster.name") {
        decided.say(format!("ℹ️  Using cluster name {name:?}"));
        return;
    }
    let Some(name) = facts.cluster.as_deref().map(cluster_name).filter(|name| !name.is_empty()) else {
        return;
    };
    decided.say(format!("🔮 Auto-detected cluster name: {name}"));
    decided.set("cluster.name", name);
}

/// A name as the chart takes it: at most 32 of a-z, 0-9 and '-', not at the ends.
fn cluster_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = name.to_ascii_lowercase().chars().map(allowed).collect();
    let name: String = name.trim_matches('-').chars().take(32).collect();
    name.trim_end_matches('-').to_owned()
}

fn services(facts: &Facts, user: &Values, decided: &mut Decided) {
    let state = if facts.kube_proxy { "has been installed" } else { "has not been installed" };
    decided.say(format!("🔮 Auto-detected kube-proxy {state}"));
    if facts.kube_proxy || user.get("kubeProxyReplacement").is_some_and(|value| value == "false") {
        return;
    }
    decided.say("ℹ️  Cilium will fully replace all functionalities of kube-proxy");
    decided.set("kubeProxyReplacement", "true");
    if let Some((host, port)) = &facts.server {
        // Without kube-proxy nobody leads to the service `kubernetes` before Cilium runs.
        decided.set("k8sServiceHost", host.as_str());
        decided.set("k8sServicePort", *port);
    }
}

fn addresses(facts: &Facts, user: &Values, decided: &mut Decided) {
    if user.get("ipam.mode").is_some() || user.get("ipam.operator.clusterPoolIPv4PodCIDRList").is_some() {
        return;
    }
    if !facts.pod_cidrs.is_empty() && facts.pod_cidrs.iter().all(|cidrs| !cidrs.is_empty()) {
        let cidrs: Vec<String> = facts.pod_cidrs.concat();
        decided.say(format!("🔮 Auto-detected pod CIDRs of nodes: {}", crate::output::some(&cidrs, 4)));
        decided.set("ipam.mode", "kubernetes");
        return;
    }
    let taken = |net: u32, mask: u32| {
        let inside = |ip: &Ipv4Addr| ip.to_bits() & mask == net;
        facts.node_addresses.iter().any(|ip| matches!(ip, IpAddr::V4(ip) if inside(ip)))
    };
    let free = POOLS.iter().find(|(_, net, mask)| !taken(*net, *mask));
    if let Some((pool, ..)) = free.filter(|(pool, ..)| *pool != POOLS[0].0) {
        decided.say(format!("🔮 Auto-detected nodes in {}: pods get addresses of {pool}", POOLS[0].0));
        decided.set("ipam.operator.clusterPoolIPv4PodCIDRList", json!([pool]));
    }
}

/// Says which other networks there are; whether pods are to have their addresses from one of them.
fn networks(facts: &Facts, user: &Values, decided: &mut Decided) -> bool {
    match user.get("cni.chainingMode").as_deref() {
        Some("flannel" | "generic-veth") => return true,
        Some(mode) if mode != "none" => return false,
        Some(_) => {}
        None => {
            if let Some((_, place)) = facts.networks.iter().find(|_| behind_flannel(facts, user)) {
                decided.say(format!("🔮 Auto-detected Flannel: {place}"));
                decided.say(format!(
                    "ℹ️  Cilium will be chained behind Flannel ({}): --set cni.chainingMode=none takes new pods over from it instead",
                    BEHIND_FLANNEL.map(|(key, value)| format!("{key}={value}")).join(", ")
                ));
                for (key, value) in BEHIND_FLANNEL {
                    decided.set(key, super::values::typed(value));
                }
                return true;
            }
        }
    }
    for (product, place) in &facts.networks {
        let behind = if *product == FLANNEL { "flannel" } else { "generic-veth" };
        decided.say(format!(
            "ℹ️  Found {product} ({place}): Cilium takes new pods over from it. To chain Cilium behind it instead, \
             --set cni.chainingMode={behind},routingMode=native"
        ));
    }
    false
}

/// Flannel is the only other network, and nothing that the user says contradicts being behind it.
fn behind_flannel(facts: &Facts, user: &Values) -> bool {
    let says = |key: &str, value: &str| user.get(key).is_some_and(|said| said == value);
    // The Flannel of K3s is inside its agent and has a folder of its own for configurations.
    facts.flavour != Some("K3s")
        && matches!(facts.networks.as_slice(), [(FLANNEL, _)])
        && !says("routingMode", "tunnel")
        && !says("ipam.mode", "kubernetes")
        && !says("cni.install", "false")
}

#[cfg(test)]
mod tests;
