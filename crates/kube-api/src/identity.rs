//! `CiliumIdentity`: a security identity's number (the object's name) and the labels that it stands for.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ClusterResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::{ApiVersion, Kind, custom_resource, metadata_schema};

/// The label of the object metadata that repeats the namespace of the identity's pods.
pub const POD_NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";

/// A security identity managed by Cilium. The name is the number; `security-labels` holds all labels with their
/// source, and is what the identity means; the metadata's labels repeat those from Kubernetes, for `kubectl get -l`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumIdentity {
    /// Always `cilium.io/v2`.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `CiliumIdentity`.
    #[serde(default)]
    pub kind: Kind<CiliumIdentity>,
    /// Name is the number in decimal.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// SecurityLabels is the source-of-truth set of labels for this identity: `source:key` to value.
    #[serde(rename = "security-labels")]
    pub security_labels: BTreeMap<String, String>,
}

custom_resource!(CiliumIdentity, "ciliumidentities", ClusterResourceScope);

impl CiliumIdentity {
    /// An identity object for `number`, with `security_labels` as `source:key` to value.
    /// The labels of the metadata are those of source `k8s`, without the source, as far as Kubernetes allows them.
    #[must_use]
    pub fn new(number: u32, security_labels: BTreeMap<String, String>) -> Self {
        let labels = security_labels
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("k8s:")?.to_owned(), value.clone())))
            .filter(|(key, value)| label_allowed(key, value))
            .collect();
        Self {
            metadata: ObjectMeta {
                name: Some(number.to_string()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            security_labels,
            ..Self::default()
        }
    }

    /// The identity's number, or nothing where the object's name is not one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        let name = self.metadata.name.as_deref()?;
        // `+7` and `007` parse as numbers, but are not the name of identity 7.
        name.parse::<u32>().ok().filter(|number| *number != 0 && number.to_string() == name)
    }
}

/// Whether a pair may stand in `metadata.labels`. Namespace labels become longer with their prefix and can pass the
/// limit of the name part (63) or the prefix part (253).
fn label_allowed(key: &str, value: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let word = |text: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let domain = |text: &str| {
        text.len() <= 253
            && text.split('.').all(|part| {
                word(part) && !part.contains('_') && !part.contains(|c: char| c.is_ascii_uppercase())
            })
    };
    name.len() <= 63
        && word(name)
        && prefix.is_none_or(domain)
        && value.len() <= 63
        && (value.is_empty() || word(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_repeats_the_kubernetes_labels_that_fit() {
        let labels = [
            ("k8s:app", "web"),
            ("k8s:io.kubernetes.pod.namespace", "default"),
            ("k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", "default"),
            ("cidr:10.0.0.0/8", ""),
        ];
        let identity =
            CiliumIdentity::new(4711, labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
        assert_eq!(identity.number(), Some(4711));
        assert_eq!(identity.security_labels.len(), 4);
        let names: Vec<_> = identity.metadata.labels.as_ref().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "app",
                "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
                "io.kubernetes.pod.namespace"
            ]
        );
    }

    #[test]
    fn labels_that_the_api_server_would_refuse_are_left_out() {
        for (key, value, fits) in [
            ("app", "", true),
            ("a.b/c", "x_y.z", true),
            (&"n".repeat(64), "", false),
            (&format!("{}/x", "p".repeat(254)), "", false),
            ("app", &"v".repeat(64), false),
            ("two/slashes/x", "", false),
            ("-x", "", false),
        ] {
            assert_eq!(label_allowed(key, value), fits, "{key}={value}");
        }
    }

    #[test]
    fn only_canonical_numbers_are_numbers() {
        for (name, number) in [
            ("4711", Some(4711)),
            ("007", None),
            ("+7", None),
            ("0", None),
            ("x", None),
            ("4294967296", None),
        ] {
            let mut identity = CiliumIdentity::default();
            identity.metadata.name = Some(name.to_owned());
            assert_eq!(identity.number(), number, "{name}");
        }
    }
}
