//! Policies tried without being applied.
//!
//! [`Documents`] reads files of YAML and knows the line of every field; [`lint()`] checks the policies in them, by the schema
//! that the API server uses and the conversion that the agent uses, and warns of what means nothing. [`Inventory`] is what a
//! cluster holds: pods, namespaces, policies. Two of its [`Rulebook`]s, one with and one without a candidate, are compared by
//! [`diff()`], table by table, and by [`replay()`], which sends recorded connections through the datapath's own code.
//! [`reach()`] draws what one rulebook allows.
//!
//! Pure: no IO, no clock. Deliberately absent: layer 7, and what the agents of other nodes know better.
#![forbid(unsafe_code)]

mod cluster;
mod diff;
mod document;
mod inventory;
mod lint;
mod nearest;
mod place;
mod reach;
mod replay;
mod rulebook;
mod schema;
mod workload;

pub use cluster::{Cluster, KnownPolicy};
pub use diff::{Change, Diff, Verdict, WorkloadChanges, diff};
pub use document::{Document, Documents, Position};
pub use inventory::{Inventory, KnownPod, Problem};
pub use lint::{Finding, Severity, lint};
pub use place::Place;
pub use reach::{Reach, Way, reach};
pub use replay::{FlowChange, Replay, Side, replay};
pub use rulebook::Rulebook;
pub use workload::Workload;
