//! Datagram sockets of backends that are gone: nobody would tell their owners, who would send for ever into nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use abi::{Addr, Backend, MemberKey, SocketKey};
use anyhow::Result;
use loader::{Maps, Object};
use netlink::{NetNs, SocketDiag};
use services::Update;
use tokio::sync::mpsc;

use crate::owner;

const UDP: u8 = 17;

/// The backends that an update takes from UDP services.
pub(super) fn removed(update: &Update) -> BTreeSet<(IpAddr, u16)> {
    let gone = update.members.iter().filter(|(key, state)| key.protocol == UDP && state.is_none());
    gone.map(|(key, _)| (IpAddr::from(key.addr), u16::from_be(key.port))).collect()
}

/// Closes, for ever, the sockets that services led to backends which come by `removed`.
///
/// # Errors
/// The agent is stopping.
pub(crate) async fn run(
    mut removed: mpsc::UnboundedReceiver<BTreeSet<(IpAddr, u16)>>,
    object: Arc<Object>,
    pods: owner::Handle,
) -> Result<()> {
    while let Some(mut peers) = removed.recv().await {
        while let Ok(more) = removed.try_recv() {
            peers.extend(more);
        }
        let namespaces = pods
            .ask(|owner| -> Vec<String> {
                owner.state.endpoints().values().map(|endpoint| endpoint.spec.netns.clone()).collect()
            })
            .await?;
        let object = Arc::clone(&object);
        // A walk over all sockets of the node takes its time; the one thread that decides does not wait for it.
        let closed = tokio::task::spawn_blocking(move || close_all(&peers, &namespaces, &object.maps)).await;
        match closed {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "closed datagram sockets to backends that are gone"),
            Err(error) => tracing::warn!(%error, "closing datagram sockets to backends that are gone"),
        }
    }
    Ok(())
}

/// In the node's namespace and in those of its pods.
fn close_all(peers: &BTreeSet<(IpAddr, u16)>, namespaces: &[String], maps: &Maps) -> usize {
    let own = close_here(peers, maps);
    let pods = namespaces.iter().filter(|path| !path.is_empty()).map(|path| {
        // A pod may go at any time.
        NetNs::open(path).and_then(|namespace| namespace.run(|| close_here(peers, maps))).unwrap_or_default()
    });
    own + pods.sum::<usize>()
}

fn close_here(peers: &BTreeSet<(IpAddr, u16)>, maps: &Maps) -> usize {
    let mut closed = 0;
    let mut close = || -> Result<(), netlink::NetlinkError> {
        let mut diag = SocketDiag::open()?;
        for socket in diag.connected_udp(peers)? {
            if is_stale(socket.cookie, socket.peer, maps) && diag.close(&socket)? {
                closed += 1;
            }
        }
        Ok(())
    };
    if let Err(error) = close() {
        tracing::warn!(error = crate::text(&error), "datagram sockets to backends that are gone stay open");
    }
    closed
}

/// Whether a service led the socket to this peer, which is not one of its backends any more.
fn is_stale(cookie: u64, peer: (IpAddr, u16), maps: &Maps) -> bool {
    let addr = Addr::from(peer.0);
    let port = peer.1.to_be();
    let key = SocketKey { cookie, backend: Backend { addr, port, _pad: 0 }, _pad: 0 };
    let Ok(Some(asked)) = maps.sockets.get(&key) else { return false };
    let member = MemberKey { addr, service: asked.service, port, protocol: UDP, _pad: 0 };
    let stale = matches!(maps.members.get(&member), Ok(None));
    if stale {
        let frontend = SocketAddr::new(asked.addr.into(), u16::from_be(asked.port));
        tracing::debug!(%frontend, backend = %SocketAddr::from(peer), "closing a socket");
    }
    stale
}
