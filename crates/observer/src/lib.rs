//! The Hubble server of one node: keeps the last flows and hands them out over gRPC (`observer.Observer`, `peer.Peer`,
//! health, reflection), on sockets that the caller opened.
//!
//! Flows come in by [`Observer::push`], which never waits: readers are places in a ring, and one that is too slow is
//! told how many flows it missed. Deliberately absent: decoding (the `flow` crate), TLS (the caller wraps its
//! connections), merging of nodes (the relay).
#![forbid(unsafe_code)]

mod events;
mod export;
mod follow;
mod history;
mod peers;
mod query;
mod rate;
mod serve;
mod service;
mod store;

pub use export::Export;
pub use grpc::ServeError;
pub use history::History;
pub use peers::Peer;

use events::Events;
use flow::{AgentNews, Flow, LostEvents, LostSource};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What the server says of itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this node as flows carry it, `cluster/name`.
    pub node_name: String,
    /// Version of the agent.
    pub version: String,
    /// Flows to keep; rounded up to a power of two minus one (4095 by default).
    pub capacity: usize,
}

/// The flows of this node, and who reads them. Cheap to clone: all clones are one observer.
#[derive(Clone, Debug)]
pub struct Observer {
    shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    config: Config,
    started: Instant,
    store: Store,
    /// Woken when something was written.
    written: Notify,
    events: Events,
    /// Woken when an event of the agent was noted.
    events_written: Notify,
    /// Flows that the ring has forgotten.
    history: OnceLock<History>,
    peers: watch::Sender<Arc<[Peer]>>,
    /// Ends all streams.
    closing: CancellationToken,
}

impl Observer {
    /// An observer that has seen nothing yet.
    pub fn new(config: Config) -> Self {
        let shared = Shared {
            store: Store::new(config.capacity),
            started: Instant::now(),
            written: Notify::new(),
            events: Events::default(),
            events_written: Notify::new(),
            history: OnceLock::new(),
            peers: watch::Sender::new(Arc::default()),
            closing: CancellationToken::new(),
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// What `status` tells: flows held, flows that fit, flows ever seen, and the time since the start.
    pub fn figures(&self) -> (u64, u64, u64, std::time::Duration) {
        let figures = self.shared.store.figures(now());
        (figures.held, figures.capacity, figures.seen, self.shared.started.elapsed())
    }

    /// Adds a flow, over the oldest if the ring is full. Never waits for readers.
    pub fn push(&self, flow: Flow) {
        self.extend([flow]);
    }

    /// Adds flows in one go, which costs one lock and one waking instead of many.
    pub fn extend(&self, flows: impl IntoIterator<Item = Flow>) {
        self.shared.store.push(flows.into_iter(), now());
        self.shared.written.notify_waiters();
    }

    /// Notes that `count` events were lost before they became flows; readers are told. Losses that follow each other
    /// are told as one.
    pub fn lost(&self, source: LostSource, count: u64, cpu: Option<u32>) {
        if count > 0 {
            let now = now();
            self.shared.store.lost(LostEvents { source, count, cpu, first: now, last: now });
            self.shared.written.notify_waiters();
        }
    }

    /// Notes something that happened in the agent. Never waits for readers.
    pub fn note(&self, what: AgentNews) {
        self.shared.events.push(what);
        self.shared.events_written.notify_waiters();
    }

    /// Sets the servers that `peer.Peer` tells of: all nodes of the cluster, this one too.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.shared.peers.send_if_modified(|have| {
            let changed = **have != *peers;
            if changed {
                *have = peers.into();
            }
            changed
        });
    }
}

/// Now, ns since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
