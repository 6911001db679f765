//! Flows: what the event ring of the kernel says, decoded, given names, filtered, kept and printed.
//!
//! [`decode`] turns a record into a [`RawFlow`], [`enrich()`] turns that into a [`Flow`] with the help of [`Lookups`],
//! [`Ring`] keeps the last ones, [`Filter`] chooses among them, [`mod@format`] prints them. Pure: no IO, no clock, no
//! random; the protobuf form lives in `hubble-pb`. Deliberately absent: aggregation (the kernel does it) and anything
//! that could fail on the content of a packet.
#![forbid(unsafe_code)]

mod cached;
mod connection;
mod enrich;
pub mod filter;
pub mod format;
mod lookups;
mod model;
pub mod packet;
mod raw;
pub mod redact;
mod ring;
pub mod summary;

pub use cached::Cached;
pub use connection::{Connection, NoConnection};
pub use enrich::enrich;
pub use filter::{Filter, Filters};
pub use lookups::{Endpoint, Lookups, Nobody};
pub use model::*;
pub use packet::Packet;
pub use raw::{DecodeError, RawFlow, RawKind, decode, namespace};
pub use ring::{Cursor, Ring};
