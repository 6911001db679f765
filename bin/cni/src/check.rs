//! CHECK: is everything as ADD left it?

use crate::agent::Agent;
use crate::config::NetConf;
use crate::failure::{Code, Failure};
use crate::invocation::Invocation;
use crate::pod;
use api::cni::{CheckRequest, CheckResponse};
use ipnet::IpNet;
use netlink::{Netlink, Route};
use serde_json::Value;
use std::net::IpAddr;

/// Compares the pod with what the agent holds to be true and with the result of the ADD.
pub(crate) fn check(config: &NetConf, invocation: &Invocation) -> Result<(), Failure> {
    let Some(previous) = &config.previous else {
        return Err(Failure::new(Code::Config, "CHECK needs \"prevResult\" in the network configuration"));
    };
    let namespace = pod::open_namespace(&invocation.netns)?;
    let mut inside = Netlink::open_in(&namespace).map_err(|error| pod::kernel(&error))?;
    let known = Agent::from_env().check(&CheckRequest {
        container_id: invocation.container_id.clone(),
        ifname: invocation.ifname.clone(),
    })?;
    let (link, peer) = check_link(&mut inside, &invocation.ifname)?;
    if peer != Some(known.host_ifindex) {
        let text = format!(
            "interface {} leads to interface {peer:?} of the node, the agent knows {}",
            invocation.ifname, known.host_ifindex
        );
        return Err(Failure::new(Code::NotInOrder, text));
    }
    check_addresses(&mut inside, link, &known, previous)?;
    check_routes(config, &mut inside, link, previous)
}

/// The interface inside is there and up; its index and that of its other end.
fn check_link(inside: &mut Netlink, ifname: &str) -> Result<(u32, Option<u32>), Failure> {
    match inside.find_link(ifname).map_err(|error| pod::kernel(&error))? {
        Some(link) if link.up => Ok((link.index, link.peer)),
        Some(_) => Err(wrong(format!("interface {ifname} is down in the pod"))),
        None => Err(wrong(format!("interface {ifname} is missing in the pod"))),
    }
}

fn check_addresses(
    inside: &mut Netlink,
    link: u32,
    known: &CheckResponse,
    previous: &Value,
) -> Result<(), Failure> {
    let there = inside.addresses(Some(link)).map_err(|error| pod::kernel(&error))?;
    let of_agent = [known.ipv4.map(IpAddr::from), known.ipv6.map(IpAddr::from)];
    let of_add =
        texts(previous, "ips", "address").filter_map(|text| text.parse::<IpNet>().ok()).map(|net| net.addr());
    for wanted in of_agent.into_iter().flatten().chain(of_add) {
        if !there.iter().any(|address| address.net.addr() == wanted) {
            return Err(wrong(format!("address {wanted} is missing in the pod")));
        }
    }
    Ok(())
}

fn check_routes(config: &NetConf, inside: &mut Netlink, link: u32, previous: &Value) -> Result<(), Failure> {
    let there = inside.routes().map_err(|error| pod::kernel(&error))?;
    let neighbours = inside.neighbours(Some(link)).map_err(|error| pod::kernel(&error))?;
    for gateway in texts(previous, "ips", "gateway").filter_map(|text| text.parse::<IpAddr>().ok()) {
        let is_there = |wanted: &Route| {
            there.iter().any(|route| {
                (route.destination, route.gateway, route.link)
                    == (wanted.destination, wanted.gateway, wanted.link)
            })
        };
        // The routes of a pod that another plugin made are that plugin's to check.
        let ours = if config.is_behind() { Vec::new() } else { pod::routes(gateway, link, 0).to_vec() };
        if let Some(missing) = ours.iter().find(|wanted| !is_there(wanted)) {
            return Err(wrong(format!("the route to {} is missing in the pod", missing.destination)));
        }
        if !neighbours.iter().any(|neighbour| neighbour.ip == gateway && neighbour.permanent) {
            return Err(wrong(format!("the gateway {gateway} is not a permanent neighbour in the pod")));
        }
    }
    Ok(())
}

/// The texts `field` of the objects in the list `list`.
fn texts<'a>(value: &'a Value, list: &str, field: &'a str) -> impl Iterator<Item = &'a str> {
    let items = value[list].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(move |item| item[field].as_str())
}

fn wrong(message: String) -> Failure {
    Failure::new(Code::NotInOrder, message).with_details("delete the pod; its controller makes a new one")
}
