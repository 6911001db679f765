use std::time::{Duration, Instant};

use abi::{PolicyEntry, PolicyKey};
use loader::{
    Map, MapError, MapKind, MapSpec, NO_TABLE, PolicyContent, PolicyTables, PolicyTrieKey, read_policies,
};

use crate::World;

const SECOND: Duration = Duration::from_secs(1);

fn outer(slots: u32) -> Map {
    let inner = MapSpec::new(
        MapKind::BPF_MAP_TYPE_LPM_TRIE,
        size_of::<PolicyTrieKey>(),
        size_of::<PolicyEntry>(),
        65_536,
    )
    .flags(1);
    let inner = Map::create("inner", inner).expect("inner");
    let spec = MapSpec::new(MapKind::BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, slots);
    Map::create_of_maps("outer", spec, &inner).expect("outer")
}

fn item(identity: u32) -> (PolicyTrieKey, PolicyEntry) {
    let key = PolicyKey { identity, block: 0, direction: 0, protocol: 6, port: 80u16.to_be() };
    let entry = PolicyEntry { precedence: 1, cookie: identity, bits: 24, ..Default::default() };
    (PolicyTrieKey::new(key, &entry), entry)
}

fn content(identities: std::ops::Range<u32>) -> PolicyContent {
    identities.map(item).collect()
}

#[test]
fn tables_are_published_edited_and_recycled() {
    let Some(_world) = World::new() else { return };
    let outer = outer(64);
    let mut tables = PolicyTables::adopt(outer.try_clone().expect("clone"), 4).expect("adopt");
    let slot = tables.publish(&content(1..100)).expect("publish");
    assert_ne!(slot, NO_TABLE);
    assert_eq!(tables.content(slot).expect("content"), content(1..100));
    tables.edit(slot, &[item(100)], &[item(1).0]).expect("edit");
    assert_eq!(tables.content(slot).expect("content"), content(2..101));
    tables.release(slot, SECOND);
    assert!(matches!(tables.edit(slot, &[], &[]), Err(MapError::NoTable { .. })));
    // Within the grace period packets may still look at it.
    tables.tick(SECOND + SECOND / 2);
    assert_eq!(read_policies(&outer).expect("read")[&slot], content(2..101));
    tables.tick(SECOND * 3);
    drop(tables);
    assert!(read_policies(&outer).expect("read")[&slot].is_empty());
}

#[test]
fn slots_are_used_again_and_run_out_with_an_error() {
    let Some(_world) = World::new() else { return };
    let mut tables = PolicyTables::adopt(outer(8), 3).expect("adopt");
    for round in 0..40u64 {
        let slot = tables.publish(&content(1..5)).expect("publish");
        tables.release(slot, SECOND * round as u32);
        tables.tick(SECOND * round as u32);
    }
    tables.tick(SECOND * 100);
    let slots: Vec<u32> = (0..7).map(|i| tables.publish(&content(1..i + 2)).expect("publish")).collect();
    assert_eq!(slots.iter().collect::<std::collections::BTreeSet<_>>().len(), 7);
    assert!(matches!(tables.publish(&content(1..2)), Err(MapError::NoSlot { slots: 8 })));
    tables.release(slots[0], SECOND * 200);
    tables.tick(SECOND * 300);
    // The refusals ordered before the release are answered first.
    let again = (0..20).find_map(|_| tables.publish(&content(1..2)).ok());
    assert_eq!(again, Some(slots[0]));
}

#[test]
fn a_restart_claims_equal_tables_and_frees_the_others() {
    let Some(_world) = World::new() else { return };
    let outer = outer(64);
    let mut tables = PolicyTables::adopt(outer.try_clone().expect("clone"), 4).expect("adopt");
    let kept = tables.publish(&content(1..50)).expect("publish");
    let stale = tables.publish(&content(7..9)).expect("publish");
    drop(tables);
    let mut tables = PolicyTables::adopt(outer.try_clone().expect("clone"), 4).expect("adopt");
    assert_eq!(tables.stats().unclaimed, 2);
    assert_eq!(tables.publish(&content(1..50)).expect("publish"), kept);
    // Once claimed it is nobody else's.
    assert_ne!(tables.publish(&content(1..50)).expect("publish"), kept);
    tables.release_unclaimed(SECOND);
    tables.tick(SECOND * 3);
    assert_eq!((tables.stats().unclaimed, tables.stats().released), (0, 0));
    drop(tables);
    let found = read_policies(&outer).expect("read");
    assert!(found[&stale].is_empty());
    assert_eq!(found[&kept], content(1..50));
}

/// What design §3 builds on: publishing does not wait for the kernel's grace periods. Prints what it measured.
#[test]
fn publishing_does_not_wait() {
    let Some(_world) = World::new() else { return };
    let outer = outer(1024);
    let direct = {
        let trie = Map::create(
            "inner",
            MapSpec::new(
                MapKind::BPF_MAP_TYPE_LPM_TRIE,
                size_of::<PolicyTrieKey>(),
                size_of::<PolicyEntry>(),
                65_536,
            )
            .flags(1),
        );
        let trie = trie.expect("trie");
        let slots: loader::Table<u32, u32> =
            loader::Table::new(outer.try_clone().expect("clone")).expect("fits");
        let start = Instant::now();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&trie)) as u32;
        slots.insert(&1000, &fd).expect("insert");
        start.elapsed()
    };
    let start = Instant::now();
    let mut tables = PolicyTables::adopt(outer, 64).expect("adopt");
    tables.publish(&content(1..2)).expect("publish");
    let first = start.elapsed();
    let mut times: Vec<Duration> = (0..30)
        .map(|i| {
            let start = Instant::now();
            tables.publish(&content(1..100 + i)).expect("publish");
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "one slot directly {direct:?}; adopt and first table {first:?}; then median {:?}, longest {:?}",
        times[15], times[29]
    );
    assert!(times[15] < Duration::from_millis(5), "{times:?}");
}
