//! What rules name by other objects, groups of blocks, services and nodes, and nobody has made.

use super::peers::{Nobody, blame_among};
use crate::inventory::Inventory;
use crate::nearest::nearest;
use policy::{Choice, CidrGroup, ObjectName, Reference, Service};
use types::{Label, Labels, Selector, Source};

/// Objects that rules may name: the cluster's, and those that stand in the files with the policies.
pub(super) struct Named<'a> {
    groups: Vec<&'a CidrGroup>,
    services: Vec<&'a Service>,
    /// Labels of nodes as peers, and as those whose policy it is.
    nodes: Vec<&'a Labels>,
    own_nodes: Vec<Labels>,
}

impl<'a> Named<'a> {
    pub(super) fn of(cluster: &'a Inventory, files: &'a Inventory) -> Self {
        let both = || [cluster, files].into_iter();
        let nodes = || both().flat_map(|known| &known.nodes).map(|node| &node.labels);
        Self {
            groups: both().flat_map(|known| known.groups.values()).collect(),
            services: both().flat_map(|known| known.services.values()).collect(),
            nodes: nodes().collect(),
            own_nodes: nodes().map(as_subject).collect(),
        }
    }

    /// Why no node has a policy's selector; nothing if nodes are not known.
    pub(super) fn no_node(&self, selector: &Selector) -> Option<Nobody> {
        unmatched(selector, &self.own_nodes.iter().collect::<Vec<_>>(), "node")
    }

    /// Why a reference means nobody.
    pub(super) fn missing(&self, reference: &Reference) -> Option<Nobody> {
        match reference {
            Reference::Groups { which: Choice::Named(name), .. } => self.group(name),
            Reference::Groups { which: Choice::Labelled(selector), .. } => {
                let labels: Vec<&Labels> = self.groups.iter().map(|group| &group.labels).collect();
                selected(selector, &labels, "CiliumCIDRGroup")
            }
            Reference::Services { namespace, which } => self.service(namespace.as_deref(), which),
            Reference::Nodes(selector) => unmatched(selector, &self.nodes, "node"),
        }
    }

    fn group(&self, name: &str) -> Option<Nobody> {
        if self.groups.iter().any(|group| group.name == name) {
            return None;
        }
        let near = nearest(name, self.groups.iter().map(|group| group.name.as_str()));
        let text = format!("there is no CiliumCIDRGroup {name}{}", meant(near));
        Some(Nobody { what: "address", text, key: None, within: &["cidrGroupRef"] })
    }

    fn service(&self, namespace: Option<&str>, which: &Choice) -> Option<Nobody> {
        let inside = |service: &&&Service| namespace.is_none_or(|name| service.name.namespace == name);
        let within = namespace.map(|name| format!(" in namespace {name}")).unwrap_or_default();
        match which {
            Choice::Named(name) => {
                let mut names = self.services.iter().filter(inside).map(|service| &service.name);
                if names.clone().any(|one: &ObjectName| one.name == *name) {
                    return None;
                }
                let elsewhere = self.services.iter().find(|service| service.name.name == *name);
                let hint = match elsewhere {
                    Some(one) => format!("; it is in namespace {}", one.name.namespace),
                    None => meant(nearest(name, names.by_ref().map(|one| one.name.as_str()))),
                };
                let text = format!("there is no service {name}{within}{hint}");
                Some(Nobody { what: "service", text, key: None, within: &["k8sService", "serviceName"] })
            }
            Choice::Labelled(selector) => {
                let labels: Vec<&Labels> =
                    self.services.iter().filter(inside).map(|service| &service.labels).collect();
                selected(selector, &labels, "service")
            }
        }
    }
}

/// A node's labels as those of the endpoint that it is where it has a policy of its own.
fn as_subject(labels: &Labels) -> Labels {
    let own = labels.iter().filter(|label| *label.source() == Source::Node);
    own.map(|label| Label::k8s(label.key(), label.value())).chain([Label::reserved("host")]).collect()
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// As [`selected`], where objects of this kind may be there without being known.
fn unmatched(selector: &Selector, all: &[&Labels], what: &'static str) -> Option<Nobody> {
    if all.is_empty() { None } else { selected(selector, all, what) }
}

/// Why a selector selects none of these labels.
fn selected(selector: &Selector, all: &[&Labels], what: &'static str) -> Option<Nobody> {
    if all.iter().any(|labels| selector.matches(labels)) {
        return None;
    }
    let missed = selector.requirements().find(|one| !all.iter().any(|labels| one.matches(labels)));
    let (text, key) = match missed {
        Some(one) => (blame_among(one, all, what, one.key(), what), Some(one.key().to_owned())),
        None => (format!("each of its labels exists, but no {what} has all of {selector}"), None),
    };
    Some(Nobody { what, text, key, within: &[] })
}
