//! `bpf lb …`: the tables of services.
//!
//! The kernel has one row for each frontend, which names runs of slots; Cilium has a row for each slot. These are its
//! rows, worked out. There is no table of reverse translations either: a reply is turned back by its connection's own
//! entry (`bpf nat list`), so `--revnat` shows what it is turned back to.

use super::{pairs, protocol};
use crate::cli::{LbCommand, LbListArgs, MaglevCommand, Output};
use crate::output::render;
use crate::service::host_port;
use anyhow::{Result, bail};
use api::lb::{Backend, Frontend, Maglev, Scope, Tables};
use api::{Client, ClientError, paths};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

const SERVICE: &str = "SERVICE ADDRESS";
const BACKEND: &str = "BACKEND ADDRESS (REVNAT_ID) (SLOT)";

/// Lines by key, in order. As JSON an object of lists.
#[derive(Default)]
struct Rows(Vec<(String, Vec<String>)>);

impl Rows {
    fn push(&mut self, key: String, value: String) {
        match self.0.last_mut() {
            Some((last, values)) if *last == key => values.push(value),
            _ => self.0.push((key, vec![value])),
        }
    }

    fn text(&self, first: &str, second: &str) -> String {
        pairs(first, second, self.0.iter().map(|(key, values)| (key, values)))
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, values)| (key, values)))
    }
}

pub(super) fn run(client: &Client, command: &LbCommand) -> Result<String> {
    match command {
        LbCommand::List(args) => list(&client.get(paths::BPF_LB)?, args),
        LbCommand::Maglev(MaglevCommand::List(format)) => {
            maglev(client, client.get(paths::BPF_MAGLEV)?, format)
        }
        LbCommand::Maglev(MaglevCommand::Get { service, format }) => {
            let mut tables: Vec<Maglev> = client.get(paths::BPF_MAGLEV)?;
            tables.retain(|table| table.service == *service);
            if tables.is_empty() {
                bail!("no Maglev table found for service {service}; see bpf lb maglev list");
            }
            maglev(client, tables, format)
        }
    }
}

fn list(tables: &Tables, args: &LbListArgs) -> Result<String> {
    let (first, second, rows) = if args.revnat {
        ("ID", BACKEND, reverse(tables))
    } else if args.frontends {
        (SERVICE, "BACKEND ID", frontends(tables))
    } else if args.backends {
        ("ID", BACKEND, backends(tables))
    } else if args.source_ranges {
        ("SOURCE RANGE (REVNAT_ID)", "", source_ranges(tables))
    } else {
        (SERVICE, BACKEND, services(tables))
    };
    render(args.format.output.as_ref(), &rows, |rows| rows.text(first, second))
}

/// `10.96.0.1:443/TCP/i (2)`.
fn key(frontend: &Frontend, scope: &Scope, slot: u32) -> String {
    let scope = if scope.internal { "/i" } else { "" };
    format!("{}{scope} ({slot})", address(frontend))
}

fn address(frontend: &Frontend) -> String {
    format!("{}/{}", host_port(&frontend.address, frontend.port), protocol(frontend.protocol))
}

/// Every scope of every frontend.
fn scopes(tables: &Tables) -> impl Iterator<Item = (&Frontend, &Scope)> {
    tables.frontends.iter().flat_map(|frontend| frontend.scopes.iter().map(move |scope| (frontend, scope)))
}

/// Slots of a scope as Cilium counts them, and those of the kernel's table.
fn slots(scope: &Scope) -> impl Iterator<Item = (u32, u32)> {
    (1..=scope.count).zip(scope.start..)
}

fn services(tables: &Tables) -> Rows {
    let by_slot: BTreeMap<u32, &Backend> = tables.backends.iter().map(|b| (b.slot, b)).collect();
    let mut rows = Rows::default();
    for (frontend, scope) in scopes(tables) {
        let nowhere = if frontend.address.contains(':') { "[::]" } else { "0.0.0.0" };
        let (number, flags) = (frontend.service, frontend.flag_names.join(", "));
        rows.push(key(frontend, scope, 0), format!("{nowhere}:0 ({number}) (0) [{flags}]"));
        for (slot, place) in slots(scope) {
            let value = match by_slot.get(&place) {
                Some(backend) => {
                    let backend = host_port(&backend.address, backend.port);
                    format!("{backend}/{} ({number}) ({slot})", protocol(frontend.protocol))
                }
                None => format!("backend {place} not found"),
            };
            rows.push(key(frontend, scope, slot), value);
        }
    }
    rows
}

/// Slot 0: timeout of the affinity, count, number, flags; others: slot of the backend.
fn frontends(tables: &Tables) -> Rows {
    let mut rows = Rows::default();
    for (frontend, scope) in scopes(tables) {
        let Frontend { affinity, service, flags, .. } = frontend;
        let master = format!("{affinity} {}[0] ({service}) [0x{flags:x}]", scope.count);
        rows.push(key(frontend, scope, 0), master);
        for (slot, place) in slots(scope) {
            rows.push(key(frontend, scope, slot), format!("{place} 0[0] ({service}) [0x0]"));
        }
    }
    rows
}

/// Slots have no protocol of their own: each frontend that leads to them lends its.
fn backends(tables: &Tables) -> Rows {
    let mut protocols: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (frontend, scope) in scopes(tables) {
        for (_, place) in slots(scope) {
            let known = protocols.entry(place).or_default();
            if !known.contains(&frontend.protocol) {
                known.push(frontend.protocol);
            }
        }
    }
    let mut rows = Rows::default();
    for backend in &tables.backends {
        for number in protocols.get(&backend.slot).map_or(&[0][..], Vec::as_slice) {
            let address = host_port(&backend.address, backend.port);
            rows.push(backend.slot.to_string(), format!("{}://{address}", protocol(*number)));
        }
    }
    rows
}

fn reverse(tables: &Tables) -> Rows {
    // A row for any port of an address leads nowhere, so nothing comes back.
    let mut frontends: Vec<&Frontend> = tables.frontends.iter().filter(|f| f.port != 0).collect();
    frontends.sort_by_key(|frontend| frontend.service);
    let mut rows = Rows::default();
    for frontend in frontends {
        rows.push(frontend.service.to_string(), host_port(&frontend.address, frontend.port));
    }
    rows
}

fn source_ranges(tables: &Tables) -> Rows {
    let mut rows = Rows::default();
    for range in &tables.source_ranges {
        rows.push(format!("{} ({})", range.prefix, range.service), String::new());
    }
    rows
}

fn maglev(client: &Client, tables: Vec<Maglev>, format: &Output) -> Result<String> {
    let mut read: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    for table in &tables {
        if let Entry::Vacant(place) = read.entry(table.table) {
            place.insert(match client.get(&paths::bpf_maglev(table.table)) {
                // Gone since the list was made.
                Err(ClientError::Refused { status: 404, .. }) => Vec::new(),
                rows => rows?,
            });
        }
    }
    let rows = lookups(&tables, &read);
    render(format.output.as_ref(), &rows, |rows| rows.text("SVC ID", "LOOKUP TABLE"))
}

/// Tables of backends' slots.
fn lookups(tables: &[Maglev], read: &BTreeMap<u32, Vec<u16>>) -> Rows {
    let mut rows = Rows::default();
    for Maglev { service, family, table, start } in tables {
        let offsets = read.get(table).map(Vec::as_slice).unwrap_or_default();
        let slots: Vec<String> =
            offsets.iter().map(|at| start.saturating_add(u32::from(*at)).to_string()).collect();
        rows.push(format!("[{service}]/{family}"), format!("[{}]", slots.join(" ")));
    }
    rows
}

#[cfg(test)]
mod tests;
