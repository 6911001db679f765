use abi::mark;
use datapath::Action;

use super::world::*;
use crate::frame::{build, checksum};

#[test]
fn pod_to_pod_on_one_node_is_handed_over_with_its_addresses_rewritten() {
    let mut node = node(false);
    let out = from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!((verdict(&out).action, verdict(&out).ifindex), (Action::Pod, B));
    assert_eq!(out.frame[0..6], mac(0x0b));
    assert_eq!(out.frame[6..12], mac(0x8b));
    assert_eq!(out.frame[22], 63, "one hop less");
    assert_eq!(checksum(&out.frame[14..34]), 0, "header checksum holds");
}

#[test]
fn pod_to_pod_over_ipv6() {
    let mut node = node(false);
    let out = from_pod(&mut node, A, &syn("fd00:10:244:1::10", "fd00:10:244:1::11", 4000, 80));
    assert_eq!((verdict(&out).action, verdict(&out).ifindex, out.frame[21]), (Action::Pod, B, 63));
}

#[test]
fn native_routing_hands_to_the_neighbour_with_the_identity_marked() {
    let mut node = node(false);
    let out = from_pod(&mut node, A, &syn("10.244.1.10", "10.244.2.20", 4000, 80));
    assert_eq!((verdict(&out).action, verdict(&out).gateway), (Action::Neighbour, addr("172.31.0.12")));
    assert_eq!(out.mark, mark::with_identity(ID_A));
}

#[test]
fn the_tunnel_carries_the_senders_identity() {
    let mut node = node(true);
    let v = verdict(&from_pod(&mut node, A, &syn("10.244.1.10", "10.244.2.20", 4000, 80)));
    assert_eq!((v.action, v.identity, v.gateway), (Action::Tunnel, ID_A, addr("172.31.0.12")));
}

#[test]
fn the_host_reaches_its_pods_and_gets_answers() {
    let mut node = node(false);
    let out = from_host(&mut node, &syn("172.31.0.11", "10.244.1.10", 5000, 80));
    assert_eq!((went(&out), out.frame[22]), (Action::Pod, 64));
    let out = from_pod(&mut node, A, &syn_ack("10.244.1.10", "172.31.0.11", 80, 5000));
    assert_eq!(went(&out), Action::Stack);
    // And again on the fast path, both ways.
    assert_eq!(went(&from_host(&mut node, &ack("172.31.0.11", "10.244.1.10", 5000, 80))), Action::Pod);
    assert_eq!(went(&from_pod(&mut node, A, &ack("10.244.1.10", "172.31.0.11", 80, 5000))), Action::Stack);
}

#[test]
fn the_host_reaches_remote_pods_through_the_tunnel_as_a_remote_node() {
    let mut node = node(true);
    let v = verdict(&from_host(&mut node, &syn("10.244.1.1", "10.244.2.20", 5000, 80)));
    assert_eq!((v.action, v.identity), (Action::Tunnel, abi::identity::REMOTE_NODE));
}

#[test]
fn wire_traffic_for_others_passes_untouched() {
    let mut node = node(false);
    let spec = syn("172.31.0.12", "172.31.0.11", 5000, 22);
    let out = from_wire(&mut node, &spec);
    assert_eq!((went(&out), out.frame), (Action::Pass, build(&spec)));
    let spec = syn("8.8.8.8", "9.9.9.9", 1, 2);
    assert_eq!(went(&from_wire(&mut node, &spec)), Action::Pass);
}

#[test]
fn a_last_hop_goes_up_the_stack_which_knows_how_to_say_so() {
    let mut node = node(false);
    let mut spec = syn("10.244.1.10", "10.244.2.20", 4000, 80);
    spec.hops = 1;
    let out = from_pod(&mut node, A, &spec);
    assert_eq!((went(&out), out.frame[22], out.mark), (Action::Stack, 1, mark::with_identity(ID_A)));
}

#[test]
fn what_is_too_large_for_the_way_goes_up_the_stack() {
    let mut node = node(true);
    let mut frame = build(&syn("10.244.1.10", "10.244.2.20", 4000, 80));
    frame.resize(14 + 1451, 0);
    let sent = crate::Sent { frame, ifindex: A, ..crate::Sent::default() };
    let out = crate::run(&mut node, crate::Program::PodEgress, sent.clone());
    assert_eq!(went(&out), Action::Stack);
    let out = crate::run(&mut node, crate::Program::PodEgress, crate::Sent { gso: true, ..sent });
    assert_eq!(went(&out), Action::Tunnel, "the device cuts large buffers itself");
}
