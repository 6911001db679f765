//! What random conversations have found (`tests/services`), one case each.

use abi::nat::BACK;
use abi::service::EXTERNAL_ALLOWED;

use super::*;

/// The ICMP error "too big" about a frame, from `from` to the sender that the frame names.
pub(super) fn too_big(from: &str, about: &[u8], source_mac: u8) -> Vec<u8> {
    let to = std::net::Ipv4Addr::new(about[26], about[27], about[28], about[29]).to_string();
    let mut frame = crate::frame::build(&Spec { source_mac: mac(source_mac), ..spec(from, &to, 1, 0, 0, 3) });
    frame[35] = 4;
    frame.extend(&about[14..42]);
    let length = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[36..38].fill(0);
    let sum = checksum(&frame[34..]);
    frame[36..38].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Destination of an ICMP error, and the ends of what it quotes.
fn quote(outcome: &Outcome) -> (String, String, String) {
    let f = &outcome.frame;
    assert_eq!((checksum(&f[14..34]), checksum(&f[34..]), checksum(&f[42..62])), (0, 0, 0));
    let ip = |at: usize| std::net::Ipv4Addr::new(f[at], f[at + 1], f[at + 2], f[at + 3]);
    let port = |at: usize| u16::from_be_bytes([f[at], f[at + 1]]);
    (ip(30).to_string(), format!("{}:{}", ip(54), port(62)), format!("{}:{}", ip(58), port(64)))
}

fn strings(a: &str, b: &str, c: &str) -> (String, String, String) {
    (a.to_owned(), b.to_owned(), c.to_owned())
}

fn raw(node: &mut Node, program: Program, ifindex: u32, frame: Vec<u8>) -> Outcome {
    run(node, program, Sent { frame, ifindex, ..Sent::default() })
}

#[test]
fn a_backend_in_the_nodes_network_answers_for_the_service_also_without_masquerading() {
    for masquerade in [true, false] {
        let mut node = balancing(false);
        if !masquerade {
            node.config.features &= !(config::MASQUERADE_V4 | config::MASQUERADE_V6);
        }
        serve(&mut node, &[NODE]);
        let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 4000, PORT));
        went_as(&out, Action::Stack, &format!("{CLIENT}:4000"), &format!("{NODE}:8080"));
        let out = sent(&mut node, Program::NetdevEgress, ETH0, &syn_ack(NODE, CLIENT, 8080, 4000));
        went_as(&out, Action::Pass, &format!("{NODE}:{PORT}"), &format!("{CLIENT}:4000"));
    }
}

#[test]
fn a_client_pod_hears_of_errors_under_the_services_address() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    let asked = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4000, 80));
    sent(&mut node, Program::NetdevIngress, ETH0, &syn_ack(REMOTE, "10.244.1.10", 8080, 4000));
    for router in ["172.31.0.12", REMOTE] {
        let out = raw(&mut node, Program::NetdevIngress, ETH0, too_big(router, &asked.frame, 1));
        assert_eq!((went(&out), verdict(&out).ifindex), (Action::Pod, A));
        assert_eq!(quote(&out), strings("10.244.1.10", "10.244.1.10:4000", &format!("{VIP}:80")));
        // The backend itself is known by the service's address.
        let source = if router == REMOTE { [10, 96, 0, 10] } else { [172, 31, 0, 12] };
        assert_eq!(out.frame[26..30], source);
    }
}

#[test]
fn an_error_about_a_services_answer_reaches_the_backend() {
    // A pod, and a client outside of a service's own address.
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    node.frontends.get_mut(&frontend_key(addr(VIP), 80)).expect("ClusterIP").flags |= EXTERNAL_ALLOWED;
    for (client, program, ifindex) in
        [("10.244.1.10", Program::PodEgress, A), (CLIENT, Program::NetdevIngress, ETH0)]
    {
        sent(&mut node, program, ifindex, &syn(client, VIP, 4000, 80));
        let answer = sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, client, 8080, 4000));
        assert_eq!(ends(&answer).0, format!("{VIP}:80"));
        let out = raw(&mut node, program, ifindex, too_big(client, &answer.frame, 0x0a));
        assert_eq!((went(&out), verdict(&out).ifindex), (Action::Pod, B), "{client}");
        assert_eq!(quote(&out), strings(LOCAL, &format!("{LOCAL}:8080"), &format!("{client}:4000")));
    }
}

#[test]
fn an_error_that_is_not_addressed_to_the_quoted_sender_is_translated_for_nobody() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    let asked = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 40_000, PORT));
    let mut forged = too_big("203.0.113.9", &asked.frame, 1);
    forged[30..34].copy_from_slice(&[172, 31, 0, 77]);
    let out = raw(&mut node, Program::NetdevIngress, ETH0, forged.clone());
    assert_eq!((went(&out), out.frame), (Action::Pass, forged));
}

#[test]
fn only_members_of_the_cluster_are_to_answer_a_client_directly() {
    for (backend, direct) in [(REMOTE, true), ("172.31.0.12", true), ("203.0.113.50", false)] {
        let mut node = balancing(false);
        node.config.features |= config::DSR;
        serve(&mut node, &[backend]);
        node.frontends.get_mut(&frontend_key(WILDCARD_V4, PORT)).expect("NodePort").flags |= DSR;
        let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 40_000, PORT));
        assert_eq!((went(&out), out.frame[14] == 0x47), (Action::Neighbour, direct), "{backend}");
        let client: &[u8] = if direct { &[172, 31, 0, 100] } else { &[172, 31, 0, 11] };
        assert_eq!(&out.frame[26..30], client);
    }
}

/// A frame by which another node lets this one answer for `VIP:80`.
fn direct_frame(spec: &Spec) -> Vec<u8> {
    let mut frame = summed(spec);
    frame[14] = 0x47;
    frame[17] += 8;
    frame.splice(34..34, [0x9a, 8, 80, 0, 10, 0, 96, 10]);
    frame
}

#[test]
fn an_option_ends_no_connection_and_a_port_may_come_again() {
    let mut node = balancing(false);
    node.config.features |= config::DSR;
    serve(&mut node, &[LOCAL]);
    let answers = |node: &mut Node, flags| {
        ends(&sent(node, Program::PodEgress, B, &spec(LOCAL, CLIENT, 6, 8080, 4000, flags))).0
    };
    sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 4000, PORT));
    assert_eq!(answers(&mut node, tcp::SYN | tcp::ACK), format!("{NODE}:{PORT}"));
    sent(&mut node, Program::NetdevIngress, ETH0, &ack(CLIENT, NODE, 4000, PORT));
    // Somebody forges what the client's next connection would begin with, or the middle of one.
    for flags in [tcp::SYN, tcp::ACK] {
        let forged = direct_frame(&spec(CLIENT, LOCAL, 6, 4000, 8080, flags));
        let _ = raw(&mut node, Program::NetdevIngress, ETH0, forged);
        assert_eq!(answers(&mut node, tcp::ACK), format!("{NODE}:{PORT}"));
    }
    // When it is over, the port is free, and what was remembered of its end does not shorten the next.
    sent(&mut node, Program::NetdevIngress, ETH0, &spec(CLIENT, NODE, 6, 4000, PORT, tcp::RST));
    for _ in 0..2 {
        raw(&mut node, Program::NetdevIngress, ETH0, direct_frame(&syn(CLIENT, LOCAL, 4000, 8080)));
        assert_eq!(answers(&mut node, tcp::SYN | tcp::ACK), format!("{VIP}:80"));
        sent(&mut node, Program::NetdevIngress, ETH0, &ack(CLIENT, LOCAL, 4000, 8080));
        node.now += 100_000_000_000;
        assert_eq!(answers(&mut node, tcp::RST), format!("{VIP}:80"));
    }
}

#[test]
fn a_backend_in_the_network_of_another_node_answers_the_client_directly() {
    let mut node = balancing(false);
    node.config.features |= config::DSR;
    serve(&mut node, &[NODE]);
    let frame = direct_frame(&syn(CLIENT, NODE, 4000, 8080));
    let out = raw(&mut node, Program::NetdevIngress, ETH0, frame);
    assert_eq!(went(&out), Action::Pass);
    let out = sent(&mut node, Program::NetdevEgress, ETH0, &syn_ack(NODE, CLIENT, 8080, 4000));
    went_as(&out, Action::Pass, &format!("{VIP}:80"), &format!("{CLIENT}:4000"));
}

#[test]
fn a_bound_client_is_bound_under_one_policy_and_in_one_family() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    // The cluster IP leads to local backends only.
    let key = frontend_key(addr(VIP), 80);
    node.backends.insert(200, Backend { addr: addr(LOCAL), port: 8080_u16.to_be(), _pad: 0 });
    for row in node.frontends.values_mut() {
        row.affinity = 100;
    }
    node.frontends.get_mut(&key).expect("ClusterIP").internal = Range { start: 200, count: 1, maglev: 0 };
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", NODE, 4000, PORT));
    assert_eq!(ends(&out).1, format!("{REMOTE}:8080"));
    let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", VIP, 4001, 80));
    assert_eq!(ends(&out).1, format!("{LOCAL}:8080"));
    // A socket's client is its namespace, whichever family it speaks.
    let (vip6, backend6) = (addr("fd00:96::10"), addr("fd00:10:244:2::20"));
    node.backends.insert(300, Backend { addr: backend6, port: 8080_u16.to_be(), _pad: 0 });
    let member = MemberKey { addr: backend6, service: 7, port: 8080_u16.to_be(), protocol: 6, _pad: 0 };
    node.members.insert(member, MEMBER_ACTIVE);
    let row = node.frontends[&key];
    let second = Range { start: 300, count: 1, maglev: 0 };
    node.frontends.insert(frontend_key(vip6, 80), Frontend { internal: second, ..row });
    for (vip, v4) in [(addr(VIP), true), (vip6, false), (addr(VIP), true)] {
        let mut call =
            Call { protocol: protocol::TCP, addr: vip, port: 80_u16.to_be(), cookie: 5, namespace: 9 };
        socket_connect(&mut node, &mut call);
        assert_eq!(call.addr.is_v4(), v4);
    }
}

#[test]
fn a_pods_port_that_two_frontends_lead_to_one_backend_keeps_the_pods_address() {
    for (backend, program, ifindex) in [
        (LOCAL, Program::PodEgress, B),
        (REMOTE, Program::NetdevIngress, ETH0),
        ("10.244.1.10", Program::PodEgress, A),
    ] {
        let mut node = balancing(false);
        serve(&mut node, &[backend]);
        let sees = if ifindex == A { "169.254.42.1" } else { "10.244.1.10" };
        for (to, port) in [(VIP, 80), (NODE, PORT)] {
            let out = sent(&mut node, Program::PodEgress, A, &syn("10.244.1.10", to, 4000, port));
            assert!(ends(&out).0.starts_with(sees), "its rights are those of the pod");
            let back = node
                .nat_half_open
                .keys()
                .find(|key| key.direction == BACK && node.nat_half_open[*key].source == addr(to));
            let port_there = u16::from_be(back.expect("entry").destination_port);
            let answer = syn_ack(backend, sees, 8080, port_there);
            let out = sent(&mut node, program, ifindex, &answer);
            went_as(&out, Action::Pod, &format!("{to}:{port}"), "10.244.1.10:4000");
            node.nat_half_open.extend(std::mem::take(&mut node.nat));
        }
    }
}

#[test]
fn the_nodes_own_connection_through_the_tunnel_is_not_a_clients() {
    let tunnelled = |node: &mut Node, answer: &Spec| {
        let tunnel = Some(datapath::TunnelKey { identity: ID_R, remote: addr("172.31.0.12") });
        run(
            node,
            Program::OverlayIngress,
            Sent { frame: summed(answer), ifindex: 5, tunnel, ..Sent::default() },
        )
    };
    let router = "10.244.1.1";
    let mut node = balancing(true);
    serve(&mut node, &[REMOTE]);
    sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 40_000, PORT));
    let out = sent(&mut node, Program::HostEgress, 3, &syn(router, REMOTE, 40_000, 8080));
    let own = ends(&out).0;
    assert_ne!(own, format!("{router}:40000"), "that port is the client's");
    let (_, port) = own.split_once(':').expect("port");
    let out = tunnelled(&mut node, &syn_ack(REMOTE, router, 8080, port.parse().expect("number")));
    went_as(&out, Action::Stack, &format!("{REMOTE}:8080"), &format!("{router}:40000"));
    let out = tunnelled(&mut node, &syn_ack(REMOTE, router, 8080, 40_000));
    went_as(&out, Action::Neighbour, &format!("{NODE}:{PORT}"), &format!("{CLIENT}:40000"));
    // And the other way around.
    let out = sent(&mut node, Program::HostEgress, 3, &syn(router, REMOTE, 40_001, 8080));
    assert_eq!(ends(&out).0, format!("{router}:40001"));
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 40_001, PORT));
    assert_ne!(ends(&out).0, format!("{router}:40001"), "that port is the node's");
}

#[test]
fn what_was_given_up_takes_nothing_from_its_heir() {
    let mut node = balancing(false);
    serve(&mut node, &[REMOTE]);
    let (first, second) = (CLIENT, "172.31.0.101");
    sent(&mut node, Program::NetdevIngress, ETH0, &syn(first, NODE, 40_000, PORT));
    node.now += 90_000_000_000;
    // The port is free again; then the first one tries once more.
    for client in [second, first] {
        sent(&mut node, Program::NetdevIngress, ETH0, &syn(client, NODE, 40_000, PORT));
    }
    let out = sent(&mut node, Program::NetdevIngress, ETH0, &syn_ack(REMOTE, NODE, 8080, 40_000));
    went_as(&out, Action::Neighbour, &format!("{NODE}:{PORT}"), &format!("{second}:40000"));
}

#[test]
fn a_client_led_to_another_backend_of_the_same_node_is_answered_by_that_one() {
    let mut node = balancing(false);
    node.config.features |= config::DSR;
    serve(&mut node, &[LOCAL, "10.244.1.10"]);
    for (backend, pod) in [(LOCAL, B), ("10.244.1.10", A)] {
        raw(&mut node, Program::NetdevIngress, ETH0, direct_frame(&syn(CLIENT, backend, 4000, 8080)));
        let out = sent(&mut node, Program::PodEgress, pod, &syn_ack(backend, CLIENT, 8080, 4000));
        went_as(&out, Action::Neighbour, &format!("{VIP}:80"), &format!("{CLIENT}:4000"));
    }
    assert!(node.nat.keys().all(|key| key.direction == BACK), "it leads no packets of clients");
}

#[test]
fn a_pods_error_to_the_world_is_masqueraded_once() {
    let mut node = balancing(false);
    for (program, ifindex, packet) in [
        (Program::NetdevEgress, ETH0, syn("10.244.1.10", CLIENT, 40_000, 80)),
        // The node's own, with that port, gets another.
        (Program::NetdevEgress, ETH0, syn(NODE, CLIENT, 40_000, 80)),
        (Program::PodEgress, A, syn("10.244.1.10", CLIENT, 40_000, 80)),
    ] {
        sent(&mut node, program, ifindex, &packet);
    }
    let answer = sent(&mut node, Program::NetdevIngress, ETH0, &syn_ack(CLIENT, NODE, 80, 40_000));
    assert_eq!(verdict(&answer).ifindex, A);
    let out = raw(&mut node, Program::PodEgress, A, too_big("10.244.1.10", &answer.frame, 0x0a));
    let sent = Sent { frame: out.frame, ifindex: ETH0, mark: out.mark, ..Sent::default() };
    let out = run(&mut node, Program::NetdevEgress, sent);
    assert_eq!(out.frame[26..30], [172, 31, 0, 11]);
    assert_eq!(quote(&out), strings(CLIENT, &format!("{CLIENT}:80"), &format!("{NODE}:40000")));
}

#[test]
fn an_address_that_becomes_a_services_is_no_longer_masqueraded() {
    let mut node = balancing(false);
    let vip = "203.0.113.80";
    let asked = syn("10.244.1.10", vip, 40_000, 80);
    sent(&mut node, Program::PodEgress, A, &asked);
    sent(&mut node, Program::NetdevEgress, ETH0, &asked);
    sent(&mut node, Program::NetdevIngress, ETH0, &spec(vip, NODE, 6, 80, 40_000, tcp::RST | tcp::ACK));
    serve(&mut node, &[LOCAL]);
    let row = node.frontends[&frontend_key(addr(VIP), 80)];
    node.frontends.insert(frontend_key(addr(vip), 80), row);
    sent(&mut node, Program::PodEgress, A, &asked);
    let out = sent(&mut node, Program::PodEgress, B, &syn_ack(LOCAL, "10.244.1.10", 8080, 40_000));
    went_as(&out, Action::Pod, &format!("{vip}:80"), "10.244.1.10:40000");
}

#[test]
fn a_server_pod_may_complain_whatever_it_may_open() {
    let mut node = balancing(false);
    serve(&mut node, &[LOCAL]);
    // Everybody may come, but it may go nowhere.
    allow(&mut node, 2, 0, abi::tables::INGRESS, 0, 0);
    let pod = abi::PodFacts { policy: 2, ..node.pods[&B] };
    node.attach(B, pod);
    let asked = sent(&mut node, Program::NetdevIngress, ETH0, &syn(CLIENT, NODE, 4000, PORT));
    let out = raw(&mut node, Program::PodEgress, B, too_big(LOCAL, &asked.frame, 0x0b));
    assert_eq!(went(&out), Action::Neighbour);
    assert_eq!(out.frame[26..30], [172, 31, 0, 11]);
    assert_eq!(quote(&out), strings(CLIENT, &format!("{CLIENT}:4000"), &format!("{NODE}:{PORT}")));
}

#[test]
fn a_port_used_again_after_a_direct_connection_finds_no_backend_that_is_gone() {
    for farewell in [tcp::FIN | tcp::ACK, tcp::ACK] {
        let mut node = balancing(false);
        node.config.features |= config::DSR;
        serve(&mut node, &[REMOTE]);
        node.frontends.get_mut(&frontend_key(WILDCARD_V4, PORT)).expect("NodePort").flags |= DSR;
        for flags in [tcp::SYN, tcp::ACK] {
            let packet = spec(CLIENT, NODE, 6, 40_000, PORT, flags);
            sent(&mut node, Program::NetdevIngress, ETH0, &packet);
        }
        node.members.clear();
        serve(&mut node, &["172.31.0.12"]);
        node.frontends.get_mut(&frontend_key(WILDCARD_V4, PORT)).expect("NodePort").flags |= DSR;
        node.services_epoch += 1;
        for (flags, backend) in [(farewell, REMOTE), (tcp::SYN, "172.31.0.12")] {
            let packet = spec(CLIENT, NODE, 6, 40_000, PORT, flags);
            let out = sent(&mut node, Program::NetdevIngress, ETH0, &packet);
            assert_eq!(
                std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&out.frame[30..34]).expect("four")).to_string(),
                backend
            );
        }
    }
}
