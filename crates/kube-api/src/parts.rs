//! A policy object taken apart: what each entry of its lists means by itself. For tools that point at the line behind a
//! rule; the parts go through the same conversion as the whole.

use policy::{Direction, Rule};
use serde_json::Value;
use types::PolicyOrigin;

use crate::cluster_policy::ClusterNetworkPolicy;
use crate::convert::{ConvertError, ToRules};
use crate::policies::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// A policy of any kind.
#[derive(Clone, Debug)]
pub enum AnyPolicy {
    /// CiliumNetworkPolicy.
    Cilium(Box<CiliumNetworkPolicy>),
    /// CiliumClusterwideNetworkPolicy.
    Clusterwide(Box<CiliumClusterwideNetworkPolicy>),
    /// NetworkPolicy.
    Kubernetes(Box<NetworkPolicy>),
    /// ClusterNetworkPolicy.
    Cluster(Box<ClusterNetworkPolicy>),
}

/// The kinds of [`AnyPolicy`], each with its API group and version.
pub const POLICY_KINDS: &[(&str, &str)] = &[
    (CiliumNetworkPolicy::KIND, "cilium.io/v2"),
    (CiliumClusterwideNetworkPolicy::KIND, "cilium.io/v2"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    (ClusterNetworkPolicy::KIND, "policy.networking.k8s.io/v1alpha2"),
];

impl AnyPolicy {
    /// Reads an object; `None` if its `kind` is no policy.
    ///
    /// # Errors
    /// A field has another type than the kind's.
    pub fn read(object: &Value) -> Result<Option<Self>, serde_json::Error> {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        Ok(Some(match kind {
            CiliumNetworkPolicy::KIND => Self::Cilium(serde_json::from_value(object.clone())?),
            CiliumClusterwideNetworkPolicy::KIND => {
                Self::Clusterwide(serde_json::from_value(object.clone())?)
            }
            "NetworkPolicy" => Self::Kubernetes(serde_json::from_value(object.clone())?),
            ClusterNetworkPolicy::KIND => Self::Cluster(serde_json::from_value(object.clone())?),
            _ => return Ok(None),
        }))
    }
}

impl ToRules for AnyPolicy {
    fn origin(&self) -> PolicyOrigin {
        match self {
            Self::Cilium(policy) => policy.origin(),
            Self::Clusterwide(policy) => policy.origin(),
            Self::Kubernetes(policy) => policy.origin(),
            Self::Cluster(policy) => policy.origin(),
        }
    }

    fn to_rules(&self) -> Result<Vec<Rule>, ConvertError> {
        match self {
            Self::Cilium(policy) => policy.to_rules(),
            Self::Clusterwide(policy) => policy.to_rules(),
            Self::Kubernetes(policy) => policy.to_rules(),
            Self::Cluster(policy) => policy.to_rules(),
        }
    }

    fn closing(&self) -> Vec<Rule> {
        match self {
            Self::Cilium(policy) => policy.closing(),
            Self::Clusterwide(policy) => policy.closing(),
            Self::Kubernetes(policy) => policy.closing(),
            Self::Cluster(policy) => policy.closing(),
        }
    }
}

/// One entry of a list of rules, by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where it stands: `spec.ingress[0]`, `specs[1].egressDeny[2]`.
    pub place: String,
    /// Its direction.
    pub direction: Direction,
    /// An object that holds nothing but it.
    pub object: Value,
    /// What it means; empty if it fits nothing.
    pub rules: Vec<Rule>,
}

/// The lists of rules that a policy can have, in the order in which the conversion reads them.
const LISTS: [(&str, Direction); 4] = [
    ("ingress", Direction::Ingress),
    ("ingressDeny", Direction::Ingress),
    ("egress", Direction::Egress),
    ("egressDeny", Direction::Egress),
];

/// The entries of all lists of rules of an object, in order. Entries that cannot be applied are left out: the conversion
/// of the whole object says why.
pub fn parts(object: &Value) -> Vec<Part> {
    specs(object).into_iter().flat_map(|(place, spec)| parts_of(object, &place, spec)).collect()
}

/// The place of each rule that [`ToRules::to_rules`] gives for the object, by its number: the entry that it was made of,
/// or `spec.ingress` for one that only closes a direction. Empty if the object cannot be applied.
pub fn rule_places(object: &Value) -> Vec<String> {
    let Ok(Some(policy)) = AnyPolicy::read(object) else { return Vec::new() };
    let Ok(rules) = policy.to_rules() else { return Vec::new() };
    let mut places = Vec::new();
    for (place, spec) in specs(object) {
        let parts = parts_of(object, &place, spec);
        for direction in Direction::BOTH {
            let before = places.len();
            for part in parts.iter().filter(|part| part.direction == direction) {
                places.extend(part.rules.iter().map(|_| part.place.clone()));
            }
            let closes = |rule: &Rule| is_closing(rule) && rule.direction == direction;
            if places.len() == before && rules.get(before).is_some_and(closes) {
                places.push(format!("{place}.{direction}"));
            }
        }
    }
    // A wrong place is worse than none.
    if places.len() == rules.len() { places } else { Vec::new() }
}

/// Whether a rule fits nothing and is only there to close its direction.
pub fn is_closing(rule: &Rule) -> bool {
    rule.peers.is_empty() && rule.ports.is_empty()
}

/// `spec`, and the items of `specs`.
fn specs(object: &Value) -> Vec<(String, &Value)> {
    let one = object.get("spec").filter(|spec| spec.is_object());
    let more = object.get("specs").and_then(Value::as_array).into_iter().flatten().enumerate();
    let one = one.map(|spec| ("spec".to_owned(), spec));
    one.into_iter().chain(more.map(|(index, spec)| (format!("specs[{index}]"), spec))).collect()
}

fn parts_of(object: &Value, place: &str, spec: &Value) -> Vec<Part> {
    let mut parts = Vec::new();
    for (list, direction) in LISTS {
        let entries = spec.get(list).and_then(Value::as_array);
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let object = alone(object, spec, list, entry);
            if let Ok(Some(policy)) = AnyPolicy::read(&object)
                && let Ok(mut rules) = policy.to_rules()
            {
                rules.retain(|rule| !is_closing(rule));
                parts.push(Part { place: format!("{place}.{list}[{index}]"), direction, object, rules });
            }
        }
    }
    parts
}

/// The object with one entry of one list as its only rule.
fn alone(object: &Value, spec: &Value, list: &str, entry: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|name, _| !LISTS.iter().any(|(list, _)| list == name));
        fields.insert(list.to_owned(), Value::Array(vec![entry.clone()]));
    }
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("specs");
        fields.insert("spec".to_owned(), spec);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(kind: &str, spec: &Value) -> Value {
        json!({ "kind": kind, "metadata": { "namespace": "shop", "name": "p" }, "spec": spec })
    }

    #[test]
    fn rules_have_the_places_of_their_entries() {
        let mut object = policy(
            "CiliumNetworkPolicy",
            &json!({
                "endpointSelector": {},
                "ingress": [{ "fromEndpoints": [] }, { "fromEntities": ["host"] }],
                "ingressDeny": [{ "fromEntities": ["world"] }],
                "egress": [{}],
            }),
        );
        assert_eq!(rule_places(&object), ["spec.ingress[1]", "spec.ingressDeny[0]", "spec.egress"]);
        let more = json!([{ "endpointSelector": {}, "egress": [{ "toEntities": ["all"] }] }]);
        object["specs"] = more;
        assert_eq!(rule_places(&object)[3..], ["specs[0].egress[0]"]);
        assert_eq!(parts(&object).len(), 5);
    }

    #[test]
    fn kubernetes_policies_close_what_their_types_say() {
        let spec = json!({
            "podSelector": {}, "policyTypes": ["Egress", "Ingress"],
            "egress": [{ "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53 }] }],
        });
        let object = policy("NetworkPolicy", &spec);
        assert_eq!(rule_places(&object), ["spec.ingress", "spec.egress[0]"]);
    }

    #[test]
    fn what_cannot_be_applied_has_no_places() {
        let bad = policy(
            "CiliumNetworkPolicy",
            &json!({ "endpointSelector": {}, "ingress": [{ "fromCIDR": ["x"] }] }),
        );
        assert_eq!((rule_places(&bad), parts(&bad)), (Vec::new(), Vec::new()));
        assert!(rule_places(&policy("Deployment", &json!({}))).is_empty());
    }
}
