//! The result of an ADD, in the form of each version of the specification.

use crate::pod::Devices;
use crate::version::Version;
use api::cni::AllocateResponse;
use serde_json::{Value, json};
use std::net::IpAddr;

/// What the runtime gets.
pub(crate) fn added(
    version: Version,
    pod: &AllocateResponse,
    devices: &Devices,
    ifname: &str,
    netns: &str,
) -> Value {
    let families = families(pod);
    let mut result = json!({ "cniVersion": version.text(), "dns": {} });
    if version < Version::V0_3_0 {
        for family in &families {
            let key = if family.address.is_ipv4() { "ip4" } else { "ip6" };
            result[key] = family.to_old_json();
        }
        return result;
    }
    let mut inside = json!({ "name": ifname, "mac": devices.mac.to_string(), "sandbox": netns });
    let mut outside = json!({ "name": pod.host_ifname, "mac": devices.host_mac.to_string() });
    if version >= Version::V1_1_0 {
        inside["mtu"] = pod.mtu.into();
        outside["mtu"] = pod.mtu.into();
    }
    result["interfaces"] = json!([outside, inside]);
    result["ips"] = families.iter().map(|family| family.to_ip_json(version)).collect();
    result["routes"] = families.iter().flat_map(|family| family.routes(version)).collect();
    result
}

/// Addresses of one family.
struct Family {
    address: IpAddr,
    gateway: Option<IpAddr>,
    route_mtu: u32,
}

fn families(pod: &AllocateResponse) -> Vec<Family> {
    let route_mtu = pod.route_mtu;
    let ipv4 = pod.ipv4.map(|ip| Family {
        address: ip.into(),
        gateway: pod.gateway_ipv4.map(Into::into),
        route_mtu,
    });
    let ipv6 = pod.ipv6.map(|ip| Family {
        address: ip.into(),
        gateway: pod.gateway_ipv6.map(Into::into),
        route_mtu,
    });
    ipv4.into_iter().chain(ipv6).collect()
}

impl Family {
    fn host(ip: IpAddr) -> String {
        format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })
    }

    /// Position 1 in the list of interfaces is the one inside.
    fn to_ip_json(&self, version: Version) -> Value {
        let mut ip = json!({ "interface": 1, "address": Family::host(self.address) });
        if let Some(gateway) = self.gateway {
            ip["gateway"] = gateway.to_string().into();
        }
        if version < Version::V1_0_0 {
            ip["version"] = (if self.address.is_ipv4() { "4" } else { "6" }).into();
        }
        ip
    }

    fn routes(&self, version: Version) -> Vec<Value> {
        let Some(gateway) = self.gateway else { return Vec::new() };
        let everything = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let mut default = json!({ "dst": everything, "gw": gateway.to_string() });
        if version >= Version::V1_1_0 && self.route_mtu != 0 {
            default["mtu"] = self.route_mtu.into();
        }
        vec![json!({ "dst": Family::host(gateway) }), default]
    }

    fn to_old_json(&self) -> Value {
        let mut family = json!({ "ip": Family::host(self.address), "routes": self.routes(Version::OLDEST) });
        if let Some(gateway) = self.gateway {
            family["gateway"] = gateway.to_string().into();
        }
        family
    }
}
