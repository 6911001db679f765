use abi::service::{
    CLUSTER_IP, DSR, EXTERNAL_DROP, EXTERNAL_LOCAL, INTERNAL_DROP, LOAD_BALANCER, MEMBER_ACTIVE, NODE_PORT,
    SOURCE_RANGES, WILDCARD_V4,
};
use abi::{
    Addr, Backend, DropReason, Event, EventKind, Frontend, FrontendKey, MemberKey, Range, SocketEvent,
    SourceRangeKey, config,
};
use datapath::packet::{protocol, tcp};
use datapath::socket::Answer;
use datapath::{Action, packet};
use zerocopy::FromBytes;

use super::world::*;
use crate::frame::{Spec, checksum};
use crate::{Call, Node, Outcome, Program, Sent, run, socket_connect, socket_told};

mod attacks;
mod odd;
mod redirects;

const VIP: &str = "10.96.0.10";
const LOCAL: &str = "10.244.1.11";
const REMOTE: &str = "10.244.2.20";
const CLIENT: &str = "172.31.0.100";
const NODE: &str = "172.31.0.11";
const PORT: u16 = 30_080;

/// Service 7 with these backends, as ClusterIP `VIP:80` and NodePort `PORT`.
fn serve(node: &mut Node, backends: &[&str]) {
    for (slot, backend) in backends.iter().enumerate() {
        let backend = Backend { addr: addr(backend), port: 8080_u16.to_be(), _pad: 0 };
        node.backends.insert(100 + slot as u32, backend);
        let key = MemberKey { addr: backend.addr, service: 7, port: backend.port, protocol: 6, _pad: 0 };
        node.members.insert(key, MEMBER_ACTIVE);
    }
    let all = Range { start: 100, count: backends.len() as u32, maglev: 0 };
    let row = Frontend { service: 7, flags: CLUSTER_IP, external: all, internal: all, affinity: 0 };
    node.frontends.insert(frontend_key(addr(VIP), 80), row);
    node.frontends.insert(frontend_key(WILDCARD_V4, PORT), Frontend { flags: NODE_PORT, ..row });
    node.frontends.insert(
        FrontendKey { addr: addr(VIP), port: 0, protocol: 0, _pad: 0 },
        Frontend { service: 7, flags: EXTERNAL_DROP | INTERNAL_DROP, ..Frontend::default() },
    );
}

fn frontend_key(addr: Addr, port: u16) -> FrontendKey {
    FrontendKey { addr, port: port.to_be(), protocol: protocol::TCP, _pad: 0 }
}

fn balancing(tunnel: bool) -> Node {
    let mut node = node(tunnel);
    node.config.features |= config::SERVICES | config::SOCKET_LB;
    node.config.node_port_min = 30_000;
    node.config.node_port_max = 32_767;
    node.config.loopback_v4 = addr("169.254.42.1");
    node.config.host_cookie = 1;
    node
}

/// Source and destination as text, and whether both checksums are right.
fn ends(outcome: &Outcome) -> (String, String, bool) {
    let f = &outcome.frame;
    let end = |at: usize, port: usize| {
        let ip = std::net::Ipv4Addr::new(f[at], f[at + 1], f[at + 2], f[at + 3]);
        format!("{ip}:{}", u16::from_be_bytes([f[port], f[port + 1]]))
    };
    (end(26, 34), end(30, 36), checksum(&f[14..34]) == 0 && transport_sum(f) == 0)
}

fn went_as(outcome: &Outcome, action: Action, from: &str, to: &str) {
    assert_eq!(outcome.verdict.map(|v| v.action), Ok(action));
    assert_eq!(ends(outcome), (from.to_owned(), to.to_owned(), true));
}

fn sent(node: &mut Node, program: Program, ifindex: u32, spec: &crate::frame::Spec) -> Outcome {
    run(node, program, Sent { frame: summed(spec), ifindex, ..Sent::default() })
}

#[test]
fn a_pods_packet_to_a_service_reaches_a_backend_and_the_answer_carries_the_services_address() {
    for backend in [LOCAL, REMOTE] {
        let mut node = balancing(false);
        serve(&mut node, &[backend]);
        let (action, last) = if backend == LOCAL { (Action::Pod, B) } else { (Action::Neighbour, ETH0) };
        for flags in [tcp::SYN, tcp::ACK, tcp::ACK] {
            let out = sent(&mut node, Program::PodEgress, A, &spec("10.244.1.10", VIP, 6, 4000, 80, flags));
            went_as(&out, action, "10.244.1.10:4000", &format!("{backend}:8080"));
            assert_eq!(verdict(&out).ifindex, last);
            let answer = spec(backend, "10.244.1.10", 6, 8080, 4000, flags | tcp::ACK);
            let program = if backend == LOCAL { Program::PodEgress } else { Program::NetdevIngress };
            let out = sent(&mut node, program, last, &answer);
            went_as(&out, Action::Pod, &format!("{VIP}:80"), "10.244.1.10:4000");
        }
        assert_eq!((node.nat.len(), node.nat_half_open.len()), (2, 0), "the pair is among the answered");
    }
}

#[test]
fn a_pod_meets_itself_through_a_service() {
    let mut node = balancing(false);
    serve(&mut node, &["10.244.1.10"]);
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    went_as(&out, Action::Pod, "169.254.42.1:4000", "10.244.1.10:8080");
    let out = sent(&mut node, Program::PodEgress, A, &syn_ack("10.244.1.10", "169.254.42.1", 8080, 4000));
    went_as(&out, Action::Pod, &format!("{VIP}:80"), "10.244.1.10:4000");
    assert_eq!(verdict(&out).ifindex, A);
}

#[test]
fn a_client_outside_reaches_a_pod_of_this_node_with_its_own_address() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 4000, PORT));
    went_as(&out, Action::Pod, &format!("{CLIENT}:4000"), &format!("{LOCAL}:8080"));
    let out = sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, CLIENT, 8080, 4000));
    went_as(&out, Action::Neighbour, &format!("{NODE}:{PORT}"), &format!("{CLIENT}:4000"));
    assert_ne!(out.mark & abi::mark::MAGIC_MASK, 0, "nothing is left to masquerade");
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &ack(CLIENT, NODE, 4000, PORT));
    went_as(&out, Action::Pod, &format!("{CLIENT}:4000"), &format!("{LOCAL}:8080"));
}

#[test]
fn a_client_outside_reaches_a_pod_of_another_node_through_this_one() {
    for (tunnel, action, own) in [(false, Action::Neighbour, NODE), (true, Action::Tunnel, "10.244.1.1")] {
        let mut node = balancing(tunnel);
        serve(&mut node, &[REMOTE]);
        let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 40_000, PORT));
        went_as(&out, action, &format!("{own}:40000"), &format!("{REMOTE}:8080"));
        assert_eq!(out.mark, abi::mark::SNAT_DONE);
        let answer = syn_ack(REMOTE, own, 8080, 40_000);
        let out = if tunnel {
            let tunnel = Some(datapath::TunnelKey { identity: ID_R, remote: addr("172.31.0.12") });
            let frame = summed(&answer);
            run(&mut node, Program::OverlayIngress, Sent { frame, ifindex: 5, tunnel, ..Sent::default() })
        } else {
            sent(&mut node, Program::NetdevIngress, ETH0, &answer)
        };
        went_as(&out, Action::Neighbour, &format!("{NODE}:{PORT}"), &format!("{CLIENT}:40000"));
        assert_eq!((node.nat.len(), node.nat_half_open.len()), (0, 2), "anybody can begin");
        sent(&mut node, Program::NetdevIngress, ETH0, &ack(CLIENT, NODE, 40_000, PORT));
        assert_eq!((node.nat.len(), node.nat_half_open.len()), (2, 0));
    }
}

#[test]
fn what_only_passes_is_sent_before_the_stack() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    for flags in [tcp::SYN, tcp::ACK] {
        let out = sent(&mut node, Program::XdpIngress, ETH0, &spec(CLIENT, NODE, 6, 40_000, PORT, flags));
        went_as(&out, Action::Transmit, &format!("{NODE}:40000"), &format!("{REMOTE}:8080"));
        assert_eq!((out.frame[5], out.frame[22]), (12, 63), "the next hop's address, one hop less");
        let out = sent(&mut node, Program::XdpIngress, ETH0, &ack(REMOTE, NODE, 8080, 40_000));
        went_as(&out, Action::Transmit, &format!("{NODE}:{PORT}"), &format!("{CLIENT}:40000"));
    }
    // Half of the packets take the other way; it is one connection.
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &ack(CLIENT, NODE, 40_000, PORT));
    went_as(&out, Action::Neighbour, &format!("{NODE}:40000"), &format!("{REMOTE}:8080"));
}

#[test]
fn what_ends_on_this_node_goes_on_untouched() {
    for backend in [LOCAL, NODE] {
        let mut node = balancing(false);
        serve(&mut node, &[backend]);
        let packet = syn(CLIENT, NODE, 40_000, PORT);
        let early = sent(&mut node, Program::XdpIngress, ETH0, &packet);
        assert_eq!((went(&early), early.frame), (Action::Pass, summed(&packet)));
        let out = sent(&mut node, Program::NetdevIngress, ETH0, &packet);
        assert_eq!(ends(&out).1, format!("{backend}:8080"));
    }
    let mut node = balancing(false);
    serve(&mut node, &[]);
    for packet in
        [syn(CLIENT, NODE, 40_000, PORT), syn(CLIENT, NODE, 40_000, 22), syn(CLIENT, VIP, 40_000, 80)]
    {
        let early = sent(&mut node, Program::XdpIngress, ETH0, &packet);
        assert_eq!((went(&early), early.frame), (Action::Pass, summed(&packet)));
    }
}

/// A frame as a pair of nodes sees it, without its link addresses.
fn direct(v6: bool) {
    let (client, remote, vip) =
        if v6 { ("fd00:31::100", "fd00:10:244:2::20", "fd00:96::10") } else { (CLIENT, REMOTE, VIP) };
    let mut node = balancing(false);
    node.config.features |= config::DSR;
    serve(&mut node, &[remote]);
    let key = frontend_key(addr(vip), 80);
    let row = Frontend {
        flags: LOAD_BALANCER | DSR,
        ..*node.frontends.get(&frontend_key(addr(VIP), 80)).expect("row")
    };
    node.frontends.insert(key, row);
    let wire = |node: &mut Node, frame: Vec<u8>| {
        run(node, Program::NetdevIngress, Sent { frame, ifindex: ETH0, ..Sent::default() })
    };
    let opening = crate::frame::build(&syn(client, vip, 4000, 80));
    let out = wire(&mut node, opening);
    assert_eq!(went(&out), Action::Neighbour);
    // The backend's node.
    let mut other = balancing(false);
    other.config.features |= config::DSR;
    serve(&mut other, &[remote]);
    other.frontends.insert(key, row);
    let pod = abi::PodFacts { v4: addr(REMOTE), v6: addr("fd00:10:244:2::20"), ..other.pods[&B] };
    other.attach(B, pod);
    let out = wire(&mut other, out.frame);
    assert_eq!((went(&out), verdict(&out).ifindex), (Action::Pod, B));
    let out = from_pod(&mut other, B, &Spec { source_mac: mac(0x0b), ..syn_ack(remote, client, 8080, 4000) });
    assert_eq!(went(&out), Action::Neighbour);
    let expected =
        crate::frame::build(&Spec { source_mac: mac(0x0b), hops: 63, ..syn_ack(vip, client, 80, 4000) });
    let addresses = if v6 { 22..54 } else { 26..34 };
    let ports = addresses.end..addresses.end + 4;
    assert_eq!(out.frame[addresses.clone()], expected[addresses], "the service answers");
    assert_eq!(out.frame[ports.clone()], expected[ports]);
    // What follows carries no option, also long after.
    for pause in [1000, 3_000_000_000_000] {
        let later = crate::frame::build(&ack(client, vip, 4000, 80));
        let length = later.len();
        let out = wire(&mut node, later);
        assert_eq!((went(&out), out.frame.len()), (Action::Neighbour, length));
        node.now += pause;
    }
}

#[test]
fn a_backend_elsewhere_answers_the_client_directly() {
    direct(false);
    direct(true);
}

#[test]
fn a_client_that_comes_another_way_is_answered_as_it_asked() {
    let mut node = balancing(false);
    node.config.features |= config::DSR;
    serve(&mut node, &[LOCAL]);
    for (program, ifindex, packet) in [
        (Program::NetdevIngress, ETH0, syn(CLIENT, NODE, 4000, PORT)),
        (Program::PodEgress, B, syn_ack(LOCAL, CLIENT, 8080, 4000)),
        (Program::NetdevIngress, ETH0, spec(CLIENT, NODE, 6, 4000, PORT, tcp::RST)),
    ] {
        sent(&mut node, program, ifindex, &packet).verdict.expect("passes");
    }
    // The same port again, by a node that lets this one answer for 10.96.0.10:80.
    let mut frame = crate::frame::build(&syn(CLIENT, LOCAL, 4000, 8080));
    frame[14] = 0x47;
    frame[17] += 8;
    frame.splice(34..34, [0x9a, 8, 80, 0, 10, 0, 96, 10]);
    let out = run(&mut node, Program::NetdevIngress, Sent { frame, ifindex: ETH0, ..Sent::default() });
    assert_eq!(went(&out), Action::Pod);
    let out = sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, CLIENT, 8080, 4000));
    went_as(&out, Action::Neighbour, &format!("{VIP}:80"), &format!("{CLIENT}:4000"));
}

#[test]
fn who_adds_an_option_by_itself_speaks_for_no_service() {
    let mut node = balancing(false);
    node.config.features |= config::DSR;
    serve(&mut node, &[REMOTE]);
    let mut frame = crate::frame::build(&syn(CLIENT, LOCAL, 4000, 8080));
    frame[14] = 0x47;
    frame.splice(34..34, [0x9a, 8, 80, 0, 10, 0, 96, 10]);
    frame[17] += 8;
    run(&mut node, Program::NetdevIngress, Sent { frame, ifindex: ETH0, ..Sent::default() });
    assert!(node.nat_half_open.is_empty(), "the pod is no backend of that service");
    let out = from_pod(&mut node, B, &syn_ack(LOCAL, CLIENT, 8080, 4000));
    assert_eq!(out.frame[26..30], [10, 244, 1, 11]);
}

#[test]
fn two_services_that_lead_one_port_to_one_backend_stay_apart() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    let other = *node.frontends.get(&frontend_key(WILDCARD_V4, PORT)).expect("NodePort");
    node.frontends.insert(frontend_key(WILDCARD_V4, PORT + 1), other);
    for port in [PORT, PORT + 1] {
        sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 40_000, port));
    }
    let out = sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, CLIENT, 8080, 40_000));
    went_as(&out, Action::Neighbour, &format!("{NODE}:{PORT}"), &format!("{CLIENT}:40000"));
    let other = *node
        .nat_half_open
        .keys()
        .find(|key| key.direction == abi::nat::BACK && key.destination_port != 40_000_u16.to_be())
        .expect("the second has another port");
    assert_eq!(other.destination, addr(CLIENT), "but its own address");
    let answer = syn_ack(LOCAL, CLIENT, 8080, u16::from_be(other.destination_port));
    let out = sent(&mut node, Program::PodEgress, B, &answer);
    went_as(&out, Action::Neighbour, &format!("{NODE}:{}", PORT + 1), &format!("{CLIENT}:40000"));
}

#[test]
fn a_service_without_backends_refuses_or_is_silent() {
    let mut node = balancing(false);
    serve(&mut node, &[]);
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    went_as(&out, Action::Reply, &format!("{VIP}:80"), "10.244.1.10:4000");
    assert_eq!(out.frame[47], tcp::RST | tcp::ACK);
    assert_eq!(out.frame[42..46], 1_u32.to_be_bytes(), "the opening's number plus one");
    let udp = FrontendKey { protocol: protocol::UDP, ..frontend_key(addr(VIP), 80) };
    node.frontends.insert(udp, Frontend { service: 7, ..Frontend::default() });
    let asked = spec("10.244.1.10", VIP, protocol::UDP, 4000, 80, 0);
    let out = sent(&mut node, Program::PodEgress, A, &asked);
    assert_eq!((went(&out), out.frame.len()), (Action::Reply, 14 + 28 + 28));
    assert_eq!((checksum(&out.frame[14..34]), checksum(&out.frame[34..])), (0, 0));
    assert_eq!((&out.frame[26..34], &out.frame[34..36]), (&[10, 96, 0, 10, 10, 244, 1, 10][..], &[3, 3][..]));
    assert_eq!(out.frame[42..], summed(&asked)[14..], "the packet is quoted");
    let key = frontend_key(addr(VIP), 80);
    node.frontends.get_mut(&key).expect("ClusterIP").flags |= INTERNAL_DROP;
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    assert_eq!(out.verdict, Err(DropReason::NoBackend));
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 81));
    assert_eq!(out.verdict, Err(DropReason::NoBackend), "a port of the service that leads nowhere");
}

#[test]
fn who_may_use_a_service_from_outside() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, VIP, 4000, 80));
    assert_eq!(out.verdict, Err(DropReason::IsClusterIp));
    let key = frontend_key(WILDCARD_V4, PORT);
    node.frontends.get_mut(&key).expect("NodePort").flags |= SOURCE_RANGES;
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 4000, PORT));
    assert_eq!(out.verdict, Err(DropReason::DeniedBySourceRange));
    node.source_ranges.push(SourceRangeKey { len: 32 + 120, service: 7, addr: addr("172.31.0.0") });
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 4000, PORT));
    assert_eq!(went(&out), Action::Pod);
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", NODE, 4000, PORT));
    assert_eq!(went(&out), Action::Pod, "clients inside are not filtered");
}

#[test]
fn a_connection_keeps_its_backend_and_a_new_one_gets_another_that_is_there() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    node.members.clear();
    serve(&mut node, &[REMOTE]);
    node.services_epoch += 1;
    let out = sent(&mut node, Program::PodEgress, A, &ack("10.244.1.10", VIP, 4000, 80));
    went_as(&out, Action::Pod, "10.244.1.10:4000", &format!("{LOCAL}:8080"));
    node.services_epoch += 1;
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    went_as(&out, Action::Neighbour, "10.244.1.10:4000", &format!("{REMOTE}:8080"));
}

#[test]
fn a_bound_client_returns_to_its_backend_until_it_is_gone_or_long_away() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL, REMOTE]);
    for row in node.frontends.values_mut() {
        row.affinity = 100;
    }
    let to = |node: &mut Node, port| {
        ends(&sent(node, Program::PodEgress, A, &syn("10.244.1.10", VIP, port, 80))).1
    };
    let first = to(&mut node, 4000);
    for port in 4001..4020 {
        assert_eq!(to(&mut node, port), first);
    }
    node.members.retain(|key, _| format!("{}:8080", std::net::IpAddr::from(key.addr)) != first);
    assert!((4020..4060).any(|port| to(&mut node, port) != first));
}

#[test]
fn a_socket_speaks_to_the_backend_and_is_told_of_the_service() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    let call = |to: &str, port: u16, namespace| Call {
        protocol: protocol::TCP,
        addr: addr(to),
        port: port.to_be(),
        cookie: 5,
        namespace,
    };
    let mut named = call(VIP, 80, 9);
    assert_eq!(socket_connect(&mut node, &mut named), Answer::Proceed);
    assert_eq!((named.addr, named.port), (addr(REMOTE), 8080_u16.to_be()));
    socket_told(&mut node, &mut named);
    assert_eq!((named.addr, named.port), (addr(VIP), 80_u16.to_be()));
    for (to, namespace, translated) in [
        (NODE, 9, true),
        ("172.31.0.12", 9, true),
        ("127.0.0.1", 1, true),
        ("127.0.0.1", 9, false),
        (CLIENT, 9, false),
    ] {
        let mut named = call(to, PORT, namespace);
        assert_eq!(socket_connect(&mut node, &mut named), Answer::Proceed);
        assert_eq!(named.addr == addr(REMOTE), translated, "{to} in {namespace}");
    }
    let nowhere_else = frontend_key(WILDCARD_V4, PORT);
    node.frontends.get_mut(&nowhere_else).expect("NodePort").flags |= EXTERNAL_LOCAL;
    for (to, translated) in [(NODE, true), ("172.31.0.12", false)] {
        let mut named = call(to, PORT, 9);
        socket_connect(&mut node, &mut named);
        assert_eq!(named.addr == addr(REMOTE), translated, "{to} with a policy of Local");
    }
    serve(&mut node, &[]);
    assert_eq!(socket_connect(&mut node, &mut call(VIP, 80, 9)), Answer::Refused);
    let mut closed = call(VIP, 81, 9);
    assert_eq!((socket_connect(&mut node, &mut closed), closed.addr), (Answer::Proceed, addr(VIP)));
}

#[test]
fn translations_at_sockets_are_told_of_where_every_packet_is() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    let call = |to: &str, port: u16| Call {
        protocol: protocol::TCP,
        addr: addr(to),
        port: port.to_be(),
        cookie: 5,
        namespace: 9,
    };
    let mut told = |monitor, backends: &[&str], to: &str, port: u16| {
        serve(&mut node, backends);
        (node.monitor, node.events) = (monitor, Vec::new());
        let mut named = call(to, port);
        socket_connect(&mut node, &mut named);
        socket_told(&mut node, &mut named);
        let read = |(event, bytes): (Event, Vec<u8>)| {
            assert_eq!((event.kind, event.captured as usize), (EventKind::TraceSock as u8, bytes.len()));
            let socket = SocketEvent::read_from_bytes(&bytes).expect("a socket");
            assert_eq!((socket.cookie, socket.namespace, socket.protocol), (5, 9, protocol::TCP));
            let address = std::net::IpAddr::from(socket.addr);
            (event.code, format!("{address}:{}", u16::from_be(socket.port)))
        };
        std::mem::take(&mut node.events).into_iter().map(read).collect::<Vec<_>>()
    };
    let (service, backend) = (format!("{VIP}:80"), format!("{REMOTE}:8080"));
    let both_ways = [(1, &service), (2, &backend), (3, &backend), (4, &service)].map(|(p, a)| (p, a.clone()));
    assert_eq!(told(2, &[REMOTE], VIP, 80), both_ways);
    assert_eq!(told(1, &[REMOTE], VIP, 80), [], "not where traces are aggregated");
    assert_eq!(told(2, &[REMOTE], CLIENT, 80), [], "nothing was translated");
    assert_eq!(told(2, &[], VIP, 80), [(1, service)], "a service without backends");
}

#[test]
fn a_scan_of_a_full_table_leaves_open_connections_alone() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 40_000, PORT));
    sent(&mut node, Program::NetdevIngress, ETH0, &syn_ack(REMOTE, NODE, 8080, 40_000));
    node.nat_limit = node.nat.len();
    for port in 50_000..50_200 {
        sent(&mut node, Program::NetdevIngress, ETH0, &syn("172.31.0.99", NODE, port, PORT));
        let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn_ack(REMOTE, NODE, 8080, port));
        assert_eq!(went(&out), Action::Neighbour, "it goes on among the half-open");
    }
    // What a flood does to an LRU.
    node.nat_half_open.clear();
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &ack(CLIENT, NODE, 40_000, PORT));
    went_as(&out, Action::Neighbour, &format!("{NODE}:40000"), &format!("{REMOTE}:8080"));
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &ack(REMOTE, NODE, 8080, 40_000));
    went_as(&out, Action::Neighbour, &format!("{NODE}:{PORT}"), &format!("{CLIENT}:40000"));
}

#[test]
fn what_kube_proxy_has_begun_stays_with_the_kernel() {
    let mut node = balancing(false);
    node.config.features |= config::TAKEOVER;
    serve(&mut node, &[LOCAL]);
    let old = ack(CLIENT, NODE, 4000, PORT);
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &old);
    assert_eq!((went(&out), out.frame), (Action::Pass, summed(&old)));
    assert!(node.nat.is_empty() && node.nat_half_open.is_empty());
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 4001, PORT));
    went_as(&out, Action::Pod, &format!("{CLIENT}:4001"), &format!("{LOCAL}:8080"));
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &ack(CLIENT, NODE, 4001, PORT));
    went_as(&out, Action::Pod, &format!("{CLIENT}:4001"), &format!("{LOCAL}:8080"));
    // Of pods nothing was ever kube-proxy's.
    let out = sent(&mut node, Program::PodEgress, A, &ack("10.244.1.10", VIP, 4000, 80));
    went_as(&out, Action::Pod, "10.244.1.10:4000", &format!("{LOCAL}:8080"));
}

#[test]
fn packets_of_others_to_the_node_stay_the_nodes() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    for (port, sport) in [(22, 4000), (PORT + 9, 4000), (40_000, 443)] {
        let packet = syn(CLIENT, NODE, sport, port);
        let out = sent(&mut node, Program::NetdevIngress, ETH0, &packet);
        assert_eq!((went(&out), out.frame), (Action::Pass, summed(&packet)));
    }
    assert_eq!(packet::icmp_ports(3).0, 0x0103_u16.to_be());
}
