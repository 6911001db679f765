//! Rules that are applied and mean nothing: they fit no packet, or select no pod that there is.

use super::named::Named;
use super::peers::{Nobody, pointed, why_nobody};
use super::{Applicable, Say};
use crate::inventory::Inventory;
use crate::place::Place;
use kube_api::{AnyPolicy, Part, ToRules};
use policy::{Direction, Peer, PortRule, Rule, Subject};
use serde_json::Value;
use std::collections::BTreeSet;

/// Fields that hold selectors of pods, and names or selectors of other objects.
const SELECTORS: [&str; 9] = [
    "fromEndpoints",
    "toEndpoints",
    "from",
    "to",
    "fromCIDRSet",
    "toCIDRSet",
    "toServices",
    "fromNodes",
    "toNodes",
];

/// `files`: what stands in the files with the policies.
pub(super) fn check(
    policy: &Applicable<'_>,
    cluster: Option<&Inventory>,
    files: &Inventory,
    say: &mut Say<'_>,
) {
    let parts = kube_api::parts(&policy.object);
    for part in &parts {
        fits_nothing(part, policy, say);
    }
    let Some(cluster) = cluster.filter(|cluster| !cluster.pods.is_empty()) else { return };
    let named = Named::of(cluster, files);
    subjects(policy, cluster, &named, say);
    for part in &parts {
        let place = Place::default().parse(&part.place, &policy.object);
        peers(part, &place, policy, (cluster, &named), say);
        ports(part, &place, cluster, say);
    }
}

/// An empty entry closes a direction and is meant so; one that says something should say something that can be.
fn fits_nothing(part: &Part, policy: &Applicable<'_>, say: &mut Say<'_>) {
    let place = Place::default().parse(&part.place, &policy.object);
    let entry = entry_of(&part.object).and_then(Value::as_object);
    let Some(entry) = entry.filter(|entry| part.rules.is_empty() && !entry.is_empty()) else { return };
    let empty =
        entry.iter().find(|(_, value)| value.as_array().is_some_and(Vec::is_empty) || value.is_null());
    let place = empty.map_or_else(|| place.clone(), |(name, _)| place.key(name));
    let text = "the rule fits nothing: an empty list selects nobody; remove the list to mean anyone, or remove the rule";
    say.warn(&place, text.to_owned());
}

/// The one entry of a part.
fn entry_of(object: &Value) -> Option<&Value> {
    let spec = object.get("spec")?.as_object()?;
    ["ingress", "ingressDeny", "egress", "egressDeny"].iter().find_map(|list| spec.get(*list)?.get(0))
}

/// Who the policy is about.
fn subjects(policy: &Applicable<'_>, cluster: &Inventory, named: &Named<'_>, say: &mut Say<'_>) {
    let places = kube_api::rule_places(&policy.object);
    let mut told = BTreeSet::new();
    for (rule, place) in policy.rules.iter().zip(places) {
        let spec = place.split('.').next().unwrap_or_default();
        if !told.insert(spec.to_owned()) {
            continue;
        }
        let nobody = match &rule.subject {
            Subject::Endpoints(selector) => why_nobody(selector, cluster),
            Subject::Nodes(selector) => named.no_node(selector),
        };
        if let Some(nobody) = nobody {
            let spec = Place::default().parse(spec, &policy.object);
            let is_there = |field: &&str| policy.object.pointer(&format!("/spec/{field}")).is_some();
            let field = ["podSelector", "subject", "nodeSelector"]
                .into_iter()
                .find(is_there)
                .unwrap_or("endpointSelector");
            let place = pointed(&policy.object, &spec.key(field), &nobody);
            say.warn(&place, format!("the policy selects no {}: {}", nobody.what, nobody.text));
        }
    }
}

/// Who is at the other end: each item of the lists by itself.
fn peers(
    part: &Part,
    place: &Place,
    policy: &Applicable<'_>,
    known: (&Inventory, &Named<'_>),
    say: &mut Say<'_>,
) {
    let Some(entry) = entry_of(&part.object).and_then(Value::as_object) else { return };
    for field in SELECTORS {
        let items = entry.get(field).and_then(Value::as_array);
        for (index, item) in items.into_iter().flatten().enumerate() {
            let Some(nobody) = alone(&part.object, entry, field, item).into_iter().find_map(|rule| {
                // All of a rule's peers come from this item.
                let nobodies: Option<Vec<Nobody>> =
                    rule.peers.iter().map(|peer| nobody(peer, known)).collect();
                nobodies?.into_iter().next()
            }) else {
                continue;
            };
            let place = pointed(&policy.object, &place.key(field).index(index), &nobody);
            say.warn(&place, format!("this selects no {}: {}", nobody.what, nobody.text));
        }
    }
}

fn nobody(peer: &Peer, (cluster, named): (&Inventory, &Named<'_>)) -> Option<Nobody> {
    match peer {
        Peer::Endpoints(selector) => why_nobody(selector, cluster),
        Peer::Listed(reference) => named.missing(reference),
        _ => None,
    }
}

/// The rules that an entry gives with one peer alone.
fn alone(object: &Value, entry: &serde_json::Map<String, Value>, field: &str, item: &Value) -> Vec<Rule> {
    let mut entry = entry.clone();
    entry.insert(field.to_owned(), Value::Array(vec![item.clone()]));
    let mut object = object.clone();
    let spec = object.get_mut("spec").and_then(Value::as_object_mut);
    for list in spec.into_iter().flat_map(|spec| spec.values_mut()).filter_map(Value::as_array_mut) {
        // The one list with an entry like this is that of the part.
        if list.len() == 1 && list[0].get(field).is_some() {
            list[0] = Value::Object(entry.clone());
        }
    }
    AnyPolicy::read(&object).ok().flatten().and_then(|policy| policy.to_rules().ok()).unwrap_or_default()
}

/// Ports by name, where nobody who could have the name has it.
fn ports(part: &Part, place: &Place, cluster: &Inventory, say: &mut Say<'_>) {
    let mut told = BTreeSet::new();
    for rule in &part.rules {
        for port in &rule.ports {
            let PortRule::Named { name, .. } = port else { continue };
            let subject = |labels: &types::Labels| match &rule.subject {
                Subject::Endpoints(selector) => selector.matches(labels),
                Subject::Nodes(_) => false,
            };
            // A port's name is that of whoever receives.
            let mut receivers = cluster
                .pods
                .iter()
                .filter(|pod| part.direction == Direction::Egress || subject(&pod.info.labels))
                .peekable();
            if receivers.peek().is_none() || !told.insert(name) {
                continue;
            }
            let names: Vec<&str> =
                receivers.flat_map(|pod| pod.info.named_ports.keys().map(String::as_str)).collect();
            if !names.contains(&name.as_str()) {
                let near = crate::nearest::nearest(name, names.iter().copied());
                let cure = near.map_or_else(
                    || "give the number, or name it in the pod's containers".to_owned(),
                    |near| format!("write {near}"),
                );
                say.warn(place, format!("no pod that is meant has a port named {name:?}: {cure}"));
            }
        }
    }
}
