//! Thin nodes: our agent in a machine, a Node object, and nothing else. Their pods are made by [`crate::pod`].
//!
//! An agent here gets the chart's ConfigMap and the rights of the chart's service account, like one in a pod.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::control_plane::{Args, kubectl};
use crate::layout::{Cni, Lab, Machine, Spec};
use crate::machine::{Handle, own_binary};
use crate::run::{feed, output, root};

/// Hidden subcommand that keeps the nodes' leases fresh.
pub(crate) const HEARTBEAT: &str = "thin-heartbeat";
/// Less than the controller-manager's grace period of 20 s.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(6);

/// Registers the nodes and starts their agents.
pub(crate) fn start(lab: &Lab, spec: &Spec, nodes: &[(&Machine, &Handle)]) -> Result<()> {
    ensure!(spec.cni == Cni::Chart, "thin nodes run our agent, which the chart configures: take --cni chart");
    let objects: Vec<Value> = nodes.iter().map(|(m, _)| node_object(m)).collect();
    create(lab, &json!({"apiVersion": "v1", "kind": "List", "items": objects}))?;
    for (machine, _) in nodes {
        let status = json!({"status": node_status(spec, machine)}).to_string();
        let args = ["patch", "node", &machine.name, "--subresource=status", "--type=merge", "-p", &status];
        output(kubectl(lab)?.args(args))?;
    }
    let cp = Handle::open(lab, "cp")?;
    start_heartbeat(lab, &cp)?;
    let config = write_config(lab)?;
    if spec.nodes == 0 {
        start_operator(lab, &cp, &config)?;
    }
    let credentials = write_credentials(lab)?;
    for (machine, handle) in nodes {
        start_agent(machine, handle, &config, &credentials)?;
    }
    for (_, handle) in nodes {
        wait_agent(handle)?;
    }
    Ok(())
}

/// Starts the agent of a node, also after it was ended.
fn start_agent(machine: &Machine, handle: &Handle, config: &Path, credentials: &Path) -> Result<()> {
    let mut argv = Args(vec![own_binary("cilium-agent")?.display().to_string()]);
    argv.flag("config-dir", config.display())
        .flag("k8s-kubeconfig-path", credentials.display())
        .flag("lib-dir", root().join("target/bpf").display());
    // In a pod the chart mounts it; here it is where the machine has it.
    if let Some(unified) = crate::cgroup::hierarchies()?.into_iter().find(|hierarchy| hierarchy.v2) {
        argv.flag("cgroup-root", unified.mount.display());
    }
    handle.start_with("cilium-agent", &argv.0, &[("K8S_NODE_NAME", &machine.name)])
}

/// Ready is an agent that has written the CNI configuration.
fn wait_agent(handle: &Handle) -> Result<()> {
    let conflist = handle.dir.join("cni/net.d/05-cilium.conflist");
    handle.wait("cilium-agent", Duration::from_secs(60), || Ok(conflist.exists()))
}

fn start_operator(lab: &Lab, cp: &Handle, config: &Path) -> Result<()> {
    let mut argv = Args(vec![own_binary("cilium-operator")?.display().to_string()]);
    argv.flag("config-dir", config.display()).flag("k8s-kubeconfig-path", lab.kubeconfig().display());
    cp.start_with(
        "cilium-operator",
        &argv.0,
        &[("CILIUM_K8S_NAMESPACE", "kube-system"), ("K8S_NODE_NAME", "cp")],
    )
}

/// No label `kubernetes.io/os`: DaemonSets and Deployments that ask for it, as the chart's do, stay away.
fn node_object(machine: &Machine) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": machine.name, "labels": {"kubernetes.io/hostname": machine.name, "axoneme/thin": "true"}},
        "spec": {"taints": [{"key": "axoneme/thin", "effect": "NoSchedule"}]},
    })
}

fn node_status(spec: &Spec, machine: &Machine) -> Value {
    let mut addresses = vec![
        json!({"type": "InternalIP", "address": machine.v4()}),
        json!({"type": "Hostname", "address": machine.name}),
    ];
    if spec.ipv6 {
        addresses.push(json!({"type": "InternalIP", "address": machine.v6()}));
    }
    json!({
        "addresses": addresses,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Thin", "message": "kept by the lab"}],
        "capacity": {"pods": "1000"},
        "allocatable": {"pods": "1000"},
    })
}

/// The ConfigMap as a pod has it: a file for each key.
fn write_config(lab: &Lab) -> Result<PathBuf> {
    let text =
        output(kubectl(lab)?.args(["-n", "kube-system", "get", "configmap", "cilium-config", "-o", "json"]))?;
    let map: Value = serde_json::from_str(&text)?;
    let data: BTreeMap<String, String> = serde_json::from_value(map["data"].clone())?;
    let dir = lab.dir.join("thin-config");
    fs::create_dir_all(&dir)?;
    for (key, value) in data {
        fs::write(dir.join(&key), value).with_context(|| format!("option {key}"))?;
    }
    Ok(dir)
}

/// A kubeconfig with the rights of the chart's service account and no others.
fn write_credentials(lab: &Lab) -> Result<PathBuf> {
    let token =
        output(kubectl(lab)?.args(["-n", "kube-system", "create", "token", "cilium", "--duration=24h"]))?;
    let mut config: Value = serde_json::from_slice(&fs::read(lab.kubeconfig())?)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = lab.pki().join("thin-agent.conf");
    crate::pki::secret(&path, &config.to_string())?;
    Ok(path)
}

fn start_heartbeat(lab: &Lab, cp: &Handle) -> Result<()> {
    let me = std::env::current_exe()?.display().to_string();
    let dir = lab.dir.parent().context("no parent directory")?.display().to_string();
    cp.start(HEARTBEAT, &[me, "--dir".into(), dir, "--name".into(), lab.name.clone(), HEARTBEAT.into()])
}

/// Renews the leases of all thin nodes for ever; runs inside `cp`.
pub(crate) fn heartbeat(lab: &Lab) -> Result<()> {
    let spec = lab.spec()?;
    let nodes: Vec<String> = spec.thin_nodes().into_iter().map(|m| m.name).collect();
    let kubectl = crate::run::tool("kubectl")?;
    loop {
        let leases: Vec<Value> = nodes.iter().map(|n| lease(n)).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": leases}).to_string();
        let mut command = std::process::Command::new(&kubectl);
        command.env("KUBECONFIG", lab.kubeconfig()).args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            "-",
        ]);
        if let Err(e) = feed(&mut command, list.as_bytes()) {
            eprintln!("leases not renewed: {e:#}");
        }
        std::thread::sleep(HEARTBEAT_PERIOD);
    }
}

fn lease(node: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": format!("{:.6}", jiff::Timestamp::now())},
    })
}

fn create(lab: &Lab, object: &Value) -> Result<()> {
    feed(kubectl(lab)?.args(["create", "-f", "-"]), object.to_string().as_bytes()).map(drop)
}
