//! What is installed into the running cluster: our chart, and DNS.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::control_plane::kubectl;
use crate::image::{AXONEME, COREDNS};
use crate::layout::{Lab, Spec};
use crate::machine::Handle;
use crate::report::tail;
use crate::run::{feed, output, root, tool};

const COREDNS_MANIFEST: &str = include_str!("../manifests/coredns.yaml");

/// Installs (or upgrades) our Helm chart with the lab's addresses and images below the user's values.
pub(crate) fn install_chart(lab: &Lab, spec: &Spec) -> Result<()> {
    let chart = root().join("charts/cilium");
    ensure!(
        chart.join("Chart.yaml").is_file(),
        "{} is not a chart; --no-chart goes without",
        chart.display()
    );
    let cp = Handle::open(lab, "cp")?;
    let mut helm = cp.command(lab, tool("helm")?)?;
    helm.env("KUBECONFIG", lab.kubeconfig()).env("HELM_CACHE_HOME", lab.dir.join("helm"));
    helm.args(["upgrade", "--install", "cilium"]).arg(&chart).args(["--namespace", "kube-system"]);
    helm.arg("--values").arg(write_defaults(lab, spec)?);
    for file in &spec.chart_values {
        helm.arg("--values").arg(file);
    }
    for pair in &spec.chart_set {
        helm.args(["--set", pair]);
    }
    output(&mut helm).map(drop).context("helm did not install charts/cilium")
}

/// What every lab's installation needs, in a file, so that a user's file can say otherwise.
fn write_defaults(lab: &Lab, spec: &Spec) -> Result<std::path::PathBuf> {
    let image = |name: &str| serde_json::json!({"override": name, "pullPolicy": "IfNotPresent"});
    let mut operator_image = serde_json::json!({"image": image(AXONEME)});
    operator_image["replicas"] = spec.nodes.clamp(1, 2).into();
    let values = serde_json::json!({
        "k8sServiceHost": "172.31.0.10",
        "k8sServicePort": 6443,
        "image": image(AXONEME),
        "operator": operator_image,
        "hubble": {"relay": {"image": image(AXONEME)}, "ui": {"backend": {"image": image(AXONEME)}}},
        "ipv6": {"enabled": spec.ipv6},
    });
    let path = lab.dir.join("chart-defaults.yaml");
    std::fs::write(&path, format!("{values:#}\n"))?;
    Ok(path)
}

/// Installs CoreDNS; it runs as soon as pods can.
pub(crate) fn install_dns(lab: &Lab) -> Result<()> {
    let manifest = COREDNS_MANIFEST.replace("localhost/axoneme/coredns:dev", COREDNS);
    feed(kubectl(lab)?.args(["apply", "-f", "-"]), manifest.as_bytes())
        .map(drop)
        .context("CoreDNS cannot be installed")
}

/// Waits until every full node has registered itself.
pub(crate) fn wait_registered(lab: &Lab, spec: &Spec, nodes: &[Handle]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    for (node, machine) in nodes.iter().zip(spec.nodes()) {
        node.wait("kubelet", deadline.saturating_duration_since(Instant::now()), || {
            Ok(output(kubectl(lab)?.args(["get", "node", &machine.name])).is_ok())
        })?;
    }
    Ok(())
}

/// Waits until pods can be created: the controller-manager makes the account that they run under.
pub(crate) fn wait_account(lab: &Lab) -> Result<()> {
    let args = ["wait", "--for=create", "serviceaccount/default", &timeout(60)];
    output(kubectl(lab)?.args(args)).map(drop).context("the namespace `default` got no service account")
}

/// Waits for Ready nodes; tells what the nodes and the pods of kube-system say if it takes too long.
pub(crate) fn wait_ready(lab: &Lab, nodes: &[Handle]) -> Result<()> {
    let result =
        output(kubectl(lab)?.args(["wait", "--for=condition=Ready", "node", "--all", &timeout(120)]));
    result.map(drop).with_context(|| diagnosis(lab, nodes))
}

/// Waits until DNS answers.
pub(crate) fn wait_dns(lab: &Lab, nodes: &[Handle]) -> Result<()> {
    let mut command = kubectl(lab)?;
    command.args(["--namespace", "kube-system", "rollout", "status", "deployment/coredns", &timeout(90)]);
    output(&mut command).map(drop).with_context(|| diagnosis(lab, nodes))
}

/// kubectl's option for waiting.
fn timeout(seconds: u16) -> String {
    format!("--timeout={:.0}s", f32::from(seconds) * crate::machine::patience())
}

fn diagnosis(lab: &Lab, nodes: &[Handle]) -> String {
    let show = |args: &[&str]| -> String {
        let made: Result<Command> = kubectl(lab);
        made.and_then(|mut c| output(c.args(args))).unwrap_or_else(|e| format!("{e:#}"))
    };
    let mut text = "the cluster is not as it should be; what it says:\n".to_owned();
    text.push_str(&show(&["get", "nodes", "-o", "wide"]));
    text.push_str(&show(&["get", "pods", "-A", "-o", "wide"]));
    text.push_str(&show(&[
        "get",
        "events",
        "-A",
        "--field-selector=type=Warning",
        "--sort-by=.lastTimestamp",
    ]));
    let agent =
        ["-n", "kube-system", "logs", "-l", "k8s-app=cilium", "-c", "cilium-agent", "--tail=15", "--prefix"];
    text.push_str(&show(&agent));
    for node in nodes {
        text.push_str(&tail(&node.log("kubelet"), 5));
    }
    text.push_str("`lab status` and `lab kubectl` show more; `lab down` ends it\n");
    text
}
