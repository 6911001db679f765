//! `peer.Peer`: which servers the cluster has.

use crate::{Observer, Shared};
use futures::stream::BoxStream;
use hubble_pb::peer as pb;
use pb::ChangeNotificationType as Change;
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// A Hubble server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Node, as `cluster/name`.
    pub name: String,
    /// Its address and port.
    pub address: String,
    /// The name its certificate carries, if it speaks TLS.
    pub tls_server_name: Option<String>,
}

impl Peer {
    fn change(&self, change: Change) -> pb::ChangeNotification {
        pb::ChangeNotification {
            name: self.name.clone(),
            address: self.address.clone(),
            r#type: change.into(),
            tls: self.tls_server_name.clone().map(|server_name| pb::Tls { server_name }),
        }
    }
}

#[tonic::async_trait]
impl pb::peer_server::Peer for Observer {
    type NotifyStream = BoxStream<'static, Result<pb::ChangeNotification, Status>>;

    async fn notify(&self, _: Request<pb::NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        Ok(Response::new(Box::pin(changes(self.shared.clone()))))
    }
}

/// All servers, then every change, until the server closes.
fn changes(
    shared: Arc<Shared>,
) -> impl futures::Stream<Item = Result<pb::ChangeNotification, Status>> + Send {
    let mut peers = shared.peers.subscribe();
    peers.mark_changed();
    let told: BTreeMap<String, Peer> = BTreeMap::new();
    let state = (shared, peers, told, Vec::new().into_iter());
    futures::stream::unfold(state, |(shared, mut peers, mut told, mut ready)| async move {
        loop {
            if let Some(change) = ready.next() {
                return Some((Ok(change), (shared, peers, told, ready)));
            }
            tokio::select! {
                changed = peers.changed() => changed.ok()?,
                () = shared.closing.cancelled() => return None,
            }
            let now =
                peers.borrow_and_update().iter().map(|peer| (peer.name.clone(), peer.clone())).collect();
            ready = difference(&told, &now).into_iter();
            told = now;
        }
    })
}

/// What happened between two lists.
fn difference(before: &BTreeMap<String, Peer>, now: &BTreeMap<String, Peer>) -> Vec<pb::ChangeNotification> {
    let gone = before.values().filter(|peer| !now.contains_key(&peer.name));
    let come = now.values().filter_map(|peer| match before.get(&peer.name) {
        None => Some(peer.change(Change::PeerAdded)),
        Some(old) if old != peer => Some(peer.change(Change::PeerUpdated)),
        Some(_) => None,
    });
    gone.map(|peer| peer.change(Change::PeerDeleted)).chain(come).collect()
}
