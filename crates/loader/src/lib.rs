//! Everything between user space and the kernel's BPF: loading, pinning, adopting, links, maps, events, garbage.
//!
//! The only crate that imports aya. aya parses, relocates and loads the object and maps the event ring; all else goes through
//! `sys`, because aya 0.14 has no batch operations, opens pinned maps unchecked and finds interfaces by name only.
//!
//! At start: [`preflight()`], [`Object::load`], [`PolicyTables::adopt`], a reconciler over each table of [`Maps`] (each [`Table`] is a
//! [`reconcile::Target`]), and last a reconciler over a [`LinkTarget`], which swaps the programs of pinned links. Tools open
//! [`Maps`] where they are pinned.
//!
//! Deliberately absent: what goes into the maps (the agent knows), and a guard against two agents (the agent's state directory
//! has a lock; here two of them only undo each other's work, and packets always see one of the two).

mod array;
mod cgroup;
mod events;
mod gc;
mod link;
mod maglev;
mod map;
mod maps;
mod object;
mod pins;
mod policy;
mod preflight;
mod probe;
mod sys;
mod table;
pub mod testrun;

pub use array::{PerCpu, Scalar, Sum};
pub use aya_obj::generated::bpf_map_type as MapKind;
pub use cgroup::CgroupLinks;
pub use events::{EventError, EventReader, EventStats, Records};
pub use gc::{Gc, GcStats, Progress, TableStats};
pub use link::{Attached, Change, Foreign, Hook, LinkError, LinkKey, LinkPlace, LinkTarget, Links, Owner};
pub use maglev::MaglevTables;
pub use map::{Map, MapError, MapSpec};
pub use maps::{Maps, globals};
pub use object::{Adoption, LoadError, LoadOptions, Object, Program, ProgramStats};
pub use policy::{
    NO_TABLE, PolicyContent, PolicyStats, PolicyTables, PolicyTrieKey, read_policies, read_policies_in,
};
pub use preflight::{Feature, FeatureReport, preflight};
pub use probe::ServiceSupport;
pub use table::{CHUNK, Cursor, Plain, Table};

/// The monotonic clock in ns, as the programs see it (`bpf_ktime_get_ns`).
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Time since boot is never negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
