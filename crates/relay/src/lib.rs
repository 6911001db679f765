//! The relay: one Hubble server in front of those of all nodes.
//!
//! It learns of nodes from the `Peer` service of any of them ([`Pool`]), asks them all, and hands out their flows ordered
//! by time (`merge`). Memory is bounded by a window of flows, whatever nodes send and however slow a client is.
//! Deliberately absent: agent events (ask the node), keeping flows (the nodes do).
#![forbid(unsafe_code)]

mod answer;
mod flows;
mod merge;
mod pool;
mod service;

pub use merge::Window;
pub use pool::{Dial, Pool, Reached};
pub use service::{Config, Relay};

#[cfg(test)]
mod tests;
