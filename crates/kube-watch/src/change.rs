//! What a watch says.

use std::fmt;

use kube::{Resource, ResourceExt};

/// Which object: its namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, or nothing.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of the two parts.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    #[must_use]
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// One step from what was known to what is.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<K> {
    /// The object is now like this.
    Apply(K),
    /// The object is gone.
    Delete(Key),
    /// These are all objects; what is not among them is gone. Objects of which the reason follows in
    /// [`Change::Invalid`] are not among them, although they exist.
    Reset(Vec<K>),
    /// The object is there and cannot be read: what it said before no longer holds.
    Invalid(Invalid),
}

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Which one.
    pub key: Key,
    /// UID of the object.
    pub uid: String,
    /// What was wrong, in words for its author.
    pub error: String,
}
