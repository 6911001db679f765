use serde_json::json;

use super::*;

fn pod(value: serde_json::Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_pod_has_the_labels_that_the_guide_shows() {
    let pod = pod(json!({
        "metadata": {
            "namespace": "default",
            "labels": { "app": "backend1", "pod-template-hash": "7d4", "io.kubernetes.pod.namespace": "kube-system" },
        },
        "spec": { "serviceAccountName": "default", "containers": [] },
    }));
    let namespace = [("kubernetes.io/metadata.name".to_owned(), "default".to_owned())].into();
    let filter = LabelFilter::new([]).unwrap();
    assert_eq!(
        identity_labels(&pod, &namespace, "kubernetes", &filter)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "k8s:app=backend1",
            "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=default",
            "k8s:io.cilium.k8s.policy.cluster=kubernetes",
            "k8s:io.cilium.k8s.policy.serviceaccount=default",
            "k8s:io.kubernetes.pod.namespace=default",
        ]
    );
}

#[test]
fn named_ports_are_those_that_something_listens_on() {
    let pod = pod(json!({ "metadata": {}, "spec": {
        "containers": [
            { "name": "a", "ports": [
                { "name": "http", "containerPort": 8080 },
                { "name": "dns", "containerPort": 53, "protocol": "UDP" },
                { "name": "dns", "containerPort": 53, "protocol": "TCP" },
                { "containerPort": 1 },
                { "name": "bad", "containerPort": 70000 },
                { "name": "zero", "containerPort": 0 },
            ] },
        ],
        "initContainers": [
            { "name": "once", "ports": [{ "name": "http", "containerPort": 1 }] },
            { "name": "sidecar", "restartPolicy": "Always", "ports": [{ "name": "metrics", "containerPort": 9090 }] },
        ],
    } }));
    let expected: NamedPorts = [
        ("dns".to_owned(), [(6, 53), (17, 53)].into()),
        ("http".to_owned(), [(6, 8080)].into()),
        ("metrics".to_owned(), [(6, 9090)].into()),
    ]
    .into();
    assert_eq!(named_ports(&pod), expected);
    assert!(named_ports(&Pod::default()).is_empty());
}
