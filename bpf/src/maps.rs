//! The maps of all programs. Names, keys and values are those of `abi`.

use abi::maps::{Counter, FragmentKey, FragmentPorts, size};
use abi::{Addr, Affinity, AffinityKey, Backend, Event, Flow, FlowKey, Frontend, FrontendKey, IpcacheEntry, MemberKey};
use abi::{NatKey, NatValue, NodeConfig, PodFacts, PolicyEntry, PolicyKey, SocketEvent, SocketKey, SocketValue};
use datapath::Work;
use aya_ebpf::btf_maps::{Array as BtfArray, ArrayOfMaps, LpmTrie as BtfLpmTrie};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};

#[map]
pub static AX_EVENTS: RingBuf = RingBuf::with_byte_size(size::EVENTS, 0);
#[map]
pub static AX_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static AX_METRICS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(size::METRICS, 0);
#[map]
pub static AX_EPOCH: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static AX_SERVEPOCH: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static AX_MONITOR: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static AX_PODS: HashMap<u32, PodFacts> = HashMap::with_max_entries(size::PODS, 0);
#[map]
pub static AX_LOCAL: HashMap<Addr, u32> = HashMap::with_max_entries(size::LOCAL, 0);
#[map]
pub static AX_HOSTS: HashMap<Addr, IpcacheEntry> = HashMap::with_max_entries(size::HOSTS, NO_PREALLOC);
#[map]
pub static AX_PREFIXES: LpmTrie<Addr, IpcacheEntry> = LpmTrie::with_max_entries(size::PREFIXES, NO_PREALLOC);
#[map]
pub static AX_NOMASQ: LpmTrie<Addr, u32> = LpmTrie::with_max_entries(size::NO_MASQUERADE, NO_PREALLOC);
#[map]
pub static AX_BLOCKS: LpmTrie<Addr, u32> = LpmTrie::with_max_entries(size::BLOCKS, NO_PREALLOC);
#[btf_map]
pub static AX_POLICIES: ArrayOfMaps<BtfLpmTrie<PolicyKey, PolicyEntry, { size::POLICY as usize }>, { size::POLICIES as usize }> =
    ArrayOfMaps::new();
#[map]
pub static AX_FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(size::FLOWS, 0);
#[map]
pub static AX_HALFOPEN: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(size::HALF_OPEN, 0);
#[map]
pub static AX_NAT: HashMap<NatKey, NatValue> = HashMap::with_max_entries(size::NAT, NO_PREALLOC);
#[map]
pub static AX_NATOPEN: LruHashMap<NatKey, NatValue> = LruHashMap::with_max_entries(size::NAT_HALF_OPEN, 0);
#[map]
pub static AX_FRONTENDS: HashMap<FrontendKey, Frontend> = HashMap::with_max_entries(size::FRONTENDS, NO_PREALLOC);
#[map]
pub static AX_BACKENDS: Array<Backend> = Array::with_max_entries(size::BACKENDS, 0);
#[map]
pub static AX_MEMBERS: HashMap<MemberKey, u32> = HashMap::with_max_entries(size::MEMBERS, NO_PREALLOC);
/// Many rows to an element: the kernel rounds each up to eight bytes. Tables have as many elements as they need.
pub type MaglevPiece = [u16; abi::service::MAGLEV_PIECE as usize];
#[btf_map]
pub static AX_MAGLEV: ArrayOfMaps<BtfArray<MaglevPiece, 1, ANY_LENGTH>, { size::MAGLEV as usize }> = ArrayOfMaps::new();
#[map]
pub static AX_AFFINITY: LruHashMap<AffinityKey, Affinity> = LruHashMap::with_max_entries(size::AFFINITY, 0);
#[map]
pub static AX_RANGES: LpmTrie<SourceRange, u32> = LpmTrie::with_max_entries(size::SOURCE_RANGES, NO_PREALLOC);
#[map]
pub static AX_SOCKETS: LruHashMap<SocketKey, SocketValue> = LruHashMap::with_max_entries(size::SOCKETS, 0);
#[map]
pub static AX_FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts> = LruHashMap::with_max_entries(size::FRAGMENTS, 0);
/// What is known of the packet in hand.
#[map]
pub static AX_WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// What follows the length in [`abi::SourceRangeKey`].
#[repr(C)]
pub struct SourceRange {
    pub service: u32,
    pub addr: Addr,
}

/// Inner maps of an array may be longer or shorter than the one declared (kernel 5.10).
const ANY_LENGTH: usize = 0x1000;
/// Memory follows the entries, not the limit.
const NO_PREALLOC: u32 = 1;

/// Facts of this node; the loader writes them before the kernel freezes this section.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
pub static CONFIG: NodeConfig = NodeConfig {
    node_v4: Addr::UNSPECIFIED,
    node_v6: Addr::UNSPECIFIED,
    router_v4: Addr::UNSPECIFIED,
    router_v6: Addr::UNSPECIFIED,
    native_v4: Addr::UNSPECIFIED,
    native_v6: Addr::UNSPECIFIED,
    loopback_v4: Addr::UNSPECIFIED,
    loopback_v6: Addr::UNSPECIFIED,
    host_cookie: 0,
    native_v4_len: 0,
    native_v6_len: 0,
    host_ifindex: 0,
    tunnel_ifindex: 0,
    native_mtu: 0,
    tunnel_mtu: 0,
    nat_port_min: 0,
    nat_port_max: 0,
    world_v4: 0,
    world_v6: 0,
    tunnel_port: 0,
    node_port_min: 0,
    node_port_max: 0,
    maglev_size: 0,
    features: 0,
    host_mac: [0; 6],
    _pad: [0; 6],
};

/// A record of the event ring about a socket.
#[repr(C)]
pub struct SocketRecord {
    pub event: Event,
    pub socket: SocketEvent,
}

/// A record of the event ring about a packet.
#[repr(C)]
pub struct Record {
    pub event: Event,
    pub packet: [u8; abi::event::CAPTURE],
}
