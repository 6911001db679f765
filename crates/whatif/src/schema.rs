//! What the API server checks before anybody else: the schema of a kind.

mod kinds;

use crate::nearest::nearest;
use crate::place::Place;
use regex::Regex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Something that the API server refuses, or drops without a word.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Violation {
    pub(crate) place: Place,
    /// It is the field's name that is wrong.
    pub(crate) name: bool,
    pub(crate) text: String,
}

/// Making them takes longer than checking many files.
static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let crds = kube_api::crds::all_crds_json().unwrap_or_default();
    let definitions = crds.iter().filter_map(definition);
    let more =
        [("NetworkPolicy", kinds::network_policy()), ("ClusterNetworkPolicy", kinds::cluster_policy())];
    definitions.chain(more.map(|(kind, schema)| (kind.to_owned(), schema))).collect()
});

/// The schema of a policy kind.
pub(crate) fn of_kind(kind: &str) -> Option<&'static Value> {
    SCHEMAS.get(kind)
}

fn definition(crd: &Value) -> Option<(String, Value)> {
    let kind = crd.pointer("/spec/names/kind")?.as_str()?;
    let mut schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned()?;
    // Nobody writes a status.
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("status".to_owned(), json!({ "x-kubernetes-preserve-unknown-fields": true }));
    }
    Some((kind.to_owned(), schema))
}

/// Everything in `value` that `schema` does not allow.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    check(schema, value, &Place::default(), &mut found);
    found
}

fn check(schema: &Value, value: &Value, place: &Place, found: &mut Vec<Violation>) {
    let here = |text: String| Violation { place: place.clone(), name: false, text };
    if value.is_null() && truth(schema, "nullable") {
        return;
    }
    if let Some(text) = wrong_type(schema, value) {
        found.push(here(text));
        return;
    }
    found.extend(wrong_value(schema, value).map(here));
    found.extend(wrong_choice(schema, value).map(here));
    match value {
        Value::Object(fields) => check_fields(schema, fields, place, found),
        Value::Array(items) => {
            found.extend(wrong_length(schema, "Items", items.len()).map(here));
            for (index, item) in items.iter().enumerate() {
                if let Some(schema) = schema.get("items") {
                    check(schema, item, &place.index(index), found);
                }
            }
        }
        _ => {}
    }
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, place: &Place, found: &mut Vec<Violation>) {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str).filter(|name| !fields.contains_key(*name)) {
        let text = format!("the field {name} is missing: add it");
        found.push(Violation { place: place.clone(), name: false, text });
    }
    let known = schema.get("properties").and_then(Value::as_object);
    let more = schema.get("additionalProperties").filter(|more| more.is_object());
    let open = truth(schema, "x-kubernetes-preserve-unknown-fields")
        || truth(schema, "additionalProperties")
        || (known.is_none() && more.is_none());
    for (name, value) in fields {
        match (known.and_then(|known| known.get(name)), more) {
            (Some(schema), _) | (None, Some(schema)) => check(schema, value, &place.key(name), found),
            (None, None) if open => {}
            (None, None) => {
                let names = known.into_iter().flatten().map(|(name, _)| name.as_str());
                let cure = match nearest(name, names) {
                    Some(near) => format!("write {near}"),
                    None => "check its spelling and its indentation, or remove it".to_owned(),
                };
                let text = format!("the field {name} is unknown: {cure}");
                found.push(Violation { place: place.key(name), name: true, text });
            }
        }
    }
}

fn truth(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn wrong_type(schema: &Value, value: &Value) -> Option<String> {
    let wanted = if truth(schema, "x-kubernetes-int-or-string") {
        "int or string"
    } else {
        schema.get("type").and_then(Value::as_str)?
    };
    let fits = match wanted {
        "int or string" => value.is_i64() || value.is_u64() || value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => true,
    };
    if fits {
        return None;
    }
    let given = match value {
        Value::Null => "there is nothing here".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("{value} is no text"),
        Value::String(text) => format!("{text:?} is a text"),
        Value::Array(_) => "this is a list".to_owned(),
        Value::Object(_) => "this is a mapping".to_owned(),
    };
    let cure = match (wanted, value) {
        ("string", Value::Bool(_) | Value::Number(_)) => format!("quote it: \"{value}\""),
        ("string", _) => "write a text".to_owned(),
        ("array", _) => "write a list: begin each item with \"- \"".to_owned(),
        ("object", Value::Null) => "write its fields, or {} for none".to_owned(),
        ("object", _) => "write fields with names".to_owned(),
        ("boolean", _) => "write true or false".to_owned(),
        ("int or string", _) => "write a number or a name".to_owned(),
        _ => "write a number, without quotes".to_owned(),
    };
    Some(format!("{given}: {cure}"))
}

/// A value of the right type that is not one of those that are allowed.
fn wrong_value(schema: &Value, value: &Value) -> Option<String> {
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        let near = value.as_str().and_then(|text| nearest(text, names.iter().copied()));
        let cure =
            near.map_or_else(|| format!("use one of {}", names.join(", ")), |near| format!("write {near}"));
        return Some(format!("{value} is not allowed here: {cure}"));
    }
    if let Some(text) = value.as_str() {
        let pattern = schema.get("pattern").and_then(Value::as_str);
        if let Some(pattern) = pattern.filter(|p| Regex::new(p).is_ok_and(|regex| !regex.is_match(text))) {
            return Some(format!(
                "{text:?} does not have the form that this field needs: it must match {pattern}"
            ));
        }
        return wrong_length(schema, "Length", text.chars().count());
    }
    let number = value.as_f64()?;
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    if bound("minimum").is_some_and(|least| number < least)
        || bound("maximum").is_some_and(|most| number > most)
    {
        let [least, most] =
            ["minimum", "maximum"].map(|key| schema.get(key).map_or("…".to_owned(), Value::to_string));
        return Some(format!("{value} is out of range: write a number from {least} to {most}"));
    }
    None
}

fn wrong_length(schema: &Value, of: &str, length: usize) -> Option<String> {
    let bound = |key: &str| schema.get(format!("{key}{of}")).and_then(Value::as_u64);
    let what = if of == "Items" { "items" } else { "characters" };
    let length = length as u64;
    if let Some(most) = bound("max").filter(|most| length > *most) {
        return Some(format!("{length} {what} are too many: at most {most}"));
    }
    bound("min")
        .filter(|least| length < *least)
        .map(|least| format!("{length} {what} are too few: at least {least}"))
}

/// `oneOf` and `anyOf`, which in these schemas say which fields have to be there.
fn wrong_choice(schema: &Value, value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    for (key, one) in [("oneOf", true), ("anyOf", false)] {
        let Some(branches) = schema.get(key).and_then(Value::as_array) else { continue };
        let names = |branch: &Value| -> Vec<String> {
            let required = branch.get("required").and_then(Value::as_array).into_iter().flatten();
            required.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let sets: Vec<Vec<String>> = branches.iter().map(names).collect();
        let there = sets.iter().filter(|set| set.iter().all(|name| fields.contains_key(name))).count();
        let all = sets.concat().join(", ");
        match (there, one) {
            (0, true) => return Some(format!("one of these fields is missing: add one of {all}")),
            (0, false) => return Some(format!("all of these fields are missing: add at least one of {all}")),
            (2.., true) => return Some(format!("these fields exclude each other: keep one of {all}")),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: &str, spec: Value) -> Vec<String> {
        let object = json!({ "apiVersion": "x", "kind": kind, "metadata": { "name": "p" }, "spec": spec });
        let schema = of_kind(kind).expect("a schema");
        violations(schema, &object).into_iter().map(|v| format!("{}: {}", v.place, v.text)).collect()
    }

    #[test]
    fn cilium_policies() {
        let kind = "CiliumNetworkPolicy";
        assert!(found(kind, json!({ "endpointSelector": {}, "ingress": [{}] })).is_empty());
        assert_eq!(
            found(
                kind,
                json!({ "endpointSelektor": {}, "ingress": [{ "toPorts": [{ "ports": [{ "port": 80 }] }] }] })
            ),
            [
                "spec: one of these fields is missing: add one of endpointSelector, nodeSelector",
                "spec.endpointSelektor: the field endpointSelektor is unknown: write endpointSelector",
                "spec.ingress[0].toPorts[0].ports[0].port: 80 is no text: quote it: \"80\"",
            ]
        );
        let wrong = found(kind, json!({ "endpointSelector": {}, "ingress": { "fromEntities": ["worlds"] } }));
        assert_eq!(wrong, ["spec.ingress: this is a mapping: write a list: begin each item with \"- \""]);
        let wrong =
            found(kind, json!({ "endpointSelector": {}, "ingress": [{ "fromEntities": ["worlds"] }] }));
        assert_eq!(wrong, ["spec.ingress[0].fromEntities[0]: \"worlds\" is not allowed here: write world"]);
    }

    #[test]
    fn kubernetes_policies() {
        let wrong = found(
            "NetworkPolicy",
            json!({ "podSelectr": {}, "ingress": [{ "ports": [{ "port": true, "endPort": 0, "protocol": "HTTP" }], "to": [] }] }),
        );
        assert_eq!(
            wrong,
            [
                "spec.ingress[0].ports[0].endPort: 0 is out of range: write a number from 1 to 65535",
                "spec.ingress[0].ports[0].port: true is no text: write a number or a name",
                "spec.ingress[0].ports[0].protocol: \"HTTP\" is not allowed here: use one of TCP, UDP, SCTP",
                "spec.ingress[0].to: the field to is unknown: check its spelling and its indentation, or remove it",
                "spec.podSelectr: the field podSelectr is unknown: write podSelector",
            ]
        );
    }

    #[test]
    fn policies_of_admins() {
        let peers = json!([{ "nodes": { "matchLabels": { "zone": "a" } } }, { "networks": ["10.0.0.0/8"] }]);
        let good = json!({ "tier": "Admin", "priority": 1, "subject": { "namespaces": {} },
            "egress": [{ "action": "Deny", "to": peers, "protocols": [{ "tcp": { "destinationPort": { "number": 80 } } }] }] });
        assert!(found("ClusterNetworkPolicy", good).is_empty());
        let wrong = json!({ "tier": "admin", "priority": 1001, "ingress": [{ "action": "Allow", "from": [], "form": 1,
            "protocols": [{ "tcp": { "destinationPort": { "range": { "start": 80, "ende": 0 } } } }] }] });
        assert_eq!(
            found("ClusterNetworkPolicy", wrong),
            [
                "spec: the field subject is missing: add it",
                "spec.ingress[0].action: \"Allow\" is not allowed here: use one of Accept, Deny, Pass",
                "spec.ingress[0].form: the field form is unknown: write from",
                "spec.ingress[0].from: 0 items are too few: at least 1",
                "spec.ingress[0].protocols[0].tcp.destinationPort.range: the field end is missing: add it",
                "spec.ingress[0].protocols[0].tcp.destinationPort.range.ende: the field ende is unknown: write end",
                "spec.priority: 1001 is out of range: write a number from 0 to 1000",
                "spec.tier: \"admin\" is not allowed here: write Admin",
            ]
        );
    }
}
