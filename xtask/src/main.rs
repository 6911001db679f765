//! Tasks of the workshop: `cargo xtask bpf | tidy | …`.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bpf;

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
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Bpf => bpf::build(),
    }
}
