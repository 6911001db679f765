//! The node's devices: `cilium_host` and its peer, the tunnel, the native ones, and the kernel settings they need.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use netlink::{Link, LinkChange, Netlink, Route, VethEnd, Vxlan, sysctl};

use crate::config::{Config, Routing};

/// The node's side of the pods' gateway.
pub(crate) const HOST_DEVICE: &str = "cilium_host";
/// The other end of [`HOST_DEVICE`].
pub(crate) const PEER_DEVICE: &str = "cilium_net";
/// The tunnel.
pub(crate) const TUNNEL_DEVICE: &str = "cilium_vxlan";

/// Outer IPv4, UDP and VXLAN headers and the inner Ethernet header, bytes.
const OVERHEAD_V4: u32 = 50;
/// The same with an outer IPv6 header.
const OVERHEAD_V6: u32 = 70;

/// The devices, ready.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    /// `cilium_host`.
    pub host: Link,
    /// The tunnel, if there is one.
    pub tunnel: Option<Link>,
    /// Devices that lead to the other nodes and to the world.
    pub native: Vec<Link>,
    /// Largest packet of the underlay, bytes.
    pub mtu: u32,
    /// Largest packet through the tunnel, bytes; equal to `mtu` without one.
    pub tunnel_mtu: u32,
    routers: Vec<IpAddr>,
}

impl Devices {
    /// Makes what is missing and sets what differs. Repeating it changes nothing.
    ///
    /// # Errors
    /// The kernel refuses, or no native device can be found.
    pub(crate) fn prepare(
        netlink: &mut Netlink,
        config: &Config,
        routers: &[IpAddr],
        underlay: &[IpAddr],
    ) -> Result<Self> {
        sysctl::set_forwarding().context("cannot switch on forwarding")?;
        // The larger of this and the device's own counts; the programs check sources themselves.
        sysctl::set_ipv4("all", "rp_filter", "0").context("cannot switch off the reverse path filter")?;
        let native = native_devices(netlink, config, underlay)?;
        let mtu = config.mtu.or_else(|| native.iter().map(|l| l.mtu).min()).unwrap_or(1500);
        let overhead = if underlay.iter().any(IpAddr::is_ipv4) { OVERHEAD_V4 } else { OVERHEAD_V6 };
        let tunnel_mtu = if config.tunnel() { mtu.saturating_sub(overhead) } else { mtu };
        for device in &native {
            quiet(&device.name)?;
        }
        let host = host_pair(netlink, mtu, routers)?;
        let tunnel = tunnel(netlink, config, mtu)?;
        Ok(Self { host, tunnel, native, mtu, tunnel_mtu, routers: routers.to_vec() })
    }

    /// Every device that carries one of the node's programs.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Link> {
        [&self.host].into_iter().chain(&self.tunnel).chain(&self.native)
    }

    /// Puts back what somebody took from `cilium_host`; says what.
    ///
    /// # Errors
    /// The device is gone, or the kernel refuses.
    pub(crate) fn repair(&self, netlink: &mut Netlink) -> Result<Vec<String>> {
        let mut repaired = Vec::new();
        if !netlink.link(HOST_DEVICE)?.up {
            netlink.change_link(self.host.index, &LinkChange { up: Some(true), ..LinkChange::default() })?;
            repaired.push("set up".to_owned());
        }
        let present = netlink.addresses(Some(self.host.index))?;
        for router in self.routers.iter().filter(|router| !present.iter().any(|a| a.net.addr() == **router)) {
            netlink.set_address(self.host.index, IpNet::from(*router))?;
            repaired.push(format!("address {router}"));
        }
        Ok(repaired)
    }

    /// Largest packet between pods of different nodes, bytes.
    pub(crate) fn pod_route_mtu(&self) -> u32 {
        self.tunnel_mtu
    }

    /// Routes that only depend on this node: its routers, on `cilium_host`.
    pub(crate) fn own_routes(&self) -> Vec<(IpNet, Route)> {
        // The kernel makes the one for IPv6 itself.
        let v4 = self.routers.iter().filter(|r| r.is_ipv4());
        v4.map(|router| (IpNet::from(*router), Route::to(IpNet::from(*router), self.host.index))).collect()
    }

    /// The kernel's form of a route.
    pub(crate) fn route(&self, prefix: IpNet, route: agent_core::Route) -> Route {
        let through_host = |router: IpAddr| {
            let route = Route::to(prefix, self.host.index).from(router);
            // Linux takes no IPv6 address of its own as a next hop; for IPv4 it does, and tools expect it.
            if router.is_ipv4() { route.via(router) } else { route }
        };
        match route {
            agent_core::Route::Local { router } => through_host(router),
            agent_core::Route::Tunnel { router } => through_host(router).with_mtu(self.tunnel_mtu),
            agent_core::Route::Direct { node } => {
                Route::to(prefix, self.native.first().map_or(0, |l| l.index)).via(node)
            }
        }
    }
}

/// The devices named in the options, else those of the node's addresses and of the default routes.
fn native_devices(netlink: &mut Netlink, config: &Config, underlay: &[IpAddr]) -> Result<Vec<Link>> {
    let links = netlink.links().context("cannot list the devices")?;
    if !config.devices.is_empty() {
        let fits = |pattern: &str, name: &str| match pattern.strip_suffix('+') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        let named: Vec<Link> =
            links.iter().filter(|l| config.devices.iter().any(|p| fits(p, &l.name))).cloned().collect();
        if named.is_empty() {
            let there: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
            bail!(
                "--devices={} names no device of this node: it has {}",
                config.devices.join(","),
                there.join(", ")
            );
        }
        return Ok(named);
    }
    let mut wanted: Vec<u32> = Vec::new();
    for address in netlink.addresses(None).context("cannot list the addresses")? {
        if underlay.contains(&address.net.addr()) {
            wanted.push(address.link);
        }
    }
    for ipv6 in [false, true] {
        if let Some(route) = netlink.default_route(ipv6).context("cannot read the default route")? {
            wanted.push(route.link);
        }
    }
    let mut seen = Vec::new();
    wanted.retain(|index| {
        !seen.contains(index) && {
            seen.push(*index);
            true
        }
    });
    let native: Vec<Link> = wanted
        .iter()
        .filter_map(|index| links.iter().find(|l| l.index == *index))
        .filter(|l| !l.loopback && !l.name.starts_with("cilium_") && !l.name.starts_with("lxc"))
        .cloned()
        .collect();
    if native.is_empty() {
        bail!("no device carries this node's address or a default route: name one with --devices");
    }
    Ok(native)
}

/// No reverse path filter, which would drop what takes another way back.
fn quiet(device: &str) -> Result<()> {
    sysctl::set_ipv4(device, "rp_filter", "0")
        .with_context(|| format!("cannot switch off the reverse path filter of {device}"))?;
    Ok(())
}

fn host_pair(netlink: &mut Netlink, mtu: u32, routers: &[IpAddr]) -> Result<Link> {
    if netlink.find_link(HOST_DEVICE)?.is_none() {
        let end = |name| VethEnd { name, mtu, ..VethEnd::default() };
        netlink.create_veth(&end(HOST_DEVICE), &end(PEER_DEVICE), None)?;
    }
    let host = netlink.link(HOST_DEVICE)?;
    let peer = netlink.link(PEER_DEVICE)?;
    for link in [&host, &peer] {
        // Whatever leaves through the pair goes through its program, so there is no neighbour to ask for.
        let change = LinkChange { up: Some(true), mtu: Some(mtu), no_arp: true, ..LinkChange::default() };
        netlink.change_link(link.index, &change)?;
        quiet(&link.name)?;
        sysctl::set_ipv4(&link.name, "forwarding", "1")?;
        sysctl::set_ipv4(&link.name, "accept_local", "1")?;
        sysctl::set_ipv4(&link.name, "send_redirects", "0")?;
        sysctl::set_ipv6(&link.name, "forwarding", "1")?;
    }
    addresses(netlink, host.index, routers)?;
    Ok(netlink.link(HOST_DEVICE)?)
}

/// Exactly the routers' addresses, and link-local ones.
fn addresses(netlink: &mut Netlink, link: u32, routers: &[IpAddr]) -> Result<()> {
    for router in routers {
        netlink.set_address(link, IpNet::from(*router))?;
    }
    for address in netlink.addresses(Some(link))? {
        let ip = address.net.addr();
        let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !routers.contains(&ip) && !link_local {
            tracing::info!(address = %address.net, "removing a router address of an earlier pod CIDR");
            netlink.delete_address(link, address.net)?;
        }
    }
    Ok(())
}

fn tunnel(netlink: &mut Netlink, config: &Config, mtu: u32) -> Result<Option<Link>> {
    let Routing::Tunnel { port } = config.routing else {
        netlink.delete_link(TUNNEL_DEVICE)?;
        return Ok(None);
    };
    // The device does not tell its port, so it is kept beside it.
    let note = config.paths.run_dir.join("state").join("tunnel-port");
    let known = std::fs::read_to_string(&note).unwrap_or_default();
    if known.trim() != port.to_string() {
        netlink.delete_link(TUNNEL_DEVICE)?;
    }
    if netlink.find_link(TUNNEL_DEVICE)?.is_none() {
        netlink.create_vxlan(&Vxlan { name: TUNNEL_DEVICE, port, mtu, mac: None }).with_context(|| {
            format!("does something else use UDP port {port}? Choose another with --tunnel-port")
        })?;
    }
    let folder = config.paths.run_dir.join("state");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&note, port.to_string()))
        .context("cannot note the tunnel's port")?;
    let link = netlink.link(TUNNEL_DEVICE)?;
    if !link.up || link.mtu != mtu {
        netlink.change_link(
            link.index,
            &LinkChange { up: Some(true), mtu: Some(mtu), ..LinkChange::default() },
        )?;
    }
    quiet(TUNNEL_DEVICE)?;
    Ok(Some(netlink.link(TUNNEL_DEVICE)?))
}
