//! A node with six addresses: the pods beyond wait, are told why, and start once there is room.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::Cluster;
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};

/// Addresses of a /29 without its own, the broadcast and the router's.
const ROOM: usize = 5;
/// Pods in all: two too many.
const PODS: usize = ROOM + 2;
/// The runtime tries a pod again after some ten seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs the scenario in a cluster of its own.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.title("A pool without room");
    let values = [
        "routingMode=tunnel",
        "ipam.operator.clusterPoolIPv4PodCIDRList={10.244.0.0/16}",
        "ipam.operator.clusterPoolIPv4MaskSize=29",
    ];
    let cluster = Cluster::with("pool", &["--nodes", "1"], &values)?;
    let names: Vec<String> = (0..PODS).map(|i| format!("pod-{i}")).collect();
    let pods: Vec<_> = names.iter().map(|name| manifests::pod(name, "n1", &[80])).collect();
    cluster.apply(&[manifests::namespace()])?;
    cluster.apply(&pods)?;
    let running = until(|| running(&cluster), ROOM)?;
    report.check("pool of a /29", "pods running", &ROOM.to_string(), &running.len().to_string());
    let waiting = || Ok(names.iter().filter(|name| told(&cluster, name).unwrap_or(false)).cloned().collect());
    let told = until(waiting, PODS - ROOM)?;
    report.check(
        "pods beyond",
        "told which CIDR has no room",
        &(PODS - ROOM).to_string(),
        &told.len().to_string(),
    );
    if let Some(name) = told.first() {
        report.show(&events(&cluster, name)?);
    }
    let leaving: Vec<&str> = running.iter().take(PODS - ROOM).map(String::as_str).collect();
    cluster.kubectl(&[&["delete", "pod", "-n", NAMESPACE, "--wait=false"], leaving.as_slice()].concat())?;
    let all = until(
        || Ok(self::running(&cluster)?.into_iter().filter(|n| told.contains(n)).collect()),
        told.len(),
    )?;
    report.check("after others are deleted", "those that waited run", "yes", yes(all.len() == told.len()));
    report.flush();
    Ok(())
}

/// Asks until there are `wanted` or patience ends.
fn until(mut ask: impl FnMut() -> Result<Vec<String>>, wanted: usize) -> Result<Vec<String>> {
    let start = Instant::now();
    loop {
        let seen = ask()?;
        if seen.len() >= wanted || start.elapsed() > PATIENCE {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn running(cluster: &Cluster) -> Result<Vec<String>> {
    let args = [
        "get",
        "pods",
        "-n",
        NAMESPACE,
        "--field-selector",
        "status.phase=Running",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ];
    Ok(cluster.kubectl(&args)?.split_whitespace().map(str::to_owned).collect())
}

fn events(cluster: &Cluster, pod: &str) -> Result<String> {
    let of_pod = format!("involvedObject.name={pod},reason=FailedCreatePodSandBox");
    cluster.kubectl(&[
        "get",
        "events",
        "-n",
        NAMESPACE,
        "--field-selector",
        &of_pod,
        "-o",
        "jsonpath={.items[*].message}",
    ])
}

/// Whether an event of the pod names the CIDR.
fn told(cluster: &Cluster, pod: &str) -> Result<bool> {
    events(cluster, pod).map(|text| text.contains("10.244.") && text.contains("/29"))
}
