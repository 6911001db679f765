//! Pods of this node: created, linked, restored, removed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use abi::Identity;
use abi::identity::{INIT, UNKNOWN};
use ipam::{PodError, PodLease};
use policy::{NamedPorts, SubjectInfo};
use types::{Labels, PodLabels, Reserved};

use super::State;
use crate::endpoint::{Attachment, Endpoint, EndpointSpec, ForeignLink, Phase};
use crate::ipcache::{Claim, Source};
use crate::model::PodKey;
use crate::update::Effect;

/// An endpoint cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// No address.
    #[error("no address for pod {pod}")]
    Address {
        /// The pod.
        pod: PodKey,
        /// Why.
        #[source]
        source: PodError,
    },
    /// The plugin before ours gave no address of a family that is on.
    #[error(
        "the plugin before cilium-cni gave pod {pod} no address of a family that is switched on (ipv4.enabled, ipv6.enabled)"
    )]
    NoFamily {
        /// The pod.
        pod: PodKey,
    },
    /// The plugin before ours gave an address that is somebody else's.
    #[error(
        "the plugin before cilium-cni gave pod {pod} the address {address}, which pod {other} has: the runtime will try again"
    )]
    Taken {
        /// The pod.
        pod: PodKey,
        /// The address.
        address: IpAddr,
        /// Who has it.
        other: Box<PodKey>,
    },
    /// All numbers are in use.
    #[error("no endpoint number for pod {pod}: all 65535 are in use")]
    Number {
        /// The pod.
        pod: PodKey,
    },
}

/// The name of a host-side device: `lxc` and twelve digits that follow from the attachment.
fn host_ifname(container_id: &str, ifname: &str) -> String {
    // FNV-1a, 64 bits: any hash will do that spreads and never changes between versions.
    let bytes = container_id.bytes().chain([0]).chain(ifname.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("lxc{:012x}", hash & 0xffff_ffff_ffff)
}

impl State {
    /// Gives a pod's attachment a number and addresses, or takes those that the plugin before ours gave (`foreign`). Asking
    /// again for the same attachment gives the same.
    ///
    /// # Errors
    /// [`CreateError`] when addresses or numbers have run out, or foreign ones cannot be used.
    pub fn create(
        &mut self,
        container_id: &str,
        ifname: &str,
        netns: &str,
        pod: PodKey,
        pod_uid: &str,
        foreign: Option<ForeignLink>,
    ) -> Result<EndpointSpec, CreateError> {
        if let Some(known) = self.find(container_id, ifname) {
            return Ok(known.spec.clone());
        }
        let id = self.free_number().ok_or_else(|| CreateError::Number { pod: pod.clone() })?;
        let owner = format!("{pod} [{id}]");
        let is_foreign = foreign.is_some();
        let ForeignLink { host_ifname, v4, v6 } = match foreign {
            Some(foreign) => self.usable(&pod, foreign)?,
            None => {
                let lease = self.ipam.allocate(&owner);
                let PodLease { v4, v6 } =
                    lease.map_err(|source| CreateError::Address { pod: pod.clone(), source })?;
                ForeignLink { host_ifname: host_ifname(container_id, ifname), v4, v6 }
            }
        };
        let spec = EndpointSpec {
            id,
            container_id: container_id.to_owned(),
            ifname: ifname.to_owned(),
            netns: netns.to_owned(),
            host_ifname,
            pod,
            pod_uid: pod_uid.to_owned(),
            v4,
            v6,
            foreign: is_foreign,
        };
        self.insert(Endpoint::new(spec.clone()));
        self.saves.insert(id);
        Ok(spec)
    }

    /// Only addresses of families that are on, and of nobody else: pods of the time before chaining hold addresses that
    /// the other plugin, under the name of a new network, gives out once more.
    fn usable(&self, pod: &PodKey, mut foreign: ForeignLink) -> Result<ForeignLink, CreateError> {
        foreign.v4 = foreign.v4.filter(|_| self.settings.ipv4);
        foreign.v6 = foreign.v6.filter(|_| self.settings.ipv6);
        let v4 = foreign.v4.map(IpAddr::V4);
        let addresses: Vec<IpAddr> = v4.into_iter().chain(foreign.v6.map(IpAddr::V6)).collect();
        if addresses.is_empty() {
            return Err(CreateError::NoFamily { pod: pod.clone() });
        }
        for address in addresses {
            let others = self.pods.iter().filter(|other| !other.finished && !other.host_network);
            let of_object = others.filter(|other| other.addresses.contains(&address)).map(|other| &other.key);
            let endpoints = self.endpoints.values().map(|endpoint| &endpoint.spec);
            let of_endpoint =
                endpoints.filter(|spec| spec.addresses().any(|a| a == address)).map(|spec| &spec.pod);
            if let Some(other) = of_object.chain(of_endpoint).find(|other| *other != pod) {
                return Err(CreateError::Taken { pod: pod.clone(), address, other: Box::new(other.clone()) });
            }
        }
        Ok(foreign)
    }

    /// The plugin has made the pod's link.
    pub fn attach(&mut self, id: u16, attachment: Attachment) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return false };
        endpoint.attachment = Some(attachment);
        if endpoint.phase == Phase::Ready {
            endpoint.phase = Phase::WaitingToRegenerate;
        }
        self.dirty_endpoints.insert(id);
        self.saves.insert(id);
        true
    }

    /// Takes back an endpoint of the last run. Until the first settlement the kernel does for it what it did.
    ///
    /// # Errors
    /// Its address is not this node's any more, or another's; the endpoint is kept all the same, and its address is
    /// given to nobody else.
    pub fn restore(
        &mut self,
        spec: EndpointSpec,
        attachment: Option<Attachment>,
        identity: Identity,
        labels: Labels,
    ) -> Result<(), PodError> {
        let owner = format!("{} [{}]", spec.pod, spec.id);
        let claimed: Vec<Result<(), PodError>> =
            spec.own_addresses().map(|address| self.ipam.claim(address, &owner)).collect();
        let mut endpoint = Endpoint::new(spec);
        endpoint.phase = Phase::Restoring;
        endpoint.attachment = attachment;
        if identity != UNKNOWN && !labels.is_empty() {
            endpoint.identity = identity;
            endpoint.labels = labels.clone();
            if self.labels_of(identity).is_none() {
                self.cluster.insert(identity, labels.clone());
                self.tell_identities([(identity, Some(labels))].into());
            }
        }
        // Its file may be missing, or name a link that has another index by now.
        self.saves.insert(endpoint.spec.id);
        self.next_endpoint = self.next_endpoint.max(endpoint.spec.id.checked_add(1).unwrap_or(1));
        self.insert(endpoint);
        claimed.into_iter().collect()
    }

    /// Removes the endpoint of an attachment; returns its number if there was one.
    pub fn remove(&mut self, container_id: &str, ifname: &str) -> Option<u16> {
        let id = self.find(container_id, ifname)?.spec.id;
        self.remove_endpoint(id);
        Some(id)
    }

    /// Removes the endpoint whose host-side device had this index, if there is one: the device is gone.
    pub fn remove_link(&mut self, ifindex: u32) -> Option<u16> {
        let has_link = |e: &&Endpoint| e.attachment.as_ref().is_some_and(|a| a.host_ifindex == ifindex);
        let id = self.endpoints.values().find(has_link)?.spec.id;
        self.remove_endpoint(id);
        Some(id)
    }

    /// Removes an endpoint.
    pub fn remove_endpoint(&mut self, id: u16) {
        let Some(endpoint) = self.endpoints.remove(&id) else { return };
        for address in endpoint.spec.addresses() {
            self.ipcache.claim(address, Source::OwnPod, None);
            self.local_rows.remove(&address.into());
        }
        for address in endpoint.spec.own_addresses() {
            self.ipam.release(address);
        }
        self.dirty_routes |= endpoint.spec.foreign;
        self.dirty_untracked = true;
        if let Some(attachment) = &endpoint.attachment {
            self.pod_rows.remove(&attachment.host_ifindex);
        }
        let update = self.engine.set_subject(u64::from(id), None);
        self.take(update, 0);
        self.dirty_endpoints.remove(&id);
        if !self.endpoints.values().any(|e| e.spec.pod == endpoint.spec.pod) {
            self.set_ports(&endpoint.spec.pod, UNKNOWN, Vec::new());
        }
        self.refresh_object(&endpoint.spec.pod);
        self.effects.push(Effect::Forget(id));
    }

    /// Switches an endpoint's audit on or off.
    pub fn set_audit(&mut self, id: u16, audit: bool) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return false };
        endpoint.audit = audit;
        self.dirty_endpoints.insert(id);
        true
    }

    /// Whether policy drops nothing of this endpoint: it or its namespace is under audit. (All of the node being so is in
    /// the programs' configuration.)
    pub fn audits(&self, endpoint: &Endpoint) -> bool {
        endpoint.audit || self.namespaces.get(&endpoint.spec.pod.namespace).is_some_and(|n| n.audit)
    }

    /// Whether an endpoint may send from any address: its pod asks for it, and its namespace lets it.
    pub(super) fn may_forge(&self, endpoint: &Endpoint) -> bool {
        let pod = &endpoint.spec.pod;
        self.pods.get(pod).is_some_and(|pod| pod.any_source)
            && self.namespaces.get(&pod.namespace).is_some_and(|namespace| namespace.delegates_source)
    }

    fn insert(&mut self, mut endpoint: Endpoint) {
        self.sequence += 1;
        endpoint.sequence = self.sequence;
        let id = endpoint.spec.id;
        self.dirty_routes |= endpoint.spec.foreign;
        self.dirty_untracked = true;
        self.endpoints.insert(id, endpoint);
        self.dirty_endpoints.insert(id);
    }

    /// The next number in a circle, so that a number rests after its endpoint has gone.
    fn free_number(&mut self) -> Option<u16> {
        let start = self.next_endpoint;
        let circle = (start..=u16::MAX).chain(1..start);
        let id = circle.into_iter().find(|id| !self.endpoints.contains_key(id))?;
        self.next_endpoint = id.checked_add(1).unwrap_or(1);
        Some(id)
    }

    /// Brings labels and identity of the dirty endpoints up to date; returns those that changed.
    pub(super) fn refresh_identities(&mut self) {
        for id in self.dirty_endpoints.clone() {
            let Some(endpoint) = self.endpoints.get(&id) else { continue };
            let Some((labels, service_account)) = self.labels_wanted(endpoint) else { continue };
            let number = match labels.has_reserved("init") {
                true => Some(INIT),
                false => self.cluster.number(&labels),
            };
            let Some(endpoint) = self.endpoints.get_mut(&id) else { continue };
            endpoint.service_account = service_account;
            match number {
                Some(number) => {
                    if endpoint.identity != number || endpoint.labels != labels {
                        endpoint.identity = number;
                        endpoint.labels = labels;
                        self.saves.insert(id);
                    }
                    endpoint.awaited = None;
                }
                None => {
                    // With an identity already, it keeps that until the new one has a number.
                    endpoint.phase = Phase::WaitingForIdentity;
                    endpoint.awaited = Some(labels);
                }
            }
        }
        let needed: BTreeSet<Labels> = self.endpoints.values().filter_map(|e| e.awaited.clone()).collect();
        for (labels, number) in self.cluster.want(&needed) {
            self.effects.push(Effect::CreateIdentity { number, labels });
        }
    }

    /// The labels an endpoint should have, and its service account; `None` while its pod is not known.
    fn labels_wanted(&self, endpoint: &Endpoint) -> Option<(Labels, String)> {
        let key = &endpoint.spec.pod;
        if key.name.is_empty() {
            // No pod of Kubernetes: it will never get other labels.
            return Reserved::by_name("init").map(|r| (r.labels(), String::new()));
        }
        let pod = self.pods.get(key)?;
        let uid = &endpoint.spec.pod_uid;
        if !uid.is_empty() && !pod.uid.is_empty() && *uid != pod.uid {
            // The next pod of that name.
            return None;
        }
        let namespace = self.namespaces.get(&key.namespace)?;
        let labels = self.filter.identity_labels(&PodLabels {
            namespace: &key.namespace,
            service_account: &pod.service_account,
            cluster: &self.settings.cluster,
            pod: pod.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            namespace_labels: namespace.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        });
        Some((labels, pod.service_account.clone()))
    }

    /// Tells the engine about the dirty endpoints as subjects, and the address tables about their identities.
    pub(super) fn refresh_subjects(&mut self) {
        for id in self.dirty_endpoints.clone() {
            let Some(endpoint) = self.endpoints.get(&id).filter(|e| e.is_complete()).cloned() else {
                continue;
            };
            let ports = self.pods.get(&endpoint.spec.pod).map(|p| p.named_ports.clone()).unwrap_or_default();
            let mut named_ports = NamedPorts::new();
            for port in &ports {
                named_ports.entry(port.name.clone()).or_default().insert((port.protocol, port.port));
            }
            self.set_ports(&endpoint.spec.pod, endpoint.identity, ports);
            let audit = self.audits(&endpoint);
            let info = SubjectInfo { labels: endpoint.labels.clone(), named_ports, audit };
            let update = self.engine.set_subject(u64::from(id), Some(info));
            self.take(update, 0);
            for address in endpoint.spec.addresses() {
                let claim = Claim { identity: endpoint.identity, node: None };
                self.ipcache.claim(address, Source::OwnPod, Some(claim));
            }
        }
    }

    /// The endpoint of an attachment.
    pub fn find(&self, container_id: &str, ifname: &str) -> Option<&Endpoint> {
        self.endpoints.values().find(|e| e.spec.container_id == container_id && e.spec.ifname == ifname)
    }

    /// The endpoint with this address.
    pub fn by_address(&self, address: IpAddr) -> Option<&Endpoint> {
        self.endpoints.values().find(|e| e.spec.addresses().any(|a| a == address))
    }
}
