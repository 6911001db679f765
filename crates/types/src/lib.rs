//! What a packet's end *is*: labels, identities, selectors over them, prefixes, and where a policy came from.
//!
//! Pure values: no IO, no clock, no serde (wire types are converted at the edge). The numbers and spellings are those
//! of Cilium 1.19, because other nodes, tools and users' policies hold them.
#![forbid(unsafe_code)]

mod endpoint;
mod filter;
mod identity;
mod label;
mod labels;
mod origin;
pub mod prefix;
mod selector;

pub use endpoint::{EndpointId, EndpointIdError};
pub use filter::{FilterError, LabelFilter, PodLabels};
pub use identity::{NumericIdentity, Reserved};
pub use label::{Label, LabelError, Source, key};
pub use labels::Labels;
pub use origin::{PolicyKind, PolicyOrigin};
pub use selector::{Requirement, Selector, SelectorError, Test};

/// The address arithmetic that the whole workspace uses.
pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
