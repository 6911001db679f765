use abi::mark;
use datapath::Action;
use datapath::packet::{protocol, tcp};

use super::world::*;
use crate::frame::{build, checksum};
use crate::{Node, Program, Sent, run};

fn leave(node: &mut Node, frame: Vec<u8>, mark: u32) -> crate::Outcome {
    run(node, Program::NetdevEgress, Sent { frame, ifindex: ETH0, mark, ..Sent::default() })
}

#[test]
fn pods_reach_the_world_with_the_nodes_address_and_get_answers() {
    let mut node = node(false);
    let spec = syn("10.244.1.10", "172.31.0.100", 40_000, 80);
    let out =
        run(&mut node, Program::PodEgress, Sent { frame: summed(&spec), ifindex: A, ..Sent::default() });
    assert_eq!((went(&out), out.mark), (Action::Neighbour, 0), "no mark: still to be masqueraded");
    let out = leave(&mut node, out.frame, 0);
    assert_eq!(out.mark, mark::SNAT_DONE);
    assert_eq!(out.frame[26..30], [172, 31, 0, 11]);
    assert_eq!(out.frame[34..36], 40_000_u16.to_be_bytes(), "a port in range is kept");
    assert_eq!((checksum(&out.frame[14..34]), transport_sum(&out.frame)), (0, 0));
    let answer = syn_ack("172.31.0.100", "172.31.0.11", 80, 40_000);
    let out = run(
        &mut node,
        Program::NetdevIngress,
        Sent { frame: summed(&answer), ifindex: ETH0, ..Sent::default() },
    );
    assert_eq!((verdict(&out).action, verdict(&out).ifindex), (Action::Pod, A));
    assert_eq!(out.frame[30..34], [10, 244, 1, 10]);
    assert_eq!((checksum(&out.frame[14..34]), transport_sum(&out.frame)), (0, 0));
}

#[test]
fn two_pods_with_one_port_get_two() {
    let mut node = node(false);
    let first = leave(&mut node, build(&syn("10.244.1.10", "172.31.0.100", 40_000, 80)), 0);
    let second = leave(&mut node, build(&syn("10.244.1.11", "172.31.0.100", 40_000, 80)), 0);
    assert_ne!(first.frame[34..36], second.frame[34..36]);
}

#[test]
fn a_host_connection_keeps_its_port_from_pods() {
    let mut node = node(false);
    let spec = syn("172.31.0.11", "172.31.0.100", 40_000, 80);
    let own = leave(&mut node, build(&spec), 0);
    assert_eq!((went(&own), own.frame), (Action::Pass, build(&spec)));
    let pod = leave(&mut node, build(&syn("10.244.1.10", "172.31.0.100", 40_000, 80)), 0);
    assert_ne!(pod.frame[34..36], 40_000_u16.to_be_bytes());
    let answer = from_wire(&mut node, &syn_ack("172.31.0.100", "172.31.0.11", 80, 40_000));
    assert_eq!(went(&answer), Action::Pass, "the host's own answer stays the host's");
}

#[test]
fn a_port_used_again_after_a_reset_is_not_given_up_early() {
    let mut node = node(false);
    let pauses = [(tcp::SYN, 0), (tcp::RST, 0), (tcp::SYN, 0), (tcp::ACK, 0), (tcp::ACK, 1000)];
    for (flags, seconds) in pauses {
        node.now += seconds * 1_000_000_000;
        let packet = spec("10.244.1.10", "172.31.0.100", protocol::TCP, 40_000, 80, flags);
        from_pod(&mut node, A, &packet);
        leave(&mut node, build(&packet), 0);
        let answer = from_wire(&mut node, &spec("172.31.0.100", "172.31.0.11", 6, 80, 40_000, 18));
        assert_eq!(went(&answer), Action::Pod);
        node.now += 1_000_000_000;
    }
    let ends = node.nat.values().map(|entry| entry.expires).min().expect("answered");
    assert!(ends > node.now + 7_000_000_000_000);
}

#[test]
fn cluster_members_see_the_pods_own_address() {
    let mut node = node(false);
    for to in ["10.244.2.20", "172.31.0.12"] {
        let spec = syn("10.244.1.10", to, 40_000, 80);
        assert_eq!(leave(&mut node, build(&spec), 0).frame, build(&spec), "to {to}");
    }
}

#[test]
fn listed_destinations_see_the_pods_own_address() {
    let mut node = node(false);
    let spec = syn("10.244.1.10", "172.31.0.100", 40_000, 80);
    let sent = |node: &mut Node| {
        let from = Sent { frame: summed(&spec), ifindex: A, ..Sent::default() };
        let out = run(node, Program::PodEgress, from);
        leave(node, out.frame, out.mark).frame[26..30].to_vec()
    };
    assert_eq!(sent(&mut node), [172, 31, 0, 11]);
    node.never_masqueraded.push((addr("172.31.0.96"), 96 + 28));
    node.epoch += 1;
    assert_eq!(sent(&mut node), [10, 244, 1, 10], "also in a flow that was translated before");
    node.never_masqueraded.clear();
    node.epoch += 1;
    assert_eq!(sent(&mut node), [172, 31, 0, 11]);
}

#[test]
fn behind_a_tunnel_other_nodes_see_this_node() {
    let mut node = node(true);
    let out = leave(&mut node, build(&syn("10.244.1.10", "172.31.0.12", 40_000, 80)), 0);
    assert_eq!(out.frame[26..30], [172, 31, 0, 11]);
}

#[test]
fn echo_identifiers_are_ports_and_errors_find_home() {
    let mut node = node(false);
    let ping = spec("10.244.1.10", "172.31.0.100", protocol::ICMP, 77, 0, 8);
    from_pod(&mut node, A, &ping);
    let out = leave(&mut node, build(&ping), 0);
    let id = u16::from_be_bytes([out.frame[38], out.frame[39]]);
    let pong = spec("172.31.0.100", "172.31.0.11", protocol::ICMP, 0, id, 0);
    assert_eq!(verdict(&from_wire(&mut node, &pong)).ifindex, A);

    let probe = spec("10.244.1.10", "172.31.0.100", protocol::UDP, 50_000, 9, 0);
    from_pod(&mut node, A, &probe);
    let sent = leave(&mut node, build(&probe), 0).frame;
    let mut error = build(&spec("172.31.0.100", "172.31.0.11", protocol::ICMP, 0, 0, 3));
    error.extend(&sent[14..42]);
    let length = (error.len() - 14) as u16;
    error[16..18].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&error[34..]);
    error[36..38].copy_from_slice(&sum.to_be_bytes());
    let out = run(&mut node, Program::NetdevIngress, Sent { frame: error, ifindex: ETH0, ..Sent::default() });
    assert_eq!((verdict(&out).action, verdict(&out).ifindex), (Action::Pod, A));
    assert_eq!(out.frame[30..34], [10, 244, 1, 10], "addressed to the pod");
    assert_eq!(out.frame[54..58], [10, 244, 1, 10], "and quoting what the pod sent");
    assert_eq!(checksum(&out.frame[34..]), 0);
    assert_eq!(checksum(&out.frame[42..62]), 0, "the quoted header is whole");
}
