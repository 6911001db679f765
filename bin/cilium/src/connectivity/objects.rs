//! The objects of the tests.

use serde_json::{Value, json};

/// Ports of a server: questions over TCP; the same again, for policies that tell ports apart; UDP; measurements.
pub(super) const TCP: u16 = 80;
pub(super) const OTHER_TCP: u16 = 8080;
pub(super) const UDP: u16 = 5353;
pub(super) const INLINE: u16 = 8081;

/// An address that is nobody's, for local redirects.
pub(super) const REDIRECTED: &str = "169.254.169.253";

/// The namespace.
pub(super) fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "app.kubernetes.io/name": "cilium-cli" } } })
}

/// A pod on a node, with the test tool as server.
pub(super) fn pod(namespace: &str, name: &str, node: &str, image: &str, host: bool) -> Value {
    let serve = ["serve", "--tcp", "80,8080", "--udp", "5353", "--inline", "8081"];
    let mut container = json!({ "name": "probe", "image": image, "imagePullPolicy": "IfNotPresent" });
    // One that shares the node's network must not take the node's ports.
    if host {
        container["args"] = json!(["pause"]);
    } else {
        container["args"] = json!(serve);
        container["readinessProbe"] = json!({ "tcpSocket": { "port": TCP }, "periodSeconds": 1 });
        container["ports"] = json!([{ "containerPort": TCP, "protocol": "TCP" }]);
    }
    let kind = if name.starts_with("echo") { "echo" } else { "client" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "name": name, "kind": kind } },
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 0, "hostNetwork": host,
            // The cluster's names, also where the network is the node's.
            "dnsPolicy": if host { "ClusterFirstWithHostNet" } else { "ClusterFirst" },
            "tolerations": [{ "operator": "Exists" }], "containers": [container],
        },
    })
}

/// A service in front of a server.
pub(super) fn service(namespace: &str, name: &str, server: &str, kind: &str) -> Value {
    let mut spec = json!({
        "selector": { "name": server }, "ipFamilyPolicy": "PreferDualStack",
        "ports": [{ "name": "http", "port": TCP, "targetPort": TCP, "protocol": "TCP" }],
    });
    match kind {
        "Headless" => spec["clusterIP"] = json!("None"),
        kind => spec["type"] = json!(kind),
    }
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

/// A CiliumNetworkPolicy about the pods that `subject` selects.
pub(super) fn policy(name: &str, subject: &Value, mut rules: Value) -> Value {
    rules["endpointSelector"] = json!({ "matchLabels": subject });
    json!({ "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": { "name": name }, "spec": rules })
}

/// A NetworkPolicy.
pub(super) fn network_policy(name: &str, subject: &Value, mut rules: Value) -> Value {
    rules["podSelector"] = json!({ "matchLabels": subject });
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": name }, "spec": rules })
}

/// A CiliumLocalRedirectPolicy from [`REDIRECTED`] to a server.
pub(super) fn redirect(name: &str, server: &str) -> Value {
    let port = |number: u16| json!([{ "port": number.to_string(), "protocol": "TCP" }]);
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumLocalRedirectPolicy", "metadata": { "name": name },
        "spec": {
            "redirectFrontend": { "addressMatcher": { "ip": REDIRECTED, "toPorts": port(OTHER_TCP) } },
            "redirectBackend": { "localEndpointSelector": { "matchLabels": { "name": server } }, "toPorts": port(TCP) },
        },
    })
}

/// Where an object of the test's namespace is at the API server.
pub(super) fn path(namespace: &str, object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (version, name) = (text("/apiVersion"), text("/metadata/name"));
    let group = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let plural = match text("/kind") {
        "Namespace" => return format!("{group}/namespaces/{name}"),
        "Pod" => "pods",
        "Service" => "services",
        "NetworkPolicy" => "networkpolicies",
        "CiliumLocalRedirectPolicy" => "ciliumlocalredirectpolicies",
        _ => "ciliumnetworkpolicies",
    };
    format!("{group}/namespaces/{namespace}/{plural}/{name}")
}
