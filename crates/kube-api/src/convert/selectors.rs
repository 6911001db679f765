//! Label selectors: which source a key has, and how a policy's reach is bounded.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as KubernetesSelector;
use types::{Label, Selector, SelectorError, Source, Test, key};

use super::cilium::Scope;
use super::path::{Path, Problem, Refused};
use crate::rule::LabelSelector;

/// A selector as written, with keys of any source.
pub(super) fn plain(selector: &LabelSelector, path: &Path<'_>) -> Result<Selector, Refused> {
    if let Some(field) = selector.unknown.keys().next() {
        return Err(path.key(field).refuse(Problem::UnknownField));
    }
    Selector::new(
        selector.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str())),
        selector
            .match_expressions
            .iter()
            .map(|one| (one.key.as_str(), one.operator.as_str(), one.values.iter().map(String::as_str))),
        &Source::Any,
    )
    .map_err(|error| path.refuse(error.into()))
}

/// Who a policy is about. In a namespace the namespace is baked in whatever the selector says, so that no requirement
/// (`DoesNotExist reserved:init`, CVE-2023-41333) leads out of it.
pub(super) fn subject(
    selector: &LabelSelector,
    scope: &Scope<'_>,
    path: &Path<'_>,
) -> Result<Selector, Refused> {
    let written = plain(selector, path)?;
    let Scope::Namespace(namespace) = scope else { return Ok(written) };
    for requirement in written.requirements().filter(|one| names_namespace(one.source(), one.key())) {
        if let Test::In(values) = requirement.test()
            && !values.contains(*namespace)
        {
            let namespace = values.first().map(ToString::to_string).unwrap_or_default();
            return Err(path.refuse(Problem::ForeignSubject { namespace }));
        }
    }
    Ok(written.and(&Label::k8s(key::NAMESPACE, namespace)))
}

/// Who is at the other end. A selector that does not speak of namespaces means pods of the policy's own; in a
/// cluster-wide policy, pods of any namespace, but pods: `{}` does not select the world.
///
/// Only a requirement that a `reserved:` label *be there* lifts the bound. One that it be absent says nothing about
/// where to look, and lifts nothing (CVE-2023-41333).
pub(super) fn peer(
    selector: &LabelSelector,
    scope: &Scope<'_>,
    path: &Path<'_>,
) -> Result<Selector, Refused> {
    let written = plain(selector, path)?;
    if written.requires_source(&Source::Reserved) {
        return Ok(written);
    }
    let speaks_of =
        |test: fn(&Source, &str) -> bool| written.requirements().any(|one| test(one.source(), one.key()));
    let names_one = speaks_of(names_namespace);
    Ok(match scope {
        _ if names_one => written,
        Scope::Cluster => written.and_exists(Source::K8s, key::NAMESPACE),
        Scope::Namespace(_) if speaks_of(names_namespace_label) => written,
        Scope::Namespace(namespace) => written.and(&Label::k8s(key::NAMESPACE, namespace)),
    })
}

fn names_namespace(source: &Source, name: &str) -> bool {
    name == key::NAMESPACE && matches!(source, Source::K8s | Source::Any)
}

fn names_namespace_label(source: &Source, name: &str) -> bool {
    let label = name.strip_prefix(key::NAMESPACE_LABELS).is_some_and(|rest| rest.starts_with('.'));
    label && matches!(source, Source::K8s | Source::Any)
}

/// Pods of a namespace, by their labels.
pub(super) fn pods(
    selector: &KubernetesSelector,
    namespace: &str,
    path: &Path<'_>,
) -> Result<Selector, Refused> {
    Ok(kubernetes(selector, "k8s:", path)?.and(&Label::k8s(key::NAMESPACE, namespace)))
}

/// Pods of any namespace, by their labels.
pub(super) fn pods_anywhere(selector: &KubernetesSelector, path: &Path<'_>) -> Result<Selector, Refused> {
    kubernetes(selector, "k8s:", path)
}

/// Nodes, by their labels.
pub(super) fn nodes(selector: &KubernetesSelector, path: &Path<'_>) -> Result<Selector, Refused> {
    kubernetes(selector, "node:", path)
}

/// Pods of namespaces, by the namespaces' labels. `{}` means every namespace, but still pods.
pub(super) fn namespaces(selector: &KubernetesSelector, path: &Path<'_>) -> Result<Selector, Refused> {
    let prefix = format!("k8s:{}.", key::NAMESPACE_LABELS);
    Ok(kubernetes(selector, &prefix, path)?.and_exists(Source::K8s, key::NAMESPACE))
}

/// A Kubernetes selector, whose keys have no source; `prefix` begins with one.
fn kubernetes(selector: &KubernetesSelector, prefix: &str, path: &Path<'_>) -> Result<Selector, Refused> {
    let names = selector.match_labels.iter().flatten().map(|(name, _)| name);
    let mut names = names.chain(selector.match_expressions.iter().flatten().map(|one| &one.key));
    // A colon would be read as a source: `reserved:host` is no label that a pod can have.
    if let Some(name) = names.find(|name| name.contains(':')) {
        return Err(path.refuse(SelectorError::BadKey { key: name.clone() }.into()));
    }
    let full = |name: &str| format!("{prefix}{name}");
    let labels: Vec<(String, &str)> =
        selector.match_labels.iter().flatten().map(|(name, value)| (full(name), value.as_str())).collect();
    let expressions: Vec<(String, &str, &[String])> = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|one| (full(&one.key), one.operator.as_str(), one.values.as_deref().unwrap_or_default()))
        .collect();
    Selector::new(
        labels.iter().map(|(name, value)| (name.as_str(), *value)),
        expressions
            .iter()
            .map(|(name, operator, values)| (name.as_str(), *operator, values.iter().map(String::as_str))),
        &Source::K8s,
    )
    .map_err(|error| path.refuse(error.into()))
}
