//! The packet path, generic over the world it runs in ([`Env`]): the kernel (`bpf/`) or memory (`crates/sim`).
//!
//! Each entry point reads the frame, tries the fast path (one lookup: an answered flow whose verdict is of the current
//! generation), else takes the slow path (both ends, policy, route) and stores the answer in the flow.
//! A packet to a service is translated first (`service.rs`), and is then like any other to its backend; sockets are
//! translated when they connect (`socket.rs`). Deliberately absent: L7 redirects.
#![no_std]

pub mod conntrack;
pub mod deliver;
mod dsr;
pub mod entry;
pub mod env;
pub mod host;
pub mod nat;
pub mod neighbour;
pub mod packet;
pub mod parts;
pub mod policy;
mod quoted;
mod refuse;
pub mod rewrite;
pub mod service;
pub mod side;
pub mod socket;
pub mod trace;
pub mod work;
pub mod xdp;

pub use entry::{host_egress, netdev_egress, netdev_ingress, overlay_ingress, pod_egress};
pub use env::{
    Action, Checksum, EntryRef, Env, FlowRef, Link, NatRef, ROUTE_STACK, Room, Socket, Table, Tables,
    TunnelKey, Verdict,
};
pub use parts::Part;
pub use work::Work;
pub use xdp::xdp_ingress;
