//! Which identities match which peers, kept up to date one identity at a time.

use crate::engine::{Families, IdentityInfo};
use crate::index::{Anchor, AnchorIndex, Postings};
use crate::rule::{Entity, NamedPorts, Peer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use types::{IpNet, Labels, NumericIdentity, Source, key, prefix};

/// A peer that rules use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SelectorId(u32);

/// Peers, identities, and who matches whom.
#[derive(Debug)]
pub(crate) struct SelectorCache {
    world: World,
    identities: BTreeMap<NumericIdentity, Identity>,
    postings: Postings<NumericIdentity>,
    by_prefix: BTreeMap<IpNet, BTreeSet<NumericIdentity>>,
    selectors: BTreeMap<SelectorId, Selected>,
    by_peer: HashMap<Peer, SelectorId>,
    anchors: AnchorIndex<SelectorId>,
    cidrs: HashMap<IpNet, BTreeSet<SelectorId>>,
    next: u32,
}

/// What is the same for all questions.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) families: Families,
    pub(crate) cluster: String,
}

/// An identity and what is derived from it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) labels: Labels,
    pub(crate) named_ports: NamedPorts,
    /// The addresses it stands for, if it is no pod and no node.
    prefixes: Vec<IpNet>,
    /// The peers it matches, sorted.
    pub(crate) selectors: Vec<SelectorId>,
}

/// A peer and the identities that match it.
#[derive(Debug)]
struct Selected {
    peer: Peer,
    members: BTreeSet<NumericIdentity>,
    references: usize,
}

/// What a change of one identity meant.
#[derive(Debug)]
pub(crate) struct IdentityChange {
    /// Peers whose members changed; all of its peers if its named ports did.
    pub(crate) selectors: Vec<SelectorId>,
    /// Whether the ports it names changed.
    pub(crate) named_ports: bool,
}

impl SelectorCache {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            identities: BTreeMap::new(),
            postings: Postings::default(),
            by_prefix: BTreeMap::new(),
            selectors: BTreeMap::new(),
            by_peer: HashMap::new(),
            anchors: AnchorIndex::default(),
            cidrs: HashMap::new(),
            next: 0,
        }
    }

    /// The number of a peer, one reference more. The peer is in [`normal`] form.
    pub(crate) fn acquire(&mut self, peer: Peer) -> SelectorId {
        if let Some(id) = self.by_peer.get(&peer)
            && let Some(selected) = self.selectors.get_mut(id)
        {
            selected.references += 1;
            return *id;
        }
        let id = SelectorId(self.next);
        self.next += 1;
        let members = self.members_of(&peer);
        for member in &members {
            if let Some(identity) = self.identities.get_mut(member) {
                // Numbers only grow, so the list stays sorted.
                identity.selectors.push(id);
            }
        }
        match &peer {
            Peer::Cidr { prefix, .. } => {
                self.cidrs.entry(*prefix).or_default().insert(id);
            }
            _ => self.anchors.insert(id, self.anchors_of(&peer)),
        }
        self.by_peer.insert(peer.clone(), id);
        self.selectors.insert(id, Selected { peer, members, references: 1 });
        id
    }

    /// One reference less; a peer without any is forgotten.
    pub(crate) fn release(&mut self, id: SelectorId) {
        let Some(selected) = self.selectors.get_mut(&id) else { return };
        selected.references -= 1;
        if selected.references > 0 {
            return;
        }
        let Some(selected) = self.selectors.remove(&id) else { return };
        for member in &selected.members {
            if let Some(identity) = self.identities.get_mut(member) {
                identity.selectors.retain(|selector| *selector != id);
            }
        }
        if let Peer::Cidr { prefix, .. } = &selected.peer
            && let Some(ids) = self.cidrs.get_mut(prefix)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.cidrs.remove(prefix);
            }
        }
        self.anchors.remove(id);
        self.by_peer.remove(&selected.peer);
    }

    /// Learns, changes or forgets an identity. Looks only at peers that share a label or contain its prefix.
    pub(crate) fn set_identity(&mut self, id: NumericIdentity, info: Option<IdentityInfo>) -> IdentityChange {
        let old = self.identities.remove(&id);
        if let Some(old) = &old {
            self.postings.remove(id, &old.labels);
            for net in &old.prefixes {
                if let Some(ids) = self.by_prefix.get_mut(net) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.by_prefix.remove(net);
                    }
                }
            }
        }
        let new = info.map(|info| self.identity(info));
        if let Some(new) = &new {
            self.postings.insert(id, &new.labels);
            for net in &new.prefixes {
                self.by_prefix.entry(*net).or_default().insert(id);
            }
        }
        let empty = NamedPorts::new();
        let before = old.as_ref().map_or(&[][..], |old| &old.selectors);
        let after = new.as_ref().map_or(&[][..], |new| &new.selectors);
        let (lost, gained) = (missing(before, after), missing(after, before));
        for selector in &lost {
            self.selectors.get_mut(selector).map(|selected| selected.members.remove(&id));
        }
        for selector in &gained {
            self.selectors.get_mut(selector).map(|selected| selected.members.insert(id));
        }
        let ports =
            |identity: &Option<Identity>| identity.as_ref().map_or(empty.clone(), |i| i.named_ports.clone());
        let named_ports = ports(&old) != ports(&new);
        let mut selectors = if named_ports { [before, after].concat() } else { [lost, gained].concat() };
        selectors.sort_unstable();
        selectors.dedup();
        if let Some(new) = new {
            self.identities.insert(id, new);
        }
        IdentityChange { selectors, named_ports }
    }

    pub(crate) fn identity_of(&self, id: NumericIdentity) -> Option<&Identity> {
        self.identities.get(&id)
    }

    pub(crate) fn identities(&self) -> impl Iterator<Item = (NumericIdentity, &Identity)> {
        self.identities.iter().map(|(id, identity)| (*id, identity))
    }

    /// The identities that match a peer.
    pub(crate) fn members(&self, id: SelectorId) -> impl Iterator<Item = NumericIdentity> {
        self.selectors.get(&id).into_iter().flat_map(|selected| selected.members.iter().copied())
    }

    /// Whether an identity matches a peer.
    pub(crate) fn is_member(&self, selector: SelectorId, id: NumericIdentity) -> bool {
        self.selectors.get(&selector).is_some_and(|selected| selected.members.contains(&id))
    }

    /// Every peer with the number of its references and its members.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = (&Peer, usize, &BTreeSet<NumericIdentity>)> {
        self.selectors.values().map(|selected| (&selected.peer, selected.references, &selected.members))
    }

    /// Whether no peer is known, and no identity remembers one.
    #[cfg(test)]
    pub(crate) fn has_no_peers(&self) -> bool {
        let forgotten = self.identities.values().all(|identity| identity.selectors.is_empty());
        self.selectors.is_empty()
            && self.by_peer.is_empty()
            && self.anchors.is_empty()
            && self.cidrs.is_empty()
            && forgotten
    }

    fn identity(&self, info: IdentityInfo) -> Identity {
        let prefixes = self.world.prefixes_of(&info.labels);
        let mut identity =
            Identity { labels: info.labels, named_ports: info.named_ports, prefixes, selectors: Vec::new() };
        let mut candidates = self.anchors.candidates(&identity.labels);
        for net in &identity.prefixes {
            let wider = (0..=net.prefix_len()).filter_map(|len| IpNet::new(net.addr(), len).ok());
            for wide in wider {
                candidates.extend(self.cidrs.get(&wide.trunc()).into_iter().flatten());
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|id| {
            self.selectors
                .get(id)
                .is_some_and(|s| self.world.matches(&s.peer, &identity.labels, &identity.prefixes))
        });
        identity.selectors = candidates;
        identity
    }

    fn members_of(&self, peer: &Peer) -> BTreeSet<NumericIdentity> {
        let candidates: BTreeSet<NumericIdentity> = match peer {
            Peer::Cidr { prefix, .. } => {
                let last = IpNet::from(prefix.broadcast());
                // Ordered by address, then length: what lies inside comes after the prefix itself.
                self.by_prefix.range(*prefix..=last).flat_map(|(_, ids)| ids.iter().copied()).collect()
            }
            _ => match self.postings.candidates(&self.anchors_of(peer)) {
                Some(candidates) => candidates,
                None => self.identities.keys().copied().collect(),
            },
        };
        let fits = |id: &NumericIdentity| {
            self.identities.get(id).is_some_and(|i| self.world.matches(peer, &i.labels, &i.prefixes))
        };
        candidates.into_iter().filter(fits).collect()
    }

    fn anchors_of(&self, peer: &Peer) -> Vec<Vec<Anchor>> {
        match peer {
            Peer::Endpoints(selector) => Anchor::of_selector(selector),
            Peer::Nodes(_) => vec![vec![Anchor::Key("host".into()), Anchor::Key("remote-node".into())]],
            Peer::Entity(Entity::All) | Peer::All | Peer::Cidr { .. } | Peer::Listed(_) => Vec::new(),
            Peer::Entity(entity) => {
                let mut anchors: Vec<Anchor> =
                    entity.reserved().iter().map(|name| Anchor::Key((*name).into())).collect();
                if *entity == Entity::Cluster {
                    anchors.push(Anchor::Value(key::CLUSTER.into(), self.world.cluster.as_str().into()));
                }
                vec![anchors]
            }
        }
    }
}

impl World {
    /// Whether an identity with these labels, which stand for these addresses, is what `peer` means.
    fn matches(&self, peer: &Peer, labels: &Labels, prefixes: &[IpNet]) -> bool {
        match peer {
            Peer::All | Peer::Entity(Entity::All) => true,
            Peer::Endpoints(selector) => {
                let named = |source| selector.requires_source(source);
                let pod = !OUTSIDE.iter().any(|source| labels.has_source(source));
                (pod || OUTSIDE.iter().any(named)) && selector.matches(labels)
            }
            Peer::Nodes(selector) => {
                (labels.has_reserved("host") || labels.has_reserved("remote-node"))
                    && selector.matches(labels)
            }
            Peer::Entity(Entity::WorldIpv4) => {
                is_world(labels) && prefixes.iter().any(|net| net.addr().is_ipv4())
            }
            Peer::Entity(Entity::WorldIpv6) => {
                is_world(labels) && prefixes.iter().any(|net| net.addr().is_ipv6())
            }
            Peer::Entity(entity) => {
                entity.reserved().iter().any(|name| labels.has_reserved(name))
                    || *entity == Entity::Cluster
                        && labels.get(&Source::K8s, key::CLUSTER) == Some(self.cluster.as_str())
            }
            Peer::Cidr { prefix, except, .. } => {
                let inside =
                    |net: &IpNet| prefix.contains(net) && !except.iter().any(|hole| hole.contains(net));
                prefixes.iter().any(inside)
            }
            Peer::Listed(_) => false,
        }
    }

    /// The addresses that labels stand for: those of `cidr:` labels, or the whole world of a family. Pods and nodes have
    /// none, so that no prefix ever matches them.
    fn prefixes_of(&self, labels: &Labels) -> Vec<IpNet> {
        let named: Vec<IpNet> = labels.prefixes().collect();
        if !named.is_empty() {
            return named;
        }
        let all_v4 = || IpNet::V4(Default::default());
        let all_v6 = || IpNet::V6(Default::default());
        let mut nets = Vec::new();
        if labels.has_reserved("world-ipv4") || labels.has_reserved("world") && self.families == Families::V4
        {
            nets.push(all_v4());
        }
        if labels.has_reserved("world-ipv6") || labels.has_reserved("world") && self.families == Families::V6
        {
            nets.push(all_v6());
        }
        nets
    }
}

/// Sources of labels that pods do not have.
const OUTSIDE: [Source; 4] = [Source::Reserved, Source::Cidr, Source::CidrGroup, Source::Fqdn];

impl Entity {
    /// Reserved labels of which its members have one.
    fn reserved(self) -> &'static [&'static str] {
        match self {
            Entity::All | Entity::None => &[],
            Entity::World => &["world", "world-ipv4", "world-ipv6"],
            Entity::WorldIpv4 => &["world", "world-ipv4"],
            Entity::WorldIpv6 => &["world", "world-ipv6"],
            Entity::Cluster => {
                &["host", "remote-node", "kube-apiserver", "ingress", "init", "health", "unmanaged"]
            }
            Entity::Host => &["host"],
            Entity::RemoteNode => &["remote-node"],
            Entity::KubeApiserver => &["kube-apiserver"],
            Entity::Ingress => &["ingress"],
            Entity::Init => &["init"],
            Entity::Health => &["health"],
            Entity::Unmanaged => &["unmanaged"],
        }
    }
}

/// The one form of a peer that means the same; `None` if nobody is meant.
pub(crate) fn normal(peer: &Peer) -> Option<Peer> {
    match peer {
        Peer::Entity(Entity::All) => Some(Peer::All),
        Peer::Entity(Entity::None) | Peer::Listed(_) => None,
        Peer::Cidr { prefix, except, owner } => Some(Peer::Cidr {
            prefix: prefix::canonical(*prefix),
            except: except.iter().map(|net| prefix::canonical(*net)).collect(),
            owner: *owner,
        }),
        other => Some(other.clone()),
    }
}

fn is_world(labels: &Labels) -> bool {
    Entity::World.reserved().iter().any(|name| labels.has_reserved(name))
}

/// What of `these` is not among `those`; both sorted.
fn missing(these: &[SelectorId], those: &[SelectorId]) -> Vec<SelectorId> {
    these.iter().filter(|id| those.binary_search(id).is_err()).copied().collect()
}
