//! Peers that rules name by other objects: groups of blocks, services, nodes. The engine knows none of these objects; to it
//! such a peer is nobody. Whoever holds them puts the peers that they mean in place first ([`Directory::resolve`]), and again
//! whenever one of them changes.

use crate::rule::{Entity, Owner, Peer, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use types::{IpNet, Label, Labels, Selector, Source, key, prefix};

/// What a rule says of another object. An object that is not there means nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// The blocks of CiliumCIDRGroups.
    Groups {
        /// Which groups.
        which: Choice,
        /// Carved out of each block.
        except: BTreeSet<IpNet>,
    },
    /// The backends of services.
    Services {
        /// Where the services are; `None`: anywhere.
        namespace: Option<String>,
        /// Which services.
        which: Choice,
    },
    /// Nodes, by their labels.
    Nodes(Selector),
}

/// Objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// The one of this name.
    Named(String),
    /// Those with such labels.
    Labelled(Selector),
}

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A named list of blocks (CiliumCIDRGroup).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrGroup {
    /// Its name.
    pub name: String,
    /// Its labels, under the source `cidrgroup`.
    pub labels: Labels,
    /// Its blocks.
    pub blocks: BTreeSet<IpNet>,
}

/// A service, as far as rules name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// Its labels.
    pub labels: Labels,
    /// The pods behind it, by all labels but that of their namespace; empty: its addresses are listed by hand.
    pub selector: BTreeMap<String, String>,
}

/// Addresses listed by hand for a service without a selector (an EndpointSlice).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    /// Its own name.
    pub name: ObjectName,
    /// Name of the service, in the same namespace.
    pub service: String,
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
}

/// A node, as far as rules name it.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its labels, the reserved one (`host`, `remote-node`) among them.
    pub labels: Labels,
    /// It is this node.
    pub own: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Whose addresses `fromCIDR` and its like mean beside those outside of the cluster (`policyCIDRMatchMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CidrMatch {
    /// Nodes'.
    pub nodes: bool,
    /// Pods'.
    pub pods: bool,
}

/// Everything that references are resolved by.
#[derive(Clone, Copy, Debug)]
pub struct Directory<'a> {
    /// Groups by name.
    pub groups: &'a BTreeMap<String, CidrGroup>,
    /// Services by name.
    pub services: &'a BTreeMap<ObjectName, Service>,
    /// Addresses by their own name.
    pub addresses: &'a BTreeMap<ObjectName, AddressList>,
    /// All nodes.
    pub nodes: &'a [NodeFacts],
    /// What blocks mean.
    pub cidr_match: CidrMatch,
}

impl Directory<'_> {
    /// The rules with what the references mean in their place. Number and order of the rules stay; one that names nobody
    /// (any more) fits nothing, but closes what it closed.
    pub fn resolve(&self, rules: &[Rule]) -> Vec<Rule> {
        rules.iter().map(|rule| Rule { peers: self.peers(&rule.peers), ..rule.clone() }).collect()
    }

    /// What one reference means.
    pub fn meaning(&self, reference: &Reference) -> BTreeSet<Peer> {
        match reference {
            Reference::Groups { which, except } => self.groups(which, except),
            Reference::Services { namespace, which } => self.services(namespace.as_deref(), which),
            Reference::Nodes(selector) => self.nodes(selector),
        }
    }

    fn peers(&self, peers: &[Peer]) -> Vec<Peer> {
        let mut resolved = Vec::with_capacity(peers.len());
        for peer in peers {
            match peer {
                Peer::Listed(reference) => resolved.extend(self.meaning(reference)),
                Peer::Cidr { prefix, except, owner: Owner::Outside } => {
                    resolved.push(self.block(*prefix, except.clone()));
                }
                other => resolved.push(other.clone()),
            }
        }
        resolved
    }

    fn block(&self, prefix: IpNet, except: BTreeSet<IpNet>) -> Peer {
        Peer::Cidr { prefix, except, owner: self.cidr_match.owner() }
    }

    fn groups(&self, which: &Choice, except: &BTreeSet<IpNet>) -> BTreeSet<Peer> {
        let one = |name: &String| self.groups.get(name).into_iter().collect::<Vec<_>>();
        let groups = match which {
            Choice::Named(name) => one(name),
            Choice::Labelled(selector) => {
                self.groups.values().filter(|group| selector.matches(&group.labels)).collect()
            }
        };
        let blocks = groups.into_iter().flat_map(|group| &group.blocks);
        blocks
            .map(|block| {
                let inside = except.iter().filter(|hole| block.contains(*hole) || hole.contains(block));
                self.block(*block, inside.copied().collect())
            })
            .collect()
    }

    fn services(&self, namespace: Option<&str>, which: &Choice) -> BTreeSet<Peer> {
        let inside =
            |service: &&Service| namespace.is_none_or(|namespace| service.name.namespace == namespace);
        let fits = |service: &&Service| match which {
            Choice::Named(name) => service.name.name == *name,
            Choice::Labelled(selector) => selector.matches(&service.labels),
        };
        let found: Vec<&Service> = match (namespace, which) {
            (Some(namespace), Choice::Named(name)) => {
                let name = ObjectName { namespace: namespace.to_owned(), name: name.clone() };
                self.services.get(&name).into_iter().collect()
            }
            _ => self.services.values().filter(inside).filter(fits).collect(),
        };
        found.into_iter().flat_map(|service| self.backends(service)).collect()
    }

    /// The pods that a service selects; for one that selects none, the addresses that somebody listed.
    fn backends(&self, service: &Service) -> Vec<Peer> {
        if !service.selector.is_empty() {
            let labels = service.selector.iter().map(|(name, value)| Label::k8s(name, value));
            let of_namespace = Label::k8s(key::NAMESPACE, &service.name.namespace);
            let selector =
                labels.chain([of_namespace]).fold(Selector::everything(), |all, one| all.and(&one));
            return vec![Peer::Endpoints(selector)];
        }
        let first = ObjectName { namespace: service.name.namespace.clone(), name: String::new() };
        let lists = self.addresses.range(first..).map(|(_, list)| list);
        let lists = lists.take_while(|list| list.name.namespace == service.name.namespace);
        let lists = lists.filter(|list| list.service == service.name.name);
        let addresses = lists.flat_map(|list| &list.addresses);
        addresses.map(|address| self.block(prefix::host(*address), BTreeSet::new())).collect()
    }

    /// Another node is found by its addresses, where a node has them: its identity says nothing of its labels. So no pod is
    /// ever meant, whatever its labels (CVE-2025-30163).
    fn nodes(&self, selector: &Selector) -> BTreeSet<Peer> {
        let found = self.nodes.iter().filter(|node| selector.matches(&node.labels));
        let peers = found.flat_map(|node| match node.own {
            true => vec![Peer::Entity(Entity::Host)],
            false => node
                .addresses
                .iter()
                .map(|address| Peer::Cidr {
                    prefix: prefix::host(*address),
                    except: BTreeSet::new(),
                    owner: Owner::OutsideOrNode,
                })
                .collect(),
        });
        peers.collect()
    }
}

impl CidrMatch {
    /// With one of the names that `policy-cidr-match-mode` takes, nodes or pods; none for any other.
    pub fn with(self, name: &str) -> Option<Self> {
        match name {
            "nodes" => Some(Self { nodes: true, ..self }),
            "pods" => Some(Self { pods: true, ..self }),
            _ => None,
        }
    }

    fn owner(self) -> Owner {
        match (self.nodes, self.pods) {
            (false, false) => Owner::Outside,
            (true, false) => Owner::OutsideOrNode,
            (false, true) => Owner::OutsideOrPod,
            (true, true) => Owner::Anyone,
        }
    }
}

impl Rule {
    /// What the rule says of other objects.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.peers.iter().filter_map(|peer| match peer {
            Peer::Listed(reference) => Some(reference),
            _ => None,
        })
    }
}

impl CidrGroup {
    /// The labels that a group has because of its object's.
    pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        pairs.into_iter().map(|(name, value)| Label::new(Source::CidrGroup, name, value)).collect()
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Named(name) => f.write_str(name),
            Choice::Labelled(selector) => write!(f, "{selector}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Groups { which, except } => {
                write!(f, "blocks of {which}")?;
                for (i, hole) in except.iter().enumerate() {
                    write!(f, "{}{hole}", if i == 0 { " except " } else { "," })?;
                }
                Ok(())
            }
            Reference::Services { namespace: Some(namespace), which } => {
                write!(f, "service {which} of {namespace}")
            }
            Reference::Services { namespace: None, which } => write!(f, "service {which} of any namespace"),
            Reference::Nodes(selector) => write!(f, "nodes labelled {selector}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn name(namespace: &str, name: &str) -> ObjectName {
        ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// What peers are after resolution, as texts.
    fn meaning(directory: &Directory<'_>, reference: Reference) -> Vec<String> {
        directory.meaning(&reference).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_group_is_its_blocks_without_the_exceptions_and_nobody_where_it_is_missing() {
        let group = |name: &str, kind: &str, blocks: &[&str]| CidrGroup {
            name: name.to_owned(),
            labels: CidrGroup::labels([("kind", kind)]),
            blocks: blocks.iter().map(|block| net(block)).collect(),
        };
        let groups = [group("a", "bad", &["10.0.0.0/8", "fd00::/8"]), group("b", "bad", &["192.0.2.0/24"])];
        let groups = groups.into_iter().map(|group| (group.name.clone(), group)).collect();
        let (services, addresses) = (BTreeMap::new(), BTreeMap::new());
        let directory = Directory {
            groups: &groups,
            services: &services,
            addresses: &addresses,
            nodes: &[],
            cidr_match: CidrMatch::default(),
        };
        let named = |name: &str| Reference::Groups {
            which: Choice::Named(name.to_owned()),
            except: [net("10.1.0.0/16")].into(),
        };
        assert_eq!(meaning(&directory, named("a")), ["cidr 10.0.0.0/8 except 10.1.0.0/16", "cidr fd00::/8"]);
        assert_eq!(meaning(&directory, named("c")), [""; 0]);
        let labelled = |value: &str| {
            let none: [(&str, &str, Vec<&str>); 0] = [];
            let selector = Selector::new([("kind", value)], none, &Source::Any).unwrap();
            Reference::Groups { which: Choice::Labelled(selector), except: BTreeSet::new() }
        };
        assert_eq!(meaning(&directory, labelled("bad")).len(), 3);
        assert_eq!(meaning(&directory, labelled("good")), [""; 0]);
        let nodes_too = Directory { cidr_match: CidrMatch { nodes: true, pods: false }, ..directory };
        assert_eq!(meaning(&nodes_too, named("b")), ["cidr or node 192.0.2.0/24"]);
    }

    #[test]
    fn a_service_is_its_pods_or_its_listed_addresses() {
        let service = |namespace: &str, own: &str, selector: &[(&str, &str)]| Service {
            name: name(namespace, own),
            labels: Labels::none(),
            selector: selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let services =
            [service("n", "db", &[("app", "db")]), service("n", "out", &[]), service("m", "out", &[])];
        let services: BTreeMap<_, _> = services.into_iter().map(|one| (one.name.clone(), one)).collect();
        let list = |namespace: &str, own: &str, service: &str, address: &str| AddressList {
            name: name(namespace, own),
            service: service.to_owned(),
            addresses: [address.parse().unwrap()].into(),
        };
        let lists = [
            list("n", "x", "out", "192.0.2.1"),
            list("m", "x", "out", "192.0.2.2"),
            list("n", "y", "db", "192.0.2.3"),
        ];
        let addresses: BTreeMap<_, _> = lists.into_iter().map(|one| (one.name.clone(), one)).collect();
        let groups = BTreeMap::new();
        let directory = Directory {
            groups: &groups,
            services: &services,
            addresses: &addresses,
            nodes: &[],
            cidr_match: CidrMatch::default(),
        };
        let of = |namespace: Option<&str>, name: &str| Reference::Services {
            namespace: namespace.map(str::to_owned),
            which: Choice::Named(name.to_owned()),
        };
        let pods = ["endpoints k8s:app=db,k8s:io.kubernetes.pod.namespace=n"];
        assert_eq!(meaning(&directory, of(Some("n"), "db")), pods);
        assert_eq!(meaning(&directory, of(Some("n"), "out")), ["cidr 192.0.2.1/32"]);
        assert_eq!(meaning(&directory, of(None, "out")), ["cidr 192.0.2.1/32", "cidr 192.0.2.2/32"]);
        assert_eq!(meaning(&directory, of(Some("m"), "db")), [""; 0]);
    }
}
