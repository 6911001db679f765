//! `endpoint list` and `endpoint get`.

use crate::cli::EndpointCommand;
use crate::output::{Format, render};
use anyhow::Result;
use api::endpoint::Endpoint;
use api::table;
use api::{Client, paths};
use std::fmt::Write;

pub(crate) fn run(client: &Client, command: &EndpointCommand) -> Result<String> {
    match command {
        EndpointCommand::List { no_headers, format } => {
            let mut endpoints: Vec<Endpoint> = client.get(paths::ENDPOINTS)?;
            endpoints.sort_by_key(|endpoint| endpoint.id);
            render(format.output.as_ref(), &endpoints, |endpoints| list(endpoints, *no_headers))
        }
        EndpointCommand::Get { id, format } => {
            let endpoint: Endpoint = client.get(&paths::endpoint(id))?;
            render(Some(format.output.as_ref().unwrap_or(&Format::Json)), &[endpoint], |_| String::new())
        }
    }
}

/// The table, one label a line.
pub(crate) fn list(endpoints: &[Endpoint], no_headers: bool) -> String {
    let mut text = String::new();
    if !no_headers {
        text.push_str(
            "ENDPOINT\tPOLICY (ingress)\tPOLICY (egress)\tIDENTITY\tLABELS (source:key[=value])\tIPv6\tIPv4\tSTATUS\t\n\
             \tENFORCEMENT\tENFORCEMENT\t\t\t\t\t\t\n",
        );
    }
    for endpoint in endpoints {
        rows(endpoint, &mut text);
    }
    table::layout(&text)
}

fn rows(endpoint: &Endpoint, text: &mut String) {
    let status = &endpoint.status;
    let (ingress, egress) = enforcement(&status.policy.realized.policy_enabled);
    let (identity, mut labels) = match &status.identity {
        Some(identity) => (identity.id.to_string(), identity.labels.clone()),
        None => ("<no label id>".to_owned(), Vec::new()),
    };
    labels.sort();
    let mut labels = labels.iter().map(String::as_str);
    let (ipv6, ipv4) = match status.networking.addressing.first() {
        Some(pair) => (pair.ipv6.as_str(), pair.ipv4.as_str()),
        None => ("No address", "No address"),
    };
    let (id, state, first) = (endpoint.id, &status.state, labels.next().unwrap_or("no labels"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{id}\t{ingress}\t{egress}\t{identity}\t{first}\t{ipv6}\t{ipv4}\t{state}\t");
    for label in labels {
        let _ = writeln!(text, "\t\t\t\t{label}\t\t\t\t");
    }
}

/// Texts of the two policy columns.
fn enforcement(enabled: &str) -> (&'static str, &'static str) {
    const AUDIT: &str = "Disabled (Audit)";
    match enabled {
        "both" => ("Enabled", "Enabled"),
        "ingress" => ("Enabled", "Disabled"),
        "egress" => ("Disabled", "Enabled"),
        "audit-both" => (AUDIT, AUDIT),
        "audit-ingress" => (AUDIT, "Disabled"),
        "audit-egress" => ("Disabled", AUDIT),
        _ => ("Disabled", "Disabled"),
    }
}

#[cfg(test)]
mod tests;
