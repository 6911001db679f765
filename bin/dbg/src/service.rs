//! `service list` and `service get`.

use crate::cli::ServiceCommand;
use crate::output::render;
use anyhow::Result;
use api::service::{BackendAddress, FrontendAddress, Service};
use api::table;
use api::{Client, paths};
use std::fmt::Write;

pub(crate) fn run(client: &Client, command: &ServiceCommand) -> Result<String> {
    match command {
        ServiceCommand::List { clustermesh_affinity, format } => {
            let mut services: Vec<Service> = client.get(paths::SERVICES)?;
            services.sort_by_key(|service| service.status.realized.id);
            render(format.output.as_ref(), &services, |services| list(services, *clustermesh_affinity))
        }
        ServiceCommand::Get { id, format } => {
            let service: Service = client.get(&paths::service(*id))?;
            render(format.output.as_ref(), &service, |service| list(std::slice::from_ref(service), false))
        }
    }
}

/// The table, one backend a line.
fn list(services: &[Service], affinity: bool) -> String {
    let mut text = "ID\tFrontend\tService Type\tBackend\t\n".to_owned();
    for service in services {
        let spec = &service.status.realized;
        let mut backends =
            spec.backend_addresses.iter().enumerate().map(|(at, address)| backend(at + 1, address, affinity));
        // The flags stand with what is wanted, as in Cilium's own table.
        let flags = &service.spec.flags;
        let remote = if flags.cluster.is_empty() { "" } else { " (Remote)" };
        let first = backends.next().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}\t{}\t{}{remote}\t{first}\t",
            spec.id,
            frontend(&spec.frontend_address),
            flags.kind
        );
        for backend in backends {
            let _ = writeln!(text, "\t\t\t{backend}\t");
        }
    }
    table::layout(&text)
}

/// `10.96.0.1:443/TCP`, with `/i` for clients inside.
fn frontend(address: &FrontendAddress) -> String {
    let scope = if address.scope == "internal" { "/i" } else { "" };
    format!("{}/{}{scope}", host_port(&address.ip, address.port), address.protocol)
}

/// `1 => 10.0.1.7:8080/TCP (active)`.
fn backend(number: usize, address: &BackendAddress, affinity: bool) -> String {
    let BackendAddress { ip, port, protocol, state, preferred, .. } = address;
    let preferred = if affinity && *preferred { " (preferred)" } else { "" };
    format!("{number} => {}/{protocol} ({state}){preferred}", host_port(ip, *port))
}

/// An address with its port, IPv6 in brackets.
pub(crate) fn host_port(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests;
