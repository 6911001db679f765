//! ADD behind another plugin: its addresses and its link, our programs and policy.
//!
//! The host's end leaves the bridge that it may be a port of: what a bridge hands from port to port would reach the pod
//! past its policy. From then on every packet to the pod is routed, by the agent's route to its address; pods that are
//! still on the bridge find it there because the node answers for it (`proxy_arp`).

use crate::add;
use crate::agent::Agent;
use crate::config::NetConf;
use crate::failure::{Code, Failure};
use crate::invocation::Invocation;
use crate::pod;
use api::Mac;
use api::cni::{AttachRequest, ForeignLink};
use ipnet::IpNet;
use netlink::{Link, LinkChange, NetNs, Netlink, NetlinkError, sysctl};
use serde_json::Value;
use std::net::IpAddr;

/// The two ends of a link that another plugin made, and their hardware addresses.
struct Ends {
    inside: Link,
    mac: Mac,
    host: Link,
    host_mac: Mac,
}

/// Puts a pod that another plugin has connected under policy; the result is that plugin's.
pub(crate) fn add(config: &NetConf, invocation: &Invocation) -> Result<Value, Failure> {
    let Some(previous) = &config.previous else {
        let text = "no plugin ran before this one, though the network configuration says so";
        return Err(Failure::new(Code::Config, text).with_details(
            "name the plugin that gives pods their addresses first in \"plugins\" (Helm: cni.configMap)",
        ));
    };
    let namespace = pod::open_namespace(&invocation.netns)?;
    let mut host = Netlink::open().map_err(|error| pod::kernel(&error))?;
    let ends = find(&mut host, &namespace, &invocation.ifname)?;
    let agent = Agent::from_env();
    let pod = agent.allocate(&add::request(invocation, Some(foreign(previous, &ends))))?;
    let attach = AttachRequest {
        endpoint_id: pod.endpoint_id,
        container_id: invocation.container_id.clone(),
        ifname: invocation.ifname.clone(),
        host_ifname: ends.host.name.clone(),
        host_ifindex: ends.host.index,
        host_mac: ends.host_mac,
        mac: ends.mac,
    };
    let taken = take_over(&mut host, &namespace, &ends, previous).map_err(|error| pod::kernel(&error));
    match taken.and_then(|()| agent.attach(&attach)) {
        Ok(_) => Ok(previous.clone()),
        Err(failure) => {
            // The first failure is the one to tell; the runtime undoes what the plugins before have made.
            let _ = agent.release(&invocation.container_id, &invocation.ifname);
            Err(failure)
        }
    }
}

/// Both ends of the pod's link, which must be a veth pair with one end on this node.
fn find(host: &mut Netlink, namespace: &NetNs, ifname: &str) -> Result<Ends, Failure> {
    let kernel = |error: NetlinkError| pod::kernel(&error);
    let mut pod = Netlink::open_in(namespace).map_err(kernel)?;
    let Some(inside) = pod.find_link(ifname).map_err(kernel)? else {
        let text = format!("the plugin before this one made no interface {ifname} in the pod");
        return Err(Failure::new(Code::Config, text));
    };
    let outside = match inside.peer {
        Some(index) if inside.kind == "veth" => host.find_link_by_index(index).map_err(kernel)?,
        _ => None,
    };
    match outside {
        Some(host) if host.kind == "veth" && host.peer == Some(inside.index) => {
            Ok(Ends { mac: mac(&inside)?, host_mac: mac(&host)?, inside, host })
        }
        _ => {
            let kind = if inside.kind.is_empty() { "hardware" } else { &inside.kind };
            let text =
                format!("interface {ifname} of the pod ({kind}) is no veth pair with an end on the node");
            Err(Failure::new(Code::Config, text)
                .with_details("chain behind plugins that make one, such as bridge, ptp or flannel"))
        }
    }
}

/// The addresses of the result, and where the pod is connected.
fn foreign(previous: &Value, ends: &Ends) -> ForeignLink {
    let mut link = ForeignLink { host_ifname: ends.host.name.clone(), ipv4: None, ipv6: None };
    let addresses = of_ips(previous, "address").filter_map(|text| text.parse::<IpNet>().ok());
    for address in addresses {
        match address.addr() {
            IpAddr::V4(v4) => link.ipv4 = link.ipv4.or(Some(v4)),
            IpAddr::V6(v6) => link.ipv6 = link.ipv6.or(Some(v6)),
        }
    }
    link
}

fn mac(link: &Link) -> Result<Mac, Failure> {
    let missing = || Failure::new(Code::Io, format!("interface {} has no hardware address", link.name));
    link.mac.map(Mac).ok_or_else(missing)
}

fn take_over(
    host: &mut Netlink,
    namespace: &NetNs,
    ends: &Ends,
    previous: &Value,
) -> Result<(), NetlinkError> {
    // Replies come from wherever routing says; the programs on the device check sources, and do it by policy.
    sysctl::set_ipv4(&ends.host.name, "rp_filter", "0")?;
    if let Some(bridge) = ends.host.master {
        if let Some(bridge) = host.find_link_by_index(bridge)? {
            sysctl::set_ipv4(&bridge.name, "proxy_arp", "1")?;
            // The kernel would let others answer first, for up to 0.8 s.
            sysctl::set(&["net", "ipv4", "neigh", &bridge.name, "proxy_delay"], "0")?;
        }
        let change = LinkChange { up: Some(true), no_master: true, ..LinkChange::default() };
        host.change_link(ends.host.index, &change)?;
    }
    let mut inside = Netlink::open_in(namespace)?;
    for gateway in of_ips(previous, "gateway").filter_map(|text| text.parse::<IpAddr>().ok()) {
        // The bridge had it; behind this link the node answers for everybody.
        inside.set_neighbour(ends.inside.index, gateway, ends.host_mac.0)?;
    }
    Ok(())
}

/// A field of the result's `ips`.
fn of_ips<'a>(previous: &'a Value, field: &'static str) -> impl Iterator<Item = &'a str> {
    let ips = previous["ips"].as_array().map(Vec::as_slice).unwrap_or_default();
    ips.iter().filter_map(move |ip| ip[field].as_str())
}
