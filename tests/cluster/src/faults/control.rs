//! The agent's own troubles: a corrupt file, a second agent, an API server that is away.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::load::Load;
use super::{Scene, Source};
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};
use crate::rules::until;

/// How long the API server answers nothing, then how long it refuses connections.
const SILENT: Duration = Duration::from_secs(20);
/// See [`SILENT`].
const GONE: Duration = Duration::from_secs(25);
/// How long the watches may take to be back, with their waits between tries.
const BACK: Duration = Duration::from_secs(30);

pub(super) fn run(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    corrupt_file(scene, report)?;
    second_agent(scene, report)?;
    api_server_away(scene, report)?;
    report.flush();
    Ok(())
}

/// Kills the agent of a node; the kubelet starts it again.
fn kill_agent(scene: &Scene<'_>, node: &str) -> Result<i32> {
    let pid = *scene.cluster.agent_pids(node)?.first().context("no agent runs")?;
    scene.cluster.lab(&["exec", node, "kill", "-9", &pid.to_string()])?;
    Ok(pid)
}

/// Waits until the agent of a node says that it serves pods.
fn wait_for_agent(scene: &Scene<'_>, node: &str, limit: Duration) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < limit {
        let status = scene.cluster.agent(node, &["cilium-dbg", "status", "--brief"]);
        if status.is_ok_and(|text| text.trim() == "OK") {
            return Ok(true);
        }
        sleep(Duration::from_millis(200));
    }
    Ok(false)
}

fn corrupt_file(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    report.title("The agent starts again over a corrupt endpoint file");
    let load = Load::start(scene, 10)?;
    let file = format!("/var/run/cilium/state/{}/ep_config.json", scene.near.id);
    let pid = *scene.cluster.agent_pids("n1")?.first().context("no agent runs")?;
    // Stopped first: the running agent may be about to write the file anew.
    let damage = format!("kill -STOP {pid}; head -c 300 /dev/urandom > {file}; kill -KILL {pid}");
    scene.cluster.lab(&["exec", "n1", "sh", "-c", &damage])?;
    report.check("agent", "ready again", "yes", yes(wait_for_agent(scene, "n1", BACK)?));
    let endpoints = || {
        let list = scene.cluster.agent("n1", &["cilium-dbg", "endpoint", "list", "-o", "json"])?;
        let list: serde_json::Value = serde_json::from_str(&list)?;
        let ready = list.as_array().into_iter().flatten().filter(|e| e["status"]["state"] == "ready");
        let ours = |e: &&serde_json::Value| {
            let names = &e["status"]["external-identifiers"];
            names["k8s-pod-name"] == "near" && names["k8s-namespace"] == NAMESPACE
        };
        Ok(ready.filter(ours).count().to_string())
    };
    report.check("its endpoint", "ready", "1", &until(endpoints, "1")?);
    let aside = format!("/var/run/cilium/state/{}.corrupt/ep_config.json", scene.near.id);
    let kept = || Ok(yes(scene.cluster.lab(&["exec", "n1", "test", "-s", &aside]).is_ok()).to_owned());
    report.check("its file", "set aside", "yes", &until(kept, "yes")?);
    // A unit test holds the text. Where the agent started twice meanwhile, kubectl has the wrong container's log.
    let log = scene.log("n1")?;
    report.show(log.lines().find(|line| line.contains(&file)).unwrap_or("(that log is gone)"));
    scene.expect(report, "its pod, asked", Source::Pod(scene.left), &scene.near.socket(80), true)?;
    scene.expect(report, "its pod, asking", Source::Pod(scene.near), &scene.right.socket(80), true)?;
    load.finish("corrupt file", report)?;
    report.flush();
    Ok(())
}

fn second_agent(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    report.title("A second agent on the same node");
    let before = scene.cluster.agent_pids("n1")?;
    let second = scene.cluster.agent("n1", &["cilium-agent", "--config-dir=/tmp/cilium/config-map"]);
    let message = second.err().map(|error| error.to_string()).unwrap_or_default();
    report.check(
        "second agent",
        "refused, naming the lock",
        "yes",
        yes(message.contains("cilium-agent.lock")),
    );
    report.check("first agent", "undisturbed", "yes", yes(before == scene.cluster.agent_pids("n1")?));
    scene.expect(report, "beside a second agent", Source::Pod(scene.left), &scene.right.socket(80), true)?;
    report.flush();
    Ok(())
}

/// Silent first, then gone, with an agent that starts in between; meanwhile nothing breaks.
fn api_server_away(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    report.title("The API server is away");
    let service = |args: &[&str]| scene.cluster.lab(&[&["service"], args].concat());
    let policy = manifests::policy(
        "fault-away",
        &json!({
            "endpointSelector": { "matchLabels": { "app": "right" } },
            "ingress": [{ "toPorts": [{ "ports": [{ "port": "80", "protocol": "TCP" }] }] }],
        }),
    );
    scene.cluster.apply(&[policy])?;
    let (open, closed) = (scene.right.socket(80), scene.right.socket(5000));
    scene.expect(report, "policy before", Source::Pod(scene.left), &open, true)?;
    scene.expect(report, "policy before", Source::Pod(scene.left), &closed, false)?;

    let load = Load::start(scene, (SILENT + GONE).as_secs())?;
    service(&["kill", "cp", "kube-apiserver", "--signal", "19"])?;
    sleep(SILENT / 2);
    let killed = kill_agent(scene, "n1")?;
    sleep(SILENT / 2);
    service(&["kill", "cp", "kube-apiserver"])?;
    sleep(GONE / 2);
    scene.expect(report, "while it is away", Source::Pod(scene.near), &open, true)?;
    scene.expect(report, "while it is away", Source::Pod(scene.near), &closed, false)?;
    let pids = scene.cluster.agent_pids("n1")?;
    report.check("agent", "started again and stays", "yes", yes(pids.len() == 1 && !pids.contains(&killed)));
    let others = scene.cluster.agent_pids("n2")?;
    load.finish("API server away", report)?;
    report.check(
        "agent",
        "the same after half a minute",
        "yes",
        yes(pids == scene.cluster.agent_pids("n1")?),
    );
    report.check(
        "agent of the other node",
        "the same",
        "yes",
        yes(others == scene.cluster.agent_pids("n2")?),
    );
    service(&["start", "cp", "kube-apiserver"])?;
    let start = Instant::now();
    report.check("agent", "ready again", "yes", yes(wait_for_agent(scene, "n1", BACK)?));
    report.show(&format!("ready {:.1} s after the API server was started", start.elapsed().as_secs_f64()));
    // The other agent may be in the middle of its longest wait between two tries.
    scene.cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "fault-away"])?;
    let seen = loop {
        let seen = scene.reaches(Source::Pod(scene.left), &closed)?;
        if seen || start.elapsed() > BACK {
            break seen;
        }
    };
    report.check("policy deleted afterwards", "left → right:5000 reached", "yes", yes(seen));
    report.show(&format!(
        "policy in force {:.1} s after the API server was started",
        start.elapsed().as_secs_f64()
    ));
    // These wait up to a minute between two tries: what comes next is not to wait for their pods and EndpointSlices.
    for name in ["kube-controller-manager", "kube-scheduler"] {
        service(&["kill", "cp", name])?;
        service(&["start", "cp", name])?;
    }
    report.flush();
    Ok(())
}
