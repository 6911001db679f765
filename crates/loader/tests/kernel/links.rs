use std::time::Duration;

use loader::{Change, Foreign, Hook, LinkError, LinkKey, LinkPlace, LinkTarget, Links, Object, Owner};
use reconcile::{Reconciler, Target as _};

use crate::{World, device, ip};

fn key(owner: Owner, program: &str) -> LinkKey {
    LinkKey { owner, program: program.to_owned() }
}

fn place(object: &Object, program: &str, ifindex: u32, hook: Hook) -> LinkPlace {
    LinkPlace { ifindex, hook, program_id: object.program(program).expect("in the object").id() }
}

fn running(ifindex: u32, hook: Hook) -> Vec<u32> {
    Links::attached(ifindex, hook).expect("query").into_iter().map(|program| program.id).collect()
}

#[test]
fn a_link_is_made_once_swapped_by_a_new_version_and_removed() {
    let Some(world) = World::new() else { return };
    let Some(old) = world.load() else { return };
    let (index, links) = (device("lxc1.5"), Links::new(world.bpffs()));
    let key = key(Owner::Device("lxc1.5".to_owned()), "pod_egress");
    let old_place = place(&old, "pod_egress", index, Hook::Ingress);
    let ensure =
        |object: &Object, place| links.ensure(&key, place, object.program("pod_egress").expect("there"));
    assert_eq!(ensure(&old, &old_place).expect("attach"), Change::Created);
    assert_eq!(ensure(&old, &old_place).expect("attach"), Change::Nothing);
    assert_eq!(links.list().expect("list"), [(key.clone(), old_place)]);
    let new = world.load().expect("built");
    let new_place = place(&new, "pod_egress", index, Hook::Ingress);
    assert_eq!(ensure(&new, &new_place).expect("swap"), Change::Swapped);
    assert_eq!(running(index, Hook::Ingress), [new_place.program_id]);
    // The pin holds the program, not we.
    drop((old, new));
    assert_eq!(running(index, Hook::Ingress), [new_place.program_id]);
    links.remove(&key).expect("remove");
    links.remove(&key).expect("removing twice is fine");
    assert!(running(index, Hook::Ingress).is_empty() && links.list().expect("list").is_empty());
}

#[test]
fn a_program_survives_the_removal_of_its_pin() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let (index, links) = (device("lxc1"), Links::new(world.bpffs()));
    let key = key(Owner::Endpoint("17".to_owned()), "pod_egress");
    let place = place(&object, "pod_egress", index, Hook::Ingress);
    let program = object.program("pod_egress").expect("there");
    assert_eq!(links.ensure(&key, &place, program).expect("attach"), Change::Created);
    let pin = world.bpffs().join("cilium/endpoints/17/links/pod_egress");
    std::fs::remove_file(&pin).expect("the pin");
    assert_eq!(running(index, Hook::Ingress), [place.program_id]);
    assert_eq!(links.ensure(&key, &place, program).expect("pin"), Change::Repinned);
    assert_eq!(links.ensure(&key, &place, program).expect("pin"), Change::Nothing);
    assert_eq!(running(index, Hook::Ingress), [place.program_id]);
    // Removed for good, pin or no pin.
    std::fs::remove_file(&pin).expect("the pin");
    links.remove(&key).expect("remove");
    assert!(running(index, Hook::Ingress).is_empty());
}

#[test]
fn a_link_of_a_vanished_interface_is_seen_and_made_again() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let links = Links::new(world.bpffs());
    let key = key(Owner::Endpoint("17".to_owned()), "pod_egress");
    let program = object.program("pod_egress").expect("there");
    let first = place(&object, "pod_egress", device("lxc1"), Hook::Ingress);
    links.ensure(&key, &first, program).expect("attach");
    ip("link del lxc1");
    assert_eq!(links.list().expect("list")[0].1.ifindex, 0);
    assert!(matches!(links.ensure(&key, &first, program), Err(LinkError::Attach { .. })));
    let second = LinkPlace { ifindex: device("lxc2"), ..first };
    assert_eq!(links.ensure(&key, &second, program).expect("attach"), Change::Created);
    assert_eq!(links.list().expect("list"), [(key, second)]);
}

#[test]
fn a_link_that_moves_leaves_nothing_behind() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let links = Links::new(world.bpffs());
    let key = key(Owner::Endpoint("17".to_owned()), "pod_egress");
    let program = object.program("pod_egress").expect("there");
    let first = place(&object, "pod_egress", device("lxc1"), Hook::Ingress);
    let second = LinkPlace { ifindex: device("lxc2"), hook: Hook::Egress, ..first };
    links.ensure(&key, &first, program).expect("attach");
    assert_eq!(links.ensure(&key, &second, program).expect("move"), Change::Created);
    assert!(running(first.ifindex, Hook::Ingress).is_empty());
    assert_eq!(running(second.ifindex, Hook::Egress), [program.id()]);
}

#[test]
fn programs_of_others_keep_their_place_and_are_reported() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let index = device("lxc1");
    // Somebody else's link: same kind, other bpffs directory.
    let foreign = Links::new(&world.bpffs().join("foreign"));
    std::fs::create_dir(world.bpffs().join("foreign")).expect("directory");
    let theirs = place(&object, "netdev_ingress", index, Hook::Ingress);
    let program = object.program("netdev_ingress").expect("there");
    foreign.ensure(&key(Owner::Device("x".to_owned()), "netdev_ingress"), &theirs, program).expect("attach");
    let links = Links::new(world.bpffs());
    let ours = place(&object, "pod_egress", index, Hook::Ingress);
    let program = object.program("pod_egress").expect("there");
    links.ensure(&key(Owner::Device("lxc1".to_owned()), "pod_egress"), &ours, program).expect("attach");
    let attached = Links::attached(index, Hook::Ingress).expect("query");
    let names: Vec<&str> = attached.iter().map(|program| program.name.as_str()).collect();
    assert_eq!(names, ["netdev_ingress", "pod_egress"]);
    assert_eq!(links.list().expect("list").len(), 1);
    let reported = links.foreign(index, Hook::Ingress).expect("report");
    assert_eq!(reported, [Foreign { program: attached[0].clone(), before: true }]);
    assert_eq!(links.foreign(index, Hook::Egress).expect("report"), []);
}

#[test]
fn a_reconciler_keeps_the_links() {
    let Some(world) = World::new() else { return };
    let Some(object) = world.load() else { return };
    let links = Links::new(world.bpffs());
    let mut target = LinkTarget { links: &links, programs: object.programs() };
    let mut reconciler = Reconciler::new();
    let one = (
        key(Owner::Endpoint("1".to_owned()), "pod_egress"),
        place(&object, "pod_egress", device("lxc1"), Hook::Ingress),
    );
    let two = (
        key(Owner::Endpoint("2".to_owned()), "pod_egress"),
        place(&object, "pod_egress", device("lxc2"), Hook::Ingress),
    );
    let gone = (key(Owner::Endpoint("3".to_owned()), "pod_egress"), LinkPlace { ifindex: 9999, ..one.1 });
    reconciler.replace([one.clone(), two.clone(), gone.clone()].into(), 1);
    assert_eq!(reconciler.run(&mut target, Duration::ZERO).failed, 1);
    assert_eq!(target.dump().expect("dump"), [one.clone(), two.clone()]);
    reconciler.remove(&gone.0, 2);
    reconciler.remove(&two.0, 2);
    reconciler.run(&mut target, Duration::ZERO);
    assert_eq!((reconciler.realized(), target.dump().expect("dump")), (2, vec![one.clone()]));
    // After a restart with a new version: what is pinned differs by its program, and is swapped.
    let new = world.load().expect("built");
    let mut target = LinkTarget { links: &links, programs: new.programs() };
    let mut reconciler = Reconciler::new();
    reconciler.adopt(target.dump().expect("dump"), |_, _| true);
    let wanted = place(&new, "pod_egress", one.1.ifindex, Hook::Ingress);
    reconciler.set(one.0, wanted, 1);
    assert_eq!(reconciler.run(&mut target, Duration::ZERO).upserted, 1);
    assert_eq!(running(wanted.ifindex, Hook::Ingress), [wanted.program_id]);
}
