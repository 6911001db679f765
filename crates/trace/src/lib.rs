//! `policy trace`: what would become of a packet, by the datapath's own code over a node in memory.
//!
//! The caller fills a [`sim::Node`], the agent with a copy of its live maps; [`prepare()`] builds the packet and picks the
//! program that it would meet first; [`trace`] runs that program, and the next one on the packet's way, and tells what they
//! did. The node in memory is all that a run changes.
//!
//! Deliberately absent: names of pods and labels, and the policies behind a rule cookie (the agent knows them), and what
//! another node or the stack of this one does with the packet.

#![forbid(unsafe_code)]

mod answer;
mod prepare;
mod who;

pub use answer::trace;
pub use api::policy::Decision;
pub use prepare::{Prepared, Question, TraceError, choose, prepare};
pub use sim::{Node, PolicyTable, RouteEntry};
pub use who::{Who, identify, representative};

use std::collections::BTreeMap;

/// What the maps do not tell about the node.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Interfaces that carry the programs of native devices; what comes from outside arrives on the first.
    pub native: Vec<u32>,
    /// Names of interfaces, to be told instead of numbers.
    pub names: BTreeMap<u32, String>,
}

impl Surroundings {
    /// An interface as people know it.
    fn device(&self, ifindex: u32) -> String {
        self.names.get(&ifindex).cloned().unwrap_or_else(|| format!("interface {ifindex}"))
    }
}

#[cfg(test)]
mod tests;
