//! The owner of all of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use abi::{Addr, Backend, FrontendKey};

use crate::adopt::{self, Found, Strays};
use crate::claims::{Claims, PortRef};
use crate::health::Health;
use crate::model::{ObjectName, Owner, PodPorts, Service, Slice};
use crate::numbers::Numbers;
use crate::redirect::Redirects;
use crate::rows::Rows;
use crate::sets::Sets;
use crate::settings::Settings;

/// Services, slices and host ports in; rows out.
#[derive(Debug)]
pub struct Balancer {
    pub(crate) settings: Settings,
    pub(crate) services: BTreeMap<ObjectName, Entry>,
    /// Which service a slice belongs to, by the slice's name.
    slice_owners: BTreeMap<ObjectName, ObjectName>,
    pub(crate) pods: BTreeMap<ObjectName, PodPorts>,
    pub(crate) redirects: Redirects,
    /// How many services have each address, in whatever field.
    pub(crate) addresses: HashMap<IpAddr, u32>,
    /// Owners whose rows are to be worked out anew.
    pub(crate) dirty: BTreeSet<Owner>,
    /// What was worked out for each owner that has frontends.
    pub(crate) ports: BTreeMap<Owner, Vec<Port>>,
    pub(crate) claims: Claims,
    pub(crate) rows: Rows,
    pub(crate) sets: Sets,
    pub(crate) numbers: Numbers,
    pub(crate) health: BTreeMap<ObjectName, Health>,
    /// Until the first settle: what was found in the kernel.
    pub(crate) strays: Option<Strays>,
    pub(crate) revision: u64,
}

/// A service and its slices; either may come first.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) service: Option<Service>,
    /// By name; all are of the service's namespace.
    pub(crate) slices: BTreeMap<Arc<str>, Slice>,
}

/// A port with its number, and the rows it has besides frontends.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) port: Arc<PortRef>,
    pub(crate) number: u32,
    pub(crate) frontends: Vec<FrontendKey>,
    /// In the order of `Backend`.
    pub(crate) members: Vec<(Backend, u32)>,
    /// Sorted.
    pub(crate) source_ranges: Vec<(u32, Addr)>,
}

impl Balancer {
    /// A balancer over empty tables.
    pub fn new(settings: Settings) -> Self {
        let sets = Sets::new(settings.backend_slots, settings.maglev_slots, settings.hashing());
        Self::over(settings, Rows::default(), sets, Numbers::new([]), None)
    }

    /// A balancer over the tables of an earlier run. Nothing found is removed or overwritten before the first
    /// [`Balancer::settle`], so that must wait until all objects were listed; then what equals the wish stays untouched,
    /// and what nobody wants goes. Numbers of service ports stay. Slots that the earlier run let go in its last second
    /// count as free: starting takes longer than a packet.
    pub fn adopt(settings: Settings, found: &Found) -> Self {
        let mut sets = Sets::new(settings.backend_slots, settings.maglev_slots, settings.hashing());
        let mut rows = Rows::default();
        let strays = adopt::adopt(found, &mut rows, &mut sets);
        let numbers = Numbers::new(rows.iter().map(|(key, frontend)| (*key, frontend.service)));
        Self::over(settings, rows, sets, numbers, Some(strays))
    }

    fn over(settings: Settings, rows: Rows, sets: Sets, numbers: Numbers, strays: Option<Strays>) -> Self {
        Self {
            settings,
            services: BTreeMap::new(),
            slice_owners: BTreeMap::new(),
            pods: BTreeMap::new(),
            redirects: Redirects::default(),
            addresses: HashMap::new(),
            dirty: BTreeSet::new(),
            ports: BTreeMap::new(),
            claims: Claims::default(),
            rows,
            sets,
            numbers,
            health: BTreeMap::new(),
            strays,
            revision: 0,
        }
    }

    /// How many services there are.
    pub fn service_count(&self) -> usize {
        self.services.values().filter(|entry| entry.service.is_some()).count()
    }

    /// A service as it is now.
    pub fn set_service(&mut self, service: Service) {
        let entry = self.services.entry(service.name.clone()).or_default();
        if entry.service.as_ref() != Some(&service) {
            self.dirty.insert(Owner::Service(service.name.clone()));
            add_addresses(&mut self.addresses, &service);
            if let Some(old) = entry.service.replace(service) {
                remove_addresses(&mut self.addresses, &old);
            }
        }
    }

    /// A service is gone.
    pub fn remove_service(&mut self, name: &ObjectName) {
        let Some(entry) = self.services.get_mut(name) else { return };
        if let Some(old) = entry.service.take() {
            remove_addresses(&mut self.addresses, &old);
            self.dirty.insert(Owner::Service(name.clone()));
        }
        if entry.slices.is_empty() {
            self.services.remove(name);
        }
    }

    /// These are all services.
    pub fn reset_services(&mut self, services: impl IntoIterator<Item = Service>) {
        let known = self.services.iter().filter(|(_, entry)| entry.service.is_some());
        let mut gone: BTreeSet<ObjectName> = known.map(|(name, _)| name.clone()).collect();
        for service in services {
            gone.remove(&service.name);
            self.set_service(service);
        }
        gone.iter().for_each(|name| self.remove_service(name));
    }

    /// A slice as it is now.
    pub fn set_slice(&mut self, slice: Slice) {
        let service =
            ObjectName { namespace: Arc::clone(&slice.name.namespace), name: Arc::clone(&slice.service) };
        if self.slice_owners.get(&slice.name).is_some_and(|owner| *owner != service) {
            self.remove_slice(&slice.name);
        }
        let entry = self.services.entry(service.clone()).or_default();
        if entry.slices.get(&slice.name.name) != Some(&slice) {
            self.slice_owners.insert(slice.name.clone(), service.clone());
            entry.slices.insert(Arc::clone(&slice.name.name), slice);
            self.dirty.insert(Owner::Service(service));
        }
    }

    /// A slice is gone.
    pub fn remove_slice(&mut self, name: &ObjectName) {
        let Some(service) = self.slice_owners.remove(name) else { return };
        let Some(entry) = self.services.get_mut(&service) else { return };
        entry.slices.remove(&name.name);
        if entry.slices.is_empty() && entry.service.is_none() {
            self.services.remove(&service);
        }
        self.dirty.insert(Owner::Service(service));
    }

    /// These are all slices.
    pub fn reset_slices(&mut self, slices: impl IntoIterator<Item = Slice>) {
        let mut gone: BTreeSet<ObjectName> = self.slice_owners.keys().cloned().collect();
        for slice in slices {
            gone.remove(&slice.name);
            self.set_slice(slice);
        }
        gone.iter().for_each(|name| self.remove_slice(name));
    }

    /// The host ports of a pod of this node as they are now.
    pub fn set_pod_ports(&mut self, pod: PodPorts) {
        if self.pods.get(&pod.name) != Some(&pod) {
            self.dirty.insert(Owner::Pod(pod.name.clone()));
            self.pods.insert(pod.name.clone(), pod);
        }
    }

    /// A pod is gone, or at its end.
    pub fn remove_pod_ports(&mut self, name: &ObjectName) {
        if self.pods.remove(name).is_some() {
            self.dirty.insert(Owner::Pod(name.clone()));
        }
    }

    /// These are all pods of this node that have host ports.
    pub fn reset_pod_ports(&mut self, pods: impl IntoIterator<Item = PodPorts>) {
        let mut gone: BTreeSet<ObjectName> = self.pods.keys().cloned().collect();
        for pod in pods {
            gone.remove(&pod.name);
            self.set_pod_ports(pod);
        }
        gone.iter().for_each(|name| self.remove_pod_ports(name));
    }

    /// This node's zone as it is now.
    pub fn set_zone(&mut self, zone: Option<Arc<str>>) {
        if self.settings.zone == zone {
            return;
        }
        self.settings.zone = zone;
        let hinted = |entry: &Entry| {
            let mut endpoints = entry.slices.values().flat_map(|slice| &slice.endpoints);
            endpoints.any(|endpoint| !endpoint.zone_hints.is_empty())
        };
        let touched = self.services.iter().filter(|(_, entry)| entry.service.is_some() && hinted(entry));
        self.dirty.extend(touched.map(|(name, _)| Owner::Service(name.clone())));
    }

    /// This node's labels as they are now.
    pub fn set_node_labels(&mut self, labels: BTreeMap<String, String>) {
        if self.settings.node_labels == labels {
            return;
        }
        let before = std::mem::replace(&mut self.settings.node_labels, labels);
        let now = &self.settings.node_labels;
        let services = self.services.values().filter_map(|entry| entry.service.as_ref());
        let moved = services.filter(|service| service.nodes.admits(&before) != service.nodes.admits(now));
        self.dirty.extend(moved.map(|service| Owner::Service(service.name.clone())));
    }

    /// All addresses of all nodes. A service may have one of them as external or load balancer IP (Node IPAM gives them
    /// out): its other ports are then the node's and not closed.
    pub fn set_node_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.rows.set_node_addresses(addresses);
        self.look_at_redirects_again();
    }
}

fn add_addresses(addresses: &mut HashMap<IpAddr, u32>, service: &Service) {
    for ip in service.addresses() {
        *addresses.entry(ip).or_default() += 1;
    }
}

fn remove_addresses(addresses: &mut HashMap<IpAddr, u32>, service: &Service) {
    for ip in service.addresses() {
        if let Some(count) = addresses.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                addresses.remove(&ip);
            }
        }
    }
}
