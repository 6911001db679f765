//! `bpf …`: the kernel's tables.

mod lb;
mod nat;

use crate::cli::{
    BpfCommand, BpfEndpointCommand, BpfPolicyCommand, CtCommand, IpcacheCommand, IpmasqCommand,
    MetricsCommand, NatCommand, SocknatCommand,
};
use crate::output::render;
use anyhow::{Result, bail};
use api::bpf::{CtEntry, IpcacheEntry, LocalEndpoint, Metric, PolicyEntry, PolicyTable};
use api::policy::PolicyRef;
use api::table;
use api::{Client, paths};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

pub(crate) fn run(client: &Client, command: &BpfCommand) -> Result<String> {
    match command {
        BpfCommand::Ipcache(command) => run_ipcache(client, command),
        BpfCommand::Ct(CtCommand::List { format, .. }) => {
            let entries: Vec<CtEntry> = client.get(paths::BPF_CT)?;
            render(format.output.as_ref(), &entries, |entries| entries.iter().map(ct_line).collect())
        }
        BpfCommand::Ipmasq(IpmasqCommand::List(format)) => {
            let prefixes: Vec<String> = client.get(paths::BPF_IPMASQ)?;
            render(format.output.as_ref(), &prefixes, |prefixes| column("IP PREFIX/ADDRESS", prefixes))
        }
        BpfCommand::Lb(command) => lb::run(client, command),
        BpfCommand::Nat(NatCommand::List(format)) => nat::run(client, format),
        BpfCommand::Socknat(SocknatCommand::List(format)) => nat::run_sockets(client, format),
        BpfCommand::Policy(BpfPolicyCommand::Get { endpoint, numeric, format, .. }) => {
            let (tables, with_title): (Vec<PolicyTable>, bool) = match endpoint {
                Some(id) => (vec![client.get(&paths::bpf_policy(*id))?], false),
                None => (client.get(paths::BPF_POLICIES)?, true),
            };
            render(format.output.as_ref(), &tables, |tables| policies(tables, *numeric, with_title))
        }
        BpfCommand::Metrics(MetricsCommand::List(format)) => {
            let mut metrics: Vec<Metric> = client.get(paths::BPF_METRICS)?;
            metrics.sort_by(|a, b| (&a.reason, &a.direction).cmp(&(&b.reason, &b.direction)));
            render(format.output.as_ref(), &metrics, |metrics| list_metrics(metrics))
        }
        BpfCommand::Endpoint(BpfEndpointCommand::List(format)) => {
            let endpoints: Vec<LocalEndpoint> = client.get(paths::BPF_ENDPOINTS)?;
            let rows = endpoint_rows(&endpoints);
            render(format.output.as_ref(), &rows, |rows| pairs("IP ADDRESS", "LOCAL ENDPOINT INFO", rows))
        }
    }
}

fn run_ipcache(client: &Client, command: &IpcacheCommand) -> Result<String> {
    let entries: Vec<IpcacheEntry> = client.get(paths::BPF_IPCACHE)?;
    match command {
        IpcacheCommand::List(format) => {
            let rows: BTreeMap<String, Vec<String>> =
                entries.iter().map(|entry| (entry.prefix.clone(), vec![ipcache_value(entry)])).collect();
            render(format.output.as_ref(), &rows, |rows| pairs("IP PREFIX/ADDRESS", "IDENTITY", rows))
        }
        IpcacheCommand::Get { ip, format } => {
            let Some(entry) = longest_match(&entries, *ip) else {
                bail!("no entry holds for {ip}; it counts as world");
            };
            render(format.output.as_ref(), entry, |entry| {
                format!("{ip} maps to identity {}\n", ipcache_value(entry))
            })
        }
        IpcacheCommand::Match { identity } => {
            let mut prefixes: Vec<&str> = entries
                .iter()
                .filter(|entry| entry.identity == *identity)
                .map(|entry| entry.prefix.as_str())
                .collect();
            if prefixes.is_empty() {
                bail!("no address has identity {identity}");
            }
            prefixes.sort_unstable();
            Ok(prefixes.join("\n") + "\n")
        }
    }
}

fn longest_match(entries: &[IpcacheEntry], ip: IpAddr) -> Option<&IpcacheEntry> {
    let length = |entry: &&IpcacheEntry| {
        entry.prefix.parse::<IpNet>().ok().filter(|net| net.contains(&ip)).map(|net| net.prefix_len())
    };
    entries.iter().filter(|entry| length(entry).is_some()).max_by_key(length)
}

fn ipcache_value(entry: &IpcacheEntry) -> String {
    let IpcacheEntry { identity, encrypt_key, tunnel_endpoint, flags, .. } = entry;
    let node = if tunnel_endpoint.is_empty() { "0.0.0.0" } else { tunnel_endpoint };
    let flags = if flags.is_empty() { "<none>".to_owned() } else { flags.join(",") };
    format!("identity={identity} encryptkey={encrypt_key} tunnelendpoint={node} flags={flags}")
}

/// Two columns, as all dumps of maps have them.
fn pairs<'a>(
    first: &str,
    second: &str,
    rows: impl IntoIterator<Item = (&'a String, &'a Vec<String>)>,
) -> String {
    let mut text = format!("{first}\t{second}\t\n");
    for (key, values) in rows {
        for (position, value) in values.iter().enumerate() {
            let key = if position == 0 { key.as_str() } else { "" };
            let _ = writeln!(text, "{key}\t{value}\t");
        }
    }
    table::layout(&text)
}

/// One column with a title.
fn column(title: &str, rows: &[String]) -> String {
    table::layout(&rows.iter().fold(format!("{title}\t\n"), |text, row| text + row + "\t\n"))
}

fn endpoint_rows(endpoints: &[LocalEndpoint]) -> BTreeMap<String, Vec<String>> {
    let value = |e: &LocalEndpoint| {
        format!(
            "id={} sec_id={} flags=0x0000 ifindex={} mac={} nodemac={} policy_slot={}",
            e.endpoint, e.identity, e.ifindex, e.mac, e.host_mac, e.policy_slot
        )
    };
    endpoints
        .iter()
        .flat_map(|endpoint| {
            endpoint.addresses.iter().map(move |address| (address.clone(), vec![value(endpoint)]))
        })
        .collect()
}

/// Name of an IP protocol, as the tables print it.
pub(crate) fn protocol(number: u8) -> String {
    match number {
        0 => "ANY".to_owned(),
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => other.to_string(),
    }
}

fn ct_line(e: &CtEntry) -> String {
    let names: String = e.flag_names.iter().map(|name| format!("{name} ")).collect();
    format!(
        "{} {} {} -> {} expires={} Packets={} Bytes={} RxFlagsSeen=0x{:02x} LastRxReport={} TxFlagsSeen=0x{:02x} \
         LastTxReport={} Flags=0x{:04x} [ {names}] RevNAT={} SourceSecurityID={} BackendID={} NatPort={}\n",
        protocol(e.protocol),
        e.direction,
        e.source,
        e.destination,
        e.expires,
        e.packets,
        e.bytes,
        e.rx_flags_seen,
        e.last_rx_report,
        e.tx_flags_seen,
        e.last_tx_report,
        e.flags,
        e.rev_nat,
        e.source_identity,
        e.backend,
        e.nat_port,
    )
}

fn policies(tables: &[PolicyTable], numeric: bool, with_title: bool) -> String {
    let mut text = String::new();
    for table in tables {
        if with_title {
            let _ = writeln!(text, "Endpoint ID: {}\nPolicy slot: {}\n", table.endpoint, table.slot);
        }
        text.push_str(&policy_table(&table.entries, numeric));
        if with_title {
            text.push('\n');
        }
    }
    text
}

fn policy_table(entries: &[PolicyEntry], numeric: bool) -> String {
    let peers = if numeric { "IDENTITY" } else { "LABELS (source:key[=value])" };
    let mut text = format!(
        "POLICY\tDIRECTION\t{peers}\tPORT/PROTO\tPROXY PORT\tAUTH TYPE\tBYTES\tPACKETS\tPREFIX\tCOOKIE\t\n"
    );
    for entry in entries {
        policy_rows(entry, numeric, &mut text);
    }
    table::layout(&text)
}

fn policy_rows(entry: &PolicyEntry, numeric: bool, text: &mut String) {
    let verdict = if entry.deny { "Deny" } else { "Allow" };
    let number = [entry.identity.to_string()];
    let any = ["ANY".to_owned()];
    let peers: &[String] = match (numeric, entry.identity) {
        (false, 0) => &any,
        (false, _) if !entry.labels.is_empty() => &entry.labels,
        _ => &number,
    };
    let port = match (entry.protocol, entry.port, entry.port_end) {
        (0, _, _) => "ANY".to_owned(),
        (proto, 0, _) => format!("ANY/{}", protocol(proto)),
        (proto, port, end) if end > port => format!("{port}-{end}/{}", protocol(proto)),
        (proto, port, _) => format!("{port}/{}", protocol(proto)),
    };
    let proxy = if entry.proxy_port == 0 { "NONE".to_owned() } else { entry.proxy_port.to_string() };
    let _ = writeln!(
        text,
        "{verdict}\t{}\t{}\t{port}\t{proxy}\tdisabled\t{}\t{}\t{}\t{}\t",
        entry.direction, peers[0], entry.bytes, entry.packets, entry.prefix, entry.cookie
    );
    for label in &peers[1..] {
        let _ = writeln!(text, "\t\t{label}\t\t\t\t\t\t\t\t");
    }
}

fn list_metrics(metrics: &[Metric]) -> String {
    let mut text = "REASON\tDIRECTION\tPACKETS\tBYTES\tLINE\tFILE\n".to_owned();
    for m in metrics {
        let _ = writeln!(
            text,
            "{}\t{}\t{}\t{}\t{}\t{}",
            m.reason, m.direction, m.packets, m.bytes, m.line, m.file
        );
    }
    table::layout(&text)
}

/// `Kind namespace/name`, as all commands name policies.
pub(crate) fn policy_name(policy: &PolicyRef) -> String {
    if policy.namespace.is_empty() {
        format!("{} {}", policy.kind, policy.name)
    } else {
        format!("{} {}/{}", policy.kind, policy.namespace, policy.name)
    }
}

#[cfg(test)]
mod tests;
