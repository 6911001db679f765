//! What changes in the node's network: addresses become identities, routes make flows be decided again, and a pod's
//! device that is gone takes its endpoint along. What somebody takes from us is put back.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use agent_core::Input;
use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use netlink::{Change, Netlink, PROTOCOL, Subscription};
use tokio::io::unix::AsyncFd;
use tokio::time::MissedTickBehavior;

use crate::owner::{Handle, Message, Owner, now};

/// Changes come in bursts; one answer to each burst is enough.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How often the links of programs are looked at: nothing tells when a pin is removed.
const LINK_CHECK: Duration = Duration::from_secs(3);
/// Route changes in a burst that are told apart; with more, ours are simply looked at.
const MOST_ROUTES: usize = 1024;

/// What a burst of changes asks for.
#[derive(Default)]
struct Burst {
    routes: bool,
    addresses: bool,
    gone: BTreeSet<u32>,
    /// Destinations to which something changed.
    destinations: BTreeSet<IpNet>,
    /// Something of ours may be missing.
    ours: bool,
}

impl Burst {
    /// Takes in a change; `devices` are the node's devices with programs of ours.
    fn note(&mut self, change: &Change, devices: &BTreeSet<u32>) {
        match change {
            Change::Route(route) | Change::RouteGone(route) => {
                self.routes |= route.protocol != PROTOCOL;
                self.ours |= self.destinations.len() >= MOST_ROUTES;
                if !self.ours {
                    self.destinations.insert(route.destination);
                }
            }
            Change::Address(_) => self.addresses = true,
            Change::AddressGone(address) => {
                self.addresses = true;
                self.ours |= devices.contains(&address.link);
            }
            Change::LinkGone(link) => {
                self.gone.insert(link.index);
            }
            Change::Overrun => {
                self.routes = true;
                self.addresses = true;
                self.ours = true;
            }
            Change::Link(link) => self.ours |= devices.contains(&link.index),
        }
    }
}

/// The addresses of this node that others can see.
///
/// # Errors
/// The kernel refuses to list them.
pub(crate) fn node_addresses(netlink: &mut Netlink) -> Result<Vec<IpAddr>> {
    let addresses = netlink.addresses(None).context("cannot list the node's addresses")?;
    Ok(addresses.into_iter().map(|a| a.net.addr()).filter(is_visible).collect())
}

/// Whether others can see an address.
pub(crate) fn is_visible(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

/// Follows the network for ever. `subscription` was opened before the addresses were read first; `devices` are those of
/// the node that carry our programs.
///
/// # Errors
/// The kernel's stream of changes ends, or one of `devices` is gone: then only a new start helps.
pub(crate) async fn run(
    mut subscription: Subscription,
    mut netlink: Netlink,
    handle: Handle,
    devices: BTreeSet<u32>,
) -> Result<()> {
    let fd = rustix::io::dup(&subscription).context("cannot watch the network")?;
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for types that might close their descriptor; OwnedFd does not"
    )]
    let readable = AsyncFd::new(fd).context("cannot watch the network")?;
    let mut check = tokio::time::interval(LINK_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut guard = tokio::select! {
            guard = readable.readable() => guard.context("cannot watch the network")?,
            _ = check.tick() => {
                handle.ask(|owner| owner.kernel.repair_links(&owner.state)).await?;
                continue;
            }
        };
        tokio::time::sleep(DEBOUNCE).await;
        let mut burst = Burst::default();
        while let Some(change) = subscription.wait(Some(Duration::ZERO))? {
            burst.note(&change, &devices);
        }
        guard.clear_ready();
        drop(guard);
        for index in burst.gone.intersection(&devices) {
            // A bridge that loses a port sends the same message.
            if netlink.find_link_by_index(*index)?.is_none() {
                bail!(
                    "a device that carries this node's programs (index {index}) was removed: the agent has to start anew"
                );
            }
        }
        answer(burst, &mut netlink, &handle).await?;
    }
}

async fn answer(burst: Burst, netlink: &mut Netlink, handle: &Handle) -> Result<()> {
    let Burst { routes, addresses, gone, destinations, ours } = burst;
    if ours || !destinations.is_empty() {
        let repair = move |owner: &mut Owner| {
            if ours || destinations.iter().any(|prefix| owner.kernel.wants_route(prefix)) {
                owner.kernel.repair_network(now());
            }
        };
        handle.ask(repair).await?;
    }
    if addresses {
        let addresses = node_addresses(netlink)?;
        let message = Message::Learned(vec![Input::NodeAddresses(addresses)]);
        if handle.queue().send(message).await.is_err() {
            return Ok(());
        }
    }
    if !routes && gone.is_empty() {
        return Ok(());
    }
    handle
        .ask(move |owner| {
            for index in gone {
                if let Some(id) = owner.state.remove_link(index) {
                    tracing::info!(
                        endpoint = id,
                        interface = index,
                        "the device of a pod is gone, and its endpoint with it"
                    );
                }
            }
            if routes {
                owner.kernel.bump_epoch();
            }
        })
        .await
}
