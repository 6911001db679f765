//! Kubernetes Services, EndpointSlices and the host ports of local pods in; rows of the kernel's service tables out.
//!
//! Pure: no IO, no clock, no random numbers (`now` and the seed are arguments). [`Balancer`] takes objects one by one or
//! as complete lists and gives, from [`Balancer::settle`], only the rows that differ from those it gave before. What it
//! costs follows the services touched, not those that exist.
//!
//! What a row says is what the Kubernetes API text says: which endpoints a client may reach by which address, under
//! traffic policies, terminating endpoints (KEP-1669) and topology hints as kube-proxy 1.34 reads them.
//!
//! Invariant: a range of backend slots that a frontend named is not written to before a second has passed since the
//! kernel knew of no such frontend ([`Balancer::realized`]). A packet sees the old set or the new one, never a mixture.
//! Invariant: what the tables say depends on the objects alone, not on the order in which they came. Only numbers of
//! services and slots do.
//!
//! A local redirect policy leads a service's cluster IP, or an address that is nobody's, to pods of this node: a plan with
//! other backends, or an owner like others. While no such pod is ready, it is as if there were no policy.
//! Invariant: no policy takes an address that a service, a node, a pod or the API server has, and none reaches out of its
//! own namespace, for the service that it names or for the pods that it selects.
//!
//! Deliberately absent: reading Kubernetes' JSON (the edge does that), services of other clusters, weights.
#![forbid(unsafe_code)]

mod adopt;
mod balancer;
mod candidates;
mod claims;
mod compile;
mod extents;
mod health;
mod maglev;
mod model;
mod node_rule;
mod numbers;
mod policies;
mod problem;
mod redirect;
mod rows;
mod sets;
mod settings;
mod settle;
mod update;
mod view;

pub use adopt::Found;
pub use balancer::Balancer;
pub use health::Health;
pub use maglev::Table;
pub use model::{
    Algorithm, Endpoint, ExposedTypes, Forwarding, HostPort, IpMode, LoadBalancerIp, ObjectName, Owner,
    PodPorts, Protocol, Service, ServiceKind, ServicePort, Slice, SlicePort, TrafficPolicy,
};
pub use node_rule::NodeRule;
pub use numbers::NO_SERVICE;
pub use policies::{LedTo, RedirectView};
pub use problem::{Problem, Shortage};
pub use redirect::{LocalPod, Redirect, RedirectFrom, RedirectPort, Refusal};
pub use sets::REST_NS;
pub use settings::{ForwardingMode, NoBackend, Settings};
pub use update::{Delta, Tables, Update};
pub use view::{BackendState, BackendView, FrontendKind, FrontendView};
