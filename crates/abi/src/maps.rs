//! Names, as pinned under `<bpffs>/tc/globals/`, and default sizes of all maps.

/// Ring buffer of [`crate::Event`] records followed by packet bytes.
pub const EVENTS: &str = "AX_EVENTS";
/// Per-CPU array of one `u64`: records that found no room in the ring.
pub const LOST: &str = "AX_LOST";
/// Per-CPU array of [`Counter`], indexed by `reason * 2 + direction`.
pub const METRICS: &str = "AX_METRICS";
/// Array of one `u32`: the generation of policy, ipcache and routes. Writers bump it last.
pub const EPOCH: &str = "AX_EPOCH";
/// Array of one `u32`: the generation of services. Writers bump it last.
pub const SERVICES_EPOCH: &str = "AX_SERVEPOCH";
/// Array of one `u32`: 0 silent, 1 drops and verdicts and traces with aggregation, 2 every packet.
pub const MONITOR: &str = "AX_MONITOR";
/// Hash: interface index → [`crate::PodFacts`].
pub const PODS: &str = "AX_PODS";
/// Hash: [`crate::Addr`] of a local pod → interface index of its host-side device.
pub const LOCAL: &str = "AX_LOCAL";
/// Hash: [`crate::Addr`] → [`crate::IpcacheEntry`], single addresses.
pub const HOSTS: &str = "AX_HOSTS";
/// LPM trie: [`crate::PrefixKey`] → [`crate::IpcacheEntry`], prefixes.
pub const PREFIXES: &str = "AX_PREFIXES";
/// LPM trie: [`crate::PrefixKey`] → `u32`, destinations never masqueraded.
pub const NO_MASQUERADE: &str = "AX_NOMASQ";
/// LPM trie: [`crate::PrefixKey`] → `u32`, every prefix that policies name with the identity that it has as a peer outside
/// of the cluster. Here that number stands for the addresses themselves, pods' and nodes' too.
pub const BLOCKS: &str = "AX_BLOCKS";
/// Array of LPM tries: policy slot → table of [`crate::PolicyKey`] → [`crate::PolicyEntry`].
pub const POLICIES: &str = "AX_POLICIES";
/// Hash: [`crate::FlowKey`] → [`crate::Flow`], flows in which both sides have spoken. Never evicts.
pub const FLOWS: &str = "AX_FLOWS";
/// LRU hash: [`crate::FlowKey`] → [`crate::Flow`], flows that only begin. A flood only evicts its own kind.
pub const HALF_OPEN: &str = "AX_HALFOPEN";
/// Hash: [`crate::NatKey`] → [`crate::NatValue`], translated connections in which both sides have spoken. Never evicts.
pub const NAT: &str = "AX_NAT";
/// LRU hash: [`crate::NatKey`] → [`crate::NatValue`], translated connections that only begin.
pub const NAT_HALF_OPEN: &str = "AX_NATOPEN";
/// Hash: [`crate::FrontendKey`] → [`crate::Frontend`].
pub const FRONTENDS: &str = "AX_FRONTENDS";
/// Array: slot → [`crate::Backend`].
pub const BACKENDS: &str = "AX_BACKENDS";
/// Hash: [`crate::MemberKey`] → `u32`, all backends of all services.
pub const MEMBERS: &str = "AX_MEMBERS";
/// Array of arrays: slot → [`crate::NodeConfig::maglev_size`] offsets (`u16`) into a range of backends, in pieces of
/// [`crate::service::MAGLEV_PIECE`].
pub const MAGLEV: &str = "AX_MAGLEV";
/// LRU hash: [`crate::AffinityKey`] → [`crate::Affinity`].
pub const AFFINITY: &str = "AX_AFFINITY";
/// LPM trie: [`crate::SourceRangeKey`] → `u32`.
pub const SOURCE_RANGES: &str = "AX_RANGES";
/// LRU hash: [`crate::SocketKey`] → [`crate::SocketValue`].
pub const SOCKETS: &str = "AX_SOCKETS";
/// LRU hash: [`FragmentKey`] → [`FragmentPorts`].
pub const FRAGMENTS: &str = "AX_FRAGMENTS";

/// Entries of each map unless the agent was told otherwise.
pub mod size {
    /// Bytes of the event ring (a power of two).
    pub const EVENTS: u32 = 4 << 20;
    /// `256 reasons * 2 directions`.
    pub const METRICS: u32 = 512;
    /// Pods of one node.
    pub const PODS: u32 = 4096;
    /// Addresses of local pods.
    pub const LOCAL: u32 = 8192;
    /// Single addresses in the cluster.
    pub const HOSTS: u32 = 512_000;
    /// Prefixes.
    pub const PREFIXES: u32 = 65_536;
    /// Prefixes that policies name.
    pub const BLOCKS: u32 = 65_536;
    /// Destinations never masqueraded.
    pub const NO_MASQUERADE: u32 = 16_384;
    /// Policy tables.
    pub const POLICIES: u32 = 65_536;
    /// Entries of one policy table.
    pub const POLICY: u32 = 65_536;
    /// Answered flows.
    pub const FLOWS: u32 = 524_288;
    /// Flows that nobody answered yet.
    pub const HALF_OPEN: u32 = 131_072;
    /// Answered translated connections (two entries each).
    pub const NAT: u32 = 524_288;
    /// Translated connections that nobody answered yet (two entries each).
    pub const NAT_HALF_OPEN: u32 = 131_072;
    /// Fragmented datagrams under way.
    pub const FRAGMENTS: u32 = 8192;
    /// Frontends of services.
    pub const FRONTENDS: u32 = 131_072;
    /// Slots for backends of services (20 bytes each, allocated at once).
    pub const BACKENDS: u32 = 524_288;
    /// Backends of services.
    pub const MEMBERS: u32 = 524_288;
    /// Maglev tables.
    pub const MAGLEV: u32 = 65_536;
    /// Clients bound to a backend.
    pub const AFFINITY: u32 = 65_536;
    /// Source ranges of services.
    pub const SOURCE_RANGES: u32 = 65_536;
    /// Sockets that were translated.
    pub const SOCKETS: u32 = 262_144;
}

crate::plain! {
/// Packets and bytes.
pub struct Counter { pub packets: u64, pub bytes: u64 } size 16
}

crate::plain! {
/// A fragmented datagram.
pub struct FragmentKey {
    pub source: crate::Addr,
    pub destination: crate::Addr,
    /// Identification field as it lies in the packet.
    pub id: u32,
    pub protocol: u8,
    pub _pad: [u8; 3],
} size 40
}

crate::plain! {
/// Ports of a fragmented datagram, network order.
pub struct FragmentPorts { pub source: u16, pub destination: u16 } size 4
}
