//! `CiliumCIDRGroup`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ClusterResourceScope;
use policy::CidrGroup;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::{ApiVersion, Kind, custom_resource, metadata_schema};

/// CiliumCIDRGroup is a list of external CIDRs (i.e: CIDRs selecting peers outside the clusters) that can be referenced as a
/// single entity from CiliumNetworkPolicies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumCIDRGroup {
    /// `cilium.io/v2`.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `CiliumCIDRGroup`.
    #[serde(default)]
    pub kind: Kind<CiliumCIDRGroup>,
    /// Policies find the group by its name or its labels.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// Spec is the list of blocks.
    pub spec: CidrGroupSpec,
}

custom_resource!(CiliumCIDRGroup, "ciliumcidrgroups", ClusterResourceScope);

/// The blocks of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CidrGroupSpec {
    /// ExternalCIDRs is a list of CIDRs selecting peers outside the clusters.
    #[serde(rename = "externalCIDRs")]
    #[schemars(schema_with = "crate::schema::cidrs")]
    pub external_cidrs: Vec<String>,
}

/// The group as policies see it, and a complaint for each text in it that is no block: that one is left out.
#[must_use]
pub fn cidr_group(group: &CiliumCIDRGroup) -> (CidrGroup, Vec<String>) {
    let name = group.metadata.name.clone().unwrap_or_default();
    let mut complaints = Vec::new();
    let mut blocks = std::collections::BTreeSet::new();
    for (index, text) in group.spec.external_cidrs.iter().enumerate() {
        match crate::convert::block_of(text) {
            Some(block) => drop(blocks.insert(block)),
            None => complaints.push(format!(
                "CiliumCIDRGroup {name}: spec.externalCIDRs[{index}]: {text:?} is neither a prefix nor an address and \
                 does not count: write 10.0.0.0/8 or fd00::/8"
            )),
        }
    }
    let labels = group.metadata.labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
    (CidrGroup { labels: CidrGroup::labels(labels), name, blocks }, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_block_is_told_and_left_out() {
        let group = serde_json::json!({
            "apiVersion": "cilium.io/v2alpha1", "kind": "CiliumCIDRGroup",
            "metadata": { "name": "g", "labels": { "team": "x" } },
            "spec": { "externalCIDRs": ["10.1.2.3/8", "fd00::1", "10.0.0.0/33"] },
        });
        let (group, complaints) = cidr_group(&serde_json::from_value(group).unwrap());
        let blocks: Vec<String> = group.blocks.iter().map(ToString::to_string).collect();
        assert_eq!(
            (group.name.as_str(), blocks),
            ("g", vec!["10.0.0.0/8".to_owned(), "fd00::1/128".to_owned()])
        );
        assert_eq!(group.labels.to_string(), "cidrgroup:team=x");
        assert!(complaints.len() == 1 && complaints[0].contains("externalCIDRs[2]"), "{complaints:?}");
    }
}
