use super::*;
use crate::document::Documents;
use serde_json::{Value, json};

const CLUSTER: &str = "\
kind: Namespace
metadata: {name: shop}
---
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
  - fromEntities: [remote-node]
";

fn inventory(text: &str) -> Inventory {
    let inventory = Inventory::read(&Documents::read(text).objects, "default", "shop");
    assert_eq!(inventory.problems, []);
    inventory
}

fn pod(name: &str, identity: u32) -> Value {
    json!({ "identity": identity, "namespace": "shop", "pod_name": format!("{name}-5d4f8c7b9-x2x7k"),
        "labels": [format!("k8s:app={name}"), "k8s:io.kubernetes.pod.namespace=shop"] })
}

/// A flow as `hubble observe -o json` prints it.
fn flow(source: (&str, Value), destination: (&str, Value), verdict: &str, more: Value) -> Flow {
    let mut value = json!({
        "verdict": verdict, "Type": "L3_L4", "traffic_direction": "INGRESS", "is_reply": false,
        "event_type": { "type": 5 },
        "IP": { "source": source.0, "destination": destination.0, "ipVersion": "IPv4" },
        "l4": { "TCP": { "source_port": 40000, "destination_port": 80 } },
        "source": source.1, "destination": destination.1,
    });
    for (name, field) in more.as_object().expect("fields") {
        value[name] = field.clone();
    }
    let message: hubble_pb::flow::Flow = serde_json::from_value(value).expect("a flow");
    Flow::try_from(message).expect("a flow that makes sense")
}

fn told(candidate: &str, flows: &[Flow]) -> Replay {
    let before = inventory(CLUSTER);
    let after = before.with(&inventory(candidate).policies);
    replay(&before, &after, EnforcementMode::Default, "default", flows)
}

fn lines(replay: &Replay) -> Vec<String> {
    let line = |change: &FlowChange| {
        let FlowChange { workload, direction, before, after, peer, port, flows, because } = change;
        format!("{workload} {direction:?} {before}→{after} {peer} {port} x{flows} by {}", because.join(","))
    };
    replay.changes.iter().map(line).collect()
}

/// Nobody but the world may come, and none but one address may be called.
const CANDIDATE: &str = "\
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress: [{fromEntities: [world]}]
---
kind: CiliumNetworkPolicy
metadata: {name: client, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toCIDR: [192.0.2.1/32]
  - toEndpoints: [{matchLabels: {app: web}}]
";

#[test]
fn connections_are_sent_through_both_sets_of_policies() {
    let (client, web) = (pod("client", 1001), pod("web", 1002));
    let world = |labels: &[&str], identity: u32| json!({ "identity": identity, "labels": labels });
    let node = json!({ "identity": 6, "labels": ["reserved:remote-node"] });
    let host = json!({ "identity": 1, "labels": ["reserved:host"] });
    let (at_client, at_web) = ("10.0.0.1", "10.0.1.2");
    let to_web = |source: &str, end: &Value, verdict: &str, more: Value| {
        flow((source, end.clone()), (at_web, web.clone()), verdict, more)
    };
    let out = |to: &str, end: Value, verdict: &str| {
        flow((at_client, client.clone()), (to, end), verdict, json!({ "traffic_direction": "EGRESS" }))
    };
    let dropped =
        json!({ "drop_reason_desc": "POLICY_DENIED", "drop_reason": 133, "event_type": { "type": 1 } });
    let flows = [
        to_web(at_client, &client, "FORWARDED", json!({})),
        // The answer is of the same connection.
        flow(
            (at_web, web.clone()),
            (at_client, client.clone()),
            "FORWARDED",
            json!({ "is_reply": true, "l4": { "TCP": { "source_port": 80, "destination_port": 40000 } }, "event_type": { "type": 4 } }),
        ),
        to_web("203.0.113.9", &world(&["reserved:world"], 2), "DROPPED", dropped.clone()),
        to_web("172.31.0.9", &node, "FORWARDED", json!({})),
        to_web("172.31.0.1", &host, "FORWARDED", json!({})),
        out("192.0.2.1", world(&["reserved:world"], 2), "FORWARDED"),
        out("192.0.2.2", world(&["cidr:192.0.2.0/24", "reserved:world"], 16_777_217), "FORWARDED"),
    ];
    let replayed = told(CANDIDATE, &flows);
    assert_eq!(
        lines(&replayed),
        [
            "shop/client Egress ALLOWED→DENIED 192.0.2.2 80/TCP x1 by CiliumNetworkPolicy shop/client",
            "shop/web Ingress ALLOWED→DENIED remote-node (172.31.0.9) 80/TCP x1 by CiliumNetworkPolicy shop/web",
            "shop/web Ingress ALLOWED→DENIED shop/client 80/TCP x2 by CiliumNetworkPolicy shop/web",
            "shop/web Ingress DENIED→ALLOWED 203.0.113.9 80/TCP x1 by CiliumNetworkPolicy shop/web",
        ]
    );
    assert_eq!((replayed.flows, replayed.connections, replayed.outdated), (7, 6, 0));
    // The policies of today change nothing about themselves.
    assert_eq!(lines(&told(CLUSTER, &flows)), [""; 0]);
}

#[test]
fn an_audited_candidate_denies_nothing() {
    let audited = CANDIDATE
        .replace("namespace: shop}", "namespace: shop, annotations: {policy.cilium.io/audit-mode: 'true'}}");
    let flows =
        [flow(("10.0.0.1", pod("client", 1001)), ("10.0.1.2", pod("web", 1002)), "FORWARDED", json!({}))];
    assert_eq!(
        lines(&told(&audited, &flows)),
        ["shop/web Ingress ALLOWED→AUDIT shop/client 80/TCP x1 by CiliumNetworkPolicy shop/web"]
    );
}

#[test]
fn what_cannot_be_replayed_is_counted() {
    let (client, web) = (pod("client", 1001), pod("web", 1002));
    let node = json!({ "identity": 6, "labels": ["reserved:remote-node"] });
    let flows = [
        flow(("172.31.0.1", node.clone()), ("172.31.0.2", node), "FORWARDED", json!({})),
        flow(("10.0.0.1", client.clone()), ("10.0.0.1", client.clone()), "FORWARDED", json!({})),
        flow(
            ("10.0.0.1", client.clone()),
            ("10.0.1.2", web.clone()),
            "DROPPED",
            json!({ "drop_reason": 132, "drop_reason_desc": "INVALID_SOURCE_IP" }),
        ),
        flow(
            ("10.0.1.2", web.clone()),
            ("10.0.0.1", client.clone()),
            "FORWARDED",
            json!({ "l4": { "ICMPv4": { "type": 3, "code": 4 } } }),
        ),
        // It was denied then; today's policies allow it.
        flow(
            ("10.0.0.1", client),
            ("10.0.1.2", web),
            "DROPPED",
            json!({ "drop_reason": 133, "drop_reason_desc": "POLICY_DENIED" }),
        ),
    ];
    let replayed = told("", &flows);
    assert_eq!((replayed.flows, replayed.connections, replayed.outdated), (5, 1, 1));
    let reasons: Vec<(&str, u64)> =
        replayed.skipped.iter().map(|(why, flows)| (why.as_str(), *flows)).collect();
    assert_eq!(
        reasons,
        [
            ("it is an error about another connection", 1),
            ("it stays inside of its pod", 1),
            ("it was dropped for another reason than policy", 1),
            ("no end of it is a pod", 1)
        ]
    );
}

#[test]
fn a_cluster_under_audit_denies_nothing() {
    let flows =
        [flow(("10.0.0.1", pod("client", 1001)), ("10.0.1.2", pod("web", 1002)), "FORWARDED", json!({}))];
    let before = inventory(CLUSTER).under_audit();
    let after = before.with(&inventory(CANDIDATE).policies);
    let replayed = replay(&before, &after, EnforcementMode::Default, "default", &flows);
    assert_eq!(
        lines(&replayed),
        ["shop/web Ingress ALLOWED→AUDIT shop/client 80/TCP x1 by CiliumNetworkPolicy shop/web"]
    );
}

#[test]
fn policies_of_admins_come_before_and_after_the_others() {
    let node = "---\nkind: Node\nmetadata: {name: n2, labels: {zone: a}}\n\
        status: {addresses: [{type: InternalIP, address: 172.31.0.2}]}\n";
    let before = inventory(&format!("{CLUSTER}{node}"));
    let candidate = "\
kind: ClusterNetworkPolicy
metadata: {name: admin}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  ingress:
  - {action: Pass, from: [{pods: {podSelector: {matchLabels: {app: client}}}}]}
  - {action: Deny, from: [{namespaces: {}}]}
  egress:
  - {action: Deny, to: [{nodes: {matchLabels: {zone: a}}}]}
";
    let (client, web) = (pod("client", 1001), pod("web", 1002));
    let to_node = |address: &str| {
        let node = json!({ "identity": 6, "labels": ["reserved:remote-node"] });
        let egress = json!({ "traffic_direction": "EGRESS" });
        flow(("10.0.0.1", client.clone()), (address, node), "FORWARDED", egress)
    };
    let flows = [
        flow(("10.0.0.1", client.clone()), ("10.0.1.2", web.clone()), "FORWARDED", json!({})),
        flow(("10.0.1.2", web), ("10.0.0.1", client.clone()), "FORWARDED", json!({})),
        to_node("172.31.0.2"),
        to_node("172.31.0.3"),
    ];
    let after = before.with(&inventory(candidate).policies);
    let replayed = replay(&before, &after, EnforcementMode::Default, "default", &flows);
    assert_eq!(
        lines(&replayed),
        [
            "shop/client Ingress ALLOWED→DENIED shop/web 80/TCP x1 by ClusterNetworkPolicy admin",
            "shop/client Egress ALLOWED→DENIED remote-node (172.31.0.2) 80/TCP x1 by ClusterNetworkPolicy admin",
        ]
    );
}
