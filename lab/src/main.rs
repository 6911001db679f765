//! A real Kubernetes cluster on one Linux machine, from namespaces: no Docker, no virtual machine, no internet.
//!
//! ```text
//! lab up --nodes 2 --ipv6          etcd, API server, ... in namespace `cp`; kubelet and containerd in `n1`, `n2`
//! lab kubectl get nodes
//! lab exec n1 ip route             a command inside a machine
//! lab down
//! ```

mod addons;
mod cgroup;
mod control_plane;
mod down;
mod flannel;
mod image;
mod init;
mod layout;
mod machine;
mod net;
mod node;
mod pki;
mod pod;
mod report;
mod run;
mod status;
mod thin;
mod up;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use layout::{Cni, Lab, ProxyMode, Spec};

#[derive(Parser)]
#[command(about = "A real Kubernetes cluster on this machine, in namespaces", version)]
struct Cli {
    /// Name of the lab; several can exist at once
    #[arg(long, global = true, default_value = "main", env = "LAB_NAME")]
    name: String,
    /// Directory for the state of labs
    #[arg(long, global = true, default_value = "/tmp/axoneme-lab", env = "LAB_DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a cluster up
    Up(UpArgs),
    /// Remove it without a trace; also after a crash
    Down,
    /// Show machines, services, nodes
    Status {
        /// Form of the answer
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// kubectl as the administrator
    #[command(disable_help_flag = true)]
    Kubectl {
        /// kubectl's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// `cilium` as the administrator
    #[command(disable_help_flag = true)]
    Cilium {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run a command inside a machine: n1, n2, ..., cp, world
    Exec {
        /// Machine
        machine: String,
        /// Command and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Make the container images of the lab, or bring them into running nodes
    Image {
        #[command(subcommand)]
        what: ImageCommand,
    },
    /// Install or upgrade the chart in a running lab
    Chart {
        /// Helm values, later files win
        #[arg(long = "chart-values", value_name = "FILE")]
        values: Vec<PathBuf>,
        /// One Helm value
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// End or start a machine's services: kubelet, cilium-agent (of thin nodes), kube-apiserver, ...
    Service {
        #[command(subcommand)]
        what: ServiceCommand,
    },
    /// Pods of thin nodes (those of full nodes are made with `lab kubectl`)
    Pod {
        #[command(subcommand)]
        what: PodCommand,
    },
    #[command(name = thin::HEARTBEAT, hide = true)]
    Heartbeat,
    #[command(name = init::STAGE_1, hide = true)]
    MachineStart { spec: PathBuf },
    #[command(name = init::STAGE_2, hide = true)]
    MachineInit { spec: PathBuf },
}

#[derive(Args)]
struct UpArgs {
    /// Nodes with kubelet and containerd
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// Nodes with our agent alone, whose pods are made with `lab pod`
    #[arg(long, default_value_t = 0)]
    thin: u8,
    /// Dual stack
    #[arg(long)]
    ipv6: bool,
    /// What makes the pods' network
    #[arg(long, default_value = "chart")]
    cni: Cni,
    /// The same as --cni none
    #[arg(long, conflicts_with = "cni")]
    no_chart: bool,
    /// Helm values for the chart, later files win
    #[arg(long, value_name = "FILE")]
    chart_values: Vec<PathBuf>,
    /// One Helm value, stronger than the files
    #[arg(long = "set", value_name = "KEY=VALUE")]
    chart_set: Vec<String>,
    /// Run kube-proxy on every node
    #[arg(long, value_name = "MODE", num_args = 0..=1, default_value = "off", default_missing_value = "nftables")]
    kube_proxy: ProxyMode,
    /// Leave CoreDNS out
    #[arg(long)]
    no_dns: bool,
    /// Let the controller-manager give each node a pod CIDR
    #[arg(long)]
    node_cidrs: bool,
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Make the archives in target/images
    Build {
        #[command(flatten)]
        which: SuiteImages,
    },
    /// Make them and import them into all nodes
    Load {
        #[command(flatten)]
        which: SuiteImages,
    },
}

/// Images of a test suite, in place of the lab's own.
#[derive(Args)]
struct SuiteImages {
    /// Those of Kubernetes' end-to-end suite instead
    #[arg(long)]
    e2e: bool,
    /// Those of the network-policy-api's conformance suite instead
    #[arg(long, conflicts_with = "e2e")]
    conformance: bool,
}

impl SuiteImages {
    fn or(&self, usual: impl FnOnce() -> Result<Vec<image::Image>>) -> Result<Vec<image::Image>> {
        match self {
            SuiteImages { e2e: true, .. } => image::e2e::images(),
            SuiteImages { conformance: true, .. } => image::e2e::conformance(),
            SuiteImages { .. } => usual(),
        }
    }
}

#[derive(Subcommand)]
enum ServiceCommand {
    /// Send a signal, SIGKILL unless told otherwise
    Kill {
        /// Machine
        machine: String,
        /// Service, as `lab status` names it
        service: String,
        /// Number of the signal
        #[arg(long, default_value_t = 9)]
        signal: i32,
    },
    /// Start a service again that ended
    Start {
        /// Machine
        machine: String,
        /// Service, as `lab status` names it
        service: String,
    },
}

#[derive(Subcommand)]
enum PodCommand {
    /// Make a pod that serves TCP 80, 8080, 7000 and UDP 53; prints its addresses
    Add {
        /// Thin node
        node: String,
        /// NAME or NAMESPACE/NAME
        pod: String,
        /// Label of the pod
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Remove a pod
    Del {
        /// Thin node
        node: String,
        /// NAME or NAMESPACE/NAME
        pod: String,
    },
    /// Run a command in a pod's network namespace
    Exec {
        /// Thin node
        node: String,
        /// NAME or NAMESPACE/NAME
        pod: String,
        /// Command and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(e) => {
            // A line each, and never a backtrace: what reads only the end of this output wants the reason there.
            eprintln!(
                "error: {}",
                e.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: ")
            );
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let lab = Lab::new(&cli.dir, &cli.name)?;
    match cli.command {
        Command::Up(args) => up::up(&lab, &args.spec(&lab.name)?)?,
        Command::Down => down::down(&lab)?,
        Command::Status { output } => {
            let well = status::status(&lab, matches!(output, Output::Json))?;
            return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Kubectl { args } => {
            return Err(control_plane::kubectl(&lab)?.args(args).exec()).context("kubectl");
        }
        Command::Cilium { args } => {
            return Err(control_plane::cilium(&lab)?.args(args).exec()).context("cilium");
        }
        Command::Exec { machine, command } => return exec(&lab, &machine, &command),
        Command::Image { what } => images(&lab, &what)?,
        Command::Chart { values, set } => {
            let spec = Spec { chart_values: absolute(values)?, chart_set: set, ..lab.spec()? };
            addons::install_chart(&lab, &spec)?;
        }
        Command::Service { what } => service(&lab, what)?,
        Command::Pod { what } => return pods(&lab, what),
        Command::Heartbeat => thin::heartbeat(&lab)?,
        Command::MachineStart { spec } => init::stage_1(&spec)?,
        Command::MachineInit { spec } => init::stage_2(&spec)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl UpArgs {
    fn spec(self, name: &str) -> Result<Spec> {
        let cni = if self.no_chart { Cni::None } else { self.cni };
        Ok(Spec {
            name: name.to_owned(),
            nodes: self.nodes,
            thin: self.thin,
            ipv6: self.ipv6,
            cni,
            chart_values: absolute(self.chart_values)?,
            chart_set: self.chart_set,
            kube_proxy: self.kube_proxy,
            dns: !self.no_dns,
            // Flannel takes its subnets from the nodes.
            node_cidrs: self.node_cidrs || cni.flannel_backend().is_some(),
        })
    }
}

/// helm runs inside a machine, whose working directory is another.
fn absolute(files: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    files
        .into_iter()
        .map(|f| f.canonicalize().with_context(|| format!("values file {}", f.display())))
        .collect()
}

fn exec(lab: &Lab, name: &str, command: &[OsString]) -> Result<ExitCode> {
    let machine = machine::Handle::open(lab, name)?;
    let mut inside = machine.command(lab, &command[0])?;
    inside.args(&command[1..]).env("KUBECONFIG", lab.kubeconfig());
    // In the machine's cgroup too: what is attached to it must see this process.
    cgroup::join(&cgroup::existing(&lab.cgroup(), name)?)?;
    Err(inside.exec()).with_context(|| format!("cannot run {}", command[0].to_string_lossy()))
}

fn service(lab: &Lab, what: ServiceCommand) -> Result<()> {
    match what {
        ServiceCommand::Kill { machine, service, signal } => {
            let machine = machine::Handle::open(lab, &machine)?;
            machine.ask(&init::Request::Signal { name: service.clone(), signal })?;
            // A signal that ends programs: come back when it has, so that `start` can follow at once.
            if matches!(signal, 9 | 15) { machine.wait_end(&service) } else { Ok(()) }
        }
        ServiceCommand::Start { machine, service } => {
            machine::Handle::open(lab, &machine)?.ask(&init::Request::Again { name: service }).map(drop)
        }
    }
}

fn pods(lab: &Lab, what: PodCommand) -> Result<ExitCode> {
    match what {
        PodCommand::Add { node, pod, labels } => {
            for address in pod::Pod::new(lab, &node, &pod)?.add(&labels)? {
                report::say(address);
            }
        }
        PodCommand::Del { node, pod } => pod::Pod::new(lab, &node, &pod)?.delete()?,
        PodCommand::Exec { node, pod, command } => {
            let pod = pod::Pod::new(lab, &node, &pod)?;
            let mut inside = pod.command(&command[0])?;
            inside.args(&command[1..]);
            cgroup::join(&cgroup::existing(&lab.cgroup(), pod.node())?)?;
            return Err(inside.exec())
                .with_context(|| format!("cannot run {}", command[0].to_string_lossy()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn images(lab: &Lab, what: &ImageCommand) -> Result<()> {
    match what {
        ImageCommand::Build { which } => {
            for archive in image::build(&which.or(|| image::all(true, true))?)? {
                report::say(archive.display());
            }
        }
        ImageCommand::Load { which } => {
            let spec = lab.spec()?;
            // A cluster without a network gets ours by `cilium install`.
            let archives = image::build(&which.or(|| image::all(spec.cni != Cni::Bridge, spec.dns))?)?;
            for node in spec.nodes() {
                node::import_images(lab, &machine::Handle::open(lab, &node.name)?, &archives)?;
            }
        }
    }
    Ok(())
}
