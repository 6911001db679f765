//! `cilium`: looks at a cluster from outside, with its administrator's rights.
//!
//! Each command is a module that gives the text to print and the exit code, and says what takes long while it goes on:
//! `install` and its kin have helm bring the chart that is inside this program into a cluster; `status` tells how it is;
//! `connectivity` tries it; `hubble` leads to its relay and page; `policy` checks, compares and replays policies before they are applied.
//! Deliberately absent: a rendering of charts of our own (docs/decisions tells why), and what needs a node's agent
//! (`cilium-dbg` asks it).
#![forbid(unsafe_code)]

mod cli;
mod cluster;
mod config;
mod connectivity;
mod features;
mod files;
mod flows;
mod hubble;
mod install;
mod output;
mod policy;
mod status;
mod sysdump;
mod version;

use clap::Parser;
use cli::{Cli, Command};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Nothing can be said: bad files, no cluster, wrong usage.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = run(&cli).and_then(|answer| {
        let mut out = std::io::stdout().lock();
        out.write_all(answer.text.as_bytes())?;
        out.flush()?;
        Ok(answer.code)
    });
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever read our output has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a place to write to, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<output::Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &cli.command {
            Command::Install(args) => install::install(args).await,
            Command::Upgrade(args) => install::upgrade(args).await,
            Command::Uninstall(args) => install::uninstall(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Config(command) => config::run(command).await,
            Command::Connectivity(command) => connectivity::run(command).await,
            Command::Hubble(command) => hubble::run(command).await,
            Command::Sysdump(args) => sysdump::run(args).await,
            Command::Features(command) => features::run(command).await,
            Command::Version(args) => version::run(args).await,
            Command::Completion { shell } => Ok(version::completion(*shell)),
            Command::Policy(command) => policy::run(command).await,
        }
    })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
