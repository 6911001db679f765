//! What can be said on the command line.

mod cluster;
mod hubble;

use api::GoDuration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

pub(crate) use cluster::{
    BedArgs, ConfigCommand, ConnectivityCommand, FeaturesCommand, FeaturesFormat, PerfArgs, ReachArgs,
    ReleaseArgs, StatusArgs, StatusFormat, SysdumpArgs, TestArgs, UninstallArgs, UpgradeArgs, VersionArgs,
};

pub(crate) use hubble::HubbleCommand;

/// Install Cilium, look at a cluster, and try changes before they are made.
#[derive(Debug, Parser)]
#[command(name = "cilium", arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install Cilium: looks at the cluster, says what it decided, and has helm install the chart
    Install(ReleaseArgs),
    /// Change an installation, or bring it to this command's version
    Upgrade(UpgradeArgs),
    /// Remove an installation; pods keep their addresses until they end
    Uninstall(UninstallArgs),
    /// How an installation is
    Status(StatusArgs),
    /// Keys of the ConfigMap cilium-config
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Whether pods reach what they should, and nothing else
    #[command(subcommand)]
    Connectivity(ConnectivityCommand),
    /// Reach Hubble from this machine
    #[command(subcommand)]
    Hubble(HubbleCommand),
    /// Gather what helps to find a fault, without secrets
    Sysdump(SysdumpArgs),
    /// What is switched on
    #[command(subcommand)]
    Features(FeaturesCommand),
    /// Versions of this program and of what runs
    Version(VersionArgs),
    /// Script that completes commands in a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Policies, before they are applied
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policies as the API server and the agent would; exits with 1 if one is refused
    #[command(visible_alias = "lint")]
    Validate(ValidateArgs),
    /// What policies would change, by workload; exits with 1 if anything
    Diff(DiffArgs),
    /// Which recorded flows would fare otherwise, by the datapath's own code; exits with 1 if any
    Replay(ReplayArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ValidateArgs {
    /// Files or folders of YAML or JSON; - = standard input
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Namespace of objects that do not tell theirs
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Look selectors up among the pods of the cluster
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Warnings count as errors
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    #[command(flatten)]
    pub(crate) format: Output,
}

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) candidate: CandidateArgs,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    #[command(flatten)]
    pub(crate) format: Output,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) candidate: CandidateArgs,
    /// Flows as JSON, one a line, as `hubble observe -o json` prints them; - = standard input
    #[arg(long, required_unless_present = "since", conflicts_with = "since")]
    pub(crate) flows: Vec<PathBuf>,
    /// The flows of this last while that the servers keep: 1h, 30m
    #[arg(long)]
    pub(crate) since: Option<GoDuration>,
    /// Servers of flows, for --since: unix://PATH or HOST:PORT
    #[arg(
        long,
        env = "HUBBLE_SERVER",
        value_delimiter = ',',
        default_value = "unix:///var/run/cilium/hubble.sock"
    )]
    pub(crate) server: Vec<String>,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    #[command(flatten)]
    pub(crate) format: Output,
}

/// What is to be tried.
#[derive(Args, Debug)]
pub(crate) struct CandidateArgs {
    /// The policies to try: files or folders; they replace those of the same kind and name. - = standard input
    #[arg(short = 'f', long = "filename", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Namespace of objects that do not tell theirs
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

/// What there is: a cluster, or files that were written of one.
#[derive(Args, Debug)]
pub(crate) struct KnownArgs {
    /// Pods and namespaces instead of the cluster's: `kubectl get pods,namespaces -A -o yaml`
    #[arg(long, value_name = "FILE")]
    pub(crate) pods: Vec<PathBuf>,
    /// Policies in force instead of the cluster's: files or folders
    #[arg(long, value_name = "FILE")]
    pub(crate) policies: Vec<PathBuf>,
    /// How to reach the cluster; without it ~/.kube/config
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// With files: policyEnforcementMode of the cluster
    #[arg(long, default_value = "default")]
    pub(crate) enforcement: Enforcement,
    /// With files: name of the cluster
    #[arg(long, default_value = "default")]
    pub(crate) cluster_name: String,
}

impl KnownArgs {
    /// Whether files are given in place of a cluster.
    pub(crate) fn is_files(&self) -> bool {
        !self.pods.is_empty() || !self.policies.is_empty()
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Enforcement {
    Default,
    Always,
    Never,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Form of the answer
    #[arg(short, long, default_value = "text")]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}
