use crate::label::key;
use crate::{Label, LabelError, Source};
use ipnet::IpNet;
use sha2::{Digest, Sha512_256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A set of labels, sorted by key, one value a key and source. Cheap to clone; equal sets hash equally.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// The empty set.
    pub fn none() -> Self {
        Self(Arc::from([]))
    }

    /// Reads a list of labels as written by [`Label`]'s `Display`.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, LabelError> {
        texts.into_iter().map(str::parse).collect()
    }

    /// Reads what [`Labels::sorted_list`] wrote.
    pub fn from_sorted_list(list: &str) -> Result<Self, LabelError> {
        Self::parse(list.split(';').filter(|label| !label.is_empty()))
    }

    /// Reads the `security-labels` of a `CiliumIdentity`: `source:key` → value.
    pub fn from_security_labels<'a>(
        map: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, LabelError> {
        map.into_iter().map(|(key, value)| format!("{key}={value}").parse()).collect()
    }

    /// The labels of a prefix that a policy names: `cidr:prefix` and the world it lies in. `world` is the name of that
    /// world: `world`, or `world-ipv4` and `world-ipv6` in dual stack.
    pub fn of_cidr(net: &IpNet, world: &str) -> Self {
        [Label::cidr(net), Label::reserved(world)].into_iter().collect()
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In sorted order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// All labels with this key, whatever their source.
    pub fn with_key<'a>(&'a self, key: &str) -> &'a [Label] {
        let start = self.0.partition_point(|label| label.key() < key);
        let len = self.0[start..].iter().take_while(|label| label.key() == key).count();
        &self.0[start..start + len]
    }

    /// The value under this source and key.
    pub fn get(&self, source: &Source, key: &str) -> Option<&str> {
        self.with_key(key).iter().find(|label| label.source() == source).map(Label::value)
    }

    /// Whether `reserved:name` is among them.
    pub fn has_reserved(&self, name: &str) -> bool {
        self.get(&Source::Reserved, name).is_some()
    }

    /// Whether any label has this source.
    pub fn has_source(&self, source: &Source) -> bool {
        self.iter().any(|label| label.source() == source)
    }

    /// The prefixes that `cidr:` labels name.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.iter().filter_map(Label::prefix)
    }

    /// The Kubernetes namespace, if these are a pod's labels.
    pub fn namespace(&self) -> Option<&str> {
        self.get(&Source::K8s, key::NAMESPACE)
    }

    /// `source:key=value;` for each label in order. Identity allocation depends on this form.
    pub fn sorted_list(&self) -> String {
        let mut list = String::new();
        for label in self.iter() {
            list.push_str(label.source().as_str());
            list.push(':');
            list.push_str(label.key());
            list.push('=');
            list.push_str(label.value());
            list.push(';');
        }
        list
    }

    /// What tools call `labelsSHA256`: SHA-512/256 over the sorted list, in hex.
    pub fn sha256(&self) -> String {
        let digest = Sha512_256::digest(self.sorted_list());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `source:key` → value, the `security-labels` of a `CiliumIdentity`.
    pub fn security_labels(&self) -> BTreeMap<String, String> {
        self.iter().map(|label| (label.source_key(), label.value().to_owned())).collect()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::none()
    }
}

/// Of two labels with equal key and source, the later one stays.
impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        let mut labels: Vec<Label> = labels.into_iter().collect();
        // Stable, so that among equals the later one is the last.
        labels.sort_by(|a, b| (a.key(), a.source()).cmp(&(b.key(), b.source())));
        labels.reverse();
        labels.dedup_by(|a, b| a.key() == b.key() && a.source() == b.source());
        labels.reverse();
        Self(labels.into())
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Comma-separated, as Cilium logs them.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, label) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            label.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Labels {
        Labels::parse(texts.iter().copied()).unwrap()
    }

    #[test]
    fn sets_are_sorted_by_key_and_the_later_value_wins() {
        let set = labels(&["k8s:b=1", "reserved:a", "k8s:b=2", "k8s:a=3"]);
        assert_eq!(set.to_string(), "k8s:a=3,reserved:a,k8s:b=2");
        assert_eq!(set, labels(&["k8s:a=3", "k8s:b=2", "reserved:a"]));
        assert_eq!(set.get(&Source::K8s, "b"), Some("2"));
        assert_eq!(set.with_key("a").len(), 2);
        assert_eq!(set.with_key("c"), &[]);
    }

    #[test]
    fn the_sorted_list_reads_back() {
        let set = labels(&["k8s:io.kubernetes.pod.namespace=default", "k8s:app=web", "k8s:flag"]);
        assert_eq!(set.sorted_list(), "k8s:app=web;k8s:flag=;k8s:io.kubernetes.pod.namespace=default;");
        assert_eq!(Labels::from_sorted_list(&set.sorted_list()).unwrap(), set);
        let map = set.security_labels();
        assert_eq!(map["k8s:flag"], "");
        let back = Labels::from_security_labels(map.iter().map(|(k, v)| (k.as_str(), v.as_str()))).unwrap();
        assert_eq!(back, set);
        assert_eq!(set.namespace(), Some("default"));
    }

    #[test]
    fn the_hash_is_that_of_the_sorted_list() {
        let odd = [
            ("foo", "bar"),
            ("foo2", "=bar2"),
            ("key", ""),
            ("foo==", "=="),
            ("foo\\\\=", "\\="),
            ("//=/", ""),
            ("%", "%ed"),
        ];
        let odd: Labels = odd.iter().map(|(k, v)| Label::new(Source::Unspec, k, v)).collect();
        // The vector that Cilium's own tests held for years.
        assert_eq!(odd.sha256(), "cf51cc7e153a09e82b242f2f0fb2f0f3923d2742a9d84de8bb0de669e5e558e3");
        assert_eq!(
            Labels::none().sha256(),
            "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"
        );
        // `openssl dgst -sha512-256` of the list.
        let hash = labels(&["reserved:host"]).sha256();
        assert_eq!(hash, "e4faf1094f0345379a564e072a74e9c130c4c628b585b75f6be16dbcfd8d1b49");
    }

    #[test]
    fn a_prefix_has_two_labels() {
        let net = "10.0.0.0/8".parse().unwrap();
        let set = Labels::of_cidr(&net, "world");
        assert_eq!(set.to_string(), "cidr:10.0.0.0/8,reserved:world");
        assert_eq!(set.prefixes().collect::<Vec<_>>(), [net]);
    }
}
