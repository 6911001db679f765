//! What is told about a packet.

use abi::event::{AUDITED, EGRESS, IPV6};
use abi::flow::{GO_NEIGHBOUR, GO_ON, GO_POD, GO_TUNNEL};
use abi::{DropReason, End, Event, EventKind, TracePoint, TraceReason};

use crate::env::Env;
use crate::packet;
use crate::parts::Part;
use crate::work::Work;

/// Starts an event about the packet in hand, from its sender to its receiver.
#[inline(always)]
fn start(work: &mut Work, kind: EventKind) {
    work.event = Event {
        source_identity: work.sender.identity,
        destination_identity: work.receiver.identity,
        source_endpoint: work.sender.end.endpoint,
        destination_endpoint: work.receiver.end.endpoint,
        kind: kind as u8,
        reason: TraceReason::Unknown as u8,
        flags: if work.packet.is(packet::IPV6) { IPV6 } else { 0 },
        ..Event::EMPTY
    };
}

/// Where a packet is about to be, by the way it goes.
#[inline(always)]
const fn point(end: &End) -> TracePoint {
    match end.go {
        GO_POD => TracePoint::ToEndpoint,
        GO_NEIGHBOUR => TracePoint::ToNetwork,
        GO_TUNNEL => TracePoint::ToOverlay,
        GO_ON if end.ifindex == 0 => TracePoint::ToNetwork,
        _ => TracePoint::ToStack,
    }
}

/// Tells that the packet is on its way to its receiver.
#[inline(always)]
pub fn passed<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if env.monitor() == 0 {
        return Ok(());
    }
    start(work, EventKind::Trace);
    work.event.code = point(&work.receiver.end) as u8;
    work.event.reason = work.reason as u8;
    env.part(Part::Emit, work)
}

/// Tells that the packet was dropped.
#[inline(always)]
pub fn dropped<E: Env>(env: &mut E, work: &mut Work, reason: DropReason, egress: bool) {
    env.count(reason as u8, egress);
    // Every stack looks for routers and tells its multicast groups; counted, but no news.
    let chatter = matches!(work.packet.icmp_type, 131 | 132 | 133 | 143);
    if env.monitor() == 0 || (chatter && matches!(reason, DropReason::ForbiddenIcmp6)) {
        return;
    }
    let decision = &work.decision;
    // The side that denied was asked last, whichever program it was.
    let (cookie, egress) = match (reason, decision.egress != 0) {
        (DropReason::PolicyDenied | DropReason::PolicyDeny, true) => (decision.cookie[1], true),
        (DropReason::PolicyDenied | DropReason::PolicyDeny, false) => (decision.cookie[0], false),
        _ => (0, egress),
    };
    start(work, EventKind::Drop);
    work.event.code = reason as u8;
    work.event.cookie = cookie;
    if egress {
        work.event.flags |= EGRESS;
    }
    // A report that finds no room is counted as lost; the packet is dropped either way.
    let _ = env.part(Part::Emit, work);
}

/// Tells what policy said about the packet's flow; source and destination are those of the flow's first packet.
#[inline(always)]
pub fn verdict<E: Env>(env: &mut E, work: &mut Work) {
    if env.monitor() == 0 {
        return;
    }
    let (egress, reply) = (work.decision.egress != 0, work.decision.reply != 0);
    start(work, EventKind::PolicyVerdict);
    let (event, opinion) = (&mut work.event, &work.opinion);
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
    // A report that finds no room is counted as lost.
    let _ = env.part(Part::Emit, work);
}
