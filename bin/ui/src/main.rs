//! `hubble-ui`: the page. It asks a relay for flows, sums them up, and tells browsers.
//!
//! - One stream from the relay serves all browsers, and there is none while nobody looks.
//! - What a browser is told is bounded: a map of so many nodes and edges, so many rows a second. What it is not told of
//!   is counted. A browser that does not read costs nothing but its own view.
//! - Whatever comes from outside is cut to a bearable length before it is kept (`clip`), and is text wherever it is shown.
//! - Nothing is ever written to the cluster. Policies are tried here and applied by those who may, elsewhere.
//!
//! Deliberately absent: users and passwords. Whoever reaches the page sees all flows; the chart makes it reachable only
//! inside the cluster unless it is told otherwise.
#![forbid(unsafe_code)]

mod app;
mod assets;
mod clip;
mod cluster;
mod config;
mod guard;
mod http;
mod hub;
mod policy;
mod relay;
mod stream;
mod view;

use anyhow::Context;
use clap::Parser;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match start(config::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hubble-ui: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: config::Options) -> anyhow::Result<()> {
    let config = options.config()?;
    let level = if config.debug { "debug,h2=info,hyper=info,tower=info" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(app::run(config))
}
