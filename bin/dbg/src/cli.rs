//! What can be said on the command line.

mod bpf;

use crate::output::Format;
use api::GoDuration;
use clap::{Args, Parser, Subcommand};

pub(crate) use bpf::{
    BpfCommand, BpfEndpointCommand, BpfPolicyCommand, CtCommand, IpcacheCommand, IpmasqCommand, LbCommand,
    LbListArgs, MaglevCommand, MetricsCommand, NatCommand, SocknatCommand,
};

/// Look into the cilium-agent of this node: its state, its endpoints, the kernel's tables, and packets as they pass.
#[derive(Debug, Parser)]
#[command(name = "cilium-dbg", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Where the agent listens: a path, or unix:// and a path
    #[arg(short = 'H', long, global = true, env = "CILIUM_SOCK", default_value = api::paths::SOCKET)]
    pub(crate) host: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Whether the nodes of the cluster are there, as seen from this one.
#[derive(Debug, Parser)]
#[command(name = "cilium-health", version, arg_required_else_help = true)]
pub(crate) struct HealthCli {
    /// Where the agent listens: a path, or unix:// and a path
    #[arg(short = 'H', long, global = true, env = "CILIUM_SOCK", default_value = api::paths::SOCKET)]
    pub(crate) host: String,
    #[command(subcommand)]
    pub(crate) command: HealthCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HealthCommand {
    /// Every node, its addresses, and what came of the last probes
    Status {
        /// Ask all nodes now instead of telling of the last time
        #[arg(long)]
        probe: bool,
        /// Only nodes that are not well
        #[arg(long)]
        succinct: bool,
        /// Also when each probe was made
        #[arg(long)]
        verbose: bool,
        #[command(flatten)]
        format: Output,
    },
    /// Whether the agent answers
    Ping,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// State of the agent; exits with 1 if it is not well
    Status(StatusArgs),
    /// Pods (and the host) of this node
    #[command(subcommand, visible_alias = "endpoints")]
    Endpoint(EndpointCommand),
    /// Security identities
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Services: their addresses and the backends behind them
    #[command(subcommand, visible_alias = "services")]
    Service(ServiceCommand),
    /// Local redirect policies
    #[command(subcommand)]
    Lrp(LrpCommand),
    /// What a kube-proxy that ran on this node has left
    #[command(subcommand)]
    KubeProxy(KubeProxyCommand),
    /// The kernel's tables
    #[command(subcommand)]
    Bpf(BpfCommand),
    /// Packets as the datapath sees them: drops, traces, policy verdicts
    Monitor(MonitorArgs),
    /// Policies, selectors, and what they would do to a packet
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Addresses and their identities
    #[command(subcommand)]
    Ip(IpCommand),
    /// Nodes of the cluster
    #[command(subcommand)]
    Node(NodeCommand),
    /// Version of this program and of the agent
    Version(Output),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// json, yaml or jsonpath='{.field}' instead of text
    #[arg(short, long)]
    pub(crate) output: Option<Format>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, named by the contract"
)]
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    /// Only OK, or what is wrong
    #[arg(long)]
    pub(crate) brief: bool,
    /// Everything: all the --all-* flags
    #[arg(long)]
    pub(crate) verbose: bool,
    /// All addresses in use
    #[arg(long)]
    pub(crate) all_addresses: bool,
    /// All controllers, not only those that fail
    #[arg(long)]
    pub(crate) all_controllers: bool,
    /// All health of modules
    #[arg(long)]
    pub(crate) all_health: bool,
    /// All nodes, not only those that are not healthy
    #[arg(long)]
    pub(crate) all_nodes: bool,
    /// All redirects to the proxy
    #[arg(long)]
    pub(crate) all_redirects: bool,
    /// All clusters
    #[arg(long)]
    pub(crate) all_clusters: bool,
    /// How long to wait for the agent
    #[arg(long, default_value = "30s")]
    pub(crate) timeout: GoDuration,
    #[command(flatten)]
    pub(crate) format: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// All endpoints
    #[command(visible_alias = "ls")]
    List {
        /// Without the two lines of titles
        #[arg(long)]
        no_headers: bool,
        #[command(flatten)]
        format: Output,
    },
    /// One endpoint, as JSON unless told otherwise
    Get {
        /// Number, or container-id:…, pod-name:NAMESPACE:NAME, ipv4:…, ipv6:…, cni-attachment-id:CONTAINER:INTERFACE
        id: String,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// All identities, or those that have all of LABELS
    #[command(visible_alias = "ls")]
    List {
        /// source:key=value
        labels: Vec<String>,
        /// Those of this node's endpoints, with how many have them
        #[arg(long)]
        endpoints: bool,
        #[command(flatten)]
        format: Output,
    },
    /// One identity
    Get {
        /// Number
        id: u32,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Every address of every service that the agent serves; beside kube-proxy those are cluster IPs
    #[command(visible_alias = "ls")]
    List {
        /// Mark backends that go before those of other clusters
        #[arg(long)]
        clustermesh_affinity: bool,
        #[command(flatten)]
        format: Output,
    },
    /// One address
    Get {
        /// Number, as the list has it
        id: u32,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LrpCommand {
    /// Every local redirect policy, and the pods of this node that it leads to
    #[command(visible_alias = "ls")]
    List(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KubeProxyCommand {
    /// Remove its chains of iptables, its tables of nftables and its device of IPVS; never those of kubelet or others.
    /// End kube-proxy first, or it makes them again. Open connections go on
    Cleanup {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MonitorArgs {
    /// Only these kinds: drop, trace, policy-verdict, trace-sock
    #[arg(short = 't', long = "type", value_delimiter = ',', value_parser = ["drop", "trace", "policy-verdict", "trace-sock"])]
    pub(crate) kinds: Vec<String>,
    /// Only from these endpoints
    #[arg(long, value_delimiter = ',')]
    pub(crate) from: Vec<u16>,
    /// Only to these endpoints
    #[arg(long, value_delimiter = ',')]
    pub(crate) to: Vec<u16>,
    /// Only from or to these endpoints
    #[arg(long, value_delimiter = ',')]
    pub(crate) related_to: Vec<u16>,
    /// With the time of each event
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    /// One JSON object a line
    #[arg(short = 'j', long)]
    pub(crate) json: bool,
    /// json: the same as --json
    #[arg(short, long, value_parser = ["json"])]
    pub(crate) output: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// All rules in force
    Get(Output),
    /// Selectors of the rules and the identities they select
    #[command(visible_alias = "selector")]
    Selectors {
        /// Also the labels of the rules
        #[arg(short, long)]
        verbose: bool,
        #[command(flatten)]
        format: Output,
    },
    /// What would happen to a packet, by the datapath's own code over a copy of the live tables; exits with 1 if it
    /// would be denied
    Trace(TraceArgs),
    /// Which rules let a recorded flow pass or dropped it, and which policies close the direction
    Explain(ExplainArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// Flows as JSON, one a line, as `hubble observe -o json` prints them; - = standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) flow: std::path::PathBuf,
    /// Also the rules that do not match
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) format: Output,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TraceArgs {
    /// Sender, receiver and port instead of the options: NAMESPACE/NAME of a pod, an address, the number of an endpoint, or
    /// `host` for this node; 80, 80/tcp, 53/udp, 8/icmp
    #[arg(value_names = ["FROM", "TO", "PORT"], num_args = 3, conflicts_with_all = ["SourceArgs", "DestinationArgs", "dport"])]
    pub(crate) packet: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
    /// Destination port and protocol: 80, 80/tcp, 53/udp, 8/icmp (the type)
    #[arg(long, default_value = "0/any")]
    pub(crate) dport: String,
    /// Source port, or the identifier of an ICMP echo; 0 = any
    #[arg(long, default_value_t = 0)]
    pub(crate) sport: u16,
    /// IPv6 where both ends have both families
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,
    /// The packet may belong to a connection that is tracked, instead of opening a new one
    #[arg(long)]
    pub(crate) existing: bool,
    #[command(flatten)]
    pub(crate) format: Output,
}

#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub(crate) struct SourceArgs {
    /// Sender: number of an endpoint of this node
    #[arg(long)]
    pub(crate) src_endpoint: Option<u16>,
    /// Sender: NAMESPACE:NAME of a pod
    #[arg(long)]
    pub(crate) src_k8s_pod: Option<String>,
    /// Sender: address
    #[arg(long)]
    pub(crate) src_ip: Option<std::net::IpAddr>,
    /// Sender: identity
    #[arg(long)]
    pub(crate) src_identity: Option<u32>,
    /// Sender: all labels of an identity, source:key=value
    #[arg(long = "src-labels", short = 's', value_delimiter = ',')]
    pub(crate) src_labels: Vec<String>,
}

#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub(crate) struct DestinationArgs {
    /// Receiver: number of an endpoint of this node
    #[arg(long)]
    pub(crate) dst_endpoint: Option<u16>,
    /// Receiver: NAMESPACE:NAME of a pod
    #[arg(long)]
    pub(crate) dst_k8s_pod: Option<String>,
    /// Receiver: address
    #[arg(long)]
    pub(crate) dst_ip: Option<std::net::IpAddr>,
    /// Receiver: identity
    #[arg(long)]
    pub(crate) dst_identity: Option<u32>,
    /// Receiver: all labels of an identity, source:key=value
    #[arg(long = "dst-labels", short = 'd', value_delimiter = ',')]
    pub(crate) dst_labels: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpCommand {
    /// All addresses
    #[command(visible_alias = "ls")]
    List {
        /// Numbers of identities instead of their labels
        #[arg(short, long)]
        numeric: bool,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// All nodes
    #[command(visible_alias = "ls")]
    List(Output),
}
