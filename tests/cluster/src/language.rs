//! Policies that name other objects (groups of blocks, services, nodes) and follow them, named ports, policies from files, and
//! a word of a policy in its flows: each once, on a cluster as it is. What they mean in detail is shown beside the code.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Cluster, socket};
use crate::connectivity::{reaches, wait_for_pods, word};
use crate::host_firewall::from_node;
use crate::manifests::{self, NAMESPACE, WORLD, policy};
use crate::report::{Report, yes};
use crate::rules::until;

/// Where the agents look for policies: in their state's folder, which is the node's. A folder that is missing would keep them
/// from being ready: nobody knows then what the policies are.
pub(crate) const FOLDER: &str = "/var/run/cilium";

/// Who calls; its egress is what most policies here are about.
const CALLER: &str = "caller";
/// Whom it calls, with the nodes and the port that each calls `web`.
const STORES: [(&str, &str, u16); 2] = [("near", "n1", 80), ("far", "n2", 8080)];
/// A host-network pod of the second node.
const NODE: &str = "n2";
const NODE_ADDRESS: &str = "172.31.0.12";
const NODE_PORT: u16 = 9003;

/// The cluster of [`crate::host_firewall::up`], and the addresses of its pods.
struct Scene<'a> {
    cluster: &'a Cluster,
    near: String,
    far: String,
}

/// Runs the scenarios.
pub(crate) fn run(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Policies that name other objects");
    cluster.apply(&[manifests::namespace()])?;
    cluster.apply(&STORES.map(|(name, node, web)| {
        let mut pod = manifests::pod(name, node, &[80, 8080]);
        pod["metadata"]["labels"]["kind"] = json!("store");
        pod["spec"]["containers"][0]["ports"] = json!([{ "name": "web", "containerPort": web }]);
        pod
    }))?;
    let mut on_host = manifests::pod("on-n2", NODE, &[NODE_PORT]);
    on_host["spec"]["hostNetwork"] = json!(true);
    on_host["spec"]["containers"][0]["args"] = json!(["serve", "--tcp", NODE_PORT.to_string()]);
    on_host["spec"]["containers"][0]["readinessProbe"]["tcpSocket"]["port"] = json!(NODE_PORT);
    cluster.apply(&[manifests::pod(CALLER, "n1", &[80]), on_host])?;
    wait_for_pods(cluster)?;
    let address = |pod: &str| cluster.addresses(pod)?.into_iter().next().context("a pod without an address");
    let scene = Scene { cluster, near: address("near")?, far: address("far")? };
    named_ports(&scene, report)?;
    groups(&scene, report)?;
    services(&scene, report)?;
    nodes(&scene, report)?;
    files(&scene, report)?;
    log(&scene, report)?;
    report.flush();
    cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, CALLER, STORES[0].0, STORES[1].0, "on-n2"]).map(drop)
}

impl Scene<'_> {
    /// The caller, to what an address serves on a port.
    fn calls(&self, report: &mut Report, name: &str, to: &str, port: u16, reached: bool) -> Result<()> {
        let target = socket(to, port);
        let seen = until(|| Ok(word(reaches(self.cluster, CALLER, &target)?).to_owned()), word(reached))?;
        report.check(name, &format!("{CALLER} → {target}"), word(reached), &seen);
        Ok(())
    }

    /// Both stores, on port 80.
    fn stores(&self, report: &mut Report, name: &str, near: bool, far: bool) -> Result<()> {
        self.calls(report, name, &self.near, 80, near)?;
        self.calls(report, name, &self.far, 80, far)
    }

    /// Whom the second node reaches: the store that is not its own.
    fn node_calls(&self, report: &mut Report, name: &str, reached: bool) -> Result<()> {
        let target = socket(&self.near, 80);
        let seen = until(|| from_node(self.cluster, NODE, &target), word(reached))?;
        report.check(name, &format!("{NODE} → {target}"), word(reached), &seen);
        Ok(())
    }

    /// Makes this the only thing that the caller may do.
    fn may(&self, egress: &Value) -> Result<()> {
        let spec = json!({ "endpointSelector": { "matchLabels": { "app": CALLER } }, "egress": [egress] });
        self.cluster.apply(&[policy("language", &spec)])
    }

    fn remove(&self) -> Result<()> {
        self.cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "language"]).map(drop)
    }
}

/// One name, which is another port for each pod.
fn named_ports(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    scene.may(&json!({
        "toEndpoints": [{ "matchLabels": { "kind": "store" } }],
        "toPorts": [{ "ports": [{ "port": "web", "protocol": "TCP" }] }],
    }))?;
    for (to, port, reached) in [
        (&scene.near, 80, true),
        (&scene.near, 8080, false),
        (&scene.far, 8080, true),
        (&scene.far, 80, false),
    ] {
        scene.calls(report, "port web", to, port, reached)?;
    }
    Ok(())
}

/// A CiliumCIDRGroup by name and by labels, while its blocks and labels change.
fn groups(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let group = |blocks: &[&str], kind: &str| {
        scene.cluster.apply(&[json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
            "metadata": { "name": "outside", "labels": { "kind": kind } }, "spec": { "externalCIDRs": blocks },
        })])
    };
    let [v4, v6] = WORLD.map(|ip| format!("{ip}/{}", if ip.contains(':') { 128 } else { 32 }));
    let world = |report: &mut Report, name: &str, reached: [bool; 2]| {
        WORLD.iter().zip(reached).try_for_each(|(ip, reached)| scene.calls(report, name, ip, 80, reached))
    };
    group(&[&v4], "partner")?;
    scene.may(&json!({ "toCIDRSet": [{ "cidrGroupRef": "outside" }] }))?;
    world(report, "cidrGroupRef", [true, false])?;
    group(&[&v6], "partner")?;
    world(report, "cidrGroupRef, other blocks", [false, true])?;
    scene.may(&json!({
        "toCIDRSet": [{ "cidrGroupSelector": { "matchLabels": { "kind": "partner" } } }],
    }))?;
    world(report, "cidrGroupSelector", [false, true])?;
    group(&[&v6], "stranger")?;
    world(report, "cidrGroupSelector, other labels", [false, false])?;
    scene.cluster.kubectl(&["delete", "ciliumcidrgroup", "outside"]).map(drop)
}

/// The pods that a service selects, and addresses that are listed for one without a selector.
fn services(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let service = |name: &str, more: &Value| {
        let mut spec = json!({ "ports": [{ "port": 80, "protocol": "TCP" }] });
        if !more.is_null() {
            spec["selector"] = more.clone();
        }
        let metadata = json!({ "name": name, "namespace": NAMESPACE });
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "outside-1", "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": "outside" },
        },
        "ports": [{ "name": "", "port": 80, "protocol": "TCP" }],
        "endpoints": [{ "addresses": [WORLD[0]] }],
    });
    let named = |name: &str| json!({ "k8sService": { "serviceName": name, "namespace": NAMESPACE } });
    scene.cluster.apply(&[
        service("store", &json!({ "app": "near" })),
        service("outside", &Value::Null),
        slice,
    ])?;
    scene.may(&json!({ "toServices": [named("store"), named("outside")] }))?;
    scene.stores(report, "toServices", true, false)?;
    scene.calls(report, "toServices, no selector", WORLD[0], 80, true)?;
    scene.calls(report, "toServices, no selector", WORLD[1], 80, false)?;
    scene.cluster.apply(&[service("store", &json!({ "app": "far" }))])?;
    scene.stores(report, "toServices, other pods", false, true)?;
    scene.cluster.kubectl(&["delete", "service", "-n", NAMESPACE, "store", "outside"]).map(drop)
}

/// Nodes by their labels, as peers of all kinds, and by their addresses.
fn nodes(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let label = |value: &str| scene.cluster.kubectl(&["label", "node", NODE, "--overwrite", value]);
    let there = json!({ "matchLabels": { "zone": "there" } });
    let callers = json!({
        "endpointSelector": { "matchLabels": { "app": "near" } },
        "ingress": [{ "fromNodes": [there] }],
    });
    scene.cluster.apply(&[policy("callers", &callers)])?;
    scene.may(&json!({ "toNodes": [there] }))?;
    scene.node_calls(report, "fromNodes, no label", false)?;
    scene.calls(report, "toNodes, no label", NODE_ADDRESS, NODE_PORT, false)?;
    label("zone=there")?;
    scene.node_calls(report, "fromNodes", true)?;
    scene.calls(report, "toNodes", NODE_ADDRESS, NODE_PORT, true)?;
    let tier = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": { "name": "not-there" },
        "spec": {
            "tier": "Admin", "priority": 1, "subject": { "namespaces": {} },
            "egress": [{ "action": "Deny", "to": [{ "nodes": there }] }],
        },
    });
    scene.cluster.apply(&[tier])?;
    let valid = [
        "get",
        "clusternetworkpolicy",
        "not-there",
        "-o",
        "jsonpath={.status.conditions[?(@.type=='Valid')].status}",
    ];
    let seen = until(|| Ok(scene.cluster.kubectl(&valid)?.trim().to_owned()), "True")?;
    report.check("an admin denies nodes", "status condition Valid", "True", &seen);
    scene.calls(report, "an admin denies nodes", NODE_ADDRESS, NODE_PORT, false)?;
    scene.cluster.kubectl(&["delete", "clusternetworkpolicy", "not-there"])?;
    scene.calls(report, "the admin's policy deleted", NODE_ADDRESS, NODE_PORT, true)?;
    label("zone=here")?;
    scene.node_calls(report, "fromNodes, other label", false)?;
    scene.calls(report, "toNodes, other label", NODE_ADDRESS, NODE_PORT, false)?;
    scene.cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "callers"])?;
    scene.may(&json!({ "toCIDR": [format!("{NODE_ADDRESS}/32")] }))?;
    scene.calls(report, "policyCIDRMatchMode nodes", NODE_ADDRESS, NODE_PORT, true)?;
    scene.stores(report, "policyCIDRMatchMode nodes", false, false)?;
    scene.remove()?;
    scene.stores(report, "policy deleted", true, true)
}

/// A policy that comes from a file of one node, and goes with it.
fn files(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let spec = json!({
        "endpointSelector": { "matchLabels": { "app": CALLER } },
        "egressDeny": [{ "toEndpoints": [{ "matchLabels": { "app": "far" } }] }],
        "egress": [{ "toEntities": ["all"] }],
    });
    // JSON is YAML, too. A file that is renamed over another is never half there.
    let script = format!(
        "printf %s '{}' > {FOLDER}/.draft && mv {FOLDER}/.draft {FOLDER}/far.yaml",
        policy("from-a-file", &spec)
    );
    scene.cluster.agent("n1", &["sh", "-c", &script])?;
    scene.stores(report, "static-cnp-path", true, false)?;
    scene.cluster.agent("n1", &["rm", &format!("{FOLDER}/far.yaml")])?;
    scene.stores(report, "static-cnp-path, file removed", true, true)
}

/// What a policy wants to be told of stands in the flows that it lets through.
fn log(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    const VALUE: &str = "ticket-4711";
    let spec = json!({
        "endpointSelector": { "matchLabels": { "app": CALLER } },
        "egress": [{ "toEndpoints": [{ "matchLabels": { "app": "near" } }] }],
        "log": { "value": VALUE },
    });
    scene.cluster.apply(&[policy("language", &spec)])?;
    scene.stores(report, "log.value", true, false)?;
    let from = format!("{NAMESPACE}/{CALLER}");
    let observe = ["hubble", "observe", "-o", "json", "--type", "policy-verdict", "--from-pod", &from];
    let told = || {
        let flows = scene.cluster.agent("n1", &[&observe[..], &["--last", "20"]].concat())?;
        Ok(yes(flows.lines().any(|flow| flow.contains("policy_log") && flow.contains(VALUE))).to_owned())
    };
    report.check("log.value", "stands in the flow", "yes", &until(told, "yes")?);
    scene.remove()
}
