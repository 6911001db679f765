use super::*;
use etherparse::PacketBuilder;
use proptest::prelude::*;

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(source: &str, destination: &str) -> Option<Ip> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Some(Ip { source, destination, source_xlated: None, encrypted: false })
}

fn v4() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
}

fn v6() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let address = |last| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).octets();
    PacketBuilder::ethernet2(A, B).ipv6(address(1), address(2), 64)
}

fn bytes<L>(
    builder: etherparse::PacketBuilderStep<L>,
    write: impl Fn(etherparse::PacketBuilderStep<L>, &mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::new();
    write(builder, &mut out);
    out
}

fn syn() -> Vec<u8> {
    bytes(v4().tcp(40_000, 80, 1, 1024).syn(), |b, out| b.write(out, b"payload").unwrap())
}

#[test]
fn the_usual_packets() {
    let packet = Packet::parse(&syn(), false);
    assert_eq!(packet.ethernet, Some(Ethernet { source: A, destination: B }));
    assert_eq!(packet.ip, ip("10.0.0.1", "10.0.0.2"));
    assert_eq!(packet.l4, Some(L4::Tcp { source: 40_000, destination: 80, flags: Some(TcpFlags(2)) }));

    let udp = bytes(v6().udp(53, 5353), |b, out| b.write(out, b"x").unwrap());
    let packet = Packet::parse(&udp, false);
    assert_eq!(packet.ip, ip("fd00::1", "fd00::2"));
    assert_eq!(packet.l4, Some(L4::Udp { source: 53, destination: 5353 }));

    let echo = bytes(v4().icmpv4_echo_request(1, 2), |b, out| b.write(out, b"x").unwrap());
    assert_eq!(Packet::parse(&echo, false).l4, Some(L4::Icmp4 { kind: 8, code: 0 }));
    let echo = bytes(v6().icmpv6_echo_reply(1, 2), |b, out| b.write(out, b"x").unwrap());
    assert_eq!(Packet::parse(&echo, false).l4, Some(L4::Icmp6 { kind: 129, code: 0 }));
}

#[test]
fn other_transports() {
    let with = |protocol: u8, payload: &[u8]| {
        let mut frame = syn();
        frame.truncate(34);
        frame[23] = protocol;
        frame.extend_from_slice(payload);
        Packet::parse(&frame, false).l4
    };
    assert_eq!(with(132, &[0, 1, 0, 2]), Some(L4::Sctp { source: 1, destination: 2 }));
    assert_eq!(with(112, &[0x21, 7, 100]), Some(L4::Vrrp { kind: 1, id: 7, priority: 100 }));
    let group = "224.0.0.251".parse().unwrap();
    assert_eq!(with(2, &[0x16, 0, 0, 0, 224, 0, 0, 251]), Some(L4::Igmp { kind: 0x16, group }));
    assert_eq!(with(58, &[128, 0]), None, "ICMPv6 over IPv4 is none");
    assert_eq!(with(99, &[1, 2, 3, 4]), None);
}

#[test]
fn options_and_extension_headers_are_skipped() {
    let mut frame = syn();
    frame[14] = 0x46;
    frame.splice(34..34, [1, 1, 1, 0]);
    assert!(matches!(Packet::parse(&frame, false).l4, Some(L4::Tcp { source: 40_000, .. })));

    let mut frame = bytes(v6().tcp(40_000, 80, 1, 1024).rst(), |b, out| b.write(out, b"").unwrap());
    // Hop-by-hop of 16 bytes, a first fragment, then authentication of 12 bytes.
    let mut chain = vec![44, 1];
    chain.resize(16, 0);
    chain.extend([51, 0, 0, 1, 0, 0, 0, 9]);
    chain.extend([6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    frame[20] = 0;
    frame.splice(54..54, chain);
    let l4 = L4::Tcp { source: 40_000, destination: 80, flags: Some(TcpFlags(4)) };
    assert_eq!(Packet::parse(&frame, false).l4, Some(l4));
    // The same as a later fragment: its first bytes are no TCP header.
    frame[54 + 16 + 2] = 1;
    let packet = Packet::parse(&frame, false);
    assert_eq!((packet.ip, packet.l4), (ip("fd00::1", "fd00::2"), None));
    // A chain that never ends.
    let mut endless = frame[..54].to_vec();
    endless[20] = 60;
    endless.extend([60, 0, 0, 0, 0, 0, 0, 0].repeat(100));
    assert_eq!(Packet::parse(&endless, false).l4, None);
}

#[test]
fn later_fragments_have_no_ports() {
    let mut frame = syn();
    frame[21] = 10;
    let packet = Packet::parse(&frame, false);
    assert_eq!((packet.ip, packet.l4), (ip("10.0.0.1", "10.0.0.2"), None));
    frame[20] = 0x20;
    frame[21] = 0;
    assert!(Packet::parse(&frame, false).l4.is_some(), "the first fragment has them");
}

#[test]
fn truncated_packets_go_as_far_as_they_go() {
    let frame = syn();
    assert_eq!(Packet::parse(&frame[..11], false), Packet::default());
    assert!(Packet::parse(&frame[..12], false).ethernet.is_some());
    assert_eq!(Packet::parse(&frame[..33], false).ip, None);
    let packet = Packet::parse(&frame[..37], false);
    assert_eq!((packet.ip.is_some(), packet.l4), (true, None));
    let ports = |flags| Some(L4::Tcp { source: 40_000, destination: 80, flags });
    assert_eq!(Packet::parse(&frame[..47], false).l4, ports(None));
    assert_eq!(Packet::parse(&frame[..48], false).l4, ports(Some(TcpFlags(2))));
}

#[test]
fn vlan_tags_are_skipped_and_arp_has_no_ip() {
    let mut frame = syn();
    frame.splice(12..12, [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
    assert!(Packet::parse(&frame, false).l4.is_some());
    let mut arp = syn();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let packet = Packet::parse(&arp, false);
    assert_eq!((packet.ethernet.is_some(), packet.ip), (true, None));
}

fn vxlan(port: u16, header: [u8; 8]) -> Vec<u8> {
    let payload = [&header[..], &syn()].concat();
    bytes(
        PacketBuilder::ethernet2(B, A).ipv4([172, 31, 0, 1], [172, 31, 0, 2], 64).udp(50_000, port),
        |b, out| b.write(out, &payload).unwrap(),
    )
}

#[test]
fn tunnels_are_unwrapped_when_the_datapath_says_so() {
    let frame = vxlan(8472, [8, 0, 0, 0, 0, 0x12, 0x67, 0]);
    let inner = Packet::parse(&frame, true);
    assert_eq!(inner.ip, ip("10.0.0.1", "10.0.0.2"));
    let tunnel = inner.tunnel.unwrap();
    assert_eq!((tunnel.protocol, tunnel.vni), (TunnelProtocol::Vxlan, 0x1267));
    assert_eq!(Some(tunnel.ip), ip("172.31.0.1", "172.31.0.2"));
    let outer = Packet::parse(&frame, false);
    assert_eq!((outer.l4, outer.tunnel), (Some(L4::Udp { source: 50_000, destination: 8472 }), None));

    let geneve = Packet::parse(&vxlan(6081, [0, 0, 0x65, 0x58, 0, 0, 7, 0]), true);
    assert_eq!(geneve.tunnel.map(|t| (t.protocol, t.vni)), Some((TunnelProtocol::Geneve, 7)));
    // What claims to be a tunnel and is none stays what it is.
    assert_eq!(
        Packet::parse(&vxlan(8472, [0; 8]), true).l4,
        Some(L4::Udp { source: 50_000, destination: 8472 })
    );
    assert!(Packet::parse(&syn(), true).tunnel.is_none());
}

#[test]
fn flow_labels_are_no_version() {
    // A flow label must not be taken for a version or a traffic class.
    let mut frame = bytes(v6().udp(1, 2), |b, out| b.write(out, b"").unwrap());
    frame[14..18].copy_from_slice(&[0x6f, 0xff, 0xff, 0xff]);
    assert_eq!(Packet::parse(&frame, false).l4, Some(L4::Udp { source: 1, destination: 2 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), tunnel: bool) {
        Packet::parse(&bytes, tunnel);
    }

    /// Random bytes rarely pass the first header, so valid packets are broken too.
    #[test]
    fn no_broken_packet_panics(
        at in prop::collection::vec((0..150_usize, any::<u8>()), 0..8),
        end in 0..150_usize,
        which in 0..4_usize,
    ) {
        let mut frame = match which {
            0 => syn(),
            1 => bytes(v6().tcp(1, 2, 3, 4), |b, out| b.write(out, b"").unwrap()),
            2 => vxlan(8472, [8, 0, 0, 0, 0, 0, 7, 0]),
            _ => vxlan(6081, [1, 0, 0x65, 0x58, 0, 0, 7, 0]),
        };
        for (at, byte) in at {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(end);
        Packet::parse(&frame, which >= 2);
    }
}
