//! The pod's devices: making them, setting them up inside, taking them away.

use crate::failure::{Code, Failure};
use api::Mac;
use api::cni::AllocateResponse;
use ipnet::IpNet;
use netlink::{NetNs, Netlink, NetlinkError, Route, VethEnd, sysctl};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

/// Index of loopback in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// Pairs are only ever ours if the host's end is called so.
pub(crate) const HOST_PREFIX: &str = "lxc";

/// A pod's pair of devices.
pub(crate) struct Devices {
    pub(crate) host_ifindex: u32,
    pub(crate) host_mac: Mac,
    pub(crate) mac: Mac,
}

/// Opens the pod's namespace; the node's own is refused, for there `eth0` is the way to the world.
pub(crate) fn open_namespace(path: &str) -> Result<NetNs, Failure> {
    let namespace = NetNs::open(path).map_err(|error| {
        Failure::new(Code::UnknownContainer, "the container's namespace cannot be opened").because(&error)
    })?;
    let own = NetNs::current().and_then(|own| own.id()).map_err(|error| kernel(&error))?;
    if namespace.id().map_err(|error| kernel(&error))? == own {
        let text = format!(
            "CNI_NETNS {path} is the node's own network namespace; pods with host networking need no plugin"
        );
        return Err(Failure::new(Code::Environment, text));
    }
    Ok(namespace)
}

/// Makes the pair, the inner end directly in the pod. What an interrupted ADD left behind goes first.
pub(crate) fn create(
    host: &mut Netlink,
    pod: &AllocateResponse,
    ifname: &str,
    namespace: &NetNs,
) -> Result<Devices, Failure> {
    // Chosen here, so that nobody has to enter the pod only to read what the kernel has drawn.
    let (mac, host_mac) = (pod.mac.unwrap_or_else(draw_mac), pod.host_mac.unwrap_or_else(draw_mac));
    let outer = VethEnd { name: &pod.host_ifname, mac: Some(host_mac.0), mtu: pod.mtu };
    let inner = VethEnd { name: ifname, mac: Some(mac.0), mtu: pod.mtu };
    let mut result = host.create_veth(&outer, &inner, Some(namespace));
    if result.as_ref().is_err_and(NetlinkError::is_existing)
        && host.delete_link(&pod.host_ifname).map_err(|error| kernel(&error))?
    {
        result = host.create_veth(&outer, &inner, Some(namespace));
    }
    result.map_err(|error| kernel(&error))?;
    // From here on the pair is there, and the caller takes it away when anything fails.
    match prepare_host_end(host, &pod.host_ifname) {
        Ok(host_ifindex) => Ok(Devices { host_ifindex, host_mac, mac }),
        Err(error) => {
            // The first failure is the one to tell.
            let _ = host.delete_link(&pod.host_ifname);
            Err(kernel(&error))
        }
    }
}

/// Settings of the outer end; returns its index.
fn prepare_host_end(host: &mut Netlink, name: &str) -> Result<u32, NetlinkError> {
    // Replies come from wherever routing says; the programs on the device check sources, and do it by policy.
    sysctl::set_ipv4(name, "rp_filter", "0")?;
    // Nobody speaks to the host's end itself: no link-local address, no multicast noise.
    sysctl::set_ipv6(name, "addr_gen_mode", "1")?;
    Ok(host.link(name)?.index)
}

/// A random unicast address, marked as locally administered. The keys of the standard library's hash tables are the
/// kernel's random bits, 64 of which come out here.
fn draw_mac() -> Mac {
    let [a, b, c, d, e, f, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    Mac([(a & 0xfc) | 0x02, b, c, d, e, f])
}

/// Sets the inner end up: addresses, routes, and the gateway as a neighbour that is never asked for.
pub(crate) fn configure(
    namespace: &NetNs,
    pod: &AllocateResponse,
    ifname: &str,
    devices: &Devices,
) -> Result<(), Failure> {
    namespace
        .run(|| configure_inside(pod, ifname, devices))
        .and_then(|result| result)
        .map_err(|error| kernel(&error))
}

fn configure_inside(pod: &AllocateResponse, ifname: &str, devices: &Devices) -> Result<(), NetlinkError> {
    if pod.ipv6.is_some() {
        for scope in ["all", "default", ifname] {
            sysctl::set_ipv6(scope, "disable_ipv6", "0")?;
        }
    }
    // Also the link-local address is to be usable at once.
    sysctl::set_ipv6(ifname, "accept_dad", "0")?;
    let mut inside = Netlink::open()?;
    let link = inside.link(ifname)?.index;
    inside.set_link_up(LOOPBACK)?;
    inside.set_link_up(link)?;
    for (address, gateway) in families(pod) {
        inside.set_address(link, IpNet::from(address))?;
        if let Some(gateway) = gateway {
            inside.set_neighbour(link, gateway, devices.host_mac.0)?;
            for route in routes(gateway, link, pod.route_mtu) {
                inside.replace_route(&route)?;
            }
        }
    }
    Ok(())
}

/// Addresses with their gateways, IPv4 first.
pub(crate) fn families(pod: &AllocateResponse) -> impl Iterator<Item = (IpAddr, Option<IpAddr>)> {
    let ipv4 = pod.ipv4.map(|ip| (IpAddr::from(ip), pod.gateway_ipv4.map(IpAddr::from)));
    let ipv6 = pod.ipv6.map(|ip| (IpAddr::from(ip), pod.gateway_ipv6.map(IpAddr::from)));
    ipv4.into_iter().chain(ipv6)
}

/// The gateway on the link, everything else through it.
pub(crate) fn routes(gateway: IpAddr, link: u32, mtu: u32) -> [Route; 2] {
    [Route::to(IpNet::from(gateway), link), Route::default_via(gateway, link).with_mtu(mtu)]
}

/// Takes the inner end away, and with it the outer. A namespace or device that is gone is fine.
pub(crate) fn remove(netns: &str, ifname: &str) -> Result<(), Failure> {
    let Ok(namespace) = NetNs::open(netns) else { return Ok(()) };
    let own = NetNs::current().and_then(|own| own.id()).map_err(|error| kernel(&error))?;
    if namespace.id().map_err(|error| kernel(&error))? == own {
        return Ok(());
    }
    match Netlink::open_in(&namespace) {
        Ok(mut inside) => inside.delete_link(ifname).map(drop).map_err(|error| kernel(&error)),
        // The path is there but no namespace any more: an empty file whose mount was undone.
        Err(NetlinkError::NetNs { .. }) => Ok(()),
        Err(error) => Err(kernel(&error)),
    }
}

/// The kernel refused.
pub(crate) fn kernel(error: &NetlinkError) -> Failure {
    let code = if matches!(error, NetlinkError::NetNs { .. }) { Code::UnknownContainer } else { Code::Io };
    Failure::new(code, error.to_string()).because(error)
}
