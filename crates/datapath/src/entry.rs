//! The entry points: one for each place where a program sits. Each leaves its verdict in the work's `verdict`.

use abi::flow::{ANSWERED, DENIED, GO_NEIGHBOUR, GO_ON, GO_POD, GO_STACK, GO_TUNNEL, GO_UNKNOWN};
use abi::flow::{HIGH_CLOSED, LOW_CLOSED, MASQUERADE, RESET, SERVED};
use abi::tables::{IPCACHE_HOST, IPCACHE_TUNNEL, POD_ANY_SOURCE};
use abi::{DropReason, End, Flow, TraceReason, config, identity, mark};

use crate::conntrack::{related, settled_lifetime, starter, update};
use crate::deliver::{oversized, send};
use crate::env::{Action, Env, Table, Verdict};
use crate::packet::{FRAGMENT, ICMP_ERROR, IPV6, L3, LAST_HOP, Packet, frame, protocol, tcp};
use crate::parts::Part;
use crate::side::{Side, ipcache, masqueraded, world};
use crate::trace::dropped;
use crate::work::Work;
use crate::{host, nat, neighbour, service};

/// A packet leaves a pod: TCX ingress of its host-side device.
#[inline(always)]
pub fn pod_egress<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.reset();
    let outcome = match begin(env, work) {
        Ok(frame::IP) => from_pod(env, work),
        Ok(frame::ARP) => env.part(Part::Neighbour, work),
        Ok(_) => Err(DropReason::UnsupportedL2),
        Err(reason) => Err(reason),
    };
    finish(env, work, outcome, true)
}

#[inline(always)]
fn from_pod<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    fast(env, work, |env, _, _, sender| {
        sender.go == GO_POD && sender.ifindex == env.ifindex() && sent_by(env, &sender.mac)
    })?;
    otherwise(env, work, Part::FromPod)
}

/// A packet arrives on a native device: TCX ingress.
#[inline(always)]
pub fn netdev_ingress<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.reset();
    let outcome = match begin(env, work) {
        Ok(frame::IP) => from_netdev(env, work),
        Ok(_) => Ok(()),
        // Parts of what arrives are none of our business, so only packets for pods are refused here. Those are: the
        // stack could put fragments together and forward the whole, past the checks of its source.
        Err(_)
            if env.local(&work.packet.destination).is_none()
                && !service::dead_end(env, &work.packet.destination) =>
        {
            work.packet.unread();
            Ok(())
        }
        Err(reason) => Err(reason),
    };
    let outcome = match outcome {
        Ok(()) if host::may_arrive(env, work) => env.part(Part::ToNode, work),
        other => other,
    };
    finish(env, work, outcome, false)
}

#[inline(always)]
fn from_netdev<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    fast(env, work, |_, flow, from, sender| {
        sender.go == GO_NEIGHBOUR
            || (sender.go == GO_STACK && flow.identity[from] != identity::HOST)
            || (sender.go == GO_ON && sender.ifindex == 0)
    })?;
    otherwise(env, work, Part::FromNetdev)
}

/// A packet leaves through a native device: TCX egress. Masquerades what must be, and what backends in the node's own
/// network answer gets the service's address.
#[inline(always)]
pub fn netdev_egress<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.reset();
    let features = env.config().features;
    let marked = env.mark() & mark::MAGIC_MASK;
    let done = marked == mark::IDENTITY || marked == mark::SNAT_DONE;
    let translates = features & (config::MASQUERADE_V4 | config::MASQUERADE_V6 | config::SERVICES) != 0;
    let guards = features & config::HOST_FIREWALL != 0;
    work.hop = 0;
    let mut outcome = Ok(());
    if (translates || guards) && !done {
        let read = env.part(Part::Parse, work).is_ok();
        if work.packet.frame == frame::IP {
            if guards {
                outcome = from_node(env, work, read);
            }
            if outcome.is_ok() {
                work.nobody();
            }
            if outcome.is_ok() && translates && read {
                outcome = to_netdev(env, work);
            }
        }
    }
    finish(env, work, outcome, true)
}

/// The node's own policy. Whatever becomes of the packet afterwards, it says so before addresses change.
#[inline(always)]
fn from_node<E: Env>(env: &mut E, work: &mut Work, read: bool) -> Result<(), DropReason> {
    if read {
        fast(env, work, |_, _, _, sender| sender.go == GO_ON && sender.ifindex != 0)?;
    } else {
        work.packet.unread();
    }
    if work.settled() {
        work.verdict.action = Action::Pass;
        return Ok(());
    }
    work.nobody();
    env.part(Part::FromNode, work)
}

/// A packet comes out of the tunnel: TCX ingress of the tunnel device.
#[inline(always)]
pub fn overlay_ingress<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.reset();
    let outcome = match env.part(Part::TunnelKey, work) {
        Ok(()) => match begin(env, work) {
            Ok(frame::IP) => from_overlay(env, work),
            Ok(_) => Err(DropReason::UnsupportedL3),
            Err(reason) => Err(reason),
        },
        Err(reason) => {
            work.nobody();
            Err(reason)
        }
    };
    finish(env, work, outcome, false)
}

#[inline(always)]
fn from_overlay<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let tunnel = work.tunnel;
    fast(env, work, |_, flow, from, sender| {
        flow.identity[from] == tunnel.identity
            && sender.go == GO_TUNNEL
            && flow.end[(from ^ 1) & 1].go != GO_ON
            && sender.gateway.same(&tunnel.remote)
    })?;
    otherwise(env, work, Part::FromOverlay)
}

/// A packet of this node to the pods' network: TCX egress of `cilium_host`.
#[inline(always)]
pub fn host_egress<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.reset();
    work.hop = 0;
    let mut outcome = match begin(env, work) {
        Ok(frame::IP) => from_host(env, work),
        // Neighbour discovery of the pair itself passes.
        Ok(_) => Ok(()),
        Err(reason) => Err(reason),
    };
    // It came from the stack: what does not fit the way goes nowhere else.
    if outcome.is_ok() && work.verdict.action == Action::Stack {
        outcome = Err(DropReason::Unroutable);
    }
    finish(env, work, outcome, true)
}

#[inline(always)]
fn from_host<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let unmarked = env.mark() & mark::MAGIC_MASK != mark::IDENTITY;
    fast(env, work, |_, flow, from, sender| {
        unmarked && sender.go == GO_STACK && flow.identity[from] == identity::HOST
    })?;
    otherwise(env, work, Part::FromHost)
}

/// Reads the frame and says what it holds, one of [`frame`]. Whatever the fast path does not look at knows nobody at its ends.
#[inline(always)]
fn begin<E: Env>(env: &mut E, work: &mut Work) -> Result<u8, DropReason> {
    let read = env.part(Part::Parse, work);
    if read.is_ok() && work.packet.frame == frame::IP {
        return Ok(frame::IP);
    }
    work.nobody();
    read.map(|()| work.packet.frame)
}

/// Takes the slow path where the fast one did not apply.
#[inline(always)]
fn otherwise<E: Env>(env: &mut E, work: &mut Work, slow: Part) -> Result<(), DropReason> {
    if work.settled() {
        return Ok(());
    }
    work.nobody();
    env.part(slow, work)
}

/// Counts the outcome and reports a drop.
#[inline(always)]
fn finish<E: Env>(
    env: &mut E,
    work: &mut Work,
    outcome: Result<(), DropReason>,
    egress: bool,
) -> Result<(), DropReason> {
    match outcome {
        Ok(()) => {
            if work.settled() {
                env.count(0, egress);
            }
        }
        Err(reason) => {
            dropped(env, work, reason, egress);
            let denied = matches!(reason, DropReason::PolicyDenied | DropReason::PolicyDeny);
            if denied && env.config().features & config::DENY_RESPONSE != 0 {
                // Dropped it is, and counted so; the answer is another packet, made of it.
                return env.part(Part::Prohibit, work).map_err(|_| reason);
            }
        }
    }
    outcome
}

/// The fast path: an answered flow, decided under the current generation, whose sender `genuine` recognises. Leaves
/// [`Action::Pass`] where it does not apply.
#[inline(always)]
fn fast<E: Env>(
    env: &mut E,
    work: &mut Work,
    genuine: impl Fn(&E, &Flow, usize, &End) -> bool,
) -> Result<(), DropReason> {
    work.epoch = env.epoch();
    let odd = if work.hop != 0 { LAST_HOP | FRAGMENT | ICMP_ERROR } else { FRAGMENT | ICMP_ERROR };
    if work.packet.flags & odd != 0 || work.packet.tcp & (tcp::SYN | tcp::FIN | tcp::RST) != 0 {
        return Ok(());
    }
    // Echoes with identifier 0 have one key for both directions: which side may ask is the slow path's question.
    if work.packet.source_port | work.packet.destination_port == 0 {
        return Ok(());
    }
    work.from = work.packet.flow_key(&mut work.key);
    let Some(mut flow) = env.flow(Table::Answered, &work.key) else { return Ok(()) };
    let now = env.now();
    let live = flow.flags & (ANSWERED | DENIED | RESET | LOW_CLOSED | HIGH_CLOSED) == ANSWERED
        && flow.expires >= now;
    if !live || flow.epoch != work.epoch {
        return Ok(());
    }
    // Indices that the verifier sees to be 0 or 1.
    let (from, to) = ((work.from & 1) as usize, ((work.from ^ 1) & 1) as usize);
    // What came from the stack and would go there again is refused, and told of, on the slow path.
    if flow.end[to].go == GO_UNKNOWN
        || (work.hop == 0 && flow.end[to].go == GO_STACK)
        || !genuine(env, &flow, from, &flow.end[from])
        || oversized(env, &flow.end[to])
    {
        return Ok(());
    }
    let report = update(&mut flow, &work.packet, work.from, env.length(), now);
    flow.expires = now + settled_lifetime(&work.packet);
    let by_starter = work.from == starter(&flow);
    if report || env.monitor() > 1 {
        work.sender.identity = flow.identity[from];
        work.sender.end = flow.end[from];
        work.receiver.identity = flow.identity[to];
        work.receiver.end = flow.end[to];
        work.reason = if by_starter { TraceReason::Established } else { TraceReason::Reply } as u32;
        env.part(Part::Passed, work)?;
    }
    work.decision.masquerade = u32::from(by_starter && flow.flags & MASQUERADE != 0);
    let identity = flow.identity[from];
    if !by_starter && flow.flags & SERVED != 0 {
        env.part(Part::ComeBack, work)?;
        if elsewhere(work, &flow.end[to]) {
            work.nobody();
            work.sender.identity = identity;
            return env.part(Part::Forward, work);
        }
    }
    send(env, work, &flow.end[to], identity)
}

/// The slow path behind every entry point: track, report, send.
#[inline(always)]
fn slow<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    judge(env, work)?;
    // What a backend answers carries the service's address from here on.
    if work.served != 0 {
        env.part(Part::ComeBack, work)?;
        if elsewhere(work, &work.receiver.end) {
            return env.part(Part::Forward, work);
        }
    }
    let (end, identity) = (work.receiver.end, work.sender.identity);
    send(env, work, &end, identity)
}

/// Decides on the packet, and reports it.
#[inline(always)]
pub(crate) fn judge<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if work.packet.is(ICMP_ERROR) && related(env, work) {
        work.reason = TraceReason::Related as u32;
        work.report = 1;
    } else {
        env.part(Part::Track, work)?;
    }
    if work.report != 0 || env.monitor() > 1 {
        env.part(Part::Passed, work)?;
    }
    Ok(())
}

/// Whether an answer to this node's address turned out to be for the client behind it.
#[inline(always)]
fn elsewhere(work: &Work, end: &End) -> bool {
    end.go == GO_STACK && work.served != 0 && !work.nat.destination.same(&work.nat_key.destination)
}

/// Whether the frame carries `mac` as its source.
#[inline(always)]
fn sent_by<E: Env>(env: &E, mac: &[u8; 6]) -> bool {
    let high = u16::from_ne_bytes([mac[0], mac[1]]);
    let low = u32::from_ne_bytes([mac[2], mac[3], mac[4], mac[5]]);
    match env.u16_at(6) {
        Ok(seen) if seen == high => {}
        _ => return false,
    }
    matches!(env.u32_at(8), Ok(seen) if seen == low)
}

/// Slow path of a packet from a pod.
#[inline(always)]
pub fn pod_slow<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let ifindex = env.ifindex();
    let Some(pod) = env.pod(ifindex) else { return Err(DropReason::EndpointNotReady) };
    work.sender = Side::pod(ifindex, pod);
    if !sent_by(env, &pod.mac) {
        return Err(DropReason::InvalidSourceMac);
    }
    if neighbour::is_link_message(&work.packet) {
        return env.part(Part::Neighbour, work);
    }
    let own = if work.packet.is(IPV6) { &pod.v6 } else { &pod.v4 };
    let checked = env.config().features & config::SOURCE_CHECK != 0 && pod.flags & POD_ANY_SOURCE == 0;
    if checked && !work.packet.source.same(own) {
        return Err(DropReason::InvalidSourceIp);
    }
    let tunnelled = u32::from(u16::from_be(work.packet.destination_port)) == env.config().tunnel_port;
    if work.packet.protocol == protocol::UDP && tunnelled && env.config().features & config::TUNNEL != 0 {
        return Err(DropReason::EncapsulationProhibited);
    }
    if service::possible(env, &work.packet) {
        work.inside = 1;
        service::serve(env, work)?;
        if work.settled() {
            return Ok(());
        }
    } else if is_about_service(env, &work.packet) {
        work.inside = 1;
        env.part(Part::ComeBack, work)?;
        work.inside = 0;
    }
    if service::closed(env, &work.packet) {
        return Err(DropReason::NoBackend);
    }
    env.part(Part::Receiver, work)?;
    slow(env, work)
}

/// Whether a packet can be a client's complaint about what a service answered.
#[inline(always)]
fn is_about_service<E: Env>(env: &E, packet: &Packet) -> bool {
    packet.is(ICMP_ERROR)
        && env.config().features & config::SERVICES != 0
        && env.local(&packet.destination).is_none()
}

/// The node's address that packets of this family leave with.
#[inline(always)]
pub(crate) fn host_address<'a, E: Env>(env: &'a E, packet: &Packet) -> &'a abi::Addr {
    if packet.is(IPV6) { &env.config().node_v6 } else { &env.config().node_v4 }
}

/// Whether a packet to this node can be the answer to one that left with the node's address.
#[inline(always)]
pub(crate) fn may_come_back<E: Env>(env: &E, packet: &Packet) -> bool {
    let port = u32::from(u16::from_be(packet.destination_port));
    match packet.protocol {
        protocol::ICMP | protocol::ICMPV6 => true,
        _ => port >= env.config().nat_port_min && port <= env.config().nat_port_max,
    }
}

/// Slow path of a packet from a native device.
#[inline(always)]
pub fn netdev_slow<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    // The client's own: it may get this node's address below, but never this node's rights.
    let client = work.packet.source;
    let answer =
        work.packet.destination.same(host_address(env, &work.packet)) && may_come_back(env, &work.packet);
    let answer = answer || is_about_service(env, &work.packet);
    if answer {
        env.part(Part::ComeBack, work)?;
    }
    let home = work.served != 0;
    // A port from the same range may be a service's, or a container's.
    if !home && work.own == 0 && service::possible(env, &work.packet) {
        service::serve(env, work)?;
        if work.settled() {
            return Ok(());
        }
    }
    let here = env.local(&work.packet.destination).is_some();
    let learns = work.served == 0 && env.config().features & config::DSR != 0 && has_options(&work.packet);
    if !here && work.served == 0 && service::closed(env, &work.packet) {
        return Err(DropReason::NoBackend);
    }
    if !here && work.served == 0 {
        // The verdict still says "not ours". A backend in the node's own network may have to answer for a service.
        return if learns { env.part(Part::LearnService, work) } else { Ok(()) };
    }
    stranger(env, work, &client)?;
    if !here {
        return env.part(Part::Forward, work);
    }
    if home {
        // It is like any other now.
        work.served = 0;
    } else if learns {
        env.part(Part::LearnService, work)?;
    }
    env.part(Part::Receiver, work)?;
    if work.receiver.end.go != GO_POD {
        return Err(DropReason::EndpointNotReady);
    }
    slow(env, work)
}

/// Whether something stands between the IP header and the transport's.
#[inline(always)]
fn has_options(packet: &Packet) -> bool {
    packet.l4 != L3 + if packet.is(IPV6) { 40 } else { 20 }
}

/// Fills in the sender of a packet that came from a native device, by the address it came with.
#[inline(always)]
fn stranger<E: Env>(env: &E, work: &mut Work, client: &abi::Addr) -> Result<(), DropReason> {
    // A pod of this node never speaks from outside.
    if env.local(client).is_some() {
        return Err(DropReason::InvalidSourceIp);
    }
    work.sender = Side::remote(world(env, client));
    if let Some(entry) = ipcache(env, client) {
        // An address of this node, or one that lives behind the tunnel, does not come this way.
        let tunnelled = entry.flags & IPCACHE_TUNNEL != 0 && env.config().features & config::TUNNEL != 0;
        if entry.flags & IPCACHE_HOST != 0 || tunnelled {
            return Err(DropReason::InvalidSourceIp);
        }
        work.sender.identity = entry.identity;
    }
    Ok(())
}

/// Sends on what this node translated for others: to a backend elsewhere, or back to the client. Policy is its ends'.
#[inline(always)]
pub fn forward<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    env.part(Part::Receiver, work)?;
    let end = work.receiver.end;
    if end.go == GO_POD {
        return Err(DropReason::Unroutable);
    }
    let identity = match work.sender.identity {
        local if identity::is_local_scope(local) => world(env, &work.packet.source),
        other => other,
    };
    send(env, work, &end, identity)?;
    env.set_mark(mark::SNAT_DONE);
    Ok(())
}

#[inline(always)]
fn to_netdev<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if env.local(&work.packet.source).is_some() {
        let to = match ipcache(env, &work.packet.destination) {
            Some(entry) => entry.identity,
            None => world(env, &work.packet.destination),
        };
        work.receiver.identity = to;
        if !masqueraded(env, &work.packet.destination, to) {
            return Ok(());
        }
        if work.packet.is(ICMP_ERROR) {
            // About an answer to a pod that is known by the node's address.
            env.part(Part::ComeBack, work)?;
            if work.served != 0 {
                env.set_mark(mark::SNAT_DONE);
            }
            return Ok(());
        }
        if !nat::translatable(&work.packet) {
            return Err(DropReason::NatUnsupportedProtocol);
        }
        env.part(Part::Leave, work)?;
        env.set_mark(mark::SNAT_DONE);
        return Ok(());
    }
    let own = work.packet.source.same(host_address(env, &work.packet));
    if own && env.config().features & config::SERVICES != 0 {
        // A backend that shares the node's network answers.
        env.part(Part::ComeBack, work)?;
        if work.served != 0 {
            env.set_mark(mark::SNAT_DONE);
            return Ok(());
        }
    }
    if own { record(env, work) } else { Ok(()) }
}

/// Records a connection of the node itself, so that its port towards that peer is given to nobody else.
#[inline(always)]
fn record<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let port = u32::from(u16::from_be(work.packet.source_port));
    let in_range = port >= env.config().nat_port_min && port <= env.config().nat_port_max;
    if (in_range || work.packet.is_echo()) && nat::translatable(&work.packet) {
        work.own = 1;
        return env.part(Part::Leave, work);
    }
    Ok(())
}

/// Slow path of a packet from the tunnel.
#[inline(always)]
pub fn overlay_slow<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let remote = work.tunnel.remote;
    let mut from = work.tunnel.identity;
    work.sender = Side::remote(from);
    // The host's own identity and node-local ones never travel.
    if from == identity::HOST || from == identity::UNKNOWN || identity::is_local_scope(from) {
        return Err(DropReason::InvalidIdentity);
    }
    // Only nodes of the cluster may encapsulate.
    let Some(node) = env.host_entry(&remote) else { return Err(DropReason::UnknownSender) };
    if node.identity != identity::REMOTE_NODE && node.identity != identity::KUBE_APISERVER {
        return Err(DropReason::UnknownSender);
    }
    if env.local(&work.packet.source).is_some() {
        return Err(DropReason::InvalidSourceIp);
    }
    if let Some(entry) = ipcache(env, &work.packet.source) {
        // A known address lives behind the node that encapsulated, or the packet is forged.
        let elsewhere = entry.flags & IPCACHE_TUNNEL != 0 && !entry.node.same(&remote);
        if elsewhere || entry.flags & IPCACHE_HOST != 0 {
            return Err(DropReason::InvalidSourceIp);
        }
        if from == identity::REMOTE_NODE && entry.identity == identity::KUBE_APISERVER {
            from = entry.identity;
        }
    }
    // World is one number on the wire and two in a dual-stack cluster.
    if from == identity::WORLD {
        from = world(env, &work.packet.source);
    }
    work.sender.identity = from;
    env.part(Part::Receiver, work)?;
    work.sender.end = End::going(GO_TUNNEL);
    work.sender.end.gateway = remote;
    if work.receiver.end.go == GO_STACK {
        // For this node itself: an answer to what it sent for a client, or its own. Forwarding for others is not ours.
        if env.config().features & config::SERVICES != 0 {
            env.part(Part::ComeBack, work)?;
            if work.served != 0 {
                return env.part(Part::Forward, work);
            }
        }
        if work.receiver.pod != 0 {
            // Off the fast path: some of it is an answer to a port that was given away, see below.
            work.receiver.end.go = GO_ON;
            judge(env, work)?;
        }
        work.verdict = Verdict::plain(Action::Stack);
        return Ok(());
    }
    if work.receiver.end.go != GO_POD {
        return Err(DropReason::Unroutable);
    }
    slow(env, work)
}

/// Slow path of a packet from this node's stack.
#[inline(always)]
pub fn host_slow<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if neighbour::is_link_message(&work.packet) {
        return Ok(());
    }
    env.part(Part::Receiver, work)?;
    if work.receiver.end.go != GO_POD && work.receiver.end.go != GO_TUNNEL {
        return Err(DropReason::Unroutable);
    }
    work.sender = Side::remote(world(env, &work.packet.source));
    if let Some(entry) = ipcache(env, &work.packet.source) {
        // What the node forwards for others keeps their identity.
        work.sender.identity = entry.identity;
        if entry.flags & IPCACHE_HOST != 0 {
            work.sender.identity = identity::HOST;
            work.sender.end = End::going(GO_STACK);
        }
    }
    let own = work.sender.end.go == GO_STACK;
    let marked = env.mark();
    if marked & mark::MAGIC_MASK == mark::IDENTITY {
        // A pod's. It went up the stack for its size or hop limit, or to a port of this node that leads to another pod.
        work.sender.identity = mark::carried(marked);
    } else if own {
        let go = if work.receiver.end.go == GO_TUNNEL { GO_ON } else { GO_STACK };
        host::node(env, &mut work.sender, go);
    }
    if work.receiver.end.go == GO_POD {
        return slow(env, work);
    }
    if work.sender.pod != 0 {
        judge(env, work)?;
    }
    if own && env.config().features & config::SERVICES != 0 {
        // Clients of services go this way under the same address.
        record(env, work)?;
    }
    let end = work.receiver.end;
    let identity = match work.sender.identity {
        // Other nodes know this one as a remote node.
        identity::HOST => identity::REMOTE_NODE,
        local if identity::is_local_scope(local) => world(env, &work.packet.source),
        other => other,
    };
    send(env, work, &end, identity)
}
