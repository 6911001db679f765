//! Services without kube-proxy: every type, from every client, and what a capture inside the pod shows.

mod redirects;
mod roll;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::account::{self, Account};
use crate::cluster::{Cluster, Routing, finished, probe, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{NAMESPACE, WORLD, pod};
use crate::report::{Report, yes};
use crate::restart::kill;

pub(crate) use roll::run as roll;

/// NodePort of the service with all backends, of the one whose traffic stays on its node, and of the one without any.
const PORTS: [u16; 3] = [30_080, 30_081, 30_082];
/// `spec.externalIPs`: an address of the outside's network that no machine has.
const EXTERNAL: &str = "172.31.0.200";
const HOST_PORT: u16 = 8088;
/// NodePort of the service whose backend answers clients directly, where packets travel as they are.
const DIRECT: u16 = 30_083;
/// The pods behind the services: one on each node.
const BACKENDS: [&str; 2] = ["web-1", "web-2"];
const CLIENT: &str = "web-client";
/// How long the controller-manager may take to tell of new endpoints.
const PATIENCE: Duration = Duration::from_secs(90);
/// An attempt's end that is no answer.
const REFUSED: &str = "refused";
const SILENT: &str = "timeout";

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum From {
    /// The client of this scenario.
    Pod,
    /// Another pod.
    Other(&'static str),
    /// A node, or the outside.
    Machine(&'static str),
}

impl From {
    /// How a table calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            From::Pod => "pod",
            From::Other(name) | From::Machine(name) => name,
        }
    }
}

/// A Service of the test namespace.
pub(crate) fn service(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    })
}

fn objects() -> Vec<Value> {
    let mut objects = Vec::new();
    for (i, (name, node)) in BACKENDS.into_iter().zip(["n1", "n2"]).enumerate() {
        let mut backend = pod(name, node, &[80]);
        backend["metadata"]["labels"] = json!({ "app": "web", "name": name });
        if i == 0 {
            backend["spec"]["containers"][0]["ports"] =
                json!([{ "containerPort": 80, "hostPort": HOST_PORT }]);
        }
        objects.push(backend);
    }
    objects.push(pod(CLIENT, "n1", &[80]));
    let port =
        |node_port: u16| json!({ "name": "web", "port": 8000, "targetPort": 80, "nodePort": node_port });
    let dns = json!({ "name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP", "nodePort": 30_053 });
    objects.push(service(
        "web",
        &json!({
            "type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": { "app": "web" },
            "externalIPs": [EXTERNAL], "ports": [port(PORTS[0]), dns],
        }),
    ));
    objects.push(service(
        "web-local",
        &json!({
            "type": "NodePort", "externalTrafficPolicy": "Local", "selector": { "name": BACKENDS[1] },
            "ports": [port(PORTS[1])],
        }),
    ));
    objects.push(service(
        "web-none",
        &json!({ "type": "NodePort", "selector": { "app": "nobody" }, "ports": [port(PORTS[2])] }),
    ));
    objects.push(service(
        "web-sticky",
        &json!({ "selector": { "app": "web" }, "sessionAffinity": "ClientIP", "ports": [{ "port": 8000, "targetPort": 80 }] }),
    ));
    let direct = json!({
        "type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": { "name": BACKENDS[1] }, "ports": [port(DIRECT)],
    });
    let mut direct = service("web-direct", &direct);
    direct["metadata"]["annotations"] = json!({ "service.cilium.io/forwarding-mode": "dsr" });
    objects.push(direct);
    objects
}

/// The addresses of a service in the cluster.
pub(crate) fn cluster_ips(cluster: &Cluster, name: &str) -> Result<Vec<String>> {
    let args = ["get", "service", "-n", NAMESPACE, name, "-o", "jsonpath={.spec.clusterIPs[*]}"];
    Ok(cluster.kubectl(&args)?.split_whitespace().map(str::to_owned).collect())
}

/// Waits until the API knows `count` ready endpoints of the service, which is the controller-manager's work.
pub(crate) fn wait_for_slices(cluster: &Cluster, name: &str, count: usize) -> Result<()> {
    let label = format!("kubernetes.io/service-name={name}");
    let ready =
        "jsonpath={.items[?(@.addressType=='IPv4')].endpoints[?(@.conditions.ready==true)].addresses[0]}";
    let start = Instant::now();
    loop {
        let seen = cluster.kubectl(&["get", "endpointslices", "-n", NAMESPACE, "-l", &label, "-o", ready])?;
        if seen.split_whitespace().count() == count {
            return Ok(());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "service {name} has the endpoints [{seen}] after {PATIENCE:?}, not {count}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Who answered, and who the answerer believes to have asked; or how the attempt ended.
pub(crate) fn ask(cluster: &Cluster, from: From, how: &str, to: &str) -> Result<(String, String)> {
    let tool = probe();
    let mut command = match from {
        From::Pod => cluster.in_pod(CLIENT, &["probe", how, to, "--timeout", "1500"]),
        From::Other(pod) => cluster.in_pod(pod, &["probe", how, to, "--timeout", "1500"]),
        From::Machine(machine) => cluster.command(&["exec", machine, &tool, how, to, "--timeout", "1500"]),
    };
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting a client")?;
    let (_, text) = finished(child)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    // "10.96.0.1:80: ok after 0.70 ms, web-1 sees 10.244.0.9:34850"
    Ok(match words.iter().position(|word| *word == "sees") {
        Some(at) => (words[at - 1].to_owned(), words.get(at + 1).copied().unwrap_or_default().to_owned()),
        None => (words.get(1).copied().unwrap_or("nothing").to_owned(), String::new()),
    })
}

/// Makes the services and uses them from everywhere.
pub(crate) fn run(cluster: &Cluster, routing: Routing, report: &mut Report) -> Result<()> {
    report.title("Services without kube-proxy");
    cluster.apply(&objects())?;
    wait_for_pods(cluster)?;
    for (name, count) in
        [("web", BACKENDS.len()), ("web-local", 1), ("web-direct", 1), ("web-sticky", BACKENDS.len())]
    {
        wait_for_slices(cluster, name, count)?;
    }
    // The agents hear of it at the same time.
    std::thread::sleep(Duration::from_secs(1));
    report.show(&cluster.kubectl(&["get", "services", "-n", NAMESPACE, "-o", "wide"])?);
    cluster.lab(&["exec", "world", "ip", "route", "replace", EXTERNAL, "via", "172.31.0.11"])?;
    reach(cluster, report)?;
    end(cluster, routing, report)?;
    stick(cluster, report)?;
    redirects::run(cluster, report)?;
    for node in ["n1", "n2"] {
        let rules = "iptables-save 2>/dev/null | grep -c KUBE-SVC; nft list ruleset 2>/dev/null | grep -c kube-proxy; true";
        let seen = cluster.lab(&["exec", node, "sh", "-c", rules])?;
        report.check(
            "no rule of kube-proxy",
            node,
            "0 0",
            &seen.split_whitespace().collect::<Vec<_>>().join(" "),
        );
    }
    report.flush();
    killed(cluster, report)?;
    capture(cluster, report)?;
    report.title("cilium-dbg service list on n1");
    report.show(&cluster.agent("n1", &["cilium-dbg", "service", "list"])?);
    Ok(())
}

/// Every type of service, from every client.
fn reach(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let pods = [From::Pod];
    let inside = [From::Pod, From::Machine("n1"), From::Machine("n2")];
    let everybody = [From::Pod, From::Machine("n1"), From::Machine("n2"), From::Machine("world")];
    let nodes = ["172.31.0.11", "172.31.0.12", "fd00:31::11", "fd00:31::12"];
    let mut ways: Vec<(&str, &[From], &str, String)> = Vec::new();
    for ip in cluster_ips(cluster, "web")? {
        ways.push(("ClusterIP", &inside, "connect", socket(&ip, 8000)));
        ways.push(("ClusterIP", &inside, "udp", socket(&ip, 53)));
    }
    for ip in nodes {
        ways.push(("NodePort", &everybody, "connect", socket(ip, PORTS[0])));
    }
    ways.push(("NodePort", &everybody, "udp", socket(nodes[0], 30_053)));
    ways.push(("NodePort", &[From::Machine("n1")], "connect", socket("127.0.0.1", PORTS[0])));
    ways.push(("externalIPs", &everybody, "connect", socket(EXTERNAL, 8000)));
    ways.push(("hostPort", &everybody, "connect", socket(nodes[0], HOST_PORT)));
    ways.push(("externalTrafficPolicy: Local", &everybody, "connect", socket(nodes[1], PORTS[1])));
    ways.push(("externalTrafficPolicy: Local, own node", &pods, "connect", socket(nodes[0], PORTS[1])));
    for (what, clients, how, to) in ways {
        for from in clients {
            let (answered, _) = ask(cluster, *from, how, &to)?;
            let seen = if BACKENDS.contains(&answered.as_str()) { "answered" } else { &answered };
            report.check(what, &format!("{} {how} {to}", from.name()), "answered", seen);
        }
    }
    Ok(())
}

/// What leads nowhere, and what the answerer knows of its client.
fn end(cluster: &Cluster, routing: Routing, report: &mut Report) -> Result<()> {
    let world = From::Machine("world");
    let none = cluster_ips(cluster, "web-none")?.remove(0);
    let web = cluster_ips(cluster, "web")?.remove(0);
    for (what, from, to, expected) in [
        ("no backend", From::Pod, socket(&none, 8000), REFUSED),
        ("no backend", From::Machine("n1"), socket(&none, 8000), REFUSED),
        ("no backend", world, socket("172.31.0.12", PORTS[2]), REFUSED),
        ("a port that is none", From::Pod, socket(&web, 8001), SILENT),
        ("a port that is none", world, socket(EXTERNAL, 8001), SILENT),
        ("Local, no backend there", world, socket("172.31.0.11", PORTS[1]), SILENT),
        ("Local, no backend there", From::Machine("n2"), socket("172.31.0.11", PORTS[1]), SILENT),
    ] {
        report.check(
            what,
            &format!("{} {to}", from.name()),
            expected,
            &ask(cluster, from, "connect", &to)?.0,
        );
    }
    let (_, client) = ask(cluster, world, "connect", &socket("172.31.0.12", PORTS[1]))?;
    let address = client.rsplit_once(':').map_or("", |(address, _)| address);
    report.check("Local keeps the client's address", "world", WORLD[0], address);
    for node in ["172.31.0.11", "fd00:31::11"] {
        let (answered, seen) = ask(cluster, world, "connect", &socket(node, DIRECT))?;
        report.check(
            "DSR annotation",
            &format!("world {node}:{DIRECT}, backend elsewhere"),
            BACKENDS[1],
            &answered,
        );
        if routing == Routing::Native {
            let address = seen.rsplit_once(':').map_or("", |(address, _)| address.trim_matches(['[', ']']));
            // The outside has two IPv6 addresses; the nodes' are others.
            let kept = !["172.31.0.11", "172.31.0.12", "fd00:31::11", "fd00:31::12"].contains(&address);
            report.check(
                "DSR keeps the client's address",
                &format!("world {node}, seen {address}"),
                "yes",
                yes(kept),
            );
        }
    }
    Ok(())
}

/// A client with affinity meets one backend.
fn stick(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let sticky = socket(&cluster_ips(cluster, "web-sticky")?.remove(0), 8000);
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..12 {
        met.insert(ask(cluster, From::Pod, "connect", &sticky)?.0);
    }
    report.check("sessionAffinity: ClientIP", "backends met in 12 tries", "1", &met.len().to_string());
    let spread = socket(&cluster_ips(cluster, "web")?.remove(0), 8000);
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..24 {
        met.insert(ask(cluster, From::Pod, "connect", &spread)?.0);
    }
    report.check("no affinity", "backends met in 24 tries", "2", &met.len().to_string());
    Ok(())
}

/// The agents are killed and come back: services go on all the while, and after.
fn killed(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let service = socket(&cluster_ips(cluster, "web")?.remove(0), 8000);
    let node = socket("172.31.0.12", PORTS[0]);
    let tool = probe();
    let load = ["--seconds", "16", "--interval", "20", "--timeout", "1000"];
    let clients = [
        (
            "a pod",
            account::start(cluster.in_pod(CLIENT, &[&["probe", "flood", &service], &load[..]].concat()))?,
        ),
        (
            "outside",
            account::start(
                cluster.command(&[&["exec", "world", &tool, "flood", &node], &load[..]].concat()),
            )?,
        ),
    ];
    let (killed, _) = kill(cluster, 4, 14.0)?;
    report.check("agents killed", "under services", "yes", yes(killed > 0));
    for (who, child) in clients {
        let account = Account::of(child)?;
        let detail = format!("{who}, failed of {} connections", account.attempts());
        report.check("agents killed", &detail, "0", &account.failed());
    }
    cluster.kubectl(&["rollout", "status", "-n", "kube-system", "daemonset/cilium", "--timeout=120s"])?;
    report.flush();
    Ok(())
}

/// A pod asks a service, and the packets on its own device carry a backend's address from the first on.
fn capture(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let service = cluster_ips(cluster, "web")?.remove(0);
    captured(cluster, (CLIENT, "n1"), &BACKENDS, &socket(&service, 8000), report)
}

/// What tcpdump sees on a pod's device while the pod asks a service at `to` (IPv4): the addresses of its pods alone. What the
/// kubelet asks the pod's own port 80 is left out.
pub(crate) fn captured(
    cluster: &Cluster,
    (pod, node): (&'static str, &str),
    backends: &[&str],
    to: &str,
    report: &mut Report,
) -> Result<()> {
    let client = cluster.addresses(pod)?.remove(0);
    let find = format!(
        "for n in /var/run/netns/*; do nsenter --net=$n ip -o addr 2>/dev/null | grep -q ' {client}/' && \
         exec nsenter --net=$n timeout 20 tcpdump -lnqi eth0 -c 4 \"tcp and ((src host {client} and not src port 80) or (dst host {client} and not dst port 80))\" 2>/dev/null; done"
    );
    let child = cluster
        .command(&["exec", node, "sh", "-c", &find])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting tcpdump")?;
    // The capture opens a moment after its process; a packet too early is only not seen.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        ask(cluster, From::Other(pod), "connect", to)?;
    }
    let (_, seen) = finished(child)?;
    let address = to.rsplit_once(':').map_or(to, |(address, _)| address);
    report.title(&format!("What tcpdump sees in the pod while it connects to {to}"));
    report.show(&seen);
    let backends: Vec<String> = backends
        .iter()
        .filter_map(|pod| cluster.addresses(pod).ok())
        .filter_map(|all| all.into_iter().next())
        .collect();
    let translated = seen.lines().count() > 0
        && seen.lines().all(|line| backends.iter().any(|backend| line.contains(&format!("{backend}.80"))));
    report.check(
        "capture inside the pod",
        "every packet carries a backend's address",
        "yes",
        yes(translated),
    );
    report.check("capture inside the pod", "and none the service's", "yes", yes(!seen.contains(address)));
    report.flush();
    Ok(())
}
