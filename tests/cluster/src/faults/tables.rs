//! Tables of connections that are full, and a scan on top: what is open stays open, the node says what is wrong, and is
//! well again when it is over.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::account::{Account, start};
use crate::cluster::{Cluster, probe, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};

/// Entries of each table, and connections that want to be in it.
const ROOM: &str = "1024";
const MANY: &str = "1100";
const SERVICE: u16 = 30_095;
/// A service whose only backend nobody is: its connections are never answered.
const NOBODY: u16 = 30_096;
/// How long the connections that are watched stay open, s.
const LENGTH: &str = "75";
/// How long the crowd stays: a node looks at its tables every five seconds when there is little to look at.
const CROWD: &str = "60";

/// Runs the scenario in a cluster of its own.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.title("Full tables, and a port scan");
    let (flows, nat) = (format!("bpf.ctTcpMax={ROOM}"), format!("bpf.natMax={ROOM}"));
    let values =
        ["routingMode=native", "autoDirectNodeRoutes=true", "ipv4NativeRoutingCIDR=10.0.0.0/8", &flows, &nat];
    let cluster = Cluster::with("tables", &["--nodes", "2"], &values)?;
    cluster.apply(&[manifests::namespace()])?;
    cluster.apply(&[manifests::pod("left", "n1", &[80]), manifests::pod("right", "n2", &[80])])?;
    cluster.apply(&services())?;
    wait_for_pods(&cluster)?;
    let pod = socket(&cluster.addresses("right")?.remove(0), 80);
    let (node, nobody) = (socket("172.31.0.11", SERVICE), socket("172.31.0.11", NOBODY));
    let tool = probe();
    let outside = |args: &[&str]| start(cluster.command(&[&["exec", "world", &tool], args].concat()));
    let inside = |args: &[&str]| start(cluster.in_pod("left", &[&["probe"], args].concat()));
    let hold = |to, number, seconds| ["hold", to, "-n", number, "--seconds", seconds, "--interval", "500"];
    let watched = [
        ("outside, through this node", outside(&hold(&node, "10", LENGTH))?),
        ("a pod, to another node", inside(&hold(&pod, "10", LENGTH))?),
    ];
    sleep(Duration::from_secs(2));
    let crowd = [outside(&hold(&node, MANY, CROWD))?, inside(&hold(&pod, MANY, CROWD))?];
    sleep(Duration::from_secs(3));
    let scan = outside(&["flood", &nobody, "--seconds", "15", "--interval", "0", "--timeout", "1"])?;
    let told = until(&cluster, "is 9[0-9]% full|is 100% full", Duration::from_secs(55))?;
    report.check("the node says so", "cilium-dbg status", "yes", yes(told));
    let scanned = Account::of(scan)?.attempts();
    report.check("scan", "attempts, at least a thousand", "yes", yes(scanned >= 1000));
    for (who, child) in watched {
        report.check("open connections", &format!("{who}, broken"), "0", &Account::of(child)?.broken());
    }
    for child in crowd {
        Account::of(child)?;
    }
    let well = until(&cluster, "Cilium: *Ok", Duration::from_secs(60))?;
    report.check("when it is over", "the node is well again", "yes", yes(well));
    report.flush();
    Ok(())
}

fn services() -> Vec<serde_json::Value> {
    let service = |name: &str, spec| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec });
    vec![
        service(
            "right",
            json!({ "type": "NodePort", "selector": { "app": "right" }, "ports": [{ "port": 80, "nodePort": SERVICE }] }),
        ),
        service("nobody", json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": NOBODY }] })),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "nobody", "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": "nobody" },
            },
            "ports": [{ "name": "", "port": 9, "protocol": "TCP" }],
            "endpoints": [{ "addresses": ["172.31.0.250"], "conditions": { "ready": true } }],
        }),
    ]
}

/// Whether the status of n1 comes to match a pattern in time.
fn until(cluster: &Cluster, pattern: &str, patience: Duration) -> Result<bool> {
    let start = Instant::now();
    let command = format!("cilium-dbg status | grep -qE '{pattern}'");
    loop {
        if cluster.agent("n1", &["sh", "-c", &command]).is_ok() {
            return Ok(true);
        }
        if start.elapsed() > patience {
            return Ok(false);
        }
        sleep(Duration::from_secs(1));
    }
}
