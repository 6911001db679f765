//! What policies name by other objects: groups of blocks, services, nodes. Whatever changes of these is put into the rules
//! that name it.

use std::collections::BTreeMap;

use policy::{AddressList, CidrGroup, Directory, NodeFacts, ObjectName, Reference, Rule, Service};
use types::{Label, Labels, PolicyOrigin, Source};

use super::State;
use crate::model::{Change, Keyed, Node};
use crate::store::Store;

/// The objects, and the policies in force that name such.
#[derive(Debug, Default)]
pub(super) struct References {
    groups: Store<CidrGroup>,
    services: Store<Service>,
    addresses: Store<AddressList>,
    /// Rules as they are written, of policies that name other objects.
    naming: BTreeMap<PolicyOrigin, Vec<Rule>>,
}

impl Keyed for CidrGroup {
    type Key = String;

    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Keyed for Service {
    type Key = ObjectName;

    fn key(&self) -> ObjectName {
        self.name.clone()
    }
}

impl Keyed for AddressList {
    type Key = ObjectName;

    fn key(&self) -> ObjectName {
        self.name.clone()
    }
}

impl References {
    /// Whether all groups, all services and all addresses listed by hand were told once.
    pub(super) fn synced(&self) -> (bool, bool, bool) {
        (self.groups.is_synced(), self.services.is_synced(), self.addresses.is_synced())
    }
}

impl State {
    pub(super) fn change_groups(&mut self, change: Change<CidrGroup>, now: u64) {
        if !self.references.groups.change(change).is_empty() {
            self.resolve_again(now, |reference| matches!(reference, Reference::Groups { .. }));
        }
    }

    pub(super) fn change_services(&mut self, change: Change<Service>, now: u64) {
        let touched = self.references.services.change(change);
        if !touched.is_empty() {
            self.resolve_again(now, |reference| match reference {
                Reference::Services { namespace, which } => touched.iter().any(|service| {
                    namespace.as_ref().is_none_or(|namespace| service.namespace == *namespace)
                        && !matches!(which, policy::Choice::Named(name) if service.name != *name)
                }),
                _ => false,
            });
        }
    }

    pub(super) fn change_addresses(&mut self, change: Change<AddressList>, now: u64) {
        if !self.references.addresses.change(change).is_empty() {
            self.resolve_again(now, |reference| matches!(reference, Reference::Services { .. }));
        }
    }

    /// Nodes came, went, or have other labels or addresses.
    pub(super) fn nodes_changed(&mut self, now: u64) {
        self.resolve_again(now, |reference| matches!(reference, Reference::Nodes(_)));
    }

    /// Puts a policy's rules in force.
    pub(super) fn enforce(&mut self, origin: PolicyOrigin, rules: Vec<Rule>, now: u64) {
        let resolved = self.resolve(&rules);
        match rules.iter().any(|rule| rule.references().next().is_some()) {
            true => drop(self.references.naming.insert(origin.clone(), rules)),
            false => drop(self.references.naming.remove(&origin)),
        }
        let update = self.engine.apply(origin, resolved);
        self.take(update, now);
    }

    /// Takes a policy's rules out of force.
    pub(super) fn lift(&mut self, origin: &PolicyOrigin, now: u64) {
        self.references.naming.remove(origin);
        let update = self.engine.remove(origin);
        self.take(update, now);
    }

    /// Rules with what they name by other objects in place.
    pub fn resolve(&self, rules: &[Rule]) -> Vec<Rule> {
        let by_node = |rule: &Rule| rule.references().any(|one| matches!(one, Reference::Nodes(_)));
        let nodes = if rules.iter().any(by_node) { self.node_facts() } else { Vec::new() };
        let directory = Directory {
            groups: self.references.groups.objects(),
            services: self.references.services.objects(),
            addresses: self.references.addresses.objects(),
            nodes: &nodes,
            cidr_match: self.settings.cidr_match,
        };
        directory.resolve(rules)
    }

    fn resolve_again(&mut self, now: u64, concerned: impl Fn(&Reference) -> bool) {
        let naming = self.references.naming.iter();
        let naming = naming.filter(|(_, rules)| rules.iter().flat_map(Rule::references).any(&concerned));
        let changes: BTreeMap<_, _> =
            naming.map(|(origin, rules)| (origin.clone(), Some(self.resolve(rules)))).collect();
        if !changes.is_empty() {
            let update = self.engine.set_policies(changes);
            self.take(update, now);
        }
    }

    fn node_facts(&self) -> Vec<NodeFacts> {
        self.nodes.iter().map(|node| self.facts_of(node)).collect()
    }

    fn facts_of(&self, node: &Node) -> NodeFacts {
        let own = node.name == self.settings.node.name;
        let labels = node.labels.iter().map(|(key, value)| Label::new(Source::Node, key, value));
        let labels = labels.filter(|label| self.settings.node_labels.keeps(label));
        let reserved = Label::reserved(if own { "host" } else { "remote-node" });
        NodeFacts {
            labels: labels.chain([reserved]).collect::<Labels>(),
            own,
            addresses: node.underlay.iter().chain(&node.routers).copied().collect(),
        }
    }
}
