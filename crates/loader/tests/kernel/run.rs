use std::time::{Duration, Instant};

use abi::{PodFacts, PolicyEntry, PolicyKey};
use loader::{
    EventReader, Map, Object, PerCpu, PolicyTables, PolicyTrieKey, globals,
    testrun::{SkBuff, test_run},
};

use crate::{World, device};

/// The kernel wants an Ethernet header and looks at the type; the fixture looks at nothing.
fn packet() -> Vec<u8> {
    let mut packet: Vec<u8> = (0..60).collect();
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    packet
}

/// A pod behind `lxc1`, and the context of a packet it sends.
fn pod(object: &Object, policy: u32) -> SkBuff {
    let ifindex = device("lxc1");
    object
        .maps
        .pods
        .insert(&ifindex, &PodFacts { identity: 1000, policy, ..Default::default() })
        .expect("pod");
    SkBuff { ifindex, ..Default::default() }
}

#[test]
fn a_test_run_gives_verdict_packet_and_context() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let mut tables =
        PolicyTables::adopt(object.maps.policies.try_clone().expect("clone"), 2).expect("tables");
    let key = PolicyKey { identity: 7, block: 0, direction: 0, protocol: 6, port: 80u16.to_be() };
    // The whole direction of identity 7: found by a lookup with all bits.
    let entry = PolicyEntry { cookie: 4711, ..Default::default() };
    let rule = (PolicyTrieKey::new(PolicyKey { protocol: 0, port: 0, ..key }, &entry), entry);
    let slot = tables.publish(&[rule].into()).expect("publish");
    let ctx = SkBuff { mark: 0xabcd, cb: [1, 2, 3, 4, 5], ..pod(&object, slot) };
    let program = object.program("pod_egress").expect("there");
    let run = test_run(program, &packet(), &ctx, 1).expect("run");
    assert_eq!((run.data, run.ctx.mark, run.ctx.ifindex), (packet(), 0xabcd, ctx.ifindex));
    assert_eq!(run.retval as i32, -1, "the fixture says: next");
    // Configuration, pod and policy table, as the fixture found them.
    assert_eq!(run.ctx.cb, [77, 1000, 4711, 4, 5]);
    let run = test_run(program, &packet(), &ctx, 1000).expect("run");
    println!("{:?} a packet", run.duration);
    let nowhere = SkBuff { ifindex: 9999, ..ctx };
    let error = test_run(program, &packet(), &nowhere, 1).expect_err("no such interface");
    assert_eq!(error.ifindex, 9999);
}

fn reader_parts(world: &World) -> (Map, PerCpu<u64>) {
    let at = |name: &str| globals(world.bpffs()).join(name);
    let ring = Map::open(&at(abi::maps::EVENTS)).expect("ring");
    (ring, PerCpu::open(&at(abi::maps::LOST)).expect("lost"))
}

#[test]
fn events_reach_the_queue_and_losses_are_counted() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    object.maps.monitor.set(2).expect("monitor");
    let ctx = pod(&object, 0);
    let (ring, lost) = reader_parts(&world);
    let (reader, records) = EventReader::start_queue(&ring, lost, 4).expect("start");
    let program = object.program("pod_egress").expect("there");
    test_run(program, &packet(), &ctx, 1).expect("run");
    let record = records.recv_timeout(Duration::from_secs(5)).expect("an event");
    assert!(record.len() >= size_of::<abi::Event>());
    // Nobody takes the next ones: four fit the queue.
    test_run(program, &packet(), &ctx, 20).expect("run");
    let start = Instant::now();
    while reader.stats().expect("stats").lost_in_queue < 10 && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stats = reader.stats().expect("stats");
    assert!(stats.lost_in_queue >= 10 && stats.delivered >= 5, "{stats:?}");
    drop(reader);
    assert_eq!(records.iter().count(), 4, "the thread ended, and what was queued is still there");
}

#[test]
fn a_full_ring_is_counted_by_the_kernel() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    object.maps.monitor.set(2).expect("monitor");
    let ctx = pod(&object, 0);
    let program = object.program("pod_egress").expect("there");
    // Far more than the ring holds, and nobody reads.
    test_run(program, &packet(), &ctx, 100_000).expect("run");
    let (ring, lost) = reader_parts(&world);
    let (reader, _records) = EventReader::start_queue(&ring, lost, 1).expect("start");
    let stats = reader.stats().expect("stats");
    assert!(stats.lost_in_kernel > 10_000, "{stats:?}");
}
