//! The backends of a service are replaced again and again under load. Nobody may notice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{cluster_ips, service};
use crate::account::{self, Account, PATIENCE};
use crate::cluster::{Cluster, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{NAMESPACE, pod};
use crate::report::{Report, yes};

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
    // And it is what shows whether somebody goes on sending after all have heard.
    spec["terminationGracePeriodSeconds"] = json!(9);
    spec["containers"][0]["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sleep", "6"] } } });
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
    let seconds = f64::from(times) * 5.0 + 36.0;
    let length = seconds.to_string();
    let flood = ["flood", "--seconds", &length, "--interval", PACE, "--timeout", PATIENCE];
    let tool = crate::cluster::probe();
    let clients = [
        (
            "a pod, ClusterIP",
            account::start(cluster.in_pod("web-client", &[&["probe"], &flood[..], &[&vip]].concat()))?,
        ),
        (
            "a node, ClusterIP",
            account::start(cluster.command(&[&["exec", "n2", &tool], &flood[..], &[&vip]].concat()))?,
        ),
        (
            "outside, NodePort",
            account::start(cluster.command(&[&["exec", "world", &tool], &flood[..], &[&node]].concat()))?,
        ),
    ];
    let start = Instant::now();
    let mut done = 0;
    // When all agents had said that a backend is none any more, µs since 1970; and how many still answered then.
    let (mut acknowledged, mut alive) = (BTreeMap::new(), 0);
    while done < times && start.elapsed().as_secs_f64() < seconds - 10.0 {
        let old = backends(cluster)?;
        cluster.kubectl(&["rollout", "restart", "-n", NAMESPACE, "deployment/rolled"])?;
        rolled(cluster)?;
        let at = acknowledgement(cluster, &old)?;
        for (name, address) in old {
            let direct = socket(&address, 80);
            let ask =
                cluster.command(&["exec", "n1", &tool, "connect", &direct, "--timeout", "300"]).output()?;
            alive += usize::from(ask.status.success());
            acknowledged.insert(name, at);
        }
        done += 1;
    }
    report.check("rolled", "times", &times.to_string(), &done.to_string());
    report.show(&format!("{done} times in {:.0} s", start.elapsed().as_secs_f64()));
    for (who, child) in clients {
        let account = Account::of(child)?;
        let late = |(name, at): &(&String, &u64)| account.last_met(name) > Some(**at);
        let late = acknowledged.iter().filter(late).count();
        report.check(
            "removed backends",
            &format!("{who}, met after the agents let them go"),
            "0",
            &late.to_string(),
        );
        let detail = format!("{who}, failed of {}", account.attempts());
        report.check("new connections", &detail, "0", &account.failed());
        let detail = format!("{who}, handshakes that lost a packet");
        report.check("new connections", &detail, "0", &account.lost_openings());
    }
    let detail = format!("{alive} of {} would have answered then", acknowledged.len());
    report.check("removed backends", &detail, "yes", yes(alive > 0));
    cluster.kubectl(&["delete", "-n", NAMESPACE, "deployment/rolled", "service/rolled", "--wait=false"])?;
    report.flush();
    Ok(())
}

/// Names and addresses of the backends that are not on their way out.
fn backends(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let args = ["get", "pods", "-n", NAMESPACE, "-l", "app=rolled", "-o", "json"];
    let pods: Value = serde_json::from_str(&cluster.kubectl(&args)?).context("reading the backends")?;
    let pods = pods["items"].as_array().into_iter().flatten();
    let staying = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(staying
        .filter_map(|pod| Some((text(&pod["metadata"]["name"])?, text(&pod["status"]["podIP"])?)))
        .collect())
}

/// Waits until no agent leads anybody new to these backends, and says when that was, µs since 1970.
fn acknowledgement(cluster: &Cluster, gone: &BTreeMap<String, String>) -> Result<u64> {
    let start = Instant::now();
    for node in ["n1", "n2"] {
        loop {
            let list = cluster.agent(node, &["cilium-dbg", "service", "list", "-o", "json"])?;
            let list: Value = serde_json::from_str(&list).context("reading the services of an agent")?;
            if !gone.values().any(|address| is_active(&list, address)) {
                break;
            }
            if start.elapsed() > Duration::from_secs(5) {
                bail!("the agent of {node} still leads to backends that were replaced");
            }
        }
    }
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

fn is_active(list: &Value, address: &str) -> bool {
    let services = list.as_array().into_iter().flatten();
    let backends = services
        .filter_map(|service| service["status"]["realized"]["backend-addresses"].as_array())
        .flatten();
    backends.into_iter().any(|backend| backend["ip"] == address && backend["state"] == "active")
}

fn rolled(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "status", "-n", NAMESPACE, "deployment/rolled", "--timeout=120s"]).map(drop)
}
