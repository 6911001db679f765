use std::time::Duration;

use abi::{
    Addr, Flow, FlowKey, NatKey, NatValue,
    flow::CLOSING_LIFETIME,
    nat::{BACK, OUT},
};
use loader::{Gc, Maps, Progress};

use crate::World;

const SECOND: u64 = 1_000_000_000;

fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().expect("literal").into()
}

fn flow(port: u16, expires: u64) -> (FlowKey, Flow) {
    let key = FlowKey { port: [port, 80], protocol: 6, ..Default::default() };
    (key, Flow { expires, ..Default::default() })
}

/// A connection of `from:port` to 192.0.2.1:443 that leaves with the node's address, and when it was used last.
fn masquerade(maps: &Maps, from: &str, port: u16, used: u64) {
    let (world, node) = (addr("192.0.2.1"), addr("172.31.0.1"));
    let common = NatKey { protocol: 6, ..Default::default() };
    let out = NatKey {
        source: addr(from),
        source_port: port,
        destination: world,
        destination_port: 443,
        direction: OUT,
        ..common
    };
    let back = NatKey {
        source: world,
        source_port: 443,
        destination: node,
        destination_port: port,
        direction: BACK,
        ..common
    };
    let value = NatValue { addr: node, port, used, ..Default::default() };
    // Only the outgoing half is kept fresh.
    let home = NatValue { addr: addr(from), port, used: 0, ..Default::default() };
    assert!(maps.nat.upsert_batch(&[(out, value), (back, home)]).is_empty());
}

fn nat_ports(maps: &Maps, direction: u8) -> Vec<u16> {
    let mut ports: Vec<u16> = maps
        .nat
        .dump()
        .expect("dump")
        .into_iter()
        .filter(|(key, _)| key.direction == direction)
        .map(|(key, _)| if direction == OUT { key.source_port } else { key.destination_port })
        .collect();
    ports.sort_unstable();
    ports
}

fn sweep(gc: &mut Gc, maps: &Maps, now: u64) -> (loader::GcStats, usize) {
    let mut steps = 1;
    loop {
        match gc.step(maps, now).expect("step") {
            Progress::Done(stats) => return (stats, steps),
            Progress::More => steps += 1,
        }
    }
}

#[test]
fn what_expired_goes_and_nothing_else() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let maps = &object.maps;
    let flows: Vec<_> = (0..1000).map(|port| flow(port, 1000 * u64::from(port))).collect();
    assert!(maps.flows.upsert_batch(&flows).is_empty());
    assert!(maps.half_open.upsert_batch(&flows[..500]).is_empty());
    let mut gc = Gc::new(100);
    let (stats, steps) = sweep(&mut gc, maps, 400_000);
    assert_eq!((stats.flows.deleted, stats.flows.alive, stats.flows.capacity), (400, 600, 1024));
    assert_eq!((stats.half_open.deleted, stats.half_open.alive), (400, 100));
    assert!(steps > 10, "it is paced: {steps} steps");
    assert!(maps.flows.dump().expect("dump").iter().all(|(_, flow)| flow.expires >= 400_000));
    assert!((stats.flows.pressure() - 600.0 / 1024.0).abs() < 1e-9);
    let (stats, _) = sweep(&mut gc, maps, 400_000);
    assert_eq!((stats.flows.deleted, stats.flows.alive), (0, 600));
}

#[test]
fn masquerade_entries_live_as_long_as_their_flows() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let maps = &object.maps;
    let now = 100_000 * SECOND;
    // 1: idle, but its flow lives. 2: idle and without a flow. 3: without a flow, but just used. 4: of the node itself.
    masquerade(maps, "10.0.0.5", 1, now - 100 * SECOND);
    masquerade(maps, "10.0.0.5", 2, now - CLOSING_LIFETIME - 1);
    masquerade(maps, "10.0.0.5", 3, now - CLOSING_LIFETIME + SECOND);
    masquerade(maps, "172.31.0.1", 4, now - 100 * SECOND);
    masquerade(maps, "172.31.0.1", 5, now - 9000 * SECOND);
    let ends = [addr("10.0.0.5"), addr("192.0.2.1")];
    let key = FlowKey { addr: ends, port: [1, 443], protocol: 6, _pad: [0; 3] };
    let lower_first = if ends[0].below(&ends[1]) {
        key
    } else {
        FlowKey { addr: [ends[1], ends[0]], port: [443, 1], ..key }
    };
    maps.flows.insert(&lower_first, &Flow { expires: now + SECOND, ..Default::default() }).expect("insert");
    let mut gc = Gc::new(4096);
    sweep(&mut gc, maps, now);
    sweep(&mut gc, maps, now);
    assert_eq!(nat_ports(maps, OUT), [1, 3, 4]);
    assert_eq!(nat_ports(maps, BACK), [1, 3, 4]);
    // When the flow goes, the next sweeps take its pair too.
    let later = now + 20 * SECOND;
    sweep(&mut gc, maps, later);
    let stats = gc.sweep(maps, Duration::ZERO);
    assert!(stats.is_ok());
    assert!(!nat_ports(maps, OUT).contains(&1));
}
