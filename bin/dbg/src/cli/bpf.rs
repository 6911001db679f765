//! `bpf …`.

use super::Output;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum BpfCommand {
    /// Addresses and prefixes with their identity and node
    #[command(subcommand)]
    Ipcache(IpcacheCommand),
    /// Tracked connections
    #[command(subcommand)]
    Ct(CtCommand),
    /// Destinations towards which pods keep their own address (ip-masq-agent)
    #[command(subcommand)]
    Ipmasq(IpmasqCommand),
    /// Services: frontends, backends, source ranges
    #[command(subcommand)]
    Lb(LbCommand),
    /// Translated connections
    #[command(subcommand)]
    Nat(NatCommand),
    /// Translated sockets
    #[command(subcommand)]
    Socknat(SocknatCommand),
    /// Policy tables of endpoints
    #[command(subcommand)]
    Policy(BpfPolicyCommand),
    /// Packets forwarded and dropped
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Pods of this node, as the programs know them
    #[command(subcommand)]
    Endpoint(BpfEndpointCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpcacheCommand {
    /// All entries
    #[command(visible_alias = "ls")]
    List(Output),
    /// The entry that holds for an address
    Get {
        /// Address
        ip: std::net::IpAddr,
        #[command(flatten)]
        format: Output,
    },
    /// Prefixes that have an identity
    Match {
        /// Identity
        identity: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpmasqCommand {
    /// All destinations
    #[command(visible_alias = "ls")]
    List(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtCommand {
    /// All connections
    #[command(visible_alias = "ls")]
    List {
        /// The only table there is
        #[arg(value_enum, default_value_t = CtTable::Global)]
        table: CtTable,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CtTable {
    Global,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BpfPolicyCommand {
    /// The table of one endpoint, or of all
    #[command(visible_alias = "list")]
    Get {
        /// Number of the endpoint
        #[arg(required_unless_present = "all")]
        endpoint: Option<u16>,
        /// Tables of all endpoints
        #[arg(long, conflicts_with = "endpoint")]
        all: bool,
        /// Numbers of identities instead of their labels
        #[arg(short, long)]
        numeric: bool,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// All counters
    #[command(visible_alias = "ls")]
    List(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BpfEndpointCommand {
    /// All pods
    #[command(visible_alias = "ls")]
    List(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LbCommand {
    /// Frontends with their backends
    #[command(visible_alias = "ls")]
    List(LbListArgs),
    /// Tables of services that choose by hash
    #[command(subcommand)]
    Maglev(MaglevCommand),
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, named by the contract"
)]
#[derive(Args, Clone, Debug)]
pub(crate) struct LbListArgs {
    /// Rows of frontends: slots, counts, raw flags
    #[arg(long, group = "view")]
    pub(crate) frontends: bool,
    /// Backends by slot
    #[arg(long, group = "view")]
    pub(crate) backends: bool,
    /// Addresses that replies come from, by number of the service port
    #[arg(long, group = "view")]
    pub(crate) revnat: bool,
    /// Clients that services let in, or keep out
    #[arg(long, group = "view")]
    pub(crate) source_ranges: bool,
    #[command(flatten)]
    pub(crate) format: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MaglevCommand {
    /// All tables
    #[command(visible_alias = "ls")]
    List(Output),
    /// The tables of one service port
    Get {
        /// Its number (REVNAT_ID of bpf lb list)
        service: u32,
        #[command(flatten)]
        format: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NatCommand {
    /// All translations
    #[command(visible_alias = "ls")]
    List(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SocknatCommand {
    /// All sockets
    #[command(visible_alias = "ls")]
    List(Output),
}
