//! The devices that lead to the world, with their addresses.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netlink::Netlink;

use crate::owner::Handle;
use crate::tasks::links;

/// A device.
pub(super) struct Device {
    /// Its name.
    pub name: String,
    /// Its addresses that others can see, in the kernel's order: the first of a family is that of the device.
    pub addresses: Vec<IpAddr>,
    /// The node's own address is on it.
    pub is_direct: bool,
}

/// The node's native devices, as they are now.
///
/// # Errors
/// The kernel does not list addresses.
pub(super) async fn native(owner: &Handle) -> Result<Vec<Device>> {
    let (native, primary) = owner
        .ask(|owner| {
            let native: Vec<(u32, String)> =
                owner.kernel.devices().native.iter().map(|link| (link.index, link.name.clone())).collect();
            (native, owner.state.settings().node.primary())
        })
        .await?;
    let listed = tokio::task::spawn_blocking(|| Netlink::open()?.addresses(None)).await;
    let addresses =
        listed.context("a task has panicked")?.context("cannot list the addresses of the node's devices")?;
    let of = |index: u32| {
        let own = addresses.iter().filter(move |address| address.link == index);
        own.map(|address| address.net.addr()).filter(links::is_visible).collect::<Vec<_>>()
    };
    let mut devices: Vec<Device> = native
        .into_iter()
        .map(|(index, name)| {
            let addresses = of(index);
            let is_direct = primary.is_some_and(|primary| addresses.contains(&primary));
            Device { name, addresses, is_direct }
        })
        .collect();
    // The node's address may be on none of them: then routes lead over the first.
    if devices.iter().all(|device| !device.is_direct)
        && let Some(first) = devices.first_mut()
    {
        first.is_direct = true;
    }
    Ok(devices)
}
