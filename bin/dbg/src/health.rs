//! `cilium-health`, and what `status` tells of it.

use crate::cli::HealthCommand;
use crate::output::render;
use crate::print;
use anyhow::Result;
use api::health::{Connectivity, HealthStatus, NodeStatus, PathStatus, Paths};
use api::status::Health;
use api::{Client, GoDuration, paths, table};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Nodes that `status` names at most, unless asked for all.
const MOST: usize = 10;

pub(crate) fn run(client: &Client, command: &HealthCommand) -> Result<ExitCode> {
    match command {
        HealthCommand::Ping => {
            client.get::<Health>(paths::HEALTH)?;
            print("OK\n")?;
        }
        HealthCommand::Status { probe, succinct, verbose, format } => {
            let health: HealthStatus = match probe {
                true => client.post(paths::CLUSTER_HEALTH_PROBE, &())?,
                false => client.get(paths::CLUSTER_HEALTH)?,
            };
            print(&render(format.output.as_ref(), &health, |health| words(health, *succinct, *verbose))?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole report, or its nodes that are not well.
fn words(health: &HealthStatus, succinct: bool, verbose: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "Probe time:\t{}", probe_time(health));
    let _ = writeln!(text, "Nodes:");
    for node in sorted(health).into_iter().filter(|node| !succinct || !node.is_reachable()) {
        let local = if node.name == health.local.name { " (localhost)" } else { "" };
        let _ = writeln!(text, "  {}{local}:", node.name);
        for (what, paths) in [("Host", &node.host), ("Endpoint", &node.health_endpoint)] {
            let _ = ways(what, paths, verbose, &mut text);
        }
    }
    table::layout(&text)
}

fn ways(what: &str, paths: &Paths, verbose: bool, w: &mut String) -> std::fmt::Result {
    for PathStatus { ip, icmp, http } in paths.all() {
        writeln!(w, "    {what} connectivity to {ip}:")?;
        for (name, probe) in [("ICMP to stack:", icmp), ("HTTP to agent:", http)] {
            let Some(probe) = probe else { continue };
            write!(w, "      {name}\t{}", outcome(probe))?;
            if verbose {
                write!(w, " (Last probed: {})", probe.last_probed)?;
            }
            writeln!(w)?;
        }
    }
    Ok(())
}

fn outcome(probe: &Connectivity) -> String {
    match probe.status.as_str() {
        "" => format!("OK, RTT={}", GoDuration(Duration::from_nanos(probe.latency))),
        status => status.to_owned(),
    }
}

/// This node first, the others by name.
fn sorted(health: &HealthStatus) -> Vec<&NodeStatus> {
    let mut nodes: Vec<&NodeStatus> = health.nodes.iter().collect();
    nodes.sort_by_key(|node| (node.name != health.local.name, node.name.as_str()));
    nodes
}

fn probe_time(health: &HealthStatus) -> &str {
    if health.timestamp.is_empty() { "none yet" } else { &health.timestamp }
}

/// `Cluster health:   2/3 reachable   (time)   (Probe interval: 14s)`, and the nodes that are not well, or all.
pub(crate) fn summary(health: &HealthStatus, all: bool, w: &mut String) -> std::fmt::Result {
    let reachable = health.nodes.iter().filter(|node| node.is_reachable()).count();
    writeln!(
        w,
        "Cluster health:\t{reachable}/{} reachable\t({})\t(Probe interval: {})",
        health.nodes.len(),
        probe_time(health),
        health.probe_interval
    )?;
    let shown: Vec<&NodeStatus> =
        sorted(health).into_iter().filter(|node| all || !node.is_reachable()).collect();
    if shown.is_empty() {
        return Ok(());
    }
    writeln!(w, "  Name\tIP\tNode\tEndpoints")?;
    let most = if all { usize::MAX } else { MOST };
    for node in shown.iter().take(most) {
        let local = if node.name == health.local.name { " (localhost)" } else { "" };
        let ip = node.host.primary_address.as_ref().map_or("", |path| &path.ip);
        let ((host, hosts), (endpoint, endpoints)) = (node.host.count(), node.health_endpoint.count());
        writeln!(w, "  {}{local}\t{ip}\t{host}/{hosts}\t{endpoint}/{endpoints}", node.name)?;
    }
    if shown.len() > most {
        writeln!(w, "  ...")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Three nodes, one of which answers to nothing in the underlay, as in the article on kube-proxy's replacement.
    fn health() -> HealthStatus {
        let ok = json!({ "latency": 180_200, "lastProbed": "2026-01-01T00:00:00Z" });
        let bad = json!({ "status": "timed out", "lastProbed": "2026-01-01T00:00:00Z" });
        let path = |ip: &str, probe: &serde_json::Value| json!({ "ip": ip, "icmp": probe, "http": probe });
        let node = |name: &str, host: &str, probe, router: &str| {
            json!({ "name": name, "host": { "primary-address": path(host, probe) },
                "health-endpoint": { "primary-address": path(router, &ok) } })
        };
        serde_json::from_value(json!({
            "local": { "name": "kind/n3" }, "timestamp": "2026-01-01T00:00:01Z", "probeInterval": "14s",
            "nodes": [
                node("kind/n1", "172.18.0.2", &bad, "10.0.0.1"),
                node("kind/n2", "172.18.0.3", &ok, "10.0.1.1"),
                node("kind/n3", "172.18.0.4", &ok, "10.0.2.1"),
            ],
        }))
        .expect("a round")
    }

    #[test]
    fn the_report() {
        let text = words(&health(), true, false);
        assert_eq!(
            text,
            "Probe time:   2026-01-01T00:00:01Z\nNodes:\n  kind/n1:\n    Host connectivity to 172.18.0.2:\n      ICMP to stack:   timed out\n      \
             HTTP to agent:   timed out\n    Endpoint connectivity to 10.0.0.1:\n      ICMP to stack:   OK, RTT=180.2µs\n      \
             HTTP to agent:   OK, RTT=180.2µs\n"
        );
        let whole = words(&health(), false, true);
        let nodes: Vec<&str> = whole.lines().filter(|line| line.starts_with("  kind/")).collect();
        assert_eq!(nodes, ["  kind/n3 (localhost):", "  kind/n1:", "  kind/n2:"]);
        assert!(whole.contains("timed out (Last probed: 2026-01-01T00:00:00Z)"), "{whole}");
    }

    #[test]
    fn the_lines_of_status() {
        let lines = |all| {
            let mut text = String::new();
            summary(&health(), all, &mut text).expect("text");
            table::layout(&text)
        };
        assert_eq!(
            lines(false),
            "Cluster health:   2/3 reachable   (2026-01-01T00:00:01Z)   (Probe interval: 14s)\n\
             \x20 Name            IP              Node                     Endpoints\n\
             \x20 kind/n1         172.18.0.2      0/1                      1/1\n"
        );
        assert_eq!(lines(true).lines().count(), 5);
        let mut nobody = health();
        nobody.nodes.remove(0);
        let mut text = String::new();
        summary(&nobody, false, &mut text).expect("text");
        assert_eq!(text.lines().count(), 1, "all is well: {text}");
    }
}
