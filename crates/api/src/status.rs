//! `status`, with Cilium's JSON keys. What an agent does not know is left out; the text form then prints the filler
//! that Cilium prints.

use crate::node::Node;
use std::collections::BTreeMap;

model! {
    /// The state of one part.
    pub struct State in "kebab-case" {
        /// `Ok`, `Warning`, `Failure` or `Disabled`.
        pub state: String,
        /// One line.
        pub msg: String,
    }

    /// The agent can serve pods.
    pub struct Health in "kebab-case" {
        /// `Ok`.
        pub state: String,
        /// One line.
        pub msg: String,
    }

    /// What runs.
    pub struct Version in "kebab-case" {
        /// Version of the agent.
        pub version: String,
        /// Revision it was built from; empty if not known.
        pub revision: String,
        /// `linux/amd64`, …
        pub platform: String,
    }

    /// The state of the agent.
    pub struct Status in "kebab-case" {
        /// `TCX` or `Legacy TC`.
        pub attach_mode: String,
        /// Bandwidth limits.
        pub bandwidth_manager: Option<BandwidthManager>,
        /// Sizes of the maps.
        pub bpf_maps: Option<BpfMaps>,
        /// The agent itself.
        pub cilium: Option<State>,
        /// Number of this client of the socket; unused.
        pub client_id: i64,
        /// Clock of the datapath.
        pub clock_source: Option<ClockSource>,
        /// This node and the others.
        pub cluster: Option<Cluster>,
        /// Chaining with other network plugins.
        pub cni_chaining: Option<Mode>,
        /// The plugin's configuration file.
        pub cni_file: Option<State>,
        /// The container runtime.
        pub container_runtime: Option<State>,
        /// Background jobs.
        pub controllers: Vec<Controller>,
        /// `veth`.
        pub datapath_mode: String,
        /// Encryption between nodes.
        pub encryption: Option<Encryption>,
        /// Host firewall.
        pub host_firewall: Option<HostFirewall>,
        /// Flow observation.
        pub hubble: Option<Hubble>,
        /// Flow metrics.
        pub hubble_metrics: Option<State>,
        /// Numbers that identities are taken from.
        pub identity_range: Option<IdentityRange>,
        /// Addresses of this node's pods.
        pub ipam: Option<Ipam>,
        /// Large IPv4 segments.
        pub ipv4_big_tcp: Option<BigTcp>,
        /// Large IPv6 segments.
        pub ipv6_big_tcp: Option<BigTcp>,
        /// Services without kube-proxy.
        pub kube_proxy_replacement: Option<KubeProxyReplacement>,
        /// The API server.
        pub kubernetes: Option<Kubernetes>,
        /// The key-value store.
        pub kvstore: Option<State>,
        /// Masquerading.
        pub masquerading: Option<Masquerading>,
        /// The event ring.
        #[serde(rename = "nodeMonitor")]
        pub node_monitor: Option<NodeMonitor>,
        /// The proxy.
        pub proxy: Option<Proxy>,
        /// How packets travel.
        pub routing: Option<Routing>,
        /// Segment routing.
        pub srv6: Option<Srv6>,
        /// Parts that have not reported for long: part → since when (RFC 3339).
        pub stale: BTreeMap<String, String>,
        /// Counts of module states (not in Cilium's JSON; printed as `Modules Health`).
        pub modules_health: Option<ModulesHealth>,
    }

    /// A mode.
    pub struct Mode in "kebab-case" {
        /// `none`, …
        pub mode: String,
    }

    /// Bandwidth limits.
    pub struct BandwidthManager in "camelCase" {
        /// Whether they are on.
        pub enabled: bool,
        /// `cubic` or `bbr`.
        pub congestion_control: String,
        /// Devices.
        pub devices: Vec<String>,
    }

    /// Sizes of the maps.
    pub struct BpfMaps in "kebab-case" {
        /// Share of memory; 0 = fixed sizes.
        pub dynamic_size_ratio: f64,
        /// Each map.
        pub maps: Vec<BpfMap>,
    }

    /// A map.
    pub struct BpfMap in "kebab-case" {
        /// What it is for.
        pub name: String,
        /// How many entries fit.
        pub size: u64,
    }

    /// Clock of the datapath.
    pub struct ClockSource in "kebab-case" {
        /// `ktime` or `jiffies`.
        pub mode: String,
        /// Ticks a second, for jiffies.
        pub hertz: u64,
    }

    /// This node and the others.
    pub struct Cluster in "camelCase" {
        /// Health of the probes between nodes.
        pub cilium_health: Option<State>,
        /// All nodes, this one too.
        pub nodes: Vec<Node>,
        /// `cluster/node` of this one.
        #[serde(rename = "self")]
        pub own_name: String,
    }

    /// A background job.
    pub struct Controller in "kebab-case" {
        /// Its name.
        pub name: String,
        /// How it went.
        pub status: ControllerStatus,
    }

    /// How a background job went.
    pub struct ControllerStatus in "kebab-case" {
        /// Runs that succeeded.
        pub success_count: u64,
        /// Runs that failed.
        pub failure_count: u64,
        /// Runs that failed since the last that succeeded.
        pub consecutive_failure_count: u64,
        /// RFC 3339; empty = never.
        pub last_success_timestamp: String,
        /// RFC 3339; empty = never.
        pub last_failure_timestamp: String,
        /// Why the last one failed.
        pub last_failure_msg: String,
    }

    /// Encryption between nodes.
    pub struct Encryption in "kebab-case" {
        /// `Disabled`, `IPsec` or `Wireguard`.
        pub mode: String,
        /// One line.
        pub msg: String,
    }

    /// Host firewall.
    pub struct HostFirewall in "kebab-case" {
        /// `Disabled` or `Enabled`.
        pub mode: String,
        /// Devices.
        pub devices: Vec<String>,
    }

    /// Flow observation.
    pub struct Hubble in "kebab-case" {
        /// `Ok`, `Warning`, `Failure` or `Disabled`.
        pub state: String,
        /// One line.
        pub msg: String,
        /// The ring of flows.
        pub observer: Option<HubbleObserver>,
        /// Flow metrics.
        pub metrics: Option<State>,
    }

    /// The ring of flows.
    pub struct HubbleObserver in "kebab-case" {
        /// Flows in the ring.
        pub current_flows: u64,
        /// Flows that fit.
        pub max_flows: u64,
        /// Flows seen since the start.
        pub seen_flows: u64,
        /// Since the start.
        pub uptime: crate::GoDuration,
    }

    /// Numbers that identities are taken from.
    pub struct IdentityRange in "kebab-case" {
        /// First.
        pub min_identity: u32,
        /// Last.
        pub max_identity: u32,
    }

    /// Addresses of this node's pods.
    pub struct Ipam in "kebab-case" {
        /// `3/254 allocated from 10.0.1.0/24, …`.
        pub status: String,
        /// Address → owner.
        pub allocations: BTreeMap<String, String>,
        /// IPv4 addresses in use.
        pub ipv4: Vec<String>,
        /// IPv6 addresses in use.
        pub ipv6: Vec<String>,
    }

    /// Large segments.
    pub struct BigTcp in "camelCase" {
        /// Whether they are on.
        pub enabled: bool,
        /// Largest received, bytes.
        #[serde(rename = "maxGRO")]
        pub max_gro: u32,
        /// Largest sent, bytes.
        #[serde(rename = "maxGSO")]
        pub max_gso: u32,
    }

    /// Services without kube-proxy.
    pub struct KubeProxyReplacement in "camelCase" {
        /// `True` or `False`.
        pub mode: String,
        /// Devices with their addresses.
        pub device_list: Vec<Device>,
        /// Device of direct routing.
        pub direct_routing_device: String,
        /// Parts.
        pub features: Option<KprFeatures>,
        /// What a kube-proxy has left on this node, each kind in one phrase (not in Cilium's JSON).
        pub leftovers: Vec<String>,
        /// What this node has of what services need (not in Cilium's JSON).
        pub kernel: Vec<Need>,
    }

    /// Something that services need of a node.
    pub struct Need in "camelCase" {
        /// What it is.
        pub name: String,
        /// What is wrong with it; empty if it is there.
        pub problem: String,
    }

    /// A device with its addresses.
    pub struct Device in "camelCase" {
        /// Name.
        pub name: String,
        /// Addresses.
        pub ip: Vec<String>,
    }

    /// Parts of the service implementation.
    pub struct KprFeatures in "camelCase" {
        /// Translation at connect time.
        #[serde(rename = "socketLB")]
        pub socket_lb: Switch,
        /// Trace events of it.
        #[serde(rename = "socketLBTracing")]
        pub socket_lb_tracing: Switch,
        /// Only in the host's namespace.
        #[serde(rename = "bpfSocketLBHostnsOnly")]
        pub host_namespace_only: bool,
        /// Node ports.
        pub node_port: NodePort,
        /// External addresses.
        #[serde(rename = "externalIPs")]
        pub external_ips: Switch,
        /// Host ports.
        pub host_port: Switch,
        /// `ClientIP` affinity.
        pub session_affinity: Switch,
        /// NAT46 and NAT64.
        pub nat46_x64: Switch,
        /// Annotations understood.
        pub annotations: Vec<String>,
    }

    /// On or off.
    pub struct Switch in "camelCase" {
        /// Whether it is on.
        pub enabled: bool,
    }

    /// Node ports.
    pub struct NodePort in "camelCase" {
        /// Whether they are on.
        pub enabled: bool,
        /// `SNAT`, `DSR`, `Hybrid`.
        pub mode: String,
        /// `IP Option/Extension`, `Geneve`, `IPIP`.
        pub dsr_mode: String,
        /// `Random` or `Maglev`.
        pub algorithm: String,
        /// `None`, `Native`, `Best-Effort`.
        pub acceleration: String,
        /// Size of the Maglev tables.
        pub lut_size: u32,
        /// First port.
        pub port_min: u16,
        /// Last port.
        pub port_max: u16,
    }

    /// The API server.
    pub struct Kubernetes in "kebab-case" {
        /// `Ok`, `Warning`, `Failure` or `Disabled`.
        pub state: String,
        /// `1.34 (v1.34.0) [linux/amd64]`.
        pub msg: String,
        /// Kinds that are watched.
        pub k8s_api_versions: Vec<String>,
    }

    /// Masquerading.
    pub struct Masquerading in "kebab-case" {
        /// Whether it is on.
        pub enabled: bool,
        /// By family.
        #[serde(rename = "enabledProtocols")]
        pub enabled_protocols: Families,
        /// `BPF` or `iptables`.
        pub mode: String,
        /// IPv4 destinations that keep the pod's address.
        pub snat_exclusion_cidr_v4: String,
        /// IPv6 destinations that keep the pod's address.
        pub snat_exclusion_cidr_v6: String,
        /// Whether the list of the ip-masq-agent counts.
        pub ip_masq_agent: bool,
        /// Devices it happens on.
        pub devices: Vec<String>,
    }

    /// By family.
    pub struct Families in "kebab-case" {
        /// IPv4.
        pub ipv4: bool,
        /// IPv6.
        pub ipv6: bool,
    }

    /// The event ring.
    pub struct NodeMonitor in "kebab-case" {
        /// CPUs.
        pub cpus: u32,
        /// Pages, each CPU.
        pub npages: u32,
        /// Bytes of a page.
        pub pagesize: u32,
        /// Events that found no room.
        pub lost: u64,
        /// Events nobody understood.
        pub unknown: u64,
    }

    /// The proxy.
    pub struct Proxy in "kebab-case" {
        /// Address it listens on.
        pub ip: String,
        /// `10000-20000`.
        pub port_range: String,
        /// Ports in use.
        pub total_ports: u32,
        /// Redirects.
        pub total_redirects: u32,
        /// Each redirect.
        pub redirects: Vec<Redirect>,
        /// `embedded` or `external`.
        pub envoy_deployment_mode: String,
    }

    /// A redirect to the proxy.
    pub struct Redirect in "kebab-case" {
        /// `endpoint:direction:protocol:port`.
        pub name: String,
        /// Protocol spoken.
        pub proxy: String,
        /// Port of the proxy.
        pub proxy_port: u16,
    }

    /// How packets travel.
    pub struct Routing in "kebab-case" {
        /// `BPF` or `Legacy`.
        pub intra_host_routing_mode: String,
        /// `Native` or `Tunnel`.
        pub inter_host_routing_mode: String,
        /// `vxlan` or `geneve`.
        pub tunnel_protocol: String,
    }

    /// Segment routing.
    pub struct Srv6 in "camelCase" {
        /// Whether it is on.
        pub enabled: bool,
        /// `SRH` or `Reduced`.
        pub srv6_encap_mode: String,
    }

    /// Counts of module states.
    pub struct ModulesHealth in "kebab-case" {
        /// Stopped.
        pub stopped: u32,
        /// Degraded.
        pub degraded: u32,
        /// In order.
        pub ok: u32,
    }
}
