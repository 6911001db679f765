//! What must be known of the cluster to give a flow its names.

use crate::model::{Emitter, Pod, Policies, Service};
use std::net::IpAddr;
use std::sync::Arc;
use types::Labels;

/// An endpoint of this node, or a pod of another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its number on this node, 0 for pods of other nodes.
    pub id: u16,
    /// Its security identity.
    pub identity: u32,
    /// Labels of that identity.
    pub labels: Labels,
    /// The pod; `None` for the host and other endpoints that are no pods.
    pub pod: Option<Arc<Pod>>,
}

/// Questions that [`crate::enrich()`] asks, all about one snapshot. Answers are cheap to hand out (shared), and "nobody
/// knows" is always a fair one: the flow then just lacks a name.
pub trait Lookups {
    /// Name of this node as flows carry it, `cluster/name`.
    fn node_name(&self) -> Arc<str>;

    /// Labels of this node, `key=value`.
    fn node_labels(&self) -> Arc<[String]> {
        Arc::default()
    }

    /// What flows say about who made them.
    fn emitter(&self) -> Option<Arc<Emitter>> {
        None
    }

    /// The endpoint of this node with this number (1–65535).
    fn endpoint(&self, id: u16) -> Option<Arc<Endpoint>>;

    /// The pod, of any node, that has this address.
    fn endpoint_at(&self, address: IpAddr) -> Option<Arc<Endpoint>>;

    /// The identity of this address, for events that carry none.
    fn identity_at(&self, address: IpAddr) -> Option<u32>;

    /// Labels of an identity.
    fn labels(&self, identity: u32) -> Option<Labels>;

    /// DNS names of an address, as the pods of this node asked for them.
    fn names(&self, address: IpAddr) -> Option<Arc<[String]>> {
        let _ = address;
        None
    }

    /// The service with this frontend.
    fn service(&self, address: IpAddr, port: u16) -> Option<Arc<Service>> {
        let _ = (address, port);
        None
    }

    /// The policies behind a rule cookie. For a default deny, those that select the pod.
    fn policies(&self, cookie: u32) -> Option<Policies>;

    /// What the rules behind a cookie have their flows carry (`log.value`), each text once.
    fn policy_log(&self, cookie: u32) -> Arc<[String]> {
        let _ = cookie;
        Arc::default()
    }

    /// The address by which the network namespace of this number speaks in this family: a pod's, or the node's.
    fn address_in(&self, namespace: u64, v6: bool) -> Option<IpAddr> {
        let _ = (namespace, v6);
        None
    }

    /// Name of a device.
    fn interface(&self, index: u32) -> Option<Arc<str>> {
        let _ = index;
        None
    }
}

/// Knows nothing: the lookups of an agent that has just started, and of tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Lookups for Nobody {
    fn node_name(&self) -> Arc<str> {
        Arc::default()
    }
    fn endpoint(&self, _: u16) -> Option<Arc<Endpoint>> {
        None
    }
    fn endpoint_at(&self, _: IpAddr) -> Option<Arc<Endpoint>> {
        None
    }
    fn identity_at(&self, _: IpAddr) -> Option<u32> {
        None
    }
    fn labels(&self, _: u32) -> Option<Labels> {
        None
    }
    fn policies(&self, _: u32) -> Option<Policies> {
        None
    }
}
