use std::{collections::BTreeMap, fs};

use abi::{Flow, FlowKey, PodFacts, maps};
use loader::{Adoption, LoadError, Map, Scalar, ServiceSupport, globals, preflight};

use crate::{World, object, small_sizes};

fn flow(port: u16) -> (FlowKey, Flow) {
    let key = FlowKey { port: [port, 80], protocol: 6, ..Default::default() };
    (key, Flow { expires: u64::from(port), ..Default::default() })
}

fn pod() -> PodFacts {
    PodFacts { identity: 1234, endpoint: 7, ..Default::default() }
}

fn names(world: &World) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(globals(world.bpffs()))
        .expect("globals")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_program_loads_and_tells_its_cost() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let names: Vec<&str> = object.programs().iter().map(|program| program.name()).collect();
    let expected = ["host_egress", "netdev_egress", "netdev_ingress", "overlay_ingress", "pod_egress"];
    assert_eq!(names, expected);
    for program in object.programs() {
        let stats = program.stats();
        println!("{}: {stats:?}", program.name());
        assert!(stats.verified > 0 && stats.translated > 0 && program.id() > 0);
    }
    assert!(object.adoption().values().all(|what| *what == Adoption::Created));
}

#[test]
fn a_second_load_adopts_everything_with_its_content() {
    let Some(world) = World::new() else { return };
    let Some(first) = world.load() else { return };
    first.maps.pods.insert(&5, &pod()).expect("insert");
    first.maps.epoch.set(77).expect("set");
    let id = first.maps.flows.map().id();
    drop(first);
    let second = world.load().expect("built");
    assert!(second.adoption().values().all(|what| *what == Adoption::Adopted), "{:?}", second.adoption());
    assert_eq!(second.maps.flows.map().id(), id);
    assert_eq!(second.maps.pods.get(&5).expect("get"), Some(pod()));
    assert_eq!(second.maps.epoch.get().expect("get"), 77);
    assert!(!world.bpffs().join("cilium/new-maps").exists());
}

#[test]
fn another_size_replaces_the_map_and_keeps_open_connections() {
    let Some(world) = World::new() else { return };
    let Some(first) = world.load() else { return };
    let flows: Vec<_> = (1..100).map(flow).collect();
    assert!(first.maps.flows.upsert_batch(&flows).is_empty());
    first.maps.local.insert(&abi::Addr::default(), &9).expect("insert");
    drop(first);
    let mut sizes = small_sizes();
    sizes.insert(maps::FLOWS.to_owned(), 2048);
    sizes.insert(maps::LOCAL.to_owned(), 2048);
    let second = world.load_with(&object().expect("built"), &sizes).expect("load");
    assert!(matches!(second.adoption()[maps::FLOWS], Adoption::Replaced { copied: 99, .. }));
    assert!(matches!(second.adoption()[maps::LOCAL], Adoption::Replaced { copied: 0, .. }));
    assert_eq!(second.adoption()[maps::PODS], Adoption::Adopted);
    assert_eq!(second.maps.flows.get(&flow(42).0).expect("get"), Some(flow(42).1));
    assert_eq!(second.maps.flows.map().spec().max_entries, 2048);
    assert!(second.maps.local.dump().expect("dump").is_empty());
}

#[test]
fn pods_do_not_outlive_the_policy_tables_they_name() {
    let Some(world) = World::new() else { return };
    let Some(first) = world.load() else { return };
    first.maps.pods.insert(&5, &pod()).expect("insert");
    drop(first);
    let mut sizes = small_sizes();
    sizes.insert(maps::POLICIES.to_owned(), 2048);
    let second = world.load_with(&object().expect("built"), &sizes).expect("load");
    assert!(matches!(second.adoption()[maps::PODS], Adoption::Replaced { .. }));
    assert_eq!(second.maps.pods.dump().expect("dump"), []);
}

#[test]
fn maps_of_another_abi_version_are_replaced_but_flows_of_equal_layout_stay() {
    let Some(world) = World::new() else { return };
    let Some(first) = world.load() else { return };
    first.maps.pods.insert(&5, &pod()).expect("insert");
    first.maps.flows.insert(&flow(1).0, &flow(1).1).expect("insert");
    first.maps.epoch.set(77).expect("set");
    drop(first);
    let version = Scalar::open(&globals(world.bpffs()).join("AX_ABI")).expect("recorded");
    assert_eq!(version.get().expect("get"), abi::ABI_VERSION);
    version.set(abi::ABI_VERSION + 1).expect("set");
    let second = world.load().expect("built");
    assert!(
        matches!(&second.adoption()[maps::PODS], Adoption::Replaced { old, .. } if old.contains("ABI version"))
    );
    assert_eq!(second.adoption()[maps::FLOWS], Adoption::Adopted);
    assert_eq!(second.maps.pods.dump().expect("dump"), []);
    assert_eq!(second.maps.flows.dump().expect("dump").len(), 1);
    assert_eq!(second.maps.epoch.get().expect("get"), 77);
    let third = world.load().expect("built");
    assert!(third.adoption().values().all(|what| *what == Adoption::Adopted));
}

#[test]
fn a_refused_load_leaves_everything_as_it_was() {
    let Some(world) = World::new() else { return };
    let Some(first) = world.load() else { return };
    first.maps.local.insert(&abi::Addr::default(), &9).expect("insert");
    let (before, id) = (names(&world), first.maps.local.map().id());
    drop(first);
    // An object whose exit instructions are something else: it parses, and no verifier accepts it.
    let mut broken = object().expect("built");
    let exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
    for at in 0..broken.len() - 8 {
        if broken[at..at + 8] == exit {
            broken[at] = 0xff;
        }
    }
    let mut sizes = small_sizes();
    sizes.insert(maps::LOCAL.to_owned(), 2048);
    let error = world.load_with(&broken, &sizes).expect_err("the verifier refuses");
    let LoadError::Refused { program, log, .. } = &error else { panic!("{error:?}") };
    assert!(!program.is_empty() && !log.is_empty(), "{error}");
    assert_eq!(names(&world), before);
    assert_eq!(Map::open(&globals(world.bpffs()).join(maps::LOCAL)).expect("open").id(), id);
    assert!(!world.bpffs().join("cilium/new-maps").exists());
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let Some(world) = World::new() else { return };
    assert!(matches!(world.load_with(b"nonsense", &BTreeMap::new()), Err(LoadError::Parse { .. })));
    let Some(object) = object() else { return };
    let sizes = BTreeMap::from([("AX_NOTHING".to_owned(), 1)]);
    assert!(matches!(world.load_with(&object, &sizes), Err(LoadError::UnknownMap { .. })));
    assert!(!globals(world.bpffs()).join(maps::PODS).exists());
}

#[test]
fn a_missing_bpffs_is_mounted_and_the_node_described() {
    let Some(_world) = World::new() else { return };
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("bpf");
    let report = preflight(&path);
    assert!(report.is_ok(), "{report}");
    Map::create("x", loader::MapSpec::new(loader::MapKind::BPF_MAP_TYPE_ARRAY, 4, 4, 1))
        .expect("create")
        .pin(&path.join("x"))
        .expect("it is a bpffs now");
    rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("file");
    let problem = preflight(&file);
    assert!(
        problem.problems().any(|p| p.problem.as_deref().is_some_and(|text| text.contains("mount -t bpf")))
    );
}

#[test]
fn a_kernel_that_runs_the_programs_has_what_services_need() {
    let support = ServiceSupport::probe(std::path::Path::new("/"));
    let missing: Vec<_> = support.all().into_iter().filter(|feature| feature.problem.is_some()).collect();
    assert_eq!(missing, [&support.cgroup], "the root directory is no cgroup");
}
