//! The agent's state that takes in what is written, and its tables as a node of the simulator.

use std::collections::BTreeSet;
use std::net::IpAddr;

use abi::tables::POLICY_STATIC_BITS;
use abi::{NodeConfig, PodFacts};
use agent_core::{
    Attachment, Change, ClusterIdentity, Effect, Input, Node as ClusterNode, PodKey, Settings, State,
    key_prefix, kube,
};
use ipam::PodAllocator;
use policy::CidrMatch;
use serde::de::DeserializeOwned;
use serde_json::Value;
use trace::{Node, PolicyTable, Prepared, Question, Surroundings};
use types::{LabelFilter, PolicyKind};

use crate::naive::Outcome;
use crate::written::{OTHER_NODE, OWN_NODE, Packet, World, node_labels};

/// Index of the device towards other nodes and the outside.
pub const NATIVE: u32 = 102;
/// Index of the device towards the node itself.
pub const HOST: u32 = 103;
/// Index of the first pod's device; those of the others follow.
pub const FIRST_POD: u32 = 110;

/// What an agent made of a world.
pub struct Cluster {
    state: State,
}

/// The configuration of the node's programs.
pub fn config() -> NodeConfig {
    NodeConfig {
        native_mtu: 9000,
        host_ifindex: HOST,
        features: abi::config::EXTENDED_PROTOCOLS,
        world_v4: abi::identity::WORLD,
        world_v6: abi::identity::WORLD,
        ..NodeConfig::default()
    }
}

fn around() -> Surroundings {
    Surroundings { native: vec![NATIVE], ..Surroundings::default() }
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error} in {object}"))
}

fn node(name: &str, underlay: &str, router: &str, pods: &str) -> ClusterNode {
    let ip = |text: &str| text.parse::<IpAddr>().expect("a literal address");
    let pod_cidrs = vec![pods.parse().expect("a literal prefix")];
    let (underlay, routers) = (vec![ip(underlay)], vec![ip(router)]);
    ClusterNode { name: name.to_owned(), underlay, routers, pod_cidrs, labels: node_labels(name) }
}

impl Cluster {
    /// All events of the world, one after the other.
    pub fn of(world: &World) -> Self {
        let order: Vec<usize> = (0..world.events().len()).collect();
        Self::in_order(world, &order, 0)
    }

    /// All events in this order, settled after some of them as `pattern` says.
    pub fn in_order(world: &World, order: &[usize], pattern: usize) -> Self {
        let own = node("n1", OWN_NODE, "10.0.0.1", "10.0.0.0/24");
        let ipam = PodAllocator::new(own.pod_cidrs.iter().copied(), &own.routers).expect("valid prefixes");
        let settings = Settings {
            node: own.clone(),
            cluster: "lab".to_owned(),
            ipv4: true,
            cidr_match: CidrMatch { nodes: world.cidr_match.0, pods: world.cidr_match.1 },
            node_selectors: true,
            ..Settings::default()
        };
        let mut cluster =
            Self { state: State::new(settings, LabelFilter::new([]).expect("the default"), ipam) };
        for (ifindex, pod) in (FIRST_POD..).zip(world.pods.iter().filter(|pod| pod.here)) {
            let key = PodKey::new(pod.namespace, &pod.name);
            let spec =
                cluster.state.create(&pod.name, "eth0", "/netns", key, "", None).expect("room for a pod");
            assert_eq!(spec.addresses().next(), Some(pod.address));
            let mac = |last| [2, 0, 0, 0, ifindex as u8, last];
            cluster
                .state
                .attach(spec.id, Attachment { host_ifindex: ifindex, host_mac: mac(1), mac: mac(2) });
        }
        let other = node("n2", OTHER_NODE, "10.0.1.1", "10.0.1.0/24");
        let nothing = [
            Input::Nodes(Change::Reset(vec![own, other])),
            Input::Pods(Change::Reset(Vec::new())),
            Input::Namespaces(Change::Reset(Vec::new())),
            Input::Endpoints(Change::Reset(Vec::new())),
            Input::Identities(Change::Reset(Vec::new())),
            Input::ApiServers(vec!["172.31.0.9".parse().expect("a literal address")]),
            Input::CidrGroups(Change::Reset(Vec::new())),
            Input::Services(Change::Reset(Vec::new())),
            Input::AddressLists(Change::Reset(Vec::new())),
        ];
        let kinds =
            [PolicyKind::Cnp, PolicyKind::Ccnp, PolicyKind::Knp, PolicyKind::Cluster, PolicyKind::File];
        let policies = kinds.map(|kind| Input::Policies(kind, Change::Reset(Vec::new())));
        for input in nothing.into_iter().chain(policies) {
            cluster.state.apply(input, 1);
        }
        let events = world.events();
        for (step, event) in order.iter().enumerate() {
            cluster.learn(&events[*event]);
            if (step + pattern).is_multiple_of(3) {
                cluster.settle();
            }
        }
        cluster.settle();
        cluster.collect();
        let refused: Vec<_> =
            cluster.state.conditions().rows().iter().filter(|(_, c)| c.refused.is_some()).collect();
        assert!(refused.is_empty(), "{refused:?}");
        cluster
    }

    fn learn(&mut self, object: &Value) {
        let policy =
            |kind, object: Option<_>| Input::Policies(kind, Change::Apply(object.expect("a policy")));
        let input = match object["kind"].as_str().expect("a kind") {
            "Namespace" => {
                Input::Namespaces(Change::Apply(kube::namespace(read(object)).expect("a namespace")))
            }
            "Pod" => Input::Pods(Change::Apply(kube::pod(read(object)).expect("a pod"))),
            "CiliumIdentity" => {
                Input::Identities(Change::Apply(kube::identity(read(object)).expect("an identity")))
            }
            "CiliumEndpoint" => {
                Input::Endpoints(Change::Apply(kube::endpoint(read(object)).expect("an endpoint")))
            }
            "CiliumCIDRGroup" => Input::CidrGroups(Change::Apply(kube_api::cidr_group(&read(object)).0)),
            "Service" => Input::Services(Change::Apply(kube_api::named_service(&read(object)))),
            "EndpointSlice" => Input::AddressLists(Change::Apply(
                kube_api::address_list(&read(object)).expect("a service's"),
            )),
            "NetworkPolicy" => policy(PolicyKind::Knp, kube::network_policy(&read(object))),
            "ClusterNetworkPolicy" => policy(PolicyKind::Cluster, kube::cluster_policy(&read(object))),
            "CiliumNetworkPolicy" => {
                policy(PolicyKind::Cnp, kube::cilium_policy(&read::<kube_api::CiliumNetworkPolicy>(object)))
            }
            other => panic!("kind {other}"),
        };
        self.state.apply(input, 1);
    }

    /// Identities that nobody has go, as the operator would have it: of two nodes that met the same labels, both made one.
    fn collect(&mut self) {
        let local = self.state.identities_in_use();
        let far: BTreeSet<u32> =
            self.state.ipcache().hosts().rows().values().map(|entry| entry.identity).collect();
        let known =
            self.state.identities().into_keys().filter(|number| abi::identity::CLUSTER_MIN <= *number);
        let unused = known.filter(|number| *number <= abi::identity::CLUSTER_MAX);
        let unused: Vec<u32> = unused.filter(|n| !local.contains_key(n) && !far.contains(n)).collect();
        for number in unused {
            self.state.apply(Input::Identities(Change::Delete(number)), 1);
        }
        self.settle();
    }

    fn settle(&mut self) {
        let update = self.state.settle(1);
        self.state.realized(update.revision);
        for effect in update.effects {
            let Effect::CreateIdentity { number, labels } = effect else { continue };
            let identity = ClusterIdentity { number, labels: labels.security_labels() };
            self.state.apply(Input::Identities(Change::Apply(identity)), 1);
            self.settle();
        }
    }

    /// The tables, as the kernel would have them.
    pub fn node(&self) -> Node {
        let mut node = Node::default();
        node.config = config();
        node.now = 1_000_000_000_000;
        for (slot, (ifindex, row)) in self.state.pod_rows().rows().iter().enumerate() {
            let slot = slot as u32 + 1;
            let mut table = PolicyTable::default();
            let image = self.state.engine().table(row.table).expect("a row names a table");
            for (key, entry) in &image.entries {
                table.insert(key.abi(), key.prefix_len() - POLICY_STATIC_BITS, *entry);
            }
            node.policies.insert(slot, table);
            node.pods.insert(*ifindex, PodFacts { policy: slot, ..row.facts });
        }
        node.local = self.state.local_rows().rows().iter().map(|(addr, ifindex)| (*addr, *ifindex)).collect();
        let cache = self.state.ipcache();
        node.hosts = cache.hosts().rows().iter().map(|(addr, entry)| (*addr, *entry)).collect();
        node.prefixes =
            cache.prefixes().rows().iter().map(|(key, entry)| (key.addr, key.len, *entry)).collect();
        node.blocks =
            cache.blocks().rows().iter().map(|(key, number)| (key.addr, key.len, *number)).collect();
        node
    }

    /// The packet and the program that it meets first; it opens a connection.
    pub fn prepare(&self, node: &mut Node, packet: &Packet) -> Prepared {
        node.flows.clear();
        node.half_open.clear();
        let Packet { from, to, protocol, port } = *packet;
        let question = Question { source: from, destination: to, protocol, port, source_port: 0 };
        trace::prepare(node, &question, &around()).expect("a packet that some program sees")
    }

    /// What becomes of a packet in the simulator.
    pub fn send(&self, node: &mut Node, packet: &Packet) -> Outcome {
        let (prepared, around) = (self.prepare(node, packet), around());
        let traced = trace::trace(node, &prepared, &around);
        assert!(!traced.decisions.is_empty(), "nobody was asked about {packet:?}: {traced:?}");
        let denied = traced.decisions.iter().find(|decision| decision.verdict == "DENIED");
        match denied.map(|decision| decision.direction.as_str()) {
            None => Outcome::Passes,
            Some("egress") => Outcome::DroppedAtEgress,
            Some(_) => Outcome::DroppedAtIngress,
        }
    }

    /// All rows as text; numbers of prefixes, which depend on who came first, by their prefixes.
    pub fn maps(&self) -> Vec<String> {
        let cache = self.state.ipcache();
        let number = |number: u32| match abi::identity::is_local_scope(number) {
            false => number.to_string(),
            true => {
                let mut blocks = cache.blocks().rows().iter();
                let found = blocks.find(|(_, own)| **own == number).and_then(|(key, _)| key_prefix(key));
                found.map_or_else(|| format!("{number} of nothing"), |prefix| prefix.to_string())
            }
        };
        let mut lines = Vec::new();
        for (ifindex, row) in self.state.pod_rows().rows() {
            lines.push(format!("pod {ifindex} {:?}", row.facts));
            let table = self.state.engine().table(row.table).expect("a row names a table");
            for (key, entry) in &table.entries {
                let (identity, block) = (number(key.identity.get()), number(key.block.get()));
                lines.push(format!(
                    "pod {ifindex} {} {identity} in {block} {:?} {entry:?}",
                    key.direction, key.l4
                ));
            }
        }
        let hosts = cache
            .hosts()
            .rows()
            .iter()
            .map(|(addr, e)| format!("{addr} {} {} {}", number(e.identity), e.flags, e.node));
        let prefix = |key| key_prefix(key).map(|prefix| prefix.to_string()).unwrap_or_default();
        let prefixes = cache.prefixes().rows().iter();
        lines.extend(hosts);
        lines.extend(
            prefixes.map(|(key, e)| format!("{} {} {} {}", prefix(key), number(e.identity), e.flags, e.node)),
        );
        lines.extend(cache.blocks().rows().keys().map(|key| format!("block {}", prefix(key))));
        lines.extend(
            self.state.local_rows().rows().iter().map(|(addr, ifindex)| format!("local {addr} {ifindex}")),
        );
        lines.sort();
        lines
    }
}
