//! Many services: what a change costs follows the change. Times are printed (`--nocapture`), not judged.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use axoneme_services::*;
use common::{Kernel, SECOND};

const SERVICES: u32 = 10_000;
const BACKENDS: u32 = 10;

fn name(i: u32, suffix: &str) -> ObjectName {
    ObjectName::new(&format!("ns-{}", i % 100), &format!("service-{i}{suffix}"))
}

fn service(i: u32, kind: ServiceKind) -> Service {
    let port = ServicePort { name: "http".into(), port: 80, ..ServicePort::default() };
    let cluster_ips = vec![IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + i))];
    Service { name: name(i, ""), kind, cluster_ips, ports: vec![port], ..Service::default() }
}

fn slice(i: u32, addresses: impl Iterator<Item = u32>) -> Slice {
    let endpoint = |address: u32| Endpoint {
        addresses: vec![IpAddr::V4(Ipv4Addr::from(address))],
        ready: true,
        serving: true,
        node: Some(format!("node-{}", address % 100).into()),
        ..Endpoint::default()
    };
    let port = SlicePort { name: "http".into(), port: 8080, ..SlicePort::default() };
    let (name, service) = (name(i, "-x7k2p"), name(i, "").name);
    Slice { name, service, ports: vec![port], endpoints: addresses.map(endpoint).collect() }
}

/// Each service has backends of its own.
fn own(i: u32) -> impl Iterator<Item = u32> {
    let first = 0x0a80_0000 + i * 16;
    first..first + BACKENDS
}

/// Says how long `what` took.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what}: {:.3} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

#[test]
fn ten_thousand_services() {
    let mut balancer = Balancer::new(Settings::new("node-1"));
    let services: Vec<Service> = (0..SERVICES).map(|i| service(i, ServiceKind::ClusterIp)).collect();
    let slices: Vec<Slice> = (0..SERVICES).map(|i| slice(i, own(i))).collect();
    let (again, again_slices) = (services.clone(), slices.clone());
    let update = timed("cold", || {
        balancer.reset_slices(slices);
        balancer.reset_services(services);
        balancer.settle(0)
    });
    let many = |count: u32| usize::try_from(count).unwrap();
    assert_eq!(update.backends.len(), many(SERVICES * BACKENDS));
    assert_eq!(update.members.len(), many(SERVICES * BACKENDS));
    assert_eq!(update.frontends.len(), many(SERVICES * 2), "and a dead end each");
    let mut kernel = Kernel::default();
    kernel.apply(&update, 0);
    balancer.realized(update.revision, 0);

    // One endpoint more: its slots, its member, its frontend.
    let update = timed("a slice", || {
        balancer.set_slice(slice(77, own(77).chain([0x0aff_0001])));
        balancer.settle(SECOND)
    });
    assert_eq!((update.backends.len(), update.members.len(), update.frontends.len()), (11, 1, 1));
    kernel.apply(&update, SECOND);
    kernel.assert_equals(&balancer.tables());
    balancer.set_slice(slice(77, own(77)));
    let update = balancer.settle(SECOND);
    kernel.apply(&update, SECOND);

    let changes: Vec<Slice> =
        (0..2000).map(|i| slice(i / 2 * 7, own(i / 2 * 7).skip(many(1 - i % 2)))).collect();
    timed("two thousand slices, one by one", || {
        for change in changes {
            balancer.set_slice(change);
            let update = balancer.settle(SECOND);
            assert!((1..=12).contains(&update.len()), "{}", update.len());
        }
    });

    let update = timed("the same lists again", || {
        balancer.reset_slices(again_slices.clone());
        balancer.reset_services(again.clone());
        balancer.settle(2 * SECOND)
    });
    assert!(update.is_empty());
    assert_eq!(timed("view", || balancer.services()).len(), many(SERVICES));

    let backend = |slot| kernel.backends.get(&slot).copied();
    let maglev = |slot| kernel.maglev.get(&slot).cloned();
    let update = timed("restart", || {
        let mut balancer = Balancer::adopt(Settings::new("node-1"), &kernel.found(&backend, &maglev));
        balancer.reset_slices(again_slices);
        balancer.reset_services(again);
        balancer.settle(4 * SECOND)
    });
    assert!(update.is_empty());
}

/// An ingress with thousands of services: a change of one does not look at the others.
#[test]
fn one_backend_of_all() {
    let shared = 0x0a80_0000u32;
    let mut balancer = Balancer::new(Settings::new("node-1"));
    balancer.reset_services((0..SERVICES).map(|i| service(i, ServiceKind::ClusterIp)));
    balancer.reset_slices((0..SERVICES).map(|i| slice(i, [shared].into_iter())));
    let update = balancer.settle(0);
    assert_eq!(update.backends.len(), 1, "they share the slot too");
    balancer.realized(update.revision, 0);
    let update = timed("a slice of them", || {
        balancer.set_slice(slice(77, [shared, shared + 1].into_iter()));
        balancer.settle(SECOND)
    });
    assert_eq!((update.backends.len(), update.members.len(), update.frontends.len()), (2, 1, 1));
    let update = timed("none of them", || balancer.settle(2 * SECOND));
    assert!(update.is_empty());
}

/// Maglev tables are computed by the writer: the balancer only says of what.
#[test]
fn tables_of_a_thousand_services() {
    let settings = Settings { algorithm: Algorithm::Maglev, ..Settings::new("node-1") };
    let mut balancer = Balancer::new(settings);
    balancer.reset_services((0..1000).map(|i| Service {
        load_balancer_ips: vec![LoadBalancerIp {
            ip: IpAddr::V4(Ipv4Addr::from(0xc000_0200 + i)),
            mode: IpMode::Vip,
        }],
        ..service(i, ServiceKind::LoadBalancer)
    }));
    balancer.reset_slices((0..1000).map(|i| slice(i, own(i))));
    let update = timed("a thousand with Maglev", || balancer.settle(0));
    assert_eq!(update.maglev.len(), 1000);
    let table = update.maglev[0].1.clone().unwrap();
    assert_eq!(timed("one table", || table.entries()).len(), 16_381);
}
