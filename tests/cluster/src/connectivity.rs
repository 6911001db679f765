//! The connectivity check: who reaches whom, over both families, and what policy makes of it.

use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::cluster::{Cluster, finished, probe, socket};
use crate::manifests::{self, NAMESPACE, WORLD};
use crate::report::Report;

/// Who asks.
#[derive(Clone, Copy)]
enum From {
    Pod(&'static str),
    Host(&'static str),
}

/// Name of the check, who asks, which pod answers (`None`: the world), whether it should.
const CHECKS: &[(&str, From, Option<&str>, bool)] = &[
    ("pod-to-a", From::Pod("pod-to-a"), Some("echo-a"), true),
    ("pod-to-a-allowed", From::Pod("pod-to-a-allowed"), Some("echo-a"), true),
    ("pod-to-a-allowed, somebody else", From::Pod("pod-to-a-allowed"), Some("echo-b"), false),
    ("pod-to-a-denied", From::Pod("pod-to-a-denied"), Some("echo-a"), false),
    ("pod-to-b-intra-node", From::Pod("pod-to-b-intra"), Some("echo-b"), true),
    ("pod-to-b-multi-node", From::Pod("pod-to-a"), Some("echo-b"), true),
    ("host-to-b-multi-node", From::Host("n1"), Some("echo-b"), true),
    ("host-to-a-local", From::Host("n1"), Some("echo-a"), true),
    ("pod-to-external", From::Pod("pod-to-a"), None, true),
    ("pod-to-external-denied", From::Pod("pod-to-a-denied"), None, false),
];

/// Makes the pods and policies and tries every way.
pub(crate) fn run(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Pods and policies");
    cluster.apply(&[manifests::namespace()])?;
    let pods = [
        ("echo-a", "n1"),
        ("echo-b", "n2"),
        ("pod-to-a", "n1"),
        ("pod-to-a-allowed", "n1"),
        ("pod-to-a-denied", "n1"),
        ("pod-to-b-intra", "n2"),
    ];
    cluster.apply(&pods.map(|(name, node)| manifests::pod(name, node, &[80])))?;
    cluster.apply(&[manifests::allowed(), manifests::denied()])?;
    wait_for_pods(cluster)?;
    report.show(&cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "wide"])?);
    report.show(&cluster.kubectl(&["get", "ciliumnetworkpolicies,ciliumendpoints", "-n", NAMESPACE])?);
    report.title("Connectivity, expected and seen");
    let mut running = Vec::new();
    for (name, from, to, expected) in CHECKS {
        let addresses = match to {
            Some(pod) => cluster.addresses(pod)?,
            None => WORLD.map(str::to_owned).to_vec(),
        };
        for address in addresses {
            let child =
                ask(cluster, *from, &socket(&address, 80)).with_context(|| format!("check {name}"))?;
            running.push((*name, format!("TCP {}", socket(&address, 80)), *expected, child));
        }
    }
    for (name, how, expected, child) in running {
        let (reached, _) = finished(child)?;
        report.check(name, &how, word(expected), word(reached));
    }
    report.flush();
    Ok(())
}

/// Waits until every pod of the test namespace is Ready.
pub(crate) fn wait_for_pods(cluster: &Cluster) -> Result<()> {
    cluster
        .kubectl(&["wait", "-n", NAMESPACE, "--for=condition=Ready", "pod", "--all", "--timeout=120s"])
        .map(drop)
}

/// Starts one attempt to connect.
fn ask(cluster: &Cluster, from: From, to: &str) -> Result<Child> {
    let tool = probe();
    let mut command = match from {
        From::Pod(pod) => cluster.in_pod(pod, &["probe", "connect", to, "--timeout", "4000"]),
        From::Host(node) => cluster.command(&["exec", node, &tool, "connect", to, "--timeout", "4000"]),
    };
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting a client")
}

/// Whether `pod` reaches `to` over TCP.
pub(crate) fn reaches(cluster: &Cluster, pod: &str, to: &str) -> Result<bool> {
    finished(ask_pod(cluster, pod, to)?).map(|(reached, _)| reached)
}

fn ask_pod(cluster: &Cluster, pod: &str, to: &str) -> Result<Child> {
    let mut command = cluster.in_pod(pod, &["probe", "connect", to, "--timeout", "1500"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting a client")
}

/// How a table calls it.
pub(crate) const fn word(reached: bool) -> &'static str {
    if reached { "allowed" } else { "denied" }
}

/// The lines of `hubble observe` that tell most: verdicts first, at most `most`.
pub(crate) fn telling(flows: &str, most: usize) -> String {
    let is_verdict = |line: &&str| line.contains("policy-verdict") || line.contains("Policy denied");
    let verdicts = flows.lines().filter(is_verdict);
    let others = flows.lines().filter(|line| !is_verdict(line));
    verdicts.take(most * 2 / 3).chain(others.take(most / 3)).collect::<Vec<_>>().join("\n")
}
