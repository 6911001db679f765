//! The tests. Names of scenarios are those of the connectivity check that people know from Cilium's examples, where it has
//! them: pod-to-a, pod-to-a-allowed-cnp, pod-to-b-multi-node-clusterip, …

mod ways;

use super::super::objects::{self, OTHER_TCP, TCP, UDP};
use super::{Facts, Scenario, Test, What};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// Names, in the order in which they run.
pub(super) const NAMES: [&str; 13] = [
    "no-policies",
    "client-egress",
    "client-egress-l3-deny",
    "client-egress-to-entities-world",
    "client-egress-to-cidr",
    "client-egress-to-fqdns",
    "echo-ingress",
    "echo-ingress-l4",
    "echo-ingress-deny",
    "all-ingress-deny",
    "all-egress-deny",
    "network-policy",
    "local-redirect-policy",
];

/// All tests for a cluster.
pub(super) fn all(facts: &Facts<'_>) -> Vec<Test> {
    let build: [fn(&Facts<'_>) -> Test; 13] = [
        no_policies,
        client_egress,
        l3_deny,
        world,
        cidr,
        fqdns,
        echo_ingress,
        l4,
        ingress_deny,
        all_ingress,
        all_egress,
        network_policy,
        redirect,
    ];
    let tests = NAMES.iter().zip(build).map(|(name, build)| Test { name, ..build(facts) });
    tests.collect()
}

fn test(policies: Vec<Value>, scenarios: Vec<Scenario>) -> Test {
    Test { policies, scenarios, ..Test::default() }
}

fn no_policies(f: &Facts<'_>) -> Test {
    let ping = |name, from: &str, to: &str, addresses: &[IpAddr]| {
        f.each(name, from, to, addresses, |ip| What::Ping(*ip), true)
    };
    let nodes: Vec<IpAddr> =
        f.places.values().flat_map(|place| f.node_addresses.get(&place.node)).flatten().copied().collect();
    let mut nodes: Vec<IpAddr> = nodes.into_iter().filter(|ip| f.has_family(*ip)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let udp = |ip: &IpAddr| What::Udp(SocketAddr::new(*ip, UDP));
    let scenarios = vec![
        f.pod("pod-to-a", "client-a", "echo-a", true),
        f.pod("pod-to-b-intra-node", "client-b", "echo-b", true),
        f.pod("pod-to-b-multi-node", "client-a", "echo-b", true),
        f.service("pod-to-a-clusterip", "client-a", "echo-a"),
        f.service("pod-to-itself-clusterip", "echo-a", "echo-a"),
        f.service("pod-to-b-multi-node-clusterip", "client-a", "echo-b"),
        f.headless("pod-to-b-multi-node-headless", "client-a", "echo-b-headless"),
        f.node_port("pod-to-b-multi-node-nodeport", "client-a", "echo-b"),
        f.pod("host-to-a-local", "host-a", "echo-a", true),
        f.service("host-to-b-multi-node-clusterip", "host-a", "echo-b"),
        f.headless("host-to-b-multi-node-headless", "host-a", "echo-b-headless"),
        f.node_port("host-to-b-multi-node-nodeport", "host-a", "echo-b"),
        f.each("pod-to-b-multi-node-udp", "client-a", "echo-b", f.of("echo-b"), udp, true),
        ping("pod-to-b-multi-node-icmp", "client-a", "echo-b", f.of("echo-b")),
        ping("pod-to-nodes-icmp", "client-a", "nodes", &nodes),
        f.external("pod-to-a-external-1111", true),
    ];
    test(Vec::new(), scenarios)
}

fn client() -> Value {
    json!({ "name": "client-a" })
}

fn to(labels: Value) -> Value {
    json!({ "egress": [{ "toEndpoints": [{ "matchLabels": labels }] }] })
}

fn client_egress(f: &Facts<'_>) -> Test {
    let port = TCP.to_string();
    let rules = json!({ "egress": [{ "toEndpoints": [{ "matchLabels": { "name": "echo-a" } }],
        "toPorts": [{ "ports": [{ "port": port, "protocol": "TCP" }] }] }] });
    test(
        vec![objects::policy("pod-to-a-allowed-cnp", &client(), rules)],
        vec![
            f.pod("pod-to-a-allowed-cnp", "client-a", "echo-a", true),
            f.tcp("pod-to-a-other-port", "client-a", "echo-a", f.of("echo-a"), OTHER_TCP, false),
            f.pod("pod-to-b-denied", "client-a", "echo-b", false),
            f.pod("somebody-else-to-a", "client2-a", "echo-a", true),
        ],
    )
}

fn l3_deny(f: &Facts<'_>) -> Test {
    let policy = objects::policy("pod-to-a-l3-denied-cnp", &client(), to(json!({ "name": "nobody" })));
    test(
        vec![policy],
        vec![f.pod("pod-to-a-l3-denied-cnp", "client-a", "echo-a", false), f.drops("client-a")],
    )
}

fn world(f: &Facts<'_>) -> Test {
    let policy = objects::policy("to-world", &client(), json!({ "egress": [{ "toEntities": ["world"] }] }));
    test(
        vec![policy],
        vec![f.external("pod-to-world", true), f.pod("pod-to-a-denied", "client-a", "echo-a", false)],
    )
}

fn cidr(f: &Facts<'_>) -> Test {
    let cidrs: Vec<String> =
        f.external.iter().map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })).collect();
    let policy = objects::policy("to-cidr", &client(), json!({ "egress": [{ "toCIDR": cidrs }] }));
    let others = objects::policy(
        "to-other-cidr",
        &json!({ "name": "client2-a" }),
        json!({ "egress": [{ "toCIDR": ["192.0.2.0/24"] }] }),
    );
    let mut elsewhere = f.external("pod-to-cidr-denied", false);
    for action in &mut elsewhere.actions {
        "client2-a".clone_into(&mut action.from);
    }
    test(vec![policy, others], vec![f.external("pod-to-cidr", true), elsewhere])
}

fn fqdns(_: &Facts<'_>) -> Test {
    let why = "policies by DNS names are not in this version";
    let name = "pod-to-external-fqdn-allow-google-cnp".to_owned();
    test(Vec::new(), vec![Scenario { name, skip: Some(why.to_owned()), ..Scenario::default() }])
}

fn from(labels: Value) -> Value {
    json!([{ "fromEndpoints": [{ "matchLabels": labels }] }])
}

fn echo_ingress(f: &Facts<'_>) -> Test {
    let policy =
        objects::policy("echo-ingress", &json!({ "kind": "echo" }), json!({ "ingress": from(client()) }));
    test(
        vec![policy],
        vec![
            f.pod("pod-to-a", "client-a", "echo-a", true),
            f.pod("pod-to-b-multi-node", "client-a", "echo-b", true),
            f.pod("somebody-else-to-a", "client2-a", "echo-a", false),
            f.pod("somebody-else-to-b-multi-node", "client2-a", "echo-b", false),
            f.pod("host-to-a-local", "host-a", "echo-a", true),
        ],
    )
}

fn l4(f: &Facts<'_>) -> Test {
    let port = OTHER_TCP.to_string();
    let rules = json!({ "ingress": [{ "toPorts": [{ "ports": [{ "port": port, "protocol": "TCP" }] }] }] });
    test(
        vec![objects::policy("echo-ingress-l4", &json!({ "name": "echo-a" }), rules)],
        vec![
            f.tcp("pod-to-a-open-port", "client-a", "echo-a", f.of("echo-a"), OTHER_TCP, true),
            f.pod("pod-to-a-closed-port", "client-a", "echo-a", false),
        ],
    )
}

fn ingress_deny(f: &Facts<'_>) -> Test {
    let rules = json!({ "ingress": [{ "fromEntities": ["all"] }], "ingressDeny": from(client()) });
    test(
        vec![objects::policy("echo-ingress-deny", &json!({ "name": "echo-a" }), rules)],
        vec![
            f.pod("pod-to-a-denied", "client-a", "echo-a", false),
            f.pod("somebody-else-to-a", "client2-a", "echo-a", true),
        ],
    )
}

fn all_ingress(f: &Facts<'_>) -> Test {
    let policy = objects::policy("all-ingress-deny", &json!({}), json!({ "ingress": [{}] }));
    test(
        vec![policy],
        vec![
            f.pod("pod-to-a-denied", "client-a", "echo-a", false),
            f.pod("pod-to-b-multi-node-denied", "client-a", "echo-b", false),
            f.external("pod-to-world", true),
        ],
    )
}

fn all_egress(f: &Facts<'_>) -> Test {
    let policy = objects::policy("all-egress-deny", &json!({}), json!({ "egress": [{}] }));
    test(
        vec![policy],
        vec![
            f.pod("pod-to-a-denied", "client-a", "echo-a", false),
            f.external("pod-to-world-denied", false),
            f.pod("host-to-a-local", "host-a", "echo-a", true),
        ],
    )
}

fn network_policy(f: &Facts<'_>) -> Test {
    let off = f.settings.get("enable-k8s-networkpolicy").is_some_and(|value| value == "false");
    let rules = json!({ "policyTypes": ["Ingress"], "ingress": [{ "from": [{ "podSelector": { "matchLabels": client() } }],
        "ports": [{ "port": TCP }] }] });
    let scenarios = vec![
        f.pod("pod-to-a", "client-a", "echo-a", true),
        f.tcp("pod-to-a-other-port", "client-a", "echo-a", f.of("echo-a"), OTHER_TCP, false),
        f.pod("somebody-else-to-a", "client2-a", "echo-a", false),
    ];
    Test {
        skip: off.then(|| "k8sNetworkPolicy.enabled is false".to_owned()),
        ..test(vec![objects::network_policy("echo-ingress", &json!({ "name": "echo-a" }), rules)], scenarios)
    }
}

fn redirect(f: &Facts<'_>) -> Test {
    let here: Vec<IpAddr> = objects::REDIRECTED.parse().into_iter().filter(|ip| f.has_family(*ip)).collect();
    let scenarios =
        vec![f.tcp("pod-to-local-pod", "client-a", "the redirected address", &here, OTHER_TCP, true)];
    let off = !f.is_on("enable-local-redirect-policy");
    Test {
        skip: off.then(|| "localRedirectPolicies.enabled is false".to_owned()),
        ..test(vec![objects::redirect("redirect", "echo-a")], scenarios)
    }
}
