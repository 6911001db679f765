//! The definitions of the custom resources, as the operator registers them and the chart's tests see them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use schemars::JsonSchema;

use crate::cidr_group::CiliumCIDRGroup;
use crate::endpoint::CiliumEndpoint;
use crate::error::CrdError;
use crate::identity::CiliumIdentity;
use crate::node::CiliumNode;
use crate::object::{GROUP, VERSION};
use crate::policies::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
use crate::redirect::CiliumLocalRedirectPolicy;
use crate::schema::{has_field, keep_null, structural};

/// Label of a definition that holds the version of its schema.
pub const SCHEMA_VERSION_LABEL: &str = "io.cilium.k8s.crd.schema.version";

/// Version of the schemas here. It grows whenever a schema changes; a definition with a higher one is left alone.
/// Cilium 1.19 has 1.32.x; ours stays above, so that taking over a cluster brings our schemas in.
pub const SCHEMA_VERSION: &str = "1.34.2";

/// A column of `kubectl get`: name, type, path, and whether only `-o wide` shows it.
struct Column(&'static str, &'static str, &'static str, bool);

/// What of a definition does not follow from the Rust type.
struct Shape {
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    status: bool,
    columns: &'static [Column],
}

const POLICY_COLUMNS: &[Column] = &[
    Column("Age", "date", ".metadata.creationTimestamp", false),
    Column("Valid", "string", ".status.conditions[?(@.type=='Valid')].status", false),
];

/// All definitions, in the order in which they are registered.
///
/// # Errors
/// When a type of this crate cannot be written as a schema; a test keeps that from happening.
pub fn all_crds() -> Result<Vec<CustomResourceDefinition>, CrdError> {
    Ok(vec![
        policy::<CiliumNetworkPolicy>(true, &["cnp", "ciliumnp"])?,
        policy::<CiliumClusterwideNetworkPolicy>(false, &["ccnp"])?,
        definition::<CiliumEndpoint>(&Shape {
            short_names: &["cep", "ciliumep"],
            categories: &["cilium"],
            namespaced: true,
            status: false,
            columns: &[
                Column("Security Identity", "integer", ".status.identity.id", false),
                Column("Ingress Enforcement", "string", ".status.policy.ingress.state", true),
                Column("Egress Enforcement", "string", ".status.policy.egress.state", true),
                Column("Endpoint State", "string", ".status.state", false),
                Column("IPv4", "string", ".status.networking.addressing[0].ipv4", false),
                Column("IPv6", "string", ".status.networking.addressing[0].ipv6", false),
            ],
        })?,
        definition::<CiliumIdentity>(&Shape {
            short_names: &["ciliumid"],
            categories: &["cilium"],
            namespaced: false,
            status: true,
            columns: &[
                Column("Namespace", "string", r".metadata.labels.io\.kubernetes\.pod\.namespace", false),
                Column("Age", "date", ".metadata.creationTimestamp", false),
            ],
        })?,
        definition::<CiliumNode>(&Shape {
            short_names: &["cn", "ciliumn"],
            categories: &["cilium"],
            namespaced: false,
            status: true,
            columns: &[
                Column(
                    "CiliumInternalIP",
                    "string",
                    r#".spec.addresses[?(@.type=="CiliumInternalIP")].ip"#,
                    false,
                ),
                Column("InternalIP", "string", r#".spec.addresses[?(@.type=="InternalIP")].ip"#, false),
                Column("Age", "date", ".metadata.creationTimestamp", false),
            ],
        })?,
        local_redirect()?,
        cidr_group()?,
    ])
}

/// All definitions as one stream of YAML documents would be: each as JSON, which is YAML too.
///
/// # Errors
/// As [`all_crds`].
pub fn all_crds_json() -> Result<Vec<serde_json::Value>, CrdError> {
    all_crds()?
        .into_iter()
        .map(|crd| {
            let name = crd.metadata.name.clone().unwrap_or_default();
            serde_json::to_value(crd).map_err(|source| CrdError::Schema { kind: name, source })
        })
        .collect()
}

fn local_redirect() -> Result<CustomResourceDefinition, CrdError> {
    let mut crd = definition::<CiliumLocalRedirectPolicy>(&Shape {
        short_names: &["clrp"],
        categories: &["cilium", "ciliumpolicy"],
        namespaced: true,
        status: true,
        columns: &[Column("Age", "date", ".metadata.creationTimestamp", false)],
    })?;
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        let spec = schema.properties.as_mut().and_then(|properties| properties.get_mut("spec"));
        let properties = spec.and_then(|spec| spec.properties.as_mut());
        if let Some(frontend) = properties.and_then(|properties| properties.get_mut("redirectFrontend")) {
            frontend.one_of = Some(["addressMatcher", "serviceMatcher"].map(has_field).into());
        }
    }
    Ok(crd)
}

/// Groups were `v2alpha1` first, and a version that was stored once must stay in the definition.
fn cidr_group() -> Result<CustomResourceDefinition, CrdError> {
    let mut crd = definition::<CiliumCIDRGroup>(&Shape {
        short_names: &["ccg"],
        categories: &["cilium"],
        namespaced: false,
        status: false,
        columns: &[Column("Age", "date", ".metadata.creationTimestamp", false)],
    })?;
    let older = crd.spec.versions.first().map(|version| CustomResourceDefinitionVersion {
        name: "v2alpha1".to_owned(),
        storage: false,
        deprecated: Some(true),
        ..version.clone()
    });
    crd.spec.versions.extend(older);
    Ok(crd)
}

fn policy<K>(
    namespaced: bool,
    short_names: &'static [&'static str],
) -> Result<CustomResourceDefinition, CrdError>
where
    K: Resource<DynamicType = ()> + JsonSchema,
{
    let mut crd = definition::<K>(&Shape {
        short_names,
        categories: &["cilium", "ciliumpolicy"],
        namespaced,
        status: true,
        columns: POLICY_COLUMNS,
    })?;
    let root = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for rule in root.flat_map(rule_schemas) {
        rule.one_of = Some(["endpointSelector", "nodeSelector"].map(has_field).into());
        rule.any_of = Some(["ingress", "ingressDeny", "egress", "egressDeny"].map(has_field).into());
        for list in ["ingress", "ingressDeny", "egress", "egressDeny"] {
            constrain_items(rule, list);
        }
    }
    Ok(crd)
}

/// The schemas of `spec` and of the items of `specs`.
fn rule_schemas(root: &mut JSONSchemaProps) -> Vec<&mut JSONSchemaProps> {
    let Some(properties) = root.properties.as_mut() else { return Vec::new() };
    properties
        .iter_mut()
        .filter_map(|(name, schema)| match name.as_str() {
            "spec" => Some(schema),
            "specs" => item_schema(schema),
            _ => None,
        })
        .collect()
}

fn item_schema(list: &mut JSONSchemaProps) -> Option<&mut JSONSchemaProps> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray as Items;
    match list.items.as_mut()? {
        Items::Schema(schema) => Some(schema),
        Items::Schemas(_) => None,
    }
}

/// What the Rust types do not say of the items of `ingress` and its like: a CIDR set names its block in exactly one way,
/// and `null` is kept.
fn constrain_items(rule: &mut JSONSchemaProps, list: &str) {
    let Some(item) = rule.properties.as_mut().and_then(|properties| item_schema(properties.get_mut(list)?))
    else {
        return;
    };
    keep_null(item);
    for (name, property) in item.properties.iter_mut().flatten() {
        if let ("fromCIDRSet" | "toCIDRSet", Some(set)) = (name.as_str(), item_schema(property)) {
            set.one_of = Some(["cidr", "cidrGroupRef", "cidrGroupSelector"].map(has_field).into());
        }
    }
}

fn definition<K>(shape: &Shape) -> Result<CustomResourceDefinition, CrdError>
where
    K: Resource<DynamicType = ()> + JsonSchema,
{
    let kind = K::kind(&()).into_owned();
    let plural = K::plural(&()).into_owned();
    let schema = structural::<K>().map_err(|source| CrdError::Schema { kind: kind.clone(), source })?;
    let subresources = CustomResourceSubresources {
        // Its default is null, which the API server takes for "none".
        status: shape.status.then(|| CustomResourceSubresourceStatus(serde_json::json!({}))),
        ..CustomResourceSubresources::default()
    };
    let text = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
    Ok(CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{plural}.{GROUP}")),
            labels: Some([(SCHEMA_VERSION_LABEL.to_owned(), SCHEMA_VERSION.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: GROUP.to_owned(),
            names: CustomResourceDefinitionNames {
                categories: text(shape.categories),
                list_kind: Some(format!("{kind}List")),
                singular: Some(kind.to_lowercase()),
                short_names: text(shape.short_names),
                kind,
                plural,
            },
            scope: if shape.namespaced { "Namespaced" } else { "Cluster" }.to_owned(),
            versions: vec![CustomResourceDefinitionVersion {
                name: VERSION.to_owned(),
                served: true,
                storage: true,
                schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
                subresources: Some(subresources),
                additional_printer_columns: Some(shape.columns.iter().map(column).collect()),
                ..CustomResourceDefinitionVersion::default()
            }],
            ..CustomResourceDefinitionSpec::default()
        },
        ..CustomResourceDefinition::default()
    })
}

fn column(Column(name, kind, path, wide): &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: (*name).to_owned(),
        type_: (*kind).to_owned(),
        json_path: (*path).to_owned(),
        priority: wide.then_some(1),
        ..CustomResourceColumnDefinition::default()
    }
}

#[cfg(test)]
mod tests;
