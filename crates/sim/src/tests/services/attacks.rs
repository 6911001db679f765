//! What somebody could try: to break services for others, to speak in another's name, to make packets circle.

use abi::nat::{BACK, ENDED};
use abi::service::{EXTERNAL_ALLOWED, HOST_PORT};
use abi::tables::{EGRESS, INGRESS};
use abi::{IpcacheEntry, PodFacts, identity};

use super::*;
use crate::frame::build;

/// An identity that a policy's CIDR has on this node.
const CIDR: u32 = 0x0100_0001;

fn wire(node: &mut Node, packet: &Spec) -> Outcome {
    sent(node, Program::NetdevIngress, ETH0, packet)
}

#[test]
fn a_policy_that_names_a_services_address_leaves_the_service_alone() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    node.frontends.get_mut(&frontend_key(addr(VIP), 80)).expect("row").flags |= EXTERNAL_ALLOWED;
    let entry = IpcacheEntry { identity: CIDR, flags: 0, node: Addr::UNSPECIFIED };
    node.hosts.insert(addr(VIP), entry);
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    went_as(&out, Action::Pod, "10.244.1.10:4000", &format!("{LOCAL}:8080"));
    let out = wire(&mut node, &syn(CLIENT, VIP, 4000, 80));
    went_as(&out, Action::Pod, &format!("{CLIENT}:4000"), &format!("{LOCAL}:8080"));
}

#[test]
fn policy_sees_the_backend_and_its_own_port() {
    for (backend, identity) in [(LOCAL, ID_B), (REMOTE, ID_R)] {
        for (port, passes) in [(8080, true), (80, false)] {
            let mut node = balancing(false);
            serve(&mut node, &[backend]);
            allow(&mut node, 2, identity, EGRESS, protocol::TCP, port);
            let pod = PodFacts { policy: 2, ..node.pods[&A] };
            node.attach(A, pod);
            let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
            assert_eq!(out.verdict.is_ok(), passes, "{backend} {port}");
        }
    }
    // The client's identity at the backend, also of one outside that shares its port with another frontend.
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    allow(&mut node, 2, identity::WORLD_IPV4, INGRESS, protocol::TCP, 8080);
    let pod = PodFacts { policy: 2, ..node.pods[&B] };
    node.attach(B, pod);
    let other = node.frontends[&frontend_key(WILDCARD_V4, PORT)];
    node.frontends.insert(frontend_key(WILDCARD_V4, PORT + 1), other);
    for port in [PORT, PORT + 1] {
        assert_eq!(went(&wire(&mut node, &syn(CLIENT, NODE, 40_000, port))), Action::Pod);
        let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", NODE, 40_000, port));
        assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    }
}

#[test]
fn nobody_outside_touches_the_connections_of_pods_or_of_the_node() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    node.frontends.get_mut(&frontend_key(addr(VIP), 80)).expect("row").flags |= EXTERNAL_ALLOWED;
    sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, "10.244.1.10", 8080, 4000));
    let before = node.nat.len() + node.nat_half_open.len();
    for program in [Program::XdpIngress, Program::NetdevIngress] {
        for (source, port) in [("10.244.1.10", 4000), ("10.244.1.10", 4001), (NODE, 4000)] {
            for (to, to_port) in [(VIP, 80), (NODE, PORT)] {
                let forged = spec(source, to, 6, port, to_port, tcp::RST);
                let out = sent(&mut node, program, ETH0, &forged);
                let passed = program == Program::XdpIngress && went(&out) == Action::Pass;
                assert!(passed || out.verdict == Err(DropReason::InvalidSourceIp));
            }
        }
    }
    assert_eq!(node.nat.len() + node.nat_half_open.len(), before);
    assert!(node.nat.values().all(|entry| entry.flags & ENDED == 0));
}

#[test]
fn what_is_no_packet_to_a_port_of_a_service_goes_nowhere() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    let ping = |from| spec(from, VIP, protocol::ICMP, 77, 0, 8);
    let mut later = build(&spec(CLIENT, VIP, protocol::UDP, 5, 53, 0));
    later[20..22].copy_from_slice(&[0, 5]);
    let tunnelled = build(&spec(CLIENT, VIP, 47, 0, 0, 0));
    for frame in [build(&ping(CLIENT)), later, tunnelled] {
        let out = run(&mut node, Program::NetdevIngress, Sent { frame, ifindex: ETH0, ..Sent::default() });
        assert!(out.verdict.is_err(), "it would circle between this node and its router");
    }
    assert_eq!(from_pod(&mut node, A, &ping("10.244.1.10")).verdict, Err(DropReason::NoBackend));
    // Nodes answer for themselves.
    let ping = spec(CLIENT, NODE, protocol::ICMP, 77, 0, 8);
    assert_eq!(went(&from_wire(&mut node, &ping)), Action::Pass);
}

#[test]
fn a_host_port_in_the_range_of_masqueraded_ports_is_served() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    let row = node.frontends[&frontend_key(WILDCARD_V4, PORT)];
    let row = Frontend { flags: HOST_PORT | EXTERNAL_ALLOWED, ..row };
    node.frontends.insert(frontend_key(WILDCARD_V4, 50_000), row);
    let out = wire(&mut node, &syn(CLIENT, NODE, 4000, 50_000));
    went_as(&out, Action::Pod, &format!("{CLIENT}:4000"), &format!("{LOCAL}:8080"));
    // The node's own connection from that port is its own.
    sent(&mut node, Program::NetdevEgress, ETH0, &syn(NODE, "203.0.113.9", 50_000, 443));
    let answer = syn_ack("203.0.113.9", NODE, 443, 50_000);
    let out = wire(&mut node, &answer);
    assert_eq!((went(&out), out.frame), (Action::Pass, summed(&answer)));
}

#[test]
fn no_address_is_the_pods_own() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    for (any, namespace, translated) in [("0.0.0.0", 9, false), ("0.0.0.0", 1, true)] {
        let mut call =
            Call { protocol: protocol::TCP, addr: addr(any), port: PORT.to_be(), cookie: 5, namespace };
        socket_connect(&mut node, &mut call);
        assert_eq!(call.addr == addr(REMOTE), translated, "{any} in {namespace}");
    }
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", "0.0.0.0", 4000, PORT));
    assert_eq!(ends(&out).1, format!("0.0.0.0:{PORT}"));
}

#[test]
fn a_pod_reports_no_errors_for_others() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    sent(&mut node, Program::PodEgress, B, &syn(LOCAL, VIP, 4000, 80));
    let answer = wire(&mut node, &syn_ack(REMOTE, LOCAL, 8080, 4000));
    assert_eq!(ends(&answer).0, format!("{VIP}:80"));
    let forged = super::odd::too_big("10.244.1.10", &answer.frame, 0x0a);
    let out = run(&mut node, Program::PodEgress, Sent { frame: forged, ifindex: A, ..Sent::default() });
    assert_eq!(out.verdict, Err(DropReason::NoBackend));
}

#[test]
fn the_address_of_those_who_meet_themselves_is_nobody_elses() {
    let loopback = "169.254.42.1";
    let mut node = balancing(false);
    serve(&mut node, &["10.244.1.10"]);
    // It may not be used by a pod,
    let out =
        sent(&mut node, Program::PodEgress, B, &Spec { source_mac: mac(0x0b), ..syn(loopback, VIP, 1, 80) });
    assert_eq!(out.verdict, Err(DropReason::InvalidSourceIp));
    // from outside it is one of the world's,
    allow(&mut node, 2, ID_A, INGRESS, 0, 0);
    let pod = PodFacts { policy: 2, ..node.pods[&A] };
    node.attach(A, pod);
    let out = wire(&mut node, &syn(loopback, "10.244.1.10", 4000, 8080));
    assert_eq!(out.verdict, Err(DropReason::PolicyDenied));
    // and what a pod sends there comes back to itself alone.
    let out = sent(&mut node, Program::PodEgress, B, &syn(LOCAL, loopback, 4000, 8080));
    assert_eq!(verdict(&out).ifindex, B);
}

#[test]
fn sctp_keeps_its_ports() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    let backend = Backend { addr: addr(REMOTE), port: PORT.to_be(), _pad: 0 };
    node.backends.insert(100, backend);
    let row = node.frontends[&frontend_key(WILDCARD_V4, PORT)];
    let key = FrontendKey { protocol: protocol::SCTP, ..frontend_key(WILDCARD_V4, PORT) };
    node.frontends.insert(key, row);
    let asked = build(&spec(CLIENT, NODE, protocol::SCTP, 4000, PORT, 0));
    let out = run(&mut node, Program::NetdevIngress, Sent { frame: asked, ifindex: ETH0, ..Sent::default() });
    assert_eq!((went(&out), ends(&out).0), (Action::Neighbour, format!("{NODE}:4000")));
    let answer = build(&spec(REMOTE, NODE, protocol::SCTP, PORT, 4000, 0));
    let _ = run(&mut node, Program::NetdevIngress, Sent { frame: answer, ifindex: ETH0, ..Sent::default() });
    assert!(node.nat_half_open.keys().any(|key| key.direction == BACK));
}

#[test]
fn options_before_all_others_stay_there() {
    let mut node = balancing(false);
    node.config.features |= config::DSR;
    serve(&mut node, &["fd00:10:244:2::20"]);
    let key = frontend_key(addr("fd00:96::10"), 80);
    let row = node.frontends[&frontend_key(addr(VIP), 80)];
    node.frontends.insert(key, Frontend { flags: LOAD_BALANCER | DSR, ..row });
    let mut frame = build(&syn("fd00:31::100", "fd00:96::10", 4000, 80));
    frame.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
    frame[20] = 0;
    frame[19] += 8;
    let out = run(&mut node, Program::NetdevIngress, Sent { frame, ifindex: ETH0, ..Sent::default() });
    assert_eq!(out.verdict, Err(DropReason::InvalidExtensionHeader));
}

#[test]
fn a_flood_that_is_answered_but_never_confirmed_is_soon_forgotten() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    let minutes = node.now + 120_000_000_000;
    for port in 40_000..40_010 {
        wire(&mut node, &syn("198.51.100.66", NODE, port, PORT));
        wire(&mut node, &syn_ack(REMOTE, NODE, 8080, port));
        wire(&mut node, &syn("198.51.100.66", LOCAL, port, 8080));
        sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, "198.51.100.66", 8080, port));
    }
    assert!(node.nat.values().all(|entry| entry.expires < minutes));
    assert!(node.flows.values().all(|flow| flow.expires < minutes));
    // Who confirms stays.
    for packet in [syn, syn, ack] {
        wire(&mut node, &packet(CLIENT, NODE, 50_000, PORT));
        wire(&mut node, &syn_ack(REMOTE, NODE, 8080, 50_000));
        wire(&mut node, &packet(CLIENT, LOCAL, 50_000, 8080));
        sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, CLIENT, 8080, 50_000));
    }
    assert_eq!(node.nat.values().filter(|entry| entry.expires > minutes).count(), 2);
    assert_eq!(node.flows.values().filter(|flow| flow.expires > minutes).count(), 1);
}

#[test]
fn without_any_service_all_is_as_if_there_were_none() {
    let texts = ["10.244.1.10", "10.244.1.11", REMOTE, NODE, "172.31.0.12", CLIENT, VIP, "10.244.1.1"];
    let programs = [
        (Program::PodEgress, A),
        (Program::NetdevIngress, ETH0),
        (Program::NetdevEgress, ETH0),
        (Program::HostEgress, 3),
    ];
    for tunnel in [false, true] {
        let mut with = balancing(tunnel);
        with.config.features |= config::DSR | config::RECORD_VERDICT;
        let mut without = node(tunnel);
        // Both draw the same ports.
        without.config.features |= config::RECORD_VERDICT;
        let mut seed = 7_u32;
        let mut pick = |count: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % count
        };
        for _ in 0..20_000 {
            let (program, ifindex) = programs[pick(programs.len())];
            let protocol = [6, 17, 1][pick(3)];
            let flags = if protocol == 1 { [0, 8, 3][pick(3)] } else { [2, 18, 16, 17, 4][pick(5)] };
            let ports = [4000, 40_000, PORT, 80];
            let from = if program == Program::PodEgress { texts[0] } else { texts[pick(texts.len())] };
            let packet =
                spec(from, texts[pick(texts.len())], protocol, ports[pick(4)], ports[pick(4)], flags);
            let packet = Spec { source_mac: mac(0x0a), ..packet };
            let frame = build(&packet);
            let sent = Sent { frame, ifindex, ..Sent::default() };
            let (a, b) = (run(&mut with, program, sent.clone()), run(&mut without, program, sent));
            assert_eq!(a, b, "{program:?} {packet:?}");
            for node in [&mut with, &mut without] {
                node.now += 1_000_000;
            }
        }
    }
}
