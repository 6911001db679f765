//! Hubble as an operator has it: the relay over all nodes, flows in files, numbers in a real Prometheus.

mod exports;
mod prometheus;
mod relay;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cluster::{Cluster, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};

/// Metrics that the chart is told to make of flows.
const METRICS: &str = "hubble.metrics.enabled={dns,drop:labelsContext=source_namespace\\,destination_namespace,tcp,flow,icmp,\
     policy:sourceContext=workload-name|pod;destinationContext=workload-name|pod,port-distribution,flows-to-world}";

/// One lab with everything of Hubble switched on.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let values = [
        "ipv6.enabled=true",
        "routingMode=native",
        "autoDirectNodeRoutes=true",
        "ipv4NativeRoutingCIDR=10.244.0.0/16",
        "ipv6NativeRoutingCIDR=fd00:10:244::/56",
        "ipam.operator.clusterPoolIPv4PodCIDRList={10.244.0.0/16}",
        "ipam.operator.clusterPoolIPv6PodCIDRList={fd00:10:244::/104}",
        "hubble.relay.enabled=true",
        // The other node is the one that is cut off.
        "hubble.relay.nodeSelector.kubernetes\\.io/hostname=n1",
        METRICS,
        "prometheus.enabled=true",
        "hubble.relay.prometheus.enabled=true",
        "hubble.metrics.enableOpenMetrics=true",
        "hubble.export.static.enabled=true",
        "hubble.export.dynamic.enabled=true",
        exports::FIRST[0],
        exports::FIRST[1],
    ];
    let cluster = Cluster::with_dns("hubble", &["--nodes", "2", "--ipv6"], &values)?;
    report.title("Pods that talk");
    cluster.apply(&[manifests::namespace()])?;
    let pods = [("echo-a", "n1"), ("echo-b", "n2"), ("pod-to-a", "n2"), ("pod-to-b", "n1"), ("denied", "n1")];
    cluster.apply(&pods.map(|(name, node)| manifests::pod(name, node, &[80])))?;
    let nobody = serde_json::json!({
        "endpointSelector": { "matchLabels": { "name": "denied" } },
        "egress": [{ "toEndpoints": [{ "matchLabels": { "name": "nobody" } }] }],
    });
    cluster.apply(&[manifests::policy("denied", &nobody)])?;
    wait_for_pods(&cluster)?;
    let talk = || talk(&cluster);
    relay::run(&cluster, &talk, report)?;
    // All that is to be scraped runs by now.
    let prometheus = prometheus::Prometheus::start(&cluster)?;
    exports::run(&cluster, &talk, report)?;
    prometheus.run(&cluster, &talk, report)?;
    relay::node_gone(&cluster, report)
}

/// Calls between the nodes in both directions, and one that policy forbids.
fn talk(cluster: &Cluster) -> Result<()> {
    let [a, b] = ["echo-a", "echo-b"].map(|pod| cluster.addresses(pod));
    let (a, b) = (a?, b?);
    let world = manifests::WORLD.map(str::to_owned).to_vec();
    let calls = [("pod-to-a", &a), ("pod-to-b", &b), ("denied", &a), ("pod-to-b", &world)];
    let mut running = Vec::new();
    for (pod, addresses) in calls {
        for address in addresses {
            let args = ["probe", "connect", &socket(address, 80), "--timeout", "1500"];
            let child = cluster.in_pod(pod, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            running.push(child.with_context(|| format!("starting a call of {pod}"))?);
        }
    }
    for mut child in running {
        // Whether the call came through is others' matter; that it is over is ours.
        child.wait().context("waiting for a call")?;
    }
    Ok(())
}

/// Tries until it gives something, for at most `seconds`.
fn eventually<T>(seconds: u64, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let start = Instant::now();
    loop {
        let found = look();
        if matches!(found, Ok(Some(_))) || start.elapsed() > Duration::from_secs(seconds) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The address of a Service of kube-system.
fn service(cluster: &Cluster, name: &str) -> Result<String> {
    let args = [
        "get",
        "service",
        "-n",
        "kube-system",
        name,
        "-o",
        "jsonpath={.spec.clusterIP} {.spec.ports[0].port}",
    ];
    let text = cluster.kubectl(&args)?;
    let (address, port) = text.trim().split_once(' ').context("a service without an address")?;
    Ok(socket(address, port.parse().context("a service without a port")?))
}

/// Flows of the test pods, as JSON lines.
fn flows(text: &str) -> Vec<serde_json::Value> {
    let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let ours = |value: &serde_json::Value| {
        ["source", "destination"].iter().any(|end| value["flow"][end]["namespace"] == NAMESPACE)
    };
    text.lines().filter_map(read).filter(ours).collect()
}
