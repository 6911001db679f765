//! Somebody deletes what is ours on a node, or puts a filter of their own beside it.

use std::time::{Duration, Instant};

use anyhow::Result;

use serde_json::json;

use super::load::{self, Load};
use super::{Scene, Source};
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};

/// How long a repair may take: pins are looked at every three seconds.
const REPAIR: Duration = Duration::from_secs(10);
/// Length of the traffic, seconds: all of it happens within.
const LOAD: u64 = 30;

/// What is deleted, the command, and the command whose output shows that it is there.
const DELETIONS: &[(&str, &str, &str)] = &[
    (
        "IPv4 routes to pods",
        "for r in $(ip route show proto 181 | cut -d' ' -f1); do ip route del $r proto 181; done",
        "ip route show proto 181 | sort",
    ),
    (
        "IPv6 routes to pods",
        "for r in $(ip -6 route show proto 181 | cut -d' ' -f1); do ip -6 route del $r proto 181; done",
        "ip -6 route show proto 181 | sort",
    ),
    (
        "addresses of cilium_host",
        "ip addr flush dev cilium_host scope global",
        "ip -o addr show dev cilium_host scope global | grep -o 'inet.*/[0-9]*' | sort; ip route show proto 181 | sort",
    ),
    (
        "cilium_host set down",
        "ip link set cilium_host down",
        "ip -o link show cilium_host up | cut -d: -f2; ip -o addr show dev cilium_host scope global | grep -o 'inet.*/[0-9]*' | sort; \
         ip route show proto 181 | sort; ip -6 route show proto 181 | sort",
    ),
    (
        "links of eth0",
        "rm /sys/fs/bpf/cilium/devices/eth0/links/*",
        "find /sys/fs/bpf/cilium/devices -type f | sort",
    ),
    (
        "links of pods",
        "rm /sys/fs/bpf/cilium/endpoints/*/links/*",
        "find /sys/fs/bpf/cilium/endpoints -type f | sort",
    ),
];

/// A filter on the old kind of hooks, of whichever classifier this kernel has.
const FOREIGN: &str = "tc qdisc add dev eth0 clsact && for way in ingress egress; do \
    tc filter add dev eth0 $way matchall action ok 2>/dev/null || \
    tc filter add dev eth0 $way protocol all u32 match u32 0 0 flowid 1:1; done";

pub(super) fn run(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    report.title("Somebody deletes what is ours");
    let nobody = json!({
        "endpointSelector": { "matchLabels": { "app": "near" } },
        "egress": [{ "toEndpoints": [{ "matchLabels": { "app": "nobody" } }] }],
    });
    scene.cluster.apply(&[manifests::policy("fault-canary", &nobody)])?;
    scene.expect(report, "canary", Source::Pod(scene.near), &scene.left.socket(80), false)?;
    let load = Load::start(scene, LOAD)?;
    let canary = load::canary(scene, LOAD)?;
    let sh = |script: &str| scene.cluster.lab(&["exec", "n1", "sh", "-c", script]);
    sh(FOREIGN)?;
    for (what, deletion, show) in DELETIONS {
        let before = sh(show)?;
        sh(deletion)?;
        let start = Instant::now();
        let mut after = String::new();
        while after != before && start.elapsed() < REPAIR {
            after = sh(show)?;
        }
        let seen = if after == before { "yes" } else { after.trim() };
        report.check("put back by the agent", what, "yes", seen);
        report.show(&format!("{what}: back after {:.1} s", start.elapsed().as_secs_f64()));
    }
    let ours = "find /sys/fs/bpf/cilium -type f | wc -l";
    let links = sh(ours)?;
    load.finish("while ours is deleted", report)?;
    load::finish_canary(canary, "while ours is deleted", report)?;
    scene.cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "fault-canary"])?;
    report.check("filter of somebody else on eth0", "our links stay", links.trim(), sh(ours)?.trim());
    sh("tc qdisc del dev eth0 clsact")?;
    let log = scene.log("n1")?;
    report.check(
        "log",
        "tells of the repairs",
        "yes",
        yes(log.contains("put back") && log.contains("putting them back")),
    );
    report.flush();
    Ok(())
}
