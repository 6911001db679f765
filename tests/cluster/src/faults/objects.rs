//! Objects that make no sense say so, and hurt nobody else; labels at their limits work.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Pod, Scene, Source};
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};
use crate::rules::until;

/// The pod that the broken policies are about, and what selects it.
const SUBJECT: &str = "misruled";

fn subject() -> Value {
    json!({ "matchLabels": { "name": SUBJECT } })
}

/// Name, specification, and the field that the message has to name.
fn broken() -> Vec<(&'static str, Value, &'static str)> {
    let egress = |rule: Value| json!({ "endpointSelector": subject(), "egress": [rule] });
    let ports = |port: Value| egress(json!({ "toPorts": [{ "ports": [port] }] }));
    vec![
        ("bad-cidr", egress(json!({ "toCIDR": ["10.0.0.0/33"] })), "egress[0].toCIDR[0]"),
        ("no-address", egress(json!({ "toCIDR": ["300.0.0.1/32"] })), "egress[0].toCIDR[0]"),
        (
            "except-outside",
            egress(json!({ "toCIDRSet": [{ "cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"] }] })),
            "egress[0].toCIDRSet[0].except[0]",
        ),
        (
            "port-range",
            ports(json!({ "port": "70000", "protocol": "TCP" })),
            "egress[0].toPorts[0].ports[0].port",
        ),
        (
            "protocol",
            ports(json!({ "port": "80", "protocol": "QUIC" })),
            "egress[0].toPorts[0].ports[0].protocol",
        ),
        ("end-port", ports(json!({ "port": "90", "endPort": 80 })), "egress[0].toPorts[0].ports[0].endPort"),
        (
            "l7",
            egress(
                json!({ "toPorts": [{ "ports": [{ "port": "80" }], "rules": { "http": [{ "path": "/x" }] } }] }),
            ),
            "egress[0].toPorts[0].rules",
        ),
        ("entity", egress(json!({ "toEntities": ["moon"] })), "egress[0].toEntities[0]"),
        ("fqdn", egress(json!({ "toFQDNs": [{ "matchName": "a.example" }] })), "egress[0].toFQDNs"),
        (
            "icmp",
            egress(json!({ "icmps": [{ "fields": [{ "type": 999, "family": "IPv4" }] }] })),
            "icmps[0].fields[0]",
        ),
        ("no-direction", json!({ "endpointSelector": subject() }), "spec"),
        ("no-subject", json!({ "egress": [{}] }), "spec"),
        ("misspelt", egress(json!({ "toEndpoint": [{}] })), "unknown field \"toEndpoint\""),
        ("combined", egress(json!({ "toCIDR": ["10.0.0.0/8"], "toEntities": ["world"] })), "egress[0]"),
        ("empty-spec", json!({}), "spec"),
    ]
}

pub(super) fn run(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    report.title("Policies that make no sense, beside some that do");
    scene.cluster.apply(&[manifests::pod(SUBJECT, "n1", &[80])])?;
    crate::connectivity::wait_for_pods(scene.cluster)?;
    let misruled = Pod::find(scene.cluster, SUBJECT, "n1")?;
    let own = misruled.socket(80);
    scene.expect(report, "no policy yet", Source::Pod(&misruled), &scene.right.socket(80), true)?;
    let broken = broken();
    let mut refused = BTreeMap::new();
    for (name, spec, _) in &broken {
        if let Err(error) = scene.cluster.apply(&[manifests::policy(name, spec)]) {
            refused.insert(*name, error.to_string());
        }
    }
    let clusterwide = json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": { "name": "fault-ccnp" },
        "spec": { "endpointSelector": subject(), "ingress": [{ "fromCIDR": ["10.0.0.0/99"] }] },
    });
    if let Err(error) = scene.cluster.apply(&[clusterwide]) {
        refused.insert("fault-ccnp", error.to_string());
    }
    let messages = || messages(scene);
    let complete = || {
        let seen = messages()?;
        let all = broken.iter().map(|b| b.0).chain(["fault-ccnp"]);
        Ok(yes(all.into_iter().all(|name| refused.contains_key(name) || seen.contains_key(name))).to_owned())
    };
    until(complete, "yes")?;
    let seen = messages()?;
    for (name, field) in broken.iter().map(|b| (b.0, b.2)).chain([("fault-ccnp", "ingress[0].fromCIDR[0]")]) {
        let message = refused.get(name).or_else(|| seen.get(name)).map_or("still valid", String::as_str);
        let verdict = if message.contains(field) { "refused" } else { message };
        report.check("broken policy", &format!("{name}: names {field}"), "refused", verdict);
    }
    // What they were to restrict is closed: an error in a policy opens nothing.
    scene.expect(
        report,
        "what they are about, out",
        Source::Pod(&misruled),
        &scene.right.socket(80),
        false,
    )?;
    scene.expect(report, "what they are about, in", Source::Pod(scene.left), &own, false)?;
    network_policy(scene, report)?;
    scene.expect(report, "beside broken policies", Source::Pod(scene.left), &scene.right.socket(80), true)?;
    good_one(scene, report)?;
    for (name, ..) in &broken {
        if !refused.contains_key(name) {
            scene.cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, name, "--wait=false"])?;
        }
    }
    scene.cluster.kubectl(&["delete", "ccnp", "fault-ccnp", "--ignore-not-found"])?;
    scene.expect(report, "broken policies gone", Source::Pod(&misruled), &scene.right.socket(80), true)?;
    scene.expect(report, "broken policies gone", Source::Pod(scene.left), &own, true)?;
    scene.cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, SUBJECT, "--wait=false"])?;
    limits(scene, report)?;
    report.flush();
    Ok(())
}

/// Messages of the policies that are not valid, by name.
fn messages(scene: &Scene<'_>) -> Result<BTreeMap<String, String>> {
    let list = scene.cluster.kubectl(&["get", "cnp,ccnp", "-n", NAMESPACE, "-o", "json"])?;
    let list: Value = serde_json::from_str(&list)?;
    let mut messages = BTreeMap::new();
    for object in list["items"].as_array().into_iter().flatten() {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        for condition in conditions.filter(|c| c["type"] == "Valid" && c["status"] == "False") {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            messages.insert(text(&object["metadata"]["name"]), text(&condition["message"]));
        }
    }
    Ok(messages)
}

/// Kubernetes' own kind has no status: the API server refuses what makes no sense, and an empty list allows nobody.
fn network_policy(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let policy = |ingress: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": "fault-knp", "namespace": NAMESPACE },
            "spec": { "podSelector": { "matchLabels": { "app": "near" } }, "policyTypes": ["Ingress"], "ingress": ingress },
        })
    };
    let outside =
        json!([{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"] } }] }]);
    let error = scene.cluster.apply(&[policy(outside)]).err().map(|e| e.to_string()).unwrap_or_default();
    report.check("broken NetworkPolicy", "names except", "yes", yes(error.contains("except")));
    let target = scene.near.socket(80);
    scene.cluster.apply(&[policy(json!([]))])?;
    scene.expect(report, "empty ingress list", Source::Pod(scene.left), &target, false)?;
    scene.cluster.apply(&[policy(json!([{}]))])?;
    scene.expect(report, "one empty ingress rule", Source::Pod(scene.left), &target, true)?;
    scene.cluster.kubectl(&["delete", "netpol", "-n", NAMESPACE, "fault-knp"]).map(drop)
}

/// A policy that makes sense is enforced although broken ones stand beside it.
fn good_one(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let spec = json!({
        "endpointSelector": { "matchLabels": { "app": "right" } },
        "ingress": [{ "fromEndpoints": [{ "matchLabels": { "app": "near" } }] }],
    });
    scene.cluster.apply(&[manifests::policy("fault-good", &spec)])?;
    scene.expect(report, "good beside broken", Source::Pod(scene.left), &scene.right.socket(80), false)?;
    scene.expect(report, "good beside broken", Source::Pod(scene.near), &scene.right.socket(80), true)?;
    scene.cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "fault-good"]).map(drop)
}

/// Sixty labels, the longest names and values: an identity, and a policy that selects by them.
fn limits(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let part = |length: usize| "x".repeat(length);
    let prefix = [part(63), part(63), part(63), part(61)].join(".");
    let longest = format!("{prefix}/{}", part(63));
    let mut labels: BTreeMap<String, String> =
        (0..58).map(|i| (format!("label-{i}-{}", part(50)), format!("{i}-{}", part(60)))).collect();
    labels.insert(longest.clone(), part(63));
    labels.insert("app".to_owned(), "labelled".to_owned());
    let count = labels.len();
    let mut pod = manifests::pod("labelled", "n2", &[80]);
    pod["metadata"]["labels"] = json!(labels);
    scene.cluster.apply(&[pod])?;
    crate::connectivity::wait_for_pods(scene.cluster)?;
    let spec = json!({
        "endpointSelector": { "matchLabels": { longest.clone(): part(63) } },
        "ingress": [{ "fromEndpoints": [{ "matchLabels": { "app": "near" } }] }],
    });
    scene.cluster.apply(&[manifests::policy("fault-limits", &spec)])?;
    let object = ["get", "ciliumendpoint", "-n", NAMESPACE, "labelled", "-o", "json"];
    let endpoint: Value = serde_json::from_str(&scene.cluster.kubectl(&object)?)?;
    let held = endpoint["status"]["identity"]["labels"].as_array().map_or(0, |labels| {
        labels.iter().filter(|l| l.as_str().is_some_and(|l| l.contains("xxx") || l.contains("app="))).count()
    });
    report.check("labels at their limits", "labels of the identity", &count.to_string(), &held.to_string());
    for (from, reached) in [(scene.left, false), (scene.near, true)] {
        for address in scene.cluster.addresses("labelled")? {
            let target = crate::cluster::socket(&address, 80);
            scene.expect(report, "selected by the longest label", Source::Pod(from), &target, reached)?;
        }
    }
    scene.cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "fault-limits"])?;
    scene.cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, "labelled", "--wait=false"]).map(drop)
}
