//! What holds of chained pods.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{BEFORE, CHAINED, NODE_PORT, NODES};
use crate::cluster::{Cluster, probe, socket};
use crate::connectivity::telling;
use crate::manifests::{NAMESPACE, WORLD, policy};
use crate::report::{Report, yes};
use crate::rules::{expect, until};
use crate::services::{From, ask, cluster_ips, wait_for_slices};

/// Node addresses, in the order of the nodes.
const NODE_ADDRESSES: [&str; 2] = ["172.31.0.11", "172.31.0.12"];

/// Flannel's addresses, each only once, and an endpoint for each of ours.
pub(super) fn addresses(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let mut all = BTreeSet::new();
    for (name, node) in BEFORE.iter().chain(&CHAINED) {
        let address = cluster.addresses(name)?.remove(0);
        let cidr = cluster.kubectl(&["get", "node", node, "-o", "jsonpath={.spec.podCIDR}"])?;
        // Flannel's subnets are whole bytes long.
        let within = cidr.strip_suffix("0/24").is_some_and(|prefix| address.starts_with(prefix));
        report.check("Flannel's address", &format!("{name} has {address} of {cidr}"), "yes", yes(within));
        all.insert(address);
    }
    report.check(
        "addresses",
        "all different",
        &(BEFORE.len() + CHAINED.len()).to_string(),
        &all.len().to_string(),
    );
    for (name, _) in CHAINED {
        let address = cluster.addresses(name)?.remove(0);
        let path = "jsonpath={.status.state} {.status.networking.addressing[0].ipv4}";
        let ask = || cluster.kubectl(&["get", "ciliumendpoint", "-n", NAMESPACE, name, "-o", path]);
        let wanted = format!("ready {address}");
        let seen = until(|| Ok(ask().unwrap_or_else(|_| "none".into())), &wanted)?;
        report.check("CiliumEndpoint", name, &wanted, &seen);
    }
    report.flush();
    Ok(())
}

/// Pods among each other, old and new; services; the outside.
pub(super) fn reach(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Who reaches whom");
    for (name, from, to) in [
        ("across nodes", "new-1", "new-2"),
        ("across nodes", "new-2", "new-1"),
        ("on one node", "new-1", "new-3"),
        ("to one from before", "new-1", "before-1"),
        ("to one from before, across", "new-1", "before-2"),
        ("from one from before", "before-1", "new-1"),
        ("from one from before, across", "before-2", "new-1"),
        ("both from before", "before-1", "before-2"),
    ] {
        expect(cluster, report, name, from, to, 80, true)?;
    }
    wait_for_slices(cluster, "web", CHAINED.len())?;
    let web = socket(&cluster_ips(cluster, "web")?.remove(0), 8000);
    let before = socket(&cluster_ips(cluster, "before")?.remove(0), 8000);
    let [one, two] = NODE_ADDRESSES.map(|address| socket(address, NODE_PORT));
    let (pod, old, outside) = (From::Other("new-1"), From::Other("before-1"), From::Machine("world"));
    for (what, from, to) in [
        ("ClusterIP", pod, &web),
        ("ClusterIP", From::Other("new-2"), &web),
        ("ClusterIP", old, &web),
        ("ClusterIP", From::Machine("n1"), &web),
        ("ClusterIP of pods from before", pod, &before),
        ("ClusterIP of pods from before", old, &before),
        ("NodePort", outside, &one),
        ("NodePort", outside, &two),
        ("NodePort", pod, &two),
        ("NodePort", From::Machine("n2"), &one),
    ] {
        met(cluster, report, what, from, to)?;
    }
    let (answered, client) = ask(cluster, pod, "connect", &socket(WORLD[0], 80))?;
    let client = client.rsplit_once(':').map_or("", |(address, _)| address);
    report.check(
        "Flannel masquerades",
        &format!("new-1 → world, {answered} answers"),
        NODE_ADDRESSES[0],
        client,
    );
    report.flush();
    Ok(())
}

/// Twelve connections through a service: none fails, and there is more than one who answers.
fn met(cluster: &Cluster, report: &mut Report, what: &str, from: From, to: &str) -> Result<()> {
    let first = until(|| Ok(yes(!ask(cluster, from, "connect", to)?.1.is_empty()).to_owned()), "yes")?;
    let (mut who, mut failed) = (BTreeSet::new(), u32::from(first != "yes"));
    for _ in 0..12 {
        let (answered, client) = ask(cluster, from, "connect", to)?;
        if client.is_empty() {
            failed += 1;
        } else {
            who.insert(answered);
        }
    }
    let detail = format!("{} → {to}, failed of 12; more than one answers", from.name());
    report.check(what, &detail, "0 yes", &format!("{failed} {}", yes(who.len() > 1)));
    Ok(())
}

/// The policies' pods in `hubble observe`.
pub(super) fn flows(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let observe = |more: &[&str]| {
        let args = ["hubble", "observe", "--last", "500", "--print-policy-names", "-n", NAMESPACE];
        cluster.agent("n1", &[&args, more].concat())
    };
    report.title("Flows on n1");
    let all = observe(&[])?;
    report.show(&telling(&all, 12));
    let seen = all.lines().any(|line| line.contains("shop/test-1:") && line.contains("shop/test-2:"));
    report.check("hubble observe", "a flow between pods of two nodes", "yes", yes(seen));
    let dropped = observe(&["--verdict", "DROPPED"])?;
    let seen = dropped.lines().any(|line| line.contains("shop/other:") && line.contains("shop/test-1:"));
    report.check("hubble observe", "what the policy denied", "yes", yes(seen));
    report.flush();
    Ok(())
}

/// A pod that lets nobody in is still asked by its kubelet whether it is ready.
pub(super) fn probes(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Nobody but the kubelet");
    let nobody = json!({ "endpointSelector": { "matchLabels": { "name": "new-3" } }, "ingress": [{}] });
    cluster.apply(&[policy("nobody", &nobody)])?;
    for from in ["new-1", "new-2", "before-1", "before-2"] {
        expect(cluster, report, "a policy that lets nobody in", from, "new-3", 80, false)?;
    }
    let target = socket(&cluster.addresses("new-3")?.remove(0), 80);
    let asked = cluster.lab(&["exec", "n1", &probe(), "connect", &target, "--timeout", "1500"]);
    report.check("its own node", &format!("n1 → {target}"), "yes", yes(asked.is_ok()));
    // The kubelet asks every second and gives up after three failures.
    std::thread::sleep(Duration::from_secs(5));
    let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    let ready = cluster.kubectl(&["get", "pod", "-n", NAMESPACE, "new-3", "-o", path])?;
    report.check("readiness probe", "new-3 is Ready", "True", &ready);
    cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "nobody"])?;
    report.flush();
    Ok(())
}

/// A deleted pod leaves no endpoint, no lease of its address and no device.
pub(super) fn deletion(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("A pod goes");
    let node = NODES[0];
    let named = |pod: &'static str| -> Result<_> { Ok((pod, cluster.addresses(pod)?.remove(0))) };
    let (kept, gone) = (named("new-1")?, named("new-3")?);
    let devices = || -> Result<usize> {
        Ok(cluster.lab(&["exec", node, "ip", "-o", "link", "show", "type", "veth"])?.lines().count())
    };
    let before = devices()?;
    cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, "new-3"])?;
    let mut left = |what: &str, list: &dyn Fn() -> Result<String>| -> Result<()> {
        let ask = || {
            let all = list()?;
            let has = |pod: &str| all.split_whitespace().any(|word| word == pod);
            Ok(format!("{} {}", yes(has(gone.0) || has(&gone.1)), yes(has(kept.0) || has(&kept.1))))
        };
        report.check(what, "new-3, deleted, is there; and new-1", "no yes", &until(ask, "no yes")?);
        Ok(())
    };
    left("CiliumEndpoint", &|| cluster.kubectl(&["get", "ciliumendpoints", "-n", NAMESPACE]))?;
    left("cilium-dbg endpoint list", &|| cluster.agent(node, &["cilium-dbg", "endpoint", "list"]))?;
    left("host-local's lease", &|| cluster.lab(&["exec", node, "ls", "/var/lib/cni/networks/generic-veth"]))?;
    let fewer = before.saturating_sub(1).to_string();
    report.check("veth devices", "new-3 deleted", &fewer, &until(|| Ok(devices()?.to_string()), &fewer)?);
    Ok(())
}
