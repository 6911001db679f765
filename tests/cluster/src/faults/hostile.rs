//! A pod that may do anything with its own network lies about who it is.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Pod, Scene, Source};
use crate::cluster::Cluster;
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};
use crate::rules::until;

const NAME: &str = "hostile";

/// A pod with `NET_ADMIN` and `NET_RAW`.
pub(super) fn pod() -> Value {
    let mut pod = manifests::pod(NAME, "n1", &[80]);
    pod["spec"]["containers"][0]["securityContext"] =
        json!({ "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } });
    // It loses its own readiness with its address.
    pod["spec"]["containers"][0]["readinessProbe"] = Value::Null;
    pod
}

/// What it does, and whether a ping to the other node and to the neighbour gets an answer afterwards.
const LIES: &[(&str, &str, bool)] = &[
    ("honest", "true", true),
    ("forged IPv4 source", "ip addr add 10.77.77.77/32 dev eth0", false),
    ("forged IPv6 source", "ip addr add fd00:77::77/128 dev eth0", false),
    ("source of another pod", "ip addr add NEAR/32 dev eth0", false),
    ("forged MAC", FORGE_MAC, false),
];

/// With its address the device loses its neighbours; without the router's entry nothing would be sent at all.
const FORGE_MAC: &str = "set -e; router=$(ip -4 route show default | cut -d' ' -f3); \
    mac=$(ip -4 neigh show $router | grep -o 'lladdr [^ ]*'); \
    ip link set dev eth0 address 02:00:00:00:66:66; ip neigh replace $router $mac dev eth0 nud permanent";

pub(super) fn run(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    report.title("A pod lies about who it is");
    let liar = Pod::find(scene.cluster, NAME, "n1")?;
    let near = &scene.near.addresses[0];
    for (lie, preparation, reached) in LIES {
        let preparation = preparation.replace("NEAR", near);
        let (family, from) = match *lie {
            "forged IPv4 source" => (0, "-I 10.77.77.77".to_owned()),
            "forged IPv6 source" => (1, "-I fd00:77::77".to_owned()),
            "source of another pod" => (0, format!("-I {near}")),
            _ => (0, String::new()),
        };
        // The pod could do this itself; its busybox knows no neighbours.
        scene.cluster.lab(&[&liar.enter(), ["sh", "-c", &preparation].as_slice()].concat())?;
        let to = &scene.right.addresses[family];
        let tool = ["ping", "ping6"][family];
        let answered = shell(scene.cluster, &format!("{tool} -c 2 -W 1 {from} {to}")).is_ok();
        report.check("hostile pod", &format!("{lie}: answered"), yes(*reached), yes(answered));
    }
    let metrics = scene.cluster.agent("n1", &["cilium-dbg", "bpf", "metrics", "list"])?.to_lowercase();
    for reason in ["Invalid source ip", "Invalid source mac"] {
        report.check("counted by reason", reason, "yes", yes(metrics.contains(&reason.to_lowercase())));
    }
    let dropped = || {
        let args = ["hubble", "observe", "--last", "1000", "--verdict", "DROPPED"];
        let flows = scene.cluster.agent("n1", &args)?;
        Ok(yes(flows.to_lowercase().contains("invalid source ip")).to_owned())
    };
    report.check("hubble observe", "Invalid source ip", "yes", &until(dropped, "yes")?);
    scene.expect(report, "the others", Source::Pod(scene.near), &scene.right.socket(80), true)?;
    report.flush();
    Ok(())
}

fn shell(cluster: &Cluster, script: &str) -> Result<String> {
    cluster.kubectl(&["exec", "-n", NAMESPACE, NAME, "--", "sh", "-c", script])
}
