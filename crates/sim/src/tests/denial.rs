//! Senders are told that policy denies what they send.

use abi::{DropReason, EventKind, config, identity};
use datapath::Action;
use datapath::packet::{protocol, tcp};

use super::world::*;
use crate::frame::{Spec, build, checksum};
use crate::{Node, PolicyTable, Program, Sent, run};

fn closed(tunnel: bool, ifindex: u32) -> Node {
    let mut node = node(tunnel);
    node.config.features |= config::DENY_RESPONSE;
    node.policies.insert(8, PolicyTable::default());
    node.pods.get_mut(&ifindex).expect("a pod").policy = 8;
    node
}

/// Type and code of the ICMP error in a frame; its checksums are right, and it goes from `from` to `to`.
fn error(frame: &[u8], from: &str, to: &str) -> (u8, u8) {
    let bytes = |text: &str| match ip(text) {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    if frame[12] == 8 {
        assert_eq!((&frame[26..30], &frame[30..34]), (&bytes(from)[..], &bytes(to)[..]));
        assert_eq!((checksum(&frame[14..34]), checksum(&frame[34..])), (0, 0));
        assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
        return (frame[34], frame[35]);
    }
    assert_eq!((&frame[22..38], &frame[38..54]), (&bytes(from)[..], &bytes(to)[..]));
    let mut all = frame[22..54].to_vec();
    all.extend((frame.len() as u32 - 54).to_be_bytes());
    all.extend([0, 0, 0, 58]);
    all.extend(&frame[54..]);
    assert_eq!(checksum(&all), 0);
    assert_eq!(usize::from(u16::from_be_bytes([frame[18], frame[19]])), frame.len() - 54);
    (frame[54], frame[55])
}

#[test]
fn a_pod_is_told_in_both_directions_and_families() {
    for (denying, what) in [(A, "its own egress"), (B, "the other's ingress")] {
        for (from, to, wanted) in
            [("10.244.1.10", "10.244.1.11", (3, 13)), ("fd00:10:244:1::10", "fd00:10:244:1::11", (1, 1))]
        {
            for spec in [syn(from, to, 4000, 80), spec(from, to, protocol::UDP, 4000, 53, 0)] {
                let mut node = closed(false, denying);
                let out = from_pod(&mut node, A, &spec);
                assert_eq!(went(&out), Action::Reply, "{what}");
                assert_eq!(error(&out.frame, to, from), wanted);
                assert_eq!((&out.frame[..6], &out.frame[6..12]), (&mac(0x0a)[..], &mac(0x8a)[..]));
                let told = node.events.last().expect("the drop is told").0;
                assert_eq!((told.kind, told.code), (EventKind::Drop as u8, DropReason::PolicyDenied as u8));
                assert_eq!(node.counted(DropReason::PolicyDenied as u8), 1, "it counts as dropped");
            }
        }
    }
}

#[test]
fn a_client_outside_is_told_on_the_device_and_through_the_tunnel() {
    for (world, remote, pod, wanted) in [
        ("203.0.113.7", "10.244.2.20", "10.244.1.11", (3, 13)),
        ("2001:db8::7", "fd00:10:244:2::20", "fd00:10:244:1::11", (1, 1)),
    ] {
        let mut node = closed(false, B);
        let out = from_wire(&mut node, &syn(world, pod, 4000, 80));
        assert_eq!((went(&out), error(&out.frame, pod, world)), (Action::Reply, wanted));
        assert_eq!(out.mark, abi::mark::SNAT_DONE, "it leaves with the pod's address");
        let mut node = closed(true, B);
        let out = from_tunnel(&mut node, &syn(remote, pod, 4000, 80), ID_R, "172.31.0.12");
        let verdict = verdict(&out);
        assert_eq!((verdict.action, verdict.identity), (Action::Tunnel, ID_B));
        assert_eq!(verdict.gateway, addr("172.31.0.12"));
        assert_eq!(error(&out.frame, pod, remote), wanted);
    }
}

#[test]
fn without_the_option_nobody_is_told() {
    let mut node = closed(false, B);
    node.config.features &= !config::DENY_RESPONSE;
    let opening = syn("10.244.1.10", "10.244.1.11", 4000, 80);
    assert_eq!(from_pod(&mut node, A, &opening).verdict, Err(DropReason::PolicyDenied));
}

#[test]
fn the_other_node_lets_the_answer_in() {
    let mut there = node(true);
    let opening = syn("10.244.1.10", "10.244.2.20", 4000, 80);
    from_pod(&mut there, A, &opening);
    // What the node of the denying pod makes of it.
    let mut here = closed(true, B);
    here.config.features &= !config::TUNNEL;
    here.hosts.clear();
    here.local.remove(&addr("10.244.1.10"));
    here.attach(B, abi::PodFacts { v4: addr("10.244.2.20"), ..here.pods[&B] });
    let out = from_wire(&mut here, &opening);
    assert_eq!(went(&out), Action::Reply);
    let tunnel = Some(datapath::TunnelKey { identity: ID_R, remote: addr("172.31.0.12") });
    let sent = Sent { frame: out.frame, ifindex: 5, tunnel, ..Sent::default() };
    let back = run(&mut there, Program::OverlayIngress, sent);
    assert_eq!(went(&back), Action::Pod, "an error about its connection");
}

#[test]
fn some_are_never_told() {
    let silent = |spec: &Spec, change: fn(&mut Vec<u8>)| {
        let mut node = closed(false, A);
        let mut frame = build(spec);
        change(&mut frame);
        let out = run(&mut node, Program::PodEgress, Sent { frame, ifindex: A, ..Sent::default() });
        assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "{spec:?}");
    };
    silent(&spec("10.244.1.10", "8.8.8.8", protocol::ICMP, 0, 0, 3), |_| {});
    silent(&spec("10.244.1.10", "8.8.8.8", protocol::TCP, 1, 2, tcp::RST), |_| {});
    silent(&spec("10.244.1.10", "224.0.0.251", protocol::UDP, 5353, 5353, 0), |_| {});
    silent(&spec("fd00:10:244:1::10", "ff02::fb", protocol::UDP, 5353, 5353, 0), |_| {});
    silent(&syn("10.244.1.10", "8.8.8.8", 1, 2), |frame| frame[20] = 0x20);
}

#[test]
fn a_flood_is_told_no_more_than_so_often() {
    let mut node = closed(false, A);
    let asks = |node: &mut Node, times| {
        (0..times).filter(|_| from_pod(node, A, &syn("10.244.1.10", "8.8.8.8", 1, 2)).verdict.is_ok()).count()
    };
    assert_eq!(asks(&mut node, 1500), 1000);
    node.now += 1_000_000_000;
    assert_eq!(asks(&mut node, 10), 10);
}

#[test]
fn the_node_is_told_by_its_own_programs() {
    let mut node = node(false);
    node.config.features |= config::DENY_RESPONSE | config::HOST_FIREWALL;
    node.config.host_ifindex = 3;
    node.policies.insert(8, PolicyTable::default());
    let facts = abi::PodFacts { identity: identity::HOST, policy: 8, endpoint: 9, ..Default::default() };
    node.pods.insert(3, facts);
    for (here, world, wanted) in
        [("172.31.0.11", "203.0.113.7", (3, 13)), ("fd00:31::11", "2001:db8::7", (1, 1))]
    {
        let frame = build(&syn(here, world, 50_000, 443));
        let out = run(&mut node, Program::NetdevEgress, Sent { frame, ifindex: ETH0, ..Sent::default() });
        assert_eq!((went(&out), error(&out.frame, world, here)), (Action::Reply, wanted));
        // It comes back up the same device, and is not judged again.
        let up = Sent { frame: out.frame, ifindex: ETH0, mark: out.mark, ..Sent::default() };
        assert_eq!(went(&run(&mut node, Program::NetdevIngress, up)), Action::Pass);
        // Whom the node does not let in is told in the node's name.
        let out = from_wire(&mut node, &syn(world, here, 4000, 22));
        assert_eq!((went(&out), error(&out.frame, here, world)), (Action::Reply, wanted));
    }
    let out = from_host(&mut node, &syn("10.244.1.1", "10.244.1.10", 1, 80));
    assert_eq!((went(&out), error(&out.frame, "10.244.1.10", "10.244.1.1")), (Action::Reply, (3, 13)));
}
