//! The articles' walk-throughs, on a cluster without a network and without kube-proxy: article 001's installation, service
//! and capture, 003's screens, 004's node ports and its agent that refuses a wrong configuration. (000 is `cluster chain`.)

mod screens;

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cluster::{Cluster, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{self, NAMESPACE, pod};
use crate::operate::{IMAGES, word};
use crate::report::{Report, yes};
use crate::rules::{PATIENCE, until};
use crate::services::{From, ask, captured, cluster_ips, service, wait_for_slices};

/// Article 001's values under their names of today: `tunnel=disabled` is `routingMode=native` since 1.14, `strict` is `true`.
/// The API server's address, which it sets by hand, is found out.
const VALUES: &str = "debug.enabled=true,debug.verbose=datapath,bpf.monitorAggregation=none,ipam.mode=cluster-pool,\
     cluster.name=cilium-socket-lb,kubeProxyReplacement=true,routingMode=native,autoDirectNodeRoutes=true,\
     ipv4NativeRoutingCIDR=10.0.0.0/8,bpf.masquerade=true,installNoConntrackIptablesRules=true,socketLB.enabled=true,\
     operator.replicas=1";
const NODES: [(&str, &str); 2] = [("n1", "172.31.0.11"), ("n2", "172.31.0.12")];
/// Article 001's service and pods.
const SERVICE: &str = "serversvc";
const NODE_PORT: u16 = 32_000;
const BACKENDS: [&str; 2] = ["cni-1", "cni-2"];
const CLIENT: &str = "net";
/// The key whose absence stops article 004's agents, and the beginning of what they say.
const KEY: (&str, &str) = ("ipv4-native-routing-cidr", "10.0.0.0/8");
const FATAL: &str =
    "native routing cidr must be configured with option ipv4-native-routing-cidr in combination with";

/// All of it.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let cluster = Cluster::bare("walks", &[])?;
    install(&cluster, report)?;
    services(&cluster, report)?;
    screens(&cluster, report)?;
    unwell(&cluster, report)
}

fn install(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Article 001: the installation");
    let (done, told) =
        cluster.cilium(&["install", "--wait", "--wait-duration", "90s", "--set", VALUES, "--set", IMAGES])?;
    report.show(&told);
    report.check("cilium install --wait", "article 001's values", "well", word(done, "well", "not well"));
    ensure!(done, "without an installation nothing else can be tried");
    for line in [
        "🔮 Auto-detected kube-proxy has not been installed",
        "Cilium will fully replace all functionalities of kube-proxy",
    ] {
        report.check(
            "article 003, cilium install",
            line,
            "said",
            word(told.contains(line), "said", "not said"),
        );
    }
    report.flush();
    Ok(())
}

/// Article 001's service, asked from everywhere; what the asking pod's device sees of it; and how it is listed.
fn services(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Articles 001 and 004: a service on every node");
    let labelled = |(name, node): (&str, &str)| {
        let mut pod = pod(name, node, &[80]);
        pod["metadata"]["labels"]["app"] = json!("cni");
        pod
    };
    let spec = json!({ "type": "NodePort", "selector": { "app": "cni" },
        "ports": [{ "name": "cni", "port": 80, "targetPort": 80, "nodePort": NODE_PORT }] });
    let mut objects: Vec<Value> = vec![manifests::namespace()];
    objects.extend(BACKENDS.into_iter().zip(["n1", "n2"]).map(labelled));
    objects.extend([pod(CLIENT, "n2", &[80]), service(SERVICE, &spec)]);
    cluster.apply(&objects)?;
    wait_for_pods(cluster)?;
    wait_for_slices(cluster, SERVICE, BACKENDS.len())?;
    let cluster_ip = cluster_ips(cluster, SERVICE)?.remove(0);
    report.show(&cluster.kubectl(&["get", "pods,services", "-n", NAMESPACE, "-o", "wide"])?);
    doors(cluster, "all agents are there", report)?;
    let inside = [From::Other(CLIENT), From::Machine("n1"), From::Machine("n2")];
    for from in inside {
        answered(cluster, "ClusterIP", from, &socket(&cluster_ip, 80), report)?;
    }
    captured(cluster, (CLIENT, "n2"), &BACKENDS, &socket(NODES[0].1, NODE_PORT), report)?;

    report.title("Article 001: cilium service list");
    let list = cluster.agent("n1", &["cilium", "service", "list"])?;
    report.show(&list);
    // Further backends stand on lines of their own.
    let lines = |frontend: &str| {
        let is_it = |line: &&str| line.split_whitespace().nth(1) == Some(frontend);
        let mut lines = list.lines().skip_while(|line| !is_it(line));
        let first = lines.next().unwrap_or_default();
        let more = lines.take_while(|line| line.starts_with(' '));
        [first].into_iter().chain(more).collect::<Vec<_>>().join(" ")
    };
    let node = format!("{}:{NODE_PORT}", NODES[0].1);
    for (frontend, kind) in [
        (format!("{cluster_ip}:80"), "ClusterIP"),
        (node, "NodePort"),
        (format!("0.0.0.0:{NODE_PORT}"), "NodePort"),
    ] {
        let seen = lines(&format!("{frontend}/TCP"));
        let mut good = seen.contains(kind);
        for backend in BACKENDS {
            let address = cluster.addresses(backend)?.remove(0);
            good &= seen.contains(&format!("{address}:80"));
        }
        report.check("cilium service list", &format!("{frontend} {kind}, both backends"), "yes", yes(good));
    }
    report.flush();
    Ok(())
}

/// The node port on every node, from everywhere.
fn doors(cluster: &Cluster, when: &str, report: &mut Report) -> Result<()> {
    for (_, address) in NODES {
        for from in [From::Other(CLIENT), From::Machine("n1"), From::Machine("n2"), From::Machine("world")] {
            answered(cluster, &format!("NodePort, {when}"), from, &socket(address, NODE_PORT), report)?;
        }
    }
    Ok(())
}

fn answered(cluster: &Cluster, what: &str, from: From, to: &str, report: &mut Report) -> Result<()> {
    let ask = || {
        let (who, _) = ask(cluster, from, "connect", to)?;
        Ok(if BACKENDS.contains(&who.as_str()) { "answered".to_owned() } else { who })
    };
    let seen = until(ask, "answered")?;
    report.check(what, &format!("{} → {to}", from.name()), "answered", &seen);
    Ok(())
}

/// What the articles show of an installation that is well, beside ours.
fn screens(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Screens of the articles and ours");
    health(cluster, "2/2 reachable", "all agents are there", report)?;
    let (_, told) = cluster.cilium(&["status", "--wait", "--wait-duration", "60s"])?;
    report.show(&told);
    screens::INSTALLATION.compare(&told, report);
    let told = cluster.agent("n1", &["cilium", "status"])?;
    report.show(&told);
    screens::AGENT.compare(&told, report);
    let told = cluster.agent("n1", &["cilium", "status", "--verbose"])?;
    let block = told.lines().skip_while(|line| !line.starts_with("KubeProxyReplacement Details:")).skip(1);
    let block: Vec<&str> = block.take_while(|line| line.starts_with(' ')).collect();
    report.show(&block.join("\n"));
    screens::DETAILS.compare(&block.join("\n"), report);
    Ok(())
}

/// Article 004: a wrong configuration. The agent that reads it says why it cannot run, the others say that it is away, the
/// node's pods and node ports are served all the while; and it comes back with the right one. (There the column "Endpoints" stays
/// well, as a pod of its own answers; here the agent answers at both addresses, so both columns tell that it is away.)
fn unwell(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Article 004: an agent that refuses its configuration");
    let (done, told) = cluster.cilium(&["config", "delete", KEY.0, "--restart=false"])?;
    report.check("cilium config delete", KEY.0, "done", word(done, "done", &told));
    cluster.kubectl(&["delete", "-n", "kube-system", &cluster.agent_pod("n2")?])?;
    // The new pod may not have said anything yet.
    let log = || Ok(yes(cluster.agent_log("n2").unwrap_or_default().contains(FATAL)).to_owned());
    let seen = patiently(log, "yes")?;
    report.check("the agent's log", FATAL, "yes", &seen);
    let said = cluster.agent_log("n2").unwrap_or_default();
    report.show(said.lines().find(|line| line.contains(FATAL)).unwrap_or_default());
    health(cluster, "1/2 reachable", "n2's agent does not run", report)?;
    doors(cluster, "n2's agent does not run", report)?;
    let (well, told) = cluster.cilium(&["status", "--wait", "--wait-duration", "2s"])?;
    report.show(&told);
    report.check("cilium status --wait", "exit code", "not well", word(well, "well", "not well"));
    report.check("cilium status", "names the agent's trouble", "yes", yes(told.contains(FATAL)));
    report.flush();

    let (done, told) = cluster.cilium(&["config", "set", KEY.0, KEY.1, "--restart=false"])?;
    report.check("cilium config set", KEY.0, "done", word(done, "done", &told));
    cluster.kubectl(&["delete", "-n", "kube-system", &cluster.agent_pod("n2")?])?;
    cluster.kubectl(&["rollout", "status", "-n", "kube-system", "daemonset/cilium", "--timeout=120s"])?;
    health(cluster, "2/2 reachable", "n2's agent is back", report)?;
    doors(cluster, "n2's agent is back", report)?;
    report.flush();
    Ok(())
}

/// What n1's agent says of the cluster's health, asked anew.
fn health(cluster: &Cluster, wanted: &str, when: &str, report: &mut Report) -> Result<()> {
    let mut screen = String::new();
    let ask = || {
        cluster.agent("n1", &["cilium-health", "status", "--probe"])?;
        let told = cluster.agent("n1", &["cilium", "status", "--all-nodes"])?;
        let lines = told.lines().skip_while(|line| !line.starts_with("Cluster health:"));
        screen = lines.take_while(|line| !line.starts_with("Modules")).collect::<Vec<_>>().join("\n");
        Ok(if screen.contains(wanted) { wanted.to_owned() } else { screen.clone() })
    };
    let seen = patiently(ask, wanted)?;
    report.show(&screen);
    report.check("Cluster health", when, wanted, &seen);
    Ok(())
}

/// Asks for as long as a pod may take to start and to fail.
fn patiently(mut ask: impl FnMut() -> Result<String>, wanted: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        let seen = until(&mut ask, wanted)?;
        if seen == wanted || start.elapsed() > 4 * PATIENCE {
            return Ok(seen);
        }
    }
}
