//! What the gRPC servers and clients here share: listeners, health, reflection, and TLS 1.3 with certificates from files
//! that may change at any time.
//!
//! The files are looked at again when a connection begins, at most once a second: whoever renews certificates writes new
//! files and is done. Files that make no sense change nothing; what was in force stays, and the log says why.
//! Deliberately absent: making certificates (the chart does, or cert-manager), any version of TLS before 1.3, and the
//! services themselves.
#![forbid(unsafe_code)]

mod client;
mod connection;
mod files;
mod serve;
mod server;

pub use client::{Client, Trust};
pub use connection::Connection;
pub use files::{CertError, Identity};
pub use serve::{ServeError, routes, serve};
pub use server::Server;

/// What both ends of gRPC agree on during the handshake.
const ALPN: &[u8] = b"h2";

#[cfg(test)]
mod tests;
