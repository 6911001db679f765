//! From policy objects to rules of the engine. Pure; all or nothing: an object with one part that cannot be applied
//! gives no rule at all, but an error that names the part and the cure. What it was about can be closed all the same, as
//! far as that can be read ([`ToRules::closing`]).
//!
//! What a list says when it is empty, here and nowhere else:
//! - Absent peers and ports mean "any", but not both at once: a rule that says nothing at all allows nothing.
//! - A list of peers that is present and empty selects nobody (CVE-2025-64715), whatever the rule says besides.
//! - A list of ports that is present and empty allows nothing, and denies everything: neither reading of it opens.
//! - NetworkPolicy differs, as its API text says: `from`, `to` and `ports` that are empty mean the same as absent.

mod cilium;
mod cluster;
mod kubernetes;
mod path;
mod peers;
mod ports;
mod selectors;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};
use policy::{Direction, Rule, Subject, Verdict};
use types::{PolicyKind, PolicyOrigin};

pub use path::{ConvertError, Problem};
pub(crate) use peers::block_of;

use crate::audit::{AUDIT_MODE, audit_asked};
use crate::cluster_policy::ClusterNetworkPolicy;
use crate::policies::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};

/// Objects that hold policy.
pub trait ToRules {
    /// Which object this is, for verdicts, tools and errors.
    fn origin(&self) -> PolicyOrigin;

    /// The rules that the object means.
    ///
    /// # Errors
    /// [`ConvertError`], when some part of it cannot be applied; then none of it must be.
    fn to_rules(&self) -> Result<Vec<Rule>, ConvertError>;

    /// For an object that cannot be applied: rules that close the directions that it is about, for those subjects that can
    /// be read. Whatever it would have allowed is denied, unless another policy allows it.
    fn closing(&self) -> Vec<Rule>;
}

impl ToRules for CiliumNetworkPolicy {
    fn origin(&self) -> PolicyOrigin {
        origin(PolicyKind::Cnp, self)
    }

    fn to_rules(&self) -> Result<Vec<Rule>, ConvertError> {
        let origin = self.origin();
        // Without a namespace there is nothing that would keep the rules inside one.
        if origin.namespace.is_empty() {
            return Err(path::Path::ROOT
                .key("metadata")
                .key("namespace")
                .refuse(Problem::NoNamespace)
                .of(origin));
        }
        cilium::rules(self, &cilium::Scope::Namespace(&origin.namespace))
            .and_then(|rules| audited(self, rules))
            .map_err(|error| error.of(origin.clone()))
    }

    fn closing(&self) -> Vec<Rule> {
        match self.origin().namespace {
            nowhere if nowhere.is_empty() => Vec::new(),
            namespace => dry(self, cilium::closing(self, &cilium::Scope::Namespace(&namespace))),
        }
    }
}

impl ToRules for CiliumClusterwideNetworkPolicy {
    fn origin(&self) -> PolicyOrigin {
        PolicyOrigin { namespace: String::new(), ..origin(PolicyKind::Ccnp, self) }
    }

    fn to_rules(&self) -> Result<Vec<Rule>, ConvertError> {
        cilium::rules(self, &cilium::Scope::Cluster)
            .and_then(|rules| audited(self, rules))
            .map_err(|error| error.of(self.origin()))
    }

    fn closing(&self) -> Vec<Rule> {
        dry(self, cilium::closing(self, &cilium::Scope::Cluster))
    }
}

impl ToRules for NetworkPolicy {
    fn origin(&self) -> PolicyOrigin {
        origin(PolicyKind::Knp, self)
    }

    fn to_rules(&self) -> Result<Vec<Rule>, ConvertError> {
        let origin = self.origin();
        if origin.namespace.is_empty() {
            return Err(path::Path::ROOT
                .key("metadata")
                .key("namespace")
                .refuse(Problem::NoNamespace)
                .of(origin));
        }
        kubernetes::rules(self, &origin.namespace)
            .and_then(|rules| audited(self, rules))
            .map_err(|error| error.of(origin.clone()))
    }

    fn closing(&self) -> Vec<Rule> {
        match self.origin().namespace {
            nowhere if nowhere.is_empty() => Vec::new(),
            namespace => dry(self, kubernetes::closing(self, &namespace)),
        }
    }
}

impl ToRules for ClusterNetworkPolicy {
    fn origin(&self) -> PolicyOrigin {
        PolicyOrigin { namespace: String::new(), ..origin(PolicyKind::Cluster, self) }
    }

    fn to_rules(&self) -> Result<Vec<Rule>, ConvertError> {
        cluster::rules(self).map_err(|error| error.of(self.origin()))
    }

    fn closing(&self) -> Vec<Rule> {
        cluster::closing(self)
    }
}

fn origin<K: Resource>(kind: PolicyKind, object: &K) -> PolicyOrigin {
    PolicyOrigin {
        kind,
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
    }
}

/// Makes the rules a dry run if the object's annotation asks for it.
fn audited<K: Resource>(object: &K, mut rules: Vec<Rule>) -> Result<Vec<Rule>, path::Refused> {
    let path = path::Path::ROOT.key("metadata");
    let path = path.key("annotations");
    let audit = audit_asked(object.meta().annotations.as_ref())
        .map_err(|error| path.key(AUDIT_MODE).refuse(error.into()))?;
    rules.iter_mut().for_each(|rule| rule.audit = audit);
    Ok(rules)
}

/// The same for rules that close in place of those that cannot be applied: what is under audit drops nothing.
fn dry<K: Resource>(object: &K, mut rules: Vec<Rule>) -> Vec<Rule> {
    let audit = audit_asked(object.meta().annotations.as_ref()).unwrap_or_default();
    rules.iter_mut().for_each(|rule| rule.audit = audit);
    rules
}

/// One direction of one policy: its subjects, its rules, and whether what they leave open is denied.
struct Side {
    subject: Subject,
    direction: Direction,
    default_deny: bool,
    rules: Vec<Rule>,
}

impl Side {
    fn new(subject: &Subject, direction: Direction, default_deny: bool) -> Self {
        Self { subject: subject.clone(), direction, default_deny, rules: Vec::new() }
    }

    /// Adds a rule, unless it fits nothing.
    fn push(&mut self, verdict: Verdict, peers: Vec<policy::Peer>, ports: Vec<policy::PortRule>) {
        if !peers.is_empty() && !ports.is_empty() {
            let rule = Rule { verdict, peers, ports, ..self.rule() };
            self.rules.push(rule);
        }
    }

    /// The rules; one that fits nothing and only closes the direction, where there is no other to do it.
    fn finish(mut self) -> Vec<Rule> {
        if self.rules.is_empty() && self.default_deny {
            let closing = Rule { peers: Vec::new(), ports: Vec::new(), ..self.rule() };
            self.rules.push(closing);
        }
        self.rules
    }

    fn rule(&self) -> Rule {
        Rule { default_deny: self.default_deny, ..Rule::allow(self.subject.clone(), self.direction) }
    }
}

#[cfg(test)]
mod tests;
