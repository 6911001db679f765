//! The entry points: one for each place where a program sits.

use abi::flow::{ANSWERED, DENIED, GO_NEIGHBOUR, GO_POD, GO_STACK, GO_TUNNEL, HIGH_CLOSED, LOW_CLOSED, MASQUERADE, RESET};
use abi::tables::{IPCACHE_HOST, IPCACHE_TUNNEL};
use abi::{DropReason, End, Flow, FlowKey, TraceReason, config, identity, mark};

use crate::conntrack::{find, starter, track, update};
use crate::deliver::{Pass, oversized, send};
use crate::env::{Env, Table, TunnelKey, Verdict};
use crate::packet::{FRAGMENT, Frame, ICMP_ERROR, IPV6, LAST_HOP, Packet, parse, parse_inner, protocol, tcp};
use crate::side::{Side, destination, going, ipcache, world};
use crate::trace::{Trail, dropped, passed, point};
use crate::{nat, neighbour};

/// Counts the outcome and reports a drop.
#[inline(always)]
fn finish<E: Env>(env: &mut E, outcome: Result<Verdict, DropReason>, trail: &Trail, egress: bool) -> Result<Verdict, DropReason> {
    match outcome {
        Ok(_) => env.count(0, egress),
        Err(reason) => dropped(env, trail, reason, egress),
    }
    outcome
}

/// The fast path: an answered flow, decided under the current generation, whose sender `genuine` recognises.
#[inline(always)]
fn fast<E: Env>(
    env: &mut E,
    packet: &Packet,
    key: &FlowKey,
    from: usize,
    genuine: impl Fn(&E, &Flow, &End) -> bool,
) -> Option<Result<Verdict, DropReason>> {
    if packet.flags & (LAST_HOP | FRAGMENT | ICMP_ERROR) != 0 || packet.tcp & (tcp::SYN | tcp::FIN | tcp::RST) != 0 {
        return None;
    }
    let mut flow = env.flow(Table::Answered, key)?;
    let settled = flow.flags & (ANSWERED | DENIED | RESET | LOW_CLOSED | HIGH_CLOSED) == ANSWERED;
    let now = env.now();
    if !settled || flow.epoch != env.epoch() || flow.expires < now {
        return None;
    }
    let (sender, receiver) = if from == 0 { (flow.end[0], flow.end[1]) } else { (flow.end[1], flow.end[0]) };
    if receiver.go == abi::flow::GO_UNKNOWN || !genuine(env, &flow, &sender) || oversized(env, &receiver) {
        return None;
    }
    let report = update(env, &mut flow, packet, from, now);
    let by_starter = from == starter(&flow);
    let (source, target) = if from == 0 { (flow.identity[0], flow.identity[1]) } else { (flow.identity[1], flow.identity[0]) };
    if report || env.monitor() > 1 {
        let trail = Trail {
            source_identity: source,
            destination_identity: target,
            source_endpoint: sender.endpoint,
            destination_endpoint: receiver.endpoint,
            ipv6: packet.is(IPV6),
        };
        let reason = if by_starter { TraceReason::Established } else { TraceReason::Reply };
        passed(env, &trail, point(&receiver), reason);
    }
    let masquerade = by_starter && flow.flags & MASQUERADE != 0;
    Some(send(env, packet, &receiver, Pass { identity: source, masquerade }))
}

/// The slow path behind every entry point: track, report, send.
#[inline(always)]
fn slow<E: Env>(
    env: &mut E,
    packet: &Packet,
    sender: &Side,
    receiver: &Side,
    trail: &mut Trail,
) -> Result<Verdict, DropReason> {
    trail.between(sender, receiver);
    if packet.is(ICMP_ERROR) && related(env, packet) {
        passed(env, trail, point(&receiver.end), TraceReason::Related);
        return send(env, packet, &receiver.end, Pass { identity: sender.identity, masquerade: false });
    }
    let (key, from) = packet.flow_key();
    let tracked = track(env, packet, &key, from, sender, receiver)?;
    if tracked.report || env.monitor() > 1 {
        passed(env, trail, point(&receiver.end), tracked.reason);
    }
    send(env, packet, &receiver.end, Pass { identity: sender.identity, masquerade: tracked.masquerade })
}

/// Whether an ICMP error is about a flow that is known here.
#[inline(always)]
fn related<E: Env>(env: &mut E, packet: &Packet) -> bool {
    let mut inner = Packet::default();
    if parse_inner(env, packet, &mut inner).is_err() {
        return false;
    }
    // An error is addressed to whoever sent the packet it quotes.
    if !inner.source.same(&packet.destination) {
        return false;
    }
    let (key, _) = inner.flow_key();
    match find(env, &key) {
        Some((flow, _)) => flow.flags & DENIED == 0,
        None => false,
    }
}

/// A packet leaves a pod: TCX ingress of its host-side device.
#[inline(always)]
pub fn pod_egress<E: Env>(env: &mut E) -> Result<Verdict, DropReason> {
    let mut packet = Packet::default();
    let mut trail = Trail::default();
    let outcome = match parse(env, &mut packet) {
        Ok(Frame::Ip) => {
            trail.ipv6 = packet.is(IPV6);
            let (key, from) = packet.flow_key();
            let hit = fast(env, &packet, &key, from, |env, _, sender| {
                sender.go == GO_POD && sender.ifindex == env.ifindex() && sent_by(env, &sender.mac)
            });
            match hit {
                Some(outcome) => outcome,
                None => pod_slow(env, &packet, &mut trail),
            }
        }
        Ok(Frame::Arp) => match env.pod(env.ifindex()).copied() {
            Some(pod) => neighbour::arp(env, &pod),
            None => Err(DropReason::EndpointNotReady),
        },
        Ok(Frame::Other) => Err(DropReason::UnsupportedL2),
        Err(reason) => Err(reason),
    };
    finish(env, outcome, &trail, true)
}

/// Whether the frame carries `mac` as its source.
#[inline(always)]
fn sent_by<E: Env>(env: &E, mac: &[u8; 6]) -> bool {
    let high = u16::from_ne_bytes([mac[0], mac[1]]);
    let low = u32::from_ne_bytes([mac[2], mac[3], mac[4], mac[5]]);
    matches!((env.u16_at(6), env.u32_at(8)), (Ok(a), Ok(b)) if a == high && b == low)
}

#[inline(never)]
fn pod_slow<E: Env>(env: &mut E, packet: &Packet, trail: &mut Trail) -> Result<Verdict, DropReason> {
    let ifindex = env.ifindex();
    let sender = match env.pod(ifindex) {
        Some(pod) => {
            trail.source_identity = pod.identity;
            trail.source_endpoint = pod.endpoint;
            if !sent_by(env, &pod.mac) {
                return Err(DropReason::InvalidSourceMac);
            }
            if neighbour::is_link_message(packet) {
                let pod = *pod;
                return neighbour::solicitation(env, packet, &pod);
            }
            let own = if packet.is(IPV6) { &pod.v6 } else { &pod.v4 };
            if env.config().features & config::SOURCE_CHECK != 0 && !packet.source.same(own) {
                return Err(DropReason::InvalidSourceIp);
            }
            Side::pod(ifindex, pod)
        }
        None => return Err(DropReason::EndpointNotReady),
    };
    let tunnelled = u32::from(u16::from_be(packet.destination_port)) == env.config().tunnel_port;
    if packet.protocol == protocol::UDP && tunnelled && env.config().features & config::TUNNEL != 0 {
        return Err(DropReason::EncapsulationProhibited);
    }
    let receiver = destination(env, packet, true);
    slow(env, packet, &sender, &receiver, trail)
}

/// A packet arrives on a native device: TCX ingress.
#[inline(always)]
pub fn netdev_ingress<E: Env>(env: &mut E) -> Result<Verdict, DropReason> {
    let mut packet = Packet::default();
    // Parts of it may be none of our business, so only packets for pods are refused here.
    if parse(env, &mut packet) != Ok(Frame::Ip) {
        return Ok(Verdict::Pass);
    }
    let mut trail = Trail { ipv6: packet.is(IPV6), ..Trail::default() };
    let (key, from) = packet.flow_key();
    let hit = fast(env, &packet, &key, from, |_, flow, sender| {
        let host = flow.identity[from & 1] == identity::HOST;
        sender.go == GO_NEIGHBOUR || (sender.go == GO_STACK && !host)
    });
    let outcome = match hit {
        Some(outcome) => outcome,
        None => match netdev_slow(env, &mut packet, &mut trail) {
            Ok(Verdict::Pass) => return Ok(Verdict::Pass),
            outcome => outcome,
        },
    };
    finish(env, outcome, &trail, false)
}

#[inline(never)]
fn netdev_slow<E: Env>(env: &mut E, packet: &mut Packet, trail: &mut Trail) -> Result<Verdict, DropReason> {
    let node = if packet.is(IPV6) { env.config().node_v6 } else { env.config().node_v4 };
    if packet.destination.same(&node) && !nat::come_back(env, packet)? {
        return Ok(Verdict::Pass);
    }
    if env.local(&packet.destination).is_none() {
        return Ok(Verdict::Pass);
    }
    // A pod of this node never speaks from outside.
    if env.local(&packet.source).is_some() {
        return Err(DropReason::InvalidSourceIp);
    }
    let from = match ipcache(env, &packet.source) {
        // An address of this node, or one that lives behind the tunnel, does not come this way.
        Some(entry) if entry.flags & IPCACHE_HOST != 0 => return Err(DropReason::InvalidSourceIp),
        Some(entry) if entry.flags & IPCACHE_TUNNEL != 0 && env.config().features & config::TUNNEL != 0 => {
            return Err(DropReason::InvalidSourceIp);
        }
        Some(entry) => entry.identity,
        None => world(env, &packet.source),
    };
    let receiver = destination(env, packet, false);
    slow(env, packet, &Side::remote(from), &receiver, trail)
}

/// A packet leaves through a native device: TCX egress. Masquerades what must be.
#[inline(always)]
pub fn netdev_egress<E: Env>(env: &mut E) -> Result<Verdict, DropReason> {
    let features = env.config().features;
    let marked = env.mark() & mark::MAGIC_MASK;
    if features & (config::MASQUERADE_V4 | config::MASQUERADE_V6) == 0 || matches!(marked, mark::IDENTITY | mark::SNAT_DONE) {
        return Ok(Verdict::Pass);
    }
    let mut packet = Packet::default();
    if parse(env, &mut packet) != Ok(Frame::Ip) {
        return Ok(Verdict::Pass);
    }
    let outcome = leave_node(env, &mut packet);
    if let Err(reason) = outcome {
        let trail = Trail { ipv6: packet.is(IPV6), ..Trail::default() };
        dropped(env, &trail, reason, true);
    }
    outcome
}

#[inline(always)]
fn leave_node<E: Env>(env: &mut E, packet: &mut Packet) -> Result<Verdict, DropReason> {
    if env.local(&packet.source).is_some() {
        let known = ipcache(env, &packet.destination);
        let to = known.map_or(world(env, &packet.destination), |entry| entry.identity);
        if !crate::side::masqueraded(env, &packet.destination, to) || packet.is(ICMP_ERROR) {
            return Ok(Verdict::Pass);
        }
        if !nat::translatable(packet) {
            return Err(DropReason::NatUnsupportedProtocol);
        }
        nat::leave(env, packet, false)?;
        env.set_mark(mark::SNAT_DONE);
        return Ok(Verdict::Pass);
    }
    let node = if packet.is(IPV6) { env.config().node_v6 } else { env.config().node_v4 };
    let port = u32::from(u16::from_be(packet.source_port));
    let in_range = port >= env.config().nat_port_min && port <= env.config().nat_port_max;
    let contended = in_range || packet.is_echo();
    if packet.source.same(&node) && contended && nat::translatable(packet) {
        nat::leave(env, packet, true)?;
    }
    Ok(Verdict::Pass)
}

/// A packet comes out of the tunnel: TCX ingress of the tunnel device.
#[inline(always)]
pub fn overlay_ingress<E: Env>(env: &mut E) -> Result<Verdict, DropReason> {
    let mut packet = Packet::default();
    let mut trail = Trail::default();
    let outcome = match env.tunnel_key() {
        Ok(tunnel) => match parse(env, &mut packet) {
            Ok(Frame::Ip) => {
                trail.ipv6 = packet.is(IPV6);
                let (key, from) = packet.flow_key();
                let hit = fast(env, &packet, &key, from, |_, flow, sender| {
                    flow.identity[from & 1] == tunnel.identity
                        && sender.go == GO_TUNNEL
                        && sender.gateway.same(&tunnel.remote)
                });
                match hit {
                    Some(outcome) => outcome,
                    None => overlay_slow(env, &packet, &tunnel, &mut trail),
                }
            }
            Ok(_) => Err(DropReason::UnsupportedL3),
            Err(reason) => Err(reason),
        },
        Err(reason) => Err(reason),
    };
    finish(env, outcome, &trail, false)
}

#[inline(never)]
fn overlay_slow<E: Env>(env: &mut E, packet: &Packet, tunnel: &TunnelKey, trail: &mut Trail) -> Result<Verdict, DropReason> {
    let mut from = tunnel.identity;
    trail.source_identity = from;
    // The host's own identity and node-local ones never travel.
    if from == identity::HOST || from == identity::UNKNOWN || identity::is_local_scope(from) {
        return Err(DropReason::InvalidIdentity);
    }
    // Only nodes of the cluster may encapsulate.
    match env.host_entry(&tunnel.remote) {
        Some(node) if matches!(node.identity, identity::REMOTE_NODE | identity::KUBE_APISERVER) => {}
        _ => return Err(DropReason::UnknownSender),
    }
    if env.local(&packet.source).is_some() {
        return Err(DropReason::InvalidSourceIp);
    }
    if let Some(entry) = ipcache(env, &packet.source) {
        // A known address lives behind the node that encapsulated, or the packet is forged.
        let elsewhere = entry.flags & IPCACHE_TUNNEL != 0 && !entry.node.same(&tunnel.remote);
        if elsewhere || entry.flags & IPCACHE_HOST != 0 {
            return Err(DropReason::InvalidSourceIp);
        }
        if from == identity::REMOTE_NODE && entry.identity == identity::KUBE_APISERVER {
            from = entry.identity;
        }
    }
    // World is one number on the wire and two in a dual-stack cluster.
    if from == identity::WORLD {
        from = world(env, &packet.source);
    }
    let mut sender = Side::remote(from);
    sender.end = going(GO_TUNNEL);
    sender.end.gateway = tunnel.remote;
    let receiver = destination(env, packet, false);
    if receiver.end.go != GO_POD {
        // For this node itself; forwarding for others is not ours.
        if receiver.end.go == GO_STACK {
            return Ok(Verdict::Stack);
        }
        return Err(DropReason::Unroutable);
    }
    slow(env, packet, &sender, &receiver, trail)
}

/// A packet of this node to the pods' network: TCX egress of `cilium_host`.
#[inline(always)]
pub fn host_egress<E: Env>(env: &mut E) -> Result<Verdict, DropReason> {
    let mut packet = Packet::default();
    let mut trail = Trail::default();
    let outcome = match parse(env, &mut packet) {
        Ok(Frame::Ip) => {
            trail.ipv6 = packet.is(IPV6);
            let unmarked = mark::identity(env.mark()).is_none();
            let (key, from) = packet.flow_key();
            let hit = fast(env, &packet, &key, from, |_, flow, sender| {
                unmarked && sender.go == GO_STACK && flow.identity[from & 1] == identity::HOST
            });
            match hit {
                Some(outcome) => outcome,
                None => host_slow(env, &packet, &mut trail),
            }
        }
        // Neighbour discovery of the pair itself.
        Ok(_) => return Ok(Verdict::Pass),
        Err(reason) => Err(reason),
    };
    finish(env, outcome, &trail, true)
}

#[inline(never)]
fn host_slow<E: Env>(env: &mut E, packet: &Packet, trail: &mut Trail) -> Result<Verdict, DropReason> {
    if neighbour::is_link_message(packet) {
        return Ok(Verdict::Pass);
    }
    let receiver = destination(env, packet, false);
    // A packet that went up the stack for its size or hop limit was a pod's, and its policy was enforced.
    if let Some(from) = mark::identity(env.mark()) {
        trail.source_identity = from;
        trail.destination_identity = receiver.identity;
        return match receiver.end.go {
            GO_POD | GO_TUNNEL => send(env, packet, &receiver.end, Pass { identity: from, masquerade: false }),
            _ => Err(DropReason::Unroutable),
        };
    }
    if receiver.end.go == GO_TUNNEL {
        // Other nodes know this one as a remote node.
        trail.source_identity = identity::HOST;
        trail.destination_identity = receiver.identity;
        passed(env, trail, point(&receiver.end), TraceReason::Unknown);
        return send(env, packet, &receiver.end, Pass { identity: identity::REMOTE_NODE, masquerade: false });
    }
    if receiver.end.go != GO_POD {
        return Err(DropReason::Unroutable);
    }
    let known = ipcache(env, &packet.source);
    let mut from = Side::remote(identity::HOST);
    from.end = going(GO_STACK);
    if let Some(entry) = known {
        // What the node forwards for others keeps their identity.
        if entry.flags & IPCACHE_HOST == 0 {
            from = Side::remote(entry.identity);
        }
    } else {
        from = Side::remote(world(env, &packet.source));
    }
    slow(env, packet, &from, &receiver, trail)
}
