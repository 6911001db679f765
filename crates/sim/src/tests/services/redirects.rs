//! What local redirect policies lead to pods of the node, and whom they spare.

use abi::service::{LOCAL_REDIRECT, MEMBER_SPARED, REDIRECTED, SPARES};

use super::*;

const NAMED: &str = "169.254.20.10";

/// Leads the cluster IP of service 7, whose own backend is `REMOTE`, and, as number 9, port 80 of `NAMED` to `LOCAL`.
fn redirect(node: &mut Node, flags: u32) {
    serve(node, &[REMOTE, LOCAL]);
    let own = Range { start: 100, count: 1, maglev: 0 };
    let led = Range { start: 101, count: 1, maglev: 0 };
    let row = Frontend {
        service: 7,
        flags: CLUSTER_IP | REDIRECTED | flags,
        external: own,
        internal: led,
        affinity: 0,
    };
    node.frontends.insert(frontend_key(addr(VIP), 80), row);
    let row = Frontend { service: 9, flags: LOCAL_REDIRECT | flags, external: Range::default(), ..row };
    node.frontends.insert(frontend_key(addr(NAMED), 80), row);
    let backend = MemberKey { addr: addr(LOCAL), service: 9, port: 8080_u16.to_be(), protocol: 6, _pad: 0 };
    node.members.insert(backend, MEMBER_ACTIVE);
}

fn spare(node: &mut Node, client: Addr) {
    for service in [7, 9] {
        node.members
            .insert(MemberKey { addr: client, service, port: 0, protocol: 6, _pad: 0 }, MEMBER_SPARED);
    }
}

#[test]
fn a_pod_is_led_to_a_pod_of_its_node_and_answered_by_whom_it_asked() {
    for flags in [0, SPARES] {
        for asked in [VIP, NAMED] {
            let mut node = balancing(false);
            redirect(&mut node, flags);
            let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", asked, 4000, 80));
            went_as(&out, Action::Pod, "10.244.1.10:4000", &format!("{LOCAL}:8080"));
            let out = sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, "10.244.1.10", 8080, 4000));
            went_as(&out, Action::Pod, &format!("{asked}:80"), "10.244.1.10:4000");
        }
    }
}

#[test]
fn a_backend_that_is_spared_reaches_what_it_asks_for() {
    let mut node = balancing(false);
    redirect(&mut node, SPARES);
    spare(&mut node, addr(LOCAL));
    let out = sent(&mut node, Program::PodEgress, B, &syn(LOCAL, VIP, 4000, 80));
    went_as(&out, Action::Neighbour, &format!("{LOCAL}:4000"), &format!("{REMOTE}:8080"));
    let out = sent(&mut node, Program::PodEgress, B, &syn(LOCAL, NAMED, 4001, 80));
    assert_eq!(ends(&out), (format!("{LOCAL}:4001"), format!("{NAMED}:80"), true));
    assert_ne!(verdict(&out).action, Action::Pod);
}

/// Its other ports, and packets of clients outside that pass by, are the address's owner's.
#[test]
fn an_address_that_a_policy_names_stays_somebody_elses() {
    let mut node = balancing(false);
    redirect(&mut node, 0);
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", NAMED, 4000, 81));
    assert_eq!(ends(&out).1, format!("{NAMED}:81"));
    assert!(out.verdict.is_ok());
    let before = sent(&mut balancing(false), Program::NetdevIngress, ETH0, &syn(CLIENT, NAMED, 4000, 80));
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NAMED, 4000, 80));
    assert_eq!(ends(&out), (format!("{CLIENT}:4000"), format!("{NAMED}:80"), true));
    assert_eq!((out.verdict, node.nat_half_open.len()), (before.verdict, 0));
}

#[test]
fn clients_outside_are_not_led() {
    let mut node = balancing(false);
    redirect(&mut node, 0);
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, VIP, 4000, 80));
    assert_eq!(out.verdict.map(|v| v.action), Err(DropReason::IsClusterIp));
    redirect(&mut node, abi::service::EXTERNAL_ALLOWED);
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, VIP, 40_000, 80));
    went_as(&out, Action::Neighbour, &format!("{NODE}:40000"), &format!("{REMOTE}:8080"));
}

/// Who connects, to where, under which flags, and to whom the socket speaks then.
#[test]
fn sockets_are_led_or_left_to_their_packets() {
    const POD: u64 = 77;
    const HOST: u64 = 1;
    let led = format!("{LOCAL}:8080");
    for (namespace, asked, flags, spared, expected) in [
        (POD, VIP, 0, false, led.clone()),
        (POD, NAMED, 0, false, led.clone()),
        // Which pod it is, is seen in its packets.
        (POD, VIP, SPARES, false, format!("{VIP}:80")),
        (POD, NAMED, SPARES, false, format!("{NAMED}:80")),
        (HOST, VIP, SPARES, false, led.clone()),
        (HOST, NAMED, SPARES, false, led),
        (HOST, VIP, SPARES, true, format!("{REMOTE}:8080")),
        (HOST, NAMED, SPARES, true, format!("{NAMED}:80")),
    ] {
        let mut node = balancing(false);
        redirect(&mut node, flags);
        if spared {
            spare(&mut node, WILDCARD_V4);
        }
        let mut call =
            Call { protocol: protocol::TCP, addr: addr(asked), port: 80_u16.to_be(), cookie: 5, namespace };
        assert_eq!(socket_connect(&mut node, &mut call), Answer::Proceed);
        let peer = format!("{}:{}", call.addr, u16::from_be(call.port));
        assert_eq!(peer, expected, "{namespace} to {asked}, {flags:#x}, {spared}");
    }
}
