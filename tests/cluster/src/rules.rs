//! The examples of the articles, applied, changed and taken away, and what became of the verdicts.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::{Cluster, socket};
use crate::connectivity::{reaches, wait_for_pods, word};
use crate::manifests::{self, NAMESPACE, WORLD};
use crate::report::Report;

/// A change is enforced long before that; only a loaded test machine needs it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the scenarios.
pub(crate) fn run(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Policies of the articles");
    let ports = &[80, 5000, 5432];
    let pods = [("backend1", "n1"), ("backend2", "n2"), ("database", "n1"), ("stranger", "n2")];
    cluster.apply(&pods.map(|(name, node)| manifests::pod(name, node, ports)))?;
    wait_for_pods(cluster)?;
    expect(cluster, report, "no policy", "stranger", "backend2", 5000, true)?;
    cluster.apply(&[manifests::example()])?;
    for (from, to, port, reached) in [
        ("backend1", "backend2", 5000, true),
        ("backend1", "backend2", 80, false),
        ("stranger", "backend2", 5000, false),
        ("backend2", "database", 5432, true),
        ("backend2", "database", 80, false),
        ("backend2", "stranger", 5432, false),
        ("stranger", "database", 5432, true),
    ] {
        expect(cluster, report, "example", from, to, port, reached)?;
    }
    let valid = [
        "get",
        "cnp",
        "-n",
        NAMESPACE,
        "example",
        "-o",
        "jsonpath={.status.conditions[?(@.type=='Valid')].status}",
    ];
    report.check("example", "status condition Valid", "True", cluster.kubectl(&valid)?.trim());

    labels_change(cluster, report)?;
    cidr(cluster, report)?;
    invalid(cluster, report)?;

    cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "example"])?;
    expect(cluster, report, "example deleted", "stranger", "backend2", 5000, true)?;
    report.flush();
    Ok(())
}

/// A label makes a stranger a backend1, and no more when it goes.
fn labels_change(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let label =
        |value: &str| cluster.kubectl(&["label", "pod", "-n", NAMESPACE, "stranger", "--overwrite", value]);
    label("app=backend1")?;
    expect(cluster, report, "relabelled as backend1", "stranger", "backend2", 5000, true)?;
    label("app=stranger")?;
    expect(cluster, report, "label taken back", "stranger", "backend2", 5000, false)
}

/// `toCIDR`: one outside address and nothing else.
fn cidr(cluster: &Cluster, report: &mut Report) -> Result<()> {
    cluster.apply(&[manifests::one_address("database", &format!("{}/32", WORLD[0]))])?;
    expect_address(cluster, report, "toCIDR", "database", WORLD[0], true)?;
    expect_address(cluster, report, "toCIDR", "database", WORLD[1], false)?;
    expect(cluster, report, "toCIDR, a pod", "database", "stranger", 80, false)?;
    cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "to-cidr"])?;
    expect_address(cluster, report, "toCIDR deleted", "database", WORLD[1], true)
}

/// A policy that cannot be enforced says so and hurts nobody else.
fn invalid(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let spec = serde_json::json!({
        "endpointSelector": { "matchLabels": { "app": "stranger" } },
        "egress": [{ "toCIDRSet": [{ "cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"] }] }],
    });
    cluster.apply(&[manifests::policy("broken", &spec)])?;
    let args = [
        "get",
        "cnp",
        "-n",
        NAMESPACE,
        "broken",
        "-o",
        "jsonpath={.status.conditions[?(@.type=='Valid')].status}",
    ];
    let seen = until(|| Ok(cluster.kubectl(&args)?.trim().to_owned()), "False")?;
    report.check("invalid policy", "status condition Valid", "False", &seen);
    expect(cluster, report, "beside an invalid policy", "backend1", "backend2", 5000, true)?;
    cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "broken"]).map(drop)
}

/// Whether one pod reaches another on a port, at each of its addresses.
pub(crate) fn expect(
    cluster: &Cluster,
    report: &mut Report,
    name: &str,
    from: &str,
    to: &str,
    port: u16,
    reached: bool,
) -> Result<()> {
    for address in cluster.addresses(to)? {
        let target = socket(&address, port);
        let seen = until(|| Ok(word(reaches(cluster, from, &target)?).to_owned()), word(reached))?;
        report.check(name, &format!("{from} → {to} {target}"), word(reached), &seen);
    }
    Ok(())
}

fn expect_address(
    cluster: &Cluster,
    report: &mut Report,
    name: &str,
    from: &str,
    to: &str,
    reached: bool,
) -> Result<()> {
    let target = socket(to, 80);
    let seen = until(|| Ok(word(reaches(cluster, from, &target)?).to_owned()), word(reached))?;
    report.check(name, &format!("{from} → {target}"), word(reached), &seen);
    Ok(())
}

/// Asks until the answer is `wanted` or patience ends; gives the last answer.
pub(crate) fn until(mut ask: impl FnMut() -> Result<String>, wanted: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        let seen = ask()?;
        if seen == wanted || start.elapsed() > PATIENCE {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
