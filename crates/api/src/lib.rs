//! What the agent says on its unix socket: the JSON types, the paths, and a small blocking client.
//!
//! The shapes that people and scripts read (`status`, `service list`, `lrp list`, `endpoint list`, `identity list`, `policy get`) carry the JSON keys
//! of Cilium 1.19; `table` lays their text forms out. The calls of the network plugin and the tables of the kernel are private to this project.
//! Numbers, addresses and texts are as a reader expects them: ports in host order, addresses as text.
//!
//! Deliberately absent: a server (the agent has one), TLS (the socket is root's), tokio (the plugin must stay small).

#![forbid(unsafe_code)]

#[macro_use]
mod model;

pub mod bpf;
pub mod client;
pub mod cni;
pub mod delete_queue;
mod duration;
pub mod endpoint;
pub mod error;
pub mod health;
mod http;
pub mod identity;
pub mod kube_proxy;
pub mod lb;
pub mod lrp;
mod mac;
pub mod monitor;
pub mod node;
pub mod paths;
pub mod policy;
pub mod service;
pub mod status;
pub mod table;

pub use client::Client;
pub use duration::GoDuration;
pub use error::{ClientError, ErrorBody};
pub use mac::Mac;
