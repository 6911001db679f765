//! Flows in files on the nodes.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{eventually, flows, yes};
use crate::cluster::Cluster;
use crate::report::Report;

/// The first content of the ConfigMap.
pub(super) const FIRST: [&str; 2] = [
    "hubble.export.dynamic.config.content[0].name=everything",
    "hubble.export.dynamic.config.content[0].filePath=/var/run/cilium/hubble/everything.log",
];
/// Where the static exporter writes.
const STATIC: &str = "/var/run/cilium/hubble/events.log";
/// What the ConfigMap says later.
const DROPS: &str = "/var/run/cilium/hubble/drops.log";

/// Both exporters write, and a changed ConfigMap counts without a restart.
pub(super) fn run(cluster: &Cluster, talk: &dyn Fn() -> Result<()>, report: &mut Report) -> Result<()> {
    report.title("Flows in files");
    talk()?;
    for path in [STATIC, "/var/run/cilium/hubble/everything.log"] {
        let lines = eventually(20, || {
            let seen = flows(&cluster.agent("n1", &["cat", path])?);
            Ok((!seen.is_empty()).then_some(seen.len()))
        })?;
        report.check(path, "has flows of the test pods", "yes", yes(lines.is_some()));
    }
    let content = json!({ "flowLogs": [{
        "name": "drops", "filePath": DROPS, "fieldMask": ["time", "verdict", "source", "drop_reason_desc"],
        "includeFilters": [{ "verdict": ["DROPPED"] }],
    }] });
    let patch = json!({ "data": { "flowlogs.yaml": content.to_string() } }).to_string();
    let map =
        ["patch", "configmap", "-n", "kube-system", "cilium-flowlog-config", "--type=merge", "-p", &patch];
    cluster.kubectl(&map)?;
    // The kubelet looks at ConfigMaps when it looks at the pod; a new annotation makes it look.
    let annotate =
        ["annotate", "pod", "-n", "kube-system", "-l", "k8s-app=cilium", "tests/look=again", "--overwrite"];
    cluster.kubectl(&annotate)?;
    let seen = eventually(90, || {
        talk()?;
        let text = cluster.agent("n1", &["sh", "-c", &format!("cat {DROPS} 2>/dev/null; true")])?;
        let seen = flows(&text);
        Ok((!seen.is_empty()).then_some(seen))
    })?
    .unwrap_or_default();
    report.check(DROPS, "appears when the ConfigMap names it", "yes", yes(!seen.is_empty()));
    let only = !seen.is_empty() && seen.iter().all(|flow| flow["flow"]["verdict"] == "DROPPED");
    report.check(DROPS, "has dropped flows alone", "yes", yes(only));
    let masked = seen.first().map(|flow| &flow["flow"]).and_then(Value::as_object).context("no flow at all");
    let fields: Vec<&str> = masked.map(|flow| flow.keys().map(String::as_str).collect()).unwrap_or_default();
    let asked = fields.iter().all(|f| ["time", "verdict", "source", "drop_reason_desc"].contains(f));
    report.check(DROPS, &format!("has the fields asked for alone ({})", fields.join(" ")), "yes", yes(asked));
    report.flush();
    Ok(())
}
