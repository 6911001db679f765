//! What changes in the node's network: addresses become identities, routes make flows be decided again, and a pod's
//! device that is gone takes its endpoint along.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use agent_core::Input;
use anyhow::{Context, Result};
use netlink::{Change, Netlink, PROTOCOL, Subscription};
use tokio::io::unix::AsyncFd;

use crate::owner::{Handle, Message};

/// Changes come in bursts; one answer to each burst is enough.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// What a burst of changes asks for.
#[derive(Default)]
struct Burst {
    routes: bool,
    addresses: bool,
    gone: BTreeSet<u32>,
}

impl Burst {
    fn note(&mut self, change: &Change) {
        match change {
            Change::Route(route) | Change::RouteGone(route) => self.routes |= route.protocol != PROTOCOL,
            Change::Address(_) | Change::AddressGone(_) => self.addresses = true,
            Change::LinkGone(link) => {
                self.gone.insert(link.index);
            }
            Change::Overrun => {
                self.routes = true;
                self.addresses = true;
            }
            Change::Link(_) => {}
        }
    }
}

/// The addresses of this node that others can see.
///
/// # Errors
/// The kernel refuses to list them.
pub(crate) fn node_addresses(netlink: &mut Netlink) -> Result<Vec<IpAddr>> {
    let addresses = netlink.addresses(None).context("cannot list the node's addresses")?;
    let visible = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    Ok(addresses.into_iter().map(|a| a.net.addr()).filter(visible).collect())
}

/// Follows the network for ever. `subscription` was opened before the addresses were read first.
///
/// # Errors
/// The kernel's stream of changes ends.
pub(crate) async fn run(mut subscription: Subscription, mut netlink: Netlink, handle: Handle) -> Result<()> {
    let fd = rustix::io::dup(&subscription).context("cannot watch the network")?;
    #[expect(deprecated, reason = "the replacement is unsafe for types that might close their descriptor; OwnedFd does not")]
    let readable = AsyncFd::new(fd).context("cannot watch the network")?;
    loop {
        let mut guard = readable.readable().await.context("cannot watch the network")?;
        tokio::time::sleep(DEBOUNCE).await;
        let mut burst = Burst::default();
        while let Some(change) = subscription.wait(Some(Duration::ZERO))? {
            burst.note(&change);
        }
        guard.clear_ready();
        drop(guard);
        answer(burst, &mut netlink, &handle).await?;
    }
}

async fn answer(burst: Burst, netlink: &mut Netlink, handle: &Handle) -> Result<()> {
    if burst.addresses {
        let addresses = node_addresses(netlink)?;
        let message = Message::Learned(vec![Input::NodeAddresses(addresses)]);
        if handle.queue().send(message).await.is_err() {
            return Ok(());
        }
    }
    if !burst.routes && burst.gone.is_empty() {
        return Ok(());
    }
    handle
        .ask(move |owner| {
            for index in burst.gone {
                if let Some(id) = owner.state.remove_link(index) {
                    tracing::info!(endpoint = id, interface = index, "the device of a pod is gone, and its endpoint with it");
                }
            }
            if burst.routes {
                owner.kernel.bump_epoch();
            }
        })
        .await
}
