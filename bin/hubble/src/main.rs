//! `hubble`: looks at the flows of a node, or of a cluster through a relay.
#![forbid(unsafe_code)]

mod cli;
mod connect;
mod events;
mod filters;
mod input;
mod list;
mod observe;
mod output;
mod request;
mod settings;
mod status;
mod table;
mod when;

use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, Command, Kind, List, Watch};
use settings::Settings;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    match start(&mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough (`hubble observe | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", flow::format::clean(&chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn start(out: &mut dyn Write) -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let settings = Settings::read(&arguments)?;
    let command = settings.as_defaults(Cli::command());
    let matches = command.clone().get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match &cli.command {
        Command::Config { what } => settings.run(what, &matches, &command, out),
        _ => run(cli, out),
    }
}

fn run(cli: Cli, out: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Observe(options) if options.select.kind == Kind::Flows => {
                observe::run(&options, &cli.server, cli.debug, out).await
            }
            Command::Observe(options) => events::run(&options, &cli.server, out).await,
            Command::Status(options) => status::run(&options, &cli.server, out).await,
            Command::List { what: List::Nodes(options) } => list::nodes(&options, &cli.server, out).await,
            Command::List { what: List::Namespaces(options) } => {
                list::namespaces(&options, &cli.server, out).await
            }
            Command::Watch { what: Watch::Peers } => list::watch_peers(&cli.server, out).await,
            // Done before, since it needs the file.
            Command::Config { .. } => Ok(()),
            Command::Version => Ok(writeln!(out, "{}", cli::version())?),
        }
    })
}

/// The error and its causes, without those that only repeat what was said.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}
