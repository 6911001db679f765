//! What the API server would say.

use crate::scene::{SERVICES, Service};
use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// An answer as an API server gives it.
pub(crate) type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

/// The answer to a list of a kind, by its plural.
pub(crate) fn list(kind: &str) -> Answer {
    let (name, version, items) = match kind {
        "pods" => ("Pod", "v1", SERVICES.iter().enumerate().map(|(n, service)| pod(n, service)).collect()),
        "namespaces" => ("Namespace", "v1", namespaces()),
        "networkpolicies" => ("NetworkPolicy", "networking.k8s.io/v1", vec![frontend()]),
        "ciliumnetworkpolicies" => ("CiliumNetworkPolicy", "cilium.io/v2", vec![redis(), payment()]),
        "ciliumclusterwidenetworkpolicies" => ("CiliumClusterwideNetworkPolicy", "cilium.io/v2", vec![dns()]),
        _ => {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                "message": format!("there are no {kind}"), "code": 404 });
            return Err((StatusCode::NOT_FOUND, Json(status)));
        }
    };
    Ok(Json(json!({ "kind": format!("{name}List"), "apiVersion": version, "metadata": {}, "items": items })))
}

fn pod(number: usize, service: &Service) -> Value {
    let Service { namespace, name, .. } = service;
    let hash = "5d4f8c7b9";
    json!({
        "metadata": {
            "namespace": namespace, "name": service.pod(), "labels": { "app": name, "pod-template-hash": hash },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-{hash}"),
                "uid": name, "controller": true }],
        },
        "spec": { "containers": [{ "name": "main", "image": "main" }] },
        "status": { "phase": "Running", "podIPs": [{ "ip": format!("10.0.1.{}", number + 1) }] },
    })
}

fn namespaces() -> Vec<Value> {
    let mut names: Vec<&str> = SERVICES.iter().map(|service| service.namespace).collect();
    names.sort_unstable();
    names.dedup();
    names
        .iter()
        .map(
            |name| json!({ "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } } }),
        )
        .collect()
}

fn redis() -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": "redis", "uid": "1" },
        "spec": {
            "endpointSelector": { "matchLabels": { "app": "redis" } },
            "ingress": [{
                "fromEndpoints": [{ "matchLabels": { "app": "cart" } }],
                "toPorts": [{ "ports": [{ "port": "6379", "protocol": "TCP" }] }],
            }],
        },
    })
}

fn payment() -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": "payment", "uid": "2" },
        "spec": {
            "endpointSelector": { "matchLabels": { "app": "payment" } },
            "ingress": [{
                "fromEndpoints": [{ "matchLabels": { "app": "checkout" } }],
                "toPorts": [{ "ports": [{ "port": "9090", "protocol": "TCP" }] }],
            }],
            "egress": [
                { "toEntities": ["world"], "toPorts": [{ "ports": [{ "port": "443", "protocol": "TCP" }] }] },
                { "toEndpoints": [{ "matchLabels": { "k8s:io.kubernetes.pod.namespace": "kube-system", "app": "coredns" } }],
                  "toPorts": [{ "ports": [{ "port": "53", "protocol": "ANY" }] }] },
            ],
        },
    })
}

fn frontend() -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": "frontend", "uid": "3" },
        "spec": {
            "podSelector": { "matchLabels": { "app": "frontend" } },
            "policyTypes": ["Ingress"],
            "ingress": [{ "ports": [{ "port": 8080, "protocol": "TCP" }] }],
        },
    })
}

fn dns() -> Value {
    json!({
        "metadata": { "name": "dns", "uid": "4" },
        "spec": {
            "endpointSelector": { "matchLabels": { "app": "coredns" } },
            "ingress": [{ "fromEntities": ["cluster"], "toPorts": [{ "ports": [{ "port": "53", "protocol": "ANY" }] }] }],
        },
    })
}
