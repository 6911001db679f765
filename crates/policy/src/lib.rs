//! The policy engine: rules in, policy tables out.
//!
//! [`Engine`] holds everything: the rules of all policies, the identities and which selectors they match, and the
//! subjects (pods of this node) with the tables they use. Every call returns an [`Update`] with exactly what changed.
//! Pods that the same rules select share one table; its cost follows the rules that select it and the identities those
//! name, never the number of pods, and an identity that comes or goes touches only the tables that can see it.
//!
//! Pure: no IO, no clock, no randomness.
#![forbid(unsafe_code)]

mod cookies;
mod decide;
mod engine;
mod explain;
mod index;
mod lockdown;
mod number_hash;
mod ports;
mod program;
mod reference;
mod repository;
mod rule;
mod selector_cache;
mod table;
mod tables;
mod tree;

pub use cookies::RuleRef;
pub use engine::{
    EnforcementMode, Engine, Families, IdentityInfo, Options, SubjectId, SubjectInfo, TableChange, TableId,
    Update,
};
pub use explain::{Explanation, Outcome, Packet, RuleStep};
pub use reference::{
    AddressList, Choice, CidrGroup, CidrMatch, Directory, NodeFacts, ObjectName, Reference, Service,
};
pub use rule::{
    Direction, Entity, NamedPorts, Owner, Peer, PortRule, Protocol, Redirect, Rule, Subject, Tier, Verdict,
};
pub use table::{Hit, L4Key, Matched, PolicyTable, TableDelta, TableKey};
