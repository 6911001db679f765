//! The contract between the kernel programs and user space: map names, keys, values, sizes, event records, drop
//! reasons, trace points and packet marks.
//!
//! Invariants: every struct is `repr(C)` without padding; addresses and ports are in network order as they lie in the
//! packet; everything else is native. `ABI_VERSION` grows with any change of layout or meaning, and the agent refuses
//! to adopt pinned maps of another version.
#![no_std]
#![expect(missing_docs, reason = "padding, and fields whose names say it all")]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "user"))]
extern crate std;

mod addr;
pub mod config;
pub mod event;
pub mod flow;
pub mod identity;
pub mod maps;
pub mod mark;
pub mod nat;
pub mod reason;
pub mod service;
pub mod tables;

pub use addr::Addr;
pub use config::NodeConfig;
pub use event::{Event, EventKind, SocketEvent, SocketPoint, TracePoint, TraceReason};
pub use flow::{End, Flow, FlowKey};
pub use identity::Identity;
pub use nat::{NatKey, NatValue};
pub use reason::DropReason;
pub use service::{
    Affinity, AffinityKey, Backend, Frontend, FrontendKey, MemberKey, Range, SocketKey, SocketValue,
    SourceRangeKey,
};
pub use tables::{IpcacheEntry, PodFacts, PolicyEntry, PolicyKey, PrefixKey};

/// Grows with every change to a layout or a meaning in this crate.
pub const ABI_VERSION: u32 = 15;

/// Derives what both worlds need on a map type: plain copies in the kernel, padding-free byte access in user space.
macro_rules! plain {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* } size $size:literal) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
        pub struct $name { $($body)* }
        const _: () = assert!(size_of::<$name>() == $size);
    };
}
pub(crate) use plain;

#[cfg(test)]
mod tests;
