use abi::DropReason;
use abi::flow::{ANSWERED, LOW_STARTED};
use abi::tables::{EGRESS, INGRESS};
use datapath::Action;
use datapath::packet::{protocol, tcp};

use super::world::*;
use crate::Node;

/// `a` may reach `b` on TCP 80, and nothing else.
fn guarded() -> Node {
    let mut node = node(false);
    allow(&mut node, 2, ID_A, INGRESS, protocol::TCP, 80);
    allow(&mut node, 2, 0, EGRESS, 0, 0);
    node.pods.get_mut(&B).expect("pod b").policy = 2;
    node.pods.get_mut(&B).expect("pod b").deny_cookie_ingress = 42;
    node
}

fn connect(node: &mut Node) {
    assert_eq!(went(&from_pod(node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80))), Action::Pod);
    assert_eq!(went(&from_pod(node, B, &syn_ack("10.244.1.11", "10.244.1.10", 80, 4000))), Action::Pod);
    assert_eq!(went(&from_pod(node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80))), Action::Pod);
}

#[test]
fn policy_lets_the_allowed_through_and_names_what_denied_the_rest() {
    let mut node = guarded();
    connect(&mut node);
    node.events.clear();
    let out = from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4001, 81));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    let verdict = node.events.iter().find(|(event, _)| event.kind == 5).expect("a verdict event").0;
    assert_eq!((verdict.code, verdict.cookie, verdict.policy_endpoint), (133, 42, 102));
    assert_eq!((verdict.source_identity, verdict.destination_identity), (ID_A, ID_B));
    let drop = node.events.iter().find(|(event, _)| event.kind == 1).expect("a drop event").0;
    let egress = drop.flags & abi::event::EGRESS != 0;
    assert_eq!(
        (drop.code, drop.cookie, egress),
        (133, 42, false),
        "the receiver's policy, in the sender's program"
    );
    assert_eq!(node.counted(133), 1);
    assert_eq!(node.half_open.len(), 0, "a denied flow leaves no entry");
}

#[test]
fn one_entry_serves_both_directions_and_moves_when_both_have_spoken() {
    let mut node = guarded();
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!((node.half_open.len(), node.flows.len()), (1, 0));
    from_pod(&mut node, B, &syn_ack("10.244.1.11", "10.244.1.10", 80, 4000));
    assert_eq!((node.half_open.len(), node.flows.len()), (1, 0), "who began may be anybody");
    from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!((node.half_open.len(), node.flows.len()), (0, 1));
    let flow = node.flows.values().next().expect("the flow");
    assert_eq!(flow.flags & (ANSWERED | LOW_STARTED), ANSWERED | LOW_STARTED);
    assert_eq!(flow.packets, [2, 1]);
    assert_eq!(flow.identity, [ID_A, ID_B]);
}

#[test]
fn an_established_flow_is_denied_once_policy_changed_and_the_generation_grew() {
    let mut node = guarded();
    connect(&mut node);
    node.policies.insert(2, crate::PolicyTable::default());
    // The writer has not finished: the old answer holds.
    assert_eq!(went(&from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80))), Action::Pod);
    node.epoch += 1;
    let out = from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    let out = from_pod(&mut node, B, &ack("10.244.1.11", "10.244.1.10", 80, 4000));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "answers stop as well");
}

#[test]
fn a_server_cannot_open_connections_back_through_the_clients_flow() {
    let mut node = guarded();
    // Nothing may come in at `a`.
    allow(&mut node, 3, 0, EGRESS, 0, 0);
    node.pods.get_mut(&A).expect("pod a").policy = 3;
    connect(&mut node);
    let out = from_pod(&mut node, B, &syn("10.244.1.11", "10.244.1.10", 80, 4000));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
}

#[test]
fn a_flood_of_openings_leaves_answered_flows_alone() {
    let mut node = node(false);
    connect(&mut node);
    for port in 0..1000 {
        from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 10_000 + port, 80));
    }
    assert_eq!(node.flows.len(), 1);
    node.half_open.clear();
    assert_eq!(went(&from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80))), Action::Pod);
}

#[test]
fn a_full_table_refuses_nobody() {
    let mut node = node(false);
    node.flow_limit = 1;
    connect(&mut node);
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4001, 80));
    assert_eq!(went(&from_pod(&mut node, B, &syn_ack("10.244.1.11", "10.244.1.10", 80, 4001))), Action::Pod);
    assert_eq!(went(&from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4001, 80))), Action::Pod);
    assert_eq!((node.flows.len(), node.half_open.len()), (1, 1));
}

#[test]
fn closed_flows_end_soon_and_a_new_opening_starts_over() {
    let mut node = node(false);
    connect(&mut node);
    let fin = tcp::FIN | tcp::ACK;
    from_pod(&mut node, A, &spec("10.244.1.10", "10.244.1.11", protocol::TCP, 4000, 80, fin));
    from_pod(&mut node, B, &spec("10.244.1.11", "10.244.1.10", protocol::TCP, 80, 4000, fin));
    let expires = node.flows.values().next().expect("the flow").expires;
    assert_eq!(expires, node.now + abi::flow::CLOSING_LIFETIME);
    from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!((node.flows.len(), node.half_open.len()), (0, 1));
}

#[test]
fn expired_entries_count_for_nothing() {
    let mut node = guarded();
    connect(&mut node);
    node.now += abi::flow::TCP_LIFETIME + 1;
    node.policies.insert(2, crate::PolicyTable::default());
    let out = from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
}

#[test]
fn a_new_owner_of_an_address_inherits_no_connection() {
    let mut node = node(false);
    connect(&mut node);
    // The server's address goes to a new pod that may not speak to anybody.
    let mut facts = node.pods.remove(&B).expect("pod b");
    facts.policy = 3;
    node.policies.insert(3, crate::PolicyTable::default());
    node.attach(77, facts);
    node.epoch += 1;
    let out = from_pod(&mut node, 77, &ack("10.244.1.11", "10.244.1.10", 80, 4000));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied), "not an answer: the connection was another pod's");
}

#[test]
fn audit_lets_through_what_it_reports() {
    let mut node = guarded();
    node.pods.get_mut(&B).expect("pod b").flags = abi::tables::POD_AUDIT;
    let out = from_pod(&mut node, A, &syn("10.244.1.10", "10.244.1.11", 4001, 81));
    assert_eq!(went(&out), Action::Pod);
    let verdict = node.events.iter().find(|(event, _)| event.kind == 5).expect("a verdict event").0;
    assert_ne!(verdict.flags & abi::event::AUDITED, 0);
}

#[test]
fn traces_are_aggregated() {
    let mut node = node(false);
    connect(&mut node);
    node.events.clear();
    for _ in 0..100 {
        from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80));
    }
    assert_eq!(node.events.len(), 0);
    node.now += 6_000_000_000;
    from_pod(&mut node, A, &ack("10.244.1.10", "10.244.1.11", 4000, 80));
    assert_eq!(node.events.len(), 1);
}
