//! Local redirect policies, and the pods that they may redirect to. A policy that asks for what it may not have is refused
//! whole: in part it would redirect what its author did not mean.

use k8s_openapi::api::core::v1 as core;
use services::{LocalPod, ObjectName, Protocol, Redirect, RedirectFrom, RedirectPort};
use types::{Label, Labels, Selector, SelectorError, Source, Test, key};

use super::{address, created, object_name, port_number, protocol};
use crate::labels::lasting_containers;
use crate::redirect::{AddressMatcher, CiliumLocalRedirectPolicy, PortInfo, ServiceMatcher};

/// A policy that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("local redirect policy {policy} redirects nothing: {field}")]
pub struct RedirectError {
    /// The policy.
    pub policy: ObjectName,
    /// The part that is at fault.
    pub field: String,
    /// What is wrong with it.
    #[source]
    pub problem: RedirectProblem,
}

/// What can be wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum RedirectProblem {
    /// None of the two, or both.
    #[error("give exactly one of addressMatcher and serviceMatcher")]
    Matcher,
    /// No address.
    #[error("{0:?} is no address: write an IPv4 or IPv6 address")]
    Address(String),
    /// A service of somebody else.
    #[error("{0:?} is not the policy's own namespace: make the policy in the service's namespace")]
    ForeignService(String),
    /// No name.
    #[error("a service has a name: write it")]
    NoName,
    /// Pods of somebody else.
    #[error(
        "pods of namespace {0:?} are asked for, and a policy redirects to pods of its own namespace alone: remove this label"
    )]
    ForeignPods(String),
    /// The selector cannot be read.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A field that is not known.
    #[error("this field is unknown, and what it would restrict is unknown too: check its spelling")]
    UnknownField,
    /// No ports.
    #[error("no ports are given: give at least one")]
    NoPorts,
    /// No port.
    #[error("{0:?} is no port: write a number from 1 to 65535")]
    Port(String),
    /// No protocol.
    #[error("{0:?} is no protocol that is redirected: write TCP or UDP")]
    Protocol(String),
    /// Several ports, of which one has no name.
    #[error("of several ports each needs a name, by which a frontend finds its backend: give one")]
    NoPortName,
    /// The one frontend and the one backend differ in protocol.
    #[error("{0} traffic cannot be redirected to a port of another protocol: give both the same")]
    OtherProtocol(Protocol),
}

type Found<T> = Result<T, (String, RedirectProblem)>;

/// A policy.
///
/// # Errors
/// What is wrong with it, with place and cure.
pub fn redirect(object: &CiliumLocalRedirectPolicy) -> Result<Redirect, RedirectError> {
    let name = object_name(&object.metadata);
    read(object, &name).map_err(|(field, problem)| RedirectError { policy: name, field, problem })
}

fn read(object: &CiliumLocalRedirectPolicy, name: &ObjectName) -> Found<Redirect> {
    let spec = &object.spec;
    let frontend = &spec.redirect_frontend;
    let from = match (&frontend.address_matcher, &frontend.service_matcher) {
        (Some(matcher), None) => by_address(matcher)?,
        (None, Some(matcher)) => by_service(matcher, name)?,
        _ => return Err(("spec.redirectFrontend".to_owned(), RedirectProblem::Matcher)),
    };
    let to_ports = ports("spec.redirectBackend.toPorts", &spec.redirect_backend.to_ports, false)?;
    let (RedirectFrom::Address { ports: asked, .. } | RedirectFrom::Service { ports: asked, .. }) = &from;
    if let ([asked], [given]) = (&**asked, &*to_ports)
        && asked.protocol != given.protocol
    {
        let problem = RedirectProblem::OtherProtocol(asked.protocol);
        return Err(("spec.redirectBackend.toPorts[0].protocol".to_owned(), problem));
    }
    if let ([asked], [_, _, ..], RedirectFrom::Address { .. }) = (&**asked, &*to_ports, &from)
        && asked.name.is_empty()
    {
        let field = "spec.redirectFrontend.addressMatcher.toPorts[0].name".to_owned();
        return Err((field, RedirectProblem::NoPortName));
    }
    Ok(Redirect {
        name: name.clone(),
        created: created(&object.metadata),
        uid: object.metadata.uid.as_deref().unwrap_or_default().into(),
        from,
        selector: selector(object, name)?,
        to_ports,
        spares_backends: spec.skip_redirect_from_backend,
    })
}

fn by_address(matcher: &AddressMatcher) -> Found<RedirectFrom> {
    let field = "spec.redirectFrontend.addressMatcher";
    let text = matcher.ip.trim();
    let ip =
        address(text).ok_or_else(|| (format!("{field}.ip"), RedirectProblem::Address(text.to_owned())))?;
    let ports = ports(&format!("{field}.toPorts"), &matcher.to_ports, false)?;
    Ok(RedirectFrom::Address { ip, ports })
}

/// Of the policy's own namespace: who may make policies in one has no say over the services of another.
fn by_service(matcher: &ServiceMatcher, policy: &ObjectName) -> Found<RedirectFrom> {
    let field = "spec.redirectFrontend.serviceMatcher";
    if matcher.namespace != *policy.namespace {
        let problem = RedirectProblem::ForeignService(matcher.namespace.clone());
        return Err((format!("{field}.namespace"), problem));
    }
    if matcher.service_name.is_empty() {
        return Err((format!("{field}.serviceName"), RedirectProblem::NoName));
    }
    let ports = ports(&format!("{field}.toPorts"), &matcher.to_ports, true)?;
    Ok(RedirectFrom::Service { name: matcher.service_name.as_str().into(), ports })
}

fn ports(field: &str, ports: &[PortInfo], may_be_none: bool) -> Found<Vec<RedirectPort>> {
    if ports.is_empty() && !may_be_none {
        return Err((field.to_owned(), RedirectProblem::NoPorts));
    }
    let read = |(i, port): (usize, &PortInfo)| {
        let number = port.port.parse().ok().and_then(port_number);
        let number =
            number.ok_or_else(|| (format!("{field}[{i}].port"), RedirectProblem::Port(port.port.clone())))?;
        let found = protocol(Some(&port.protocol)).filter(|found| *found != Protocol::Sctp);
        let protocol = found.ok_or_else(|| {
            (format!("{field}[{i}].protocol"), RedirectProblem::Protocol(port.protocol.clone()))
        })?;
        let name = port.name.as_deref().unwrap_or_default().to_ascii_lowercase();
        if name.is_empty() && ports.len() > 1 {
            return Err((format!("{field}[{i}].name"), RedirectProblem::NoPortName));
        }
        Ok(RedirectPort { name: name.into(), port: number, protocol })
    };
    ports.iter().enumerate().map(read).collect()
}

fn selector(object: &CiliumLocalRedirectPolicy, policy: &ObjectName) -> Found<Selector> {
    let field = "spec.redirectBackend.localEndpointSelector";
    let written = &object.spec.redirect_backend.local_endpoint_selector;
    if let Some(unknown) = written.unknown.keys().next() {
        return Err((format!("{field}.{unknown}"), RedirectProblem::UnknownField));
    }
    let expressions = written.match_expressions.iter();
    let selector = Selector::new(
        written.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str())),
        expressions.map(|one| (&*one.key, &*one.operator, one.values.iter().map(String::as_str))),
        &Source::K8s,
    )
    .map_err(|error| (field.to_owned(), error.into()))?;
    for requirement in selector.requirements().filter(|one| one.key() == key::NAMESPACE) {
        if let Test::In(values) = requirement.test()
            && let Some(other) = values.iter().find(|value| ***value != *policy.namespace)
        {
            return Err((field.to_owned(), RedirectProblem::ForeignPods(other.to_string())));
        }
    }
    Ok(selector)
}

/// A pod to which policies may redirect; `None` if it has come to its end or has no address yet.
#[must_use]
pub fn local_pod(object: &core::Pod) -> Option<LocalPod> {
    let (spec, status) = (object.spec.as_ref()?, object.status.as_ref()?);
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let addresses = super::pod_addresses(status);
    if addresses.is_empty() {
        return None;
    }
    let name = object_name(&object.metadata);
    let labels = object.metadata.labels.iter().flatten();
    let own = Label::k8s(key::NAMESPACE, &name.namespace);
    let labels: Labels = labels.map(|(key, value)| Label::k8s(key, value)).chain([own]).collect();
    let leaving = object.metadata.deletion_timestamp.is_some();
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
    let ports = lasting_containers(spec).flat_map(|container| container.ports.iter().flatten());
    let ports = ports
        .filter_map(|port| Some((port_number(port.container_port)?, protocol(port.protocol.as_deref())?)));
    Some(LocalPod {
        name,
        labels,
        addresses,
        ready: ready && !leaving,
        host_network: spec.host_network == Some(true),
        ports: ports.collect(),
    })
}
