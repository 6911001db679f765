//! Worlds in, wishes out.

mod addresses;
mod duties;

use std::time::Duration;

use super::*;
use crate::config::{Config, Options};
use crate::world::{CiliumNodeFacts, NodeFacts, PodFacts, Table};

/// A planner with these options; the pool is 10.0.0.0/22 in blocks of /24 unless they say otherwise.
fn planner(pairs: &[(&str, &str)]) -> Planner {
    let mut options = Options::default();
    for (name, value) in
        [("cluster-pool-ipv4-cidr", "10.0.0.0/22"), ("operator-api-serve-addr", "127.0.0.1:0")]
    {
        options.set(name, value);
    }
    for (name, value) in pairs {
        options.set(name, value);
    }
    Planner::new(Config::parse(&options).unwrap().plan)
}

/// Seconds since the start of a test.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + Duration::from_secs(seconds)
}

fn key(name: &str) -> Key {
    Key::new("", name)
}

fn version(number: u32) -> Version {
    Version { uid: format!("uid-{number}"), version: number.to_string() }
}

/// A cluster of which all is known, with these Nodes and CiliumNodes of the same names.
fn world(nodes: &[&str]) -> World {
    World {
        nodes: Table::of(nodes.iter().map(|name| (key(name), NodeFacts::default()))),
        pods: Table::of([]),
        cilium_nodes: Table::of(nodes.iter().map(|name| (key(name), CiliumNodeFacts::default()))),
        endpoints: Table::of([]),
        identities: Table::of([]),
    }
}

/// The agent's pod of a node.
fn agent(node: &str, ready: bool) -> (Key, PodFacts) {
    let facts = PodFacts {
        uid: format!("agent-{node}"),
        node: Some(node.to_owned()),
        labels: [("k8s-app".to_owned(), "cilium".to_owned())].into(),
        host_network: true,
        running: true,
        ready,
        ..PodFacts::default()
    };
    (Key::new("kube-system", format!("cilium-{node}")), facts)
}

fn texts(actions: &[Action]) -> Vec<String> {
    actions.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_follows_from_a_world_that_is_not_complete() {
    let mut planner = planner(&[]);
    let mut partial = world(&["a"]);
    partial.pods = Table::default();
    assert_eq!(planner.plan(&partial, at(0)), []);
    assert!(!planner.plan(&world(&["a"]), at(0)).is_empty());
}
