//! The command line.

mod server;

use crate::filters::Occurrences;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
pub(crate) use server::Server;
use std::path::PathBuf;

/// Looks at what happens on the network of a Kubernetes cluster: who talks to whom, what was dropped, and which policy
/// decided.
#[derive(Debug, Parser)]
#[command(name = "hubble", version = version_number(), disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) server: Server,
    /// File with settings, see hubble config --help [default: hubble/config.yaml in the folder of configurations]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Say more, also which nodes answer
    #[arg(short = 'D', long, global = true, env = "HUBBLE_DEBUG")]
    pub(crate) debug: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show flows: those that the server keeps, or those to come
    Observe(Box<Observe>),
    /// Show how the server is
    Status(Status),
    /// List what the server knows
    #[command(subcommand_required = true)]
    List {
        #[command(subcommand)]
        what: List,
    },
    /// Watch what changes
    #[command(subcommand_required = true)]
    Watch {
        #[command(subcommand)]
        what: Watch,
    },
    /// Show or change the settings in the configuration file
    #[command(
        subcommand_required = true,
        after_help = "Options of the server can be given as flags, in the environment (HUBBLE_SERVER for --server, \
HUBBLE_TLS_SERVER_NAME for --tls-server-name and so on) or in the file; the first of these that is there counts."
    )]
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
    /// Show the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show what holds, from all sources
    View,
    /// Show one value that holds, or all
    Get {
        /// The name of the flag, without --
        key: Option<String>,
    },
    /// Write a value to the file; without one the default holds again
    Set {
        /// The name of the flag, without --
        key: String,
        /// Its value; of a list, all members joined by commas
        value: Option<String>,
    },
    /// Take a value out of the file, or all
    Reset {
        /// The name of the flag, without --
        key: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum List {
    /// Nodes, and how their servers are
    #[command(visible_alias = "node")]
    Nodes(ListOptions),
    /// Namespaces with a flow in the last hour
    #[command(visible_aliases = ["namespace", "ns"])]
    Namespaces(ListOptions),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Watch {
    /// Servers of the cluster as they come and go
    #[command(visible_alias = "peer")]
    Peers,
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: ListOutput,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListOutput {
    /// Columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// How to print flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// One line each
    #[default]
    Compact,
    /// One KEY: value a line
    Dict,
    /// One JSON object (GetFlowsResponse) a line
    #[value(alias = "JSON")]
    Json,
    /// The same as json
    Jsonpb,
    /// Columns; not with --follow
    #[value(alias = "tab")]
    Table,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A filter given more than once fits if one of its values does; different filters must all fit. \
--not turns the next filter around, as in: hubble observe --not --namespace kube-system --verdict DROPPED"
)]
pub(crate) struct Observe {
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) filters: Occurrences,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// What there is to observe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Flows
    #[default]
    Flows,
    /// What happens in the agent
    AgentEvents,
    /// Debug messages of the datapath
    DebugEvents,
}

/// Which part of the stream.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Selectors")]
pub(crate) struct Select {
    /// What to show
    #[arg(value_enum, default_value_t)]
    pub(crate) kind: Kind,
    /// The last N flows [default: 20]
    #[arg(long, value_name = "N", conflicts_with_all = ["first", "all"])]
    pub(crate) last: Option<u64>,
    /// The first N flows
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "follow"])]
    pub(crate) first: Option<u64>,
    /// All flows that the server keeps
    #[arg(long)]
    pub(crate) all: bool,
    /// Go on with flows as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// From this time on: a while ago (3s, 4m, 1h30m) or a date (2006-01-02, 2006-01-02T15:04:05Z)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Up to this time, written as for --since
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only flows that fit one of these FlowFilters, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) allowlist: Vec<String>,
    /// No flows that fit one of these FlowFilters, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) denylist: Vec<String>,
    /// Print the filters that would be sent, and send nothing
    #[arg(long)]
    pub(crate) print_raw_filters: bool,
    /// Read flows from this file (lines of -o json) instead of a server; - is the standard input
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    pub(crate) input_file: Option<PathBuf>,
    /// Ask only for these fields of flows, such as source.pod_name; with -o json
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub(crate) field_mask: Vec<String>,
    /// Ask only for the fields that are printed, unless the output is JSON
    #[arg(long, action = ArgAction::Set, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub(crate) use_default_field_masks: bool,
}

/// How flows look.
#[derive(Debug, Args)]
#[command(next_help_heading = "Format")]
pub(crate) struct Format {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Also print the node that saw the flow
    #[arg(long)]
    pub(crate) print_node_name: bool,
    /// Also print the policies behind a policy verdict
    #[arg(long)]
    pub(crate) print_policy_names: bool,
    /// How to print times: StampMilli, YearMonthDay, YearMonthDayHour, YearMonthDayHourMinute, RFC3339, RFC3339Milli,
    /// RFC3339Micro, RFC3339Nano, RFC1123Z
    #[arg(long, value_name = "FORMAT", default_value = "StampMilli")]
    pub(crate) time_format: String,
    /// When to print in colours (compact and dict)
    #[arg(long, value_enum, default_value_t)]
    pub(crate) color: Colour,
    /// Print names instead of addresses
    #[arg(long, action = ArgAction::Set, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub(crate) ip_translation: bool,
    /// Print addresses, not names
    #[arg(long)]
    pub(crate) numeric: bool,
    /// Say nothing about nodes that do not answer
    #[arg(short, long)]
    pub(crate) silent_errors: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// If the output is a terminal, and NO_COLOR is not set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn version_number() -> &'static str {
    concat!("v", env!("CARGO_PKG_VERSION"))
}

/// The line of `hubble version`.
pub(crate) fn version() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "hubble {} compiled with rustc {} on {}/{arch}",
        version_number(),
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
