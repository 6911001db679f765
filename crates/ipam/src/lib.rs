//! Address management, both halves of it, as plain data structures without IO, clock or randomness.
//!
//! * [`ClusterPool`] is the operator's half: it cuts the cluster's ranges into equal blocks and hands each node one,
//!   never the same twice.
//! * [`PodAllocator`] is the node's half: it hands single addresses out of the node's blocks (of both families) to pods.
//!
//! Deliberately absent: multi-pool, the clouds' ENI modes, and any memory of what the Kubernetes API says. Callers feed
//! what exists with [`ClusterPool::occupy`] and [`PodAllocator::claim`] and write results back themselves.

mod block;
mod cluster_pool;
mod family;
mod pod;

pub use cluster_pool::{ClusterPool, PoolError};
pub use family::Family;
pub use pod::{PodAllocator, PodError, PodLease, ROUTER_OWNER, Usage};
