//! What is known of the packet in hand.

use abi::{Addr, Affinity, Backend, Event, Flow, FlowKey, Frontend, NatKey, NatValue, Range, TraceReason};

use crate::env::{Action, TunnelKey, Verdict};
use crate::packet::Packet;
use crate::policy::Opinion;
use crate::side::Side;

/// Everything that the steps of one packet hand to each other. It lies in per-CPU memory, since the stack of a kernel
/// program is 512 bytes for a whole chain of calls, and its functions return one register.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Work {
    /// The packet.
    pub packet: Packet,
    /// The packet that an ICMP error quotes, or one with options or fragments while it is read.
    pub inner: Packet,
    /// 1: what is to be read is the packet that `packet` quotes, 0: the frame's own.
    pub quoted: u32,
    /// Key of the packet's flow.
    pub key: FlowKey,
    /// The side of `key` that sent the packet, 0 or 1.
    pub from: u32,
    /// The generation when the packet came, before anything was looked up: what is decided holds for no later one.
    pub epoch: u32,
    /// What policy is asked about the flow, and what it answered.
    pub decision: Decision,
    /// What one end's policy said of it.
    pub opinion: Opinion,
    /// Who sent the packet.
    pub sender: Side,
    /// Who is to get it.
    pub receiver: Side,
    /// What the tunnel device knows of it.
    pub tunnel: TunnelKey,
    /// What to do with it.
    pub verdict: Verdict,
    /// How it stands to its flow ([`TraceReason`]).
    pub reason: u32,
    /// 1: it is worth a trace event.
    pub report: u32,
    /// 1: this node is a hop on its way. Not so for what the node itself sent, or its stack has forwarded already.
    pub hop: u32,
    /// 1: it is the host's own packet.
    pub own: u32,
    /// 1: the packet was translated, or is to be on its way back.
    pub served: u32,
    /// 1: its client is of this node: the traffic policy for clients inside the cluster applies.
    pub inside: u32,
    /// Key of the translated connection at hand.
    pub nat_key: NatKey,
    /// Its value.
    pub nat: NatValue,
    /// Key of the entry for its other direction.
    pub twin_key: NatKey,
    /// The value of that.
    pub twin: NatValue,
    /// What is to be done next for a packet to a service ([`crate::service::Step`]).
    pub step: u32,
    /// The service at hand.
    pub frontend: Frontend,
    /// Its backends that may be chosen.
    pub range: Range,
    /// The chosen one.
    pub bound: Affinity,
    /// The port to try for it, and the first to try after the packet's own (host order).
    pub port: [u32; 2],
    /// First and last port that may be tried (host order).
    pub ports: [u32; 2],
    /// The event at hand.
    pub event: Event,
    /// Room to build a new flow in.
    pub flow: Flow,
    /// The second in which this CPU last told somebody that policy denies, and how often it did.
    pub told: [u32; 2],
}

/// A question to policy and the answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Decision {
    /// 1: the packet at hand travels from the service to its client.
    pub reply: u32,
    /// 1: the flow is new, so tell the verdicts.
    pub report: u32,
    /// 1: the client's policy is asked, 0: the server's.
    pub egress: u32,
    /// Rule cookies: `[0]` at the receiver (ingress), `[1]` at the sender (egress).
    pub cookie: [u32; 2],
    /// 1: allowed only because of an audit.
    pub audited: u32,
    /// 1: packets of the client leave with the node's address.
    pub masquerade: u32,
}

const NO_KEY: NatKey = NatKey {
    source: Addr::UNSPECIFIED,
    destination: Addr::UNSPECIFIED,
    source_port: 0,
    destination_port: 0,
    protocol: 0,
    direction: 0,
    _pad: 0,
};

const NO_VALUE: NatValue = NatValue {
    source: Addr::UNSPECIFIED,
    destination: Addr::UNSPECIFIED,
    source_port: 0,
    destination_port: 0,
    flags: 0,
    expires: 0,
    service: 0,
    epoch: 0,
};

const NO_RANGE: Range = Range { start: 0, count: 0, maglev: 0 };

impl Work {
    /// Nothing known yet.
    pub const fn new() -> Work {
        Work {
            packet: Packet::EMPTY,
            inner: Packet::EMPTY,
            quoted: 0,
            key: FlowKey { addr: [Addr::UNSPECIFIED; 2], port: [0; 2], protocol: 0, _pad: [0; 3] },
            from: 0,
            epoch: 0,
            decision: Decision { reply: 0, report: 0, egress: 0, cookie: [0; 2], audited: 0, masquerade: 0 },
            opinion: Opinion::NONE,
            sender: Side::remote(0),
            receiver: Side::remote(0),
            tunnel: TunnelKey { identity: 0, remote: Addr::UNSPECIFIED },
            verdict: Verdict::plain(Action::Pass),
            reason: TraceReason::Unknown as u32,
            report: 0,
            hop: 1,
            own: 0,
            served: 0,
            inside: 0,
            nat_key: NO_KEY,
            nat: NO_VALUE,
            twin_key: NO_KEY,
            twin: NO_VALUE,
            step: 0,
            frontend: Frontend { service: 0, flags: 0, external: NO_RANGE, internal: NO_RANGE, affinity: 0 },
            range: NO_RANGE,
            bound: Affinity {
                backend: Backend { addr: Addr::UNSPECIFIED, port: 0, _pad: 0 },
                _pad: 0,
                used: 0,
            },
            port: [0; 2],
            ports: [0; 2],
            event: Event::EMPTY,
            flow: Flow::EMPTY,
            told: [0; 2],
        }
    }

    /// Forgets what an earlier packet left where a later one would read it before it writes.
    #[inline(always)]
    pub fn reset(&mut self) {
        self.packet.flags = 0;
        self.packet.frame = 0;
        self.packet.destination = Addr::UNSPECIFIED;
        self.decision.masquerade = 0;
        self.verdict = Verdict::plain(Action::Pass);
        self.reason = TraceReason::Unknown as u32;
        self.report = 0;
        self.hop = 1;
        self.own = 0;
        self.served = 0;
        self.inside = 0;
    }

    /// Forgets who stood at the ends of an earlier packet. Apart from [`Work::reset`] because the fast path, which asks for
    /// neither, need not pay for it.
    #[inline(always)]
    pub fn nobody(&mut self) {
        self.sender = Side::remote(0);
        self.receiver = Side::remote(0);
    }

    /// Whether a step has decided what to do with the packet.
    #[inline(always)]
    pub fn settled(&self) -> bool {
        self.verdict.action != Action::Pass
    }
}

impl Default for Work {
    fn default() -> Self {
        Work::new()
    }
}
