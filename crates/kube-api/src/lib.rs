//! Kubernetes objects that the agent and the operator live by, and what they mean.
//!
//! - [`policies`], [`rule`], [`ports`]: CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy
//! - [`node`], [`endpoint`], [`identity`]: CiliumNode, CiliumEndpoint, CiliumIdentity
//! - [`crds`]: the definitions of these, as the operator registers them
//!
//! Everything here is pure: objects in, values out. Watching and writing them is `kube-watch`'s.

pub mod crds;
pub mod endpoint;
mod entity;
pub mod error;
pub mod identity;
pub mod node;
pub mod object;
pub mod policies;
pub mod ports;
pub mod rule;
mod schema;

pub use crds::{SCHEMA_VERSION, SCHEMA_VERSION_LABEL, all_crds};
pub use endpoint::CiliumEndpoint;
pub use identity::CiliumIdentity;
pub use node::CiliumNode;
pub use policies::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, CiliumPolicy, PolicyCondition, PolicyStatus};
