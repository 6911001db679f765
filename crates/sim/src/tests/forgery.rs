use abi::DropReason::*;
use abi::identity;
use datapath::Action;
use datapath::packet::protocol;

use super::world::*;
use crate::frame::build;
use crate::{Program, Sent, run};

#[test]
fn a_pod_that_may_speak_with_any_address_is_still_known_by_its_device() {
    let mut node = node(false);
    node.pods.get_mut(&A).expect("a pod").flags |= abi::tables::POD_ANY_SOURCE;
    let mut forged = syn("10.0.0.77", "10.244.1.11", 4000, 80);
    forged.source_mac = mac(0x0a);
    assert_eq!(went(&from_pod(&mut node, A, &forged)), Action::Pod);
    let (_, flow) = node.half_open.iter().next().expect("a flow");
    assert!(flow.identity.contains(&ID_A), "whatever it claims to be");
    forged.source_mac = mac(0x0b);
    assert_eq!(from_pod(&mut node, B, &forged).verdict, Err(InvalidSourceIp), "it alone may");
}

#[test]
fn without_the_check_a_pod_is_still_known_by_its_device() {
    let mut node = node(false);
    node.config.features &= !abi::config::SOURCE_CHECK;
    for (forged, to) in [("10.0.0.77", "10.244.1.11"), ("2001:db8::77", "fd00:10:244:1::11")] {
        node.half_open.clear();
        let mut forged = syn(forged, to, 4000, 80);
        forged.source_mac = mac(0x0a);
        assert_eq!(went(&from_pod(&mut node, A, &forged)), Action::Pod);
        let (_, flow) = node.half_open.iter().next().expect("a flow");
        assert!(flow.identity.contains(&ID_A), "whatever it claims to be");
        forged.source_mac = mac(0x0b);
        assert_eq!(from_pod(&mut node, A, &forged).verdict, Err(InvalidSourceMac), "links are not forged");
    }
}

#[test]
fn a_pod_speaks_only_with_its_own_addresses() {
    let mut node = node(false);
    let out = from_pod(&mut node, A, &syn("10.244.1.90", "10.244.1.11", 1, 80));
    assert_eq!(out.verdict, Err(InvalidSourceIp));
    let mut spec = syn("10.244.1.10", "10.244.1.11", 1, 80);
    spec.source_mac = mac(0x55);
    assert_eq!(from_pod(&mut node, A, &spec).verdict, Err(InvalidSourceMac));
    let out = from_pod(&mut node, A, &syn("fd00:10:244:1::11", "fd00:10:244:2::20", 1, 80));
    assert_eq!(out.verdict, Err(InvalidSourceMac), "frames of b on the device of a");
}

#[test]
fn an_established_flow_cannot_be_used_by_another_pod() {
    let mut node = node(false);
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80));
    from_pod(&mut node, B, &syn_ack("10.244.1.11", "10.244.1.10", 80, 4000));
    let out = from_pod(&mut node, B, &ack("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!(out.verdict, Err(InvalidSourceMac));
    let mut spec = ack("10.244.1.10", "10.244.1.11", 4000, 80);
    spec.source_mac = mac(0x0b);
    assert_eq!(from_pod(&mut node, B, &spec).verdict, Err(InvalidSourceIp));
}

#[test]
fn pods_do_not_encapsulate() {
    let mut node = node(true);
    let out = from_pod(&mut node, A, &spec("10.244.1.10", "172.31.0.12", protocol::UDP, 1, 8472, 0));
    assert_eq!(out.verdict, Err(EncapsulationProhibited));
}

#[test]
fn the_wire_cannot_imitate_pods_or_this_node() {
    let mut native = node(false);
    assert_eq!(
        from_wire(&mut native, &syn("10.244.1.11", "10.244.1.10", 1, 80)).verdict,
        Err(InvalidSourceIp)
    );
    assert_eq!(
        from_wire(&mut native, &syn("172.31.0.11", "10.244.1.10", 1, 80)).verdict,
        Err(InvalidSourceIp)
    );
    let mut tunnelled = node(true);
    let out = from_wire(&mut tunnelled, &syn("10.244.2.20", "10.244.1.10", 1, 80));
    assert_eq!(out.verdict, Err(InvalidSourceIp), "that pod speaks through the tunnel");
}

#[test]
fn only_nodes_encapsulate_and_only_for_their_own() {
    let mut node = node(true);
    let good = syn("10.244.2.20", "10.244.1.10", 1, 80);
    assert_eq!(went(&from_tunnel(&mut node, &good, ID_R, "172.31.0.12")), Action::Pod);
    assert_eq!(from_tunnel(&mut node, &good, identity::HOST, "172.31.0.12").verdict, Err(InvalidIdentity));
    assert_eq!(from_tunnel(&mut node, &good, 0x0100_0005, "172.31.0.12").verdict, Err(InvalidIdentity));
    assert_eq!(from_tunnel(&mut node, &good, ID_R, "172.31.0.99").verdict, Err(UnknownSender));
    let stranger = syn("10.244.1.11", "10.244.1.10", 1, 80);
    assert_eq!(from_tunnel(&mut node, &stranger, ID_R, "172.31.0.12").verdict, Err(InvalidSourceIp));
}

#[test]
fn an_established_tunnel_flow_wants_the_same_identity_and_node() {
    let mut node = node(true);
    from_tunnel(&mut node, &syn("10.244.2.20", "10.244.1.10", 5, 80), ID_R, "172.31.0.12");
    from_pod(&mut node, A, &syn_ack("10.244.1.10", "10.244.2.20", 80, 5));
    let next = ack("10.244.2.20", "10.244.1.10", 5, 80);
    assert_eq!(went(&from_tunnel(&mut node, &next, ID_R, "172.31.0.12")), Action::Pod);
    assert_eq!(from_tunnel(&mut node, &next, ID_R, "172.31.0.66").verdict, Err(UnknownSender));
}

#[test]
fn no_pod_plays_the_router() {
    let mut node = node(false);
    let mut spec = spec("fd00:10:244:1::10", "fd00:10:244:1::11", protocol::ICMPV6, 0, 0, 134);
    spec.hops = 255;
    assert_eq!(from_pod(&mut node, A, &spec).verdict, Err(ForbiddenIcmp6));
}

#[test]
fn arp_is_answered_for_everyone_but_the_pod_itself() {
    let mut node = node(false);
    let ask = |target: [u8; 4]| {
        let mut frame = [[0xff; 6], mac(0x0a)].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac(0x0a));
        frame.extend([10, 244, 1, 10]);
        frame.extend([0; 6]);
        frame.extend(target);
        Sent { frame, ifindex: A, ..Sent::default() }
    };
    let out = run(&mut node, Program::PodEgress, ask([10, 244, 1, 1]));
    assert_eq!(went(&out), Action::Reply);
    assert_eq!(out.frame[0..6], mac(0x0a));
    assert_eq!(out.frame[20..22], [0, 2], "a reply");
    assert_eq!(out.frame[22..28], mac(0x8a), "from the host-side device");
    assert_eq!(out.frame[28..32], [10, 244, 1, 1]);
    assert!(run(&mut node, Program::PodEgress, ask([10, 244, 1, 10])).verdict.is_err());
}

#[test]
fn broken_headers_are_refused_and_counted() {
    let mut node = node(false);
    let whole = build(&syn("10.244.1.10", "10.244.1.11", 1, 80));
    for length in 0..whole.len() {
        let frame = whole[..length].to_vec();
        let out = run(&mut node, Program::PodEgress, Sent { frame, ifindex: A, ..Sent::default() });
        // The TCP flags have to be there: without them an opening would not be known as one.
        assert!(out.verdict.is_err() || length > 34 + 13, "cut at {length}");
    }
}

#[test]
fn the_chatter_of_ipv6_stacks_is_counted_and_no_news() {
    let mut node = node(false);
    let mut solicit = spec("fd00:10:244:1::10", "fd00:10:244:1::11", protocol::ICMPV6, 0, 0, 133);
    solicit.hops = 255;
    assert_eq!(from_pod(&mut node, A, &solicit).verdict, Err(ForbiddenIcmp6));
    assert_eq!((node.counted(176), node.events.len()), (1, 0));
    let mut advertise = solicit;
    advertise.flags = 134;
    assert_eq!(from_pod(&mut node, A, &advertise).verdict, Err(ForbiddenIcmp6));
    assert_eq!((node.counted(176), node.events.len()), (2, 1), "playing the router is news");
}
