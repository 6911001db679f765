//! The host firewall: the node is an endpoint with a policy of its own, for what it and its host-network pods send and get
//! through the native devices, and to and from pods.
//!
//! Its flows lie in the same tables as those of pods. On a native device its packets are judged and go on as they came
//! ([`GO_ON`]); what pods send each other never comes here.
//!
//! Not asked, as in Cilium: ARP, and the ICMPv6 messages without which a link does not work (RFC 4890 §4.4.1); besides, the
//! tunnel between the nodes, since what travels in it meets the policies of its own ends. A group or a broadcast is no
//! node's address: what is sent to one reaches the node, and what the node sends to one is its egress.

use abi::flow::GO_ON;
use abi::tables::{IPCACHE_HOST, IPCACHE_TUNNEL};
use abi::{Addr, DropReason, End, Identity, config, identity, mark};

use crate::conntrack::ask;
use crate::entry::judge;
use crate::env::{Action, Env};
use crate::packet::{ICMP_ERROR, Packet, UNREAD, frame, protocol};
use crate::parts::Part;
use crate::quoted;
use crate::side::{Side, ipcache, world};
use crate::work::Work;

/// Makes `side` this node, to which packets go on as `go` says. False without a policy for it: the feature is off, or the
/// agent has not said yet.
#[inline(always)]
pub fn node<E: Env>(env: &E, side: &mut Side, go: u8) -> bool {
    if env.config().features & config::HOST_FIREWALL == 0 {
        return false;
    }
    let ifindex = env.config().host_ifindex;
    let Some(facts) = env.pod(ifindex) else { return false };
    side.identity = identity::HOST;
    side.pod = ifindex;
    side.end = End::going(go);
    side.end.ifindex = ifindex;
    side.end.endpoint = facts.endpoint;
    true
}

/// Whether a packet from a native device that was let through may be one to this node: it is left to the stack. Answers that
/// the other direction's program gives the node itself carry a mark, which nothing from the wire does.
#[inline(always)]
pub fn may_arrive<E: Env>(env: &E, work: &Work) -> bool {
    env.config().features & config::HOST_FIREWALL != 0
        && work.packet.frame == frame::IP
        && match work.verdict.action {
            Action::Pass => env.mark() & mark::MAGIC_MASK != mark::SNAT_DONE,
            // A service's backend is the node itself.
            action => action as u32 == Action::Stack as u32,
        }
}

/// A packet from a native device, perhaps to this node.
#[inline(always)]
pub fn arrive<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if !is_node(env, &work.packet.destination)
        || spared(env, &work.packet, &work.packet.source)
        || !node(env, &mut work.receiver, GO_ON)
    {
        return Ok(());
    }
    let about_tunnel = work.packet.is(ICMP_ERROR)
        && quoted::read(env, work)
        && is_tunnel(env, &work.inner, &work.inner.destination);
    if about_tunnel {
        return Ok(());
    }
    work.sender = stranger(env, &work.packet.source, true);
    decide(env, work)
}

/// A packet that leaves through a native device, perhaps this node's own.
#[inline(always)]
pub fn leave<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if !is_node(env, &work.packet.source)
        || work.packet.destination.is_unspecified()
        || spared(env, &work.packet, &work.packet.destination)
        || !node(env, &mut work.sender, GO_ON)
    {
        return Ok(());
    }
    work.receiver = stranger(env, &work.packet.destination, false);
    decide(env, work)
}

/// Finds or makes the flow, or asks policy for this packet alone where it cannot be told to which flow it belongs.
#[inline(always)]
fn decide<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    // The flow is the one to the backend; its translation is found by the packets of either direction themselves.
    let served = work.served;
    work.served = 0;
    let outcome = if work.packet.is(UNREAD) {
        ask(work, false, false);
        env.part(Part::Decide, work)
    } else {
        judge(env, work)
    };
    work.served = served;
    outcome
}

/// Whether an address is this node's. Link-local ones are told apart by their device only, and here it is the node's.
#[inline(always)]
fn is_node<E: Env>(env: &E, addr: &Addr) -> bool {
    match env.host_entry(addr) {
        Some(entry) => entry.flags & IPCACHE_HOST != 0,
        None => is_link_local(addr),
    }
}

/// `fe80::/10` (RFC 4291 §2.5.6) or `169.254.0.0/16` (RFC 3927).
#[inline(always)]
const fn is_link_local(addr: &Addr) -> bool {
    let first = u32::from_be(addr.words[0]);
    first >> 22 == 0xfe80_0000 >> 22 || (addr.is_v4() && u32::from_be(addr.v4_word()) >> 16 == 0xa9fe)
}

/// The other end on the wire. A sender cannot be made sure of: who claims an address of this node, of its pods, or of those
/// behind the tunnel, is the world.
#[inline(always)]
fn stranger<E: Env>(env: &E, addr: &Addr, claimed: bool) -> Side {
    let mut side = Side::remote(identity_of(env, addr, claimed));
    side.end.go = GO_ON;
    side
}

#[inline(always)]
fn identity_of<E: Env>(env: &E, addr: &Addr, claimed: bool) -> Identity {
    let Some(entry) = ipcache(env, addr) else { return world(env, addr) };
    let tunnelled = entry.flags & IPCACHE_TUNNEL != 0 && env.config().features & config::TUNNEL != 0;
    let forged = claimed && (tunnelled || entry.flags & IPCACHE_HOST != 0 || env.local(addr).is_some());
    if forged { world(env, addr) } else { entry.identity }
}

/// Whether no policy is asked about a packet of this node to or from `peer`.
#[inline(always)]
fn spared<E: Env>(env: &E, packet: &Packet, peer: &Addr) -> bool {
    if packet.protocol == protocol::ICMPV6 {
        // Errors, multicast listeners, neighbours and routers, and their relatives. Not echo, nor what asks for names.
        return matches!(packet.icmp_type, 1..=4 | 130..=137 | 141..=143 | 148 | 149 | 151..=153)
            && !packet.is(UNREAD);
    }
    is_tunnel(env, packet, peer)
}

/// Whether a packet is the tunnel's, between this node and another one of the cluster.
#[inline(always)]
fn is_tunnel<E: Env>(env: &E, packet: &Packet, peer: &Addr) -> bool {
    if env.config().features & config::TUNNEL == 0
        || packet.protocol != protocol::UDP
        || u32::from(u16::from_be(packet.destination_port)) != env.config().tunnel_port
    {
        return false;
    }
    match env.host_entry(peer) {
        Some(entry) => matches!(entry.identity, identity::REMOTE_NODE | identity::KUBE_APISERVER),
        None => false,
    }
}
