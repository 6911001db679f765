//! The host firewall: a node that lets in what a policy says, a policy that would cut it off, and what becomes of that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Routing, probe, socket};
use crate::connectivity::{reaches, wait_for_pods, word};
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};
use crate::rules::until;

/// The node with a policy of its own, and its addresses.
const NODE: &str = "n1";
const ADDRESSES: [&str; 2] = ["172.31.0.11", "fd00:31::11"];
/// Ports of a host-network pod there: one that the policy opens, one that it does not.
const OPEN: u16 = 9001;
const CLOSED: u16 = 9002;
/// The closed one, as a service.
const NODE_PORT: u16 = 30_902;
/// Long enough for a policy that cuts the node off to be rolled back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with the firewall on, and with what [`crate::language`] needs.
pub(crate) fn up() -> Result<Cluster> {
    let folder = format!("extraConfig.static-cnp-path={}", crate::language::FOLDER);
    let values = [
        "ipv6.enabled=true",
        "routingMode=tunnel",
        "hostFirewall.enabled=true",
        "policyDenyResponse=icmp",
        "extraConfig.host-firewall-confirm-timeout=10s",
        "nodeSelectorLabels=true",
        "policyCIDRMatchMode={nodes}",
        "k8sClusterNetworkPolicy.enabled=true",
        &folder,
    ];
    Cluster::with("hostfw", &["--nodes", "2", "--ipv6"], &values)
}

/// Runs the scenarios.
pub(crate) fn run(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title(&format!("The host firewall, with {} routing", Routing::Tunnel.name()));
    cluster.kubectl(&["label", "node", NODE, "role=guarded"])?;
    cluster.apply(&[manifests::namespace(), on_host(), service()])?;
    let pods = [("echo-a", NODE), ("pod-to-a", NODE), ("pod-to-b", "n2")];
    cluster.apply(&pods.map(|(name, node)| manifests::pod(name, node, &[80])))?;
    wait_for_pods(cluster)?;
    doors(cluster, report, "no policy", true)?;

    cluster.apply(&[policy(&json!(["kube-apiserver", "host"]))])?;
    doors(cluster, report, "locked down", false)?;
    names(cluster, report)?;
    passes(cluster, report, "locked down")?;
    probed(cluster, report, "locked down", "1/2")?;
    let applied = condition(cluster)?;
    report.check("locked down", "condition HostFirewall", "", &applied);
    report.show(&cluster.agent(NODE, &["cilium-dbg", "endpoint", "list"])?);

    cut_off(cluster, report)?;
    report.flush();
    Ok(())
}

/// A policy without a way to the API server is rolled back, and stays so over a restart; a corrected one is tried again.
fn cut_off(cluster: &Cluster, report: &mut Report) -> Result<()> {
    cluster.apply(&[policy(&json!(["host"]))])?;
    let start = Instant::now();
    let mut said = String::new();
    while said.is_empty() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(500));
        said = condition(cluster)?;
    }
    let took = start.elapsed();
    report.show(&said);
    let good = said.starts_with("False RolledBack node n1: generation 2 was rolled back");
    report.check("cut off", &format!("rolled back after {:.0} s", took.as_secs_f64()), "yes", yes(good));
    doors(cluster, report, "rolled back", false)?;
    for pid in cluster.agent_pids(NODE)? {
        cluster.lab(&["exec", NODE, "kill", "-9", &pid.to_string()])?;
    }
    doors(cluster, report, "rolled back, agent killed", false)?;
    let ready = [
        "-n",
        "kube-system",
        "wait",
        "--for=condition=Ready",
        "pod",
        "-l",
        "k8s-app=cilium",
        "--timeout=60s",
    ];
    until(|| Ok(yes(cluster.kubectl(&ready).is_ok()).to_owned()), "yes")?;
    std::thread::sleep(Duration::from_secs(12));
    report.check("rolled back, agent back", "the condition stays", "yes", yes(condition(cluster)? == said));
    doors(cluster, report, "rolled back, agent back", false)?;

    cluster.apply(&[policy(&json!(["kube-apiserver", "host", "remote-node"]))])?;
    let wanted = "True Applied node n1: this version is in force, or on trial";
    let seen = until(|| condition(cluster), wanted)?;
    report.check("corrected", "condition HostFirewall", wanted, &seen);
    for address in ADDRESSES {
        let target = socket(address, CLOSED);
        let seen = until(|| from_node(cluster, "n2", &target), word(true))?;
        report.check("corrected", &format!("n2 → {target}"), word(true), &seen);
    }
    probed(cluster, report, "corrected", "2/2")?;
    cluster.kubectl(&["delete", "ccnp", "guard"])?;
    doors(cluster, report, "deleted", true)
}

/// Who may come in by the closed port: nobody but the entities; and whither the node may go.
fn policy(entities: &Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": { "name": "guard" },
        "spec": {
            "nodeSelector": { "matchLabels": { "role": "guarded" } },
            "ingress": [
                { "fromEntities": entities },
                { "toPorts": [{ "ports": [{ "port": OPEN.to_string(), "protocol": "TCP" }] }] },
            ],
            "egress": [{ "toEntities": entities }, { "toEntities": ["cluster"], "toPorts": [{ "ports": [{ "port": "80", "protocol": "TCP" }] }] }],
        },
    })
}

fn on_host() -> Value {
    let mut pod = manifests::pod("on-host", NODE, &[OPEN, CLOSED]);
    pod["spec"]["hostNetwork"] = json!(true);
    pod["spec"]["containers"][0]["args"] = json!(["serve", "--tcp", format!("{OPEN},{CLOSED}")]);
    pod["spec"]["containers"][0]["readinessProbe"]["tcpSocket"]["port"] = json!(OPEN);
    pod
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "on-host", "namespace": NAMESPACE },
        "spec": {
            "type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": { "app": "on-host" },
            "ports": [{ "port": 80, "targetPort": CLOSED, "nodePort": NODE_PORT, "protocol": "TCP" }],
        },
    })
}

/// The open port, and the closed one by itself and as a service, from outside, from the other node and from a pod.
fn doors(cluster: &Cluster, report: &mut Report, name: &str, closed_is_open: bool) -> Result<()> {
    for address in ADDRESSES {
        for (port, open) in [(OPEN, true), (CLOSED, closed_is_open), (NODE_PORT, closed_is_open)] {
            let target = socket(address, port);
            let seen = until(|| from_node(cluster, "world", &target), word(open))?;
            report.check(name, &format!("world → {target}"), word(open), &seen);
        }
        let target = socket(address, CLOSED);
        let seen =
            until(|| Ok(word(reaches(cluster, "pod-to-a", &target)?).to_owned()), word(closed_is_open))?;
        report.check(name, &format!("pod-to-a → {target}"), word(closed_is_open), &seen);
    }
    Ok(())
}

/// What the policy must not touch: pods among each other and outside, and the kubelet.
fn passes(cluster: &Cluster, report: &mut Report, name: &str) -> Result<()> {
    let to = cluster.addresses("echo-a")?;
    for (from, to) in
        ["pod-to-a", "pod-to-b"].into_iter().flat_map(|from| to.iter().map(move |to| (from, to)))
    {
        let target = socket(to, 80);
        report.check(name, &format!("{from} → {target}"), word(true), word(reaches(cluster, from, &target)?));
    }
    let ready = cluster.kubectl(&[
        "get",
        "node",
        NODE,
        "-o",
        "jsonpath={.status.conditions[?(@.type=='Ready')].status}",
    ])?;
    report.check(name, "the node is Ready", "True", ready.trim());
    let logs = cluster.kubectl(&[
        "exec",
        "-n",
        NAMESPACE,
        "pod-to-a",
        "--",
        "probe",
        "connect",
        &socket(&to[0], 80),
    ]);
    report.check(name, "kubectl exec through its kubelet", "yes", yes(logs.is_ok()));
    Ok(())
}

/// What the other node's agent finds: its probes are judged as any packets of a node are.
fn probed(cluster: &Cluster, report: &mut Report, name: &str, wanted: &str) -> Result<()> {
    let ask = || {
        cluster.agent("n2", &["cilium-health", "status", "--probe"])?;
        let status = cluster.agent("n2", &["cilium-dbg", "status"])?;
        let line = status.lines().find_map(|line| line.strip_prefix("Cluster health:")).unwrap_or("no line");
        Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
    };
    let seen = until(ask, wanted)?;
    report.check(name, "nodes that n2's agent reaches", wanted, &seen);
    Ok(())
}

/// The drop is recorded with the policy's name.
fn names(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let args = [
        "hubble",
        "observe",
        "--verdict",
        "DROPPED",
        "--to-identity",
        "1",
        "--last",
        "50",
        "--print-policy-names",
    ];
    let seen = cluster.agent(NODE, &args)?;
    report.show(&seen.lines().rev().take(4).collect::<Vec<_>>().join("\n"));
    report.check("hubble observe", "the drop names the policy", "yes", yes(seen.contains("DENIED BY guard")));
    explained(cluster, report)
}

/// The same by the commands that explain: a recorded drop, and packets that are only thought of, in and out.
fn explained(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let observe =
        format!("hubble observe --verdict DROPPED --protocol tcp --to-ip {} --last 1 -o json", ADDRESSES[0]);
    let command = format!("{observe} | cilium-dbg policy explain --flow -");
    let told = cluster.agent(NODE, &["sh", "-c", &command])?;
    report.show(&told);
    let good = told.contains("Ingress policy of node n1") && told.contains("guard spec.ingress");
    report.check("policy explain", "the node's side names the rules", "yes", yes(good));
    let closed = CLOSED.to_string();
    let world = "203.0.113.7";
    for (from, to, port, wanted) in [
        (world, "host", closed.as_str(), "Ingress policy of endpoint 65535: DENIED"),
        ("host", world, "443", "Egress policy of endpoint 65535: DENIED"),
    ] {
        // It exits with 1 for what is denied.
        let command = format!("cilium-dbg policy trace {from} {to} {port} || true");
        let told = cluster.agent(NODE, &["sh", "-c", &command])?;
        report.show(&told);
        let good = told.contains(wanted) && told.contains("by CiliumClusterwideNetworkPolicy guard");
        report.check("policy trace", &format!("{from} → {to}:{port}"), "yes", yes(good));
    }
    Ok(())
}

/// Whether a process of a node, or of `world`, reaches an address.
pub(crate) fn from_node(cluster: &Cluster, node: &str, target: &str) -> Result<String> {
    let asked = cluster.command(&["exec", node, &probe(), "connect", target, "--timeout", "1500"]).output();
    Ok(word(asked.context("starting a client")?.status.success()).to_owned())
}

/// Status, reason and message of the condition, if there is one.
fn condition(cluster: &Cluster) -> Result<String> {
    let path =
        "jsonpath={range .status.conditions[?(@.type=='HostFirewall')]}{.status} {.reason} {.message}{end}";
    Ok(cluster.kubectl(&["get", "ccnp", "guard", "-o", path])?.trim().to_owned())
}
