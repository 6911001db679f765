//! Who is at the other end, of rules in either direction.

use std::collections::BTreeSet;

use ipnet::IpNet;
use policy::{Choice, Entity, Owner, Peer, Reference};

use super::cilium::{Scope, known};
use super::path::{Path, Problem, Refused};
use super::selectors;
use crate::rule::{CidrRule, EgressPeers, FqdnSelector, IngressPeers, LabelSelector, ServicePeer};

/// The fields of peers in both directions, with the names under which they were written.
pub(super) struct Peers<'a> {
    names: &'static Names,
    endpoints: Option<&'a [LabelSelector]>,
    requires: bool,
    cidr: Option<&'a [String]>,
    cidr_set: Option<&'a [CidrRule]>,
    entities: Option<&'a [String]>,
    nodes: Option<&'a [LabelSelector]>,
    services: Option<&'a [ServicePeer]>,
    /// Fields that are not supported yet: how many items, name, and what it is.
    others: Vec<(Option<usize>, &'static str, &'static str)>,
}

struct Names {
    endpoints: &'static str,
    requires: &'static str,
    cidr: &'static str,
    cidr_set: &'static str,
    entities: &'static str,
    nodes: &'static str,
}

const INGRESS: Names = Names {
    endpoints: "fromEndpoints",
    requires: "fromRequires",
    cidr: "fromCIDR",
    cidr_set: "fromCIDRSet",
    entities: "fromEntities",
    nodes: "fromNodes",
};

const EGRESS: Names = Names {
    endpoints: "toEndpoints",
    requires: "toRequires",
    cidr: "toCIDR",
    cidr_set: "toCIDRSet",
    entities: "toEntities",
    nodes: "toNodes",
};

impl<'a> Peers<'a> {
    pub(super) fn of_ingress(peers: &'a IngressPeers) -> Self {
        Self {
            names: &INGRESS,
            endpoints: peers.endpoints.as_deref(),
            requires: peers.requires.is_some(),
            cidr: peers.cidr.as_deref(),
            cidr_set: peers.cidr_set.as_deref(),
            entities: peers.entities.as_deref(),
            nodes: peers.nodes.as_deref(),
            services: None,
            others: vec![(len(&peers.groups), "fromGroups", "a cloud provider's group as a peer")],
        }
    }

    pub(super) fn of_egress(peers: &'a EgressPeers) -> Self {
        Self {
            names: &EGRESS,
            endpoints: peers.endpoints.as_deref(),
            requires: peers.requires.is_some(),
            cidr: peers.cidr.as_deref(),
            cidr_set: peers.cidr_set.as_deref(),
            entities: peers.entities.as_deref(),
            nodes: peers.nodes.as_deref(),
            services: peers.services.as_deref(),
            others: vec![(len(&peers.groups), "toGroups", "a cloud provider's group as a peer")],
        }
    }

    /// DNS names stand beside the other peers, and for allowed traffic only.
    pub(super) fn with_names(mut self, names: Option<&[FqdnSelector]>) -> Self {
        self.others.push((names.map(<[_]>::len), "toFQDNs", "a DNS name as a peer"));
        self
    }

    /// The peers that are meant: nothing when the rule does not speak of peers, an empty list when it means nobody.
    pub(super) fn convert(&self, scope: &Scope<'_>, path: &Path<'_>) -> Result<Option<Vec<Peer>>, Refused> {
        if self.requires {
            let feature = "a requirement on peers (deprecated by Cilium)";
            return Err(path.key(self.names.requires).refuse(Problem::Unsupported { feature }));
        }
        let present = self.present();
        let mut filled = present.iter().filter(|(count, _)| *count > 0).map(|(_, name)| *name);
        if let (Some(first), Some(second)) = (filled.next(), filled.next()) {
            return Err(path.refuse(Problem::Combined { first, second }));
        }
        if let Some((_, name, feature)) =
            self.others.iter().find(|(count, ..)| count.is_some_and(|count| count > 0))
        {
            return Err(path.key(name).refuse(Problem::Unsupported { feature }));
        }
        if present.is_empty() {
            return Ok(None);
        }
        let peers = self.all(scope, path)?;
        // One empty list among them means nobody, whatever the others say.
        let nobody = present.iter().any(|(count, _)| *count == 0);
        Ok(Some(if nobody { Vec::new() } else { peers }))
    }

    /// The fields that are there, with the number of their items.
    fn present(&self) -> Vec<(usize, &'static str)> {
        let own = [
            (self.endpoints.map(<[_]>::len), self.names.endpoints),
            (self.cidr.map(<[_]>::len), self.names.cidr),
            (self.cidr_set.map(<[_]>::len), self.names.cidr_set),
            (self.entities.map(<[_]>::len), self.names.entities),
            (self.nodes.map(<[_]>::len), self.names.nodes),
            (self.services.map(<[_]>::len), "toServices"),
        ];
        let others = self.others.iter().map(|(count, name, _)| (*count, *name));
        own.into_iter().chain(others).filter_map(|(count, name)| Some((count?, name))).collect()
    }

    fn all(&self, scope: &Scope<'_>, path: &Path<'_>) -> Result<Vec<Peer>, Refused> {
        let mut peers = Vec::new();
        let list = path.key(self.names.endpoints);
        for (index, selector) in self.endpoints.into_iter().flatten().enumerate() {
            peers.push(Peer::Endpoints(selectors::peer(selector, scope, &list.index(index))?));
        }
        let list = path.key(self.names.cidr);
        for (index, text) in self.cidr.into_iter().flatten().enumerate() {
            let prefix = prefix(text, &list.index(index))?;
            peers.push(Peer::Cidr { prefix, except: BTreeSet::new(), owner: Owner::Outside });
        }
        let list = path.key(self.names.cidr_set);
        for (index, set) in self.cidr_set.into_iter().flatten().enumerate() {
            peers.push(cidr_rule(set, &list.index(index))?);
        }
        let list = path.key(self.names.entities);
        for (index, name) in self.entities.into_iter().flatten().enumerate() {
            let unknown = || list.index(index).refuse(Problem::Entity { name: name.clone() });
            peers.push(Peer::Entity(Entity::by_name(name).ok_or_else(unknown)?));
        }
        let list = path.key(self.names.nodes);
        for (index, selector) in self.nodes.into_iter().flatten().enumerate() {
            let selector = selectors::plain(selector, &list.index(index))?;
            peers.push(Peer::Listed(Reference::Nodes(selector)));
        }
        let list = path.key("toServices");
        for (index, service) in self.services.into_iter().flatten().enumerate() {
            peers.push(Peer::Listed(service_peer(service, &list.index(index))?));
        }
        Ok(peers)
    }
}

fn len<T>(list: &Option<Vec<T>>) -> Option<usize> {
    list.as_ref().map(Vec::len)
}

fn cidr_rule(set: &CidrRule, path: &Path<'_>) -> Result<Peer, Refused> {
    known(&set.unknown, path)?;
    let which = match (&set.cidr, &set.cidr_group_ref, &set.cidr_group_selector) {
        (Some(cidr), None, None) => return block(cidr, &set.except, Owner::Outside, path),
        (None, Some(name), None) if !name.is_empty() => Choice::Named(name.clone()),
        (None, None, Some(selector)) => {
            Choice::Labelled(selectors::plain(selector, &path.key("cidrGroupSelector"))?)
        }
        _ => return Err(path.refuse(Problem::CidrChoice)),
    };
    let list = path.key("except");
    let except = set.except.iter().enumerate().map(|(index, text)| prefix(text, &list.index(index)));
    Ok(Peer::Listed(Reference::Groups { which, except: except.collect::<Result<_, _>>()? }))
}

/// A service without a namespace is meant in all of them.
fn service_peer(service: &ServicePeer, path: &Path<'_>) -> Result<Reference, Refused> {
    let (namespace, which) = match (&service.k8s_service, &service.k8s_service_selector) {
        (Some(service), None) if !service.service_name.is_empty() => {
            (&service.namespace, Choice::Named(service.service_name.clone()))
        }
        (None, Some(wanted)) => {
            let path = path.key("k8sServiceSelector");
            (&wanted.namespace, Choice::Labelled(selectors::plain(&wanted.selector, &path.key("selector"))?))
        }
        _ => return Err(path.refuse(Problem::ServiceChoice)),
    };
    Ok(Reference::Services { namespace: Some(namespace.clone()).filter(|name| !name.is_empty()), which })
}

/// A block with its exceptions, each of which must lie inside.
pub(super) fn block(cidr: &str, except: &[String], owner: Owner, path: &Path<'_>) -> Result<Peer, Refused> {
    let block = prefix(cidr, &path.key("cidr"))?;
    let list = path.key("except");
    let mut holes = BTreeSet::new();
    for (index, text) in except.iter().enumerate() {
        let path = list.index(index);
        let hole = prefix(text, &path)?;
        if !block.contains(&hole) {
            let (except, cidr) = (hole.to_string(), block.to_string());
            return Err(path.refuse(Problem::ExceptOutside { except, cidr }));
        }
        holes.insert(hole);
    }
    Ok(Peer::Cidr { prefix: block, except: holes, owner })
}

/// A prefix, or a lone address, without its host bits.
pub(super) fn prefix(text: &str, path: &Path<'_>) -> Result<IpNet, Refused> {
    block_of(text).ok_or_else(|| path.refuse(Problem::Cidr { text: text.to_owned() }))
}

/// The same of a text that stands nowhere.
pub(crate) fn block_of(text: &str) -> Option<IpNet> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse().map(types::prefix::host));
    parsed.map(types::prefix::canonical).ok()
}
