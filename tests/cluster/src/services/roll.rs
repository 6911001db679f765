//! The backends of a service are replaced again and again under load. Nobody may notice.

use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{cluster_ips, service};
use crate::cluster::{Cluster, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{NAMESPACE, pod};
use crate::report::Report;
use crate::restart::{account, outcomes};

const NODE_PORT: u16 = 30_090;
/// Attempts a second of each client.
const PACE: &str = "20";

/// Two servers that finish what they have begun when they are told to stop.
fn deployment() -> Value {
    let mut template = pod("rolled", "n1", &[80]);
    let spec = &mut template["spec"];
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
    }
    // A balancer elsewhere may send a last connection until it has heard: that is what the pause is for.
    spec["terminationGracePeriodSeconds"] = json!(5);
    spec["containers"][0]["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sleep", "2"] } } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "rolled", "namespace": NAMESPACE },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "rolled" } },
            "strategy": { "rollingUpdate": { "maxSurge": 2, "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": { "app": "rolled" } }, "spec": spec,
            },
        },
    })
}

/// Replaces both backends `times` times.
pub(crate) fn run(cluster: &Cluster, times: u32, report: &mut Report) -> Result<()> {
    report.title(&format!("{times} times all backends of a service replaced under load"));
    let port = json!({ "port": 80, "targetPort": 80, "nodePort": NODE_PORT });
    let spec = json!({ "type": "NodePort", "selector": { "app": "rolled" }, "ports": [port] });
    cluster.apply(&[deployment(), service("rolled", &spec)])?;
    rolled(cluster)?;
    wait_for_pods(cluster)?;
    let vip = socket(&cluster_ips(cluster, "rolled")?.remove(0), 80);
    let node = socket("172.31.0.11", NODE_PORT);
    let seconds = f64::from(times) * 4.0 + 12.0;
    let load = |mut command: std::process::Command| -> Result<Child> {
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting the load")
    };
    let length = seconds.to_string();
    let flood = ["flood", "--seconds", &length, "--interval", PACE, "--timeout", "1000"];
    let tool = crate::cluster::probe();
    let clients = [
        (
            "a pod, ClusterIP",
            load(cluster.in_pod("web-client", &[&["probe"], &flood[..], &[&vip]].concat()))?,
        ),
        (
            "a node, ClusterIP",
            load(cluster.command(&[&["exec", "n2", &tool], &flood[..], &[&vip]].concat()))?,
        ),
        (
            "outside, NodePort",
            load(cluster.command(&[&["exec", "world", &tool], &flood[..], &[&node]].concat()))?,
        ),
    ];
    let start = Instant::now();
    let mut done = 0;
    while done < times && start.elapsed().as_secs_f64() < seconds - 10.0 {
        cluster.kubectl(&["rollout", "restart", "-n", NAMESPACE, "deployment/rolled"])?;
        rolled(cluster)?;
        done += 1;
    }
    report.check("rolled", "times", &times.to_string(), &done.to_string());
    report.show(&format!("{done} times in {:.0} s", start.elapsed().as_secs_f64()));
    for (who, child) in clients {
        let (attempts, ok) = outcomes(&account(child)?);
        let failed = if attempts == 0 { "no attempts".into() } else { (attempts - ok).to_string() };
        report.check("new connections", &format!("{who}, failed of {attempts}"), "0", &failed);
    }
    cluster.kubectl(&["delete", "-n", NAMESPACE, "deployment/rolled", "service/rolled", "--wait=false"])?;
    report.flush();
    Ok(())
}

fn rolled(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "status", "-n", NAMESPACE, "deployment/rolled", "--timeout=120s"]).map(drop)
}
