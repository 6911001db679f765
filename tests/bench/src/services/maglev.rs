//! Maglev tables as the agent computes them, without a kernel: what moves when a backend goes, and whether two nodes agree.

use std::net::{IpAddr, Ipv4Addr};

use abi::Backend;
use anyhow::{Context, Result};
use services::{Algorithm, Balancer, Endpoint, ObjectName, Service, ServicePort, Settings, Slice, SlicePort};

use crate::figure::{Figure, Figures};
use crate::stats::{median, quantile};

/// Prefixes of the figures of this part.
pub(super) const PREFIXES: &[&str] = &["maglev."];

const BACKENDS: u8 = 100;
/// As many, of other services, on the node that is compared.
const OTHERS: u32 = 50;

/// The figures of this part.
pub(super) fn figures() -> Vec<Figure> {
    let least = "none: the flows of the backend that goes, 1 %, have to move";
    vec![
        Figure::lower("maglev.moved.others.worst", "%").goal(1.5).peer(least),
        Figure::lower("maglev.moved.others.p50", "%").peer(least),
        Figure::lower("maglev.moved.all.worst", "%"),
        Figure::lower("maglev.two_nodes_differ", "entries").goal(0.0),
    ]
}

/// Measures everything of this part.
pub(super) fn measure(figures: &mut Figures) -> Result<()> {
    let all: Vec<u8> = (0..BACKENDS).collect();
    let before = choices("n1", &all, false)?;
    let (mut moves, mut moves_of_others) = (Vec::new(), Vec::new());
    for gone in &all {
        let rest: Vec<u8> = all.iter().copied().filter(|one| one != gone).collect();
        let after = choices("n1", &rest, false)?;
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count();
        let own = before.iter().filter(|was| **was == address(*gone)).count();
        let share = |part: usize, whole: usize| part as f64 / whole as f64 * 100.0;
        moves.push(share(moved, before.len()));
        moves_of_others.push(share(moved - own, before.len() - own));
    }
    figures.set("maglev.moved.others.worst", quantile(&moves_of_others, 1.0), all.len())?;
    figures.set("maglev.moved.others.p50", median(&moves_of_others), all.len())?;
    figures.set("maglev.moved.all.worst", quantile(&moves, 1.0), all.len())?;
    let elsewhere = choices("n2", &all, true)?;
    let differ = before.iter().zip(&elsewhere).filter(|(here, there)| here != there).count();
    figures.set("maglev.two_nodes_differ", differ as f64, before.len())
}

/// The backend of each entry, as a node works it out. A `busy` node has learned of other services before, and of these
/// backends in another order.
fn choices(node: &str, backends: &[u8], busy: bool) -> Result<Vec<IpAddr>> {
    let mut balancer = Balancer::new(Settings { algorithm: Algorithm::Maglev, ..Settings::new(node) });
    if busy {
        for number in 1..=OTHERS {
            let (service, slice) = objects(number, &[BACKENDS + 1, BACKENDS + 2]);
            balancer.set_slice(slice);
            balancer.set_service(service);
        }
    }
    let mut order = backends.to_vec();
    if busy {
        order.reverse();
    }
    let (service, slice) = objects(0, &order);
    balancer.set_service(service);
    balancer.set_slice(slice);
    balancer.settle(0);
    let tables = balancer.tables();
    let table = tables.maglev.values().find(|table| table.backends().len() == backends.len());
    let table = table.context("no table of these backends")?;
    let of = |entry: u16| table.backends().get(usize::from(entry)).map(ip).context("an entry of no backend");
    table.entries().into_iter().map(of).collect()
}

fn objects(number: u32, backends: &[u8]) -> (Service, Slice) {
    let name = ObjectName::new("default", &format!("service-{number}"));
    let service = Service {
        name: name.clone(),
        // Only clients outside are served by these tables.
        external_ips: vec![IpAddr::V4(Ipv4Addr::from(0xc612_0001 + number))],
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::from(0x0a60_0001 + number))],
        ports: vec![ServicePort { port: 80, ..ServicePort::default() }],
        ..Service::default()
    };
    let endpoint = |backend: &u8| Endpoint {
        addresses: vec![address(*backend)],
        ready: true,
        serving: true,
        ..Endpoint::default()
    };
    let slice = Slice {
        name: ObjectName::new("default", &format!("service-{number}-slice")),
        service: name.name,
        ports: vec![SlicePort { port: 8080, ..SlicePort::default() }],
        endpoints: backends.iter().map(endpoint).collect(),
    };
    (service, slice)
}

fn address(backend: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, backend))
}

fn ip(backend: &Backend) -> IpAddr {
    IpAddr::from(backend.addr).to_canonical()
}
