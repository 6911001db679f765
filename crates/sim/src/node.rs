//! A node: its configuration and all maps.

use std::collections::HashMap;

use abi::event::CAPTURE;
use abi::maps::{FragmentKey, FragmentPorts};
use abi::{Addr, Affinity, AffinityKey, Backend, Event, Flow, FlowKey, Frontend, FrontendKey, IpcacheEntry};
use abi::{MemberKey, NatKey, NatValue, NodeConfig, PodFacts, SocketKey, SocketValue, SourceRangeKey};
use datapath::Work;

use crate::table::PolicyTable;

/// A route of the node, in the 128-bit space.
#[derive(Clone, Copy, Debug)]
pub struct RouteEntry {
    /// Destination.
    pub base: Addr,
    /// Prefix length in the 128-bit space.
    pub len: u32,
    /// Device.
    pub ifindex: u32,
    /// Next hop; unspecified = the destination itself is on the link.
    pub gateway: Addr,
}

/// One node.
#[derive(Default)]
pub struct Node {
    /// Facts of this node.
    pub config: NodeConfig,
    /// Pods by interface.
    pub pods: HashMap<u32, PodFacts>,
    /// Interfaces by pod address.
    pub local: HashMap<Addr, u32>,
    /// Single addresses.
    pub hosts: HashMap<Addr, IpcacheEntry>,
    /// Prefixes: base, length, entry.
    pub prefixes: Vec<(Addr, u32, IpcacheEntry)>,
    /// Prefixes that policies name: base, length, number.
    pub blocks: Vec<(Addr, u32, u32)>,
    /// Prefixes never masqueraded.
    pub never_masqueraded: Vec<(Addr, u32)>,
    /// Policy tables by slot.
    pub policies: HashMap<u32, PolicyTable>,
    /// Answered flows.
    pub flows: HashMap<FlowKey, Box<Flow>>,
    /// Flows that nobody answered yet.
    pub half_open: HashMap<FlowKey, Box<Flow>>,
    /// Most answered flows that fit; 0 = no limit.
    pub flow_limit: usize,
    /// Translated connections that were answered.
    pub nat: HashMap<NatKey, Box<NatValue>>,
    /// Translated connections that nobody answered yet.
    pub nat_half_open: HashMap<NatKey, Box<NatValue>>,
    /// Most answered translated connections that fit, two entries each; 0 = no limit.
    pub nat_limit: usize,
    /// Services by address.
    pub frontends: HashMap<FrontendKey, Frontend>,
    /// Slots of backends.
    pub backends: HashMap<u32, Backend>,
    /// Backends of services.
    pub members: HashMap<MemberKey, u32>,
    /// Maglev tables.
    pub maglev: HashMap<u32, Vec<u16>>,
    /// Clients bound to backends.
    pub affinity: HashMap<AffinityKey, Affinity>,
    /// Source ranges of services.
    pub source_ranges: Vec<SourceRangeKey>,
    /// Sockets that were translated.
    pub sockets: HashMap<SocketKey, SocketValue>,
    /// Fragmented datagrams.
    pub fragments: HashMap<FragmentKey, FragmentPorts>,
    /// The node's routes.
    pub routes: Vec<RouteEntry>,
    /// Generation of policy, ipcache and routes.
    pub epoch: u32,
    /// Generation of services.
    pub services_epoch: u32,
    /// How much to report.
    pub monitor: u32,
    /// Monotonic clock, ns.
    pub now: u64,
    /// What was reported, with the captured bytes.
    pub events: Vec<(Event, Vec<u8>)>,
    /// Packets and bytes by reason (0 = forwarded) and "egress".
    pub counters: HashMap<(u8, bool), (u64, u64)>,
    /// State of the random number generator.
    pub seed: u32,
    /// A writer on another CPU raises the generation whenever a policy was read.
    #[cfg(test)]
    pub(crate) writer: Option<std::cell::Cell<u32>>,
    pub(crate) work: Work,
    /// Entries removed during a run: the kernel keeps them readable until the run is over, and so do we.
    #[expect(clippy::vec_box, reason = "the entry has to stay where a FlowRef points")]
    pub(crate) removed: Vec<Box<Flow>>,
    /// Likewise.
    #[expect(clippy::vec_box, reason = "the entry has to stay where a NatRef points")]
    pub(crate) removed_nat: Vec<Box<NatValue>>,
}

impl Node {
    /// Attaches a pod: its facts by interface, its addresses.
    pub fn attach(&mut self, ifindex: u32, facts: PodFacts) {
        for addr in [facts.v4, facts.v6] {
            if !addr.is_unspecified() {
                self.local.insert(addr, ifindex);
            }
        }
        self.pods.insert(ifindex, facts);
    }

    /// The flow with this key in either table.
    pub fn find(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(key).or_else(|| self.half_open.get(key)).map(Box::as_ref)
    }

    /// Packets counted under a reason (0 = forwarded), both directions.
    pub fn counted(&self, reason: u8) -> u64 {
        [false, true]
            .iter()
            .filter_map(|egress| self.counters.get(&(reason, *egress)))
            .map(|(packets, _)| packets)
            .sum()
    }

    pub(crate) fn record(&mut self, event: Event, packet: &[u8]) {
        let captured = packet.len().min(CAPTURE);
        self.events.push((event, packet[..captured].to_vec()));
    }
}
