//! `bpf nat list` and `bpf socknat list`.

use super::{pairs, protocol};
use crate::cli::Output;
use crate::output::render;
use anyhow::Result;
use api::lb::{NatEntry, SocketEntry};
use api::{Client, paths};
use std::collections::BTreeMap;

pub(super) fn run(client: &Client, format: &Output) -> Result<String> {
    let entries: Vec<NatEntry> = client.get(paths::BPF_NAT)?;
    render(format.output.as_ref(), &entries, |entries| entries.iter().map(line).collect())
}

/// Cilium's line. Its `Created=` is not there, since an entry knows only when it may go; what is there besides is a second
/// translation, which a service with masquerading has, and the number of the service port.
fn line(e: &NatEntry) -> String {
    let goes_out = e.direction == "OUT";
    let (source, destination) = (e.new_source != e.source, e.new_destination != e.destination);
    // One is always named, also where nothing changes: Cilium does so for connections of the node itself.
    let mut changes = String::new();
    if source || (goes_out && !destination) {
        changes += &format!(" XLATE_SRC {}", e.new_source);
    }
    if destination || (!goes_out && !source) {
        changes += &format!(" XLATE_DST {}", e.new_destination);
    }
    let half_open = if e.half_open { "HalfOpen " } else { "" };
    let names: String = e.flag_names.iter().map(|name| format!("{name} ")).collect();
    format!(
        "{} {} {} -> {}{changes} Expires={}sec NeedsCT=0 RevNAT={} [ {half_open}{names}]\n",
        protocol(e.protocol),
        e.direction,
        e.source,
        e.destination,
        e.expires_in,
        e.service,
    )
}

pub(super) fn run_sockets(client: &Client, format: &Output) -> Result<String> {
    let entries: Vec<SocketEntry> = client.get(paths::BPF_SOCKETS)?;
    let rows = sockets(&entries);
    render(format.output.as_ref(), &rows, |rows| pairs("Socket Cookie", "Backend -> Frontend", rows))
}

fn sockets(entries: &[SocketEntry]) -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for SocketEntry { cookie, backend, frontend, service } in entries {
        let value = format!("{backend} -> {frontend} (revnat={service})");
        rows.entry(cookie.to_string()).or_default().push(value);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(value: serde_json::Value) -> NatEntry {
        serde_json::from_value(value).expect("an entry")
    }

    #[test]
    fn translations() {
        let masquerade = entry(json!({
            "protocol": 6, "direction": "OUT", "source": "10.244.1.5:43210", "destination": "1.1.1.1:443",
            "newSource": "172.31.0.11:43210", "newDestination": "1.1.1.1:443", "expiresIn": 21600, "flags": 2,
            "flagNames": ["Answered"],
        }));
        assert_eq!(
            line(&masquerade),
            "TCP OUT 10.244.1.5:43210 -> 1.1.1.1:443 XLATE_SRC 172.31.0.11:43210 Expires=21600sec NeedsCT=0 \
             RevNAT=0 [ Answered ]\n"
        );
        let back = entry(json!({
            "protocol": 6, "direction": "IN", "source": "1.1.1.1:443", "destination": "172.31.0.11:43210",
            "newSource": "1.1.1.1:443", "newDestination": "10.244.1.5:43210", "expiresIn": 21600,
        }));
        assert_eq!(
            line(&back),
            "TCP IN 1.1.1.1:443 -> 172.31.0.11:43210 XLATE_DST 10.244.1.5:43210 Expires=21600sec NeedsCT=0 \
             RevNAT=0 [ ]\n"
        );
        let node_port = entry(json!({
            "protocol": 17, "direction": "OUT", "source": "[fd00:31::1]:5000", "destination": "[fd00:31::11]:32000",
            "newSource": "[fd00:31::11]:5000", "newDestination": "[fd00:10:244:2::6]:53", "expiresIn": 60,
            "service": 9, "halfOpen": true,
        }));
        assert_eq!(
            line(&node_port),
            "UDP OUT [fd00:31::1]:5000 -> [fd00:31::11]:32000 XLATE_SRC [fd00:31::11]:5000 XLATE_DST \
             [fd00:10:244:2::6]:53 Expires=60sec NeedsCT=0 RevNAT=9 [ HalfOpen ]\n"
        );
        let own = json!({ "protocol": 6, "source": "a", "newSource": "a", "destination": "b", "newDestination": "b" });
        let with =
            |direction: &str| line(&NatEntry { direction: direction.to_owned(), ..entry(own.clone()) });
        assert!(with("OUT").starts_with("TCP OUT a -> b XLATE_SRC a Expires="));
        assert!(with("IN").starts_with("TCP IN a -> b XLATE_DST b Expires="));
    }

    #[test]
    fn sockets_and_what_they_believe() {
        let entries: Vec<SocketEntry> = serde_json::from_value(json!([
            { "cookie": 4711, "backend": "10.0.2.6:80", "frontend": "10.96.195.193:80", "service": 7 },
            { "cookie": 4711, "backend": "10.0.1.145:80", "frontend": "10.96.195.193:80", "service": 7 },
        ]))
        .expect("entries");
        let text = pairs("Socket Cookie", "Backend -> Frontend", &sockets(&entries));
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let expected = [
            "Socket Cookie   Backend -> Frontend",
            "4711            10.0.2.6:80 -> 10.96.195.193:80 (revnat=7)",
            "                10.0.1.145:80 -> 10.96.195.193:80 (revnat=7)",
        ];
        assert_eq!(lines, expected);
    }
}
