//! Policies checked before they are applied: what is refused, and what means nothing.

use crate::document::{Document, Documents, Position};
use crate::inventory::{Inventory, settled, title};
use crate::nearest::nearest;
use crate::place::Place;
use crate::schema;
use kube_api::{AnyPolicy, POLICY_KINDS, ToRules};
use policy::Rule;
use serde_json::Value;
use std::collections::BTreeMap;

mod meaning;
mod named;
mod peers;
mod shadow;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is not applied.
    Error,
    /// It is applied, but part of it has no effect, or not the one that was meant.
    Warning,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// Where in the file.
    pub position: Position,
    /// How bad.
    pub severity: Severity,
    /// Kind, namespace and name of the object.
    pub object: String,
    /// The field: `spec.ingress[0].toPorts`; empty for the whole object.
    pub field: String,
    /// What is wrong, and what to do about it.
    pub text: String,
}

/// A policy that can be applied, and the document that it was read from.
struct Applicable<'a> {
    document: &'a Document,
    object: Value,
    title: String,
    rules: Vec<Rule>,
}

/// Checks the policies of a file; objects of other kinds are left alone. `namespace` is that of objects that do not tell
/// theirs. With a `cluster`, selectors are looked up among its pods and nodes, and what rules name by other objects among
/// those objects, and those of the file.
pub fn lint(documents: &Documents, namespace: &str, cluster: Option<&Inventory>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (position, text) in &documents.broken {
        findings.push(Finding {
            position: *position,
            severity: Severity::Error,
            object: "document".to_owned(),
            field: String::new(),
            text: text.clone(),
        });
    }
    let mut good: Vec<Applicable<'_>> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for document in &documents.objects {
        let object = settled(&document.value, namespace);
        let mut say = Say { document, title: title(&object), findings: &mut findings };
        let Some(kind) = kind_of(&object, &mut say) else { continue };
        if let Some(first) = seen.insert(say.title.clone(), document.position(&Place::default(), false).line)
        {
            let text = format!(
                "the same object is in line {first}, too, and is replaced by this one: remove one of them"
            );
            say.warn(&Place::default(), text);
        }
        if let Some(rules) = applied(&object, kind, &mut say) {
            let title = say.title;
            good.push(Applicable { document, object, title, rules });
        }
    }
    let files = match cluster {
        Some(_) => Inventory::read(&documents.objects, "", namespace),
        None => Inventory::default(),
    };
    for policy in &good {
        let mut say = Say { document: policy.document, title: policy.title.clone(), findings: &mut findings };
        meaning::check(policy, cluster, &files, &mut say);
    }
    shadow::check(&good, cluster, &mut findings);
    findings.sort();
    findings.dedup();
    findings
}

/// Writes findings about one document.
struct Say<'a> {
    document: &'a Document,
    title: String,
    findings: &'a mut Vec<Finding>,
}

impl Say<'_> {
    fn error(&mut self, place: &Place, name: bool, text: String) {
        self.add(Severity::Error, place, name, text);
    }

    fn warn(&mut self, place: &Place, text: String) {
        self.add(Severity::Warning, place, false, text);
    }

    fn add(&mut self, severity: Severity, place: &Place, name: bool, text: String) {
        let position = self.document.position(place, name);
        let (object, field) = (self.title.clone(), place.to_string());
        self.findings.push(Finding { position, severity, object, field, text });
    }
}

/// The kind of a policy in the version that is understood; nothing for objects that are none.
fn kind_of(object: &Value, say: &mut Say<'_>) -> Option<&'static str> {
    let top = Place::default();
    let Some(kind) = object.get("kind").and_then(Value::as_str) else {
        say.error(&top, false, "the field kind is missing: add kind and apiVersion".to_owned());
        return None;
    };
    let Some((kind, version)) = POLICY_KINDS.iter().find(|(known, _)| *known == kind) else {
        if let Some(near) = nearest(kind, POLICY_KINDS.iter().map(|(kind, _)| *kind)) {
            say.error(&top.key("kind"), false, format!("there is no kind {kind}: write {near}"));
        }
        return None;
    };
    match object.get("apiVersion").and_then(Value::as_str) {
        Some(given) if given == *version => Some(kind),
        given => {
            let text =
                format!("{kind} has no version {:?}: write apiVersion: {version}", given.unwrap_or_default());
            say.error(&top.key("apiVersion"), false, text);
            None
        }
    }
}

/// The rules of a policy, if it is one that is applied.
fn applied(object: &Value, kind: &str, say: &mut Say<'_>) -> Option<Vec<Rule>> {
    let before = say.findings.len();
    metadata(object, say);
    let violations =
        schema::of_kind(kind).map(|schema| schema::violations(schema, object)).unwrap_or_default();
    let outcome = match AnyPolicy::read(object) {
        Ok(policy) => policy.map(|policy| policy.to_rules()),
        // The schema says the same, and where.
        Err(_) if !violations.is_empty() => None,
        Err(error) => {
            say.error(&Place::default(), false, format!("{error}: check the types of its fields"));
            None
        }
    };
    let mut refused = None;
    if let Some(Err(error)) = &outcome {
        let place = Place::default().parse(&error.path, object);
        let text = kube_api::error::chain(&error.problem);
        say.error(&place, matches!(error.problem, kube_api::Problem::UnknownField), text);
        refused = Some(place);
    }
    // Of two who refuse the same place, the conversion knows better what is meant, but for misspelt names.
    for violation in violations {
        match &refused {
            Some(place) if *place == violation.place && !violation.name => {}
            Some(place) if *place == violation.place => {
                say.findings.retain(|f| f.field != place.to_string() || f.object != say.title);
                say.error(&violation.place, true, violation.text);
            }
            _ => say.error(&violation.place, violation.name, violation.text),
        }
    }
    match outcome {
        Some(Ok(rules)) if say.findings.len() == before => Some(rules),
        _ => None,
    }
}

/// What the API server wants of every object.
fn metadata(object: &Value, say: &mut Say<'_>) {
    let place = Place::default().key("metadata");
    let text =
        |key: &str| object.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let ends = edge(name.bytes().next()) && edge(name.bytes().last());
    let good = ends && name.bytes().all(inner) && name.len() <= 253;
    if name.is_empty() && text("generateName").is_none() {
        say.error(&place.key("name"), false, "the object has no name: give it one".to_owned());
    } else if !name.is_empty() && !good {
        let text = format!("{name:?} is no name: use lower case letters, digits, - and ., at most 253");
        say.error(&place.key("name"), false, text);
    }
    let clusterwide = ["CiliumClusterwideNetworkPolicy", "ClusterNetworkPolicy"];
    let clusterwide = object.get("kind").is_some_and(|kind| clusterwide.iter().any(|one| kind == one));
    if clusterwide && text("namespace").is_some() {
        let text = "a cluster-wide policy is in no namespace: remove this, or use a CiliumNetworkPolicy";
        say.warn(&place.key("namespace"), text.to_owned());
    }
}

#[cfg(test)]
mod tests;
