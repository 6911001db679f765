//! `kube-proxy cleanup`.

use crate::cli::KubeProxyCommand;
use crate::output::render;
use anyhow::Result;
use api::kube_proxy::{Jump, Kept, Leftovers, Table};
use api::table;
use api::{Client, paths};
use std::fmt::Write;

pub(crate) fn run(client: &Client, command: &KubeProxyCommand) -> Result<String> {
    let KubeProxyCommand::Cleanup { dry_run, format } = command;
    let found: Leftovers =
        if *dry_run { client.get(paths::KUBE_PROXY)? } else { client.delete(paths::KUBE_PROXY)? };
    render(format.output.as_ref(), &found, |found| report(found, *dry_run))
}

/// A line for each chain, rule and device.
fn report(found: &Leftovers, dry_run: bool) -> String {
    if found.tables.is_empty() && found.devices.is_empty() {
        return "kube-proxy has left nothing on this node\n".to_owned();
    }
    let verb = if dry_run { "would go" } else { "removed" };
    let mut text = "Kind\tFamily\tTable\tWhat\t\n".to_owned();
    for table in &found.tables {
        let Table { kind, family, name, whole, chains, rules, kept } = table;
        // Writing to a String cannot fail, here and below.
        let mut line = |what: &str, verb: &str| {
            let _ = writeln!(text, "{kind}\t{family}\t{name}\t{what}\t{verb}");
        };
        if *whole {
            line("the whole table", verb);
        }
        for Jump { from, to } in rules {
            line(&format!("rule {from} -> {to}"), verb);
        }
        for chain in chains {
            line(&format!("chain {chain}"), verb);
        }
        for Kept { chain, user } in kept {
            line(&format!("chain {chain}"), &format!("stays: {user} uses it"));
        }
    }
    for device in &found.devices {
        let _ =
            writeln!(text, "ipvs\t\t\tdevice {device}\t{verb}; its virtual servers stay: ipvsadm --clear");
    }
    table::layout(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_named() {
        let found: Leftovers = serde_json::from_value(serde_json::json!({
            "tables": [
                { "kind": "iptables-nft", "family": "IPv4", "name": "nat", "chains": ["KUBE-SERVICES"],
                  "rules": [{ "from": "OUTPUT", "to": "KUBE-SERVICES" }], "kept": [{ "chain": "KUBE-MARK-MASQ", "user": "KUBE-HP-A" }] },
                { "kind": "nftables", "family": "IPv6", "name": "kube-proxy", "whole": true } ],
            "devices": ["kube-ipvs0"],
        }))
        .expect("leftovers");
        let expected = "\
Kind           Family   Table        What
iptables-nft   IPv4     nat          rule OUTPUT -> KUBE-SERVICES   would go
iptables-nft   IPv4     nat          chain KUBE-SERVICES            would go
iptables-nft   IPv4     nat          chain KUBE-MARK-MASQ           stays: KUBE-HP-A uses it
nftables       IPv6     kube-proxy   the whole table                would go
ipvs                                 device kube-ipvs0              would go; its virtual servers stay: ipvsadm --clear
";
        let trimmed: String =
            report(&found, true).lines().map(|line| format!("{}\n", line.trim_end())).collect();
        assert_eq!(trimmed, expected);
        assert!(report(&found, false).contains("chain KUBE-SERVICES            removed\n"));
        assert_eq!(report(&Leftovers::default(), true), "kube-proxy has left nothing on this node\n");
    }
}
