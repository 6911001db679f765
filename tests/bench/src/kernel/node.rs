//! A node in the kernel's maps, as an agent would leave it, and packets for its programs.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use abi::tables::{EGRESS, INGRESS, IPCACHE_HOST, IPCACHE_TUNNEL};
use abi::{Addr, IpcacheEntry, NodeConfig, PodFacts, PolicyEntry, PolicyKey, PrefixKey, config, identity};
use anyhow::{Context, Result, ensure};
use kernel_tests::pair::{ETH0, HOST, POD_A, POD_B, TUNNEL, addr, mac};
use kernel_tests::place::{Place, object};
use loader::testrun::{SkBuff, empty_program, test_run};
use loader::{EventReader, LoadOptions, Object, PolicyContent, PolicyTables, PolicyTrieKey};
use sim::frame::{Spec, build};

/// `TC_ACT_SHOT`.
pub(super) const SHOT: u32 = 2;
/// `TC_ACT_REDIRECT`.
pub(super) const REDIRECT: u32 = 7;
/// TCP flags.
pub(super) const SYN: u8 = 2;
pub(super) const ACK: u8 = 16;
/// Identities of the two pods and of the pod on the other node.
const IDENTITY_A: u32 = 1001;
const IDENTITY_B: u32 = 1002;
const IDENTITY_REMOTE: u32 = 1003;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The programs with their node.
pub(super) struct Node {
    pub(super) object: Object,
    pub(super) tunnel: bool,
    policies: PolicyTables,
    empty: OwnedFd,
    _events: EventReader,
    _place: Place,
}

/// Where packets of a case come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Pod to pod of this node, at the sender's device.
    PodToPod,
    /// Pod to a pod of another node, at the sender's device.
    PodToRemote,
    /// From a pod of another node to one of ours, at the native device (or out of the tunnel).
    RemoteToPod,
    /// The node itself to one of its pods.
    HostToPod,
    /// Pod to an address outside of the cluster.
    PodToWorld,
}

/// A packet, the program that handles it, and its context.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) program: &'static str,
    pub(super) frame: Vec<u8>,
    pub(super) ctx: SkBuff,
}

impl Node {
    /// Loads the programs in namespaces of the calling thread's own.
    pub(super) fn new(tunnel: bool) -> Result<Node> {
        let place = Place::enter()?.context("measuring programs needs root")?;
        let config = config(tunnel);
        let options = LoadOptions { bpffs: place.bpffs(), config: &config, sizes: Default::default() };
        let object = Object::load(&object()?, &options).context("loading the kernel object")?;
        let policies = PolicyTables::adopt(object.maps.policies.try_clone()?, 4)?;
        // What is reported is read, as in an agent: a full ring would be cheaper to write to.
        let lost = loader::PerCpu::open(&loader::globals(place.bpffs()).join(abi::maps::LOST))?;
        let events = EventReader::start(&object.maps.events, lost, |_| true)?;
        let empty = empty_program().context("loading an empty program")?;
        let mut node = Node { object, tunnel, policies, empty, _events: events, _place: place };
        node.report(true)?;
        node.addresses()?;
        node.set_policy_entries(1)?;
        Ok(node)
    }

    fn addresses(&self) -> Result<()> {
        let flags = if self.tunnel { IPCACHE_TUNNEL } else { 0 };
        let remote = IpcacheEntry { identity: IDENTITY_REMOTE, flags, node: addr("172.31.0.12") };
        let own = IpcacheEntry { identity: identity::HOST, flags: IPCACHE_HOST, node: Addr::UNSPECIFIED };
        let other = IpcacheEntry { identity: identity::REMOTE_NODE, ..IpcacheEntry::default() };
        let maps = &self.object.maps;
        for (address, entry) in
            [("10.244.2.20", remote), ("172.31.0.11", own), ("10.244.1.1", own), ("172.31.0.12", other)]
        {
            maps.hosts.insert(&addr(address), &entry)?;
        }
        let outside = IpcacheEntry { identity: identity::LOCAL_MIN, ..IpcacheEntry::default() };
        maps.prefixes.insert(&PrefixKey { len: 120, addr: addr("203.0.113.0") }, &outside)?;
        Ok(())
    }

    /// Gives both pods a policy in which the tests' peers may do TCP, with entries for others up to `count`.
    pub(super) fn set_policy_entries(&mut self, count: usize) -> Result<()> {
        let mut content = PolicyContent::new();
        let mut allow = |identity, direction, cookie| {
            let key = PolicyKey { identity, block: 0, direction, protocol: TCP, port: 0 };
            let entry = PolicyEntry { precedence: 1, cookie, bits: 8, ..PolicyEntry::default() };
            content.insert(PolicyTrieKey::new(key, &entry), entry);
        };
        for direction in [INGRESS, EGRESS] {
            for peer in [IDENTITY_A, IDENTITY_B, IDENTITY_REMOTE, identity::HOST, identity::LOCAL_MIN] {
                allow(peer, direction, 7);
            }
        }
        for i in 10..count {
            allow(10_000 + i as u32, if i % 2 == 0 { INGRESS } else { EGRESS }, 8);
        }
        self.give(&content)
    }

    /// Gives both pods a policy in which the world may be reached by TCP, with entries for others up to `count`, spread over
    /// the numbers that identities have.
    pub(super) fn set_entries_for_the_world(&mut self, count: usize) -> Result<()> {
        let entry = PolicyEntry { precedence: 1, cookie: 7, bits: 8, ..PolicyEntry::default() };
        let numbers = (0..count.saturating_sub(1) as u32).map(|i| 256 + i);
        let content = numbers.chain([identity::LOCAL_MIN]).map(|identity| {
            let key = PolicyKey { identity, block: 0, direction: EGRESS, protocol: TCP, port: 0 };
            (PolicyTrieKey::new(key, &entry), entry)
        });
        self.give(&content.collect())
    }

    fn give(&mut self, content: &PolicyContent) -> Result<()> {
        let slot = self.policies.publish(content).context("publishing a policy table")?;
        for (index, (ifindex, last)) in [(POD_A, 0x0a), (POD_B, 0x0b)].into_iter().enumerate() {
            let facts = PodFacts {
                identity: [IDENTITY_A, IDENTITY_B][index],
                policy: slot,
                v4: addr(["10.244.1.10", "10.244.1.11"][index]),
                v6: addr(["fd00:10:244:1::10", "fd00:10:244:1::11"][index]),
                mac: mac(last),
                host_mac: mac(last | 0x80),
                endpoint: 101 + index as u16,
                ..PodFacts::default()
            };
            self.object.maps.pods.insert(&ifindex, &facts)?;
            self.object.maps.local.insert(&facts.v4, &ifindex)?;
        }
        self.bump()
    }

    /// Adds or removes `count` addresses of pods elsewhere.
    pub(super) fn set_identities(&self, count: u32, there: bool) -> Result<()> {
        let key = |i: u32| addr(&format!("10.{}.{}.{}", 100 + (i >> 16), (i >> 8) & 0xff, i & 0xff));
        let hosts = &self.object.maps.hosts;
        let failed = if there {
            let entry =
                |i| IpcacheEntry { identity: 20_000 + i % 40_000, flags: 0, node: addr("172.31.0.12") };
            hosts.upsert_batch(&(0..count).map(|i| (key(i), entry(i))).collect::<Vec<_>>())
        } else {
            hosts.delete_batch(&(0..count).map(key).collect::<Vec<_>>())
        };
        ensure!(failed.is_empty(), "{} of {count} addresses were refused", failed.len());
        self.bump()
    }

    /// Adds or removes `count` prefixes outside of the cluster.
    pub(super) fn set_prefixes(&self, count: u32, there: bool) -> Result<()> {
        let key = |i: u32| PrefixKey {
            len: 120,
            addr: addr(&format!("{}.{}.{}.0", 20 + (i >> 16), (i >> 8) & 0xff, i & 0xff)),
        };
        let prefixes = &self.object.maps.prefixes;
        let failed = if there {
            let entry = |i| IpcacheEntry { identity: identity::LOCAL_MIN + 1 + i, ..IpcacheEntry::default() };
            prefixes.upsert_batch(&(0..count).map(|i| (key(i), entry(i))).collect::<Vec<_>>())
        } else {
            prefixes.delete_batch(&(0..count).map(key).collect::<Vec<_>>())
        };
        ensure!(failed.is_empty(), "{} of {count} prefixes were refused", failed.len());
        self.bump()
    }

    /// A new generation: every flow is decided again.
    pub(super) fn bump(&self) -> Result<()> {
        self.object.maps.epoch.bump()?;
        Ok(())
    }

    /// Reports flows and drops as by default, or nothing.
    pub(super) fn report(&self, on: bool) -> Result<()> {
        Ok(self.object.maps.monitor.set(u32::from(on))?)
    }

    /// Forgets all flows.
    pub(super) fn forget(&self) -> Result<()> {
        self.object.maps.flows.clear()?;
        self.object.maps.half_open.clear()?;
        self.object.maps.nat.clear()?;
        Ok(())
    }

    /// Runs the packet's program on it once; what it returned.
    pub(super) fn run(&self, packet: &Packet) -> Result<u32> {
        let program =
            self.object.program(packet.program).with_context(|| format!("no program {}", packet.program))?;
        Ok(test_run(program, &packet.frame, &packet.ctx, 1)?.retval)
    }

    /// The same with an empty program.
    pub(super) fn run_empty(&self, packet: &Packet) -> Result<u32> {
        Ok(test_run(&self.empty, &packet.frame, &packet.ctx, 1)?.retval)
    }

    /// Mean ns of a run of the packet's program and of the empty one, in a row without a system call in between. Only for
    /// packets that the program leaves as it found them from the second run on.
    pub(super) fn in_a_row(&self, packet: &Packet, runs: u32) -> Result<[f64; 2]> {
        let program =
            self.object.program(packet.program).with_context(|| format!("no program {}", packet.program))?;
        let ours = test_run(program, &packet.frame, &packet.ctx, runs)?;
        let empty = test_run(&self.empty, &packet.frame, &packet.ctx, runs)?;
        ensure!(ours.retval == REDIRECT, "{} returned {} in the end", packet.program, ours.retval);
        Ok([ours.duration.as_nanos() as f64, empty.duration.as_nanos() as f64])
    }

    /// Time spent in a program (the empty one without a name) and number of its runs, as the kernel counts them.
    pub(super) fn counted(&self, program: Option<&str>) -> Result<(u64, u64)> {
        let fd = match program {
            Some(name) => self.object.program(name).with_context(|| format!("no program {name}"))?.as_fd(),
            None => self.empty.as_fd(),
        };
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let value = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
        };
        Ok((value("run_time_ns").context("no run_time_ns")?, value("run_cnt").context("no run_cnt")?))
    }

    /// A packet of flow number `flow` on `way`; `back` from the side that did not start.
    pub(super) fn packet(&self, way: Way, flow: u32, back: bool, flags: u8) -> Packet {
        self.build(way, flow, back, flags, TCP)
    }

    /// A packet that no policy of the node allows.
    pub(super) fn denied(&self, flow: u32) -> Packet {
        self.build(Way::PodToPod, flow, false, 0, UDP)
    }

    fn build(&self, way: Way, flow: u32, back: bool, flags: u8, protocol: u8) -> Packet {
        let (from, to) = ends(way);
        let (from, to) = if back { (to, from) } else { (from, to) };
        let client = (10_000 + flow % 50_000) as u16;
        let server = (8000 + flow / 50_000) as u16;
        let (source_port, destination_port) = if back { (server, client) } else { (client, server) };
        let (program, ifindex, source_mac, destination_mac) = self.door(from);
        let spec = Spec {
            source_mac,
            destination_mac,
            source: from.parse().unwrap_or([0; 4].into()),
            destination: to.parse().unwrap_or([0; 4].into()),
            protocol,
            source_port,
            destination_port,
            flags,
            hops: 64,
        };
        let mut ctx = SkBuff { ifindex, ..SkBuff::default() };
        if program == "overlay_ingress" {
            // A recorded run takes the tunnel header from here.
            (ctx.cb[0], ctx.cb[1]) = (IDENTITY_REMOTE, addr("172.31.0.12").v4_word());
        }
        Packet { program, frame: build(&spec), ctx }
    }

    /// Where a packet from this address meets our programs first: program, device, link addresses.
    fn door(&self, from: &str) -> (&'static str, u32, [u8; 6], [u8; 6]) {
        match from {
            POD_A_V4 => ("pod_egress", POD_A, mac(0x0a), mac(0x8a)),
            POD_B_V4 => ("pod_egress", POD_B, mac(0x0b), mac(0x8b)),
            HOST_V4 => ("host_egress", HOST, mac(0x20), mac(0x21)),
            _ if self.tunnel && from == REMOTE_V4 => ("overlay_ingress", TUNNEL, mac(0x40), mac(0x41)),
            _ => ("netdev_ingress", ETH0, mac(0x30), mac(0x31)),
        }
    }
}

const POD_A_V4: &str = "10.244.1.10";
const POD_B_V4: &str = "10.244.1.11";
const REMOTE_V4: &str = "10.244.2.20";
const HOST_V4: &str = "10.244.1.1";
const WORLD_V4: &str = "203.0.113.7";

/// Addresses of the side that starts and of the other.
fn ends(way: Way) -> (&'static str, &'static str) {
    match way {
        Way::PodToPod => (POD_A_V4, POD_B_V4),
        Way::PodToRemote => (POD_A_V4, REMOTE_V4),
        Way::RemoteToPod => (REMOTE_V4, POD_A_V4),
        Way::HostToPod => (HOST_V4, POD_A_V4),
        Way::PodToWorld => (POD_A_V4, WORLD_V4),
    }
}

fn config(tunnel: bool) -> NodeConfig {
    let mut features = config::MASQUERADE_V4 | config::MASQUERADE_V6 | config::SOURCE_CHECK;
    if tunnel {
        // Only a recorded run can be given a tunnel header; it costs four words written a packet.
        features |= config::TUNNEL | config::RECORD_VERDICT;
    }
    NodeConfig {
        node_v4: addr("172.31.0.11"),
        node_v6: addr("fd00:31::11"),
        router_v4: addr(HOST_V4),
        router_v6: addr("fd00:10:244:1::1"),
        native_v4: addr("10.244.0.0"),
        native_v4_len: 112,
        native_mtu: 1500,
        maglev_size: abi::service::MAGLEV_SIZE,
        tunnel_mtu: 1450,
        tunnel_port: 8472,
        tunnel_ifindex: if tunnel { TUNNEL } else { 0 },
        host_ifindex: HOST,
        nat_port_min: 32768,
        nat_port_max: 65535,
        world_v4: identity::WORLD_IPV4,
        world_v6: identity::WORLD_IPV6,
        features,
        ..NodeConfig::default()
    }
}
