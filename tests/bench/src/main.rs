//! Measures the pod path, services, policy and flows, and writes `target/bench/NAME.json`: pairs in one run, medians of ratios,
//! never an assertion. It ends with 0 once all was measured, whatever the values; what could not be measured is in the file
//! too, without a value and with the reason.

mod figure;
mod flows;
mod inside;
mod kernel;
mod lab;
mod pairs;
mod pod_path;
mod policy;
mod services;
mod stats;
mod suite;
mod thin;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use suite::Suite;

#[derive(Parser)]
#[command(about = "Measures the pod path, services, policy and flows", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The way of packets between pods, and of pods into the network
    PodPath(Wish<pod_path::Part>),
    /// Connections to services beside those to pods, and beside kube-proxy
    Services(Wish<services::Part>),
    /// What policies cost: the engine, lookups, from the API server to packets
    Policy(Wish<policy::Part>),
    /// Flows, from the kernel's record to readers
    Flows(Wish<flows::Part>),
    /// What is measured inside a lab's node
    #[command(hide = true)]
    Inside { task: PathBuf },
    /// What the measurement of services does inside a lab's machine
    #[command(hide = true)]
    InsideServices { task: String },
}

/// What of a suite to measure.
#[derive(Args)]
struct Wish<P: ValueEnum + Clone + Send + Sync + 'static> {
    /// Only these parts; figures of the others are taken from the file of an earlier run
    #[arg(long, value_delimiter = ',')]
    only: Vec<P>,
    /// Few rounds: to see that everything works
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().bench {
        Bench::PodPath(wish) => measure("pod-path", wish),
        Bench::Services(wish) => measure("services", wish),
        Bench::Policy(wish) => measure("policy", wish),
        Bench::Flows(wish) => measure("flows", wish),
        Bench::Inside { task } => inside::run(&task),
        Bench::InsideServices { task } => services::inside::run(&task),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure<P: suite::Part + ValueEnum>(name: &str, wish: Wish<P>) -> Result<()> {
    Suite { name, only: wish.only, quick: wish.quick }.measure()
}

/// Root of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
