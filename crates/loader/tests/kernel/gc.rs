use abi::{Flow, FlowKey, NatKey, NatValue};
use loader::{Gc, Maps, Progress};

use crate::World;

fn flow(port: u16, expires: u64) -> (FlowKey, Flow) {
    let key = FlowKey { port: [port, 80], protocol: 6, ..Default::default() };
    (key, Flow { expires, ..Default::default() })
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
fn translations_go_when_they_expired() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let maps = &object.maps;
    let entries: Vec<_> = (0..100_u16)
        .map(|port| {
            let key = NatKey { source_port: port, protocol: 6, ..Default::default() };
            (key, NatValue { expires: u64::from(port), ..Default::default() })
        })
        .collect();
    assert!(maps.nat.upsert_batch(&entries).is_empty());
    assert!(maps.nat_half_open.upsert_batch(&entries[..50]).is_empty());
    let (stats, _) = sweep(&mut Gc::new(4096), maps, 40);
    assert_eq!((stats.nat.deleted, stats.nat.alive), (40, 60));
    assert_eq!((stats.nat_half_open.deleted, stats.nat_half_open.alive), (40, 10));
}
