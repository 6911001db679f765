//! `cilium-operator`: the cluster's part of the pod network. Registers the custom resources, gives nodes their pod CIDRs,
//! collects what nobody uses any more, tells Kubernetes which nodes have a network, restarts pods that have none of ours.
//!
//! [`plan`] decides, from facts to wishes, without IO; [`act`] and [`app`] do the IO.
#![forbid(unsafe_code)]

mod act;
mod app;
mod config;
mod definitions;
mod health;
mod metrics;
mod pace;
mod plan;
mod selector;
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use config::Config;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cilium-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let options = match config::gather(std::env::args_os(), std::env::vars()) {
        Ok(options) => options,
        // `--help` and `--version` come as errors, with a way to print them and a code of their own.
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(error) => error.exit(),
            Err(error) => return Err(error),
        },
    };
    let config = Config::parse(&options)?;
    let level = if config.debug { "debug,kube=info,hyper=info,tower=info" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let work = app::run(config, stopped);
        let signals = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to stop");
            stop.send_replace(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = work => result,
            () = signals => Ok(()),
        }
    })
}
