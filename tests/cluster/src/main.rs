//! A real cluster put through its paces: `cluster demo` shows it, `cluster test` checks it.
//!
//! Everything goes through the doors that users have: the lab's command, `kubectl`, Helm values, `cilium-dbg`, `hubble`.

mod account;
mod chain;
mod cluster;
mod connectivity;
mod faults;
mod host_firewall;
mod hubble;
mod language;
mod manifests;
mod modes;
mod operate;
mod report;
mod restart;
mod rules;
mod seeds;
mod services;
mod tryout;
mod walkthroughs;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use cluster::{Cluster, Routing};
use report::Report;

#[derive(Parser)]
#[command(about = "A real cluster put through its paces", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Bring clusters up in both routing modes and show connectivity, policy and flows
    Demo,
    /// Check connectivity, policy, and restarts of the agent
    Test {
        /// How often the agent is killed under load
        #[arg(long, default_value_t = 10)]
        kills: u32,
        /// How often the backends of a service are replaced under load
        #[arg(long, default_value_t = 8)]
        rolls: u32,
    },
    /// Do what may go wrong on purpose: broken objects and files, an absent API server, hostile pods, careless administrators
    Faults {
        /// Only these
        #[arg(value_enum)]
        parts: Vec<faults::Part>,
    },
    /// The operator's day: install by `cilium`, status, connectivity test, health, sysdump, upgrade, uninstall
    Operate,
    /// The articles' steps: installation, screens line by line, a service captured in the pod, node ports, a node that is not well
    Walkthroughs,
    /// Other ways to install: addresses from Kubernetes, one address family, the enforcement modes
    Modes,
    /// Policies for the nodes themselves, and what becomes of one that cuts its node off
    Hostfw,
    /// Policies that name groups of blocks, services and nodes, and policies from files
    Language,
    /// A wrong policy, tried on recorded flows, audited, enforced
    Tryout {
        /// Also kill the agent while it audits
        #[arg(long)]
        restart: bool,
    },
    /// Every example policy of the seed documents
    Seeds,
    /// A cluster with Flannel and kube-proxy, to which our chart comes, chained behind Flannel and in kube-proxy's place
    Chain {
        /// Flannel with VXLAN between the nodes, not with routes
        #[arg(long)]
        vxlan: bool,
    },
    /// Flows of all nodes through the relay, exports, and metrics in a real Prometheus
    Hubble,
    /// Every type of service from every client
    Services,
    /// Replace the backends of a service again and again under load
    Roll {
        /// How often
        #[arg(long, default_value_t = 200)]
        times: u32,
    },
    /// Kill the agent at random moments under open connections, new connections and a denied canary
    Kill {
        /// How often
        #[arg(long, default_value_t = 100)]
        times: u32,
    },
}

fn main() -> ExitCode {
    let mut report = Report::default();
    let done = run(Cli::parse().what, &mut report);
    report.finish();
    if let Err(e) = &done {
        eprintln!("FAILED  before the end: {e:#}");
    }
    if done.is_ok() && report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An error is one that leaves nothing to go on with; what merely came out wrong is in the report.
fn run(what: What, report: &mut Report) -> Result<()> {
    match what {
        What::Demo => {
            demo(report)?;
            operate::demo(report)?;
        }
        What::Test { kills, rolls } => {
            let cluster = Cluster::up("citest", Routing::Native)?;
            connectivity::run(&cluster, report)?;
            rules::run(&cluster, report)?;
            seeds::run(&cluster, report)?;
            tryout::run(&cluster, true, report)?;
            faults::run(&cluster, &[], report)?;
            restart::run(&cluster, kills, report)?;
            services::run(&cluster, Routing::Native, report)?;
            services::roll(&cluster, rolls, report)?;
            drop(cluster);
            let cluster = Cluster::up("citest", Routing::Tunnel)?;
            connectivity::run(&cluster, report)?;
            services::run(&cluster, Routing::Tunnel, report)?;
            restart::run(&cluster, kills.div_ceil(2), report)?;
            drop(cluster);
            let cluster = host_firewall::up()?;
            language::run(&cluster, report)?;
            host_firewall::run(&cluster, report)?;
            drop(cluster);
            faults::exhausted_pool(report)?;
            faults::full_tables(report)?;
            modes::run(report)?;
        }
        What::Modes => modes::run(report)?,
        What::Hostfw => host_firewall::run(&host_firewall::up()?, report)?,
        What::Language => language::run(&host_firewall::up()?, report)?,
        What::Operate => operate::run(report)?,
        What::Walkthroughs => walkthroughs::run(report)?,
        What::Faults { parts } => {
            let own = [faults::Part::Pool, faults::Part::Tables];
            if parts.is_empty() || parts.iter().any(|part| !own.contains(part)) {
                faults::run(&Cluster::up("faults", Routing::Native)?, &parts, report)?;
            }
            if parts.is_empty() || parts.contains(&faults::Part::Pool) {
                faults::exhausted_pool(report)?;
            }
            if parts.is_empty() || parts.contains(&faults::Part::Tables) {
                faults::full_tables(report)?;
            }
        }
        What::Tryout { restart } => {
            let cluster = Cluster::up("tryout", Routing::Native)?;
            connectivity::run(&cluster, report)?;
            tryout::run(&cluster, restart, report)?;
        }
        What::Seeds => {
            let cluster = Cluster::up("seeds", Routing::Native)?;
            cluster.apply(&[manifests::namespace()])?;
            seeds::run(&cluster, report)?;
        }
        What::Chain { vxlan } => chain::run(vxlan, report)?,
        What::Hubble => hubble::run(report)?,
        What::Services => {
            for routing in [Routing::Native, Routing::Tunnel] {
                let cluster = Cluster::up("services", routing)?;
                cluster.apply(&[manifests::namespace()])?;
                services::run(&cluster, routing, report)?;
            }
        }
        What::Roll { times } => {
            let cluster = Cluster::up("roll", Routing::Native)?;
            cluster.apply(&[manifests::namespace()])?;
            services::run(&cluster, Routing::Native, report)?;
            services::roll(&cluster, times, report)?;
        }
        What::Kill { times } => {
            let cluster = Cluster::up("kill", Routing::Native)?;
            connectivity::run(&cluster, report)?;
            restart::run(&cluster, times, report)?;
        }
    }
    Ok(())
}

/// What `make demo` shows with native routing; `operate::demo` goes on with the tunnel.
fn demo(report: &mut Report) -> Result<()> {
    let routing = Routing::Native;
    report.title(&format!("A cluster with {} routing", routing.name()));
    let cluster = Cluster::up("demo", routing)?;
    report.title("Nodes");
    report.show(&cluster.kubectl(&["get", "nodes", "-o", "wide"])?);
    report.show(&cluster.kubectl(&["get", "ciliumnodes", "-o", "wide"])?);
    report.title("cilium-dbg status on n1");
    report.show(&cluster.agent("n1", &["cilium-dbg", "status"])?);
    connectivity::run(&cluster, report)?;
    report.title("Endpoints of n1");
    report.show(&cluster.agent("n1", &["cilium-dbg", "endpoint", "list"])?);
    report.title("Flows on n1: verdicts, and the policies behind them");
    let observe = ["hubble", "observe", "--last", "200", "--print-policy-names", "-n", manifests::NAMESPACE];
    let flows = cluster.agent("n1", &observe)?;
    report.show(&connectivity::telling(&flows, 24));
    tryout::run(&cluster, false, report)?;
    services::run(&cluster, routing, report)
}
