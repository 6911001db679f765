//! Kubernetes objects coming in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use abi::Identity;
use abi::identity::{
    CLUSTER_MAX, CLUSTER_MIN, HEALTH, HOST, INGRESS, INIT, KUBE_APISERVER, REMOTE_NODE, UNKNOWN, UNMANAGED,
};
use ipnet::IpNet;
use policy::{Direction, IdentityInfo, NamedPorts, Peer, PortRule, Reference, Rule, Tier, Verdict};
use types::{Label, Labels, NumericIdentity, PolicyKind, Source as LabelSource};

use super::{PolicyObject, State};
use crate::ipcache::{Claim, Source};
use crate::model::{Change, ClusterIdentity, NamedPort, Namespace, Node, Pod, PodKey, RemoteEndpoint};
use crate::objects::Condition;
use crate::update::Effect;

/// What a node says of addresses and prefixes.
#[derive(Default)]
struct NodeClaims {
    addresses: Vec<(IpAddr, Claim)>,
    prefixes: Vec<(IpNet, Claim)>,
}

impl State {
    pub(super) fn change_pods(&mut self, change: Change<Pod>) {
        let touched = self.pods.change(change);
        self.dirty_untracked |= !touched.is_empty();
        let of_pods = self.endpoints.values().filter(|e| touched.contains(&e.spec.pod));
        self.dirty_endpoints.extend(of_pods.map(|e| e.spec.id));
    }

    pub(super) fn change_namespaces(&mut self, change: Change<Namespace>) {
        let touched = self.namespaces.change(change);
        let told = touched.iter().filter_map(|name| self.namespaces.get(name)?.refused.clone());
        self.problems.extend(told);
        let inside = self.endpoints.values().filter(|e| touched.contains(&e.spec.pod.namespace));
        self.dirty_endpoints.extend(inside.map(|e| e.spec.id));
    }

    pub(super) fn change_nodes(&mut self, change: Change<Node>, now: u64) {
        let touched = self.nodes.change(change);
        for name in &touched {
            let NodeClaims { addresses, prefixes } = match self.nodes.get(name) {
                Some(node) if *name != self.settings.node.name => self.claims_of(node),
                _ => NodeClaims::default(),
            };
            for (address, claim) in self.node_claims.set(name, addresses) {
                self.ipcache.claim(address, Source::Node, claim);
            }
            for (prefix, claim) in self.prefix_claims.set(name, prefixes) {
                self.ipcache.set_pod_cidr(prefix, claim);
            }
        }
        if !touched.is_empty() {
            self.dirty_routes = true;
            self.place_api_servers(now);
            self.nodes_changed(now);
        }
    }

    /// Another node: its own addresses are reached as they are, its router and its pods through it.
    fn claims_of(&self, node: &Node) -> NodeClaims {
        // One family for all tunnels of a node, whatever travels inside: receivers check whom a packet came from.
        let behind = node.primary();
        let own = node.underlay.iter().map(|a| (*a, Claim { identity: REMOTE_NODE, node: None }));
        let routers = node.routers.iter().map(|a| (*a, Claim { identity: REMOTE_NODE, node: behind }));
        let prefixes = node.pod_cidrs.iter().filter(|p| !self.settings.node.pod_cidrs.contains(p)).map(|p| {
            let identity = self.settings.world_identity(p.addr());
            (*p, Claim { identity, node: behind })
        });
        NodeClaims { addresses: own.chain(routers).collect(), prefixes: prefixes.collect() }
    }

    pub(super) fn change_remote(&mut self, change: Change<RemoteEndpoint>) {
        let touched = self.remote.change(change);
        self.place_remote(&touched);
    }

    /// Gives the addresses of other nodes' pods their identities. One that is not known yet gives none: no policy would
    /// know whom it lets through.
    fn place_remote(&mut self, touched: &BTreeSet<PodKey>) {
        for key in touched {
            // This node knows its own pods better than any object.
            let mine = |e: &&RemoteEndpoint| e.node.is_none_or(|n| self.settings.node.underlay.contains(&n));
            let remote = self.remote.get(key).filter(|e| !mine(e) && e.identity != UNKNOWN).cloned();
            self.remote_users.set(key, remote.as_ref().map(|e| e.identity));
            let remote = remote.filter(|e| self.is_known(e.identity));
            let claims = remote.as_ref().map_or_else(Vec::new, |e| {
                e.addresses.iter().map(|a| (*a, Claim { identity: e.identity, node: e.node })).collect()
            });
            for (address, claim) in self.pod_claims.set(key, claims) {
                self.ipcache.claim(address, Source::Pod, claim);
            }
            let (identity, ports) = remote.map_or((UNKNOWN, Vec::new()), |e| (e.identity, e.named_ports));
            // The names of an own pod's ports come from its specification.
            if !self.endpoints.values().any(|e| e.spec.pod == *key) {
                self.set_ports(key, identity, ports);
            }
            // Somebody removed the object of a pod that lives on: without it other nodes take the pod for the world.
            let lives = self.pods.get(key).is_some_and(|pod| !pod.finished);
            if lives && self.remote.get(key).is_none() {
                self.objects.touch(key);
            }
        }
    }

    pub(super) fn change_identities(&mut self, change: Change<ClusterIdentity>) {
        let mut touched = self.identities.change(change);
        // No object says what the other numbers mean.
        touched.retain(|number| (CLUSTER_MIN..=CLUSTER_MAX).contains(number));
        let mut changes = BTreeMap::new();
        for number in &touched {
            let number = *number;
            let labels = self.identities.get(&number).and_then(labels_of_pods);
            match labels {
                Some(labels) => {
                    self.cluster.insert(number, labels.clone());
                    changes.insert(number, Some(labels));
                }
                None => self.lose_identity(number, &mut changes),
            }
        }
        // Somebody's labels may have a number now, or a better one.
        self.dirty_endpoints.extend(self.endpoints.keys());
        self.tell_identities(changes);
        let users = touched.iter().flat_map(|number| self.remote_users.of(*number)).cloned().collect();
        self.place_remote(&users);
    }

    /// Whether another node's pod can have this identity, and policies know whom it stands for.
    fn is_known(&self, identity: Identity) -> bool {
        may_be_a_pods(identity) && self.labels_of(identity).is_some()
    }

    /// An identity object is gone. While a pod of this node has the number, it is asked for again, and still known.
    fn lose_identity(&mut self, number: Identity, changes: &mut BTreeMap<Identity, Option<Labels>>) {
        let labels = self.cluster.remove(number);
        if self.endpoints.values().any(|e| e.identity == number) {
            if let Some(labels) = labels {
                self.cluster.insert(number, labels.clone());
                self.effects.push(Effect::CreateIdentity { number, labels });
            }
        } else {
            changes.insert(number, None);
        }
    }

    pub(super) fn change_policies(&mut self, kind: PolicyKind, change: Change<PolicyObject>, now: u64) {
        let store = self.policies.entry(kind).or_default();
        let before: BTreeMap<PodKey, types::PolicyOrigin> = match &change {
            Change::Apply(object) => [crate::Keyed::key(object)].into_iter().collect::<BTreeSet<_>>(),
            Change::Delete(key) => [key.clone()].into(),
            Change::Reset(_) => store.iter().map(crate::Keyed::key).collect(),
        }
        .into_iter()
        .filter_map(|key| store.get(&key).map(|object| (key, object.origin.clone())))
        .collect();
        let touched = store.change(change);
        for key in touched {
            let object = self.policies.get(&kind).and_then(|store| store.get(&key)).cloned();
            if let Some(old) = before.get(&key)
                && object.as_ref().is_none_or(|o| o.origin != *old)
            {
                self.lift(old, now);
                self.conditions.remove(old);
                self.closed.remove(old);
                self.forget_host_rules(old, now);
            }
            if let Some(object) = object.map(|object| self.checked(object)) {
                // What cannot be applied opens nothing: the rules before it stay in force, and where there are none, what it
                // is about is closed.
                let held = before.get(&key) == Some(&object.origin) && !self.closed.contains(&object.origin);
                let stays = object.refused.is_some() && held;
                let refused = object.refused.is_some();
                let why =
                    object.refused.as_ref().map(|why| format!("{why}; {}", until_then(stays, &object.rules)));
                if kind == PolicyKind::File {
                    // No object has a status that says so.
                    self.problems.extend(why.clone());
                }
                let rolled_back = None;
                self.conditions.set(object.origin.clone(), Condition { refused: why, rolled_back });
                if stays {
                    continue;
                }
                match refused {
                    true => self.closed.insert(object.origin.clone()),
                    false => self.closed.remove(&object.origin),
                };
                if kind == PolicyKind::Ccnp && self.settings.host_firewall != 0 {
                    self.apply_guarded(&object, now);
                    continue;
                }
                self.enforce(object.origin, object.rules, now);
            }
        }
    }

    /// A policy that names nodes by their labels, where these do not count, is refused.
    fn checked(&self, mut object: PolicyObject) -> PolicyObject {
        let by_node = |rule: &Rule| rule.references().any(|one| matches!(one, Reference::Nodes(_)));
        if !self.settings.node_selectors && object.rules.iter().any(by_node) {
            let tiered = object.origin.kind == PolicyKind::Cluster;
            let what = if tiered { "nodes with labels as peers" } else { "fromNodes and toNodes" };
            object.refused = Some(format!(
                "apply {}: {what} need labels of nodes: set nodeSelectorLabels=true \
                 (enable-node-selector-labels), or remove them",
                object.origin
            ));
            object.rules = match tiered {
                true => object
                    .rules
                    .into_iter()
                    .filter_map(|r| if by_node(&r) { barred(r) } else { Some(r) })
                    .collect(),
                false => closing(&object.rules),
            };
        }
        object
    }

    pub(super) fn set_node_addresses(&mut self, addresses: Vec<IpAddr>) {
        let fixed = self.settings.node.underlay.iter().chain(&self.settings.node.routers).copied();
        let fresh: BTreeSet<IpAddr> = addresses.into_iter().chain(fixed).collect();
        for gone in self.node_addresses.difference(&fresh) {
            self.ipcache.claim(*gone, Source::OwnNode, None);
        }
        for address in &fresh {
            self.ipcache.claim(*address, Source::OwnNode, Some(Claim { identity: HOST, node: None }));
        }
        self.node_addresses = fresh;
    }

    pub(super) fn set_api_servers(&mut self, addresses: Vec<IpAddr>, now: u64) {
        // An empty list is an API server that cannot tell its own address; the old ones are better than none.
        if addresses.is_empty() && self.api_servers.is_some() {
            return;
        }
        let gone = self.api_servers.replace(addresses.clone()).unwrap_or_default();
        for address in gone.iter().filter(|a| !addresses.contains(a)) {
            self.ipcache.claim(*address, Source::ApiServer, None);
        }
        self.place_api_servers(now);
    }

    /// The API server is this node (then `host` is labelled so), other nodes (then they get its identity), or outside
    /// (then its address is a prefix that is labelled so).
    pub(super) fn place_api_servers(&mut self, now: u64) {
        let servers = self.api_servers.clone().unwrap_or_default();
        let here = servers.iter().any(|a| self.node_addresses.contains(a));
        let mut labels: Vec<Label> = vec![Label::reserved("host")];
        if here {
            labels.push(Label::reserved("kube-apiserver"));
        }
        self.tell_identities([(HOST, Some(labels.into_iter().collect()))].into());

        let mut outside = BTreeSet::new();
        for address in servers.iter().filter(|a| !self.node_addresses.contains(a)) {
            let node = self.node_claims.winner(address);
            let claim = node.map(|claim| Claim { identity: KUBE_APISERVER, ..claim });
            self.ipcache.claim(*address, Source::ApiServer, claim);
            if claim.is_none() {
                outside.insert(IpNet::from(*address));
            }
        }
        let before = std::mem::replace(&mut self.outside_servers, outside.clone());
        for prefix in outside.difference(&before) {
            self.acquire_cidr(*prefix);
        }
        for prefix in before.difference(&outside) {
            self.cidrs.release(*prefix, now);
        }
        // Whoever came or went carries other labels now.
        let relabelled: BTreeMap<Identity, Option<Labels>> = outside
            .symmetric_difference(&before)
            .filter_map(|prefix| Some((self.cidrs.number(prefix)?, Some(self.cidr_labels(*prefix)))))
            .collect();
        self.tell_identities(relabelled);
    }

    /// Labels of a prefix that policies (or the API server) name.
    pub(super) fn cidr_labels(&self, prefix: IpNet) -> Labels {
        let labels = Labels::of_cidr(&prefix, self.settings.world(prefix.addr()));
        if self.outside_servers.contains(&prefix) {
            labels.iter().cloned().chain([Label::reserved("kube-apiserver")]).collect()
        } else {
            labels
        }
    }

    /// Tells the policy engine what numbers stand for.
    pub(super) fn tell_identities(&mut self, changes: BTreeMap<Identity, Option<Labels>>) {
        if changes.is_empty() {
            return;
        }
        let changes = changes
            .into_iter()
            .map(|(number, labels)| {
                let named_ports = self.named_ports(number);
                (NumericIdentity(number), labels.map(|labels| IdentityInfo { labels, named_ports }))
            })
            .collect();
        let update = self.engine.set_identities(changes);
        // Identities never change which prefixes rules name, so no time is needed.
        self.take(update, 0);
    }

    /// Notes the ports that a pod names, under its identity (0: none any more).
    pub(super) fn set_ports(&mut self, pod: &PodKey, identity: Identity, ports: Vec<NamedPort>) {
        let mut touched = BTreeSet::new();
        let mut known = false;
        for (number, pods) in &mut self.ports {
            match pods.get(pod) {
                Some(held) if *number == identity && *held == ports => known = true,
                Some(_) => {
                    pods.remove(pod);
                    touched.insert(*number);
                }
                None => {}
            }
        }
        self.ports.retain(|_, pods| !pods.is_empty());
        if !known && identity != UNKNOWN && !ports.is_empty() {
            self.ports.entry(identity).or_default().insert(pod.clone(), ports);
            touched.insert(identity);
        }
        let labelled = touched.into_iter().filter_map(|n| Some((n, Some(self.labels_of(n)?)))).collect();
        self.tell_identities(labelled);
    }

    fn named_ports(&self, identity: Identity) -> NamedPorts {
        let mut named = NamedPorts::new();
        for port in self.ports.get(&identity).into_iter().flat_map(BTreeMap::values).flatten() {
            named.entry(port.name.clone()).or_default().insert((port.protocol, port.port));
        }
        named
    }
}

/// Rules that close what `rules` are about.
fn closing(rules: &[Rule]) -> Vec<Rule> {
    let closes = rules.iter().filter(|rule| rule.default_deny || rule.verdict == Verdict::Deny);
    let mut closing: Vec<Rule> = Vec::new();
    for rule in closes {
        let rule = Rule {
            audit: rule.audit,
            peers: Vec::new(),
            ports: Vec::new(),
            ..Rule::allow(rule.subject.clone(), rule.direction)
        };
        if !closing.contains(&rule) {
            closing.push(rule);
        }
    }
    closing
}

/// Whether a pod can have this identity. No other node can tell that one is the host, a node, or the world.
fn may_be_a_pods(identity: Identity) -> bool {
    (CLUSTER_MIN..=CLUSTER_MAX).contains(&identity) || [UNMANAGED, HEALTH, INIT, INGRESS].contains(&identity)
}

/// The labels that an identity object gives its number; `None` if pods cannot have such labels: an object that passes for
/// the host or for a prefix is as good as none.
fn labels_of_pods(object: &ClusterIdentity) -> Option<Labels> {
    let labels = object.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let labels = Labels::from_security_labels(labels).ok()?;
    let foreign = [
        LabelSource::Reserved,
        LabelSource::Cidr,
        LabelSource::CidrGroup,
        LabelSource::Fqdn,
        LabelSource::Node,
    ];
    (!foreign.iter().any(|source| labels.has_source(source))).then_some(labels)
}

/// What is left of a ClusterNetworkPolicy's rule that cannot be applied, as the API's text asks: it accepts nothing, and
/// denies everything if it would have denied or passed.
fn barred(rule: Rule) -> Option<Rule> {
    let (peers, ports) = (vec![Peer::All], vec![PortRule::ANY]);
    (rule.verdict != Verdict::Allow).then_some(Rule { peers, ports, verdict: Verdict::Deny, ..rule })
}

/// What holds until a policy that was refused is put right.
fn until_then(stays: bool, closing: &[Rule]) -> &'static str {
    let closes = |direction| closing.iter().any(|rule| rule.direction == direction);
    match (stays, closes(Direction::Ingress), closes(Direction::Egress)) {
        (true, ..) => "until then its last valid version holds",
        // A ClusterNetworkPolicy's: each rule stands for itself.
        _ if closing.iter().any(|rule| rule.tier != Tier::Normal) => {
            "until then a rule of it that cannot be applied accepts nothing, and denies everything if it would have denied or passed"
        }
        (_, true, true) => {
            "until then it allows nothing, and ingress and egress of the pods it selects are closed"
        }
        (_, true, false) => "until then it allows nothing, and ingress of the pods it selects is closed",
        (_, false, true) => "until then it allows nothing, and egress of the pods it selects is closed",
        (_, false, false) => "until then it does nothing",
    }
}
