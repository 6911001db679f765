//! `cilium-dbg` (also called `cilium` in the agent's image): looks into the agent of this node over its unix socket.
//!
//! Called `cilium-health` it tells what nodes find when they ask each other whether they are there.
//! Every answer can be had as JSON with the keys of Cilium 1.19; the text forms are Cilium's too, column by column.

mod bpf;
mod cli;
mod endpoint;
mod explain;
mod health;
mod identity;
mod jsonpath;
mod kube_proxy;
mod lrp;
mod monitor;
mod node;
mod output;
mod policy;
mod service;
mod status;
mod trace;
mod version;

use anyhow::Result;
use api::Client;
use clap::Parser;
use cli::{Cli, Command, HealthCli};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from);
    let answer = match name.as_deref().and_then(Path::file_name) {
        Some(name) if name == "cilium-health" => {
            let cli = HealthCli::parse();
            health::run(&client(&cli.host), &cli.command)
        }
        _ => {
            let cli = Cli::parse();
            run(&client(&cli.host), &cli.command)
        }
    };
    match answer {
        Ok(code) => code,
        // `cilium-dbg … | head` closed the pipe: it has what it wanted.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes tell why; without a place to write to, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn client(host: &str) -> Client {
    Client::new(host.strip_prefix("unix://").unwrap_or(host))
}

fn run(client: &Client, command: &Command) -> Result<ExitCode> {
    let text = match command {
        Command::Status(args) => return status::run(client, args),
        Command::Monitor(args) => return monitor::run(client, args),
        Command::Policy(cli::PolicyCommand::Trace(args)) => return trace::run(client, args),
        Command::Policy(cli::PolicyCommand::Explain(args)) => explain::run(client, args)?,
        Command::Policy(command) => policy::run(client, command)?,
        Command::Endpoint(command) => endpoint::run(client, command)?,
        Command::Identity(command) => identity::run(client, command)?,
        Command::Service(command) => service::run(client, command)?,
        Command::Lrp(command) => lrp::run(client, command)?,
        Command::KubeProxy(command) => kube_proxy::run(client, command)?,
        Command::Bpf(command) => bpf::run(client, command)?,
        Command::Ip(command) => node::run_ip(client, command)?,
        Command::Node(command) => node::run(client, command)?,
        Command::Version(args) => version::run(client, args)?,
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes an answer to standard output.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
