//! The datapath's second world: maps in memory, packets as bytes, a clock that the caller moves.
//!
//! It runs the very functions that run in the kernel, under tests, fuzzers and property checks, and in the product for
//! `policy trace`: a [`Node`] is filled with a dump of the live maps, and a packet is sent through it.

pub mod frame;
mod node;
mod run;
mod socket;
mod table;
mod tables;

pub use node::{Node, RouteEntry};
pub use run::{Outcome, Program, Sent, run};
pub use socket::{Call, socket_connect, socket_told};
pub use table::PolicyTable;
pub(crate) use tables::node_tables;

#[cfg(test)]
mod tests;
