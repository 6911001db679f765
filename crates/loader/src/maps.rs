//! All pinned maps of the datapath, each with its types.

use std::path::{Path, PathBuf};

use abi::{
    Addr, Backend, Flow, FlowKey, Frontend, FrontendKey, IpcacheEntry, MemberKey, NatKey, NatValue, PodFacts,
    PrefixKey, SocketKey, SocketValue, SourceRangeKey,
    maps::{self, Counter, FragmentKey, FragmentPorts},
};

use crate::{
    array::{PerCpu, Scalar},
    map::{Map, MapError},
    table::Table,
};

/// Where maps are pinned below the root of a bpffs.
pub fn globals(bpffs: &Path) -> PathBuf {
    bpffs.join("tc/globals")
}

/// The datapath's maps, open. The agent gets them after the load, tools open them where they are pinned.
#[derive(Debug)]
pub struct Maps {
    /// Interface index of a pod's host-side device → the pod.
    pub pods: Table<u32, PodFacts>,
    /// Address of a pod of this node → interface index.
    pub local: Table<Addr, u32>,
    /// Single address → identity and node.
    pub hosts: Table<Addr, IpcacheEntry>,
    /// Prefix → identity and node.
    pub prefixes: Table<PrefixKey, IpcacheEntry>,
    /// Prefix that policies name → its number.
    pub blocks: Table<PrefixKey, u32>,
    /// Destinations never masqueraded.
    pub no_masquerade: Table<PrefixKey, u32>,
    /// Answered flows.
    pub flows: Table<FlowKey, Flow>,
    /// Flows that nobody answered yet.
    pub half_open: Table<FlowKey, Flow>,
    /// Translated connections that were answered.
    pub nat: Table<NatKey, NatValue>,
    /// Translated connections that nobody answered yet.
    pub nat_half_open: Table<NatKey, NatValue>,
    /// Addresses of services.
    pub frontends: Table<FrontendKey, Frontend>,
    /// Slots of backends.
    pub backends: Table<u32, Backend>,
    /// Backends of services.
    pub members: Table<MemberKey, u32>,
    /// Source ranges of services.
    pub source_ranges: Table<SourceRangeKey, u32>,
    /// Sockets that were translated.
    pub sockets: Table<SocketKey, SocketValue>,
    /// Slot → Maglev table; see [`crate::MaglevTables`].
    pub maglev: Map,
    /// Fragmented datagrams under way.
    pub fragments: Table<FragmentKey, FragmentPorts>,
    /// Generation of policy, ipcache and routes: bumped after every change of the above.
    pub epoch: Scalar,
    /// Generation of services: bumped after every change to their tables.
    pub services_epoch: Scalar,
    /// What is reported: 0 nothing, 1 aggregated, 2 every packet.
    pub monitor: Scalar,
    /// Packets and bytes by `reason * 2 + direction`.
    pub metrics: PerCpu<Counter>,
    /// Events that found no room in the ring.
    pub lost: PerCpu<u64>,
    /// Slot → policy table; see [`crate::PolicyTables`].
    pub policies: Map,
    /// The event ring; see [`crate::EventReader`].
    pub events: Map,
}

impl Maps {
    /// Opens all maps where they are pinned.
    ///
    /// # Errors
    /// When one is missing or was made by another version.
    pub fn open(bpffs: &Path) -> Result<Self, MapError> {
        let at = |name: &str| globals(bpffs).join(name);
        Ok(Maps {
            pods: Table::open(&at(maps::PODS))?,
            local: Table::open(&at(maps::LOCAL))?,
            hosts: Table::open(&at(maps::HOSTS))?,
            prefixes: Table::open(&at(maps::PREFIXES))?,
            blocks: Table::open(&at(maps::BLOCKS))?,
            no_masquerade: Table::open(&at(maps::NO_MASQUERADE))?,
            flows: Table::open(&at(maps::FLOWS))?,
            half_open: Table::open(&at(maps::HALF_OPEN))?,
            nat: Table::open(&at(maps::NAT))?,
            nat_half_open: Table::open(&at(maps::NAT_HALF_OPEN))?,
            frontends: Table::open(&at(maps::FRONTENDS))?,
            backends: Table::open(&at(maps::BACKENDS))?,
            members: Table::open(&at(maps::MEMBERS))?,
            source_ranges: Table::open(&at(maps::SOURCE_RANGES))?,
            sockets: Table::open(&at(maps::SOCKETS))?,
            maglev: Map::open(&at(maps::MAGLEV))?,
            fragments: Table::open(&at(maps::FRAGMENTS))?,
            epoch: Scalar::open(&at(maps::EPOCH))?,
            services_epoch: Scalar::open(&at(maps::SERVICES_EPOCH))?,
            monitor: Scalar::open(&at(maps::MONITOR))?,
            metrics: PerCpu::open(&at(maps::METRICS))?,
            lost: PerCpu::open(&at(maps::LOST))?,
            policies: Map::open(&at(maps::POLICIES))?,
            events: Map::open(&at(maps::EVENTS))?,
        })
    }
}
