use abi::DropReason;
use abi::tables::{EGRESS, INGRESS};
use datapath::Action;
use datapath::packet::protocol;

use super::world::*;
use crate::frame::build;
use crate::{Program, Sent, run};

/// An ICMP error of `kind` from `from` to `to` about `inner`.
fn error(from: &str, to: &str, kind: u8, inner: &[u8]) -> Vec<u8> {
    let mut frame = build(&spec(from, to, protocol::ICMP, 0, 0, kind));
    frame.extend(&inner[14..14 + 28]);
    let length = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn errors_about_a_flow_pass_and_others_do_not() {
    let mut node = node(false);
    allow(&mut node, 3, 0, EGRESS, 0, 0);
    node.pods.get_mut(&A).expect("pod a").policy = 3;
    let spec = syn("10.244.1.10", "10.244.2.20", 4000, 80);
    from_pod(&mut node, A, &spec);
    let inner = build(&spec);
    let sent = |frame| Sent { frame, ifindex: ETH0, ..Sent::default() };
    let frame = error("172.31.0.12", "10.244.1.10", 3, &inner);
    assert_eq!(went(&run(&mut node, Program::NetdevIngress, sent(frame))), Action::Pod);
    let strange = build(&syn("10.244.1.10", "10.244.2.20", 4999, 80));
    let frame = error("172.31.0.12", "10.244.1.10", 3, &strange);
    let out = run(&mut node, Program::NetdevIngress, sent(frame));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
}

#[test]
fn echo_replies_pass_and_echo_requests_of_the_other_side_ask_policy() {
    let mut node = node(false);
    allow(&mut node, 2, ID_A, INGRESS, protocol::ICMP, 8);
    node.pods.get_mut(&B).expect("pod b").policy = 2;
    let request = spec("10.244.1.10", "10.244.1.11", protocol::ICMP, 77, 0, 8);
    assert_eq!(went(&from_pod(&mut node, A, &request)), Action::Pod);
    let reply = spec("10.244.1.11", "10.244.1.10", protocol::ICMP, 0, 77, 0);
    assert_eq!(went(&from_pod(&mut node, B, &reply)), Action::Pod);
    // Same identifier, other direction: not an answer (GHSA-c66w-hq56-4q97). `b` may send nothing of its own.
    let request = spec("10.244.1.11", "10.244.1.10", protocol::ICMP, 77, 0, 8);
    assert_eq!(from_pod(&mut node, B, &request).verdict, Err(DropReason::PolicyDenied));
}

#[test]
fn later_fragments_follow_the_first() {
    let mut node = node(false);
    let mut first = build(&spec("10.244.1.10", "10.244.1.11", protocol::UDP, 4000, 53, 0));
    first[18..20].copy_from_slice(&[0xab, 0xcd]);
    first[20] = 0x20;
    let mut later = first.clone();
    later[20..22].copy_from_slice(&[0, 100]);
    let sent = |frame: &[u8]| Sent { frame: frame.to_vec(), ifindex: A, ..Sent::default() };
    let out = run(&mut node, Program::PodEgress, sent(&later));
    assert_eq!(out.verdict, Err(DropReason::FirstFragmentMissing));
    assert_eq!(went(&run(&mut node, Program::PodEgress, sent(&first))), Action::Pod);
    assert_eq!(went(&run(&mut node, Program::PodEgress, sent(&later))), Action::Pod);
    assert_eq!(node.half_open.len(), 1, "one flow");
}
