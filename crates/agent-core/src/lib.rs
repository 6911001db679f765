//! The agent's control state: Kubernetes objects and local pods in, desired kernel tables out.
//!
//! One owner holds a [`State`]. It takes in changes with [`State::apply`] and the endpoint calls, and asks with
//! [`State::settle`] what follows: an [`Update`] with exactly the rows that are to change, in an order that is safe to
//! write, and the objects the API server should have. When they are written, [`State::realized`] tells which endpoints
//! are ready.
//!
//! Invariants:
//! - No IO, clock or randomness: `now` is an argument (ns of any clock that only grows).
//! - Until every kind of object was listed once, nothing is settled: what the kernel holds from the last run stays.
//! - A policy table knows an identity before any address has it, and forgets it after (see [`Update`]).
//!
//! Deliberately absent: doubt about empty lists (the watches confirm those before they send them), and the slots that
//! policy tables get in the kernel (whoever writes them knows).
#![forbid(unsafe_code)]

mod cidrs;
mod claims;
mod endpoint;
mod identities;
mod ipcache;
pub mod kube;
pub mod model;
mod objects;
mod routes;
mod settings;
mod state;
mod store;
mod table;
mod untracked;
mod update;

pub use cidrs::{CidrIdentities, Exhausted};
pub use endpoint::{Attachment, Endpoint, EndpointSpec, ForeignLink, Phase};
pub use identities::ClusterIdentities;
pub use ipcache::{Claim, Ipcache, Source, key_prefix, prefix_key};
pub use model::{Change, ClusterIdentity, Keyed, NamedPort, Namespace, Node, Pod, PodKey, RemoteEndpoint};
pub use objects::{Condition, EndpointObject};
pub use routes::Route;
pub use settings::Settings;
pub use state::{CreateError, HostVersion, Input, Journal, Kept, Kind, PolicyObject, State};
pub use store::Store;
pub use table::Table;
pub use untracked::{NoTrack, Untracked};
pub use update::{Delta, Effect, PodRow, PolicyWrite, Update};
