//! Schemas that the derive cannot write, and the way from a Rust type to what the API server takes as a CRD's schema.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// Formats that the API server knows; others draw a warning at every registration.
const KNOWN_FORMATS: [&str; 3] = ["int32", "int64", "date-time"];

/// An object of which only its owner knows the fields.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list of such objects.
pub(crate) fn free_form_list(generator: &mut SchemaGenerator) -> Schema {
    let items = free_form(generator);
    json_schema!({ "type": "array", "items": items })
}

/// Blocks of addresses.
pub(crate) fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": {
        "type": "string",
        "anyOf": [
            { "pattern": r"^([0-9]{1,3}\.){3}[0-9]{1,3}(/[0-9]{1,2})?$" },
            { "pattern": r"^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/[0-9]{1,3})?$" },
        ],
    } })
}

/// Operators of a label selector.
pub(crate) fn selector_operator(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"] })
}

/// Names of entities.
pub(crate) fn entities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "string", "enum": crate::entity::NAMES } })
}

/// Modes of mutual authentication.
pub(crate) fn authentication_mode(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["disabled", "required", "test-always-fail"] })
}

/// A port by number or by name.
pub(crate) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})|([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*$",
    })
}

/// Protocols of a port.
pub(crate) fn protocol(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "enum": ["TCP", "UDP", "SCTP", "ICMP", "ICMPV6", "VRRP", "IGMP", "ANY"],
    })
}

/// Protocols that a local redirect policy knows.
pub(crate) fn redirected_protocol(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["TCP", "UDP"] })
}

/// Families of an ICMP type.
pub(crate) fn icmp_family(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["IPv4", "IPv6"], "default": "IPv4" })
}

/// An ICMP type by number or by name.
pub(crate) fn icmp_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
    })
}

/// A moment.
pub(crate) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// The schema of `T` in the structural form that a CRD needs: no references, no `null`.
///
/// # Errors
/// When the form is one that a CRD cannot hold; only a change of this crate's types can cause that.
pub(crate) fn structural<T: JsonSchema>() -> Result<JSONSchemaProps, serde_json::Error> {
    let settings = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString);
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut value);
    // The API server takes `metadata` with nothing but its type, and no default for the type tags.
    for (path, unwanted) in [
        ("/properties/metadata", "description"),
        ("/properties/apiVersion", "default"),
        ("/properties/kind", "default"),
    ] {
        if let Some(property) = value.pointer_mut(path).and_then(Value::as_object_mut) {
            property.remove(unwanted);
        }
    }
    serde_json::from_value(value)
}

/// Takes out what a CRD must not or need not have.
///
/// `nullable` goes, because Rust's `Option` means absent; lists that may be `null` get it back by [`keep_null`].
fn tidy(value: &mut Value) {
    if let Value::Object(object) = value {
        for name in ["nullable", "title"] {
            object.retain(|key, value| key != name || value.is_object());
        }
        object.retain(|key, value| key != "default" || !is_empty_default(value));
        object.retain(|key, value| {
            key != "format" || value.as_str().is_none_or(|format| KNOWN_FORMATS.contains(&format))
        });
        object.values_mut().for_each(tidy);
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(tidy);
    }
}

/// Whether a default is one that Rust's `Default` put there, and not one that the API has.
fn is_empty_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        // Every default of an object in this group comes from `serde(default)`.
        Value::Object(_) => true,
    }
}

/// A `properties`-and-`required` branch for `oneOf` and `anyOf`: the field is there.
pub(crate) fn has_field(name: &str) -> JSONSchemaProps {
    JSONSchemaProps {
        properties: Some([(name.to_owned(), JSONSchemaProps::default())].into()),
        required: Some(vec![name.to_owned()]),
        ..JSONSchemaProps::default()
    }
}

/// Lets the API server keep a `null` in the lists of a rule that restrict it. It silently drops those of a field that is
/// not nullable, and what is absent restricts nothing.
pub(crate) fn keep_null(rule: &mut JSONSchemaProps) {
    for (name, list) in rule.properties.iter_mut().flatten() {
        let restricts = name.starts_with("from") || name.starts_with("to") || name == "icmps";
        if restricts && list.type_.as_deref() == Some("array") {
            list.nullable = Some(true);
        }
    }
}
