//! Secrets where careless people put them, each with a text of its own that must not come out anywhere.

use serde_json::{Value, json};

/// The object that holds most of them.
pub(super) const HOLDER: &str = "holder-of-canaries";
/// A policy that holds one.
pub(super) const POLICY: &str = "policy-with-a-canary";

/// What must not be seen. The last is the Secret's, in the form in which it is stored.
pub(super) const CANARIES: [&str; 8] = [
    "Canary1Variable",
    "Canary2Argument",
    "Canary3Url",
    "Canary4Config",
    "Canary5Env",
    "Canary6Header",
    "Canary7Secret",
    "Q2FuYXJ5N1NlY3JldA==",
];

/// Values for helm: a key of the ConfigMap that no agent knows, and a variable of the agent.
pub(super) fn values() -> String {
    let [_, _, _, config, env, ..] = CANARIES;
    format!("extraConfig.backend-password={config},extraEnv[0].name=BACKEND_TOKEN,extraEnv[0].value={env}")
}

/// Objects with secrets in variables, arguments, URLs, and policies; and a Secret.
pub(super) fn objects() -> Vec<Value> {
    let [variable, argument, url, _, _, header, secret, _] = CANARIES;
    let container = json!({
        "name": "x", "image": "localhost/axoneme/test:dev", "imagePullPolicy": "IfNotPresent",
        "env": [{ "name": "DB_PASSWORD", "value": variable }],
        "args": ["pause", format!("--api-key={argument}"), format!("https://user:{url}@db.example.org/")],
    });
    vec![
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": HOLDER, "namespace": "default" },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": HOLDER } },
                "template": { "metadata": { "labels": { "app": HOLDER } }, "spec": { "containers": [container] } },
            },
        }),
        json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": { "name": POLICY, "namespace": "default" },
            "spec": {
                "description": format!("calls with Authorization: Bearer {header}"),
                "endpointSelector": { "matchLabels": { "app": HOLDER } }, "ingress": [{ "fromEntities": ["world"] }],
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "secret", "namespace": "default" },
            "stringData": { "token": secret },
        }),
    ]
}
