//! Traces on nodes that are filled by hand: pods `a` (77) and `b` (78) here, `r` on another node, and the world.

mod world;

use abi::{Addr, DropReason, tables};
use sim::Program;
use world::{ETH0, HOST, ID_A, ID_B, ID_R, ask, deny_all, ip, node, tell};

use crate::{Question, Surroundings, TraceError, choose, identify, prepare, representative, trace};

/// `egress 77 ALLOWED L4-Only 7`, one a decision.
fn decisions(trace: &api::policy::Trace) -> Vec<String> {
    let word = |d: &api::policy::Decision| {
        format!("{} {} {} {} {}", d.direction, d.endpoint, d.verdict, d.matched, d.cookie)
    };
    trace.decisions.iter().map(word).collect()
}

#[test]
fn pods_of_one_node_are_decided_at_both_ends() {
    let mut node = node(false);
    let trace = tell(&mut node, ask("10.244.1.10", "10.244.1.11", 6, 80));
    assert_eq!(
        (trace.verdict.as_str(), trace.reason.as_str(), trace.elsewhere.as_str()),
        ("ALLOWED", "", "")
    );
    assert_eq!(
        trace.steps,
        ["pod_egress on lxc-a, first packet of a new connection", "into endpoint 78 through lxc-b"]
    );
    assert_eq!(decisions(&trace), ["egress 77 NOT ENFORCED  0", "ingress 78 ALLOWED L3-L4 8"]);
    assert_eq!((trace.source.identity, trace.source.endpoint, trace.source.port), (ID_A, 77, 30_000));
    assert_eq!(
        (trace.destination.identity, trace.destination.endpoint, trace.destination.port),
        (ID_B, 78, 80)
    );
    assert_eq!(trace.destination.found, "endpoint 78 of this node");

    let trace = tell(&mut node, ask("10.244.1.10", "10.244.1.11", 6, 81));
    assert_eq!((trace.verdict.as_str(), trace.reason.as_str()), ("DENIED", "Policy denied"));
    assert_eq!(trace.steps, ["pod_egress on lxc-a", "dropped: Policy denied"]);
    assert_eq!(decisions(&trace), ["egress 77 NOT ENFORCED  0", "ingress 78 DENIED none 502"]);
}

#[test]
fn a_denied_sender_leaves_the_receiver_unasked() {
    let mut node = node(false);
    deny_all(&mut node, world::OPEN);
    let trace = tell(&mut node, ask("10.244.1.10", "10.244.1.11", 6, 80));
    assert_eq!((trace.verdict.as_str(), trace.reason.as_str()), ("DENIED", "Policy denied by denylist"));
    assert_eq!(decisions(&trace), ["egress 77 DENIED all 9"]);
}

#[test]
fn an_audited_drop_passes() {
    let mut node = node(false);
    for facts in node.pods.values_mut() {
        facts.flags = tables::POD_AUDIT;
    }
    let trace = tell(&mut node, ask("10.244.1.10", "10.244.1.11", 17, 53));
    assert_eq!((trace.verdict.as_str(), trace.reason.as_str()), ("AUDIT", ""));
    assert_eq!(decisions(&trace), ["egress 77 NOT ENFORCED  0", "ingress 78 AUDIT none 502"]);
}

#[test]
fn a_pod_of_another_node_is_half_decided() {
    let mut native = node(false);
    let trace = tell(&mut native, ask("10.244.1.10", "10.244.2.20", 6, 80));
    assert_eq!(
        trace.steps,
        [
            "pod_egress on lxc-a, first packet of a new connection",
            "out of eth0 to 172.31.0.12",
            "netdev_egress on eth0",
            "leaves with its own address"
        ]
    );
    assert_eq!(trace.destination.found, "ipcache entry 10.244.2.20, behind node 172.31.0.12");
    assert_eq!(
        trace.elsewhere,
        "the ingress policy of 10.244.2.20 on its own node (172.31.0.12) has yet to be asked"
    );
    assert_eq!((trace.verdict.as_str(), trace.destination.identity), ("ALLOWED", ID_R));

    let mut tunnel = node(true);
    let trace = tell(&mut tunnel, ask("10.244.1.10", "10.244.2.20", 6, 80));
    assert_eq!(trace.steps[1..], ["through the tunnel to node 172.31.0.12 as identity 1001"]);
    assert!(trace.elsewhere.starts_with("the ingress policy of 10.244.2.20"), "{}", trace.elsewhere);
}

#[test]
fn what_other_nodes_send_comes_the_way_of_the_routing_mode() {
    let mut native = node(false);
    let trace = tell(&mut native, ask("10.244.2.20", "10.244.1.11", 6, 80));
    assert_eq!(
        trace.steps,
        ["netdev_ingress on eth0, first packet of a new connection", "into endpoint 78 through lxc-b"]
    );
    assert_eq!(decisions(&trace), ["ingress 78 ALLOWED L3-L4 8"]);
    assert_eq!(
        trace.elsewhere,
        "the egress policy of 10.244.2.20 on its own node (172.31.0.12) was asked before"
    );

    let mut tunnel = node(true);
    let asked = ask("10.244.2.20", "10.244.1.11", 6, 80);
    let trace = tell(&mut tunnel, asked);
    assert_eq!(
        trace.steps[0],
        "overlay_ingress on cilium_vxlan, from node 172.31.0.12 as identity 1003, first packet of a new connection"
    );
    assert_eq!((trace.verdict.as_str(), trace.source.identity), ("ALLOWED", ID_R));
    tunnel.hosts.remove(&Addr::from(ip("172.31.0.12")));
    let trace = tell(&mut tunnel, asked);
    assert_eq!((trace.reason.as_str(), decisions(&trace).len()), (DropReason::UnknownSender.text(), 0));
    assert_eq!(trace.elsewhere, "", "a drop is a drop, whatever others say");
}

#[test]
fn the_world_is_seen_through_masquerading() {
    let mut node = node(false);
    let trace = tell(&mut node, ask("10.244.1.10", "8.8.8.8", 17, 53));
    assert_eq!(trace.steps[3], "leaves masqueraded, as 172.31.0.11");
    assert_eq!((trace.destination.identity, trace.elsewhere.as_str()), (9, ""));
    assert_eq!(trace.destination.found, "no ipcache entry: outside of the cluster");
    // From outside in: the world may not.
    let trace = tell(&mut node, ask("8.8.8.8", "10.244.1.11", 6, 80));
    assert_eq!(
        (trace.verdict.as_str(), decisions(&trace)),
        ("DENIED", vec!["ingress 78 DENIED none 502".to_owned()])
    );
}

#[test]
fn without_routes_the_stack_goes_on() {
    let mut node = node(false);
    node.routes.clear();
    let trace = tell(&mut node, ask("10.244.1.10", "8.8.8.8", 17, 53));
    assert_eq!(
        (trace.verdict.as_str(), trace.steps[1].as_str()),
        ("ALLOWED", "up this node's stack, which routes it")
    );
}

#[test]
fn the_node_itself_speaks_and_listens() {
    let mut node = node(true);
    let trace = tell(&mut node, ask("172.31.0.11", "10.244.1.11", 6, 80));
    assert_eq!(trace.steps, ["host_egress on cilium_host", "dropped: Policy denied"]);
    assert_eq!(decisions(&trace), ["ingress 78 DENIED none 502"]);
    assert_eq!((trace.source.identity, trace.source.endpoint), (1, 0));
    let trace = tell(&mut node, ask("10.244.1.10", "172.31.0.11", 6, 6443));
    assert_eq!(trace.steps[1], "up this node's stack, to the node itself");
    let trace = tell(&mut node, ask("172.31.0.11", "10.244.2.20", 6, 80));
    assert_eq!(
        trace.steps,
        ["host_egress on cilium_host", "through the tunnel to node 172.31.0.12 as identity 6"]
    );
    let trace = tell(&mut node, ask("8.8.8.8", "172.31.0.11", 6, 22));
    assert_eq!((trace.steps[1].as_str(), trace.verdict.as_str()), ("left to the node's stack", "ALLOWED"));
    let trace = tell(&mut node, ask("172.31.0.11", "8.8.8.8", 6, 443));
    assert_eq!(trace.steps, ["netdev_egress on eth0", "leaves by the node's own stack"]);
}

#[test]
fn the_node_has_a_policy_of_its_own() {
    let mut node = node(true);
    world::guard(&mut node);
    // Both ends of one node: first the sender's policy, then the receiver's.
    let trace = tell(&mut node, ask("10.244.1.10", "172.31.0.11", 6, 22));
    assert_eq!((trace.verdict.as_str(), trace.reason.as_str()), ("DENIED", "Policy denied"));
    assert_eq!(decisions(&trace), ["egress 77 NOT ENFORCED  0", "ingress 65535 DENIED none 51"]);
    assert_eq!((trace.destination.identity, trace.destination.endpoint), (1, 65_535));
    assert_eq!(trace.destination.found, "ipcache entry 172.31.0.11, this node itself: endpoint 65535");
    let trace = tell(&mut node, ask("172.31.0.11", "10.244.1.11", 6, 80));
    assert_eq!(decisions(&trace), ["egress 65535 DENIED none 52"]);
    // From and to the wire, of both families.
    for (world, here) in [("8.8.8.8", "172.31.0.11"), ("2001:db8::8", "fd00:31::11")] {
        let trace = tell(&mut node, ask(world, here, 6, 22));
        assert_eq!(decisions(&trace), ["ingress 65535 DENIED none 51"], "{here}");
        assert_eq!(trace.steps, ["netdev_ingress on eth0", "dropped: Policy denied"]);
        let trace = tell(&mut node, ask(world, here, 6, 6443));
        assert_eq!(decisions(&trace), ["ingress 65535 ALLOWED L4-Only 53"], "{here}");
        assert_eq!(trace.verdict, "ALLOWED");
        let trace = tell(&mut node, ask(here, world, 6, 443));
        assert_eq!(decisions(&trace), ["egress 65535 DENIED none 52"], "{here}");
        assert_eq!(trace.steps, ["netdev_egress on eth0", "dropped: Policy denied"]);
    }
    // An answer is the connection's, whose server the node is.
    let trace = tell(&mut node, Question { source_port: 6443, ..ask("172.31.0.11", "8.8.8.8", 6, 30_000) });
    assert_eq!(
        (trace.verdict.as_str(), decisions(&trace)),
        ("ALLOWED", vec!["ingress 65535 ALLOWED  53".to_owned()])
    );
    // Through the tunnel.
    let trace = tell(&mut node, ask("10.244.2.20", "10.244.1.1", 6, 22));
    assert_eq!(decisions(&trace), ["ingress 65535 DENIED none 51"]);
    // Without the feature the row means nothing.
    node.config.features &= !abi::config::HOST_FIREWALL;
    let trace = tell(&mut node, ask("8.8.8.8", "172.31.0.11", 6, 22));
    assert_eq!(
        (trace.verdict.as_str(), trace.decisions.len(), trace.destination.endpoint),
        ("ALLOWED", 0, 0)
    );
}

#[test]
fn a_tracked_connection_is_told_apart() {
    let mut node = node(false);
    let there = Question { source_port: 40_000, ..ask("10.244.1.10", "10.244.1.11", 6, 80) };
    let back = Question { source_port: 80, ..ask("10.244.1.11", "10.244.1.10", 6, 40_000) };
    deny_all(&mut node, world::CLOSED);
    let denied = tell(&mut node, back);
    assert_eq!(
        (denied.verdict.as_str(), decisions(&denied)),
        ("DENIED", vec!["egress 78 DENIED all 9".to_owned()])
    );
    node.policies.insert(world::CLOSED, world::web());
    node.half_open.clear();

    let opened = tell(&mut node, there);
    assert_eq!(opened.steps[0], "pod_egress on lxc-a, first packet of a new connection");
    // The copy keeps what a run leaves, as the maps would: the next packet is of the same connection.
    let reply = tell(&mut node, back);
    assert_eq!(reply.steps[0], "pod_egress on lxc-b, reply in a tracked connection");
    assert_eq!(decisions(&reply), ["egress 77 ALLOWED  0", "ingress 78 ALLOWED  8"]);
    let any_port = tell(&mut node, Question { source_port: 0, ..there });
    assert_eq!(any_port.steps[0], "pod_egress on lxc-a, packet of a tracked connection");
    assert_eq!(any_port.source.port, 40_000);
}

#[test]
fn echoes_of_both_families() {
    let mut node = node(false);
    for (from, to, protocol, request, reply) in
        [("10.244.1.10", "10.244.1.11", 1, 8, 0), ("fd00:10:244:1::10", "fd00:10:244:1::11", 58, 128, 129)]
    {
        node.half_open.clear();
        let denied = tell(&mut node, ask(from, to, protocol, request));
        assert_eq!(decisions(&denied), ["egress 77 NOT ENFORCED  0", "ingress 78 DENIED none 502"]);
        assert_eq!(denied.source.port, 0);
        // Nobody's answer is a message of its own: what `b` may send, and what `a` lets in.
        let unasked = tell(&mut node, ask(to, from, protocol, reply));
        assert_eq!(decisions(&unasked), ["egress 78 NOT ENFORCED  0", "ingress 77 NOT ENFORCED  0"]);
    }
}

#[test]
fn what_cannot_be_traced() {
    let node = node(false);
    let refused = |question| prepare(&node, &question, &Surroundings::default()).map(|p| p.program).err();
    let from_far = refused(ask("8.8.8.8", "10.244.2.20", 6, 80)).expect("refused");
    assert_eq!(
        from_far.to_string(),
        "neither 8.8.8.8 nor 10.244.2.20 is on this node (node 172.31.0.12 has one): \
         ask the agent of the node where one of them is"
    );
    let alone = ("172.31.0.11", "10.244.1.1");
    assert!(matches!(refused(ask(alone.0, alone.1, 6, 80)), Some(TraceError::Within { .. })));
    assert!(matches!(refused(ask("10.244.1.10", "fd00::1", 6, 80)), Some(TraceError::Families { .. })));
    assert_eq!(refused(ask("10.244.1.10", "8.8.8.8", 1, 300)), Some(TraceError::IcmpType { given: 300 }));
}

#[test]
fn families_are_chosen_by_what_both_ends_have() {
    let both = [ip("10.0.0.1"), ip("fd00::1")];
    let v6 = [ip("fd00::2")];
    assert_eq!(choose(&both, &both, 6, false), Some((both[0], both[0])));
    assert_eq!(choose(&both, &both, 6, true), Some((both[1], both[1])));
    assert_eq!(choose(&both, &both, 58, false), Some((both[1], both[1])));
    assert_eq!(choose(&both, &v6, 17, false), Some((both[1], v6[0])));
    assert_eq!(choose(&both, &v6, 1, false), None);
}

#[test]
fn an_identity_is_stood_for_by_an_address() {
    let node = node(true);
    let of = |identity| representative(&node, identity);
    assert_eq!(of(ID_A), [ip("10.244.1.10"), ip("fd00:10:244:1::10")]);
    assert_eq!(of(ID_R), [ip("10.244.2.20")]);
    assert_eq!(of(abi::identity::LOCAL_MIN), [ip("203.0.113.1")]);
    assert_eq!(of(9), [ip("192.0.2.1")]);
    assert_eq!(of(10), [ip("2001:db8::1")]);
    assert_eq!(of(2), [ip("192.0.2.1"), ip("2001:db8::1")]);
    assert_eq!(of(1), [ip("172.31.0.11"), ip("fd00:31::11")], "the node by its name for others");
    assert!(of(4711).is_empty());
}

#[test]
fn the_most_specific_entry_tells_who_it_is() {
    let node = node(true);
    let prefix = identify(&node, ip("203.0.113.9"));
    assert_eq!(
        (prefix.identity, prefix.found.as_str()),
        (abi::identity::LOCAL_MIN, "ipcache prefix 203.0.113.0/24")
    );
    let host = identify(&node, ip("172.31.0.11"));
    assert_eq!((host.host, host.found.as_str()), (true, "ipcache entry 172.31.0.11, this node itself"));
    let remote = identify(&node, ip("10.244.2.20"));
    assert!(remote.is_remote_pod() && remote.tunnel);
    assert_eq!(remote.found, "ipcache entry 10.244.2.20, through the tunnel to node 172.31.0.12");
}

#[test]
fn names_are_numbers_where_none_are_known() {
    let mut node = node(false);
    let bare = Surroundings { native: vec![ETH0], ..Surroundings::default() };
    let prepared = prepare(&node, &ask("172.31.0.11", "10.244.1.11", 6, 80), &bare).expect("a packet");
    assert_eq!((prepared.program, prepared.sent.ifindex), (Program::HostEgress, HOST));
    assert!(trace(&mut node, &prepared, &bare).steps[0].starts_with("host_egress on interface 3"));
}
