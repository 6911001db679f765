use std::collections::BTreeMap;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

/// Writes what the planner wants into the world, as the API server would.
fn carry_out(world: &mut World, actions: &[Action]) {
    for action in actions {
        match action {
            Action::AssignCidrs { node, cidrs, .. } => {
                world.cilium_nodes.facts_mut().get_mut(&key(node)).unwrap().pod_cidrs.clone_from(cidrs);
            }
            Action::ReportAddressError { node, error } => {
                world.cilium_nodes.facts_mut().get_mut(&key(node)).unwrap().error.clone_from(error);
            }
            _ => {}
        }
    }
}

fn cidrs<'a>(world: &'a World, node: &str) -> &'a [String] {
    &world.cilium_nodes.get(&key(node)).unwrap().pod_cidrs
}

fn error<'a>(world: &'a World, node: &str) -> &'a str {
    &world.cilium_nodes.get(&key(node)).unwrap().error
}

fn set_cidrs(world: &mut World, node: &str, cidrs: &[&str]) {
    let facts = world.cilium_nodes.facts_mut().get_mut(&key(node)).unwrap();
    facts.pod_cidrs = cidrs.iter().map(ToString::to_string).collect();
}

#[test]
fn every_node_gets_a_block_of_its_own_once() {
    let mut planner = planner(&[]);
    let mut world = world(&["a", "b"]);
    let wanted = planner.plan(&world, at(0));
    assert_eq!(planner.plan(&world, at(1)), wanted, "not carried out yet: the same again, not other blocks");
    carry_out(&mut world, &wanted);
    assert_eq!(
        (cidrs(&world, "a"), cidrs(&world, "b")),
        (&["10.0.0.0/24".to_owned()][..], &["10.0.1.0/24".to_owned()][..])
    );
    assert_eq!(planner.plan(&world, at(2)), []);
}

#[test]
fn what_nodes_have_already_is_respected_before_anything_is_given() {
    let mut planner = planner(&[]);
    let mut world = world(&["a", "b"]);
    set_cidrs(&mut world, "b", &["10.0.0.0/24"]);
    let wanted = planner.plan(&world, at(0));
    carry_out(&mut world, &wanted);
    assert_eq!(cidrs(&world, "a"), ["10.0.1.0/24"]);
    assert_eq!(cidrs(&world, "b"), ["10.0.0.0/24"]);
}

#[test]
fn both_families_and_one_that_was_added_later() {
    let v6 = [
        ("enable-ipv6", "true"),
        ("cluster-pool-ipv6-cidr", "fd00::/104"),
        ("cluster-pool-ipv6-mask-size", "120"),
    ];
    let mut world = world(&["a"]);
    set_cidrs(&mut world, "a", &["10.0.3.0/24"]);
    let wanted = planner(&v6).plan(&world, at(0));
    carry_out(&mut world, &wanted);
    assert_eq!(cidrs(&world, "a"), ["10.0.3.0/24", "fd00::/120"]);
}

#[test]
fn an_exhausted_pool_is_reported_and_cleared() {
    let mut planner = planner(&[("cluster-pool-ipv4-cidr", "10.0.0.0/24")]);
    let mut world = world(&["a", "b"]);
    let wanted = planner.plan(&world, at(0));
    carry_out(&mut world, &wanted);
    assert!(cidrs(&world, "b").is_empty());
    assert!(error(&world, "b").contains("no IPv4 block is left"), "{}", error(&world, "b"));
    assert_eq!(planner.plan(&world, at(1)), [], "said once");

    world.cilium_nodes.facts_mut().remove(&key("a"));
    assert_eq!(planner.plan(&world, at(2)), [], "the block is held back for a while");
    let wanted = planner.plan(&world, at(63));
    carry_out(&mut world, &wanted);
    assert_eq!((cidrs(&world, "b"), error(&world, "b")), (&["10.0.0.0/24".to_owned()][..], ""));
}

#[test]
fn a_list_that_was_empty_by_mistake_costs_nobody_its_block() {
    let mut planner = planner(&[]);
    let mut full = world(&["a", "b"]);
    let wanted = planner.plan(&full, at(0));
    carry_out(&mut full, &wanted);
    let mut empty = world(&[]);
    planner.plan(&empty, at(1));
    empty.cilium_nodes = Table::of([(key("new"), CiliumNodeFacts::default())]);
    let wanted = planner.plan(&empty, at(2));
    carry_out(&mut empty, &wanted);
    assert_eq!(cidrs(&empty, "new"), ["10.0.2.0/24"]);
    full.cilium_nodes.facts_mut().insert(key("new"), empty.cilium_nodes.get(&key("new")).unwrap().clone());
    assert_eq!(planner.plan(&full, at(100)), []);
}

#[test]
fn of_two_nodes_with_one_block_the_older_has_it() {
    let mut planner = planner(&[]);
    let mut world = world(&["a", "b"]);
    for (node, created) in [("a", 50), ("b", 10)] {
        set_cidrs(&mut world, node, &["10.0.1.0/24"]);
        world.cilium_nodes.facts_mut().get_mut(&key(node)).unwrap().created = Some(at(created));
    }
    let wanted = planner.plan(&world, at(60));
    carry_out(&mut world, &wanted);
    assert_eq!(error(&world, "b"), "");
    assert!(error(&world, "a").contains("10.0.1.0/24"), "{}", error(&world, "a"));
    assert_eq!(cidrs(&world, "a"), ["10.0.1.0/24"], "not changed under its pods");
}

#[test]
fn blocks_given_by_hand_stay_and_nonsense_is_named() {
    let mut planner = planner(&[]);
    let mut world = world(&["a", "b"]);
    set_cidrs(&mut world, "a", &["192.168.7.0/24"]);
    set_cidrs(&mut world, "b", &["10.0.0/24"]);
    let wanted = planner.plan(&world, at(0));
    carry_out(&mut world, &wanted);
    assert_eq!((cidrs(&world, "a"), error(&world, "a")), (&["192.168.7.0/24".to_owned()][..], ""));
    assert!(error(&world, "b").contains("\"10.0.0/24\""), "{}", error(&world, "b"));
    assert_eq!(cidrs(&world, "b"), ["10.0.0/24", "10.0.0.0/24"]);
}

#[test]
fn ipam_of_somebody_else_is_left_alone() {
    assert_eq!(planner(&[("ipam", "kubernetes")]).plan(&world(&["a"]), at(0)), []);
}

proptest! {
    /// Nodes come and go, writes arrive or get lost, the operator changes: nodes that are there never share a block.
    #[test]
    fn blocks_are_never_shared(steps in proptest::collection::vec((0usize..6, 0u8..5, any::<bool>()), 1..80)) {
        let mut planner = super::planner(&[]);
        let mut world = world(&[]);
        let mut now = 0;
        for (node, what, written) in steps {
            let name = format!("n{node}");
            match what {
                0 | 1 => { world.cilium_nodes.facts_mut().entry(key(&name)).or_default(); }
                2 => { world.cilium_nodes.facts_mut().remove(&key(&name)); }
                3 => now += 40,
                _ => planner = super::planner(&[]),
            }
            now += 1;
            let wanted = planner.plan(&world, at(now));
            if written {
                carry_out(&mut world, &wanted);
            }
            let mut taken: BTreeMap<IpNet, String> = BTreeMap::new();
            for (key, facts) in world.cilium_nodes.iter() {
                for cidr in &facts.pod_cidrs {
                    let other = taken.insert(cidr.parse().unwrap(), key.name.clone());
                    prop_assert_eq!(other, None, "{} is shared by {}", cidr, key.name);
                }
            }
            if written {
                // Who goes without has been told so.
                let content = |facts: &CiliumNodeFacts| facts.pod_cidrs.is_empty() != facts.error.is_empty();
                prop_assert!(world.cilium_nodes.iter().all(|(_, facts)| content(facts)));
            }
        }
    }
}
