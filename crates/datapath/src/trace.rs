//! What is told about a packet.

use abi::event::{AUDITED, EGRESS, IPV6};
use abi::{DropReason, End, Event, EventKind, TracePoint, TraceReason};
use abi::flow::{GO_NEIGHBOUR, GO_POD, GO_TUNNEL};

use crate::env::Env;
use crate::packet::{self, Packet};
use crate::policy::Opinion;
use crate::side::Side;

/// What was found out about a packet by the time it was dropped or sent on.
#[derive(Clone, Copy, Default)]
pub struct Trail {
    /// Identity of the sender.
    pub source_identity: u32,
    /// Identity of the receiver.
    pub destination_identity: u32,
    /// Endpoint that sends, 0 if none of this node's.
    pub source_endpoint: u16,
    /// Endpoint that receives, 0 if none of this node's.
    pub destination_endpoint: u16,
    /// The packet is IPv6.
    pub ipv6: bool,
}

impl Trail {
    /// Notes both sides.
    #[inline(always)]
    pub fn between(&mut self, sender: &Side, receiver: &Side) {
        self.source_identity = sender.identity;
        self.destination_identity = receiver.identity;
        self.source_endpoint = sender.end.endpoint;
        self.destination_endpoint = receiver.end.endpoint;
    }

    #[inline(always)]
    fn event(&self, kind: EventKind) -> Event {
        Event {
            source_identity: self.source_identity,
            destination_identity: self.destination_identity,
            source_endpoint: self.source_endpoint,
            destination_endpoint: self.destination_endpoint,
            kind: kind as u8,
            reason: TraceReason::Unknown as u8,
            flags: if self.ipv6 { IPV6 } else { 0 },
            ..Event::default()
        }
    }
}

/// Where a packet is about to be, by the way it goes.
#[inline(always)]
pub const fn point(end: &End) -> TracePoint {
    match end.go {
        GO_POD => TracePoint::ToEndpoint,
        GO_NEIGHBOUR => TracePoint::ToNetwork,
        GO_TUNNEL => TracePoint::ToOverlay,
        _ => TracePoint::ToStack,
    }
}

/// Tells that a packet passed a point.
#[inline(never)]
pub fn passed<E: Env>(env: &mut E, trail: &Trail, point: TracePoint, reason: TraceReason) {
    if env.monitor() == 0 {
        return;
    }
    let mut event = trail.event(EventKind::Trace);
    event.code = point as u8;
    event.reason = reason as u8;
    env.emit(&mut event);
}

/// Tells that a packet was dropped.
#[inline(always)]
pub fn dropped<E: Env>(env: &mut E, trail: &Trail, reason: DropReason, egress: bool) {
    env.count(reason as u8, egress);
    if env.monitor() == 0 {
        return;
    }
    let mut event = trail.event(EventKind::Drop);
    event.code = reason as u8;
    if egress {
        event.flags |= EGRESS;
    }
    env.emit(&mut event);
}

/// Tells what policy said about a flow.
#[inline(never)]
pub fn verdict<E: Env>(env: &mut E, packet: &Packet, pod: &Side, peer: &Side, told: &Told) {
    if env.monitor() == 0 {
        return;
    }
    let mut trail = Trail { ipv6: packet.is(packet::IPV6), ..Trail::default() };
    if told.egress {
        trail.between(pod, peer);
    } else {
        trail.between(peer, pod);
    }
    let mut event = trail.event(EventKind::PolicyVerdict);
    event.code = match told.opinion.denied {
        Some(reason) => reason as u8,
        None => 0,
    };
    event.cookie = told.opinion.cookie;
    event.matched = told.opinion.matched;
    event.policy_endpoint = u32::from(pod.end.endpoint);
    if told.egress {
        event.flags |= EGRESS;
    }
    if told.opinion.audited {
        event.flags |= AUDITED;
    }
    env.emit(&mut event);
}

/// A verdict to tell: five arguments are all that a BPF function takes.
pub struct Told {
    /// What policy said.
    pub opinion: Opinion,
    /// It was the sender's policy.
    pub egress: bool,
}
