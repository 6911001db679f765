//! Selectors that select nobody, and why.

use crate::inventory::Inventory;
use crate::nearest::nearest;
use crate::place::Place;
use serde_json::Value;
use std::collections::BTreeMap;
use types::{Labels, Requirement, Selector, Source, Test, key};

/// Why nobody is selected.
pub(super) struct Nobody {
    /// Whom it is about: `pod`, `node`, …
    pub(super) what: &'static str,
    pub(super) text: String,
    /// The key that is to blame, if it is one.
    pub(super) key: Option<String>,
    /// The field that is to blame, as it stands in the peer; empty for the peer itself.
    pub(super) within: &'static [&'static str],
}

/// Why `selector` selects no pod; nothing if it selects one, or is not about pods.
pub(super) fn why_nobody(selector: &Selector, cluster: &Inventory) -> Option<Nobody> {
    let of_others = [Source::Reserved, Source::Cidr].iter().any(|source| selector.requires_source(source));
    if of_others || cluster.pods.iter().any(|pod| selector.matches(&pod.info.labels)) {
        return None;
    }
    let missed = |requirement: &&Requirement| !labels(cluster).any(|labels| requirement.matches(labels));
    match selector.requirements().find(missed) {
        Some(requirement) => {
            let key = Some(requirement.key().to_owned());
            Some(Nobody { what: "pod", text: blame(requirement, cluster), key, within: &[] })
        }
        None => Some(Nobody {
            what: "pod",
            within: &[],
            text: format!("each of its labels exists, but no pod has all of {selector}"),
            key: None,
        }),
    }
}

fn labels(cluster: &Inventory) -> impl Iterator<Item = &Labels> {
    cluster.pods.iter().map(|pod| &pod.info.labels)
}

/// What is wrong with a condition that no pod meets.
fn blame(requirement: &Requirement, cluster: &Inventory) -> String {
    let name = requirement.key();
    if name == key::NAMESPACE {
        return namespace(requirement, cluster);
    }
    let shown = name.strip_prefix(&format!("{}.", key::NAMESPACE_LABELS));
    let (whose, shown) = match shown {
        Some(rest) => ("namespace with pods", rest),
        None => ("pod", name),
    };
    blame_among(requirement, &labels(cluster).collect::<Vec<_>>(), whose, shown, "pod")
}

/// The same for objects with these labels, of which each is a `what`; `whose` has the label, which is told as `shown`.
pub(super) fn blame_among(
    requirement: &Requirement,
    all: &[&Labels],
    whose: &str,
    shown: &str,
    what: &str,
) -> String {
    let name = requirement.key();
    let labels = || all.iter().copied();
    let fits = |source: &Source| *requirement.source() == Source::Any || requirement.source() == source;
    let mut values: BTreeMap<&str, usize> = BTreeMap::new();
    for label in labels().flat_map(|labels| labels.with_key(name)).filter(|label| fits(label.source())) {
        *values.entry(label.value()).or_default() += 1;
    }
    if values.is_empty() {
        let keys = labels().flat_map(Labels::iter).map(types::Label::key);
        let keys: std::collections::BTreeSet<&str> = keys.collect();
        return match nearest(name, keys) {
            Some(near) => {
                let near = near.strip_prefix(&format!("{}.", key::NAMESPACE_LABELS)).unwrap_or(near);
                format!("no {whose} has a label {shown}; did you mean {near}?")
            }
            None => format!("no {whose} has a label {shown}"),
        };
    }
    let Test::In(wanted) = requirement.test() else {
        return format!("every {whose} has a label {shown} that this excludes");
    };
    let wanted: Vec<&str> = wanted.iter().map(AsRef::as_ref).collect();
    let near = wanted.iter().find_map(|value| nearest(value, values.keys().copied()));
    let known: Vec<&str> = values.keys().copied().take(5).collect();
    let hint = match near {
        Some(near) => format!("did you mean {shown}={near} ({})?", count(values[near], what)),
        None => format!("there are {shown}={}", known.join(&format!(", {shown}="))),
    };
    format!("no {whose} has {shown}={}; {hint}", wanted.join(&format!(" or {shown}=")))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn namespace(requirement: &Requirement, cluster: &Inventory) -> String {
    let Test::In(wanted) = requirement.test() else {
        return "no pod is in such a namespace".to_owned();
    };
    let wanted: Vec<&str> = wanted.iter().map(AsRef::as_ref).collect();
    let names = wanted.join(" or ");
    if wanted.iter().any(|name| cluster.namespaces.contains_key(*name)) {
        return format!("there is no pod in namespace {names}");
    }
    let near = wanted.iter().find_map(|name| nearest(name, cluster.namespaces.keys().map(String::as_str)));
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("there is no namespace {names}{hint}")
}

/// The place of the label that is to blame, inside of a selector or a peer.
pub(super) fn pointed(object: &Value, selector: &Place, nobody: &Nobody) -> Place {
    let Some(wanted) = &nobody.key else {
        return nobody.within.iter().fold(selector.clone(), |place, field| place.key(field));
    };
    let bare = wanted.strip_prefix(&format!("{}.", key::NAMESPACE_LABELS)).unwrap_or(wanted);
    let names = |key: &str| {
        key == wanted || key == bare || key.split_once(':').is_some_and(|(_, rest)| rest == wanted)
    };
    let at = |place: &Place| -> Option<&Value> {
        place.steps().iter().try_fold(object, |value, step| match step {
            crate::place::Step::Key(name) => value.get(name),
            crate::place::Step::Index(index) => value.get(index),
        })
    };
    let pods = selector.key("pods");
    let inner = [
        selector.clone(),
        selector.key("podSelector"),
        selector.key("namespaceSelector"),
        selector.key("namespaces"),
        selector.key("nodes"),
        selector.key("cidrGroupSelector"),
        selector.key("k8sServiceSelector").key("selector"),
        pods.key("podSelector"),
        pods.key("namespaceSelector"),
    ];
    for place in inner {
        let Some(value) = at(&place) else { continue };
        let labels = value.get("matchLabels").and_then(Value::as_object);
        if let Some(key) = labels.into_iter().flat_map(|labels| labels.keys()).find(|key| names(key)) {
            return place.key("matchLabels").key(key);
        }
        let expressions = value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        let is_meant = |one: &Value| one.get("key").and_then(Value::as_str).is_some_and(names);
        if let Some(index) = expressions.enumerate().find(|(_, one)| is_meant(one)).map(|(index, _)| index) {
            return place.key("matchExpressions").index(index);
        }
    }
    selector.clone()
}
