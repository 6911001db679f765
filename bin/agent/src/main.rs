//! The agent of a node: pod network and policy.

mod api_server;
mod app;
mod clock;
mod config;
mod controllers;
mod convert;
mod devices;
mod exports;
mod health;
mod host_firewall;
mod ip_masq;
mod kernel;
mod kube_proxy;
mod lock;
mod metrics;
mod names;
mod news;
mod node;
mod outbox;
mod owner;
mod policy_files;
mod probes;
mod queue;
mod restore;
mod services;
mod startup;
mod support;
mod tasks;
mod untracked;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use config::{Config, Options};

/// An error with its causes, in one line.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    kube_api::error::chain(error)
}

fn main() -> ExitCode {
    let options = match config::gather(std::env::args_os(), std::env::vars()) {
        Ok(options) => options,
        Err(error) => return refuse(error),
    };
    let config = match Config::parse(&options) {
        Ok(config) => config,
        Err(error) => return fatal(&error.context("invalid daemon configuration")),
    };
    log(&options, &config);
    // One thread decides; the kernel forwards. Traffic never waits for this process.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fatal(&error.into()),
    };
    match runtime.block_on(app::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fatal(&error),
    }
}

/// `--help` and `--version` are answers of the command line too, and no failures.
fn refuse(error: anyhow::Error) -> ExitCode {
    match error.downcast::<clap::Error>() {
        Ok(usage) => {
            let failed = usage.use_stderr();
            // Without a place to print to there is nobody to tell.
            let _ = usage.print();
            ExitCode::from(u8::from(failed) * 2)
        }
        Err(error) => fatal(&error),
    }
}

fn fatal(error: &anyhow::Error) -> ExitCode {
    // Also for the kubelet, which shows the end of the log as the reason of a crash.
    eprintln!("level=fatal msg=\"Error while creating daemon\" error=\"{error:#}\" subsys=daemon");
    ExitCode::FAILURE
}

fn log(options: &Options, config: &Config) {
    let level = if config.debug { "debug" } else { "info" };
    // What the object's relocation has to say is of no use to anybody here.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},aya_obj=info,aya=info,hyper=info,hyper_util=info,kube_client=info,tower=info,h2=info,rustls=info")));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), options = ?options.in_force(), "cilium-agent");
    if !options.unknown().is_empty() {
        tracing::info!(
            options = options.unknown().join(", "),
            "options of other programs or versions, ignored"
        );
    }
}
