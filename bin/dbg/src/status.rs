//! `status`: the report, the exit code, the brief form.

mod details;
mod report;

use crate::cli::StatusArgs;
use crate::output::render;
use crate::print;
use anyhow::{Context, Result};
use api::health::HealthStatus;
use api::status::{State, Status};
use api::{Client, ClientError, paths};
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What of the long lists to show.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one a list that can be shown whole")]
pub(crate) struct Show {
    pub(crate) addresses: bool,
    pub(crate) controllers: bool,
    pub(crate) redirects: bool,
    pub(crate) nodes: bool,
    pub(crate) details: bool,
}

pub(crate) fn run(client: &Client, args: &StatusArgs) -> Result<ExitCode> {
    let client = client.clone().with_timeout(args.timeout.0);
    let status = match client.get::<Status>(paths::STATUS) {
        Ok(status) => status,
        Err(error @ (ClientError::Connect { .. } | ClientError::Exchange { .. })) if args.brief => {
            // The contract of this form is one line; the cause is for the long one.
            writeln!(std::io::stderr(), "cilium: daemon unreachable")?;
            drop(error);
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error).context("cilium: daemon unreachable"),
    };
    if args.brief {
        let (line, code) = brief(&status);
        print(&line)?;
        return Ok(code);
    }
    let show = Show {
        addresses: args.verbose || args.all_addresses,
        controllers: args.verbose || args.all_controllers,
        redirects: args.verbose || args.all_redirects,
        nodes: args.verbose || args.all_nodes,
        details: args.verbose,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs().cast_signed());
    // An agent that does not probe has nothing to tell.
    let health = client.get::<HealthStatus>(paths::CLUSTER_HEALTH).ok();
    let words = |status: &Status| report::report(status, health.as_ref(), show, now);
    print(&render(args.format.output.as_ref(), &status, words)?)?;
    Ok(exit_code(&status))
}

/// 1 when the agent itself is neither well nor switched off; other parts may be ailing.
fn exit_code(status: &Status) -> ExitCode {
    match &status.cilium {
        Some(cilium) if !is_well(cilium) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn is_well(state: &State) -> bool {
    state.state == "Ok" || state.state == "Disabled"
}

/// `OK`, or the first part that is not.
fn brief(status: &Status) -> (String, ExitCode) {
    let kubernetes = status.kubernetes.as_ref().map(|k| State { state: k.state.clone(), msg: k.msg.clone() });
    let health = status.cluster.as_ref().and_then(|cluster| cluster.cilium_health.clone());
    let parts = [
        ("kvstore", status.kvstore.clone()),
        ("container runtime", status.container_runtime.clone()),
        ("kubernetes", kubernetes),
        ("cilium", status.cilium.clone()),
        ("cluster", health),
    ];
    let bad =
        parts.into_iter().find_map(|(name, state)| state.filter(|s| !is_well(s)).map(|state| (name, state)));
    match bad {
        None => ("OK\n".to_owned(), ExitCode::SUCCESS),
        Some((name, state)) => (format!("error in {name}: {}\n", state.msg), ExitCode::FAILURE),
    }
}

#[cfg(test)]
mod tests;
