//! The same way by one command: `cilium install` finds Flannel, and puts Cilium behind it.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::cluster::Cluster;
use crate::connectivity::wait_for_pods;
use crate::manifests::{self, NAMESPACE};
use crate::operate::{IMAGES, word};
use crate::report::{Report, yes};
use crate::rules::expect;

/// A cluster of its own, with Flannel and without kube-proxy.
pub(super) fn run(report: &mut Report) -> Result<()> {
    report.title("cilium install on a cluster with Flannel");
    let cluster = Cluster::with("chain", &["--nodes", "2", "--cni", "flannel"], &[])?;
    cluster.apply(&[manifests::namespace(), daemon_set()])?;
    let (done, told) = cluster.cilium(&["install", "--wait", "--wait-duration", "90s", "--set", IMAGES])?;
    report.show(&told);
    report.check("cilium install --wait", "exit code", "well", word(done, "well", "not well"));
    ensure!(done, "without an installation nothing else can be tried");
    for line in
        ["🔮 Auto-detected Flannel: kube-system/kube-flannel-ds", "ℹ️  Cilium will be chained behind Flannel"]
    {
        report.check("cilium install says", line, "said", word(told.contains(line), "said", "not said"));
    }
    let pods = [("new-1", "n1"), ("new-2", "n2")];
    cluster.apply(&pods.map(|(name, node)| manifests::pod(name, node, &[80])))?;
    wait_for_pods(&cluster)?;
    report.show(&cluster.kubectl(&["get", "pods,ciliumendpoints", "-n", NAMESPACE, "-o", "wide"])?);
    for (name, node) in pods {
        let cidr = cluster.kubectl(&["get", "node", node, "-o", "jsonpath={.spec.podCIDR}"])?;
        let prefix = cidr.trim().trim_end_matches("0/24");
        let address = cluster.addresses(name)?.remove(0);
        let flannels = address.starts_with(prefix);
        report.check(
            "address",
            &format!("{name} {address}, Flannel's {}", cidr.trim()),
            "yes",
            yes(flannels),
        );
        let status = cluster.agent(node, &["cilium-dbg", "status"])?;
        let chained = status.lines().any(|line| line.split_whitespace().eq(["CNI", "Chaining:", "flannel"]));
        report.check("cilium-dbg status", &format!("{node}, CNI Chaining: flannel"), "yes", yes(chained));
    }
    for (from, to) in [("new-1", "new-2"), ("new-2", "new-1")] {
        expect(&cluster, report, "behind Flannel", from, to, 80, true)?;
    }
    report.flush();
    Ok(())
}

/// Flannel's DaemonSet as its manifest names it, by which it is known. The lab runs flanneld as a process of each node, so this
/// one has no pods.
fn daemon_set() -> serde_json::Value {
    let labels = json!({ "app": "flannel" });
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "kube-flannel-ds", "namespace": "kube-system" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "nodeSelector": { "lab/flannel": "pod" },
                    "containers": [{ "name": "kube-flannel", "image": "localhost/axoneme/test:dev" }],
                },
            },
        },
    })
}
