//! The owner's state: what was seen, and what follows from it.

mod endpoints;
mod host;
mod references;
mod rules;
mod settle;
mod sources;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use abi::{Addr, Identity};
use ipam::PodAllocator;
use ipnet::IpNet;
use policy::{AddressList, CidrGroup, Engine, Families, Options, Rule, Service};
use types::{LabelFilter, PolicyKind, PolicyOrigin};

use crate::cidrs::CidrIdentities;
use crate::claims::Claims;
use crate::endpoint::Endpoint;
use crate::identities::{ClusterIdentities, Users};
use crate::ipcache::Ipcache;
use crate::model::{Change, ClusterIdentity, Keyed, NamedPort, Namespace, Node, Pod, PodKey, RemoteEndpoint};
use crate::objects::{Condition, EndpointObject};
use crate::routes::Route;
use crate::settings::Settings;
use crate::store::Store;
use crate::table::Table;
use crate::untracked::Untracked;
use crate::update::{Effect, PodRow};

pub use endpoints::CreateError;
pub use host::{HostVersion, Journal, Kept};

/// A kind of objects that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Pods of this node.
    Pod,
    /// Namespaces.
    Namespace,
    /// CiliumNodes.
    Node,
    /// CiliumEndpoints of all nodes.
    Endpoint,
    /// CiliumIdentities.
    Identity,
    /// Policies of one kind.
    Policy(PolicyKind),
    /// The API server's own endpoints.
    ApiServer,
    /// CiliumCIDRGroups.
    CidrGroup,
    /// Services.
    Service,
    /// EndpointSlices that no controller makes.
    AddressList,
}

/// A policy object, converted into rules or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyObject {
    /// Where it comes from.
    pub origin: PolicyOrigin,
    /// Its rules; if refused, those that close what it is about, as far as that can be read.
    pub rules: Vec<Rule>,
    /// Why it was refused.
    pub refused: Option<String>,
    /// Its specification as JSON, for `policy get`.
    pub text: String,
    /// Version of its specification.
    pub generation: i64,
}

impl Keyed for PolicyObject {
    type Key = PodKey;

    fn key(&self) -> PodKey {
        PodKey::new(&self.origin.namespace, &self.origin.name)
    }
}

/// Something the agent learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Pods of this node.
    Pods(Change<Pod>),
    /// Namespaces.
    Namespaces(Change<Namespace>),
    /// Nodes of the cluster.
    Nodes(Change<Node>),
    /// Pods of all nodes, as their agents tell.
    Endpoints(Change<RemoteEndpoint>),
    /// Identities of the cluster.
    Identities(Change<ClusterIdentity>),
    /// Policies of one kind.
    Policies(PolicyKind, Change<PolicyObject>),
    /// Groups of blocks that policies name.
    CidrGroups(Change<CidrGroup>),
    /// Services that policies may name.
    Services(Change<Service>),
    /// Addresses that somebody listed for services.
    AddressLists(Change<AddressList>),
    /// Addresses of the API server, all of them.
    ApiServers(Vec<IpAddr>),
    /// Addresses of this node, all of them.
    NodeAddresses(Vec<IpAddr>),
    /// Labels of this node's object, all of them.
    NodeLabels(BTreeMap<String, String>),
}

/// The state. See the crate's documentation for how it is used.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    filter: LabelFilter,
    ipam: PodAllocator,
    // What was seen.
    pods: Store<Pod>,
    namespaces: Store<Namespace>,
    nodes: Store<Node>,
    remote: Store<RemoteEndpoint>,
    identities: Store<ClusterIdentity>,
    policies: BTreeMap<PolicyKind, Store<PolicyObject>>,
    /// Policies that were refused and had no valid version before.
    closed: BTreeSet<PolicyOrigin>,
    references: references::References,
    api_servers: Option<Vec<IpAddr>>,
    /// API servers that are neither this nor another node.
    outside_servers: BTreeSet<IpNet>,
    node_addresses: BTreeSet<IpAddr>,
    endpoints: BTreeMap<u16, Endpoint>,
    next_endpoint: u16,
    sequence: u64,
    // What follows.
    node_claims: Claims<IpAddr, String>,
    prefix_claims: Claims<IpNet, String>,
    pod_claims: Claims<IpAddr, PodKey>,
    /// Pods of other nodes by identity.
    remote_users: Users,
    /// Ports that the pods of an identity name.
    ports: BTreeMap<Identity, BTreeMap<PodKey, Vec<NamedPort>>>,
    cluster: ClusterIdentities,
    cidrs: CidrIdentities,
    /// Prefixes that the policy engine and the address tables know.
    known_cidrs: BTreeSet<IpNet>,
    ipcache: Ipcache,
    engine: Engine,
    pod_rows: Table<u32, PodRow>,
    local_rows: Table<Addr, u32>,
    routes: Table<IpNet, Route>,
    objects: Table<PodKey, EndpointObject>,
    conditions: Table<PolicyOrigin, Condition>,
    /// This node as an endpoint.
    host: host::Host,
    // What is to be looked at.
    pending: rules::Pending,
    dirty_endpoints: BTreeSet<u16>,
    dirty_routes: bool,
    dirty_untracked: bool,
    /// What the last update said of it.
    untracked: Option<Untracked>,
    effects: Vec<Effect>,
    /// Endpoints that differ from what is on disk.
    saves: BTreeSet<u16>,
    /// What the operator of the node should read in the log.
    problems: Vec<String>,
    revision: u64,
    /// Policy revision that comes with each revision not realized yet.
    awaiting: BTreeMap<u64, u64>,
    realized_policy: u64,
    settled_once: bool,
}

impl State {
    /// A state that knows nothing but this node. `ipam` holds the node's pod CIDRs and its router addresses.
    pub fn new(settings: Settings, filter: LabelFilter, ipam: PodAllocator) -> Self {
        let families = match (settings.ipv4, settings.ipv6) {
            (true, true) => Families::Dual,
            (false, true) => Families::V6,
            _ => Families::V4,
        };
        let options = Options {
            mode: settings.enforcement,
            allow_localhost: true,
            families,
            cluster: settings.cluster.clone(),
        };
        let mut state = Self {
            ipcache: Ipcache::new(settings.tunnel),
            engine: Engine::new(options),
            filter,
            ipam,
            pods: Store::default(),
            namespaces: Store::default(),
            nodes: Store::default(),
            remote: Store::default(),
            identities: Store::default(),
            policies: BTreeMap::new(),
            closed: BTreeSet::new(),
            references: references::References::default(),
            api_servers: None,
            outside_servers: BTreeSet::new(),
            node_addresses: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            next_endpoint: 1,
            sequence: 0,
            node_claims: Claims::default(),
            prefix_claims: Claims::default(),
            pod_claims: Claims::default(),
            remote_users: Users::default(),
            ports: BTreeMap::new(),
            cluster: ClusterIdentities::default(),
            cidrs: CidrIdentities::default(),
            known_cidrs: BTreeSet::new(),
            pod_rows: Table::default(),
            local_rows: Table::default(),
            routes: Table::default(),
            objects: Table::default(),
            conditions: Table::default(),
            host: host::Host::default(),
            pending: rules::Pending::default(),
            dirty_endpoints: BTreeSet::new(),
            dirty_routes: true,
            dirty_untracked: true,
            untracked: None,
            effects: Vec::new(),
            saves: BTreeSet::new(),
            problems: Vec::new(),
            revision: 0,
            awaiting: BTreeMap::new(),
            realized_policy: 0,
            settled_once: false,
            settings,
        };
        state.set_node_addresses(Vec::new());
        state
    }

    /// Takes in what was learned. Nothing follows before [`State::settle`].
    pub fn apply(&mut self, input: Input, now: u64) {
        match input {
            Input::Pods(change) => self.change_pods(change),
            Input::Namespaces(change) => self.change_namespaces(change),
            Input::Nodes(change) => self.change_nodes(change, now),
            Input::Endpoints(change) => self.change_remote(change),
            Input::Identities(change) => self.change_identities(change),
            Input::Policies(kind, change) => self.change_policies(kind, change, now),
            Input::CidrGroups(change) => self.change_groups(change, now),
            Input::Services(change) => self.change_services(change, now),
            Input::AddressLists(change) => self.change_addresses(change, now),
            Input::ApiServers(addresses) => self.set_api_servers(addresses, now),
            Input::NodeAddresses(addresses) => {
                self.set_node_addresses(addresses);
                self.place_api_servers(now);
            }
            Input::NodeLabels(labels) => self.set_node_labels(labels, now),
        }
    }

    /// Binds a prefix to the node-local number under which the kernel knows it, before anything else is taken in.
    pub fn adopt_cidr(&mut self, prefix: IpNet, number: Identity, now: u64) {
        self.cidrs.adopt(prefix, number, now);
        if self.cidrs.number(&prefix.trunc()) == Some(number) {
            self.introduce_cidr(prefix.trunc(), number);
        }
    }

    /// The kinds of which no full list was taken in yet. Nothing is settled before there is none.
    pub fn missing(&self) -> Vec<Kind> {
        let policies =
            [PolicyKind::Cnp, PolicyKind::Ccnp, PolicyKind::Knp, PolicyKind::Cluster, PolicyKind::File]
                .into_iter();
        let synced = |kind: &PolicyKind| self.policies.get(kind).is_some_and(Store::is_synced);
        let mut missing: Vec<Kind> = policies.filter(|k| !synced(k)).map(Kind::Policy).collect();
        let (groups, services, addresses) = self.references.synced();
        for (kind, synced) in [
            (Kind::Pod, self.pods.is_synced()),
            (Kind::Namespace, self.namespaces.is_synced()),
            (Kind::Node, self.nodes.is_synced()),
            (Kind::Endpoint, self.remote.is_synced()),
            (Kind::Identity, self.identities.is_synced()),
            (Kind::ApiServer, self.api_servers.is_some()),
            (Kind::CidrGroup, groups),
            (Kind::Service, services),
            (Kind::AddressList, addresses),
        ] {
            if !synced {
                missing.push(kind);
            }
        }
        missing
    }
}
