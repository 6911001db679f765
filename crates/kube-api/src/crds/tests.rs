use serde_json::{Value, json};

use super::*;

fn schemas() -> Vec<(String, Value)> {
    all_crds_json()
        .unwrap()
        .into_iter()
        .map(|crd| {
            let kind = crd.pointer("/spec/names/kind").and_then(Value::as_str).unwrap().to_owned();
            (kind, crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone())
        })
        .collect()
}

/// The rules of apiextensions for a structural schema, as far as a generator can break them.
fn check_structural(path: &str, schema: &Value, inside_junctor: bool) {
    let object = schema.as_object().unwrap_or_else(|| panic!("{path}: not a schema: {schema}"));
    let restricting = path.ends_with("s")
        && ["from", "to", "icmps"]
            .iter()
            .any(|start| path.rsplit('.').next().is_some_and(|name| name.starts_with(start)));
    assert!(!object.contains_key("nullable") || restricting || path.contains("CIDR"), "{path}: nullable");
    for banned in ["$ref", "definitions", "title", "not", "const"] {
        assert!(!object.contains_key(banned), "{path}: has {banned}");
    }
    let int_or_string = object.contains_key("x-kubernetes-int-or-string");
    if inside_junctor {
        for banned in ["additionalProperties", "default", "description"] {
            assert!(!object.contains_key(banned), "{path}: {banned} inside of a junctor");
        }
    } else {
        assert!(int_or_string || object.contains_key("type"), "{path}: no type");
        assert!(
            !(object.contains_key("properties") && object.contains_key("additionalProperties")),
            "{path}: both kinds of properties"
        );
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        let branches = object.get(junctor).and_then(Value::as_array).into_iter().flatten();
        branches.for_each(|branch| check_structural(&format!("{path}.{junctor}"), branch, true));
    }
    for (name, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
        check_structural(&format!("{path}.{name}"), property, inside_junctor);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = object.get(name) {
            check_structural(&format!("{path}.{name}"), inner, inside_junctor);
        }
    }
}

#[test]
fn every_schema_is_structural() {
    for (kind, schema) in schemas() {
        check_structural(&kind, &schema, false);
        assert_eq!(schema.pointer("/properties/metadata"), Some(&json!({ "type": "object" })), "{kind}");
    }
}

#[test]
fn the_api_server_takes_the_type_tags_and_serves_the_status() {
    for crd in all_crds_json().unwrap() {
        let version = crd.pointer("/spec/versions/0").unwrap();
        for tag in ["apiVersion", "kind"] {
            let tag = version.pointer(&format!("/schema/openAPIV3Schema/properties/{tag}"));
            assert_eq!(tag.and_then(|tag| tag.get("default")), None);
        }
        let name = crd.pointer("/metadata/name").and_then(Value::as_str).unwrap();
        let whole = ["ciliumendpoints.cilium.io", "ciliumcidrgroups.cilium.io"];
        let apart = (!whole.contains(&name)).then(|| json!({}));
        assert_eq!(version.pointer("/subresources/status").cloned(), apart, "{name}");
    }
}

#[test]
fn names_are_ciliums() {
    let found: Vec<_> = all_crds()
        .unwrap()
        .into_iter()
        .map(|crd| {
            assert_eq!(crd.metadata.labels.unwrap()[SCHEMA_VERSION_LABEL], SCHEMA_VERSION);
            let columns = crd.spec.versions[0].additional_printer_columns.clone().unwrap();
            (
                crd.metadata.name.unwrap(),
                crd.spec.scope,
                crd.spec.names.short_names.unwrap().join(","),
                columns.into_iter().map(|column| column.name).collect::<Vec<_>>().join(","),
            )
        })
        .collect();
    let expected = [
        ("ciliumnetworkpolicies.cilium.io", "Namespaced", "cnp,ciliumnp", "Age,Valid"),
        ("ciliumclusterwidenetworkpolicies.cilium.io", "Cluster", "ccnp", "Age,Valid"),
        (
            "ciliumendpoints.cilium.io",
            "Namespaced",
            "cep,ciliumep",
            "Security Identity,Ingress Enforcement,Egress Enforcement,Endpoint State,IPv4,IPv6",
        ),
        ("ciliumidentities.cilium.io", "Cluster", "ciliumid", "Namespace,Age"),
        ("ciliumnodes.cilium.io", "Cluster", "cn,ciliumn", "CiliumInternalIP,InternalIP,Age"),
        ("ciliumlocalredirectpolicies.cilium.io", "Namespaced", "clrp", "Age"),
        ("ciliumcidrgroups.cilium.io", "Cluster", "ccg", "Age"),
    ];
    assert_eq!(found, expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned())));
}

/// A cluster that had Cilium may have stored them under the older version.
#[test]
fn groups_are_served_under_both_versions() {
    let crd = all_crds().unwrap().into_iter().find(|crd| crd.spec.names.kind == "CiliumCIDRGroup").unwrap();
    let versions: Vec<_> =
        crd.spec.versions.iter().map(|one| (one.name.as_str(), one.served, one.storage)).collect();
    assert_eq!(versions, [("v2", true, true), ("v2alpha1", true, false)]);
}

#[test]
fn fields_have_ciliums_names() {
    let schemas = schemas();
    let has = |kind: &str, path: &str| {
        let mut schema = &schemas.iter().find(|(name, _)| name == kind).unwrap().1;
        for part in path.split('.') {
            let next = match part {
                "[]" => schema.get("items"),
                "{}" => schema.get("additionalProperties"),
                name => schema.get("properties").and_then(|properties| properties.get(name)),
            };
            schema = next.unwrap_or_else(|| panic!("{kind}: no {part} of {path} in {schema}"));
        }
    };
    for path in [
        "spec.endpointSelector.matchLabels.{}",
        "spec.endpointSelector.matchExpressions.[].operator",
        "spec.nodeSelector",
        "spec.enableDefaultDeny.ingress",
        "spec.labels.[].source",
        "spec.log.value",
        "spec.ingress.[].fromEndpoints.[].matchLabels",
        "spec.ingress.[].fromCIDRSet.[].cidrGroupRef",
        "spec.ingress.[].fromCIDRSet.[].except.[]",
        "spec.ingress.[].fromEntities.[]",
        "spec.ingress.[].fromNodes",
        "spec.ingress.[].toPorts.[].ports.[].endPort",
        "spec.ingress.[].toPorts.[].rules.http.[]",
        "spec.ingress.[].toPorts.[].terminatingTLS",
        "spec.ingress.[].icmps.[].fields.[].type",
        "spec.ingress.[].authentication.mode",
        "spec.ingressDeny.[].fromCIDR.[]",
        "spec.egress.[].toFQDNs.[].matchPattern",
        "spec.egress.[].toServices.[].k8sService.serviceName",
        "spec.egress.[].toServices.[].k8sServiceSelector.selector.matchLabels",
        "spec.egress.[].toGroups.[].aws",
        "spec.egressDeny.[].toPorts.[].ports.[].protocol",
        "specs.[].egress.[].toEndpoints",
        "status.conditions.[].lastTransitionTime",
    ] {
        has("CiliumNetworkPolicy", path);
        has("CiliumClusterwideNetworkPolicy", path);
    }
    for path in [
        "spec.instance-id",
        "spec.bootid",
        "spec.addresses.[].type",
        "spec.health.ipv4",
        "spec.ingress.ipv6",
        "spec.encryption.key",
        "spec.nodeidentity",
        "spec.ipam.podCIDRs.[]",
        "spec.ipam.pools.requested.[].needed.ipv4-addrs",
        "spec.ipam.pools.allocated.[].cidrs.[]",
        "status.ipam.operator-status.error",
        "status.ipam.pod-cidrs.{}.status",
        "status.ipam.used.{}.owner",
    ] {
        has("CiliumNode", path);
    }
    for path in [
        "status.id",
        "status.identity.labels.[]",
        "status.networking.addressing.[].ipv4",
        "status.networking.node",
        "status.policy.ingress.enforcing",
        "status.policy.egress.state",
        "status.external-identifiers.cni-attachment-id",
        "status.named-ports.[].port",
        "status.encryption.key",
        "status.state",
    ] {
        has("CiliumEndpoint", path);
    }
    has("CiliumIdentity", "security-labels.{}");
    for path in [
        "spec.description",
        "spec.redirectFrontend.addressMatcher.ip",
        "spec.redirectFrontend.addressMatcher.toPorts.[].name",
        "spec.redirectFrontend.serviceMatcher.serviceName",
        "spec.redirectFrontend.serviceMatcher.namespace",
        "spec.redirectFrontend.serviceMatcher.toPorts.[].port",
        "spec.redirectBackend.localEndpointSelector.matchLabels",
        "spec.redirectBackend.toPorts.[].protocol",
        "spec.skipRedirectFromBackend",
        "status.ok",
    ] {
        has("CiliumLocalRedirectPolicy", path);
    }
    has("CiliumCIDRGroup", "spec.externalCIDRs.[]");
}

/// The API server drops `null` from fields that are not nullable, and an absent restriction restricts nothing.
#[test]
fn null_is_kept_where_it_restricts() {
    let schema = &schemas()[0].1;
    for (list, names) in [
        (
            "ingress",
            "fromEndpoints fromRequires fromCIDR fromCIDRSet fromEntities fromGroups fromNodes toPorts icmps",
        ),
        ("egressDeny", "toEndpoints toCIDR toCIDRSet toEntities toServices toGroups toNodes toPorts icmps"),
        ("egress", "toFQDNs"),
    ] {
        for name in names.split(' ') {
            for rule in ["spec", "specs/items"] {
                let path = format!("/properties/{rule}/properties/{list}/items/properties/{name}/nullable");
                assert_eq!(schema.pointer(&path), Some(&json!(true)), "{path}");
            }
        }
    }
}

#[test]
fn a_rule_must_have_a_subject_and_a_direction() {
    for (kind, schema) in schemas().into_iter().take(2) {
        for rule in ["/properties/spec", "/properties/specs/items"] {
            let rule = schema.pointer(rule).unwrap();
            assert_eq!(
                rule["oneOf"][0],
                json!({"properties": {"endpointSelector": {}}, "required": ["endpointSelector"]})
            );
            assert_eq!(rule["anyOf"].as_array().unwrap().len(), 4, "{kind}");
            let set = rule.pointer("/properties/egressDeny/items/properties/toCIDRSet/items").unwrap();
            assert_eq!(set["oneOf"].as_array().unwrap().len(), 3, "{kind}");
        }
    }
}
