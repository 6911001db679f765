//! Seed 000: a cluster with Flannel and kube-proxy. Our chart comes, chained behind Flannel and in kube-proxy's place; the
//! article's steps, and what each should leave.

mod by_command;
mod checks;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Cluster, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{self, pod};
use crate::report::{Report, yes};
use crate::rules::{expect, until};
use crate::seeds;
use crate::services::{cluster_ips, service, wait_for_slices};

/// Pods that only Flannel knows, as they are older than our chart.
const BEFORE: [(&str, &str); 2] = [("before-1", "n1"), ("before-2", "n2")];
/// Pods of Flannel and ours.
const CHAINED: [(&str, &str); 3] = [("new-1", "n1"), ("new-2", "n2"), ("new-3", "n1")];
const NODES: [&str; 2] = ["n1", "n2"];
const NODE_PORT: u16 = 30_080;
/// The article's, letter by letter.
const CONFLIST: &str = r#"{
  "name": "generic-veth",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "cilium-cni"
    }
  ]
}
"#;
/// The article's, with the lab's API server; in its release kube-proxy's replacement was found out by the agent.
const VALUES: [&str; 8] = [
    "cni.chainingMode=generic-veth",
    "cni.customConf=true",
    "cni.configMap=cni-configuration",
    "routingMode=native",
    "enableIPv4Masquerade=false",
    "k8sServiceHost=172.31.0.10",
    "k8sServicePort=6443",
    "kubeProxyReplacement=true",
];

/// A cluster of its own, and one for `cilium install`.
pub(crate) fn run(vxlan: bool, report: &mut Report) -> Result<()> {
    article(vxlan, report)?;
    by_command::run(report)
}

fn article(vxlan: bool, report: &mut Report) -> Result<()> {
    let (cni, route) = if vxlan { ("flannel-vxlan", "dev flannel.1") } else { ("flannel", "via 172.31.0.1") };
    let cluster = Cluster::with("chain", &["--nodes", "2", "--cni", cni, "--kube-proxy", "iptables"], &[])?;
    flannel_alone(&cluster, route, report)?;
    install(&cluster, report)?;
    cluster.apply(&CHAINED.map(|(name, node)| labelled(name, node, "web")))?;
    wait_for_pods(&cluster)?;
    report.show(&cluster.kubectl(&["get", "pods,ciliumendpoints", "-A", "-o", "wide"])?);
    checks::addresses(&cluster, report)?;
    checks::reach(&cluster, report)?;
    report.title("The article's policies");
    seeds::of_chaining(&cluster, report)?;
    checks::flows(&cluster, report)?;
    checks::probes(&cluster, report)?;
    checks::deletion(&cluster, report)?;
    report.flush();
    Ok(())
}

fn labelled(name: &str, node: &str, app: &str) -> Value {
    let mut pod = pod(name, node, &[80]);
    pod["metadata"]["labels"]["app"] = json!(app);
    pod
}

/// Two pods, a service for them, and nothing of ours.
fn flannel_alone(cluster: &Cluster, route: &str, report: &mut Report) -> Result<()> {
    report.title("Flannel and kube-proxy alone");
    cluster.apply(&[manifests::namespace()])?;
    cluster.apply(&BEFORE.map(|(name, node)| labelled(name, node, "before")))?;
    let ports = json!([{ "name": "web", "port": 8000, "targetPort": 80, "nodePort": NODE_PORT }]);
    cluster.apply(&[
        service(
            "before",
            &json!({ "selector": { "app": "before" }, "ports": [{ "port": 8000, "targetPort": 80 }] }),
        ),
        service("web", &json!({ "type": "NodePort", "selector": { "app": "web" }, "ports": ports })),
    ])?;
    wait_for_pods(cluster)?;
    wait_for_slices(cluster, "before", BEFORE.len())?;
    let routes = cluster.lab(&["exec", "n1", "ip", "route"])?;
    report.show(&routes);
    let to_n2 = routes.lines().any(|line| line.starts_with("10.244.") && line.contains(route));
    report.check("Flannel's route on n1", route, "yes", yes(to_n2));
    for (from, to) in [("before-1", "before-2"), ("before-2", "before-1")] {
        expect(cluster, report, "Flannel alone", from, to, 80, true)?;
    }
    let service = socket(&cluster_ips(cluster, "before")?.remove(0), 8000);
    let seen =
        until(|| Ok(yes(crate::connectivity::reaches(cluster, "before-1", &service)?).to_owned()), "yes")?;
    report.check("kube-proxy", &format!("before-1 → {service}"), "yes", &seen);
    report.flush();
    Ok(())
}

/// The article's steps: kube-proxy ends, the ConfigMap is applied, the chart installed. Its rules go last, so that services
/// never lack both.
fn install(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("The chart, chained behind Flannel");
    for node in NODES {
        cluster.lab(&["service", "kill", node, "kube-proxy", "--signal", "15"])?;
    }
    cluster.apply(&[json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "cni-configuration", "namespace": "kube-system" },
        "data": { "cni-config": CONFLIST },
    })])?;
    let sets: Vec<&str> = VALUES.iter().flat_map(|value| ["--set", value]).collect();
    cluster.lab(&[&["chart"], &sets[..]].concat())?;
    cluster
        .kubectl(&["rollout", "status", "-n", "kube-system", "daemonset/cilium", "--timeout=120s"])
        .with_context(|| {
            let log =
                ["logs", "-n", "kube-system", "-l", "k8s-app=cilium", "-c", "cilium-agent", "--tail=15"];
            format!("agents do not get ready; they say:\n{}", cluster.kubectl(&log).unwrap_or_default())
        })?;
    for node in NODES {
        let removed = cluster.agent(node, &["cilium-dbg", "kube-proxy", "cleanup"])?;
        report.show(removed.lines().next().unwrap_or_default());
        // That chain is the kubelet's by its name, and kube-proxy only adds to it: the clean-up leaves it.
        let rules = "iptables-save | grep KUBE- | grep -vc KUBE-FIREWALL; iptables-save | grep -q FLANNEL-POSTRTG && echo Flannel";
        let left = cluster.lab(&["exec", node, "sh", "-c", rules])?;
        let left = left.split_whitespace().collect::<Vec<_>>().join(" ");
        report.check("rules left", &format!("{node}, of kube-proxy, of whom else"), "0 Flannel", &left);
        let read = || cluster.lab(&["exec", node, "cat", "/etc/cni/net.d/05-cilium.conflist"]);
        let written = until(|| Ok(yes(read()?.trim() == CONFLIST.trim()).to_owned()), "yes")?;
        report.check("05-cilium.conflist", &format!("{node}, the ConfigMap's text"), "yes", &written);
        let status = cluster.agent(node, &["cilium-dbg", "status"])?;
        let line = status.lines().find(|line| line.starts_with("CNI Chaining:")).unwrap_or("no such line");
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        report.check("cilium-dbg status", node, "CNI Chaining: generic-veth", &line);
    }
    report.flush();
    Ok(())
}
