//! The packet path, generic over the world it runs in ([`Env`]): the kernel (`bpf/`) or memory (`crates/sim`).
//!
//! Each entry point reads the frame, tries the fast path (one lookup: an answered flow whose verdict is of the current
//! generation), else takes the slow path (both ends, policy, route) and stores the answer in the flow.
//! Deliberately absent: services (load balancing) and L7 redirects; they come as steps before `conntrack::track`.
#![no_std]

pub mod conntrack;
pub mod deliver;
pub mod entry;
pub mod env;
pub mod nat;
pub mod neighbour;
pub mod packet;
pub mod parts;
pub mod policy;
pub mod side;
pub mod trace;
pub mod work;

pub use entry::{host_egress, netdev_egress, netdev_ingress, overlay_ingress, pod_egress};
pub use env::{Action, Checksum, Env, FlowRef, ROUTE_STACK, Table, TunnelKey, Verdict};
pub use parts::Part;
pub use work::Work;
