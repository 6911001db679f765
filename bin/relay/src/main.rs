//! `hubble-relay`: the flows of all nodes at one address.
#![forbid(unsafe_code)]

mod app;
mod config;
mod metrics;

use anyhow::Context;
use config::{Cli, Command};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = <Cli as clap::Parser>::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hubble-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let config = match cli.command {
        Command::Serve(options) => options.config()?,
        Command::Version => {
            println!("hubble-relay v{}", env!("CARGO_PKG_VERSION"));
            return Ok(());
        }
    };
    let level = if config.debug { "debug,h2=info,hyper=info,tower=info" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(app::run(config))
}
