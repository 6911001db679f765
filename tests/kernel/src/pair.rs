//! One node twice.

mod rows;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use abi::tables::{
    EGRESS, INGRESS, IPCACHE_HOST, IPCACHE_TUNNEL, POD_BLOCKS, POLICY_DENY, POLICY_UNENFORCED,
};
use abi::{
    Addr, Flow, FlowKey, IpcacheEntry, NodeConfig, PodFacts, PolicyEntry, PolicyKey, PrefixKey, config,
    identity, maps,
};
use anyhow::{Context, Result, bail};
use datapath::{Action, TunnelKey};
use loader::testrun::{SkBuff, test_run, test_run_xdp};
use loader::{LoadOptions, Maps, Object, PolicyContent, PolicyTables, PolicyTrieKey};
use sim::{Node, Outcome, Program, RouteEntry, Sent};

use crate::place::{Place, object};
use crate::random::Random;

/// Interface indices of the test node.
pub const ETH0: u32 = 102;
/// `cilium_host`.
pub const HOST: u32 = 103;
/// The tunnel device.
pub const TUNNEL: u32 = 105;
/// Host-side device of the first pod.
pub const POD_A: u32 = 110;
/// Host-side device of the second pod.
pub const POD_B: u32 = 111;
/// Identities that policy tables name.
pub const IDENTITIES: &[u32] = &[0, 1, 2, 6, 9, 10, 1001, 1002, 1003, 0x0100_0001];
/// Blocks that policy tables name: two of prefixes, the world of a family.
pub const BLOCKS: &[u32] = &[0x0100_0002, 0x0100_0003, 9];
/// Ports that policy tables and packets name.
pub const PORTS: &[u16] = &[53, 80, 443, 8080, 8472, services::NODE_PORT_NUMBER];

/// The kernel and the simulator with equal tables.
pub struct Pair {
    /// The simulator's node.
    pub node: Node,
    object: Object,
    policies: PolicyTables,
    place: Place,
    /// Devices of pods that were made for [`Pair::take`].
    devices: BTreeSet<u32>,
}

/// Parses a literal address.
pub fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().map(Addr::from).unwrap_or_default()
}

/// Link address ending in `last`.
pub fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn node_config(tunnel: bool, extras: u32) -> NodeConfig {
    let mut features = config::MASQUERADE_V4
        | config::MASQUERADE_V6
        | config::SOURCE_CHECK
        | config::RECORD_VERDICT
        | config::SERVICES
        | config::DSR
        | extras;
    if tunnel {
        features |= config::TUNNEL | config::EXTENDED_PROTOCOLS;
    }
    NodeConfig {
        node_v4: addr("172.31.0.11"),
        node_v6: addr("fd00:31::11"),
        router_v4: addr("10.244.1.1"),
        router_v6: addr("fd00:10:244:1::1"),
        native_v4: addr("10.244.0.0"),
        native_v4_len: 112,
        native_mtu: 1500,
        maglev_size: abi::service::MAGLEV_SIZE,
        tunnel_mtu: 1450,
        tunnel_port: 8472,
        tunnel_ifindex: TUNNEL,
        host_ifindex: HOST,
        nat_port_min: 32768,
        nat_port_max: 65535,
        node_port_min: 30_000,
        node_port_max: 32_767,
        loopback_v4: addr("169.254.42.1"),
        loopback_v6: addr("fe80::1"),
        world_v4: identity::WORLD_IPV4,
        world_v6: identity::WORLD_IPV6,
        features,
        ..NodeConfig::default()
    }
}

impl Pair {
    /// Loads the programs and fills both sides; `extras` are further features.
    pub fn new(place: Place, tunnel: bool, extras: u32) -> Result<Pair> {
        let mut pair = Self::empty(place, node_config(tunnel, extras))?;
        pair.addresses(tunnel)?;
        Ok(pair)
    }

    /// Loads the programs for a node with this configuration; all that both sides know is where packets are routed.
    pub fn empty(place: Place, mut config: NodeConfig) -> Result<Pair> {
        // A test run reads the verdict where the programs then leave it.
        config.features |= config::RECORD_VERDICT;
        let small =
            [maps::FLOWS, maps::HALF_OPEN, maps::NAT, maps::NAT_HALF_OPEN, maps::FRAGMENTS, maps::HOSTS];
        let sizes: BTreeMap<String, u32> = small.iter().map(|name| ((*name).to_owned(), 65_536)).collect();
        let options = LoadOptions { bpffs: place.bpffs(), config: &config, sizes };
        let object = Object::load(&object()?, &options).context("loading the kernel object")?;
        let policies = PolicyTables::adopt(object.maps.policies.try_clone()?, 8)?;
        let mut node = Node::default();
        node.config = config;
        let mut pair = Pair { node, object, policies, place, devices: [POD_A, POD_B].into() };
        pair.routes();
        Ok(pair)
    }

    /// Costs of the loaded programs.
    pub fn programs(&self) -> impl Iterator<Item = (&str, loader::ProgramStats)> {
        self.object.programs().iter().map(|program| (program.name(), program.stats()))
    }

    /// A loaded program.
    pub fn program(&self, name: &str) -> Result<&loader::Program> {
        self.object.program(name).with_context(|| format!("program {name} is not in the object"))
    }

    /// The programs, and their place in the file system.
    pub fn loaded(&self) -> (&Object, &Path) {
        (&self.object, self.place.bpffs())
    }

    /// The kernel's maps.
    pub fn maps(&self) -> &Maps {
        &self.object.maps
    }

    /// The facts of the node that are frozen into the kernel's programs.
    pub fn config(&self) -> &NodeConfig {
        self.object.config()
    }

    fn addresses(&mut self, tunnel: bool) -> Result<()> {
        let flags = if tunnel { IPCACHE_TUNNEL } else { 0 };
        let remote = IpcacheEntry { identity: 1003, flags, node: addr("172.31.0.12") };
        let own = IpcacheEntry { identity: identity::HOST, flags: IPCACHE_HOST, node: Addr::UNSPECIFIED };
        let other = IpcacheEntry { identity: identity::REMOTE_NODE, ..IpcacheEntry::default() };
        for (address, entry) in [
            ("10.244.2.20", remote),
            ("fd00:10:244:2::20", remote),
            ("172.31.0.11", own),
            ("fd00:31::11", own),
            ("10.244.1.1", own),
            ("fd00:10:244:1::1", own),
            ("172.31.0.12", other),
            ("fd00:31::12", other),
        ] {
            self.node.hosts.insert(addr(address), entry);
            self.object.maps.hosts.insert(&addr(address), &entry)?;
        }
        let cidr = IpcacheEntry { identity: identity::LOCAL_MIN, ..IpcacheEntry::default() };
        for (base, len) in [("203.0.113.0", 120), ("2001:db8::", 32)] {
            self.node.prefixes.push((addr(base), len, cidr));
            self.object.maps.prefixes.insert(&PrefixKey { len, addr: addr(base) }, &cidr)?;
        }
        // Around pods and nodes, and around what has a prefix of its own.
        for (base, len, number) in
            [("10.244.0.0", 112, BLOCKS[0]), ("10.244.2.20", 128, BLOCKS[1]), ("fd00::", 8, BLOCKS[1])]
        {
            self.node.blocks.push((addr(base), len, number));
            self.object.maps.blocks.insert(&PrefixKey { len, addr: addr(base) }, &number)?;
        }
        self.node.never_masqueraded.push((addr("198.51.100.0"), 120));
        self.object.maps.no_masquerade.insert(&PrefixKey { len: 120, addr: addr("198.51.100.0") }, &1)?;
        Ok(())
    }

    fn routes(&mut self) {
        let route = |base: &str, len, ifindex, gateway: &str| RouteEntry {
            base: addr(base),
            len,
            ifindex,
            gateway: if gateway.is_empty() { Addr::UNSPECIFIED } else { addr(gateway) },
        };
        self.node.routes = vec![
            route("172.31.0.0", 120, ETH0, ""),
            route("172.31.0.11", 128, 0, ""),
            route("172.31.0.255", 128, 0, ""),
            route("127.0.0.0", 104, 0, ""),
            route("10.244.2.0", 120, ETH0, "172.31.0.12"),
            route("0.0.0.0", 96, ETH0, "172.31.0.1"),
            route("fd00:31::", 64, ETH0, ""),
            // Of any router on the link (RFC 4291 §2.6.1), so the node's own.
            route("fd00:31::", 128, 0, ""),
            route("fd00:31::11", 128, 0, ""),
            route("fd00:10:244:2::", 64, ETH0, "fd00:31::12"),
            route("::", 0, ETH0, "fd00:31::1"),
        ];
    }

    /// New pods, policies and empty flow tables from `random`.
    pub fn refill(&mut self, random: &mut Random) -> Result<()> {
        let maps = &self.object.maps;
        maps.flows.clear()?;
        maps.half_open.clear()?;
        maps.nat.clear()?;
        maps.nat_half_open.clear()?;
        maps.fragments.clear()?;
        self.node.flows.clear();
        self.node.half_open.clear();
        self.node.nat.clear();
        self.node.nat_half_open.clear();
        self.services(random)?;
        self.node.fragments.clear();
        let slots = [self.table(random)?, self.table(random)?];
        for (i, (ifindex, last)) in [(POD_A, 0x0a), (POD_B, 0x0b)].into_iter().enumerate() {
            let facts = PodFacts {
                identity: 1001 + i as u32,
                policy: slots[i],
                deny_cookie_ingress: 500 + i as u32,
                deny_cookie_egress: 600 + i as u32,
                v4: addr(["10.244.1.10", "10.244.1.11"][i]),
                v6: addr(["fd00:10:244:1::10", "fd00:10:244:1::11"][i]),
                mac: mac(last),
                host_mac: mac(last | 0x80),
                endpoint: 101 + i as u16,
                flags: u16::from(random.one_in(10)) | if random.one_in(2) { POD_BLOCKS } else { 0 },
            };
            self.node.attach(ifindex, facts);
            let maps = &self.object.maps;
            maps.pods.insert(&ifindex, &facts)?;
            maps.local.insert(&facts.v4, &ifindex)?;
            maps.local.insert(&facts.v6, &ifindex)?;
        }
        self.own_policy(random)?;
        self.bump()
    }

    /// The node's own policy, or none.
    fn own_policy(&mut self, random: &mut Random) -> Result<()> {
        self.node.pods.remove(&HOST);
        self.object.maps.pods.delete(&HOST)?;
        if random.one_in(8) {
            return Ok(());
        }
        let facts = PodFacts {
            identity: identity::HOST,
            policy: self.table(random)?,
            deny_cookie_ingress: 700,
            deny_cookie_egress: 701,
            endpoint: u16::MAX,
            ..PodFacts::default()
        };
        self.node.pods.insert(HOST, facts);
        self.object.maps.pods.insert(&HOST, &facts)?;
        Ok(())
    }

    /// A policy table in both worlds; open in a direction half of the time.
    fn table(&mut self, random: &mut Random) -> Result<u32> {
        let mut content = PolicyContent::new();
        for direction in [INGRESS, EGRESS] {
            if random.one_in(2) {
                let entry = PolicyEntry { precedence: 1, flags: POLICY_UNENFORCED, ..PolicyEntry::default() };
                content.insert(
                    PolicyTrieKey::new(PolicyKey { direction, ..PolicyKey::default() }, &entry),
                    entry,
                );
            }
            for _ in 0..random.below(12) {
                let bits = random.pick(&[0, 8, 24, 24, 24, 18]);
                let protocol = if bits == 0 { 0 } else { random.pick(&[1, 6, 6, 17, 58]) };
                let port = if bits <= 8 {
                    0
                } else {
                    random.pick(&[53, 80, 443, 8080, 8, 128]) & (0xffff_u32 << (24 - bits)) as u16
                };
                let deny = random.one_in(3);
                let (identity, block) = match random.below(4) {
                    0 => (0, random.pick(BLOCKS)),
                    1 => (random.pick(IDENTITIES), random.pick(BLOCKS)),
                    _ => (random.pick(IDENTITIES), 0),
                };
                let key = PolicyKey { identity, block, direction, protocol, port: port.to_be() };
                let entry = PolicyEntry {
                    precedence: match (random.one_in(8), deny) {
                        (true, _) => u32::MAX,
                        (false, true) => 255,
                        (false, false) => 1,
                    },
                    cookie: random.below(1000) as u32,
                    proxy_port: 0,
                    flags: if deny { POLICY_DENY } else { 0 },
                    bits: bits as u8,
                };
                content.insert(PolicyTrieKey::new(key, &entry), entry);
            }
        }
        // A marker makes every table another, so that none is shared with an earlier round.
        let marker = PolicyKey { identity: random.number() as u32 | 0x4000_0000, ..PolicyKey::default() };
        let allow = PolicyEntry { precedence: 1, ..PolicyEntry::default() };
        content.insert(PolicyTrieKey::new(marker, &allow), allow);
        let slot = self.policies.publish(&content)?;
        let mut table = sim::PolicyTable::default();
        for (key, entry) in &content {
            table.insert(key.key, u32::from(entry.bits), *entry);
        }
        self.node.policies.insert(slot, table);
        Ok(slot)
    }

    /// A new generation in both worlds.
    pub fn bump(&mut self) -> Result<()> {
        self.node.epoch = self.object.maps.epoch.bump()?;
        Ok(())
    }

    /// Sends one packet through both worlds and compares what came of it.
    pub fn send(&mut self, program: Program, sent: &Sent) -> Result<Outcome> {
        let kernel = self.kernel(program, sent)?;
        self.node.now = loader::monotonic_ns();
        let memory = sim::run(&mut self.node, program, sent.clone());
        if let Some(difference) = difference(&kernel, &memory) {
            bail!(
                "{program:?} differs in {difference}\nsent   {sent:x?}\nkernel {kernel:x?}\nmemory {memory:x?}"
            );
        }
        Ok(memory)
    }

    /// XDP programs have another context and other return values; as words of the others.
    fn early(&self, sent: &Sent) -> Result<InKernel> {
        const XDP_DROP: u32 = 1;
        const XDP_PASS: u32 = 2;
        const XDP_TX: u32 = 3;
        let (retval, frame) = test_run_xdp(self.program("xdp_ingress")?, &sent.frame, sent.ifindex)?;
        let word = match retval {
            XDP_PASS => Action::Pass as u32,
            XDP_TX => Action::Transmit as u32,
            XDP_DROP => EARLY_DROP,
            other => 0x1000 + other,
        };
        Ok(InKernel { words: [word, sent.ifindex, 0, 0], mark: sent.mark, frame })
    }

    fn kernel(&self, program: Program, sent: &Sent) -> Result<InKernel> {
        let name = match program {
            Program::PodEgress => "pod_egress",
            Program::NetdevIngress => "netdev_ingress",
            Program::XdpIngress => return self.early(sent),
            Program::NetdevEgress => "netdev_egress",
            Program::OverlayIngress => "overlay_ingress",
            Program::HostEgress => "host_egress",
        };
        let loaded = self.program(name)?;
        let tunnel = sent.tunnel.unwrap_or(TunnelKey { identity: 0, remote: Addr::UNSPECIFIED });
        let ctx = SkBuff {
            ifindex: sent.ifindex,
            mark: sent.mark,
            cb: [tunnel.identity, tunnel.remote.v4_word(), 0, 0, 0],
            ..SkBuff::default()
        };
        let run = test_run(loaded, &sent.frame, &ctx, 1)?;
        Ok(InKernel {
            words: [run.ctx.cb[0], run.ctx.cb[1], run.ctx.cb[2], run.ctx.cb[3]],
            mark: run.ctx.mark,
            frame: run.data,
        })
    }

    /// Compares the flow and masquerade tables of both worlds, clocks aside.
    pub fn compare_tables(&self) -> Result<()> {
        let timeless =
            |flow: &Flow| Flow { expires: 0, reported: [0; 2], tcp_reported: [0; 2], created: 0, ..*flow };
        for (name, kernel, memory) in [
            ("answered", self.object.maps.flows.dump()?, &self.node.flows),
            ("half-open", self.object.maps.half_open.dump()?, &self.node.half_open),
        ] {
            for (key, flow) in &kernel {
                let Some(other) = memory.get(key) else {
                    bail!("{name} flow only in the kernel: {}", show(key))
                };
                if timeless(flow) != timeless(other) {
                    bail!("{name} flow {} differs:\nkernel {flow:x?}\nmemory {other:x?}", show(key));
                }
            }
            if kernel.len() != memory.len() {
                bail!("{name}: {} flows in the kernel, {} in memory", kernel.len(), memory.len());
            }
        }
        let timeless = |value: &abi::NatValue| abi::NatValue { expires: 0, ..*value };
        for (name, kernel, memory) in [
            ("answered", self.object.maps.nat.dump()?, &self.node.nat),
            ("half-open", self.object.maps.nat_half_open.dump()?, &self.node.nat_half_open),
        ] {
            for (key, value) in &kernel {
                match memory.get(key) {
                    Some(other) if timeless(other) == timeless(value) => {}
                    other => {
                        bail!("{name} translation {key:x?} differs:\nkernel {value:x?}\nmemory {other:x?}")
                    }
                }
            }
            if kernel.len() != memory.len() {
                bail!("{name}: {} translations in the kernel, {} in memory", kernel.len(), memory.len());
            }
        }
        Ok(())
    }
}

fn show(key: &FlowKey) -> String {
    let port = |i: usize| u16::from_be(key.port[i]);
    format!("{}:{} {}:{} protocol {}", key.addr[0], port(0), key.addr[1], port(1), key.protocol)
}

#[derive(Debug)]
struct InKernel {
    words: [u32; 4],
    mark: u32,
    frame: Vec<u8>,
}

/// Dropped before the stack, where nobody is told why.
const EARLY_DROP: u32 = 0x1001;

fn difference(kernel: &InKernel, memory: &Outcome) -> Option<&'static str> {
    let expected = match memory.verdict {
        Ok(verdict) => verdict.action as u32,
        Err(reason) => 0x100 + reason as u32,
    };
    let without_reason = kernel.words[0] == EARLY_DROP && memory.verdict.is_err();
    if kernel.words[0] != expected && !without_reason {
        return Some("the verdict");
    }
    let Ok(verdict) = memory.verdict else { return None };
    if kernel.mark != memory.mark {
        return Some("the mark");
    }
    if kernel.frame != memory.frame {
        return Some("the packet");
    }
    let details = match verdict.action {
        Action::Pod | Action::Transmit => kernel.words[1] == verdict.ifindex,
        Action::Neighbour => {
            kernel.words[1] == verdict.ifindex && kernel.words[3] == verdict.gateway.words[3]
        }
        Action::Tunnel => kernel.words[2] == verdict.identity && kernel.words[3] == verdict.gateway.words[3],
        Action::Pass | Action::Own | Action::Stack | Action::Reply => true,
    };
    if details { None } else { Some("where it goes") }
}
