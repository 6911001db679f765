//! The verdict of one policy table on one flow.

use abi::tables::{EGRESS, INGRESS, POLICY_AUDITED, POLICY_DENY, POLICY_UNENFORCED};
use abi::{DropReason, Identity, PodFacts, PolicyEntry, PolicyKey};

use crate::env::Env;
use crate::packet::{Packet, protocol};

/// How an entry matched, in the numbers of the flow API.
pub mod matched {
    #![allow(missing_docs, reason = "the flow API's names say it")]
    pub const NONE: u8 = 0;
    pub const L3: u8 = 1;
    pub const L3_L4: u8 = 2;
    pub const L4: u8 = 3;
    pub const ALL: u8 = 4;
    pub const L3_PROTOCOL: u8 = 5;
    pub const PROTOCOL: u8 = 6;
}

/// What a table said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// `None` = allowed.
    pub denied: Option<DropReason>,
    /// Rule cookie: the policies behind the verdict.
    pub cookie: u32,
    /// See [`matched`].
    pub matched: u8,
    /// Allowed only because of an audit.
    pub audited: bool,
    /// Policy is enforced in this direction, so the verdict is worth an event.
    pub enforced: bool,
}

/// The part of a policy key that the flow's first packet determines: protocol and destination port (ICMP: the type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// IP protocol number.
    pub protocol: u8,
    /// Port in network order.
    pub port: u16,
}

impl Service {
    /// The service that `packet` belongs to; `reply` if it travels from the service to its client.
    #[inline(always)]
    pub fn of(packet: &Packet, reply: bool) -> Service {
        let port = match packet.protocol {
            // The request's type names the service; a reply that nobody asked for is its sender's own message.
            protocol::ICMP if reply && packet.is_echo() => 8_u16.to_be(),
            protocol::ICMPV6 if reply && packet.is_echo() => 128_u16.to_be(),
            protocol::ICMP | protocol::ICMPV6 => u16::from(packet.icmp_type).to_be(),
            _ if reply => packet.source_port,
            _ => packet.destination_port,
        };
        Service { protocol: packet.protocol, port }
    }
}

/// Whom a pod speaks to.
#[derive(Clone, Copy)]
pub struct Peer {
    /// Security identity.
    pub identity: Identity,
    /// The narrowest block around its address; 0 = not asked.
    pub block: u32,
}

impl Opinion {
    /// Nobody was asked.
    pub const NONE: Opinion =
        Opinion { denied: None, cookie: 0, matched: matched::NONE, audited: false, enforced: false };
}

/// Asks the table of `pod` about `peer`.
#[inline(always)]
pub fn evaluate<E: Env>(env: &E, pod: &PodFacts, peer: Peer, egress: bool, service: Service) -> Opinion {
    let direction = if egress { EGRESS } else { INGRESS };
    let Service { protocol, port } = service;
    let Peer { identity, block } = peer;
    let mut key = PolicyKey { identity, block: 0, direction, protocol, port };
    let mut by_peer = None;
    // Identity and address together, the identity alone, the address alone: the first that is final ends it.
    if block != 0 {
        key.block = block;
        by_peer = env.policy(pod.policy, &key);
        key.block = 0;
    }
    if !is_final(by_peer) {
        by_peer = stronger(by_peer, env.policy(pod.policy, &key));
    }
    key.identity = 0;
    if block != 0 && !is_final(by_peer) {
        key.block = block;
        by_peer = stronger(by_peer, env.policy(pod.policy, &key));
        key.block = 0;
    }
    let by_service = if is_final(by_peer) { None } else { env.policy(pod.policy, &key) };
    let audit =
        pod.flags & abi::tables::POD_AUDIT != 0 || env.config().features & abi::config::POLICY_AUDIT != 0;
    let Some((entry, any_peer)) = choose(by_peer, by_service) else {
        let cookie = if egress { pod.deny_cookie_egress } else { pod.deny_cookie_ingress };
        return Opinion {
            denied: if audit { None } else { Some(DropReason::PolicyDenied) },
            cookie,
            matched: matched::NONE,
            audited: audit,
            enforced: true,
        };
    };
    let deny = entry.flags & POLICY_DENY != 0;
    let audited = deny && (audit || entry.flags & POLICY_AUDITED != 0);
    Opinion {
        denied: if deny && !audited { Some(DropReason::PolicyDeny) } else { None },
        cookie: entry.cookie,
        matched: how(entry, any_peer),
        audited: audited || (!deny && entry.flags & POLICY_AUDITED != 0),
        enforced: entry.flags & POLICY_UNENFORCED == 0,
    }
}

/// Of the two hits the one with the higher precedence, then the longer one, then the one that names the peer.
#[inline(always)]
fn choose<'a>(
    by_peer: Option<&'a PolicyEntry>,
    by_service: Option<&'a PolicyEntry>,
) -> Option<(&'a PolicyEntry, bool)> {
    match (by_peer, by_service) {
        (None, None) => None,
        (Some(peer), None) => Some((peer, false)),
        (None, Some(service)) => Some((service, true)),
        (Some(peer), Some(service)) => {
            Some(if beats(service, peer) { (service, true) } else { (peer, false) })
        }
    }
}

/// Whether nothing can be stronger.
#[inline(always)]
fn is_final(entry: Option<&PolicyEntry>) -> bool {
    matches!(entry, Some(entry) if entry.precedence == u32::MAX)
}

/// The stronger of two hits; the first of equals.
#[inline(always)]
fn stronger<'a>(first: Option<&'a PolicyEntry>, second: Option<&'a PolicyEntry>) -> Option<&'a PolicyEntry> {
    match (first, second) {
        (Some(one), Some(other)) if !beats(other, one) => first,
        (_, None) => first,
        _ => second,
    }
}

/// Whether an entry wins over another that was found before it.
#[inline(always)]
fn beats(entry: &PolicyEntry, before: &PolicyEntry) -> bool {
    entry.precedence > before.precedence || entry.precedence == before.precedence && entry.bits > before.bits
}

#[inline(always)]
fn how(entry: &PolicyEntry, any_peer: bool) -> u8 {
    match (any_peer, entry.bits) {
        (false, 0) => matched::L3,
        (false, 8) => matched::L3_PROTOCOL,
        (false, _) => matched::L3_L4,
        (true, 0) => matched::ALL,
        (true, 8) => matched::PROTOCOL,
        (true, _) => matched::L4,
    }
}
