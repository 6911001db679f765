//! Pods against pods: the same clients and servers over our network, with policy in both directions and conntrack, and
//! over a bridge with IP routing, without any program or filter. Both labs run beside each other; rounds alternate, and
//! the figure is the median of the rounds' ratios. Clients run on processor 0, servers on processor 1.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::figure::{Figure, Figures};
use crate::lab::Lab;

/// Prefixes of the figures of this part.
pub(crate) const PREFIXES: &[&str] = &["pods."];

/// The image of the tests; the lab loads it from an archive.
const IMAGE: &str = "localhost/axoneme/test:dev";
/// Served by a thread each; one connection after the other; open but denied by policy.
const ECHO: u16 = 80;
const INLINE: u16 = 81;
const DENIED: u16 = 82;

/// What is measured between two pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    RoundTrips,
    Stream,
    Connections,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::RoundTrips, Kind::Stream, Kind::Connections];

    fn name(self) -> &'static str {
        match self {
            Kind::RoundTrips => "round_trips",
            Kind::Stream => "throughput",
            Kind::Connections => "new_connections",
        }
    }

    /// The goal under native routing, and what Cilium gets there (its goal under a tunnel is Cilium's figure).
    fn goal(self, tunnel: bool) -> (f64, &'static str) {
        match (self, tunnel) {
            (Kind::RoundTrips, false) => (1.05, "bridge and IP routing (Cilium 1.19.4: 1.02)"),
            (Kind::Stream, false) => (1.05, "bridge and IP routing (Cilium 1.19.4: 1.03)"),
            (Kind::Connections, false) => (0.95, "bridge and IP routing (Cilium 1.19.4: 0.92)"),
            (Kind::RoundTrips, true) => (0.81, "bridge and IP routing (Cilium 1.19.4: 0.81)"),
            (Kind::Stream, true) => (0.72, "bridge and IP routing (Cilium 1.19.4: 0.72)"),
            (Kind::Connections, true) => (0.69, "bridge and IP routing (Cilium 1.19.4: 0.69)"),
        }
    }
}

/// (name, server, through the tunnel).
const PLACES: &[(&str, &str, bool)] =
    &[("same_node", "near", false), ("across_nodes", "far", false), ("across_nodes_vxlan", "far", true)];

/// The figures of this part.
pub(crate) fn figures() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (place, _, tunnel) in PLACES {
        for kind in Kind::ALL {
            let (goal, peer) = kind.goal(*tunnel);
            figures.push(Figure::higher(name(place, kind), "ratio").goal(goal).peer(peer));
        }
    }
    figures
}

fn name(place: &str, kind: Kind) -> String {
    format!("pods.{place}.{}", kind.name())
}

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
}

/// Measures everything of this part.
pub(crate) fn measure(figures: &mut Figures, effort: Effort) -> Result<()> {
    let plain = Lab::up("benchplain", &["--nodes", "2", "--cni", "bridge", "--no-dns"])?;
    start_pods(&plain)?;
    for tunnel in [false, true] {
        let profile = if tunnel { "routingMode=tunnel" } else { "routingMode=native" };
        let mut arguments = vec!["--nodes", "2", "--no-dns", "--set", profile];
        if !tunnel {
            arguments.extend([
                "--set",
                "autoDirectNodeRoutes=true",
                "--set",
                "ipv4NativeRoutingCIDR=10.0.0.0/8",
            ]);
        }
        let ours = Lab::up("benchours", &arguments)?;
        start_pods(&ours)?;
        enforce(&ours)?;
        for (place, server, _) in PLACES.iter().filter(|place| place.2 == tunnel) {
            for kind in Kind::ALL {
                compare(figures, &ours, &plain, effort, place, server, kind)?;
            }
        }
    }
    Ok(())
}

fn compare(
    figures: &mut Figures,
    ours: &Lab,
    plain: &Lab,
    effort: Effort,
    place: &str,
    server: &str,
    kind: Kind,
) -> Result<()> {
    let to = [ours.pod_ip(server)?, plain.pod_ip(server)?];
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        // A B, B A, A B, …: a drift meets both.
        for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (lab, rates) = if which == 0 { (ours, &mut a) } else { (plain, &mut b) };
            rates.push(
                once(lab, kind, &to[which], effort.seconds).with_context(|| format!("{place}, {kind:?}"))?,
            );
        }
    }
    figures.set_ratio(&name(place, kind), &a, &b)
}

#[derive(Deserialize)]
struct Measured {
    per_second: f64,
    gbit_per_second: Option<f64>,
    p50_us: Option<f64>,
    errors: u64,
}

fn once(lab: &Lab, kind: Kind, to: &str, seconds: f64) -> Result<f64> {
    let (mode, port) = match kind {
        Kind::RoundTrips => ("rr", ECHO),
        Kind::Stream => ("stream", ECHO),
        Kind::Connections => ("crr", INLINE),
    };
    let (to, seconds) = (format!("{to}:{port}"), seconds.to_string());
    let measured: Measured = lab.probe("client", &[mode, &to, "--seconds", &seconds, "--cpu", "0"])?;
    ensure!(measured.errors == 0, "{} of the connections failed", measured.errors);
    match kind {
        Kind::Stream => measured.gbit_per_second.context("no throughput in the answer"),
        Kind::RoundTrips => Ok(measured.per_second),
        // A stall of one connection (a lost SYN waits a second) must not decide: the rate of the middle one.
        Kind::Connections => Ok(1e6 / measured.p50_us.context("no median in the answer")?),
    }
}

fn start_pods(lab: &Lab) -> Result<()> {
    let ports = format!("{ECHO},{DENIED}");
    let serve = ["serve", "--tcp", &ports, "--inline", "81", "--cpu", "1"].map(str::to_owned);
    let idle = ["pause".to_owned()];
    let items = [pod("client", "n1", &idle), pod("near", "n1", &serve), pod("far", "n2", &serve)];
    lab.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
    lab.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s"])?;
    // A pod is Ready when its process runs; its port may take a moment more.
    for server in ["near", "far"] {
        let to = format!("{}:{ECHO}", lab.pod_ip(server)?);
        wait(&format!("{server} to answer"), || lab.probe_succeeds("client", &["connect", &to]))?;
    }
    Ok(())
}

fn pod(name: &str, node: &str, arguments: &[String]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "role": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "probe", "image": IMAGE, "args": arguments}],
        },
    })
}

/// Policy in both directions, and proof that it is in force.
fn enforce(lab: &Lab) -> Result<()> {
    let peers = json!([{"matchLabels": {"app": "bench"}}]);
    let ports = json!([{"ports": [
        {"port": ECHO.to_string(), "protocol": "TCP"},
        {"port": INLINE.to_string(), "protocol": "TCP"},
    ]}]);
    lab.apply(&json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "bench", "namespace": "default"},
        "spec": {
            "endpointSelector": {"matchLabels": {"app": "bench"}},
            "ingress": [{"fromEndpoints": peers, "toPorts": ports}],
            "egress": [{"toEndpoints": peers, "toPorts": ports}],
        },
    }))?;
    for server in ["near", "far"] {
        let ip = lab.pod_ip(server)?;
        let denied = ["connect", &format!("{ip}:{DENIED}"), "--timeout", "300"];
        wait(&format!("the policy to deny {server}"), || Ok(!lab.probe_succeeds("client", &denied)?))?;
        let allowed = ["connect", &format!("{ip}:{ECHO}")];
        ensure!(lab.probe_succeeds("client", &allowed)?, "the policy denies what it allows at {server}");
    }
    Ok(())
}

/// Tries until it is so, at most half a minute.
fn wait(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !so()? {
        ensure!(start.elapsed() < Duration::from_secs(30), "waited half a minute for {what}");
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
