//! From outside the cluster to a node port, answered by a pod of another node, beside the pod by its own address through
//! its own node: the port's node is one more to pass, in both directions (SNAT) or in one (DSR). What passing a node costs by
//! itself is seen where the port's node only forwards what is sent to the pod's own address.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::field::{Field, SERVER, wait};
use super::rounds::{self, Effort, Way};
use super::spot::Spot;
use super::{objects, processes};
use crate::figure::{Figure, Figures};
use crate::stats::estimate;

/// Prefixes of the figures of this part.
pub(super) const PREFIXES: &[&str] = &["node_port."];

const T1: &str = "172.31.0.101";
const T2: &str = "172.31.0.102";
const SNAT: u16 = 30_080;
const DSR: u16 = 30_081;
const WAYS: [&str; 5] = ["direct", "forwarded", "snat", "dsr", "own_node"];
/// The table of routes for packets that are to be forwarded.
const TABLE: &str = "101";

/// The figures of this part.
pub(super) fn figures() -> Vec<Figure> {
    let direct = "the same pod by its own address through its own node";
    let ratio = |name: &str| Figure::higher(format!("node_port.{name}"), "ratio").peer(direct);
    let forwarded = |name: &str| {
        let peer =
            "the same pod by its own address, forwarded by the node whose port it is, answered straight";
        Figure::higher(format!("node_port.{name}"), "ratio").peer(peer)
    };
    let mut figures = vec![
        ratio("snat_over_direct").goal(0.92),
        ratio("dsr_over_direct").goal(0.97),
        ratio("own_node_over_direct"),
        ratio("forwarded_over_direct"),
        forwarded("snat_over_forwarded").goal(0.92),
        forwarded("dsr_over_forwarded").goal(0.97),
    ];
    for way in WAYS {
        figures.push(Figure::lower(format!("node_port.{way}.p50"), "µs"));
        figures.push(Figure::lower(format!("node_port.{way}.p99"), "µs"));
    }
    figures
}

/// Measures everything of this part.
pub(super) fn measure(figures: &mut Figures, effort: Effort) -> Result<()> {
    let field = Field::up("benchnodeport")?;
    let (lab, server) = (&field.lab, field.pods.server);
    for (name, port, forwarding) in [("snat", SNAT, "snat"), ("dsr", DSR, "dsr")] {
        lab.apply(&objects::list(&objects::node_port(name, port, forwarding, server, SERVER)))?;
    }
    let world = Spot::machine(lab, "world");
    world.run(&["ip", "route", "replace", &format!("{server}/32"), "via", T2])?;
    let direct = field.direct();
    let to = [direct.clone(), direct, format!("{T1}:{SNAT}"), format!("{T1}:{DSR}"), format!("{T2}:{SNAT}")];
    let ways = (0..).zip(WAYS.into_iter().zip(to));
    let ways = ways.map(|(lane, (name, to))| Way { name, from: &world, to: vec![to], lane: (lane, 5) });
    let ways: Vec<Way> = ways.collect();
    forward(&world, &ways[1], &format!("{server}/32"))?;
    for way in &ways {
        let to = &way.to[0];
        wait(&format!("{to} ({}) to answer", way.name), Duration::from_secs(30), || world.connects(to))?;
    }
    processes::wait_for_rest(&lab.namespace(""), Duration::from_secs(120))?;
    let samples = rounds::measure(&ways, effort)?;
    let ratios = [("direct", &["snat", "dsr", "own_node", "forwarded"][..]), ("forwarded", &["snat", "dsr"])];
    for (limit, way) in ratios.iter().flat_map(|(limit, ways)| ways.iter().map(move |way| (limit, way))) {
        let name = format!("node_port.{way}_over_{limit}");
        figures.set_ratio(&name, &samples.rates(way), &samples.rates(limit))?;
    }
    for way in WAYS {
        let (p50, p99) = (samples.of(way, |s| s.p50), samples.of(way, |s| s.p99));
        figures.set_estimate(&format!("node_port.{way}.p50"), estimate(&p50), p50.len())?;
        figures.set_estimate(&format!("node_port.{way}.p99"), estimate(&p99), p99.len())?;
    }
    rounds::keep("node-port", &BTreeMap::from([(2, samples)]))
}

/// Packets of this way, told by their source ports, are routed by the first node.
fn forward(world: &Spot, way: &Way, to: &str) -> Result<()> {
    // The node would say each time that there is a shorter way, and be believed.
    world.run(&[
        "sysctl",
        "-qw",
        "net.ipv4.conf.all.accept_redirects=0",
        "net.ipv4.conf.eth0.accept_redirects=0",
    ])?;
    world.run(&["ip", "route", "replace", to, "via", T1, "table", TABLE])?;
    let rule = ["ip", "rule", "add", "to", to, "ipproto", "tcp", "sport", &way.all_ports(), "lookup", TABLE];
    world.run(&rule).map(drop)
}
