//! `cilium features`: what is switched on, node by node, under the names of Cilium's feature metrics.

use crate::cli::{FeaturesCommand, FeaturesFormat};
use crate::cluster;
use crate::output::Answer;
use crate::status;
use anyhow::{Context, Result};
use api::status::{Status, Switch};
use api::table::{Columns, layout_as};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Name and labels → nodes that have it.
type Table = BTreeMap<(String, String), BTreeSet<String>>;

pub(crate) async fn run(command: &FeaturesCommand) -> Result<Answer> {
    let FeaturesCommand::Status { output, reach } = command;
    let reach = cluster::reach(reach).await?;
    let seen = status::gather(&reach).await?;
    let pods = cluster::list(&reach.clients, "/api/v1/pods").await?;
    let nodes: BTreeMap<&str, &str> =
        status::agents(&pods, &reach.namespace).iter().map(|pod| (pod.name(), pod.node())).collect();
    let mut table = Table::new();
    for (pod, status) in &seen.cilium_status {
        let node = nodes.get(pod.as_str()).copied().unwrap_or(pod);
        for (name, labels) in of_status(status) {
            table.entry((name.to_owned(), labels)).or_default().insert(node.to_owned());
        }
    }
    let nodes: BTreeSet<&str> = nodes.values().copied().collect();
    match output {
        FeaturesFormat::Tab => Ok(Answer::text(text(&table, &nodes))),
        FeaturesFormat::Json => {
            let rows: Vec<_> = table
                .iter()
                .map(|((name, labels), on)| json!({ "name": name, "labels": labels, "nodes": on }))
                .collect();
            let text = serde_json::to_string_pretty(&rows).context("cannot write the answer as JSON")?;
            Ok(Answer::text(text + "\n"))
        }
    }
}

/// What an agent has switched on: metric and labels.
fn of_status(status: &Status) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(routing) = &status.routing {
        let mode = match routing.tunnel_protocol.as_str() {
            "" => "direct-routing".to_owned(),
            protocol => format!("overlay-{protocol}"),
        };
        found.push(("cilium_feature_datapath_network", format!("mode={mode}")));
    }
    if let Some(ipam) = &status.ipam {
        let family = match (ipam.ipv4.is_empty(), ipam.ipv6.is_empty()) {
            (false, false) => "ipv4-ipv6-dual-stack",
            (true, false) => "ipv6-only",
            _ => "ipv4-only",
        };
        found.push(("cilium_feature_datapath_internet_protocol", format!("address_family={family}")));
    }
    if let Some(chaining) = &status.cni_chaining {
        found.push(("cilium_feature_datapath_chaining_enabled", format!("mode={}", chaining.mode)));
    }
    if !status.datapath_mode.is_empty() {
        found.push(("cilium_feature_datapath_config", format!("mode={}", status.datapath_mode)));
    }
    if let Some(kpr) = status.kube_proxy_replacement.as_ref().filter(|kpr| kpr.mode == "True") {
        found.push(("cilium_feature_adv_connect_and_lb_kube_proxy_replacement_enabled", String::new()));
        if let Some(features) = &kpr.features {
            let node_port = &features.node_port;
            let labels = format!(
                "acceleration={};algorithm={};mode={}",
                node_port.acceleration.to_lowercase(),
                node_port.algorithm.to_lowercase(),
                node_port.mode.to_lowercase()
            );
            found.push(("cilium_feature_adv_connect_and_lb_node_port_configuration", labels));
            let switches: [(&'static str, &Switch); 2] = [
                ("cilium_feature_adv_connect_and_lb_socket_lb_enabled", &features.socket_lb),
                ("cilium_feature_adv_connect_and_lb_session_affinity_enabled", &features.session_affinity),
            ];
            found
                .extend(switches.iter().filter(|(_, on)| on.enabled).map(|(name, _)| (*name, String::new())));
        }
    }
    if status.masquerading.as_ref().is_some_and(|masquerading| masquerading.enabled) {
        found.push(("cilium_feature_datapath_masquerading_enabled", String::new()));
    }
    if status.hubble.as_ref().is_some_and(|hubble| hubble.state == "Ok") {
        found.push(("cilium_feature_network_observability_hubble_enabled", String::new()));
    }
    if let Some(encryption) = status.encryption.as_ref().filter(|one| one.mode != "Disabled") {
        found.push((
            "cilium_feature_adv_connect_and_lb_transparent_encryption",
            format!("mode={}", encryption.mode),
        ));
    }
    if status.host_firewall.as_ref().is_some_and(|firewall| firewall.mode != "Disabled") {
        found.push(("cilium_feature_network_policies_host_network_policies_enabled", String::new()));
    }
    found
}

fn text(table: &Table, nodes: &BTreeSet<&str>) -> String {
    let titles: Vec<&str> = ["Uniform", "Name", "Labels"].into_iter().chain(nodes.iter().copied()).collect();
    let mut text = titles.join("\t") + "\n";
    for ((name, labels), on) in table {
        let uniform = if on.len() == nodes.len() { "Yes" } else { "No" };
        let marks: Vec<&str> = nodes.iter().map(|node| if on.contains(*node) { "1" } else { "-" }).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{uniform}\t{name}\t{labels}\t{}", marks.join("\t"));
    }
    layout_as(&text, Columns { least: 0, gap: 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_nodes_stands_out() {
        let status = |protocol: &str| -> Status {
            serde_json::from_value(
                json!({ "routing": { "tunnel-protocol": protocol }, "hubble": { "state": "Ok" } }),
            )
            .expect("a status")
        };
        let mut table = Table::new();
        for (node, protocol) in [("n1", "vxlan"), ("n2", "")] {
            for (name, labels) in of_status(&status(protocol)) {
                table.entry((name.to_owned(), labels)).or_default().insert(node.to_owned());
            }
        }
        assert_eq!(
            text(&table, &["n1", "n2"].into()),
            "Uniform    Name                                                   Labels                 n1    n2\n\
             No         cilium_feature_datapath_network                        mode=direct-routing    -     1\n\
             No         cilium_feature_datapath_network                        mode=overlay-vxlan     1     -\n\
             Yes        cilium_feature_network_observability_hubble_enabled                           1     1\n"
        );
    }
}
