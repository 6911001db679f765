//! Translated connections: masquerade, services, and both at once.
//!
//! A connection has two entries that mirror each other: [`OUT`] for what its client sends, [`BACK`] for what its server
//! answers. Each says how a packet that came as the key leaves; the other's key is that packet turned around.

use crate::{Addr, plain};

plain! {
/// Key: a packet's own source and destination, not sorted.
pub struct NatKey {
    pub source: Addr,
    pub destination: Addr,
    /// Network order; for ICMP echo the identifier in the client's place and 0 in the other.
    pub source_port: u16,
    /// Network order.
    pub destination_port: u16,
    pub protocol: u8,
    /// [`OUT`] or [`BACK`].
    pub direction: u8,
    pub _pad: u16,
} size 40
}

/// From the client.
pub const OUT: u8 = 0;
/// From the server.
pub const BACK: u8 = 1;

impl NatKey {
    /// Turns a tuple around, for the other direction.
    #[inline(always)]
    pub const fn mirrored(&self) -> NatKey {
        NatKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            direction: self.direction ^ 1,
            _pad: 0,
        }
    }
}

plain! {
/// Value: the source and destination with which the packet leaves.
pub struct NatValue {
    pub source: Addr,
    pub destination: Addr,
    /// Network order.
    pub source_port: u16,
    /// Network order.
    pub destination_port: u16,
    /// [`TRACKED_ONLY`] and others.
    pub flags: u32,
    /// When the entry may go, ns of the monotonic clock.
    pub expires: u64,
    /// Number of the service port; 0 for plain masquerading.
    pub service: u32,
    /// The generation under which the backend was last found to be one.
    pub epoch: u32,
} size 56
}

impl NatValue {
    /// The key of the entry for the other direction, `key` being this value's own.
    #[inline(always)]
    pub const fn twin(&self, key: &NatKey) -> NatKey {
        NatKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: key.protocol,
            direction: key.direction ^ 1,
            _pad: 0,
        }
    }
}

/// A connection of the host itself, recorded only so that its port is not given to another.
pub const TRACKED_ONLY: u32 = 1;
/// The server has answered.
pub const ANSWERED: u32 = 2;
/// This direction's sender sent FIN.
pub const CLOSED: u32 = 4;
/// Both sides closed, or one reset.
pub const ENDED: u32 = 8;
/// Packets of the client leave with its own address (DSR), and carry the frontend's with them; of [`BACK`]: as learned
/// from such a packet, and without a twin.
pub const DIRECT: u32 = 16;

/// The client went on after the server's answer (TCP): nobody forges that from elsewhere.
pub const CONFIRMED: u32 = 32;

/// How many ports are tried for one connection before it is dropped (`NO_MAPPING_FOR_NAT_MASQUERADE`).
pub const PORT_TRIES: u32 = 32;

/// An entry in use is renewed when this much of its lifetime has gone, ns.
pub const RENEW_AFTER: u64 = 5_000_000_000;
