//! Answers remembered for as long as one snapshot is looked at.

use crate::lookups::{Endpoint, Lookups};
use crate::model::{Emitter, Policies, Service};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use types::Labels;

/// Asks each question once. A batch of flows is about few pods, and naming one costs more than remembering it; since all
/// answers are about the same snapshot, nothing can be out of date.
#[derive(Debug)]
pub struct Cached<'a, L: ?Sized> {
    lookups: &'a L,
    node_name: Arc<str>,
    node_labels: Arc<[String]>,
    emitter: Option<Arc<Emitter>>,
    endpoints: Memory<u16, Option<Arc<Endpoint>>>,
    addresses: Memory<IpAddr, Option<Arc<Endpoint>>>,
    identities: Memory<IpAddr, Option<u32>>,
    labels: Memory<u32, Option<Labels>>,
    names: Memory<IpAddr, Option<Arc<[String]>>>,
    services: Memory<(IpAddr, u16), Option<Arc<Service>>>,
    policies: Memory<u32, Option<Policies>>,
    policy_logs: Memory<u32, Arc<[String]>>,
    own_addresses: Memory<(u64, bool), Option<IpAddr>>,
    interfaces: Memory<u32, Option<Arc<str>>>,
}

/// Questions and their answers.
type Memory<K, V> = RefCell<HashMap<K, V>>;

impl<'a, L: Lookups + ?Sized> Cached<'a, L> {
    /// Nothing was asked yet. One of these is for one batch.
    pub fn new(lookups: &'a L) -> Self {
        Self {
            node_name: lookups.node_name(),
            node_labels: lookups.node_labels(),
            emitter: lookups.emitter(),
            lookups,
            endpoints: Memory::default(),
            addresses: Memory::default(),
            identities: Memory::default(),
            labels: Memory::default(),
            names: Memory::default(),
            services: Memory::default(),
            policies: Memory::default(),
            policy_logs: Memory::default(),
            own_addresses: Memory::default(),
            interfaces: Memory::default(),
        }
    }
}

fn once<K: Eq + Hash + Copy, V: Clone>(memory: &Memory<K, V>, key: K, ask: impl FnOnce() -> V) -> V {
    memory.borrow_mut().entry(key).or_insert_with(ask).clone()
}

impl<L: Lookups + ?Sized> Lookups for Cached<'_, L> {
    fn node_name(&self) -> Arc<str> {
        Arc::clone(&self.node_name)
    }
    fn node_labels(&self) -> Arc<[String]> {
        Arc::clone(&self.node_labels)
    }
    fn emitter(&self) -> Option<Arc<Emitter>> {
        self.emitter.clone()
    }
    fn endpoint(&self, id: u16) -> Option<Arc<Endpoint>> {
        once(&self.endpoints, id, || self.lookups.endpoint(id))
    }
    fn endpoint_at(&self, address: IpAddr) -> Option<Arc<Endpoint>> {
        once(&self.addresses, address, || self.lookups.endpoint_at(address))
    }
    fn identity_at(&self, address: IpAddr) -> Option<u32> {
        once(&self.identities, address, || self.lookups.identity_at(address))
    }
    fn labels(&self, identity: u32) -> Option<Labels> {
        once(&self.labels, identity, || self.lookups.labels(identity))
    }
    fn names(&self, address: IpAddr) -> Option<Arc<[String]>> {
        once(&self.names, address, || self.lookups.names(address))
    }
    fn service(&self, address: IpAddr, port: u16) -> Option<Arc<Service>> {
        once(&self.services, (address, port), || self.lookups.service(address, port))
    }
    fn policies(&self, cookie: u32) -> Option<Policies> {
        once(&self.policies, cookie, || self.lookups.policies(cookie))
    }
    fn policy_log(&self, cookie: u32) -> Arc<[String]> {
        once(&self.policy_logs, cookie, || self.lookups.policy_log(cookie))
    }
    fn address_in(&self, namespace: u64, v6: bool) -> Option<IpAddr> {
        once(&self.own_addresses, (namespace, v6), || self.lookups.address_in(namespace, v6))
    }
    fn interface(&self, index: u32) -> Option<Arc<str>> {
        once(&self.interfaces, index, || self.lookups.interface(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookups::Nobody;
    use std::cell::Cell;

    /// Knows one endpoint, and counts how often it was asked.
    struct One(Cell<u32>);

    impl Lookups for One {
        fn node_name(&self) -> Arc<str> {
            "default/n1".into()
        }
        fn endpoint(&self, id: u16) -> Option<Arc<Endpoint>> {
            self.0.set(self.0.get() + 1);
            let endpoint = Endpoint { id, identity: 1, labels: Labels::none(), pod: None };
            (id == 7).then(|| Arc::new(endpoint))
        }
        fn endpoint_at(&self, _: IpAddr) -> Option<Arc<Endpoint>> {
            Nobody.endpoint_at(IpAddr::from([0; 4]))
        }
        fn identity_at(&self, _: IpAddr) -> Option<u32> {
            None
        }
        fn labels(&self, _: u32) -> Option<Labels> {
            None
        }
        fn policies(&self, _: u32) -> Option<Policies> {
            None
        }
    }

    #[test]
    fn each_question_is_asked_once_also_when_nobody_knows() {
        let one = One(Cell::new(0));
        let cached = Cached::new(&one);
        for _ in 0..3 {
            assert_eq!(cached.endpoint(7).map(|e| e.id), Some(7));
            assert_eq!(cached.endpoint(8), None);
        }
        assert_eq!((one.0.get(), &*cached.node_name()), (2, "default/n1"));
    }
}
