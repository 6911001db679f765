//! Ways to install that the other scenarios do not take: addresses from Kubernetes, one address family, and the enforcement modes.

use std::net::IpAddr;

use anyhow::{Context, Result};
use serde_json::json;

use crate::cluster::{Cluster, probe, socket};
use crate::connectivity::{reaches, wait_for_pods, word};
use crate::manifests::{self, pod, policy};
use crate::report::{Report, yes};
use crate::rules::expect;

/// Both installations, one after the other.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    always(report)?;
    never(report)
}

/// `ipam.mode=kubernetes` and `policyEnforcementMode=always`, in VXLAN.
fn always(report: &mut Report) -> Result<()> {
    let values =
        ["ipv6.enabled=true", "ipam.mode=kubernetes", "routingMode=tunnel", "policyEnforcementMode=always"];
    let cluster = Cluster::with("modes", &["--nodes", "2", "--ipv6", "--node-cidrs"], &values)?;
    pods(&cluster)?;
    report.title("Addresses from Kubernetes, and nothing goes without a policy");
    for (name, node) in PODS {
        let cidrs = cluster.kubectl(&["get", "node", node, "-o", "jsonpath={.spec.podCIDRs[*]}"])?;
        for address in cluster.addresses(name)? {
            let inside = cidrs.split_whitespace().any(|cidr| within(cidr, &address).unwrap_or(false));
            report.check(
                "ipam.mode=kubernetes",
                &format!("{name} has {address} of {cidrs}"),
                "yes",
                yes(inside),
            );
        }
    }
    for address in cluster.addresses("echo-a")? {
        let target = socket(&address, 80);
        let seen = word(reaches(&cluster, "pod-to-a", &target)?);
        report.check("always, no policy", &format!("pod-to-a → {target}"), word(false), seen);
        let asked = cluster.lab(&["exec", "n1", &probe(), "connect", &target, "--timeout", "1500"]);
        report.check("always, its own node", &format!("n1 → {target}"), word(true), word(asked.is_ok()));
    }
    let both = json!({
        "endpointSelector": {}, "ingress": [{ "fromEndpoints": [{}] }], "egress": [{ "toEndpoints": [{}] }],
    });
    cluster.apply(&[policy("among-us", &both)])?;
    for to in ["echo-a", "echo-b"] {
        expect(&cluster, report, "always, a policy allows it", "pod-to-a", to, 80, true)?;
    }
    report.flush();
    Ok(())
}

/// One address family, and `policyEnforcementMode=never`.
fn never(report: &mut Report) -> Result<()> {
    let values = [
        "routingMode=native",
        "autoDirectNodeRoutes=true",
        "ipv4NativeRoutingCIDR=10.244.0.0/16",
        "ipam.operator.clusterPoolIPv4PodCIDRList={10.244.0.0/16}",
        "policyEnforcementMode=never",
    ];
    let cluster = Cluster::with("modes", &["--nodes", "2"], &values)?;
    pods(&cluster)?;
    report.title("One address family, and no policy is enforced");
    cluster.apply(&[manifests::denied()])?;
    let seen = cluster.addresses("echo-a")?.len().to_string();
    report.check("IPv4 alone", "addresses of a pod", "1", &seen);
    for to in ["echo-a", "echo-b"] {
        expect(&cluster, report, "never, a policy denies it", "pod-to-a-denied", to, 80, true)?;
    }
    report.flush();
    Ok(())
}

/// Each with its node.
const PODS: [(&str, &str); 4] =
    [("echo-a", "n1"), ("echo-b", "n2"), ("pod-to-a", "n1"), ("pod-to-a-denied", "n1")];

fn pods(cluster: &Cluster) -> Result<()> {
    cluster.apply(&[manifests::namespace()])?;
    cluster.apply(&PODS.map(|(name, node)| pod(name, node, &[80])))?;
    wait_for_pods(cluster)
}

/// Whether an address lies in a prefix such as `10.244.1.0/24`.
fn within(cidr: &str, address: &str) -> Result<bool> {
    let (network, length) = cidr.split_once('/').context("a prefix without length")?;
    let (network, address): (IpAddr, IpAddr) = (network.parse()?, address.parse()?);
    let length: u32 = length.parse()?;
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let ((network, width), (address, other)) = (bits(network), bits(address));
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Ok(width == other && network & mask == address & mask)
}
