//! Devices, addresses, routes, packet filters and namespaces of the kernel's network stack: a blocking adapter over
//! netlink.
//!
//! A [`Netlink`] is one socket in one network namespace; the agent keeps one for its life, the network plugin one a
//! namespace for a call. The messages are written here by hand: the plugin must stay small, and a reader that skips
//! what it does not know survives newer kernels.
//!
//! Functions that remove say whether there was something to remove; those named `set` or `replace` may be repeated.
//! MAC addresses are six bytes as on the wire; interface indexes are those of the socket's namespace.
//!
//! Deliberately absent: policy routing rules, qdiscs, and anything asynchronous.

mod address;
mod diag;
mod error;
mod link;
mod neighbour;
mod netfilter;
mod netns;
mod route;
mod socket;
pub mod sysctl;
mod watch;
mod wire;

pub use address::Address;
pub use diag::{ConnectedSocket, SocketDiag};
pub use error::{KernelError, NetlinkError};
pub use link::{Link, LinkChange, VethEnd, Vxlan};
pub use neighbour::Neighbour;
pub use netfilter::{Netfilter, NfBackend, NfJump, NfTable, Untracked};
pub use netns::{NetNs, NetNsId, netns_cookie};
pub use route::{Lookup, PROTOCOL, Route, RouteKind, TABLE_LOCAL, TABLE_MAIN};
pub use socket::Netlink;
pub use watch::{Change, Subscription};
