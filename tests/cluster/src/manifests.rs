//! The objects of the scenarios.

use serde_json::{Value, json};

/// Where the test pods live.
pub(crate) const NAMESPACE: &str = "shop";
/// Image with our test tool.
const IMAGE: &str = "localhost/axoneme/test:dev";
/// The address of the namespace that plays the outside.
pub(crate) const WORLD: [&str; 2] = ["172.31.0.100", "fd00:31::100"];

/// The namespace.
pub(crate) fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })
}

/// A pod on a node that serves on TCP ports and UDP 53.
pub(crate) fn pod(name: &str, node: &str, ports: &[u16]) -> Value {
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": { "app": name, "name": name } },
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "probe", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                "args": ["serve", "--tcp", ports, "--udp", "53"],
                "readinessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 1 },
            }],
        },
    })
}

/// A CiliumNetworkPolicy.
pub(crate) fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    })
}

/// `pod-to-a-allowed-cnp` of the connectivity check: this pod may reach echo-a on its port, and nothing else.
pub(crate) fn allowed() -> Value {
    policy(
        "pod-to-a-allowed-cnp",
        &json!({
            "endpointSelector": { "matchLabels": { "name": "pod-to-a-allowed" } },
            "egress": [{
                "toEndpoints": [{ "matchLabels": { "name": "echo-a" } }],
                "toPorts": [{ "ports": [{ "port": "80", "protocol": "TCP" }] }],
            }],
        }),
    )
}

/// `pod-to-a-l3-denied-cnp` of the connectivity check: this pod may reach somebody else only.
pub(crate) fn denied() -> Value {
    policy(
        "pod-to-a-denied-cnp",
        &json!({
            "endpointSelector": { "matchLabels": { "name": "pod-to-a-denied" } },
            "egress": [{ "toEndpoints": [{ "matchLabels": { "name": "nobody" } }] }],
        }),
    )
}

/// The article's example: backend1 may call backend2 on 5000, which may call the database on 5432.
pub(crate) fn example() -> Value {
    policy(
        "example",
        &json!({
            "description": "Allow backend1 ingress and DB egress",
            "endpointSelector": { "matchLabels": { "app": "backend2" } },
            "ingress": [{
                "fromEndpoints": [{ "matchLabels": { "app": "backend1" } }],
                "toPorts": [{ "ports": [{ "port": "5000", "protocol": "TCP" }] }],
            }],
            "egress": [{
                "toEndpoints": [{ "matchLabels": { "app": "database" } }],
                "toPorts": [{ "ports": [{ "port": "5432", "protocol": "TCP" }] }],
            }],
        }),
    )
}

/// Egress to one address only, as in the article's `toCIDR`.
pub(crate) fn one_address(pod: &str, cidr: &str) -> Value {
    policy(
        "to-cidr",
        &json!({
            "endpointSelector": { "matchLabels": { "app": pod } },
            "egress": [{ "toCIDR": [cidr] }],
        }),
    )
}
