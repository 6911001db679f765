//! The run, and what is told about it.

use std::net::IpAddr;

use abi::event::{AUDITED, EGRESS};
use abi::flow::AUDITED as FLOW_AUDITED;
use abi::{DropReason, Event, EventKind, Flow, TraceReason};
use api::policy::{Decision, Trace, TraceEnd};
use datapath::packet::L3;
use datapath::policy::matched;
use datapath::{Action, Verdict};
use sim::{Node, Outcome, Program, Sent};

use crate::Surroundings;
use crate::prepare::{Prepared, is_icmp};
use crate::who::Who;

/// Reports of every packet.
const EVERY_PACKET: u32 = 2;

/// Sends the packet through the programs on its way. Labels and policies are left empty: the caller knows them, by
/// identity and by cookie.
pub fn trace(node: &mut Node, prepared: &Prepared, around: &Surroundings) -> Trace {
    node.monitor = EVERY_PACKET;
    node.events.clear();
    let mut run = Run { node, around, prepared, steps: Vec::new() };
    let outcome = run.first();
    let seen = Seen::of(&run.node.events, prepared);
    let decisions = decisions(run.node, prepared, &seen);
    let outcome = run.onwards(outcome);
    let steps = run.steps;
    let audited = decisions.iter().any(|decision| decision.verdict == "AUDIT");
    let (verdict, reason) = match outcome.verdict {
        Err(reason) => ("DENIED", reason.text()),
        Ok(_) if audited => ("AUDIT", ""),
        Ok(_) => ("ALLOWED", ""),
    };
    let question = &prepared.question;
    let echo = is_icmp(question.protocol);
    Trace {
        source: end(
            question.source,
            if echo { 0 } else { question.source_port },
            seen.identities.0,
            &prepared.source,
        ),
        destination: end(
            question.destination,
            if echo { 0 } else { question.port },
            seen.identities.1,
            &prepared.destination,
        ),
        protocol: question.protocol,
        steps,
        verdict: verdict.to_owned(),
        reason: reason.to_owned(),
        elsewhere: elsewhere(prepared, outcome.verdict),
        decisions,
    }
}

fn end(address: IpAddr, port: u16, identity: u32, who: &Who) -> TraceEnd {
    TraceEnd {
        address: address.to_string(),
        port,
        identity,
        endpoint: who.endpoint,
        found: who.found.clone(),
        labels: Vec::new(),
    }
}

/// A packet on its way.
struct Run<'a> {
    node: &'a mut Node,
    around: &'a Surroundings,
    prepared: &'a Prepared,
    steps: Vec<String>,
}

impl Run<'_> {
    fn first(&mut self) -> Outcome {
        let Prepared { program, sent, .. } = self.prepared;
        let program_text = format!("{} on {}", name(*program), self.around.device(sent.ifindex));
        let outcome = sim::run(self.node, *program, sent.clone());
        let stands = match self.node.events.iter().find(|(event, _)| event.kind == EventKind::Trace as u8) {
            Some((event, _)) => reason_text(event.reason),
            None => "",
        };
        let tunnel = sent
            .tunnel
            .map_or(String::new(), |key| format!(", from node {} as identity {}", key.remote, key.identity));
        self.steps.push(format!("{program_text}{tunnel}{stands}"));
        self.steps.push(self.way(&outcome));
        outcome
    }

    /// The next program, where the first leads straight to a device that has one.
    fn onwards(&mut self, first: Outcome) -> Outcome {
        let Ok(Verdict { action: Action::Neighbour, ifindex, .. }) = first.verdict else { return first };
        let program = if ifindex == self.node.config.host_ifindex {
            Program::HostEgress
        } else if self.around.native.contains(&ifindex) {
            Program::NetdevEgress
        } else {
            return first;
        };
        let before = source_of(&first.frame);
        let sent = Sent { frame: first.frame, ifindex, mark: first.mark, tunnel: None, gso: false };
        let next = sim::run(self.node, program, sent);
        self.steps.push(format!("{} on {}", name(program), self.around.device(ifindex)));
        let after = source_of(&next.frame);
        let text = match (next.verdict, before == after) {
            (Ok(Verdict { action: Action::Pass | Action::Own, .. }), true) => {
                "leaves with its own address".to_owned()
            }
            (Ok(Verdict { action: Action::Pass, .. }), false) => {
                format!("leaves masqueraded, as {}", after.map_or(String::new(), |ip| ip.to_string()))
            }
            _ => self.way(&next),
        };
        self.steps.push(text);
        next
    }

    fn way(&self, outcome: &Outcome) -> String {
        let verdict = match outcome.verdict {
            Err(reason) => return format!("dropped: {}", reason.text()),
            Ok(verdict) => verdict,
        };
        let device = self.around.device(verdict.ifindex);
        match verdict.action {
            Action::Pass | Action::Own => match self.prepared.program {
                Program::NetdevEgress => "leaves by the node's own stack".to_owned(),
                _ => "left to the node's stack".to_owned(),
            },
            Action::Stack if self.prepared.destination.host => {
                "up this node's stack, to the node itself".to_owned()
            }
            Action::Stack => "up this node's stack, which routes it".to_owned(),
            Action::Pod => match self.node.pods.get(&verdict.ifindex) {
                Some(facts) => format!("into endpoint {} through {device}", facts.endpoint),
                None => format!("into the pod behind {device}"),
            },
            Action::Neighbour => format!("out of {device} to {}", verdict.gateway),
            Action::Tunnel => {
                format!("through the tunnel to node {} as identity {}", verdict.gateway, verdict.identity)
            }
            Action::Reply => format!("answered through {device}"),
            Action::Transmit => format!("out of {device} before the stack"),
        }
    }
}

/// The name of a program in the kernel object.
fn name(program: Program) -> &'static str {
    match program {
        Program::PodEgress => "pod_egress",
        Program::NetdevIngress => "netdev_ingress",
        Program::XdpIngress => "xdp_ingress",
        Program::NetdevEgress => "netdev_egress",
        Program::OverlayIngress => "overlay_ingress",
        Program::HostEgress => "host_egress",
    }
}

const fn reason_text(reason: u8) -> &'static str {
    const ESTABLISHED: u8 = TraceReason::Established as u8;
    const REPLY: u8 = TraceReason::Reply as u8;
    const NEW: u8 = TraceReason::New as u8;
    const RELATED: u8 = TraceReason::Related as u8;
    match reason {
        NEW => ", first packet of a new connection",
        ESTABLISHED => ", packet of a tracked connection",
        REPLY => ", reply in a tracked connection",
        RELATED => ", error about a tracked connection",
        _ => "",
    }
}

fn source_of(frame: &[u8]) -> Option<IpAddr> {
    let at = L3 as usize;
    match frame.get(12..14)? {
        [0x08, 0x00] => <[u8; 4]>::try_from(frame.get(at + 12..at + 16)?).ok().map(IpAddr::from),
        [0x86, 0xdd] => <[u8; 16]>::try_from(frame.get(at + 8..at + 24)?).ok().map(IpAddr::from),
        _ => None,
    }
}

/// What the first program reported.
struct Seen {
    /// Sender and receiver, as the program took them.
    identities: (u32, u32),
    /// Their numbers among the endpoints of this node, 0 for others; of a service it is the backend's.
    endpoints: (u16, u16),
    /// How the packet stands to its flow, once policy had let it pass.
    passed: Option<u8>,
    verdicts: Vec<Event>,
}

impl Seen {
    fn of(events: &[(Event, Vec<u8>)], prepared: &Prepared) -> Self {
        let of_kind =
            |kind: EventKind| events.iter().map(|(event, _)| event).filter(move |e| e.kind == kind as u8);
        let passed = of_kind(EventKind::Trace).next();
        let told = passed.or(of_kind(EventKind::Drop).next());
        // A packet that was dropped early, or was none of the program's business, was not looked at so closely.
        let identity = |told: Option<u32>, who: &Who| told.filter(|i| *i != 0).unwrap_or(who.identity);
        Seen {
            identities: (
                identity(told.map(|e| e.source_identity), &prepared.source),
                identity(told.map(|e| e.destination_identity), &prepared.destination),
            ),
            endpoints: told.map_or((prepared.source.endpoint, prepared.destination.endpoint), |event| {
                (event.source_endpoint, event.destination_endpoint)
            }),
            passed: passed.map(|e| e.reason),
            verdicts: of_kind(EventKind::PolicyVerdict).copied().collect(),
        }
    }

    fn verdict(&self, egress: bool) -> Option<&Event> {
        self.verdicts.iter().find(|event| (event.flags & EGRESS != 0) == egress)
    }
}

/// What policy said at the ends that are pods of this node, or the node itself: the client's first. Programs only report verdicts of policies
/// that select the pod, and of tracked connections none; the flow tells the rest.
fn decisions(node: &Node, prepared: &Prepared, seen: &Seen) -> Vec<Decision> {
    if seen.passed.is_none() && seen.verdicts.is_empty() {
        return Vec::new();
    }
    let mut decisions = Vec::new();
    let (sender, receiver) = seen.endpoints;
    let (client, server) = if is_reply(seen) { (receiver, sender) } else { (sender, receiver) };
    if client == server {
        return decisions;
    }
    let flow = flow_of(node, prepared);
    for (endpoint, egress) in [(client, true), (server, false)] {
        if endpoint == 0 {
            continue;
        }
        let decision = match seen.verdict(egress) {
            Some(event) => reported(event, egress),
            None => remembered(endpoint, egress, seen, flow),
        };
        let denied = decision.verdict == "DENIED";
        decisions.push(decision);
        if denied {
            break;
        }
    }
    decisions
}

/// Whether the packet travels from the service to its client.
fn is_reply(seen: &Seen) -> bool {
    const REPLY: u8 = TraceReason::Reply as u8;
    match (seen.passed, seen.verdicts.first()) {
        (_, Some(verdict)) => verdict.reason == REPLY,
        (Some(reason), None) => reason == REPLY,
        (None, None) => false,
    }
}

fn flow_of<'a>(node: &'a Node, prepared: &Prepared) -> Option<&'a Flow> {
    node.find(&prepared.question.flow_key())
}

fn decision(endpoint: u16, egress: bool) -> Decision {
    let direction = if egress { "egress" } else { "ingress" };
    Decision { direction: direction.to_owned(), endpoint, ..Decision::default() }
}

fn reported(event: &Event, egress: bool) -> Decision {
    let verdict = match event.code {
        0 if event.flags & AUDITED != 0 => "AUDIT",
        0 => "ALLOWED",
        _ => "DENIED",
    };
    // Endpoint numbers have 16 bits.
    let endpoint = u16::try_from(event.policy_endpoint).unwrap_or_default();
    Decision {
        verdict: verdict.to_owned(),
        matched: matched_text(event.matched).to_owned(),
        cookie: event.cookie,
        ..decision(endpoint, egress)
    }
}

fn remembered(endpoint: u16, egress: bool, seen: &Seen, flow: Option<&Flow>) -> Decision {
    let new = seen.passed.is_none_or(|reason| reason == TraceReason::New as u8);
    let audited = flow.is_some_and(|flow| flow.flags & FLOW_AUDITED != 0);
    let verdict = match (new, audited) {
        (true, _) => "NOT ENFORCED",
        (false, true) => "AUDIT",
        (false, false) => "ALLOWED",
    };
    let cookie = flow.map_or(0, |flow| flow.cookie[usize::from(egress)]);
    Decision { verdict: verdict.to_owned(), cookie, ..decision(endpoint, egress) }
}

/// As `cilium-dbg monitor` has it.
fn matched_text(code: u8) -> &'static str {
    match code {
        matched::L3 => "L3-Only",
        matched::L3_L4 => "L3-L4",
        matched::L4 => "L4-Only",
        matched::ALL => "all",
        matched::L3_PROTOCOL => "L3-Proto",
        matched::PROTOCOL => "Proto-Only",
        _ => "none",
    }
}

/// What another node decides about the same packet.
fn elsewhere(prepared: &Prepared, verdict: Result<Verdict, DropReason>) -> String {
    let of = |who: &Who, ip: IpAddr| match who.node.is_unspecified() {
        true => format!("{ip} on its own node"),
        false => format!("{ip} on its own node ({})", who.node),
    };
    let Prepared { source, destination, question, .. } = prepared;
    // What is dropped here is dropped, whatever others say.
    if verdict.is_err() {
        return String::new();
    }
    if source.is_remote_pod() {
        return format!("the egress policy of {} was asked before", of(source, question.source));
    }
    if destination.is_remote_pod() {
        return format!(
            "the ingress policy of {} has yet to be asked",
            of(destination, question.destination)
        );
    }
    String::new()
}
