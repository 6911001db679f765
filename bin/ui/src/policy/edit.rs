//! Changes that somebody makes in the picture of a policy, made in its text.

use serde_json::{Map, Value, json};
use types::{IpNet, key};
use whatif::{Cluster, Document, Documents, Inventory, Reach};

/// A change.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Change {
    add: Option<Add>,
    remove: Option<Remove>,
}

/// One more peer.
#[derive(Clone, Debug, serde::Deserialize)]
struct Add {
    direction: Direction,
    /// `app=web`, `shop/app=web,tier=x`, `world`, `10.0.0.0/8`.
    peer: String,
    /// `80/TCP`; empty for all.
    port: String,
}

/// One peer less, by the name that the picture gives it.
#[derive(Clone, Debug, serde::Deserialize)]
struct Remove {
    direction: Direction,
    peer: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Ingress,
    Egress,
}

const ENTITIES: [&str; 10] = [
    "all",
    "cluster",
    "health",
    "host",
    "ingress",
    "init",
    "kube-apiserver",
    "remote-node",
    "unmanaged",
    "world",
];

impl Direction {
    const fn field(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }

    const fn way(self) -> &'static str {
        match self {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }
}

/// The policy's text after a change.
///
/// # Errors
/// The text is not one policy with one `spec`, or the change makes no sense; the answer says what would.
pub(crate) fn edit(
    yaml: &str,
    namespace: &str,
    change: &Change,
    cluster: &Cluster,
) -> Result<String, String> {
    let documents = Documents::read(yaml);
    let [document] = &documents.objects[..] else {
        return Err("the text has to hold one policy: edit the text itself".to_owned());
    };
    let mut policy = document.value.clone();
    if let Some(add) = &change.add {
        let rule = rule(add)?;
        rules(&mut policy, add.direction)?.push(rule);
    }
    if let Some(gone) = &change.remove {
        remove(&mut policy, namespace, gone, cluster)?;
    }
    serde_yaml_ng::to_string(&policy).map_err(|error| error.to_string())
}

fn rules(policy: &mut Value, direction: Direction) -> Result<&mut Vec<Value>, String> {
    let cure = "the picture can only change `spec` of Cilium's own kinds: edit the text itself";
    let spec = policy.get_mut("spec").and_then(Value::as_object_mut).ok_or(cure)?;
    let rules = spec.entry(direction.field()).or_insert_with(|| json!([]));
    rules.as_array_mut().ok_or_else(|| cure.to_owned())
}

fn rule(add: &Add) -> Result<Value, String> {
    let mut rule = Map::new();
    let (way, peer) = (add.direction.way(), add.peer.trim());
    if ENTITIES.contains(&peer) {
        rule.insert(format!("{way}Entities"), json!([peer]));
    } else if let Ok(net) = peer.parse::<IpNet>() {
        rule.insert(format!("{way}CIDR"), json!([net.trunc().to_string()]));
    } else {
        rule.insert(format!("{way}Endpoints"), json!([{ "matchLabels": labels(peer)? }]));
    }
    let port = add.port.trim();
    if !port.is_empty() {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
        let protocol = protocol.to_uppercase();
        if !matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP" | "ANY") || number.parse::<u16>().is_err() {
            return Err(format!("{port:?} is no port: write one like 80/TCP, or nothing for all"));
        }
        rule.insert("toPorts".to_owned(), json!([{ "ports": [{ "port": number, "protocol": protocol }] }]));
    }
    Ok(Value::Object(rule))
}

/// `app=web,tier=x`, in another namespace `shop/app=web`.
fn labels(peer: &str) -> Result<Map<String, Value>, String> {
    let bad = || {
        format!(
            "{peer:?} names nobody: write labels such as app=web or shop/app=web, a prefix such as 10.0.0.0/8, or one of {}",
            ENTITIES.join(", ")
        )
    };
    let mut labels = Map::new();
    // Keys may have a slash; a namespace stands before one that comes before any dot and equals sign.
    let (namespace, rest) = match peer.split_once('/') {
        Some((namespace, rest)) if !namespace.contains(['.', '=']) => (Some(namespace), rest),
        _ => (None, peer),
    };
    if let Some(namespace) = namespace {
        labels.insert(format!("k8s:{}", key::NAMESPACE), namespace.into());
    }
    for pair in rest.split(',') {
        let (key, value) = pair.trim().split_once('=').ok_or_else(bad)?;
        if key.is_empty() {
            return Err(bad());
        }
        labels.insert(key.to_owned(), value.into());
    }
    Ok(labels)
}

/// Takes away the rules that by themselves let the peer through.
fn remove(policy: &mut Value, namespace: &str, gone: &Remove, cluster: &Cluster) -> Result<(), String> {
    let all = rules(policy, gone.direction)?.clone();
    let mut kept = Vec::new();
    for rule in &all {
        *rules(policy, gone.direction)? = vec![rule.clone()];
        if !lets_through(&picture(policy, namespace, cluster), gone) {
            kept.push(rule.clone());
        }
    }
    if kept.len() == all.len() {
        return Err(format!("no rule of this policy alone lets {} through: edit the text itself", gone.peer));
    }
    // Without any rule the direction would be open; an empty one closes it.
    *rules(policy, gone.direction)? = if kept.is_empty() { vec![json!({})] } else { kept };
    Ok(())
}

/// What the policy allows if there were no other.
fn picture(policy: &Value, namespace: &str, cluster: &Cluster) -> Vec<Reach> {
    let candidate = Inventory::read(&[Document::of(policy.clone())], &cluster.name, namespace).policies;
    let mut alone = cluster.inventory.clone();
    alone.policies = candidate;
    whatif::reach(&alone, cluster.mode, &cluster.name, |_| true)
}

fn lets_through(picture: &[Reach], gone: &Remove) -> bool {
    let mut ways = picture.iter().flat_map(|reach| &reach.ways);
    ways.any(|way| {
        way.direction == gone.direction.field() && !way.because.is_empty() && way.peers.contains(&gone.peer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const POLICY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: db, namespace: shop}\n\
        spec:\n  endpointSelector: {matchLabels: {app: db}}\n  ingress:\n  - fromEndpoints: [{matchLabels: {app: web}}]\n";

    fn cluster() -> Cluster {
        let pod = |name: &str| {
            json!({ "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "namespace": "shop", "labels": { "app": name } }, "spec": { "containers": [] } })
        };
        Cluster::of(["web", "db", "job"].map(pod), &BTreeMap::new())
    }

    fn change(text: Value) -> Change {
        serde_json::from_value(text).expect("a change")
    }

    fn clients(yaml: &str) -> Vec<String> {
        let document = Documents::read(yaml).objects.remove(0);
        let picture = picture(&document.value, "shop", &cluster());
        let ways = picture.iter().flat_map(|reach| &reach.ways).filter(|way| way.direction == "ingress");
        ways.flat_map(|way| way.peers.clone()).filter(|peer| peer.starts_with("shop/")).collect()
    }

    #[test]
    fn peers_come_and_go() {
        assert_eq!(clients(POLICY), ["shop/web"]);
        let add = change(json!({ "add": { "direction": "ingress", "peer": "app=job", "port": "5432/TCP" } }));
        let more = edit(POLICY, "shop", &add, &cluster()).expect("changed");
        let mut who = clients(&more);
        who.sort();
        assert_eq!(who, ["shop/job", "shop/web"], "{more}");
        let take = |yaml: &str, peer: &str| {
            let change = change(json!({ "remove": { "direction": "ingress", "peer": peer } }));
            edit(yaml, "shop", &change, &cluster())
        };
        let less = take(&more, "shop/web").expect("changed");
        assert_eq!(clients(&less), ["shop/job"], "{less}");
        let none = take(&less, "shop/job").expect("changed");
        assert!(
            clients(&none).is_empty() && none.contains("- {}"),
            "an open direction must not come of it: {none}"
        );
        assert!(take(&none, "shop/web").expect_err("nobody").contains("no rule"));
    }

    #[test]
    fn peers_are_labels_prefixes_and_entities() {
        let rule = |peer: &str, port: &str| {
            rule(&Add { direction: Direction::Egress, peer: peer.into(), port: port.into() })
        };
        assert_eq!(rule("world", "").expect("a rule"), json!({ "toEntities": ["world"] }));
        assert_eq!(rule("10.1.2.3/8", "").expect("a rule"), json!({ "toCIDR": ["10.0.0.0/8"] }));
        let other = rule("data/app=db,tier=x", "53/udp").expect("a rule");
        let labels = json!({ "app": "db", "tier": "x", "k8s:io.kubernetes.pod.namespace": "data" });
        assert_eq!(other["toEndpoints"][0]["matchLabels"], labels);
        assert_eq!(other["toPorts"][0]["ports"][0], json!({ "port": "53", "protocol": "UDP" }));
        assert!(rule("everybody", "").expect_err("nobody").contains("world"));
        assert!(rule("app=x", "http").expect_err("no port").contains("80/TCP"));
        for bad in ["a: 1\n---\nb: 2\n", "kind: NetworkPolicy\n"] {
            let add = change(json!({ "add": { "direction": "egress", "peer": "world", "port": "" } }));
            assert!(edit(bad, "shop", &add, &cluster()).expect_err("no policy").contains("edit the text"));
        }
    }
}
