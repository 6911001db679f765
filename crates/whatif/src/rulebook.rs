//! A set of policies, ready to be asked: the agent's own engine, over a world that two of them share.

use crate::inventory::Inventory;
use policy::{
    EnforcementMode, Engine, Families, IdentityInfo, NamedPorts, Options, Packet, PolicyTable, RuleRef,
    SubjectInfo,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use types::{IpNet, Labels, NumericIdentity, Reserved};

/// Everyone who can be at an end of a connection, with numbers that mean the same in every rulebook of this world.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    identities: BTreeMap<NumericIdentity, IdentityInfo>,
    by_labels: BTreeMap<Labels, NumericIdentity>,
    prefixes: BTreeMap<IpNet, NumericIdentity>,
}

/// How policies are enforced, whatever they say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enforcement {
    pub(crate) mode: EnforcementMode,
    pub(crate) cluster: String,
}

/// A set of policies in force.
pub struct Rulebook {
    pub(crate) engine: Engine,
}

/// Ends that need no pod to be there. Addresses outside have an identity for each family.
pub(crate) const STANDING: [NumericIdentity; 6] = [
    NumericIdentity::HOST,
    NumericIdentity::REMOTE_NODE,
    NumericIdentity::KUBE_APISERVER,
    NumericIdentity::HEALTH,
    NumericIdentity::WORLD_IPV4,
    NumericIdentity::WORLD_IPV6,
];

impl World {
    /// The pods of an inventory.
    pub(crate) fn of(inventory: &Inventory) -> Self {
        let mut world = Self::default();
        for pod in &inventory.pods {
            world.identity(&pod.info.labels, &pod.info.named_ports);
        }
        world
    }

    /// The number of these labels. Pods that have them name these ports, too.
    pub(crate) fn identity(&mut self, labels: &Labels, ports: &NamedPorts) -> NumericIdentity {
        if let Some(reserved) = Reserved::ALL.iter().find(|reserved| reserved.labels() == *labels) {
            return reserved.id;
        }
        let next = NumericIdentity(abi::identity::CLUSTER_MIN + self.by_labels.len() as u32);
        let number = *self.by_labels.entry(labels.clone()).or_insert(next);
        let info = self.identities.entry(number).or_insert_with(|| IdentityInfo::of(labels.clone()));
        for (name, numbers) in ports {
            info.named_ports.entry(name.clone()).or_default().extend(numbers);
        }
        number
    }

    /// Numbers for the prefixes that rules name.
    fn prefix(&mut self, net: IpNet) {
        let next = NumericIdentity(abi::identity::LOCAL_MIN + self.prefixes.len() as u32);
        let number = *self.prefixes.entry(net).or_insert(next);
        let world = if net.addr().is_ipv4() { "world-ipv4" } else { "world-ipv6" };
        self.identities.insert(number, IdentityInfo::of(Labels::of_cidr(&net, world)));
    }

    /// Prefixes and their numbers.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = (&IpNet, NumericIdentity)> {
        self.prefixes.iter().map(|(net, number)| (net, *number))
    }

    /// The narrowest prefix around an address; unknown if rules name none.
    pub(crate) fn block(&self, address: IpAddr) -> NumericIdentity {
        let around = self.prefixes.iter().filter(|(net, _)| net.contains(&address));
        let narrowest = around.max_by_key(|(net, _)| net.prefix_len());
        narrowest.map_or(NumericIdentity::UNKNOWN, |(_, number)| *number)
    }

    /// Everyone, with labels.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = (NumericIdentity, Labels)> {
        let standing = STANDING.into_iter().filter_map(|id| Some((id, id.reserved()?.labels())));
        standing.chain(self.identities.iter().map(|(id, info)| (*id, info.labels.clone())))
    }

    /// Two rulebooks over this world, which learns the prefixes of both.
    pub(crate) fn rulebooks(
        &mut self,
        before: &Inventory,
        after: &Inventory,
        enforcement: &Enforcement,
    ) -> [Rulebook; 2] {
        let mut engines = [before, after].map(|inventory| {
            let mut engine = Engine::new(Options {
                mode: enforcement.mode,
                families: Families::Dual,
                cluster: enforcement.cluster.clone(),
                ..Options::default()
            });
            let policies = inventory.resolved().into_iter();
            engine.set_policies(policies.map(|(origin, rules)| (origin, Some(rules))).collect());
            engine
        });
        let prefixes: BTreeSet<IpNet> = engines.iter().flat_map(Engine::prefixes_in_use).collect();
        prefixes.into_iter().for_each(|net| self.prefix(net));
        for engine in &mut engines {
            let known = self.identities.iter();
            engine.set_identities(known.map(|(id, info)| (*id, Some(info.clone()))).collect());
        }
        engines.map(|engine| Rulebook { engine })
    }
}

impl Rulebook {
    /// The table of a pod, as the kernel would have it.
    pub(crate) fn table(&mut self, info: &SubjectInfo) -> Arc<PolicyTable> {
        // One subject is enough: who asks for the next one has done with the last.
        self.engine.set_subject(1, Some(info.clone()));
        self.engine.table_of(1).and_then(|id| self.engine.table(id)).unwrap_or_default()
    }

    /// The policies behind what becomes of a packet.
    pub(crate) fn because(&self, info: &SubjectInfo, packet: &Packet) -> Vec<String> {
        names(&self.engine.explain(info, packet).because)
    }

    /// The policies behind a cookie.
    pub(crate) fn named(&self, cookie: u32) -> Vec<String> {
        names(self.engine.cookie(cookie).unwrap_or_default())
    }
}

/// Each policy once, by kind and name.
fn names(rules: &[RuleRef]) -> Vec<String> {
    let names: BTreeSet<String> = rules.iter().map(|rule| rule.origin.to_string()).collect();
    names.into_iter().collect()
}

/// The identity of an address that nobody has.
pub(crate) const fn outside(address: IpAddr) -> NumericIdentity {
    if address.is_ipv4() { NumericIdentity::WORLD_IPV4 } else { NumericIdentity::WORLD_IPV6 }
}
