//! The flows of all nodes at one address.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{eventually, flows, service, yes};
use crate::cluster::Cluster;
use crate::manifests::NAMESPACE;
use crate::report::Report;

/// Where the commands run; the relay's node, too.
const NODE: &str = "n1";

/// Asks the relay from the agent's container, whose node reaches services.
fn ask(cluster: &Cluster, relay: &str, args: &[&str]) -> Result<String> {
    cluster.agent(NODE, &[&["hubble"], args, &["--server", relay]].concat())
}

/// Both nodes' flows in the order of time, and what the relay says of nodes.
pub(super) fn run(cluster: &Cluster, talk: &dyn Fn() -> Result<()>, report: &mut Report) -> Result<()> {
    report.title("The flows of both nodes, through the relay");
    let rollout = ["rollout", "status", "-n", "kube-system", "deployment/hubble-relay", "--timeout=120s"];
    cluster.kubectl(&rollout)?;
    let relay = service(cluster, "hubble-relay")?;
    let connected = eventually(60, || {
        let list = ask(cluster, &relay, &["list", "nodes"])?;
        Ok((list.matches("Connected").count() == 2).then_some(list))
    })?;
    report.show(connected.as_deref().unwrap_or("no list with two connected nodes"));
    report.check("hubble list nodes", "both are connected", "yes", yes(connected.is_some()));
    talk()?;
    let seen = eventually(30, || {
        let text = ask(cluster, &relay, &["observe", "-o", "json", "--last", "500", "-n", NAMESPACE])?;
        let flows = flows(&text);
        Ok((nodes(&flows).len() == 2).then_some(flows))
    })?
    .unwrap_or_default();
    let names: Vec<_> = nodes(&seen).into_iter().collect();
    report.check("hubble observe", "flows of the nodes", "default/n1 default/n2", &names.join(" "));
    let times: Vec<&str> = seen.iter().filter_map(|flow| flow["time"].as_str()).collect();
    let ordered = !times.is_empty() && times.windows(2).all(|pair| stamp(pair[0]) <= stamp(pair[1]));
    report.check(
        "hubble observe",
        &format!("{} flows in the order of time", times.len()),
        "yes",
        yes(ordered),
    );
    let mixed = seen.windows(2).filter(|pair| pair[0]["node_name"] != pair[1]["node_name"]).count();
    report.check("hubble observe", "nodes take turns, they do not follow each other", "yes", yes(mixed > 2));
    let shown = ["observe", "--last", "12", "-n", NAMESPACE, "--print-node-name", "--print-policy-names"];
    report.show(&ask(cluster, &relay, &shown)?);
    let dropped =
        ask(cluster, &relay, &["observe", "--verdict", "DROPPED", "--last", "5", "--print-policy-names"])?;
    let denied = dropped.contains("shop/denied") && dropped.contains("DROPPED");
    report.check("hubble observe --verdict DROPPED", "the call that policy forbids", "yes", yes(denied));
    let status = ask(cluster, &relay, &["status"])?;
    report.show(&status);
    report.check("hubble status", "counts nodes", "yes", yes(status.contains("Connected Nodes: 2/2")));
    report.flush();
    Ok(())
}

/// Seconds and fraction of an RFC 3339 time in UTC, so that fractions of any length compare.
fn stamp(time: &str) -> (&str, String) {
    let time = time.trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    (seconds, format!("{fraction:0<9}"))
}

fn nodes(flows: &[Value]) -> BTreeSet<String> {
    flows.iter().filter_map(|flow| flow["node_name"].as_str()).map(str::to_owned).collect()
}

/// The agent of one node ends and does not come back for a while.
pub(super) fn node_gone(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("A node that is gone");
    let relay = service(cluster, "hubble-relay")?;
    // Without the kubelet nobody starts the agent again.
    cluster.lab(&["service", "kill", "n2", "kubelet"])?;
    let follow = [
        "exec",
        "-n",
        "kube-system",
        &cluster.agent_pod(NODE)?,
        "-c",
        "cilium-agent",
        "--",
        // The image has no link of this name.
        "busybox",
        "timeout",
        "25",
        "hubble",
        "observe",
        "--follow",
        "--debug",
        "--server",
        &relay,
    ];
    let mut following = cluster.command(&[&["kubectl"], &follow[..]].concat());
    let following = following
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .context("starting hubble observe --follow")?;
    std::thread::sleep(std::time::Duration::from_secs(4));
    for pid in cluster.agent_pids("n2")? {
        cluster.lab(&["exec", "n2", "kill", "-9", &pid.to_string()])?;
    }
    let unavailable = eventually(30, || {
        let list = ask(cluster, &relay, &["list", "nodes"])?;
        let gone = |line: &str| line.starts_with("default/n2") && !line.contains("Connected");
        Ok(list.lines().any(gone).then_some(list))
    })?;
    report.show(unavailable.as_deref().unwrap_or("the list shows n2 connected all the time"));
    report.check("hubble list nodes", "n2 is not connected", "yes", yes(unavailable.is_some()));
    let status = ask(cluster, &relay, &["status"])?;
    report.check("hubble status", "names it", "yes", yes(status.contains("Unavailable Nodes: 1")));
    let told = following.wait_with_output().context("waiting for hubble observe --follow")?;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    report.show(&told);
    report.check("hubble observe --follow", "a notice names n2", "yes", yes(told.contains("default/n2")));
    cluster.lab(&["service", "start", "n2", "kubelet"])?;
    let back = eventually(90, || {
        let list = ask(cluster, &relay, &["list", "nodes"])?;
        Ok((list.matches("Connected").count() == 2).then_some(()))
    })?;
    report.check("hubble list nodes", "n2 is back", "yes", yes(back.is_some()));
    report.flush();
    Ok(())
}
