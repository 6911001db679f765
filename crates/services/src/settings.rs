//! What holds for all services of a node.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use crate::maglev::Hashing;
use crate::model::{Algorithm, Forwarding, Protocol, Service};

/// `loadBalancer.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardingMode {
    /// SNAT for all protocols.
    #[default]
    Snat,
    /// DSR for all protocols.
    Dsr,
    /// DSR for TCP alone.
    Hybrid,
}

/// `serviceNoBackendResponse`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoBackend {
    /// Clients are told at once.
    #[default]
    Reject,
    /// Packets vanish.
    Drop,
}

/// What holds for all services of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's name.
    pub node: Arc<str>,
    /// This node's zone at start; see [`crate::Balancer::set_zone`].
    pub zone: Option<Arc<str>>,
    /// This node's labels at start; see [`crate::Balancer::set_node_labels`].
    pub node_labels: BTreeMap<String, String>,
    /// IPv4 is served.
    pub v4: bool,
    /// IPv6 is served.
    pub v6: bool,
    /// `nodePort.range`: ports for which the datapath looks under the addresses of nodes.
    pub node_port_range: RangeInclusive<u16>,
    /// `loadBalancer.algorithm`.
    pub algorithm: Algorithm,
    /// `loadBalancer.mode`.
    pub forwarding: ForwardingMode,
    /// `maglev.hashSeed`, the same on all nodes.
    pub maglev_seed: u64,
    /// `maglev.tableSize`, likewise: one of [`abi::service::MAGLEV_SIZES`].
    pub maglev_size: u32,
    /// kube-proxy serves the node: only pods' connections are ours, and of frontends only cluster IPs, which pods' packets
    /// would pass kube-proxy by on their way to.
    pub only_cluster_ips: bool,
    /// `bpf.lbExternalClusterIP`: clients outside may use cluster IPs.
    pub external_cluster_ip: bool,
    /// `bpf.lbSourceRangeAllTypes`: source ranges hold for all frontends of a service.
    pub source_ranges_all_types: bool,
    /// `serviceNoBackendResponse`.
    pub no_backend: NoBackend,
    /// `loadBalancer.serviceTopology`: hints are heeded.
    pub topology: bool,
    /// `localRedirectPolicies.addressMatcherCIDRs`: the addresses that policies may name; none: all.
    pub redirect_cidrs: Vec<IpNet>,
    /// Slots of [`abi::maps::BACKENDS`].
    pub backend_slots: u32,
    /// Slots of [`abi::maps::MAGLEV`].
    pub maglev_slots: u32,
}

impl Settings {
    /// What the chart's defaults come to, for a node of this name.
    pub fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            zone: None,
            node_labels: BTreeMap::new(),
            v4: true,
            v6: true,
            node_port_range: 30_000..=32_767,
            algorithm: Algorithm::Random,
            forwarding: ForwardingMode::Snat,
            maglev_seed: 0,
            maglev_size: abi::service::MAGLEV_SIZE,
            only_cluster_ips: false,
            external_cluster_ip: false,
            source_ranges_all_types: false,
            no_backend: NoBackend::Reject,
            topology: false,
            redirect_cidrs: Vec::new(),
            backend_slots: abi::maps::size::BACKENDS,
            maglev_slots: abi::maps::size::MAGLEV,
        }
    }

    pub(crate) fn hashing(&self) -> Hashing {
        Hashing { seed: self.maglev_seed, size: self.maglev_size }
    }

    pub(crate) fn is_dsr(&self, service: &Service, protocol: Protocol) -> bool {
        match (service.forwarding, self.forwarding) {
            (Some(forwarding), _) => forwarding == Forwarding::Dsr,
            (None, ForwardingMode::Snat) => false,
            (None, ForwardingMode::Dsr) => true,
            (None, ForwardingMode::Hybrid) => protocol == Protocol::Tcp,
        }
    }

    pub(crate) fn is_maglev(&self, service: &Service) -> bool {
        service.algorithm.unwrap_or(self.algorithm) == Algorithm::Maglev
    }
}
