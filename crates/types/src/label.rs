use crate::prefix;
use ipnet::IpNet;
use std::fmt;
use std::str::FromStr;

/// Keys that the agent derives from where a pod runs. A pod's own labels can never set them.
pub mod key {
    /// Namespace of the pod.
    pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Followed by `.` and a label key of the pod's namespace.
    pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels";
    /// Name of the cluster.
    pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
    /// Service account of the pod.
    pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
}

/// Where a label comes from: the part before the first colon. Sorted by its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// In selectors only: any source.
    Any,
    /// A prefix named by a policy.
    Cidr,
    /// A `CiliumCIDRGroup` that holds the prefix.
    CidrGroup,
    /// The container runtime.
    Container,
    /// A DNS name that resolved to the address.
    Fqdn,
    /// Kubernetes: pod, namespace, service account.
    K8s,
    /// Labels of a node.
    Node,
    /// The fixed identities, see [`crate::Reserved`].
    Reserved,
    /// Written without a source.
    Unspec,
    /// Anything else.
    Other(Box<str>),
}

/// One label, written `source:key=value`, or `source:key` if the value is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    // Field order is sort order: Cilium sorts by key, and allocation keys depend on it.
    key: Box<str>,
    source: Source,
    value: Box<str>,
}

/// A text that is no label.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// Nothing stands between source and value.
    #[error("label {text:?} has no key: write it as source:key=value")]
    NoKey {
        /// What was given.
        text: String,
    },
    /// A `;` would end the label inside the sorted list that identities are allocated by.
    #[error("label {text:?} holds a ';', which separates labels: remove it")]
    Separator {
        /// What was given.
        text: String,
    },
}

impl Source {
    /// The text before the colon.
    pub fn as_str(&self) -> &str {
        match self {
            Source::Any => "any",
            Source::Cidr => "cidr",
            Source::CidrGroup => "cidrgroup",
            Source::Container => "container",
            Source::Fqdn => "fqdn",
            Source::K8s => "k8s",
            Source::Node => "node",
            Source::Reserved => "reserved",
            Source::Unspec => "unspec",
            Source::Other(text) => text,
        }
    }
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        match text {
            "any" => Source::Any,
            "cidr" => Source::Cidr,
            "cidrgroup" => Source::CidrGroup,
            "container" => Source::Container,
            "fqdn" => Source::Fqdn,
            "k8s" => Source::K8s,
            "node" => Source::Node,
            "reserved" => Source::Reserved,
            "unspec" | "" => Source::Unspec,
            other => Source::Other(other.into()),
        }
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Label {
    /// A label of its three parts. Nothing is checked; texts from outside go through [`FromStr`].
    pub fn new(source: Source, key: &str, value: &str) -> Self {
        Self { key: key.into(), source, value: value.into() }
    }

    /// `k8s:key=value`.
    pub fn k8s(key: &str, value: &str) -> Self {
        Self::new(Source::K8s, key, value)
    }

    /// `reserved:name`.
    pub fn reserved(name: &str) -> Self {
        Self::new(Source::Reserved, name, "")
    }

    /// `cidr:prefix`, in the spelling of [`prefix::label_key`].
    pub fn cidr(net: &IpNet) -> Self {
        Self::new(Source::Cidr, &prefix::label_key(net), "")
    }

    /// Where the label comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The key, without source.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value; empty if there is none.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// `source:key`, the form in which `CiliumIdentity.security-labels` keeps keys.
    pub fn source_key(&self) -> String {
        format!("{}:{}", self.source.as_str(), self.key)
    }

    /// The prefix that a `cidr:` label names.
    pub fn prefix(&self) -> Option<IpNet> {
        if self.source == Source::Cidr { prefix::from_label_key(&self.key) } else { None }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.as_str(), self.key)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, "={}", self.value) }
    }
}

impl FromStr for Label {
    type Err = LabelError;

    /// Reads `source:key=value`, `source:key`, `key=value`, `key` and the short form `$host` for `reserved:host`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(';') {
            return Err(LabelError::Separator { text: text.to_owned() });
        }
        let (source, rest) = match text.strip_prefix('$') {
            Some(rest) => (Source::Reserved, rest),
            // A colon after '=' belongs to the value of a label without a source.
            None => match text.split_once(':') {
                Some((source, rest)) if !source.contains('=') => (Source::from(source), rest),
                _ => (Source::Unspec, text),
            },
        };
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        if key.is_empty() {
            return Err(LabelError::NoKey { text: text.to_owned() });
        }
        Ok(Self::new(source, key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back_as_written() {
        for text in
            ["k8s:app=foo", "reserved:host", "cidr:10.0.0.0/8", "k8s:a.b/c=d=e", "custom:x=1", "k8s:a=b:c"]
        {
            assert_eq!(text.parse::<Label>().unwrap().to_string(), text);
        }
        assert_eq!("$host".parse::<Label>().unwrap(), Label::reserved("host"));
        assert_eq!("app=a:b".parse::<Label>().unwrap(), Label::new(Source::Unspec, "app", "a:b"));
    }

    #[test]
    fn what_is_no_label_is_refused() {
        assert!(matches!("k8s:=x".parse::<Label>(), Err(LabelError::NoKey { .. })));
        assert!(matches!("".parse::<Label>(), Err(LabelError::NoKey { .. })));
        assert!(matches!("k8s:a=b;c".parse::<Label>(), Err(LabelError::Separator { .. })));
    }

    #[test]
    fn only_cidr_labels_hold_prefixes() {
        let net: IpNet = "fd00::/8".parse().unwrap();
        assert_eq!(Label::cidr(&net).to_string(), "cidr:fd00--0/8");
        assert_eq!(Label::cidr(&net).prefix(), Some(net));
        assert_eq!(Label::k8s("10.0.0.0/8", "").prefix(), None);
    }
}
