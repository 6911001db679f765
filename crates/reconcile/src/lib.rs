//! One reconciler for everything the agent keeps outside itself: kernel maps, routes, links, statuses.
//!
//! The owner says what it wants ([`Reconciler::set`], [`Reconciler::remove`], [`Reconciler::replace`]), each time under a
//! [`Revision`]; [`Reconciler::run`] writes the difference to a [`Target`], retries what failed with exponential backoff,
//! key by key, and [`Reconciler::realized`] says up to which revision everything is in place.
//!
//! Invariants:
//! - What is known of the target is implicit: a key without a pending entry is in the target exactly as desired. A
//!   converged reconciler costs one table, and a run of it costs nothing.
//! - Only keys that were adopted or written by this reconciler are ever deleted.
//! - No clock and no IO of its own: `now` is a time since any fixed point, the target does the writing.
//!
//! Deliberately absent: order between keys of one table (use one reconciler for each table and run them in order) and jitter
//! (a retry is local, nobody shares the target).
#![forbid(unsafe_code)]

mod pending;
mod reconciler;
mod target;
#[cfg(test)]
mod tests;

pub use pending::{Backoff, Failure};
pub use reconciler::{Drift, Options, Order, Reconciler, Report};
pub use target::{Failed, MemoryTarget, NoError, Target};

/// Number of a state of the desired world; grows with every change. 0 is "nothing was asked yet".
pub type Revision = u64;
