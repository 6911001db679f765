//! The node's own policy.

use abi::event::EGRESS as EGRESS_EVENT;
use abi::tables::{EGRESS, INGRESS};
use abi::{DropReason, EventKind, PodFacts, config, identity};
use datapath::Action;
use datapath::packet::{protocol, tcp};

use super::world::*;
use crate::frame::{Spec, build};
use crate::{Node, Outcome, PolicyTable, Program, Sent, run};

const HOST: u32 = 3;
const SLOT: u32 = 9;
const WORLD: &str = "203.0.113.7";
const WORLD6: &str = "2001:db8::7";
const NODE: &str = "172.31.0.11";
const NODE6: &str = "fd00:31::11";
const ENDPOINT: u16 = 65_535;

/// A node that lets nothing in or out, but what the test allows in [`SLOT`].
fn closed(tunnel: bool) -> Node {
    let mut node = node(tunnel);
    node.config.features |= config::HOST_FIREWALL;
    node.config.host_ifindex = HOST;
    node.policies.insert(SLOT, PolicyTable::default());
    let facts = PodFacts {
        identity: identity::HOST,
        policy: SLOT,
        deny_cookie_ingress: 51,
        deny_cookie_egress: 52,
        endpoint: ENDPOINT,
        ..PodFacts::default()
    };
    node.pods.insert(HOST, facts);
    node
}

fn arrives(node: &mut Node, frame: Vec<u8>) -> Outcome {
    run(node, Program::NetdevIngress, Sent { frame, ifindex: ETH0, ..Sent::default() })
}

fn leaves(node: &mut Node, frame: Vec<u8>) -> Outcome {
    run(node, Program::NetdevEgress, Sent { frame, ifindex: ETH0, ..Sent::default() })
}

fn passes(outcome: &Outcome) -> bool {
    matches!(went(outcome), Action::Pass | Action::Own)
}

fn udp(from: &str, to: &str, sport: u16, dport: u16) -> Spec {
    spec(from, to, protocol::UDP, sport, dport, 0)
}

#[test]
fn only_what_is_allowed_reaches_the_node_and_its_answers_leave() {
    for (world, here, id) in [(WORLD, NODE, identity::WORLD_IPV4), (WORLD6, NODE6, identity::WORLD_IPV6)] {
        let mut node = closed(false);
        allow(&mut node, SLOT, id, INGRESS, protocol::TCP, 6443);
        let out = arrives(&mut node, build(&syn(world, here, 4000, 22)));
        assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "{here}");
        let (told, _) = node.events.last().expect("the drop is told");
        assert_eq!((told.kind, told.cookie), (EventKind::Drop as u8, 51));
        assert_eq!((told.destination_identity, told.destination_endpoint), (identity::HOST, ENDPOINT));

        assert!(passes(&arrives(&mut node, build(&syn(world, here, 4000, 6443)))));
        assert!(passes(&leaves(&mut node, build(&syn_ack(here, world, 6443, 4000)))), "an answer");
        let out = arrives(&mut node, build(&ack(world, here, 4000, 6443)));
        assert_eq!(went(&out), Action::Pass, "promoted by the slow path");
        assert_eq!(
            (went(&arrives(&mut node, build(&ack(world, here, 4000, 6443)))), out.mark),
            (Action::Own, 0)
        );
        // The other direction has no way to say so: translations come after it.
        assert_eq!(went(&leaves(&mut node, build(&ack(here, world, 6443, 4000)))), Action::Pass);
        let (_, flow) = node.flows.iter().next().expect("an answered flow");
        assert_eq!(flow.packets.iter().sum::<u64>(), 5, "every packet is counted once");
    }
}

#[test]
fn the_node_opens_only_what_its_egress_allows() {
    let mut node = closed(false);
    allow(&mut node, SLOT, identity::KUBE_APISERVER, EGRESS, protocol::TCP, 6443);
    node.hosts.get_mut(&addr("172.31.0.12")).expect("the other node").identity = identity::KUBE_APISERVER;
    let out = leaves(&mut node, build(&syn(NODE, WORLD, 50_000, 443)));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    let (told, _) = node.events.last().expect("the drop is told");
    assert_eq!((told.cookie, told.source_endpoint, told.flags & EGRESS_EVENT), (52, ENDPOINT, EGRESS_EVENT));
    assert!(passes(&leaves(&mut node, build(&syn(NODE, "172.31.0.12", 50_000, 6443)))));
    assert!(passes(&arrives(&mut node, build(&syn_ack("172.31.0.12", NODE, 6443, 50_000)))));
    // Whoever was spoken to may not open a connection of its own.
    let out = arrives(&mut node, build(&syn("172.31.0.12", NODE, 6443, 50_000)));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
}

#[test]
fn a_new_policy_holds_for_connections_under_way() {
    let mut node = closed(false);
    allow(&mut node, SLOT, 0, INGRESS, protocol::TCP, 22);
    arrives(&mut node, build(&syn(WORLD, NODE, 4000, 22)));
    leaves(&mut node, build(&syn_ack(NODE, WORLD, 22, 4000)));
    arrives(&mut node, build(&ack(WORLD, NODE, 4000, 22)));
    node.policies.insert(SLOT, PolicyTable::default());
    node.epoch += 1;
    let out = arrives(&mut node, build(&ack(WORLD, NODE, 4000, 22)));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    // Back again, it goes on, from either side.
    allow(&mut node, SLOT, 0, INGRESS, protocol::TCP, 22);
    node.epoch += 1;
    assert!(passes(&leaves(&mut node, build(&ack(NODE, WORLD, 22, 4000)))));
}

#[test]
fn pods_are_none_of_its_business() {
    let mut node = closed(false);
    assert_eq!(went(&from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 1, 80))), Action::Pod);
    assert_eq!(went(&from_pod(&mut node, A, &syn("10.244.1.10", "10.244.2.20", 2, 80))), Action::Neighbour);
    assert_eq!(went(&from_wire(&mut node, &syn("10.244.2.20", "10.244.1.11", 3, 80))), Action::Pod);
    let out = leaves(&mut node, build(&syn("10.244.1.10", WORLD, 40_000, 80)));
    assert_eq!(out.frame[26..30], [172, 31, 0, 11], "masqueraded as ever");
    let out = arrives(&mut node, build(&syn_ack(WORLD, NODE, 80, 40_000)));
    assert_eq!(went(&out), Action::Pod, "and the answer comes home");
    // What the node only forwards, and what is addressed to nobody in particular.
    assert!(passes(&arrives(&mut node, build(&syn(WORLD, "172.31.0.200", 4, 80)))));
    assert!(passes(&arrives(&mut node, build(&udp("0.0.0.0", "255.255.255.255", 68, 67)))));
}

#[test]
fn pods_and_the_node_meet_its_policy() {
    let mut node = closed(false);
    let out = from_pod(&mut node, A, &syn("10.244.1.10", NODE, 1, 10250));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    let out = from_host(&mut node, &syn("10.244.1.1", "10.244.1.10", 1, 80));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    allow(&mut node, SLOT, ID_A, INGRESS, protocol::TCP, 10250);
    allow(&mut node, SLOT, ID_A, EGRESS, protocol::TCP, 80);
    assert_eq!(went(&from_pod(&mut node, A, &syn("10.244.1.10", NODE, 1, 10250))), Action::Stack);
    assert_eq!(went(&from_host(&mut node, &syn_ack(NODE, "10.244.1.10", 10250, 1))), Action::Pod);
    assert_eq!(went(&from_host(&mut node, &syn("10.244.1.1", "10.244.1.10", 1, 80))), Action::Pod);
    assert_eq!(went(&from_pod(&mut node, A, &syn_ack("10.244.1.10", "10.244.1.1", 80, 1))), Action::Stack);
    assert_eq!(went(&from_host(&mut node, &ack("10.244.1.1", "10.244.1.10", 1, 80))), Action::Pod);
    // The kubelet's probe of another pod is not among them.
    let out = from_host(&mut node, &syn("10.244.1.1", "10.244.1.11", 2, 80));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
}

#[test]
fn no_pod_gets_round_the_nodes_policy() {
    // GHSA-wc5v-r48v-g4vh, CVE-2026-26963: it held for one family, or not under every way of routing.
    for tunnel in [false, true] {
        for features in [0, config::STACK_ROUTING] {
            for (pod, here) in [("10.244.1.10", NODE), ("fd00:10:244:1::10", NODE6)] {
                let mut node = closed(tunnel);
                node.config.features |= features;
                let out = from_pod(&mut node, A, &syn(pod, here, 4000, 10250));
                assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "{pod} → {here}, tunnel {tunnel}");
                let out = from_host(&mut node, &syn(here, pod, 4000, 80));
                assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "{here} → {pod}, tunnel {tunnel}");
                let out = arrives(&mut node, build(&syn(WORLD, NODE, 4000, 10250)));
                assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "from outside, tunnel {tunnel}");
                // The pod is known by its device: what is allowed is allowed to it, and to no other.
                allow(&mut node, SLOT, ID_A, INGRESS, protocol::TCP, 10250);
                assert_eq!(went(&from_pod(&mut node, A, &syn(pod, here, 4001, 10250))), Action::Stack);
                let other = pod.replace("::10", "::11").replace("1.10", "1.11");
                let out = from_pod(&mut node, B, &syn(&other, here, 4001, 10250));
                assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "{other} → {here}");
            }
        }
    }
}

#[test]
fn through_the_tunnel_too() {
    let mut node = closed(true);
    let out = from_host(&mut node, &syn("10.244.1.1", "10.244.2.20", 40_000, 80));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    let out = from_tunnel(&mut node, &syn("10.244.2.20", "10.244.1.1", 1, 10250), ID_R, "172.31.0.12");
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    allow(&mut node, SLOT, ID_R, EGRESS, protocol::TCP, 80);
    allow(&mut node, SLOT, ID_R, INGRESS, protocol::TCP, 10250);
    for flags in [tcp::SYN, tcp::ACK] {
        let out = from_host(&mut node, &spec("10.244.1.1", "10.244.2.20", protocol::TCP, 40_000, 80, flags));
        assert_eq!((went(&out), verdict(&out).identity), (Action::Tunnel, identity::REMOTE_NODE));
        let back = spec("10.244.2.20", "10.244.1.1", protocol::TCP, 80, 40_000, flags | tcp::ACK);
        assert_eq!(went(&from_tunnel(&mut node, &back, ID_R, "172.31.0.12")), Action::Stack);
    }
    let out = from_tunnel(&mut node, &syn("10.244.2.20", "10.244.1.1", 1, 10250), ID_R, "172.31.0.12");
    assert_eq!(went(&out), Action::Stack);
    // The tunnel itself, between nodes of the cluster.
    assert!(passes(&leaves(&mut node, build(&udp(NODE, "172.31.0.12", 40_000, 8472)))));
    assert!(passes(&arrives(&mut node, build(&udp("172.31.0.12", NODE, 40_000, 8472)))));
    let out = arrives(&mut node, build(&udp("172.31.0.99", NODE, 40_000, 8472)));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "from elsewhere");
}

#[test]
fn a_link_goes_on_working() {
    let mut node = closed(false);
    let mut arp = build(&syn(WORLD, NODE, 1, 2));
    arp[12..14].copy_from_slice(&[8, 6]);
    assert!(passes(&arrives(&mut node, arp)));
    for kind in [2, 133, 134, 135, 136] {
        let message = build(&spec("fe80::2", "fe80::1234", protocol::ICMPV6, 0, 0, kind));
        assert!(passes(&arrives(&mut node, message)), "type {kind}");
    }
    let echo = build(&spec("fe80::2", "fe80::1234", protocol::ICMPV6, 0, 7, 128));
    assert_eq!(arrives(&mut node, echo).verdict, Err(DropReason::PolicyDenied));
    let ssh = build(&syn("fe80::2", "fe80::1234", 4000, 22));
    assert_eq!(arrives(&mut node, ssh).verdict, Err(DropReason::PolicyDenied), "no way round by the link");
}

#[test]
fn nobody_on_the_wire_is_the_node_or_one_of_its_pods() {
    let mut node = closed(false);
    allow(&mut node, SLOT, identity::HOST, INGRESS, 0, 0);
    allow(&mut node, SLOT, ID_A, INGRESS, 0, 0);
    for forged in [NODE, "10.244.1.1", "10.244.1.10"] {
        let out = arrives(&mut node, build(&syn(forged, NODE, 4000, 22)));
        assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "{forged}");
    }
}

#[test]
fn what_cannot_be_read_needs_a_policy_for_everything() {
    let mut node = closed(false);
    let mut gre = build(&syn(WORLD, NODE, 4000, 22));
    gre[23] = 47;
    let mut fragment = build(&udp(WORLD, NODE, 4000, 53));
    fragment[20..22].copy_from_slice(&[0, 100]);
    let mut leaving = build(&syn(NODE, WORLD, 4000, 22));
    leaving[23] = 47;
    allow(&mut node, SLOT, 0, INGRESS, protocol::UDP, 53);
    for frame in [&gre, &fragment] {
        assert_eq!(arrives(&mut node, frame.clone()).verdict, Err(DropReason::PolicyDenied));
    }
    assert_eq!(leaves(&mut node, leaving.clone()).verdict, Err(DropReason::PolicyDenied));
    allow(&mut node, SLOT, 0, INGRESS, 0, 0);
    allow(&mut node, SLOT, 0, EGRESS, 0, 0);
    assert!(passes(&arrives(&mut node, gre)) && passes(&arrives(&mut node, fragment)));
    assert!(passes(&leaves(&mut node, leaving)));
}

#[test]
fn errors_about_its_connections_reach_the_node() {
    let mut node = closed(false);
    allow(&mut node, SLOT, 0, EGRESS, protocol::TCP, 443);
    let opening = build(&syn(NODE, WORLD, 50_000, 443));
    let error = |about: &[u8]| {
        let mut frame = build(&spec("198.51.100.1", NODE, protocol::ICMP, 0, 0, 3));
        frame.extend(&about[14..14 + 28]);
        let length = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        frame
    };
    assert_eq!(arrives(&mut node, error(&opening)).verdict, Err(DropReason::PolicyDenied), "about nothing");
    leaves(&mut node, opening.clone());
    assert!(passes(&arrives(&mut node, error(&opening))));
}

#[test]
fn without_a_row_nothing_is_held_back() {
    let mut node = closed(false);
    node.pods.remove(&HOST);
    assert_eq!(went(&arrives(&mut node, build(&syn(WORLD, NODE, 4000, 22)))), Action::Pass);
    assert_eq!(went(&leaves(&mut node, build(&syn(NODE, WORLD, 4000, 22)))), Action::Pass);
    assert_eq!(node.half_open.len(), 0);
}
