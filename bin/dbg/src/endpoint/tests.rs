use super::*;
use serde_json::{Value, json};

fn endpoints() -> Vec<Endpoint> {
    let pod = json!({
        "id": 77,
        "spec": { "options": { "PolicyAuditMode": "Disabled" } },
        "status": {
            "state": "ready",
            "identity": { "id": 12345, "labels": ["k8s:io.kubernetes.pod.namespace=default", "k8s:app=web"] },
            "networking": { "addressing": [{ "ipv4": "10.244.1.5", "ipv6": "fd00:10:244:1::5" }],
                "interface-name": "lxc1234", "mac": "02:00:00:00:00:05" },
            "policy": { "realized": { "policy-enabled": "ingress", "policy-revision": 3, "id": 12345 } },
            "external-identifiers": { "k8s-namespace": "default", "k8s-pod-name": "web-0",
                "cni-attachment-id": "abc:eth0", "container-id": "abc" },
            "labels": { "security-relevant": ["k8s:app=web"] },
            "namedPorts": [{ "name": "http", "port": 80, "protocol": "TCP" }],
            "health": { "overallHealth": "OK" },
        },
    });
    let host = json!({ "id": 5, "status": { "state": "ready",
        "identity": { "id": 1, "labels": ["reserved:host"] }, "policy": { "realized": { "policy-enabled": "none" } } } });
    let new = json!({ "id": 1200, "status": { "state": "waiting-for-identity",
        "networking": { "addressing": [{ "ipv4": "10.244.1.9" }] },
        "policy": { "realized": { "policy-enabled": "audit-both" } } } });
    serde_json::from_value(json!([host, pod, new])).expect("endpoints")
}

#[test]
fn the_table() {
    let expected = "\
ENDPOINT   POLICY (ingress)   POLICY (egress)    IDENTITY        LABELS (source:key[=value])               IPv6               IPv4         STATUS
           ENFORCEMENT        ENFORCEMENT
5          Disabled           Disabled           1               reserved:host                             No address         No address   ready
77         Enabled            Disabled           12345           k8s:app=web                               fd00:10:244:1::5   10.244.1.5   ready
                                                                 k8s:io.kubernetes.pod.namespace=default
1200       Disabled (Audit)   Disabled (Audit)   <no label id>   no labels                                                    10.244.1.9   waiting-for-identity
";
    let seen = list(&endpoints(), false);
    let seen: String = seen.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    assert_eq!(seen, expected);
    assert!(list(&endpoints(), true).starts_with("5      Disabled"));
    // Go's tabwriter pads the last column, too: both lines of titles are equally long.
    let titles = list(&[], false);
    let lengths: Vec<usize> = titles.lines().map(str::len).collect();
    assert_eq!(lengths, [lengths[0], lengths[0]]);
    assert!(titles.lines().all(|line| line.ends_with("   ")));
}

/// The keys that scripts and the stock CLI read.
#[test]
fn the_json() {
    let value: Value = serde_json::to_value(endpoints()).expect("JSON");
    for path in [
        "/1/id",
        "/1/spec/options/PolicyAuditMode",
        "/1/status/state",
        "/1/status/identity/id",
        "/1/status/identity/labels/0",
        "/1/status/networking/addressing/0/ipv4",
        "/1/status/networking/interface-name",
        "/1/status/networking/mac",
        "/1/status/policy/realized/policy-enabled",
        "/1/status/policy/realized/policy-revision",
        "/1/status/external-identifiers/k8s-namespace",
        "/1/status/external-identifiers/k8s-pod-name",
        "/1/status/external-identifiers/cni-attachment-id",
        "/1/status/labels/security-relevant/0",
        "/1/status/namedPorts/0/name",
        "/1/status/health/overallHealth",
    ] {
        assert!(value.pointer(path).is_some(), "{path} is missing in {value:#}");
    }
}
