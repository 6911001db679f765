//! Schemas of kinds whose definitions are not made here.

use serde_json::{Value, json};

fn selector() -> Value {
    json!({ "type": "object", "properties": {
        "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
        "matchExpressions": { "type": "array", "items": { "type": "object", "required": ["key", "operator"],
            "properties": {
                "key": { "type": "string" },
                "operator": { "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
                "values": { "type": "array", "items": { "type": "string" } } } } } } })
}

/// Any object of a kind whose `spec` is like this.
fn object(spec: &Value) -> Value {
    json!({ "type": "object", "required": ["metadata", "spec"], "properties": {
        "apiVersion": { "type": "string" }, "kind": { "type": "string" },
        "metadata": { "type": "object" }, "status": { "type": "object" }, "spec": spec } })
}

/// `NetworkPolicy` of `networking.k8s.io/v1`. The API server knows it by itself; it has no definition to read.
pub(super) fn network_policy() -> Value {
    let selector = selector();
    let block = json!({ "type": "object", "required": ["cidr"], "properties": {
        "cidr": { "type": "string" },
        "except": { "type": "array", "items": { "type": "string" } } } });
    let peers = json!({ "type": "array", "items": { "type": "object", "properties": {
        "podSelector": selector, "namespaceSelector": selector, "ipBlock": block } } });
    let ports = json!({ "type": "array", "items": { "type": "object", "properties": {
        "port": { "x-kubernetes-int-or-string": true },
        "endPort": { "type": "integer", "minimum": 1, "maximum": 65535 },
        "protocol": { "type": "string", "enum": ["TCP", "UDP", "SCTP"] } } } });
    let rules = |peers_name: &str| json!({ "type": "array", "items": { "type": "object", "properties": { peers_name: peers, "ports": ports } } });
    object(&json!({ "type": "object", "properties": {
        "podSelector": selector, "ingress": rules("from"), "egress": rules("to"),
        "policyTypes": { "type": "array", "items": { "type": "string", "enum": ["Ingress", "Egress"] } } } }))
}

/// `ClusterNetworkPolicy` of `policy.networking.k8s.io/v1alpha2`, as the definition in the chart has it.
pub(super) fn cluster_policy() -> Value {
    let selector = selector();
    let pods = json!({ "type": "object", "required": ["podSelector"], "properties": {
        "namespaceSelector": selector, "podSelector": selector } });
    let number = json!({ "type": "integer", "minimum": 1, "maximum": 65535 });
    let port = json!({ "type": "object", "properties": { "destinationPort": { "type": "object", "properties": {
        "number": number,
        "range": { "type": "object", "required": ["start", "end"], "properties": { "start": number, "end": number } },
    } } } });
    let protocols = json!({ "type": "array", "minItems": 1, "maxItems": 25, "items": { "type": "object", "properties": {
        "tcp": port, "udp": port, "sctp": port, "destinationNamedPort": { "type": "string" } } } });
    let texts = |longest: u32| json!({ "type": "array", "minItems": 1, "maxItems": 25, "items": { "type": "string", "maxLength": longest } });
    let of_pods = json!({ "type": "object", "properties": { "namespaces": selector, "pods": pods } });
    let mut of_anybody = of_pods.clone();
    of_anybody["properties"]["nodes"] = selector;
    of_anybody["properties"]["networks"] = texts(43);
    of_anybody["properties"]["domainNames"] = texts(255);
    let rules = |name: &str, peer: &Value| {
        json!({ "type": "array", "maxItems": 25, "items": { "type": "object", "required": ["action", name], "properties": {
            "name": { "type": "string", "maxLength": 100 },
            "action": { "type": "string", "enum": ["Accept", "Deny", "Pass"] },
            name: { "type": "array", "minItems": 1, "maxItems": 25, "items": peer },
            "protocols": protocols } } })
    };
    object(&json!({ "type": "object", "required": ["tier", "priority", "subject"], "properties": {
        "tier": { "type": "string", "enum": ["Admin", "Baseline"] },
        "priority": { "type": "integer", "minimum": 0, "maximum": 1000 },
        "subject": of_pods, "ingress": rules("from", &of_pods), "egress": rules("to", &of_anybody) } }))
}
