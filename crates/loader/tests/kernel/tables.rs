use std::time::Duration;

use loader::{Cursor, Map, MapError, MapKind, MapSpec, PerCpu, Scalar, Table};
use reconcile::Reconciler;

use crate::World;

fn table(kind: MapKind, entries: u32, flags: u32) -> Table<u64, u64> {
    let spec = MapSpec::new(kind, 8, 8, entries).flags(flags);
    Table::new(Map::create("test", spec).expect("create")).expect("sizes fit")
}

fn sorted(mut items: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    items.sort_unstable();
    items
}

/// An LPM key of 32 bits prefix length and 32 bits of data.
fn trie_key(data: u32) -> u64 {
    u64::from_ne_bytes([32u32.to_ne_bytes(), data.to_ne_bytes()].concat().try_into().expect("8 bytes"))
}

#[test]
fn batches_reach_every_entry_of_every_kind() {
    let Some(_world) = World::new() else { return };
    let kinds = [
        (MapKind::BPF_MAP_TYPE_HASH, 0),
        (MapKind::BPF_MAP_TYPE_HASH, 1),
        (MapKind::BPF_MAP_TYPE_LRU_HASH, 0),
        (MapKind::BPF_MAP_TYPE_LPM_TRIE, 1),
    ];
    for (kind, flags) in kinds {
        let table = table(kind, 100_000, flags);
        let items: Vec<(u64, u64)> = (0..20_000).map(|i| (trie_key(i), u64::from(i) + 1)).collect();
        assert!(table.upsert_batch(&items).is_empty());
        assert_eq!(table.get(&trie_key(17)).expect("read"), Some(18));
        assert_eq!(table.get(&trie_key(20_000)).expect("read"), None);
        assert_eq!(sorted(table.dump().expect("dump")), sorted(items.clone()), "{kind:?}");
        let iterated: Result<Vec<_>, _> = table.iter().collect();
        assert_eq!(sorted(iterated.expect("iterate")), sorted(items.clone()));
        // Keys that are not there are no failure, wherever they stand in the batch.
        let keys: Vec<u64> = (5_000..25_000).map(trie_key).collect();
        assert!(table.delete_batch(&keys).is_empty());
        assert_eq!(table.dump().expect("dump").len(), 5_000);
        table.clear().expect("clear");
        assert!(table.dump().expect("dump").is_empty());
    }
}

#[test]
fn small_chunks_see_the_whole_table() {
    let Some(_world) = World::new() else { return };
    let table = table(MapKind::BPF_MAP_TYPE_HASH, 4096, 0);
    let items: Vec<(u64, u64)> = (0..3000).map(|i| (i, i)).collect();
    assert!(table.upsert_batch(&items).is_empty());
    let mut cursor = Cursor::new(7);
    let (mut seen, mut steps) = (Vec::new(), 0);
    while !cursor.is_done() {
        seen.extend(table.chunk(&mut cursor).expect("chunk"));
        steps += 1;
    }
    assert!(steps > 100);
    assert_eq!(sorted(seen), items);
}

#[test]
fn a_full_table_names_the_items_that_found_no_room() {
    let Some(_world) = World::new() else { return };
    let table = table(MapKind::BPF_MAP_TYPE_HASH, 10, 0);
    let items: Vec<(u64, u64)> = (0..14).map(|i| (i, i)).collect();
    let failed = table.upsert_batch(&items);
    assert_eq!(failed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [10, 11, 12, 13]);
    assert!(failed.iter().all(|(_, error)| error.is_full()));
    // What is there can still be overwritten in the same batch.
    let failed = table.upsert_batch(&[(99, 1), (3, 333)]);
    assert_eq!((failed.len(), failed[0].0, table.get(&3).expect("read")), (1, 0, Some(333)));
}

#[test]
fn a_reconciler_makes_room_and_converges() {
    let Some(_world) = World::new() else { return };
    let mut table = table(MapKind::BPF_MAP_TYPE_HASH, 100, 0);
    let mut reconciler = Reconciler::new();
    reconciler.replace((0..100).map(|i| (i, i)).collect(), 1);
    assert_eq!(reconciler.run(&mut table, Duration::ZERO).upserted, 100);
    reconciler.replace((50..150).map(|i| (i, i + 1)).collect(), 2);
    let report = reconciler.run(&mut table, Duration::ZERO);
    assert_eq!((report.upserted, report.deleted, report.failed), (100, 50, 0));
    assert_eq!(reconciler.realized(), 2);
    assert_eq!(sorted(table.dump().expect("dump")), (50..150).map(|i| (i, i + 1)).collect::<Vec<_>>());
    assert_eq!(reconciler.compare(&mut table, |_, _| true).expect("compare").total(), 0);
    table.delete(&60).expect("delete");
    assert_eq!(reconciler.compare(&mut table, |_, _| true).expect("compare").missing, 1);
    assert_eq!(reconciler.run(&mut table, Duration::ZERO).upserted, 1);
}

#[test]
fn arrays_and_sums() {
    let Some(world) = World::new() else { return };
    let spec = MapSpec::new(MapKind::BPF_MAP_TYPE_ARRAY, 4, 4, 1);
    let path = world.bpffs().join("epoch");
    Map::create("epoch", spec).expect("create").pin(&path).expect("pin");
    let epoch = Scalar::open(&path).expect("open");
    assert_eq!((epoch.get().expect("get"), epoch.bump().expect("bump")), (0, 1));
    epoch.set(u32::MAX).expect("set");
    assert_eq!(epoch.bump().expect("bump"), 1);
    let spec = MapSpec::new(MapKind::BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4);
    let sums: PerCpu<u64> = PerCpu::new(Map::create("sums", spec).expect("create")).expect("fits");
    assert_eq!(sums.sums().expect("read"), [0; 4]);
    assert_eq!(sums.sum(9).expect("read"), 0);
}

#[test]
fn maps_of_other_shapes_are_refused() {
    let Some(world) = World::new() else { return };
    let spec = MapSpec::new(MapKind::BPF_MAP_TYPE_HASH, 4, 8, 4);
    let create = |spec| Map::create("shape", spec).expect("create");
    assert!(matches!(
        Table::<u64, u64>::new(create(spec)),
        Err(MapError::Layout { key_size: 4, key: 8, .. })
    ));
    let per_cpu = MapSpec::new(MapKind::BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4);
    assert!(matches!(Table::<u32, u64>::new(create(per_cpu)), Err(MapError::Layout { .. })));
    assert!(matches!(PerCpu::<u64>::new(create(spec)), Err(MapError::Layout { .. })));
    assert!(matches!(Map::open(&world.bpffs().join("nothing")), Err(MapError::Open { .. })));
}
