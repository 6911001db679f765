//! Against a real kube-apiserver: what a scripted one cannot know, because the script's author did not.
//!
//! Skipped, and said so, where the binaries are not built; a failure when `AXONEME_TOOLS=required`.

#![expect(clippy::unwrap_used, reason = "a test: what fails here is the finding")]

extern crate axoneme_kube_watch as kube_watch;

#[path = "real_server/rig.rs"]
mod rig;

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, NodeCondition, Taint};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_api::endpoint::{EndpointNetworking, EndpointStatus, NamedPort};
use kube_api::node::{AddressPair, IpamSpec, NodeAddress, NodeSpec};
use kube_api::{
    CiliumClusterwideNetworkPolicy, CiliumEndpoint, CiliumIdentity, CiliumNetworkPolicy, CiliumNode,
    Conditioned as _, PolicyCondition, ToRules,
};
use kube_watch::kube::ResourceExt;
use kube_watch::lease::Election;
use kube_watch::write::Created;
use kube_watch::{ApiError, Change, Clients, Key, WatchSpec};
use rig::Rig;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn the_real_api_server_agrees() {
    let mut rig = match Rig::start().await {
        Ok(rig) => rig,
        Err(missing) => {
            assert!(std::env::var("AXONEME_TOOLS").as_deref() != Ok("required"), "{missing}");
            eprintln!("SKIPPED: {missing}");
            return;
        }
    };
    let clients = rig.clients().await;
    definitions_are_established(&clients).await;
    clients.create(&object::<Namespace>(json!({ "metadata": { "name": "shop" } }))).await.unwrap();
    every_example_is_taken(&clients).await;
    bad_policies_are_refused_at_the_door(&clients).await;
    conditions_are_written(&clients).await;
    endpoints_come_and_go(&clients).await;
    agent_and_operator_share_a_node(&clients).await;
    identities_are_taken_once(&clients).await;
    kubernetes_nodes_are_untainted(&clients).await;
    one_leader_at_a_time(&clients).await;
    a_watch_survives_the_server(&clients, &mut rig).await;
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

async fn definitions_are_established(clients: &Clients) {
    let crds = kube_api::all_crds().unwrap();
    for crd in &crds {
        assert!(
            clients.register_crd("cilium-operator", crd).await.map_err(|error| error.describe()).unwrap()
        );
    }
    for crd in &crds {
        for _ in 0..100 {
            let now: CustomResourceDefinition = clients.get(&Key::of(crd)).await.unwrap();
            let conditions = now.status.and_then(|status| status.conditions).unwrap_or_default();
            assert!(!conditions.iter().any(|one| one.type_ == "NonStructuralSchema"), "{conditions:?}");
            if conditions.iter().any(|one| one.type_ == "Established" && one.status == "True") {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    // Twice changes nothing.
    for crd in &crds {
        let before: CustomResourceDefinition = clients.get(&Key::of(crd)).await.unwrap();
        clients.register_crd("cilium-operator", crd).await.unwrap();
        let after: CustomResourceDefinition = clients.get(&Key::of(crd)).await.unwrap();
        assert_eq!(before.metadata.generation, after.metadata.generation);
    }
}

/// All policies of the conversion's tests that the server's schema allows: what comes back means what was sent.
async fn every_example_is_taken(clients: &Clients) {
    let mut taken = 0;
    for file in ["guide", "reach", "empty", "peers", "ports"] {
        let path = format!("{}/../kube-api/testdata/convert/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let documents = serde_yaml_ng::Deserializer::from_str(&text);
        for (number, document) in documents.enumerate() {
            let value = <serde_yaml_ng::Value as serde::Deserialize>::deserialize(document).unwrap();
            let mut value = serde_json::to_value(value).unwrap();
            let name = format!("{file}-{number}");
            value["metadata"] = json!({ "name": name, "namespace": "shop" });
            let rules = match value["kind"].as_str() {
                Some("CiliumNetworkPolicy") => same::<CiliumNetworkPolicy>(clients, value).await,
                _ => {
                    value["metadata"] = json!({ "name": name });
                    same::<CiliumClusterwideNetworkPolicy>(clients, value).await
                }
            };
            taken += usize::from(rules);
        }
    }
    assert!(taken >= 30, "only {taken} examples were taken");
}

/// Whether the server took the object; if it did, that nothing was lost that conversion looks at.
async fn same<K: kube_watch::write::Object + ToRules>(clients: &Clients, value: Value) -> bool {
    let sent: K = object(value);
    // What is unknown is pruned by the server, by design; strict clients are told.
    let has_unknown = |error: &str| error.contains("unknown");
    let expected = sent.to_rules().map_err(|error| kube_api::error::chain(&error));
    let created = match clients.create(&sent).await {
        Ok(created) => created,
        Err(error) => {
            assert!(error.status().is_some_and(|status| status.code == 422), "{}", error.describe());
            return false;
        }
    };
    let found = created.to_rules().map_err(|error| kube_api::error::chain(&error));
    if !expected.as_ref().is_err_and(|error| has_unknown(error)) {
        assert_eq!(found, expected);
    }
    clients.delete::<K>(&Key::of(&created), None, None).await.unwrap();
    true
}

async fn bad_policies_are_refused_at_the_door(clients: &Clients) {
    let peers = |peers: Value| json!({ "endpointSelector": {}, "ingress": [peers] });
    for (what, spec) in [
        ("null as a peer", peers(json!({ "fromEndpoints": [null] }))),
        ("a port as a number", peers(json!({ "toPorts": [{ "ports": [{ "port": 80 }] }] }))),
        ("no subject", json!({ "ingress": [{}] })),
        ("two subjects", json!({ "endpointSelector": {}, "nodeSelector": {}, "ingress": [{}] })),
        ("no direction", json!({ "endpointSelector": {} })),
        ("an unknown entity", peers(json!({ "fromEntities": ["internet"] }))),
        (
            "an unknown operator",
            json!({
                "endpointSelector": { "matchExpressions": [{ "key": "a", "operator": "Gt" }] }, "ingress": [{}],
            }),
        ),
        (
            "a block that is named twice",
            peers(json!({ "fromCIDRSet": [{ "cidr": "10.0.0.0/8", "cidrGroupRef": "g" }] })),
        ),
    ] {
        let url = "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies";
        let body = json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": { "name": "bad" }, "spec": spec,
        });
        let request = http::Request::post(url).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(&body).unwrap()).unwrap();
        match clients.client().request::<Value>(request).await {
            Err(kube_watch::kube::Error::Api(status)) => assert_eq!(status.code, 422, "{what}: {status:?}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

async fn conditions_are_written(clients: &Clients) {
    let spec = json!({ "endpointSelector": {}, "ingress": [{ "fromCIDR": ["nonsense"] }] });
    let policy: CiliumNetworkPolicy =
        object(json!({ "metadata": { "name": "p", "namespace": "shop" }, "spec": spec }));
    let policy = clients.create(&policy).await.unwrap();
    let condition = PolicyCondition::valid(&policy.to_rules(), "2026-01-02T03:04:05Z");
    assert!(
        clients
            .set_policy_condition(&policy, condition.clone())
            .await
            .map_err(|error| error.describe())
            .unwrap()
    );
    let policy: CiliumNetworkPolicy = clients.get(&Key::of(&policy)).await.unwrap();
    assert_eq!(policy.conditions(), std::slice::from_ref(&condition));
    assert!(condition.message.contains("spec.ingress[0].fromCIDR[0]"), "{}", condition.message);
    assert!(!clients.set_policy_condition(&policy, condition).await.unwrap());
    // The other kind has its condition too, and a policy that is gone is no error.
    let mut other: CiliumClusterwideNetworkPolicy =
        object(json!({ "metadata": { "name": "c" }, "spec": { "endpointSelector": {}, "egress": [{}] } }));
    other = clients.create(&other).await.unwrap();
    let good = PolicyCondition::valid(&other.to_rules(), "2026-01-02T03:04:05Z");
    assert!(clients.set_policy_condition(&other, good.clone()).await.unwrap());
    clients.delete::<CiliumClusterwideNetworkPolicy>(&Key::of(&other), None, None).await.unwrap();
    assert!(!clients.set_policy_condition(&other, good).await.unwrap());
}

async fn endpoints_come_and_go(clients: &Clients) {
    let status = |state: &str| EndpointStatus {
        id: 7,
        state: state.to_owned(),
        networking: Some(EndpointNetworking {
            addressing: vec![AddressPair { ipv4: "10.0.0.1".into(), ipv6: "fd00::1".into() }],
            node: "172.31.0.1".into(),
        }),
        named_ports: vec![NamedPort { name: "http".into(), port: 65535, protocol: "TCP".into() }],
        ..EndpointStatus::default()
    };
    let key = Key::new("shop", "web-0");
    let endpoint =
        |status| CiliumEndpoint::new("shop", "web-0", "00000000-0000-0000-0000-000000000001", status);
    for state in ["creating", "ready"] {
        let endpoint = endpoint(status(state));
        clients.apply("cilium-agent", &endpoint).await.map_err(|error| error.describe()).unwrap();
        let found: CiliumEndpoint = clients.get(&key).await.unwrap();
        assert_eq!(found.status, status(state));
    }
    // What is not said any more is gone. (A status that says nothing at all would be refused.)
    let brief = EndpointStatus { id: 7, ..EndpointStatus::default() };
    clients.apply("cilium-agent", &endpoint(brief.clone())).await.map_err(|error| error.describe()).unwrap();
    assert_eq!(clients.get::<CiliumEndpoint>(&key).await.unwrap().status, brief);
    clients.delete::<CiliumEndpoint>(&key, None, None).await.unwrap();
    assert!(clients.get::<CiliumEndpoint>(&key).await.unwrap_err().is_not_found());
}

async fn agent_and_operator_share_a_node(clients: &Clients) {
    let address = |ip: &str| NodeAddress { kind: NodeAddress::INTERNAL_IP.into(), ip: ip.into() };
    let agent =
        |ip: &str| CiliumNode::new("n1", NodeSpec { addresses: vec![address(ip)], ..NodeSpec::default() });
    clients.apply("cilium-agent", &agent("172.31.0.1")).await.map_err(|error| error.describe()).unwrap();
    let ipam = IpamSpec { pod_cidrs: vec!["10.0.1.0/24".into()], ..IpamSpec::default() };
    let mut operator = CiliumNode::new("n1", NodeSpec { ipam: ipam.clone(), ..NodeSpec::default() });
    clients.apply("cilium-operator", &operator).await.unwrap();
    clients.apply("cilium-agent", &agent("172.31.0.2")).await.unwrap();
    let found: CiliumNode = clients.get(&Key::new("", "n1")).await.unwrap();
    assert_eq!((found.spec.ipam, found.spec.addresses), (ipam.clone(), vec![address("172.31.0.2")]));
    operator.status.ipam.operator_status.error = "no CIDR left".into();
    clients.apply_status("cilium-operator", &operator).await.map_err(|error| error.describe()).unwrap();
    let found: CiliumNode = clients.get(&Key::new("", "n1")).await.unwrap();
    assert_eq!(found.status.ipam.operator_status.error, "no CIDR left");
    assert_eq!((found.spec.ipam, found.spec.addresses.len()), (ipam, 1), "the status changes no spec");
}

async fn identities_are_taken_once(clients: &Clients) {
    let labels = |app: &str| {
        [
            ("k8s:app".to_owned(), app.to_owned()),
            ("k8s:io.kubernetes.pod.namespace".to_owned(), "shop".to_owned()),
        ]
        .into()
    };
    let first = clients.create_identity(&CiliumIdentity::new(256, labels("web"))).await.unwrap();
    let Created::New(first) = first else { panic!("new") };
    assert_eq!(first.labels()["app"], "web");
    let second = clients.create_identity(&CiliumIdentity::new(256, labels("db"))).await.unwrap();
    assert_eq!(second, Created::Exists(first.clone()));
    assert_eq!(clients.list::<CiliumIdentity>("app=web").await.unwrap().len(), 1);
    assert_eq!(clients.list::<CiliumIdentity>("app=db").await.unwrap().len(), 0);
    let key = Key::of(&first);
    let error = clients.delete::<CiliumIdentity>(&key, None, Some("1")).await.unwrap_err();
    assert!(error.is_conflict(), "{}", error.describe());
    let version = first.resource_version();
    clients.delete::<CiliumIdentity>(&key, first.uid().as_deref(), version.as_deref()).await.unwrap();
    clients.delete::<CiliumIdentity>(&key, None, None).await.unwrap();
}

async fn kubernetes_nodes_are_untainted(clients: &Clients) {
    let key = "node.cilium.io/agent-not-ready";
    let taints = json!([{ "key": key, "effect": "NoSchedule" }, { "key": "other", "effect": "NoSchedule" }]);
    let node: Node = object(json!({ "metadata": { "name": "n1" }, "spec": { "taints": taints } }));
    let node = clients.create(&node).await.unwrap();
    assert!(clients.remove_node_taint(&node, key).await.map_err(|error| error.describe()).unwrap());
    // With what was read before: the version is another by now.
    let error: ApiError = clients.remove_node_taint(&node, key).await.unwrap_err();
    assert!(error.is_conflict(), "{}", error.describe());
    let node: Node = clients.get(&Key::new("", "n1")).await.unwrap();
    assert!(!clients.remove_node_taint(&node, key).await.unwrap());
    let taint = Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() };
    assert!(clients.add_node_taint(&node, &taint).await.unwrap());
    for status in ["True", "False"] {
        let condition = NodeCondition {
            type_: "NetworkUnavailable".into(),
            status: status.into(),
            reason: Some("CiliumIsUp".into()),
            ..NodeCondition::default()
        };
        clients.set_node_condition("n1", &condition).await.map_err(|error| error.describe()).unwrap();
    }
    let node: Node = clients.get(&Key::new("", "n1")).await.unwrap();
    let conditions = node.status.unwrap().conditions.unwrap();
    assert_eq!(conditions.iter().map(|one| one.status.as_str()).collect::<Vec<_>>(), ["False"]);
}

async fn one_leader_at_a_time(clients: &Clients) {
    let mut tasks = JoinSet::new();
    let mut candidates = Vec::new();
    for name in ["a", "b"] {
        let ((leading, view), (stop, stopped)) = (watch::channel(false), watch::channel(false));
        let mut election = Election::new("kube-system", "cilium-operator-resource-lock", name);
        election.retry = Duration::from_millis(200);
        let clients = clients.clone();
        tasks.spawn(async move { election.run(&clients, leading, stopped).await });
        candidates.push((view, stop));
        sleep(Duration::from_secs(1)).await;
    }
    let (mut second, stop_second) = candidates.pop().unwrap();
    let (first, stop_first) = candidates.pop().unwrap();
    assert!(*first.borrow() && !*second.borrow());
    stop_first.send(true).unwrap();
    timeout(Duration::from_secs(3), second.wait_for(|leads| *leads))
        .await
        .expect("the lease handed over")
        .unwrap();
    assert!(!*first.borrow());
    stop_second.send(true).unwrap();
    while tasks.join_next().await.is_some() {}
}

async fn a_watch_survives_the_server(clients: &Clients, rig: &mut Rig) {
    let name = |number: u32| CiliumIdentity::new(number, [("k8s:n".to_owned(), number.to_string())].into());
    clients.create_identity(&name(300)).await.unwrap();
    let (sender, mut queue) = mpsc::channel(16);
    let (mut watched, run) =
        clients.watch::<CiliumIdentity, _, _>(WatchSpec::default(), sender, |batch| batch);
    let mut tasks = JoinSet::new();
    tasks.spawn(run);
    assert!(timeout(Duration::from_secs(10), watched.synced()).await.unwrap());
    let batch = queue.recv().await.unwrap();
    let Change::Reset(all) = &batch[0] else { panic!("{batch:?}") };
    assert_eq!(all.iter().map(CiliumIdentity::number).collect::<Vec<_>>(), [Some(300)]);
    assert_eq!(all[0].metadata.managed_fields, None);
    clients.create_identity(&name(301)).await.unwrap();
    let batch = timeout(Duration::from_secs(5), queue.recv()).await.unwrap().unwrap();
    assert!(matches!(&batch[..], [Change::Apply(one)] if one.number() == Some(301)), "{batch:?}");

    rig.stop_server();
    timeout(Duration::from_secs(10), async {
        while watched.health().connected {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the outage noticed");
    assert!(queue.try_recv().is_err(), "an outage changes nothing");
    rig.start_server().await;
    clients
        .delete::<CiliumIdentity>(&Key::new("", "300"), None, None)
        .await
        .map_err(|error| error.describe())
        .unwrap();
    // By the deletion itself; a fresh server may not reach back to our version, and then by a list.
    let mut known = vec![300, 301];
    while known != [301] {
        let batch = timeout(Duration::from_secs(20), queue.recv()).await.expect("the watch is back").unwrap();
        for change in batch {
            match change {
                Change::Delete(key) => known.retain(|number| number.to_string() != key.name),
                Change::Reset(all) => known = all.iter().filter_map(CiliumIdentity::number).collect(),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(watched.health().connected && watched.health().failures == 0);
}
