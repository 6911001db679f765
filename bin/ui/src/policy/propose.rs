//! A policy from a flow: the least that lets its connection pass on one side.

use crate::view::{Grouping, Node};
use flow::{Connection, Direction, End, Flow};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use types::{Label, NumericIdentity, Source, key};

/// Whose policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The server's.
    Ingress,
    /// The client's.
    Egress,
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Proposed {
    pub(crate) yaml: String,
    pub(crate) namespace: String,
    pub(crate) side: Side,
    /// Sides on which a policy could be made.
    pub(crate) sides: Vec<Side>,
    /// What it does.
    pub(crate) says: String,
}

/// Makes a policy for a side; without one, for that which was asked when the flow was seen.
///
/// # Errors
/// No policy can be about it; the text says why.
pub(crate) fn of(flow: &Flow, wanted: Option<Side>) -> Result<Proposed, String> {
    let connection = flow.connection().map_err(|why| format!("no policy can be about this flow: {why}"))?;
    let sides: Vec<Side> = [(Side::Ingress, connection.server), (Side::Egress, connection.client)]
        .into_iter()
        .filter(|(_, end)| is_subject(end))
        .map(|(side, _)| side)
        .collect();
    let seen = match connection.direction {
        Direction::Egress => Side::Egress,
        Direction::Ingress | Direction::Unknown => Side::Ingress,
    };
    let side = wanted.unwrap_or(if sides.contains(&seen) { seen } else { *sides.first().unwrap_or(&seen) });
    if !sides.contains(&side) {
        return Err(
            "no policy can be about this flow: on that side is no pod whose labels are known".to_owned()
        );
    }
    let (subject, peer, address) = match side {
        Side::Ingress => (connection.server, connection.client, connection.client_address),
        Side::Egress => (connection.client, connection.server, connection.server_address),
    };
    let namespace = namespace(subject).to_owned();
    let (names, object) = policy(side, subject, peer, address, &connection, &namespace);
    let yaml = serde_yaml_ng::to_string(&object).map_err(|error| error.to_string())?;
    let [client, server] = names;
    let says = format!("lets {client} reach {server} on {}", port_text(&connection));
    Ok(Proposed { yaml, namespace, side, sides, says })
}

fn policy(
    side: Side,
    subject: &End,
    peer: &End,
    address: IpAddr,
    connection: &Connection<'_>,
    namespace: &str,
) -> ([String; 2], Value) {
    let name_of = |end, address| Node::of(end, Some(address), Grouping::Workload).name;
    let client = name_of(connection.client, connection.client_address);
    let server = name_of(connection.server, connection.server_address);
    let mut rule = Map::new();
    let (field, who) = peers(side, peer, address, namespace);
    rule.insert(field, who);
    ports(&mut rule, connection);
    let direction = if side == Side::Ingress { "ingress" } else { "egress" };
    let mut labels = labels(subject);
    labels.retain(|name, _| name != key::NAMESPACE);
    let object = json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": { "name": object_name(&client, &server, connection), "namespace": namespace },
        "spec": { "endpointSelector": { "matchLabels": labels }, direction: [rule] },
    });
    ([client, server], object)
}

/// A pod of which the labels are known.
fn is_subject(end: &End) -> bool {
    let reserved = NumericIdentity(end.identity).reserved().is_some();
    !reserved && !namespace(end).is_empty() && labels(end).keys().any(|name| name != key::NAMESPACE)
}

fn namespace(end: &End) -> &str {
    let of_pod = end.pod.as_ref().map(|pod| pod.namespace.as_str());
    of_pod.or_else(|| end.labels.namespace()).unwrap_or_default()
}

/// The labels that people gave, and the namespace.
fn labels(end: &End) -> Map<String, Value> {
    let own = |label: &&Label| {
        let name = label.key();
        *label.source() == Source::K8s && (name == key::NAMESPACE || !name.starts_with("io.cilium.k8s."))
    };
    end.labels.iter().filter(own).map(|l| (l.key().to_owned(), l.value().into())).collect()
}

fn peers(side: Side, peer: &End, address: IpAddr, namespace: &str) -> (String, Value) {
    let way = if side == Side::Ingress { "from" } else { "to" };
    let mut known = labels(peer);
    if !known.is_empty() {
        let own = known.get(key::NAMESPACE).and_then(Value::as_str) == Some(namespace);
        let home = known.remove(key::NAMESPACE).filter(|_| !own);
        if let Some(home) = home {
            known.insert(format!("k8s:{}", key::NAMESPACE), home);
        }
        return (format!("{way}Endpoints"), json!([{ "matchLabels": known }]));
    }
    let reserved = NumericIdentity(peer.identity).reserved().map(|reserved| reserved.name);
    match reserved.filter(|name| !name.starts_with("world") && *name != "unknown") {
        Some(name) => (format!("{way}Entities"), json!([name])),
        None => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            (format!("{way}CIDR"), json!([format!("{address}/{bits}")]))
        }
    }
}

fn ports(rule: &mut Map<String, Value>, connection: &Connection<'_>) {
    let protocol = match connection.protocol {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        1 | 58 => {
            let family = if connection.protocol == 1 { "IPv4" } else { "IPv6" };
            let fields = json!([{ "fields": [{ "family": family, "type": connection.port }] }]);
            rule.insert("icmps".to_owned(), fields);
            return;
        }
        _ => return,
    };
    let port = json!([{ "ports": [{ "port": connection.port.to_string(), "protocol": protocol }] }]);
    rule.insert("toPorts".to_owned(), port);
}

fn port_text(connection: &Connection<'_>) -> String {
    match connection.protocol {
        6 => format!("{}/TCP", connection.port),
        17 => format!("{}/UDP", connection.port),
        132 => format!("{}/SCTP", connection.port),
        1 => format!("ICMP type {}", connection.port),
        58 => format!("ICMPv6 type {}", connection.port),
        _ => "every port".to_owned(),
    }
}

/// A name that the API server takes, whatever the ends are called.
fn object_name(client: &str, server: &str, connection: &Connection<'_>) -> String {
    let part = |text: &str| {
        let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let text: String = text.chars().take(20).map(clean).collect();
        text.trim_matches('-').to_owned()
    };
    let parts =
        ["allow".to_owned(), part(client), "to".to_owned(), part(server), connection.port.to_string()];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{flow, pod};
    use flow::{L4, Verdict};
    use types::Labels;
    use whatif::{Documents, lint};

    fn made(flow: &Flow, side: Option<Side>) -> Proposed {
        let proposed = of(flow, side).expect("a policy");
        let findings = lint(&Documents::read(&proposed.yaml), "default", None);
        assert!(findings.is_empty(), "{}\n{findings:?}", proposed.yaml);
        proposed
    }

    #[test]
    fn the_denied_side_is_opened_for_this_client_and_port() {
        let mut denied = flow(pod("shop", "web", 1001), pod("data", "db", 1002), Verdict::Dropped);
        denied.direction = Direction::Ingress;
        let proposed = made(&denied, None);
        assert_eq!((proposed.side, proposed.namespace.as_str()), (Side::Ingress, "data"));
        assert_eq!(proposed.says, "lets web reach db on 80/TCP");
        let expected = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: allow-web-to-db-80\n  \
            namespace: data\nspec:\n  endpointSelector:\n    matchLabels:\n      app: db\n  ingress:\n  - fromEndpoints:\n    \
            - matchLabels:\n        app: web\n        k8s:io.kubernetes.pod.namespace: shop\n    toPorts:\n    - ports:\n      \
            - port: '80'\n        protocol: TCP\n";
        assert_eq!(proposed.yaml, expected);
        let egress = made(&denied, Some(Side::Egress));
        assert!(egress.yaml.contains("toEndpoints") && egress.namespace == "shop", "{}", egress.yaml);
    }

    #[test]
    fn peers_that_are_no_pods() {
        let world = End {
            identity: 2,
            labels: Labels::parse(["reserved:world"]).expect("a label"),
            ..End::default()
        };
        let host =
            End { identity: 1, labels: Labels::parse(["reserved:host"]).expect("a label"), ..End::default() };
        let out = made(&flow(pod("shop", "web", 1001), world.clone(), Verdict::Dropped), None);
        assert!(out.yaml.contains("toCIDR:\n    - 10.0.0.2/32"), "{}", out.yaml);
        assert_eq!(out.sides, [Side::Egress]);
        let mut ping = flow(host.clone(), pod("shop", "web", 1001), Verdict::Dropped);
        ping.l4 = Some(L4::Icmp4 { kind: 8, code: 0 });
        let ping = made(&ping, None);
        assert!(
            ping.yaml.contains("fromEntities:\n    - host") && ping.yaml.contains("type: 8"),
            "{}",
            ping.yaml
        );
        assert!(of(&flow(world, host, Verdict::Dropped), None).expect_err("no pod").contains("no pod"));
    }

    #[test]
    fn names_are_names_whatever_pods_are_called() {
        let named = flow(pod("shop", "<b>é\"web", 1001), pod("shop", "db", 1002), Verdict::Dropped);
        let hostile = of(&named, None).expect("a policy");
        assert!(hostile.yaml.contains("name: allow-b---web-to-db-80"), "{}", hostile.yaml);
    }
}
