//! The datapath's second world: maps in memory, packets as bytes, a clock that the caller moves.
//!
//! It runs the very functions that run in the kernel, under tests, fuzzers and property checks, and in the product for
//! `policy trace`: a [`Node`] is filled with a dump of the live maps, and a packet is sent through it.

pub mod frame;
mod node;
mod run;
mod table;

pub use node::{Node, RouteEntry};
pub use run::{Outcome, Program, Sent, run};
pub use table::PolicyTable;

#[cfg(test)]
mod tests;
