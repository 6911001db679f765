//! Tasks of the workshop: `cargo xtask bpf | tidy | docs | bench`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod bpf;
mod docs;
mod tidy;

#[derive(Parser)]
#[command(about = "Tasks of the workshop", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel programs into target/bpf/axoneme.o
    Bpf,
    /// Check what no compiler checks: layers, who may import what, purity, sizes, the kernel contract's version
    Tidy {
        /// Record the contract with the kernel programs as it is now; `ABI_VERSION` must have grown
        #[arg(long)]
        bless_abi: bool,
    },
    /// Write the reference in docs/site from the code: options, values of the chart, drop reasons
    Docs {
        /// Only say which pages are not as the code is
        #[arg(long)]
        check: bool,
    },
    /// Measure: writes target/bench/NAME.json and prints it as a table
    Bench {
        /// What to measure
        #[arg(default_value = "pod-path")]
        name: String,
        /// More for the program that measures, such as `--only kernel --quick`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Bpf => bpf::build(),
        Task::Tidy { bless_abi: true } => tidy::bless_abi(),
        Task::Tidy { bless_abi: false } => tidy::check(),
        Task::Docs { check } => docs::run(check),
        Task::Bench { name, arguments } => bench::run(&name, &arguments),
    }
}
