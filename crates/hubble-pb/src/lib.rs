//! The public wire interface of Hubble (Cilium 1.19): messages and services generated from `proto/`, their JSON form as
//! `hubble -o json` prints it, and the way from and to [`::flow::Flow`] and [`::flow::Filter`].
//!
//! Only this crate runs the protobuf code generators.
#![forbid(unsafe_code)]

mod convert;
mod line;
mod mask;
pub mod wkt;

pub use convert::{FilterError, FlowError, filters};
pub use line::Line;
pub use mask::{Mask, MaskError};

/// The name under which Hubble's clients ask for a server's health.
pub const HEALTH_NAME: &str = "hubble.server.Observer";

/// Flows.
#[expect(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod flow {
    include!(concat!(env!("OUT_DIR"), "/flow.rs"));
    include!(concat!(env!("OUT_DIR"), "/flow.serde.rs"));
}

/// The service that hands out flows.
#[expect(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod observer {
    include!(concat!(env!("OUT_DIR"), "/observer.rs"));
    include!(concat!(env!("OUT_DIR"), "/observer.serde.rs"));
}

/// The service that tells which servers there are.
#[expect(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod peer {
    include!(concat!(env!("OUT_DIR"), "/peer.rs"));
    include!(concat!(env!("OUT_DIR"), "/peer.serde.rs"));
}

/// What a relay tells about its nodes.
#[expect(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod relay {
    include!(concat!(env!("OUT_DIR"), "/relay.rs"));
    include!(concat!(env!("OUT_DIR"), "/relay.serde.rs"));
}

/// The descriptors of all of it, an encoded `FileDescriptorSet`: for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
