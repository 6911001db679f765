//! What may go wrong, done on purpose: objects that make no sense, pods that lie, somebody who deletes what is ours, a
//! corrupt file, a second agent, an API server that is away. Each time: a clear message, nothing else broken, recovery by
//! itself.

mod control;
mod hostile;
mod load;
mod network;
mod objects;
mod pool;
mod tables;
mod verdicts;

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::{Cluster, finished, probe, socket};
use crate::connectivity::{wait_for_pods, word};
use crate::manifests::{self, NAMESPACE};
use crate::report::Report;
use crate::rules::until;

pub(crate) use pool::run as exhausted_pool;
pub(crate) use tables::run as full_tables;

/// The pods of these scenarios and their nodes.
const PODS: [(&str, &str); 3] = [("left", "n1"), ("near", "n1"), ("right", "n2")];
/// How long an attempt that is denied is waited for, milliseconds.
const ATTEMPT: &str = "700";

/// A group of scenarios.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Policies that make no sense, labels at their limits
    Objects,
    /// Rules that overlap
    Verdicts,
    /// A pod that lies
    Hostile,
    /// Routes, addresses and links deleted
    Network,
    /// Corrupt file, second agent, API server away
    Control,
    /// A pool without room, in a cluster of its own
    Pool,
    /// Full tables and a scan, in a cluster of its own
    Tables,
}

/// Runs the scenarios, or those of some parts.
pub(crate) fn run(cluster: &Cluster, parts: &[Part], report: &mut Report) -> Result<()> {
    report.title("Pods for the faults");
    cluster.apply(&[manifests::namespace()])?;
    cluster.apply(&PODS.map(|(name, node)| manifests::pod(name, node, &[80, 5000])))?;
    cluster.apply(&[hostile::pod()])?;
    wait_for_pods(cluster)?;
    let pods = PODS.iter().map(|(name, node)| Pod::find(cluster, name, node)).collect::<Result<Vec<_>>>()?;
    let [left, near, right] = pods.as_slice() else { unreachable!("as many as PODS") };
    let scene = Scene { cluster, left, near, right };
    for part in
        <Part as clap::ValueEnum>::value_variants().iter().filter(|p| parts.is_empty() || parts.contains(p))
    {
        match part {
            Part::Objects => objects::run(&scene, report)?,
            Part::Verdicts => verdicts::run(&scene, report)?,
            Part::Hostile => hostile::run(&scene, report)?,
            Part::Network => network::run(&scene, report)?,
            Part::Control => control::run(&scene, report)?,
            // They need other clusters, for which this one has to go first.
            Part::Pool | Part::Tables => {}
        }
    }
    cluster
        .kubectl(&["delete", "pod", "-n", NAMESPACE, "left", "near", "right", "hostile", "--wait=false"])
        .map(drop)
}

/// The cluster and the pods in it.
struct Scene<'a> {
    cluster: &'a Cluster,
    /// On n1.
    left: &'a Pod,
    /// On n1 too.
    near: &'a Pod,
    /// On n2.
    right: &'a Pod,
}

impl Scene<'_> {
    /// Tries until it comes out as expected or patience ends, and reports.
    fn expect(
        &self,
        report: &mut Report,
        name: &str,
        from: Source<'_>,
        to: &str,
        reached: bool,
    ) -> Result<()> {
        let seen = until(|| Ok(word(self.reaches(from, to)?).to_owned()), word(reached))?;
        report.check(name, &format!("{from} → {to}"), word(reached), &seen);
        Ok(())
    }

    fn reaches(&self, from: Source<'_>, to: &str) -> Result<bool> {
        let tool = probe();
        let ask = [tool.as_str(), "connect", to, "--timeout", ATTEMPT];
        let mut command = match from {
            Source::Pod(pod) => self.cluster.command(&[&pod.enter(), ask.as_slice()].concat()),
            Source::Node(node) => self.cluster.command(&[&["exec", node], ask.as_slice()].concat()),
        };
        let child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("starting a client")?;
        finished(child).map(|(reached, _)| reached)
    }

    /// The log of the agent on a node, of the container that runs and the one before.
    fn log(&self, node: &str) -> Result<String> {
        self.cluster.agent_log(node)
    }
}

/// Who asks.
#[derive(Clone, Copy)]
enum Source<'a> {
    Pod(&'a Pod),
    Node(&'a str),
}

impl std::fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Pod(pod) => f.write_str(&pod.name),
            Source::Node(node) => write!(f, "host {node}"),
        }
    }
}

/// A pod that can be entered from its node: that works without the API server, and fast.
struct Pod {
    name: String,
    node: String,
    /// Number of its endpoint.
    id: u64,
    /// Its network namespace on the node.
    netns_arg: String,
    /// IPv4, then IPv6.
    addresses: Vec<String>,
}

impl Pod {
    fn find(cluster: &Cluster, name: &str, node: &str) -> Result<Pod> {
        // What the agent has set aside as corrupt is no endpoint.
        let list =
            "find /var/run/cilium/state -name '*.corrupt' -prune -o -name ep_config.json -exec cat {} +";
        let files = cluster.lab(&["exec", node, "sh", "-c", list])?;
        let stored = serde_json::Deserializer::from_str(&files).into_iter::<Value>().flatten();
        let own = stored.filter(|e| e["namespace"] == NAMESPACE && e["pod_name"] == name).last();
        let own = own.with_context(|| format!("{node} has no endpoint of the pod {name}"))?;
        let netns = own["netns"].as_str().context("an endpoint's file names no namespace")?;
        Ok(Pod {
            name: name.to_owned(),
            node: node.to_owned(),
            id: own["id"].as_u64().context("an endpoint's file has no number")?,
            netns_arg: format!("--net={netns}"),
            addresses: cluster.addresses(name)?,
        })
    }

    /// Arguments of the lab that run what follows in the pod's network.
    fn enter(&self) -> [&str; 4] {
        ["exec", &self.node, "nsenter", &self.netns_arg]
    }

    /// Its addresses with a port.
    fn sockets(&self, port: u16) -> impl Iterator<Item = String> {
        self.addresses.iter().map(move |address| socket(address, port))
    }

    /// Its IPv4 address with a port.
    fn socket(&self, port: u16) -> String {
        self.sockets(port).next().unwrap_or_default()
    }
}
