//! Flows: is this packet part of something decided, and if not, what is decided?

use abi::flow::{
    ANSWERED, AUDITED, CLOSING_LIFETIME, DENIED, GO_NEIGHBOUR, GO_ON, GO_POD, GO_STACK, GO_UNKNOWN,
    HALF_OPEN_LIFETIME, HIGH_CLOSED, SERVED,
};
use abi::flow::{LOW_CLOSED, LOW_STARTED, MASQUERADE, OTHER_LIFETIME, RESET, TCP_LIFETIME};
use abi::tables::POD_BLOCKS;
use abi::{DropReason, End, Flow, FlowKey, TraceReason, config, identity};

use crate::env::{Env, FlowRef, Table};
use crate::packet::{self, Packet, protocol, tcp};
use crate::parts::Part;
use crate::policy::{Peer, Service, evaluate};
use crate::quoted;
use crate::side::{Side, masqueraded, world};
use crate::trace;
use crate::work::{Decision, Work};

const SECOND: u64 = 1_000_000_000;

/// The side that sent the first packet of `flow`.
#[inline(always)]
pub const fn starter(flow: &Flow) -> u32 {
    if flow.flags & LOW_STARTED != 0 { 0 } else { 1 }
}

/// Counts the packet in its flow, follows the TCP state, and says whether the packet is worth a report. How long the flow lives
/// on is for the caller to say.
#[inline(always)]
pub fn update(flow: &mut Flow, packet: &Packet, from: u32, length: u32, now: u64) -> bool {
    let side = (from & 1) as usize;
    flow.packets[side] = flow.packets[side].wrapping_add(1);
    flow.bytes[side] = flow.bytes[side].wrapping_add(u64::from(length));
    // Zero but under TCP. Shifts instead of branches: the verifier walks each way through this and all that follows.
    flow.tcp[side] |= packet.tcp;
    let bits = u32::from(packet.tcp);
    flow.flags |= (bits & u32::from(tcp::RST)) << (RESET.trailing_zeros() - tcp::RST.trailing_zeros());
    flow.flags |= (bits & u32::from(tcp::FIN)) << (LOW_CLOSED.trailing_zeros() + (from & 1));
    // Aggregation: a direction is reported when new TCP flags of interest appear, or after a while.
    let seconds = (now / SECOND) as u32;
    let news = packet.tcp & (tcp::SYN | tcp::FIN | tcp::RST) & !flow.tcp_reported[side];
    if news == 0 && seconds.wrapping_sub(flow.reported[side]) < abi::flow::REPORT_INTERVAL {
        return false;
    }
    flow.tcp_reported[side] |= news;
    flow.reported[side] = seconds;
    true
}

/// Both sides closed, or one gave up.
#[inline(always)]
const fn closing(flow: &Flow) -> bool {
    flow.flags & RESET != 0 || flow.flags & (LOW_CLOSED | HIGH_CLOSED) == LOW_CLOSED | HIGH_CLOSED
}

/// Whether both sides have spoken: the other has answered and, under TCP, the first has gone on. What only looks like the
/// beginning of a connection can be forged from anywhere.
#[inline(always)]
const fn settled(flow: &Flow, packet: &Packet) -> bool {
    let first = (starter(flow) & 1) as usize;
    flow.flags & ANSWERED != 0 && (packet.protocol != protocol::TCP || flow.tcp[first] & tcp::ACK != 0)
}

/// How long a flow lives on without another packet.
#[inline(always)]
const fn lifetime(flow: &Flow, packet: &Packet) -> u64 {
    if closing(flow) {
        CLOSING_LIFETIME
    } else if !settled(flow, packet) {
        HALF_OPEN_LIFETIME
    } else {
        settled_lifetime(packet)
    }
}

/// The same for a flow in which both sides have spoken and neither has closed.
#[inline(always)]
pub const fn settled_lifetime(packet: &Packet) -> u64 {
    if packet.protocol == protocol::TCP { TCP_LIFETIME } else { OTHER_LIFETIME }
}

/// Finds the flow of a packet in either table.
#[inline(always)]
pub fn find<E: Env>(env: &E, key: &FlowKey) -> Option<FlowRef> {
    match env.flow(Table::Answered, key) {
        Some(flow) => Some(flow),
        None => env.flow(Table::HalfOpen, key),
    }
}

/// Whether an ICMP error is about a flow that is known here.
#[inline(always)]
pub fn related<E: Env>(env: &mut E, work: &mut Work) -> bool {
    if !quoted::read(env, work) {
        return false;
    }
    // A pod forwards for nobody: it may only report what was sent to itself, under the verdict that holds now.
    let from = work.sender.identity;
    let cluster = from >= identity::CLUSTER_MIN && !identity::is_local_scope(from);
    let local = work.sender.pod != 0 && from != identity::HOST;
    let pod = (local || cluster) && env.config().features & config::SOURCE_CHECK != 0;
    if pod && !work.inner.destination.same(&work.packet.source) {
        return false;
    }
    let direction = work.inner.flow_key(&mut work.key);
    match find(env, &work.key) {
        Some(flow) => {
            let current = !pod || flow.epoch == work.epoch;
            // Its receiver knows the quoted packet by the service's address, or its sender by the node's.
            work.served = u32::from(flow.flags & SERVED != 0);
            work.decision.masquerade = u32::from(flow.flags & MASQUERADE != 0 && direction != starter(&flow));
            flow.flags & DENIED == 0 && flow.expires >= env.now() && current
        }
        None => false,
    }
}

/// The slow path: decides on the packet and stores the answer where the fast path finds it.
#[inline(always)]
pub fn track<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let now = env.now();
    work.from = work.packet.flow_key(&mut work.key);
    let mut replaces = false;
    if let Some(flow) = find(env, &work.key) {
        if same_pods(&flow, work) && !starts_over(&flow, &work.packet, work.from, now) {
            return known(env, flow, work, now);
        }
        replaces = true;
    }
    fresh(env, work, now, replaces)
}

/// Whether the pods of this node at the two ends are those that the entry was made for. Addresses are given out again;
/// what the earlier owner was allowed, or had begun, is not the new one's.
#[inline(always)]
fn same_pods(flow: &Flow, work: &Work) -> bool {
    let (from, to) = sides(work.from);
    owner(&flow.end[from]) == work.sender.pod && owner(&flow.end[to]) == work.receiver.pod
}

/// The device of the pod at an end, or of the node if it had a policy; 0 if it was neither.
#[inline(always)]
const fn owner(end: &End) -> u32 {
    if matches!(end.go, GO_POD | GO_STACK | GO_ON) { end.ifindex } else { 0 }
}

/// Whether this packet opens a new connection although an entry is there: the entry has ended, or its *other* side
/// opens one, which must not pass as a reply.
#[inline(always)]
fn starts_over(flow: &Flow, packet: &Packet, from: u32, now: u64) -> bool {
    let other = from != starter(flow);
    let asks = packet.is_echo() && !packet.is(packet::ECHO_REPLY);
    flow.expires < now || (packet.is_syn() && (closing(flow) || other)) || (asks && other)
}

#[inline(always)]
fn known<E: Env>(env: &mut E, mut flow: FlowRef, work: &mut Work, now: u64) -> Result<(), DropReason> {
    let reply = work.from != starter(&flow);
    let epoch = work.epoch;
    let (from, to) = sides(work.from);
    let moved = flow.identity[from] != work.sender.identity || flow.identity[to] != work.receiver.identity;
    if flow.epoch != epoch || moved || flow.flags & DENIED != 0 {
        ask(work, reply, false);
        if let Err(reason) = env.part(Part::Decide, work) {
            flow.flags |= DENIED;
            return Err(reason);
        }
        apply(&mut flow, &work.decision);
        flow.epoch = epoch;
    }
    if !reply {
        by_stack(env, work);
    }
    learn(&mut flow, work.from, &work.sender, &work.receiver);
    let report = update(&mut flow, &work.packet, work.from, env.length(), now);
    flow.flags |= u32::from(reply) * ANSWERED;
    flow.expires = now + lifetime(&flow, &work.packet);
    if settled(&flow, &work.packet) && env.flow(Table::Answered, &work.key).is_none() {
        // No room for it: it stays among the half-open, where a flood may evict it, but it goes on.
        if env.put_flow(Table::Answered, &work.key, &flow).is_ok() {
            env.remove_flow(Table::HalfOpen, &work.key);
        }
    }
    work.reason = if reply { TraceReason::Reply } else { TraceReason::Established } as u32;
    work.decision.masquerade = u32::from(flow.flags & MASQUERADE != 0 && !reply);
    if work.served != 0 && !reply {
        flow.flags |= SERVED;
    }
    work.served = u32::from(reply && flow.flags & SERVED != 0);
    work.report = u32::from(report);
    Ok(())
}

#[inline(always)]
fn fresh<E: Env>(env: &mut E, work: &mut Work, now: u64, replaces: bool) -> Result<(), DropReason> {
    ask(work, false, true);
    env.part(Part::Decide, work)?;
    by_stack(env, work);
    if replaces {
        // Only now: what policy refuses must not end the flow of others.
        env.remove_flow(Table::Answered, &work.key);
    }
    let Work { flow, decision, packet, sender, receiver, from, epoch, served, .. } = &mut *work;
    *flow = Flow::EMPTY;
    flow.flags = if *from == 0 { LOW_STARTED } else { 0 };
    if *served != 0 {
        flow.flags |= SERVED;
    }
    *served = 0;
    flow.epoch = *epoch;
    flow.created = (now / SECOND) as u32;
    apply(flow, decision);
    learn(flow, *from, sender, receiver);
    update(flow, packet, *from, env.length(), now);
    flow.expires = now + lifetime(flow, packet);
    env.put_flow(Table::HalfOpen, &work.key, &work.flow).map_err(|_| DropReason::CtInsertFailed)?;
    work.reason = TraceReason::New as u32;
    work.report = 1;
    Ok(())
}

/// The sender's and the receiver's side of the key, as indices that the verifier sees to be 0 or 1.
#[inline(always)]
const fn sides(from: u32) -> (usize, usize) {
    ((from & 1) as usize, ((from ^ 1) & 1) as usize)
}

/// What a pod begins takes the node's stack to elsewhere, where that is wanted: others masquerade it there, and their
/// connection tracking must see it first. What others begin comes to a pod past the stack, so the pod's answers pass it
/// by, too: half a connection would be taken for a new one.
#[inline(always)]
fn by_stack<E: Env>(env: &E, work: &mut Work) {
    let begun = work.sender.end.go == GO_POD && work.receiver.end.go == GO_NEIGHBOUR;
    if begun && work.served == 0 && env.config().features & config::STACK_ROUTING != 0 {
        work.receiver.end = End::going(GO_STACK);
    }
}

/// Fills in what this packet shows of the two ends.
#[inline(always)]
fn learn(flow: &mut Flow, from: u32, sender: &Side, receiver: &Side) {
    let (from, to) = sides(from);
    flow.identity[from] = sender.identity;
    flow.identity[to] = receiver.identity;
    if sender.end.go != GO_UNKNOWN {
        flow.end[from] = sender.end;
    }
    // If nothing is known now, what was known still holds.
    if receiver.end.go != GO_UNKNOWN {
        flow.end[to] = receiver.end;
    }
}

#[inline(always)]
fn apply(flow: &mut Flow, decision: &Decision) {
    flow.cookie = decision.cookie;
    flow.flags &= !(DENIED | AUDITED | MASQUERADE);
    flow.flags |= ((decision.audited & 1) * AUDITED) | ((decision.masquerade & 1) * MASQUERADE);
}

/// Prepares the question to policy.
#[inline(always)]
pub(crate) fn ask(work: &mut Work, reply: bool, report: bool) {
    work.decision = Decision {
        reply: u32::from(reply),
        report: u32::from(report),
        egress: 0,
        cookie: [0; 2],
        audited: 0,
        masquerade: 0,
    };
}

/// Policy at both ends, as far as they are pods of this node, or the node itself with a policy of its own.
#[inline(always)]
pub fn decide<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let reply = work.decision.reply != 0;
    let (client, server) =
        if reply { (work.receiver.pod, work.sender.pod) } else { (work.sender.pod, work.receiver.pod) };
    // A pod that calls itself crosses no boundary.
    if client != 0 && client == server {
        return Ok(());
    }
    if client != 0 {
        work.decision.egress = 1;
        env.part(Part::Opinion, work)?;
        let (to, identity) = if reply {
            (&work.packet.source, work.sender.identity)
        } else {
            (&work.packet.destination, work.receiver.identity)
        };
        // The node's own packets have its address already.
        let elsewhere = server == 0 && client != env.config().host_ifindex;
        work.decision.masquerade = u32::from(elsewhere && masqueraded(env, to, identity));
    }
    if server != 0 {
        work.decision.egress = 0;
        env.part(Part::Opinion, work)?;
    }
    Ok(())
}

/// The opinion of the client's policy (egress) or the server's (ingress).
#[inline(always)]
pub fn opinion<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    env.part(Part::Ask, work)?;
    if work.opinion.audited {
        work.decision.audited = 1;
    }
    work.decision.cookie[usize::from(work.decision.egress != 0)] = work.opinion.cookie;
    if work.opinion.enforced && (work.decision.report != 0 || work.opinion.denied.is_some()) {
        trace::verdict(env, work);
    }
    match work.opinion.denied {
        None => Ok(()),
        Some(reason) => Err(reason),
    }
}

/// Asks the table of the pod whose policy is in question, and leaves the answer in `work.opinion`.
#[inline(always)]
pub fn ask_table<E: Env>(env: &E, work: &mut Work) -> Result<(), DropReason> {
    let (reply, egress) = (work.decision.reply != 0, work.decision.egress != 0);
    let service = Service::of(&work.packet, reply);
    // The pod that is asked stands at the packet's sending end, or at the other.
    let sending = egress != reply;
    let (pod, identity, addr) = if sending {
        (work.sender.pod, work.receiver.identity, &work.packet.destination)
    } else {
        (work.receiver.pod, work.sender.identity, &work.packet.source)
    };
    let Some(facts) = env.pod(pod) else { return Err(DropReason::EndpointNotReady) };
    let mut block = 0;
    // A prefix's identity is its block already.
    if facts.flags & POD_BLOCKS != 0 && !identity::is_local_scope(identity) {
        block = env.block(addr);
        if block == 0 {
            block = world(env, addr);
        }
    }
    work.opinion = evaluate(env, facts, Peer { identity, block }, egress, service);
    Ok(())
}
