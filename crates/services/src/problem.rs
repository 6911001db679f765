//! What keeps a frontend from being as its owner wants it.

use abi::FrontendKey;
use std::net::IpAddr;

use crate::model::{ObjectName, Owner, Protocol};
use crate::redirect::Refusal;

/// Something that the operator of the cluster should know of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Two owners claim one frontend.
    #[error(
        "{loser} is not served at {}: {winner}, which is older, has that address and port; give one of them another",
        frontend(.key)
    )]
    Conflict {
        /// The frontend.
        key: FrontendKey,
        /// Who has it.
        winner: Owner,
        /// Who does not.
        loser: Owner,
    },
    /// A table of the kernel is full.
    #[error("{owner} at {} is behind: {shortage}", frontend(.key))]
    Full {
        /// The frontend.
        key: FrontendKey,
        /// Whose it is.
        owner: Owner,
        /// What lacks.
        shortage: Shortage,
    },
    /// A local redirect policy asks for an address that is not to be had.
    #[error(
        "local redirect policy {policy} redirects nothing: spec.redirectFrontend.addressMatcher.ip: {ip} {refusal}"
    )]
    Redirect {
        /// The policy.
        policy: ObjectName,
        /// The address.
        ip: IpAddr,
        /// What stands against it.
        refusal: Refusal,
    },
    /// Two local redirect policies name one service.
    #[error(
        "local redirect policy {loser} redirects nothing: {winner}, which is older, redirects service {service}; delete one of them"
    )]
    RedirectedTwice {
        /// The service.
        service: ObjectName,
        /// The policy that counts.
        winner: ObjectName,
        /// The one that does not.
        loser: ObjectName,
    },
    /// A NodePort that the datapath does not look for.
    #[error(
        "NodePort {port} of service {service} is outside of the node port range {first}-{last}; set nodePort.range as in the API server"
    )]
    NodePortOutOfRange {
        /// The service.
        service: ObjectName,
        /// Its port.
        port: u16,
        /// First of the range.
        first: u16,
        /// Last of the range.
        last: u16,
    },
}

/// What there is not enough of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// Slots for backends.
    #[error("no {0} slots for backends are free in a row; it keeps the backends it had, and is tried again")]
    Backends(usize),
    /// Maglev tables.
    #[error("no Maglev table is free; backends are chosen at random, and it is tried again")]
    Tables,
}

/// `10.0.0.1:80/TCP`, as `cilium-dbg service list` writes it.
fn frontend(key: &FrontendKey) -> String {
    let addr = std::net::SocketAddr::new(IpAddr::from(key.addr), u16::from_be(key.port));
    match Protocol::from_number(key.protocol) {
        Some(protocol) => format!("{addr}/{protocol}"),
        None => format!("{addr}/{}", key.protocol),
    }
}
