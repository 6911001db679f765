//! The only user of the Kubernetes client: watches become [`Change`]s in a bounded queue, writers bring our objects to
//! the API server, [`lease`] elects a leader.
//!
//! - A list is one atomic [`Change::Reset`]; an empty one is believed only when a second list says the same.
//! - An object that cannot be read is reported alone, as [`Change::Invalid`].
//! - An API server that is away costs nothing but freshness: the watch goes on trying, and [`WatchHealth`] says so.
//!
//! Deliberately absent: caches. Who needs the objects keeps them.

mod backoff;
mod calls;
mod change;
mod clients;
mod error;
mod exec;
mod forward;
mod guard;
mod health;
pub mod lease;
mod outlet;
mod raw;
mod read;
mod watch;
pub mod write;

pub use change::{Change, Invalid, Key};
pub use clients::{ApiConfig, Clients};
pub use error::{ApiError, ConnectError};
pub use exec::{Container, Ran};
pub use health::{WatchHealth, Watched};
pub use watch::{WatchSpec, Watchable};

/// The client library, for those who need an API that has no wrapper here yet.
pub use kube;

#[cfg(test)]
mod mock;
