//! `ip list` and `node list`.

use crate::cli::{IpCommand, NodeCommand};
use crate::identity;
use crate::output::render;
use anyhow::Result;
use api::node::{IpEntry, Node, NodeAddress};
use api::table;
use api::{Client, paths};
use std::collections::BTreeMap;
use std::fmt::Write;

pub(crate) fn run_ip(client: &Client, command: &IpCommand) -> Result<String> {
    let IpCommand::List { numeric, format } = command;
    let mut entries: Vec<IpEntry> = client.get(paths::IPS)?;
    entries.sort_by(|a, b| a.cidr.cmp(&b.cidr));
    let labels =
        if *numeric || format.output.is_some() { BTreeMap::new() } else { identity::labels(client)? };
    render(format.output.as_ref(), &entries, |entries| list_ips(entries, &labels))
}

fn list_ips(entries: &[IpEntry], labels: &BTreeMap<u32, Vec<String>>) -> String {
    let mut text = "IP\tIDENTITY\tSOURCE\n".to_owned();
    for entry in entries {
        let number = [entry.identity.to_string()];
        let names =
            labels.get(&entry.identity).filter(|names| !names.is_empty()).map_or(&number[..], Vec::as_slice);
        let _ = writeln!(text, "{}\t{}\t{}", entry.cidr, names[0], entry.metadata.source);
        for name in &names[1..] {
            let _ = writeln!(text, "\t{name}\t");
        }
    }
    table::layout(&text)
}

pub(crate) fn run(client: &Client, command: &NodeCommand) -> Result<String> {
    let NodeCommand::List(format) = command;
    let mut nodes: Vec<Node> = client.get(paths::NODES)?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    render(format.output.as_ref(), &nodes, |nodes| list(nodes))
}

fn list(nodes: &[Node]) -> String {
    let mut text = "Name\tIPv4 Address\tEndpoint CIDR\tIPv6 Address\tEndpoint CIDR\tSource\n".to_owned();
    let pair = |address: &Option<NodeAddress>| match address {
        Some(address) => format!("{}\t{}", address.ip, address.alloc_range),
        None => "\t".to_owned(),
    };
    for node in nodes {
        let addresses = &node.primary_address;
        let _ = writeln!(
            text,
            "{}\t{}\t{}\t{}",
            node.name,
            pair(&addresses.ipv4),
            pair(&addresses.ipv6),
            node.source
        );
    }
    table::layout(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_and_addresses() {
        let nodes: Vec<Node> = serde_json::from_value(json!([
            { "name": "default/node-1", "source": "local", "primary-address": {
                "ipv4": { "enabled": true, "ip": "172.31.0.11", "alloc-range": "10.244.1.0/24" },
                "ipv6": { "enabled": true, "ip": "fd00:31::11", "alloc-range": "fd00:10:244:1::/64" } } },
            { "name": "default/n2", "source": "custom-resource", "primary-address": {
                "ipv4": { "enabled": true, "ip": "172.31.0.12", "alloc-range": "10.244.2.0/24" } } },
        ]))
        .expect("nodes");
        let expected = "\
Name             IPv4 Address   Endpoint CIDR   IPv6 Address   Endpoint CIDR        Source
default/node-1   172.31.0.11    10.244.1.0/24   fd00:31::11    fd00:10:244:1::/64   local
default/n2       172.31.0.12    10.244.2.0/24                                       custom-resource
";
        assert_eq!(list(&nodes), expected);
        let ips: Vec<IpEntry> = serde_json::from_value(json!([
            { "cidr": "10.244.1.5/32", "identity": 12345, "metadata": { "source": "k8s" } },
            { "cidr": "172.31.0.11/32", "identity": 1, "metadata": { "source": "local" } },
        ]))
        .expect("ips");
        let labels =
            BTreeMap::from([(1, vec!["reserved:host".to_owned(), "reserved:kube-apiserver".to_owned()])]);
        let expected = "\
IP               IDENTITY                  SOURCE
10.244.1.5/32    12345                     k8s
172.31.0.11/32   reserved:host             local
                 reserved:kube-apiserver   
";
        assert_eq!(list_ips(&ips, &labels), expected);
    }
}
