//! Every example policy of the seed documents below layer 7, applied by itself; `docs/seed-policies.md` lists them. Those of
//! the connectivity check are in [`crate::connectivity`], the article's `example` and `toCIDR` in [`crate::rules`].

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::{Cluster, socket};
use crate::connectivity::{reaches, wait_for_pods, word};
use crate::manifests::{self, NAMESPACE, WORLD, policy};
use crate::report::Report;
use crate::rules::{expect, until};

/// Pods with the label that the chaining article's policies speak of, on both nodes; and one without it.
const TESTS: [(&str, &str); 4] = [("test-1", "n1"), ("test-2", "n2"), ("test-3", "n1"), ("other", "n1")];

/// Runs the scenarios.
pub(crate) fn run(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Every example policy of the seeds");
    pods(cluster)?;
    l3(cluster, report)?;
    l4(cluster, report)?;
    icmp(cluster, report)?;
    entities(cluster, report)?;
    report.flush();
    gone(cluster)
}

/// Those of the chaining article alone.
pub(crate) fn of_chaining(cluster: &Cluster, report: &mut Report) -> Result<()> {
    pods(cluster)?;
    l3(cluster, report)?;
    l4(cluster, report)?;
    gone(cluster)
}

fn pods(cluster: &Cluster) -> Result<()> {
    let mut pods = TESTS.map(|(name, node)| manifests::pod(name, node, &[80, 8080]));
    for pod in pods.iter_mut().take(3) {
        pod["metadata"]["labels"]["app"] = json!("test");
    }
    cluster.apply(&pods)?;
    wait_for_pods(cluster)
}

fn gone(cluster: &Cluster) -> Result<()> {
    let names = TESTS.map(|(name, _)| name);
    cluster.kubectl(&[&["delete", "pod", "-n", NAMESPACE][..], &names].concat()).map(drop)
}

/// Seed 000, `l3-test`: pods with the label reach each other, on any port; nobody else reaches them.
fn l3(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let spec = json!({
        "endpointSelector": { "matchLabels": { "app": "test" } },
        "ingress": [{ "fromEndpoints": [{ "matchLabels": { "app": "test" } }] }],
    });
    cluster.apply(&[policy("l3-test", &spec)])?;
    for (from, to, port, reached) in [
        ("test-1", "test-2", 80, true),
        ("test-1", "test-2", 8080, true),
        ("test-2", "test-1", 80, true),
        ("test-1", "test-3", 80, true),
        ("other", "test-1", 80, false),
        ("other", "test-2", 80, false),
        ("test-1", "other", 80, true),
    ] {
        expect(cluster, report, "l3-test", from, to, port, reached)?;
    }
    delete(cluster, "l3-test")
}

/// Seed 000, `l4-test`: the same, on TCP port 80 alone.
fn l4(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let spec = json!({
        "endpointSelector": { "matchLabels": { "app": "test" } },
        "ingress": [{
            "fromEndpoints": [{ "matchLabels": { "app": "test" } }],
            "toPorts": [{ "ports": [{ "port": "80", "protocol": "TCP" }] }],
        }],
    });
    cluster.apply(&[policy("l4-test", &spec)])?;
    for (from, to, port, reached) in [
        ("test-1", "test-2", 80, true),
        ("test-2", "test-1", 80, true),
        ("test-1", "test-2", 8080, false),
        ("test-1", "test-3", 80, true),
        ("test-1", "test-3", 8080, false),
        ("other", "test-1", 80, false),
        ("other", "test-2", 80, false),
    ] {
        expect(cluster, report, "l4-test", from, to, port, reached)?;
    }
    delete(cluster, "l4-test")
}

/// Seed 003, `icmps`: of everything, only ICMP messages of this type leave. The article's type 0 is the answer to a ping,
/// with which nobody can begin; with type 8 the pod itself may ping.
fn icmp(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let other = cluster.addresses("test-2")?.remove(0);
    for (kind, reached) in [(0, false), (8, true)] {
        let spec = json!({
            "endpointSelector": { "matchLabels": { "app": "other" } },
            "egress": [{ "icmps": [{ "fields": [{ "type": kind, "family": "IPv4" }] }] }],
        });
        cluster.apply(&[policy("icmp", &spec)])?;
        let name = format!("icmps, type {kind}");
        let seen = until(|| Ok(word(pings(cluster, "other", &other)).to_owned()), word(reached))?;
        report.check(&name, &format!("other pings {other}"), word(reached), &seen);
        expect(cluster, report, &name, "other", "test-2", 80, false)?;
        let own = cluster.addresses("other")?.remove(0);
        let seen = until(|| Ok(word(pings(cluster, "test-2", &own)).to_owned()), word(true))?;
        report.check(&name, "test-2 pings it, and is answered", word(true), &seen);
        delete(cluster, "icmp")?;
    }
    Ok(())
}

fn pings(cluster: &Cluster, pod: &str, address: &str) -> bool {
    let mut command = cluster.in_pod(pod, &["ping", "-c", "1", "-W", "1", address]);
    command.output().is_ok_and(|out| out.status.success())
}

/// Seed 003, `toEntities`: whether the article's `host`, and the others of its list, take in a pod and the world.
fn entities(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let pod = socket(&cluster.addresses("test-2")?.remove(0), 80);
    let ends = [("a pod", pod), ("world", socket(WORLD[0], 80))];
    // Who is reached, in the order of the ends. What else a lab has speaks TLS, which the test tool does not.
    let expected: [(&str, [bool; 2]); 7] = [
        ("host", [false, false]),
        ("remote-node", [false, false]),
        ("kube-apiserver", [false, false]),
        ("cluster", [true, false]),
        ("world", [false, true]),
        ("all", [true, true]),
        // Nobody in this lab has its identity.
        ("unmanaged", [false, false]),
    ];
    for (entity, reached) in expected {
        let spec: Value = json!({
            "endpointSelector": { "matchLabels": { "app": "other" } },
            "egress": [{ "toEntities": [entity] }],
        });
        cluster.apply(&[policy("entity", &spec)])?;
        for ((end, target), reached) in ends.iter().zip(reached) {
            let seen = until(|| Ok(word(reaches(cluster, "other", target)?).to_owned()), word(reached))?;
            report.check(&format!("toEntities {entity}"), &format!("{end}, {target}"), word(reached), &seen);
        }
    }
    delete(cluster, "entity")
}

fn delete(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, name]).map(drop)
}
