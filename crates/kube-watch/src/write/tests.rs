use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use kube_api::node::{NodeAddress, NodeSpec};
use kube_api::{
    CiliumEndpoint, CiliumIdentity, CiliumNetworkPolicy, CiliumNode, PolicyCondition, SCHEMA_VERSION_LABEL,
};
use serde_json::{Value, json};

use super::Created;
use crate::mock::{Answer, Seen, Server, node, status};
use crate::{ApiError, Key};

/// Answers every request with the object that was sent, or with nothing.
fn echo(_: usize, seen: &Seen) -> Answer {
    Answer::Json(200, if seen.body.is_object() { seen.body.clone() } else { json!({}) })
}

#[tokio::test]
async fn an_endpoint_is_applied_under_its_pod_and_without_the_servers_fields() {
    let (clients, server) = Server::new(echo);
    let mut endpoint = CiliumEndpoint::new("shop", "web-0", "uid-1", Default::default());
    endpoint.status.id = 7;
    endpoint.metadata.resource_version = Some("9".into());
    endpoint.metadata.managed_fields = Some(Vec::new());
    clients.apply("cilium-agent", &endpoint).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.method, "PATCH");
    assert_eq!(
        seen.uri,
        "/apis/cilium.io/v2/namespaces/shop/ciliumendpoints/web-0?&force=true&fieldManager=cilium-agent"
    );
    assert_eq!(
        seen.body,
        json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "status": { "id": 7 },
            "metadata": { "name": "web-0", "namespace": "shop", "ownerReferences":
                [{ "apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "uid-1" }] },
        })
    );
}

/// The agent must not own, and so not remove, what the operator writes.
#[tokio::test]
async fn what_the_agent_says_of_its_node_leaves_the_pod_cidrs_alone() {
    let (clients, server) = Server::new(echo);
    let address = NodeAddress { kind: NodeAddress::INTERNAL_IP.into(), ip: "172.31.0.1".into() };
    let spec = NodeSpec { addresses: vec![address], ..NodeSpec::default() };
    clients.apply("cilium-agent", &CiliumNode::new("n1", spec)).await.unwrap();
    let body = &server.seen()[0].body;
    assert_eq!(body["spec"], json!({ "addresses": [{ "type": "InternalIP", "ip": "172.31.0.1" }] }));
    assert_eq!(body.get("status"), None);
}

#[tokio::test]
async fn an_identity_that_exists_is_returned() {
    let (clients, server) = Server::new(|number, _| match number {
        0 => Answer::Json(409, status(409, "AlreadyExists")),
        _ => Answer::Json(
            200,
            json!({ "metadata": { "name": "256" }, "security-labels": { "k8s:app": "db" } }),
        ),
    });
    let identity = CiliumIdentity::new(256, [("k8s:app".to_owned(), "web".to_owned())].into());
    let Created::Exists(found) = clients.create_identity(&identity).await.unwrap() else { panic!("not new") };
    assert_eq!(found.security_labels["k8s:app"], "db");
    let methods: Vec<_> =
        server.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect();
    assert_eq!(
        methods,
        ["POST /apis/cilium.io/v2/ciliumidentities?", "GET /apis/cilium.io/v2/ciliumidentities/256"]
    );
}

#[tokio::test]
async fn deleting_what_is_gone_succeeds_and_what_changed_does_not() {
    let (clients, server) = Server::new(|number, _| match number {
        0 => Answer::Json(404, status(404, "NotFound")),
        _ => Answer::Json(409, status(409, "Conflict")),
    });
    let key = Key::new("", "256");
    clients.delete::<CiliumIdentity>(&key, Some("u"), Some("5")).await.unwrap();
    assert_eq!(server.seen()[0].body["preconditions"], json!({ "uid": "u", "resourceVersion": "5" }));
    let error = clients.delete::<CiliumIdentity>(&key, None, None).await.unwrap_err();
    assert!(error.is_conflict() && !error.is_already_exists());
    assert_eq!(error.describe(), "delete CiliumIdentity 256: said by the test: Conflict (409)");
}

fn policy(conditions: Value) -> CiliumNetworkPolicy {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n" }, "status": { "conditions": conditions },
    }))
    .unwrap()
}

#[tokio::test]
async fn the_valid_condition_is_written_when_it_says_something_new() {
    let (clients, server) = Server::new(|_, _| Answer::Json(200, json!({ "metadata": { "name": "p" } })));
    let good = |now| PolicyCondition::valid::<(), ApiError>(&Ok(()), now);
    // No condition yet; another one stays.
    let other = json!({ "type": "Other", "status": "True" });
    assert!(
        clients.set_policy_condition(&policy(json!([other])), good("2026-01-01T00:00:00Z")).await.unwrap()
    );
    let seen = &server.seen()[0];
    assert_eq!(seen.uri, "/apis/cilium.io/v2/namespaces/n/ciliumnetworkpolicies/p/status?");
    assert_eq!(
        seen.body["status"]["conditions"],
        json!([other, {
            "type": "Valid", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "message": "Policy validation succeeded",
        }])
    );
    // The same again: nothing is sent.
    let known = policy(seen.body["status"]["conditions"].clone());
    assert!(!clients.set_policy_condition(&known, good("2026-02-02T00:00:00Z")).await.unwrap());
    assert_eq!(server.seen().len(), 1);
    // Still true with another text: the time of the transition stays.
    let mut changed = good("2026-02-02T00:00:00Z");
    changed.message = "otherwise".into();
    assert!(clients.set_policy_condition(&known, changed).await.unwrap());
    let last = &server.seen()[1].body["status"]["conditions"][1];
    assert_eq!(
        (&last["lastTransitionTime"], &last["message"]),
        (&json!("2026-01-01T00:00:00Z"), &json!("otherwise"))
    );
}

#[tokio::test]
async fn a_taint_is_removed_over_the_version_that_was_seen() {
    let (clients, server) = Server::new(echo);
    let mut tainted = node("n1", "42");
    tainted["spec"] = json!({ "taints": [
        { "key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule" },
        { "key": "keep", "effect": "NoExecute" },
    ] });
    let tainted: Node = serde_json::from_value(tainted).unwrap();
    assert!(clients.remove_node_taint(&tainted, "node.cilium.io/agent-not-ready").await.unwrap());
    assert_eq!(
        server.seen()[0].body,
        json!({
            "metadata": { "resourceVersion": "42" },
            "spec": { "taints": [{ "key": "keep", "effect": "NoExecute" }] },
        })
    );
    assert!(!clients.remove_node_taint(&tainted, "absent").await.unwrap());
    let taint = |key: &str| Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() };
    assert!(!clients.add_node_taint(&tainted, &taint("keep")).await.unwrap());
    assert!(clients.add_node_taint(&tainted, &taint("new")).await.unwrap());
    assert_eq!(server.seen().len(), 2);
    assert_eq!(server.seen()[1].body["spec"]["taints"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn one_node_condition_is_merged_by_its_type() {
    let (clients, server) = Server::new(echo);
    let condition = NodeCondition {
        type_: "NetworkUnavailable".into(),
        status: "False".into(),
        ..NodeCondition::default()
    };
    clients.set_node_condition("n1", &condition).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.uri, "/api/v1/nodes/n1/status?");
    assert_eq!(
        seen.body,
        json!({ "status": { "conditions": [{ "type": "NetworkUnavailable", "status": "False" }] } })
    );
}

#[tokio::test]
async fn a_newer_definition_is_left_alone() {
    let present = Arc::new(Mutex::new("1.9.0"));
    let version = present.clone();
    let (clients, server) = Server::new(move |_, seen| match &*seen.method {
        "GET" => Answer::Json(
            200,
            json!({ "metadata": { "name": "x", "labels": { SCHEMA_VERSION_LABEL: *version.lock().unwrap() } },
                "spec": { "group": "g", "names": { "kind": "K", "plural": "p" }, "scope": "Cluster", "versions": [] } }),
        ),
        _ => Answer::Json(200, seen.body.clone()),
    });
    let crd = kube_api::all_crds().unwrap().remove(0);
    assert!(clients.register_crd("cilium-operator", &crd).await.unwrap(), "1.9 is older than 1.34");
    *present.lock().unwrap() = "1.100.0";
    assert!(!clients.register_crd("cilium-operator", &crd).await.unwrap(), "1.100 is newer");
    let methods: Vec<_> = server.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET", "PATCH", "GET"]);
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_an_error_in_time() {
    let (clients, _server) = Server::new(|_, _| Answer::Silence);
    let error = clients.get::<Node>(&Key::new("", "n1")).await.unwrap_err();
    assert!(error.status().is_none());
    assert!(error.describe().starts_with("get Node n1: "), "{}", error.describe());
}
