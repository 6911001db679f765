//! Kubernetes objects as far as the agent reads them, already parsed: a malformed one is refused at the edge.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use abi::Identity;
use ipnet::IpNet;

use crate::untracked::NoTrack;

/// Name of a pod (and of its CiliumEndpoint).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl PodKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A container port with a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// Its number, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub key: PodKey,
    /// Its UID.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its service account.
    pub service_account: String,
    /// Kind and name of what runs it.
    pub workload: Option<(String, String)>,
    /// It shares the node's network and is no endpoint.
    pub host_network: bool,
    /// Its container ports that have names.
    pub named_ports: Vec<NamedPort>,
    /// It asks to send from any address; its namespace may grant that ([`Namespace::delegates_source`]).
    pub any_source: bool,
    /// Connections that the kernel is not to track.
    pub no_track: NoTrack,
    /// It will not run again.
    pub finished: bool,
    /// Addresses in its status.
    pub addresses: Vec<IpAddr>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// No policy drops packets of its pods: what would have been dropped is reported.
    pub audit: bool,
    /// Its pods may send from any address if they ask for it.
    pub delegates_source: bool,
    /// Its annotation says neither that nor the contrary.
    pub refused: Option<String>,
}

/// A node of the cluster, this one too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Addresses under which other nodes reach it.
    pub underlay: Vec<IpAddr>,
    /// Router addresses (`cilium_host`).
    pub routers: Vec<IpAddr>,
    /// Its pods' prefixes.
    pub pod_cidrs: Vec<IpNet>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Node {
    /// The underlay address of the family of `like`, or any.
    pub fn underlay_for(&self, like: IpAddr) -> Option<IpAddr> {
        self.underlay.iter().copied().find(|a| a.is_ipv4() == like.is_ipv4())
    }

    /// The first underlay address, IPv4 before IPv6.
    pub fn primary(&self) -> Option<IpAddr> {
        self.underlay.iter().copied().min_by_key(IpAddr::is_ipv6)
    }
}

/// What another node says about a pod of its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEndpoint {
    /// The pod.
    pub key: PodKey,
    /// Its identity; 0 while its node does not know it.
    pub identity: Identity,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Underlay address of its node.
    pub node: Option<IpAddr>,
    /// Its named ports.
    pub named_ports: Vec<NamedPort>,
}

/// A cluster-wide identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The number.
    pub number: Identity,
    /// The labels: `source:key` to value.
    pub labels: BTreeMap<String, String>,
}

/// An object with a name that is unique among its kind.
pub trait Keyed {
    /// The name.
    type Key: Ord + Clone + fmt::Debug;
    /// The name of this object.
    fn key(&self) -> Self::Key;
}

macro_rules! keyed {
    ($($kind:ty, $key:ty, |$it:ident| $expr:expr;)*) => { $(
        impl Keyed for $kind {
            type Key = $key;
            fn key(&self) -> $key {
                let $it = self;
                $expr
            }
        }
    )* };
}

keyed! {
    Pod, PodKey, |it| it.key.clone();
    Namespace, String, |it| it.name.clone();
    Node, String, |it| it.name.clone();
    RemoteEndpoint, PodKey, |it| it.key.clone();
    ClusterIdentity, Identity, |it| it.number;
}

/// A change to the objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T: Keyed> {
    /// This object is new or changed.
    Apply(T),
    /// This object is gone.
    Delete(T::Key),
    /// These are all objects there are.
    Reset(Vec<T>),
}
