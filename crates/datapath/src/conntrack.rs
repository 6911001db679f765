//! Flows: is this packet part of something decided, and if not, what is decided?

use abi::flow::{
    ANSWERED, AUDITED, CLOSING_LIFETIME, DENIED, GO_POD, GO_UNKNOWN, HALF_OPEN_LIFETIME, HIGH_CLOSED, LOW_CLOSED,
    LOW_STARTED, MASQUERADE, OTHER_LIFETIME, RESET, TCP_LIFETIME,
};
use abi::{DropReason, FlowKey, TraceReason};

use crate::env::{Env, FlowRef, Table};
use crate::packet::{self, Packet, protocol, tcp};
use crate::policy::{Opinion, Service, evaluate};
use crate::side::{Side, masqueraded};
use crate::trace;

const SECOND: u64 = 1_000_000_000;

/// What is known of a packet that may go on.
pub struct Tracked {
    /// It leaves with the node's address.
    pub masquerade: bool,
    /// How the packet stands to its flow.
    pub reason: TraceReason,
    /// Whether this packet is worth a trace event.
    pub report: bool,
}

/// Whether the lower end started `flow`.
#[inline(always)]
pub fn starter(flow: &FlowRef) -> usize {
    if flow.flags & LOW_STARTED != 0 { 0 } else { 1 }
}

/// Counts the packet in its flow, follows the TCP state, and says whether the packet is worth a report.
#[inline(always)]
pub fn update<E: Env>(env: &E, flow: &mut FlowRef, packet: &Packet, from: usize, now: u64) -> bool {
    let from = from & 1;
    flow.packets[from] = flow.packets[from].wrapping_add(1);
    flow.bytes[from] = flow.bytes[from].wrapping_add(u64::from(env.length()));
    if packet.protocol == protocol::TCP {
        flow.tcp[from] |= packet.tcp;
        if packet.tcp & tcp::RST != 0 {
            flow.flags |= RESET;
        }
        if packet.tcp & tcp::FIN != 0 {
            flow.flags |= if from == 0 { LOW_CLOSED } else { HIGH_CLOSED };
        }
    }
    flow.expires = now + lifetime(flow, packet);
    worth_report(flow, packet, from, now)
}

/// Both sides closed, or one gave up.
#[inline(always)]
fn closing(flow: &FlowRef) -> bool {
    flow.flags & RESET != 0 || flow.flags & (LOW_CLOSED | HIGH_CLOSED) == LOW_CLOSED | HIGH_CLOSED
}

/// Aggregation: a direction is reported when new TCP flags of interest appear, or after a while.
#[inline(always)]
fn worth_report(flow: &mut FlowRef, packet: &Packet, from: usize, now: u64) -> bool {
    let seconds = (now / SECOND) as u32;
    let news = packet.tcp & (tcp::SYN | tcp::FIN | tcp::RST) & !flow.tcp_reported[from];
    if news == 0 && seconds.wrapping_sub(flow.reported[from]) < abi::flow::REPORT_INTERVAL {
        return false;
    }
    flow.tcp_reported[from] |= news;
    flow.reported[from] = seconds;
    true
}

/// Finds the flow of a packet in either table.
#[inline(always)]
pub fn find<E: Env>(env: &E, key: &FlowKey) -> Option<(FlowRef, Table)> {
    if let Some(flow) = env.flow(Table::Answered, key) {
        return Some((flow, Table::Answered));
    }
    env.flow(Table::HalfOpen, key).map(|flow| (flow, Table::HalfOpen))
}

/// The slow path: decides on the packet of `sender` to `receiver` and stores the answer where the fast path finds it.
#[inline(always)]
pub fn track<E: Env>(
    env: &mut E,
    packet: &Packet,
    key: &FlowKey,
    from: usize,
    sender: &Side,
    receiver: &Side,
) -> Result<Tracked, DropReason> {
    let now = env.now();
    let mut found = find(env, key);
    if let Some((flow, table)) = &found {
        if starts_over(flow, packet, from, now) {
            env.remove_flow(*table, key);
            found = None;
        }
    }
    match found {
        Some((flow, table)) => known(env, flow, table, packet, key, from, sender, receiver, now),
        None => fresh(env, packet, key, from, sender, receiver, now),
    }
}

/// Whether this packet opens a new connection although an entry is there: the entry has ended, or its *other* side
/// opens one, which must not pass as a reply.
#[inline(always)]
fn starts_over(flow: &FlowRef, packet: &Packet, from: usize, now: u64) -> bool {
    flow.expires < now || (packet.is_syn() && (closing(flow) || from != starter(flow)))
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined; a struct would only be taken apart again")]
fn known<E: Env>(
    env: &mut E,
    mut flow: FlowRef,
    table: Table,
    packet: &Packet,
    key: &FlowKey,
    from: usize,
    sender: &Side,
    receiver: &Side,
    now: u64,
) -> Result<Tracked, DropReason> {
    let reply = from != starter(&flow);
    let epoch = env.epoch();
    let moved = flow.identity[from & 1] != sender.identity || flow.identity[(from ^ 1) & 1] != receiver.identity;
    if flow.epoch != epoch || moved || flow.flags & DENIED != 0 {
        let (client, server) = if reply { (receiver, sender) } else { (sender, receiver) };
        let mut decision = Decision::about(reply, false);
        let verdict = decide(env, packet, client, server, &mut decision);
        flow.flags &= !(DENIED | AUDITED | MASQUERADE);
        if let Err(reason) = verdict {
            flow.flags |= DENIED;
            return Err(reason);
        }
        apply(&mut flow, &decision);
        flow.epoch = epoch;
    }
    learn(&mut flow, from, sender, receiver);
    let report = update(env, &mut flow, packet, from, now);
    if reply && table == Table::HalfOpen {
        flow.flags |= ANSWERED;
        flow.expires = now + lifetime(&flow, packet);
        // No room for it: it stays among the half-open, where a flood may evict it, but it goes on.
        if env.put_flow(Table::Answered, key, &flow).is_ok() {
            env.remove_flow(Table::HalfOpen, key);
        }
    }
    let reason = if reply { TraceReason::Reply } else { TraceReason::Established };
    Ok(Tracked { masquerade: flow.flags & MASQUERADE != 0 && !reply, reason, report })
}

/// How long a flow lives on without another packet.
#[inline(always)]
fn lifetime(flow: &FlowRef, packet: &Packet) -> u64 {
    if closing(flow) {
        CLOSING_LIFETIME
    } else if flow.flags & ANSWERED == 0 {
        HALF_OPEN_LIFETIME
    } else if packet.protocol == protocol::TCP {
        TCP_LIFETIME
    } else {
        OTHER_LIFETIME
    }
}

#[inline(always)]
fn fresh<E: Env>(
    env: &mut E,
    packet: &Packet,
    key: &FlowKey,
    from: usize,
    sender: &Side,
    receiver: &Side,
    now: u64,
) -> Result<Tracked, DropReason> {
    // Without an entry an echo reply is nobody's answer; policy sees it as what it is.
    let reply = packet.is(packet::ECHO_REPLY);
    let (client, server) = if reply { (receiver, sender) } else { (sender, receiver) };
    let mut decision = Decision::about(reply, true);
    decide(env, packet, client, server, &mut decision)?;
    let mut flow = env.scratch()?;
    let low_started = (from == 0) != reply;
    flow.flags = if low_started { LOW_STARTED } else { 0 };
    flow.epoch = env.epoch();
    flow.created = (now / SECOND) as u32;
    apply(&mut flow, &decision);
    learn(&mut flow, from, sender, receiver);
    update(env, &mut flow, packet, from, now);
    env.put_flow(Table::HalfOpen, key, &flow).map_err(|_| DropReason::CtInsertFailed)?;
    Ok(Tracked { masquerade: decision.masquerade && !reply, reason: TraceReason::New, report: true })
}

/// Fills in what this packet shows of the two ends.
#[inline(always)]
fn learn(flow: &mut FlowRef, from: usize, sender: &Side, receiver: &Side) {
    let (from, to) = (from & 1, (from ^ 1) & 1);
    flow.identity[from] = sender.identity;
    flow.identity[to] = receiver.identity;
    if sender.end.go != GO_UNKNOWN {
        flow.end[from] = sender.end;
    }
    if receiver.end.go != GO_UNKNOWN {
        flow.end[to] = receiver.end;
    } else if flow.end[to].go == GO_POD {
        // The address was a pod of this node once.
        flow.end[to] = receiver.end;
    }
}

/// What policy is asked about a flow, and what it answered.
struct Decision {
    /// The packet at hand travels from the service to its client.
    reply: bool,
    /// The flow is new: tell the verdicts.
    report: bool,
    cookie: [u32; 2],
    audited: bool,
    masquerade: bool,
}

impl Decision {
    #[inline(always)]
    const fn about(reply: bool, report: bool) -> Self {
        Decision { reply, report, cookie: [0; 2], audited: false, masquerade: false }
    }
}

#[inline(always)]
fn apply(flow: &mut FlowRef, decision: &Decision) {
    flow.cookie = decision.cookie;
    if decision.audited {
        flow.flags |= AUDITED;
    }
    if decision.masquerade {
        flow.flags |= MASQUERADE;
    }
}

/// Policy at both ends, as far as they are pods of this node. Out of line: two callers, and half of the code.
#[inline(never)]
fn decide<E: Env>(
    env: &mut E,
    packet: &Packet,
    client: &Side,
    server: &Side,
    decision: &mut Decision,
) -> Result<(), DropReason> {
    // A pod that calls itself crosses no boundary.
    if client.pod != 0 && client.pod == server.pod {
        return Ok(());
    }
    if client.pod != 0 {
        ask(env, packet, client, server, true, decision)?;
        let to = if decision.reply { &packet.source } else { &packet.destination };
        decision.masquerade = server.pod == 0 && masqueraded(env, to, server.identity);
    }
    if server.pod != 0 {
        ask(env, packet, server, client, false, decision)?;
    }
    Ok(())
}

#[inline(always)]
fn ask<E: Env>(
    env: &mut E,
    packet: &Packet,
    pod: &Side,
    peer: &Side,
    egress: bool,
    decision: &mut Decision,
) -> Result<(), DropReason> {
    let service = Service::of(packet, decision.reply);
    let opinion: Opinion = match env.pod(pod.pod) {
        Some(facts) => evaluate(env, facts, peer.identity, egress, service),
        None => return Err(DropReason::EndpointNotReady),
    };
    decision.audited |= opinion.audited;
    decision.cookie[usize::from(egress)] = opinion.cookie;
    if opinion.enforced && (decision.report || opinion.denied.is_some()) {
        trace::verdict(env, packet, pod, peer, &trace::Told { opinion, egress });
    }
    match opinion.denied {
        None => Ok(()),
        Some(reason) => Err(reason),
    }
}
