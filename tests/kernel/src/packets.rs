//! Random packets: mostly meaningful, some broken.

use std::net::IpAddr;

use datapath::TunnelKey;
use sim::frame::{Spec, build};
use sim::{Program, Sent};

use crate::pair::{ETH0, HOST, IDENTITIES, POD_A, POD_B, PORTS, TUNNEL, addr, mac};
use crate::random::Random;

const V4: &[&str] = &[
    "10.244.1.10",
    "10.244.1.11",
    "10.244.1.10",
    "10.244.1.11",
    "10.244.2.20",
    "10.244.2.99",
    "10.244.1.1",
    "172.31.0.11",
    "172.31.0.12",
    "172.31.0.100",
    "203.0.113.7",
    "198.51.100.7",
    "8.8.8.8",
    "10.96.0.10",
    "10.96.0.10",
    "169.254.42.1",
];
const V6: &[&str] = &[
    "fd00:10:244:1::10",
    "fd00:10:244:1::11",
    "fd00:10:244:1::10",
    "fd00:10:244:1::11",
    "fd00:10:244:2::20",
    "fd00:10:244:1::1",
    "fd00:31::11",
    "fd00:31::12",
    "2001:db8::7",
    "2001:4860::8",
    "fd00:96::10",
    "fe80::1",
];

/// A random program and a packet for it.
pub fn random(random: &mut Random) -> (Program, Sent) {
    let program = random.pick(&[
        Program::PodEgress,
        Program::PodEgress,
        Program::PodEgress,
        Program::NetdevIngress,
        Program::NetdevIngress,
        Program::XdpIngress,
        Program::NetdevEgress,
        Program::OverlayIngress,
        Program::HostEgress,
    ]);
    let ifindex = match program {
        Program::PodEgress => random.pick(&[POD_A, POD_B]),
        Program::NetdevIngress | Program::XdpIngress | Program::NetdevEgress => ETH0,
        Program::OverlayIngress => TUNNEL,
        Program::HostEgress => HOST,
    };
    let mut frame =
        if random.one_in(50) { question(random, ifindex) } else { build(&spec(random, program, ifindex)) };
    reshape(random, &mut frame);
    // A test run refuses packets that end inside of the network header (the simulator's own tests have those).
    let least = match frame[12..14] {
        [8, 0] => 34,
        [0x86, 0xdd] => 54,
        _ => 14,
    };
    if frame.len() < least {
        frame.resize(least, 0);
    }
    // Recorded runs carry the tunnel's key where other programs have nothing.
    let tunnel = (program == Program::OverlayIngress).then(|| TunnelKey {
        identity: random.pick(IDENTITIES),
        remote: addr(random.pick(&["172.31.0.12", "172.31.0.12", "172.31.0.12", "172.31.0.99"])),
    });
    let mark =
        if random.one_in(8) { random.pick(&[0x0f00 | (1003 << 16), 0x0300, 0x4000, 0x0c00]) } else { 0 };
    (program, Sent { frame, ifindex, mark, tunnel, gso: false })
}

/// A connection from outside to the node itself, from its first packet until it is settled, and a packet each way.
pub fn conversation() -> [(Program, Sent); 5] {
    let [world, node] = ["203.0.113.7", "172.31.0.11"].map(literal);
    let step = |program, from, to, source_port, destination_port, flags| {
        let spec = Spec {
            source_mac: mac(1),
            destination_mac: mac(2),
            source: from,
            destination: to,
            protocol: 6,
            source_port,
            destination_port,
            flags,
            hops: 64,
        };
        (program, Sent { frame: build(&spec), ifindex: ETH0, ..Sent::default() })
    };
    let inwards = |flags| step(Program::NetdevIngress, world, node, 50_000, 443, flags);
    let outwards = |flags| step(Program::NetdevEgress, node, world, 443, 50_000, flags);
    [inwards(2), outwards(0x12), inwards(0x10), inwards(0x18), outwards(0x18)]
}

fn spec(random: &mut Random, program: Program, ifindex: u32) -> Spec {
    let pool = if random.one_in(3) { V6 } else { V4 };
    let mut source = random.pick(pool);
    if program == Program::PodEgress && !random.one_in(12) {
        source = pool[if ifindex == POD_A { 0 } else { 1 }];
    }
    let source_ip = literal(source);
    let protocol = random.pick(&[6, 6, 6, 17, 17, if source_ip.is_ipv4() { 1 } else { 58 }, 132, 50]);
    let flags = match protocol {
        6 => random.pick(&[2, 2, 0x12, 0x10, 0x10, 0x18, 0x11, 0x14, 4]),
        1 => random.pick(&[8, 8, 0, 0, 3, 11, 13, 5]),
        58 => random.pick(&[128, 128, 129, 129, 1, 2, 134, 135, 143]),
        _ => 0,
    };
    let near = random.pick(&[40_000, 40_001, 50_000, 1024]);
    let (source_port, destination_port) =
        if random.one_in(2) { (near, random.pick(PORTS)) } else { (random.pick(PORTS), near) };
    let last = if ifindex == POD_A { 0x0a } else { 0x0b };
    Spec {
        source_mac: if random.one_in(20) { mac(0x77) } else { mac(last) },
        destination_mac: mac(last | 0x80),
        source: source_ip,
        destination: literal(random.pick(pool)),
        protocol,
        source_port,
        destination_port,
        flags,
        hops: if random.one_in(30) { random.pick(&[0, 1, 2]) } else { 64 },
    }
}

fn literal(text: &str) -> IpAddr {
    addr(text).into()
}

/// Who has that address? Over ARP or neighbour discovery.
fn question(random: &mut Random, ifindex: u32) -> Vec<u8> {
    let (last, pod) = if ifindex == POD_A { (0x0a, 0) } else { (0x0b, 1) };
    let octets = |text: &str| match literal(text) {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    if random.one_in(2) {
        let mut frame = [[0xff; 6], mac(last)].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, random.pick(&[1, 1, 1, 2])]);
        frame.extend(mac(last));
        frame.extend(octets(V4[pod]));
        frame.extend([0; 6]);
        frame.extend(octets(random.pick(V4)));
        return frame;
    }
    let target = random.pick(V6);
    let ask = Spec {
        source_mac: mac(last),
        destination_mac: mac(last | 0x80),
        source: literal(V6[pod]),
        destination: literal(target),
        protocol: 58,
        source_port: 0,
        destination_port: 0,
        flags: 135,
        hops: 255,
    };
    let mut frame = build(&ask);
    frame.extend(octets(target));
    frame.extend([1, 1]);
    frame.extend(mac(last));
    frame[19] = 32;
    frame
}

/// Adds payload, quotes, fragments, or damage. Addresses stay: the kernel's own routing tables know more special ranges
/// than the test node does.
fn reshape(random: &mut Random, frame: &mut Vec<u8>) {
    if frame.len() < 54 {
        return;
    }
    let v4 = frame[12] == 8;
    match random.below(24) {
        0..=9 => frame.extend(vec![0x5a; random.below(64)]),
        10 => frame.resize(14 + random.pick(&[1449, 1450, 1451, 1500, 1501]), 0),
        11 if v4 => {
            frame[18] = random.below(3) as u8;
            let first = random.one_in(2);
            frame[20..22].copy_from_slice(if first { &[0x20, 0] } else { &[0x00, 0x05] });
        }
        12..=14 => quote(random, frame),
        15 => {
            let length = 14 + random.below(frame.len() - 14);
            frame.truncate(length);
        }
        16..=17 => damage(random, frame, v4),
        18 if !v4 => extend_v6(random, frame),
        19 => frame[12..14].copy_from_slice(&random.pick(&[[8, 6], [0x81, 0], [8, 0], [0x86, 0xdd]])),
        _ => {}
    }
}

/// Flips bytes outside of the addresses.
fn damage(random: &mut Random, frame: &mut [u8], v4: bool) {
    let addresses = if v4 { 26..34 } else { 22..54 };
    for _ in 0..=random.below(4) {
        let at = 14 + random.below(frame.len() - 14);
        if !addresses.contains(&at) {
            frame[at] = random.number() as u8;
        }
    }
}

/// An ICMP error's quote of another packet.
fn quote(random: &mut Random, frame: &mut Vec<u8>) {
    let program = random.pick(&[Program::PodEgress, Program::NetdevIngress]);
    let inner = build(&spec(random, program, POD_A));
    let keep = (14 + 28 + random.below(40)).min(inner.len());
    frame.extend(&inner[14..keep]);
}

/// IPv6 extension headers before the transport.
fn extend_v6(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(5) {
        let kind = random.pick(&[0, 43, 60, 51, 44]);
        let next = std::mem::replace(&mut frame[20], kind);
        let header = match kind {
            44 => [next, 0, 0, random.pick(&[0, 1, 9]), 0, 0, 0, random.below(3) as u8],
            51 => [next, 0, 0, 0, 0, 0, 0, 0],
            _ => [next, if random.one_in(20) { 255 } else { 0 }, 1, 4, 0, 0, 0, 0],
        };
        frame.splice(54..54, header);
    }
}
