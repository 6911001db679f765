//! What is told about a packet.

use abi::event::{AUDITED, EGRESS, IPV6};
use abi::flow::{GO_NEIGHBOUR, GO_POD, GO_TUNNEL};
use abi::{DropReason, End, Event, EventKind, TracePoint, TraceReason};

use crate::env::Env;
use crate::packet;
use crate::policy::Opinion;
use crate::work::Work;

/// An event about the packet in hand, from its sender to its receiver.
#[inline(always)]
fn event(work: &Work, kind: EventKind) -> Event {
    Event {
        source_identity: work.sender.identity,
        destination_identity: work.receiver.identity,
        source_endpoint: work.sender.end.endpoint,
        destination_endpoint: work.receiver.end.endpoint,
        kind: kind as u8,
        reason: TraceReason::Unknown as u8,
        flags: if work.packet.is(packet::IPV6) { IPV6 } else { 0 },
        ..Event::default()
    }
}

/// Where a packet is about to be, by the way it goes.
#[inline(always)]
const fn point(end: &End) -> TracePoint {
    match end.go {
        GO_POD => TracePoint::ToEndpoint,
        GO_NEIGHBOUR => TracePoint::ToNetwork,
        GO_TUNNEL => TracePoint::ToOverlay,
        _ => TracePoint::ToStack,
    }
}

/// Tells that the packet is on its way to its receiver.
#[inline(always)]
pub fn passed<E: Env>(env: &mut E, work: &Work) {
    if env.monitor() == 0 {
        return;
    }
    let mut event = event(work, EventKind::Trace);
    event.code = point(&work.receiver.end) as u8;
    event.reason = work.reason as u8;
    env.emit(&mut event);
}

/// Tells that the packet was dropped.
#[inline(always)]
pub fn dropped<E: Env>(env: &mut E, work: &Work, reason: DropReason, egress: bool) {
    env.count(reason as u8, egress);
    if env.monitor() == 0 {
        return;
    }
    let mut event = event(work, EventKind::Drop);
    event.code = reason as u8;
    if egress {
        event.flags |= EGRESS;
    }
    env.emit(&mut event);
}

/// Tells what policy said about the packet's flow; source and destination are those of the flow's first packet.
#[inline(always)]
pub fn verdict<E: Env>(env: &mut E, work: &Work, opinion: &Opinion, egress: bool, reply: bool) {
    if env.monitor() == 0 {
        return;
    }
    let mut event = event(work, EventKind::PolicyVerdict);
    event.code = match opinion.denied {
        Some(reason) => reason as u8,
        None => 0,
    };
    event.cookie = opinion.cookie;
    event.matched = opinion.matched;
    event.reason = if reply { TraceReason::Reply } else { TraceReason::New } as u8;
    let decided_by = if egress != reply { &work.sender } else { &work.receiver };
    event.policy_endpoint = u32::from(decided_by.end.endpoint);
    if egress {
        event.flags |= EGRESS;
    }
    if opinion.audited {
        event.flags |= AUDITED;
    }
    env.emit(&mut event);
}
