//! Kubernetes objects that the agent and the operator live by, and what they mean.
//!
//! - [`policies`], [`rule`], [`ports`]: CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy
//! - [`cluster_policy`][]: ClusterNetworkPolicy
//! - [`redirect`][]: CiliumLocalRedirectPolicy
//! - [`mod@cidr_group`]: CiliumCIDRGroup; [`named_service`], [`address_list`]: what else policies name
//! - [`node`], [`endpoint`], [`identity`]: CiliumNode, CiliumEndpoint, CiliumIdentity
//! - [`crds`]: the definitions of these, as the operator registers them
//! - [`convert`]: policy objects into rules of the policy engine
//! - [`AnyPolicy`], [`parts()`]: a policy of any kind, and what each of its entries means by itself
//! - [`services`]: Services, EndpointSlices and host ports into the load balancer's model
//! - [`audit_asked`]: dry runs by annotation
//! - [`labels`]: a pod and its namespace into identity labels, [`named_ports`] into what port names mean
//!
//! Everything here is pure: objects in, values out. Watching and writing them is `kube-watch`'s.

mod audit;
pub mod cidr_group;
pub mod cluster_policy;
pub mod convert;
pub mod crds;
pub mod endpoint;
mod entity;
pub mod error;
mod icmp;
pub mod identity;
pub mod labels;
mod named;
pub mod node;
pub mod object;
mod parts;
pub mod policies;
pub mod ports;
pub mod redirect;
pub mod rule;
mod schema;
pub mod services;

pub use audit::{AUDIT_MODE, BadAudit, audit_asked};
pub use cidr_group::{CiliumCIDRGroup, cidr_group};
pub use cluster_policy::ClusterNetworkPolicy;
pub use convert::{ConvertError, Problem, ToRules};
pub use crds::{SCHEMA_VERSION, SCHEMA_VERSION_LABEL, all_crds};
pub use endpoint::CiliumEndpoint;
pub use identity::CiliumIdentity;
pub use labels::{identity_labels, named_ports};
pub use named::{address_list, named_service};
pub use node::CiliumNode;
pub use parts::{AnyPolicy, POLICY_KINDS, Part, is_closing, parts, rule_places};
pub use policies::{
    CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, CiliumPolicy, Conditioned, PolicyCondition,
    PolicyStatus,
};
pub use redirect::CiliumLocalRedirectPolicy;
