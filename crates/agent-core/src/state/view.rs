//! Questions to the state: for the socket, the flows and the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use abi::{Addr, Identity};
use ipam::{Family, PodAllocator};
use ipnet::IpNet;
use policy::{Engine, PolicyTable, TableId};
use types::{Labels, NumericIdentity, PolicyKind};

use super::{PolicyObject, State};
use crate::endpoint::Endpoint;
use crate::ipcache::Ipcache;
use crate::model::{Node, Pod, PodKey};
use crate::objects::{Condition, EndpointObject};
use crate::routes::Route;
use crate::settings::Settings;
use crate::table::Table;
use crate::update::PodRow;
use types::PolicyOrigin;

impl State {
    /// This node and its configuration.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All endpoints by number.
    pub fn endpoints(&self) -> &BTreeMap<u16, Endpoint> {
        &self.endpoints
    }

    /// One endpoint.
    pub fn endpoint(&self, id: u16) -> Option<&Endpoint> {
        self.endpoints.get(&id)
    }

    /// The newest policy revision that is in the kernel.
    pub fn realized_policy_revision(&self) -> u64 {
        self.realized_policy
    }

    /// The newest revision that was settled.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The policy engine, for questions.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Addresses and their identities.
    pub fn ipcache(&self) -> &Ipcache {
        &self.ipcache
    }

    /// Whom the policy tables see behind an address: its identity, and the narrowest block around it if that is no prefix
    /// itself.
    pub fn peer(&self, address: IpAddr) -> (NumericIdentity, NumericIdentity) {
        let local = self.by_address(address).map(|endpoint| endpoint.identity);
        let world = self.settings.world_identity(address);
        let identity = local.or_else(|| self.ipcache.identity(address)).unwrap_or(world);
        (NumericIdentity(identity), self.block(identity, address))
    }

    /// The narrowest block around an address; [`NumericIdentity::UNKNOWN`] where `identity`, whose it is, is a prefix itself.
    pub fn block(&self, identity: Identity, address: IpAddr) -> NumericIdentity {
        if abi::identity::is_local_scope(identity) {
            return NumericIdentity::UNKNOWN;
        }
        let narrowest = self.ipcache.block(address);
        NumericIdentity(narrowest.unwrap_or_else(|| self.settings.world_identity(address)))
    }

    /// Addresses of pods.
    pub fn ipam(&self) -> &PodAllocator {
        &self.ipam
    }

    /// The router's address of a family.
    pub fn router(&self, family: Family) -> Option<IpAddr> {
        self.ipam.router(family)
    }

    /// All nodes, this one too.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The pod of that name, if it is of this node.
    pub fn pod(&self, key: &PodKey) -> Option<&Pod> {
        self.pods.get(key)
    }

    /// The pods of this node.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter()
    }

    /// The pod of another node that has this address.
    pub fn remote_pod(&self, address: IpAddr) -> Option<&PodKey> {
        self.pod_claims.owner(&address)
    }

    /// The identity of a pod of another node.
    pub fn remote_identity(&self, key: &PodKey) -> Option<Identity> {
        self.remote.get(key).map(|e| e.identity)
    }

    /// The node that has this address.
    pub fn node_of(&self, address: IpAddr) -> Option<&str> {
        if self.node_addresses.contains(&address) {
            return Some(&self.settings.node.name);
        }
        self.node_claims.owner(&address).map(String::as_str)
    }

    /// Every identity that is known, with its labels.
    pub fn identities(&self) -> BTreeMap<Identity, Labels> {
        let reserved = types::Reserved::ALL.iter().map(|r| (r.id.get(), r.labels()));
        let cluster = self.cluster.iter().map(|(number, labels)| (number, labels.clone()));
        let local = self.cidrs.iter().map(|(prefix, number, _)| (number, self.cidr_labels(prefix)));
        reserved.chain(cluster).chain(local).collect()
    }

    /// All policy objects.
    pub fn policies(&self) -> impl Iterator<Item = (PolicyKind, &PolicyObject)> {
        self.policies.iter().flat_map(|(kind, store)| store.iter().map(|object| (*kind, object)))
    }

    /// The policy table of an endpoint, or of the node as one.
    pub fn policy_of(&self, id: u16) -> Option<(TableId, Arc<PolicyTable>)> {
        let node = self.host_endpoint() == Some(id);
        let table = self.engine.table_of(if node { super::host::SUBJECT } else { u64::from(id) })?;
        Some((table, self.engine.table(table)?))
    }

    /// Rows of [`abi::maps::PODS`].
    pub fn pod_rows(&self) -> &Table<u32, PodRow> {
        &self.pod_rows
    }

    /// Rows of [`abi::maps::LOCAL`].
    pub fn local_rows(&self) -> &Table<Addr, u32> {
        &self.local_rows
    }

    /// Routes wanted.
    pub fn routes(&self) -> &Table<IpNet, Route> {
        &self.routes
    }

    /// CiliumEndpoint objects wanted.
    pub fn objects(&self) -> &Table<PodKey, EndpointObject> {
        &self.objects
    }

    /// Conditions of policy objects wanted.
    pub fn conditions(&self) -> &Table<PolicyOrigin, Condition> {
        &self.conditions
    }

    /// Numbers that pods of this node have, with how many have each.
    pub fn identities_in_use(&self) -> BTreeMap<Identity, u32> {
        let mut uses = BTreeMap::new();
        for endpoint in self.endpoints.values().filter(|e| e.identity != abi::identity::UNKNOWN) {
            *uses.entry(endpoint.identity).or_default() += 1;
        }
        uses
    }

    /// Addresses of this node.
    pub fn node_addresses(&self) -> &BTreeSet<IpAddr> {
        &self.node_addresses
    }
}
