use std::fmt;

/// What kind of object a policy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `CiliumNetworkPolicy`.
    Cnp,
    /// `CiliumClusterwideNetworkPolicy`.
    Ccnp,
    /// Kubernetes `NetworkPolicy`.
    Knp,
    /// Kubernetes `ClusterNetworkPolicy`.
    Cluster,
    /// A file on the node (`static-cnp-path`).
    File,
    /// Nothing a user wrote: the enforcement mode, or a rule of the agent's own.
    Builtin,
}

impl PolicyKind {
    /// The kind as Kubernetes and Cilium's flow API write it.
    pub const fn name(self) -> &'static str {
        match self {
            PolicyKind::Cnp => "CiliumNetworkPolicy",
            PolicyKind::Ccnp => "CiliumClusterwideNetworkPolicy",
            PolicyKind::Knp => "NetworkPolicy",
            PolicyKind::Cluster => "ClusterNetworkPolicy",
            PolicyKind::File => "File",
            PolicyKind::Builtin => "Builtin",
        }
    }
}

/// The object that a set of rules came from. Objects are told apart by all four fields, so one that was deleted and
/// made again under the same name is another origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyOrigin {
    /// Kind of object.
    pub kind: PolicyKind,
    /// Namespace; empty for cluster-wide kinds.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Kubernetes UID; empty if there is none.
    pub uid: String,
}

impl PolicyOrigin {
    /// An origin of the agent's own, such as `allow-localhost-ingress`.
    pub fn builtin(name: &str) -> Self {
        Self {
            kind: PolicyKind::Builtin,
            namespace: String::new(),
            name: name.to_owned(),
            uid: String::new(),
        }
    }
}

impl fmt::Display for PolicyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.name())?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_like_kubectl() {
        let origin = PolicyOrigin {
            kind: PolicyKind::Knp,
            namespace: "shop".into(),
            name: "db".into(),
            uid: "1".into(),
        };
        assert_eq!(origin.to_string(), "NetworkPolicy shop/db");
        assert_eq!(PolicyOrigin::builtin("x").to_string(), "Builtin x");
    }
}
