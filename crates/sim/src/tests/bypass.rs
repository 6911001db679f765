//! Ways around policy that were found once, and stay closed.

use abi::tables::{EGRESS, INGRESS};
use abi::{DropReason, config, identity, mark};
use datapath::Action;
use datapath::packet::{protocol, tcp};

use super::world::*;
use crate::frame::build;
use crate::{Node, Outcome, PolicyTable, Program, Sent, run};

/// Gives a pod a policy of its own, which allows nothing yet.
fn deny(node: &mut Node, ifindex: u32, slot: u32) {
    node.policies.insert(slot, PolicyTable::default());
    node.pods.get_mut(&ifindex).expect("a pod").policy = slot;
}

fn ping(from: &str, to: &str, id: u16) -> crate::frame::Spec {
    spec(from, to, protocol::ICMP, id, 0, 8)
}

fn pong(from: &str, to: &str, id: u16) -> crate::frame::Spec {
    spec(from, to, protocol::ICMP, 0, id, 0)
}

fn marked(node: &mut Node, frame: Vec<u8>, mark: u32) -> Outcome {
    run(node, Program::HostEgress, Sent { frame, ifindex: 3, mark, ..Sent::default() })
}

/// An ICMP "unreachable" from `from` to `to` about `inner`.
fn unreachable(from: &str, to: &str, inner: &[u8]) -> Vec<u8> {
    let mut frame = build(&spec(from, to, protocol::ICMP, 0, 0, 3));
    frame.extend(&inner[14..14 + 28]);
    let length = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn an_echo_reply_nobody_asked_for_is_the_senders_own_traffic() {
    let mut node = node(false);
    // `b` may send nothing; everybody may reach it.
    deny(&mut node, B, 2);
    allow(&mut node, 2, 0, INGRESS, 0, 0);
    let out = from_pod(&mut node, B, &pong("10.244.1.11", "8.8.8.8", 7));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "out of the cluster");
    // `a` accepts nothing; it may reach everybody.
    deny(&mut node, A, 3);
    allow(&mut node, 3, 0, EGRESS, 0, 0);
    let out = from_wire(&mut node, &pong("172.31.0.100", "10.244.1.10", 7));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "into the pod");
}

#[test]
fn an_echo_request_does_not_pass_as_the_answer_to_another() {
    let mut node = node(false);
    deny(&mut node, A, 3);
    allow(&mut node, 3, 0, EGRESS, 0, 0);
    // Identifier 0 makes both directions one key.
    assert_eq!(went(&from_pod(&mut node, A, &ping("10.244.1.10", "10.244.1.11", 0))), Action::Pod);
    assert_eq!(went(&from_pod(&mut node, B, &pong("10.244.1.11", "10.244.1.10", 0))), Action::Pod);
    let out = from_pod(&mut node, B, &ping("10.244.1.11", "10.244.1.10", 0));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    assert_eq!(went(&from_pod(&mut node, A, &ping("10.244.1.10", "10.244.1.11", 0))), Action::Pod);
}

#[test]
fn an_allowed_ping_does_not_carry_other_icmp_types() {
    for id in [0, 13, 0x010d] {
        let mut node = node(false);
        deny(&mut node, B, 2);
        allow(&mut node, 2, 0, EGRESS, 0, 0);
        allow(&mut node, 2, ID_A, INGRESS, protocol::ICMP, 8);
        assert_eq!(went(&from_pod(&mut node, A, &ping("10.244.1.10", "10.244.1.11", id))), Action::Pod);
        assert_eq!(went(&from_pod(&mut node, B, &pong("10.244.1.11", "10.244.1.10", id))), Action::Pod);
        for kind in [5, 13, 17] {
            let other = spec("10.244.1.10", "10.244.1.11", protocol::ICMP, 0, 0, kind);
            assert_eq!(from_pod(&mut node, A, &other).verdict, Err(DropReason::PolicyDenied), "type {kind}");
        }
    }
}

#[test]
fn protocols_without_ports_pass_where_they_are_wanted_and_policy_says_so() {
    for (from, to) in [("10.244.1.10", "10.244.1.11"), ("fd00:10:244:1::10", "fd00:10:244:1::11")] {
        let vrrp = spec(from, to, 112, 0, 0, 0);
        let mut node = node(false);
        assert_eq!(from_pod(&mut node, A, &vrrp).verdict, Err(DropReason::CtUnknownProtocol));
        node.config.features |= config::EXTENDED_PROTOCOLS;
        deny(&mut node, B, 2);
        // Rules with ports, and those for others of these protocols, are not about it.
        allow(&mut node, 2, ID_A, INGRESS, protocol::UDP, 0);
        allow(&mut node, 2, ID_A, INGRESS, 2, 0);
        assert_eq!(from_pod(&mut node, A, &vrrp).verdict, Err(DropReason::PolicyDenied));
        allow(&mut node, 2, ID_A, INGRESS, 112, 0);
        assert_eq!(went(&from_pod(&mut node, A, &vrrp)), Action::Pod);
    }
}

#[test]
fn a_later_fragment_does_not_open_the_way_for_its_first() {
    let mut node = node(false);
    deny(&mut node, B, 2);
    allow(&mut node, 2, ID_A, INGRESS, protocol::ICMP, 8);
    let mut first = build(&spec("10.244.1.10", "10.244.1.11", protocol::ICMP, 0, 0, 13));
    first[20] = 0x20;
    let mut later = first.clone();
    later[20..22].copy_from_slice(&[0, 100]);
    for frame in [&first, &later, &first] {
        let out =
            run(&mut node, Program::PodEgress, Sent { frame: frame.clone(), ifindex: A, ..Sent::default() });
        assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    }
}

#[test]
fn an_opening_cannot_hide_its_flags_in_a_later_fragment() {
    let mut node = node(false);
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80));
    // The first fragment ends behind the ports (RFC 1858 §3).
    let mut frame = build(&syn("10.244.1.11", "10.244.1.10", 80, 4000));
    frame.truncate(34 + 8);
    frame[17] = 28;
    frame[20] = 0x20;
    let out = run(&mut node, Program::PodEgress, Sent { frame, ifindex: B, ..Sent::default() });
    assert_eq!(out.verdict, Err(DropReason::CtInvalidHeader));
}

/// Puts `count` empty destination options before the transport of an IPv6 frame.
fn extended(mut frame: Vec<u8>, count: u8) -> Vec<u8> {
    let transport = frame[20];
    for left in 0..count {
        let next = if left == 0 { transport } else { 60 };
        // Next header, no further eight bytes, padding of six (RFC 8200 §4.2).
        frame.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
    }
    if count > 0 {
        frame[20] = 60;
    }
    frame[19] += count * 8;
    frame
}

#[test]
fn extension_headers_hide_no_port() {
    let (a, b) = ("fd00:10:244:1::10", "fd00:10:244:1::11");
    for count in 0..=5 {
        let mut node = node(false);
        deny(&mut node, B, 2);
        allow(&mut node, 2, ID_A, INGRESS, protocol::TCP, 80);
        let mut send =
            |frame| run(&mut node, Program::PodEgress, Sent { frame, ifindex: A, ..Sent::default() });
        let open = send(extended(build(&syn(a, b, 4000, 80)), count)).verdict;
        let closed = send(extended(build(&syn(a, b, 4000, 22)), count)).verdict;
        if count < 4 {
            assert_eq!(
                (open.map(|v| v.action), closed),
                (Ok(Action::Pod), Err(DropReason::PolicyDenied)),
                "{count}"
            );
        } else {
            let refused = Err(DropReason::InvalidExtensionHeader);
            assert_eq!((open, closed), (refused, refused), "{count}: more than anybody needs");
        }
    }
}

#[test]
fn a_refused_opening_from_the_other_side_leaves_the_flow_alone() {
    let mut node = node(false);
    deny(&mut node, A, 3);
    allow(&mut node, 3, 0, EGRESS, 0, 0);
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80));
    from_pod(&mut node, B, &syn_ack("10.244.1.11", "10.244.1.10", 80, 4000));
    let out = from_pod(&mut node, B, &syn("10.244.1.11", "10.244.1.10", 80, 4000));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    assert_eq!(went(&from_pod(&mut node, B, &ack("10.244.1.11", "10.244.1.10", 80, 4000))), Action::Pod);
}

#[test]
fn a_pod_reports_no_errors_about_the_flows_of_others() {
    let mut node = node(false);
    deny(&mut node, A, 3);
    allow(&mut node, 3, 0, EGRESS, 0, 0);
    let about = build(&syn("10.244.1.10", "10.244.2.20", 4000, 80));
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.2.20", 4000, 80));
    let mut frame = unreachable("10.244.1.11", "10.244.1.10", &about);
    frame[6..12].copy_from_slice(&mac(0x0b));
    let out = run(&mut node, Program::PodEgress, Sent { frame, ifindex: B, ..Sent::default() });
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    // The other end may say so, and so may whoever forwards.
    for from in ["10.244.2.20", "172.31.0.12"] {
        let frame = unreachable(from, "10.244.1.10", &about);
        let out = run(&mut node, Program::NetdevIngress, Sent { frame, ifindex: ETH0, ..Sent::default() });
        assert_eq!(went(&out), Action::Pod, "from {from}");
    }
}

#[test]
fn what_the_stack_turned_towards_another_pod_meets_its_policy() {
    // `a` reached a port of this node, which kube-proxy or a host port forwards to `b`.
    let mut node = node(false);
    deny(&mut node, B, 2);
    let frame = build(&syn("10.244.1.1", "10.244.1.11", 4000, 80));
    let out = marked(&mut node, frame.clone(), mark::with_identity(ID_A));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    allow(&mut node, 2, ID_A, INGRESS, protocol::TCP, 80);
    assert_eq!(went(&marked(&mut node, frame, mark::with_identity(ID_A))), Action::Pod);
}

#[test]
fn what_this_node_forwards_into_the_tunnel_keeps_its_identity() {
    let mut node = node(true);
    let v = verdict(&from_host(&mut node, &syn("8.8.8.8", "10.244.2.20", 1, 80)));
    assert_eq!((v.action, v.identity), (Action::Tunnel, identity::WORLD_IPV4), "no remote node");
    node.hosts.insert(addr("10.244.1.10"), abi::IpcacheEntry { identity: ID_A, ..Default::default() });
    let v = verdict(&from_host(&mut node, &syn("10.244.1.10", "10.244.2.20", 1, 80)));
    assert_eq!((v.action, v.identity), (Action::Tunnel, ID_A));
    node.hosts.insert(addr("9.9.9.9"), abi::IpcacheEntry { identity: 0x0100_0001, ..Default::default() });
    let v = verdict(&from_host(&mut node, &syn("9.9.9.9", "10.244.2.20", 1, 80)));
    assert_eq!((v.action, v.identity), (Action::Tunnel, identity::WORLD_IPV4), "local numbers do not travel");
    let v = verdict(&from_host(&mut node, &syn("172.31.0.11", "10.244.2.20", 1, 80)));
    assert_eq!((v.action, v.identity), (Action::Tunnel, identity::REMOTE_NODE));
}

#[test]
fn what_cannot_be_read_does_not_go_round_to_a_pod_through_the_stack() {
    let mut node = node(false);
    // The stack would put the fragments together and forward the whole, past the check of its source.
    let mut later = build(&syn("10.244.1.11", "10.244.1.10", 1, 80));
    later[20..22].copy_from_slice(&[0, 100]);
    let out = run(
        &mut node,
        Program::NetdevIngress,
        Sent { frame: later.clone(), ifindex: ETH0, ..Sent::default() },
    );
    assert_eq!(out.verdict, Err(DropReason::FirstFragmentMissing));
    later[30..34].copy_from_slice(&[172, 31, 0, 11]);
    let out = run(&mut node, Program::NetdevIngress, Sent { frame: later, ifindex: ETH0, ..Sent::default() });
    assert_eq!(went(&out), Action::Pass, "for this node itself");
}

#[test]
fn a_pod_without_facts_gets_nothing() {
    let mut node = node(false);
    node.pods.remove(&B);
    let out = from_wire(&mut node, &syn("172.31.0.100", "10.244.1.11", 1, 80));
    assert_eq!(out.verdict, Err(DropReason::EndpointNotReady));
    assert_eq!(node.half_open.len(), 0);
}

#[test]
fn a_forgotten_half_of_a_translation_is_not_taken_from_another_pod() {
    let mut node = node(false);
    let leave = |node: &mut Node, from: &str| {
        let frame = build(&spec(from, "172.31.0.100", protocol::TCP, 40_000, 80, tcp::ACK));
        run(node, Program::NetdevEgress, Sent { frame, ifindex: ETH0, ..Sent::default() })
    };
    let first = leave(&mut node, "10.244.1.10");
    assert_eq!(first.frame[34..36], 40_000_u16.to_be_bytes());
    // The table forgets the answer's half, and another pod takes the port.
    node.nat_half_open.retain(|key, _| key.direction == abi::nat::OUT);
    let second = leave(&mut node, "10.244.1.11");
    assert_eq!(second.frame[34..36], 40_000_u16.to_be_bytes());
    let again = leave(&mut node, "10.244.1.10");
    assert_ne!(again.frame[34..36], 40_000_u16.to_be_bytes(), "two pods share one port");
}

#[test]
fn a_verdict_found_while_the_policy_was_changed_holds_no_longer_than_that() {
    let mut node = node(false);
    node.writer = Some(Default::default());
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80));
    // The writer finished behind the look at the policy, and nothing more changes.
    node.epoch += node.writer.take().expect("a writer").get();
    deny(&mut node, B, 2);
    let out = from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
}
