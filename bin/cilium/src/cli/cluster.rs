//! Arguments of the commands that install and look at Cilium.

use api::GoDuration;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Which cluster, and where in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReachArgs {
    /// Namespace that Cilium runs in
    #[arg(short, long, default_value = "kube-system")]
    pub(crate) namespace: String,
    /// Context of the kubeconfig; without it the current one
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// How to reach the cluster; without it ~/.kube/config
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Wait until nothing is wrong
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most
    #[arg(long, default_value = "5m0s")]
    pub(crate) wait_duration: GoDuration,
    /// Warnings are no reason to wait
    #[arg(long)]
    pub(crate) ignore_warnings: bool,
    /// Form of the answer
    #[arg(short, long, default_value = "summary")]
    pub(crate) output: StatusFormat,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    Summary,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Only of this program, without asking the cluster
    #[arg(long)]
    pub(crate) client: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// All keys and values of cilium-config
    View {
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// Set a key
    Set {
        /// Key of cilium-config: debug, enable-policy, …
        key: String,
        /// Its value
        value: String,
        /// Restart the agents, so that they read it
        #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set)]
        restart: bool,
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// Remove a key; the agent's default is then in force
    Delete {
        /// Key of cilium-config
        key: String,
        /// Restart the agents, so that they notice
        #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set)]
        restart: bool,
        #[command(flatten)]
        reach: ReachArgs,
    },
}

/// The release, and who manages it.
#[derive(Args, Clone, Debug)]
pub(crate) struct HelmArgs {
    /// Name of the release
    #[arg(long = "helm-release-name", default_value = "cilium", value_name = "NAME")]
    pub(crate) name: String,
    /// The helm to run; without it the one beside this command, or on PATH
    #[arg(id = "helm", long, env = "HELM", value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
}

/// What a release is made of.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReleaseArgs {
    /// One value of the chart; can be given several times
    #[arg(long = "set", visible_alias = "helm-set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Files of values; later ones win, and --set wins over them
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// Version of the chart; this command carries one
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// A chart of one's own instead of the one inside this command
    #[arg(long, value_name = "FOLDER")]
    pub(crate) chart_directory: Option<PathBuf>,
    /// Print the objects and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the values that would be given to helm and change nothing
    #[arg(long)]
    pub(crate) dry_run_helm_values: bool,
    /// Wait until Cilium is well
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most
    #[arg(long, default_value = "5m0s")]
    pub(crate) wait_duration: GoDuration,
    #[command(flatten)]
    pub(crate) helm: HelmArgs,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Args, Debug)]
pub(crate) struct UpgradeArgs {
    /// Forget the values of the last release
    #[arg(long)]
    pub(crate) reset_values: bool,
    /// Take the values of the last release as they are, without the new chart's defaults
    #[arg(long, conflicts_with = "reset_values")]
    pub(crate) reuse_values: bool,
    #[command(flatten)]
    pub(crate) release: ReleaseArgs,
}

#[derive(Args, Debug)]
pub(crate) struct UninstallArgs {
    /// Wait until the pods are gone
    #[arg(long)]
    pub(crate) wait: bool,
    /// Namespace of the connectivity test, which is removed, too
    #[arg(long, default_value = "cilium-test-1")]
    pub(crate) test_namespace: String,
    #[command(flatten)]
    pub(crate) helm: HelmArgs,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectivityCommand {
    /// Make pods and policies and try every way between them
    Test(TestArgs),
    /// Latency, new connections and throughput between pods
    Perf(PerfArgs),
}

/// Where and with what tests run.
#[derive(Args, Clone, Debug)]
pub(crate) struct BedArgs {
    /// Namespace of the test's own pods; it is made, and removed by `cilium uninstall`
    #[arg(long, default_value = "cilium-test-1")]
    pub(crate) test_namespace: String,
    /// Image with the test tool; without it the agent's with `test` in place of `cilium`
    #[arg(long, env = "CILIUM_TEST_IMAGE")]
    pub(crate) test_image: Option<String>,
    /// Remove the namespace afterwards
    #[arg(long)]
    pub(crate) cleanup: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Only tests or TEST/SCENARIOs that a regular expression matches; with ! in front those that it does not
    #[arg(long = "test", value_delimiter = ',', value_name = "REGEX")]
    pub(crate) tests: Vec<String>,
    /// Only say which tests there are
    #[arg(long)]
    pub(crate) list: bool,
    /// Addresses outside the cluster that answer on --external-port, one a family
    #[arg(long, value_delimiter = ',', default_value = "1.1.1.1")]
    pub(crate) external_target: Vec<std::net::IpAddr>,
    /// TCP port of those
    #[arg(long, default_value_t = 80)]
    pub(crate) external_port: u16,
    /// Milliseconds until an attempt counts as denied
    #[arg(long, default_value_t = 2000)]
    pub(crate) request_timeout: u64,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit_file: Option<PathBuf>,
    /// Folder for the flows of what failed
    #[arg(long, default_value = "cilium-connectivity", value_name = "FOLDER")]
    pub(crate) flows_dir: PathBuf,
    /// Every action, not only those that fail
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PerfArgs {
    /// Seconds a measurement
    #[arg(long, default_value_t = 5)]
    pub(crate) duration: u32,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SysdumpArgs {
    /// Name of the archive without .tar; `<ts>` becomes the time
    #[arg(long, default_value = "cilium-sysdump-<ts>", value_name = "FILE")]
    pub(crate) output_filename: String,
    /// Lines of each log
    #[arg(long, default_value_t = 10_000)]
    pub(crate) logs_limit_lines: u32,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FeaturesCommand {
    /// Which features are on, on each node
    Status {
        /// Form of the answer
        #[arg(short, long, default_value = "tab")]
        output: FeaturesFormat,
        #[command(flatten)]
        reach: ReachArgs,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FeaturesFormat {
    Tab,
    Json,
}
