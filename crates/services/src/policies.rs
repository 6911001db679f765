//! What the balancer learns of local redirect policies, and whether they may have what they ask for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use abi::{Addr, Backend, FrontendKey};
use ipnet::IpNet;

use crate::balancer::Balancer;
use crate::compile::may_be_frontend;
use crate::model::{ObjectName, Owner};
use crate::redirect::{LocalPod, Redirect, Refusal};
use crate::view::FrontendKind;

/// A local redirect policy and what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct RedirectView<'a> {
    /// The policy.
    pub policy: &'a Redirect,
    /// The frontends that it leads to pods of this node, and to which pods. None: there is no such pod, or the policy is
    /// refused.
    pub frontends: Vec<(FrontendKey, Vec<LedTo<'a>>)>,
}

/// A pod of this node, if it is still known, with the port that is led to.
pub type LedTo<'a> = (Option<&'a ObjectName>, Backend);

impl Balancer {
    /// A local redirect policy as it is now.
    pub fn set_redirect(&mut self, policy: Redirect) {
        if self.redirects.policies.get(&policy.name) == Some(&policy) {
            return;
        }
        self.remove_redirect(&policy.name.clone());
        self.dirty.insert(policy.owner());
        self.redirects.set(policy);
    }

    /// A policy is gone, or cannot be followed.
    pub fn remove_redirect(&mut self, name: &ObjectName) {
        if let Some(old) = self.redirects.remove(name) {
            self.dirty.insert(old.owner());
        }
    }

    /// These are all policies.
    pub fn reset_redirects(&mut self, policies: impl IntoIterator<Item = Redirect>) {
        let mut gone: BTreeSet<ObjectName> = self.redirects.policies.keys().cloned().collect();
        for policy in policies {
            gone.remove(&policy.name);
            self.set_redirect(policy);
        }
        gone.iter().for_each(|name| self.remove_redirect(name));
    }

    /// A pod of this node as it is now.
    pub fn set_local_pod(&mut self, pod: LocalPod) {
        if self.redirects.pods.get(&pod.name) != Some(&pod) {
            self.dirty.extend(self.redirects.owners_in(&pod.name.namespace));
            self.redirects.pods.insert(pod.name.clone(), pod);
        }
    }

    /// A pod is gone, or at its end.
    pub fn remove_local_pod(&mut self, name: &ObjectName) {
        if self.redirects.pods.remove(name).is_some() {
            self.dirty.extend(self.redirects.owners_in(&name.namespace));
        }
    }

    /// These are all pods of this node.
    pub fn reset_local_pods(&mut self, pods: impl IntoIterator<Item = LocalPod>) {
        let mut gone: BTreeSet<ObjectName> = self.redirects.pods.keys().cloned().collect();
        for pod in pods {
            gone.remove(&pod.name);
            self.set_local_pod(pod);
        }
        gone.iter().for_each(|name| self.remove_local_pod(name));
    }

    /// The prefixes of which pods get their addresses, on all nodes.
    pub fn set_pod_cidrs(&mut self, cidrs: impl IntoIterator<Item = IpNet>) {
        let cidrs: BTreeSet<IpNet> = cidrs.into_iter().collect();
        if self.redirects.pod_cidrs != cidrs {
            self.redirects.pod_cidrs = cidrs;
            self.look_at_redirects_again();
        }
    }

    /// What policies name may have become somebody's, or nobody's.
    pub(crate) fn look_at_redirects_again(&mut self) {
        let owners = self.redirects.with_address().map(Redirect::owner);
        self.dirty.extend(owners);
    }

    /// What stands against redirecting an address.
    pub(crate) fn refusal(&self, ip: IpAddr) -> Option<Refusal> {
        let allowed = &self.settings.redirect_cidrs;
        let pods = || self.redirects.pod_cidrs.iter().find(|net| net.contains(&ip));
        if !may_be_frontend(ip) {
            Some(Refusal::Unusable)
        } else if self.addresses.contains_key(&ip) {
            let services = self.services.values().filter_map(|entry| entry.service.as_ref());
            let mut owners = services.filter(|service| service.addresses().any(|other| other == ip));
            owners.next().map(|service| Refusal::Service(service.name.clone()))
        } else if self.rows.is_node(&Addr::from(ip)) {
            Some(Refusal::Node)
        } else if self.is_api_server(ip) {
            Some(Refusal::ApiServer)
        } else if let Some(net) = pods() {
            Some(Refusal::Pod(*net))
        } else if !allowed.is_empty() && !allowed.iter().any(|net| net.contains(&ip)) {
            Some(Refusal::NotAllowed)
        } else {
            None
        }
    }

    fn is_api_server(&self, ip: IpAddr) -> bool {
        let entry = self.services.get(&ObjectName::new("default", "kubernetes"));
        let slices = entry.into_iter().flat_map(|entry| entry.slices.values());
        let mut addresses =
            slices.flat_map(|slice| &slice.endpoints).flat_map(|endpoint| &endpoint.addresses);
        addresses.any(|address| address.to_canonical() == ip)
    }

    /// Whether policies that name addresses are to be looked at: what was theirs may be a service's now.
    pub(crate) fn follow_redirects(&mut self) {
        if self.dirty.iter().any(|owner| matches!(owner, Owner::Service(_))) {
            self.look_at_redirects_again();
        }
    }

    /// Every local redirect policy, as of the last settle.
    pub fn redirects(&self) -> Vec<RedirectView<'_>> {
        self.redirects.policies.values().map(|policy| self.redirect_view(policy)).collect()
    }

    fn redirect_view<'a>(&'a self, policy: &'a Redirect) -> RedirectView<'a> {
        let owner = policy.owner();
        let led = self.ports.get(&owner).into_iter().flatten().flat_map(|port| {
            let keys = [true, false].into_iter().flat_map(|v4| self.keys_of(&owner, port, v4));
            let led = keys.filter(|(_, _, row)| FrontendKind::of(row.flags) == FrontendKind::LocalRedirect);
            led.map(|(key, claim, _)| (*key, claim.plan.internal.backends.to_vec())).collect::<Vec<_>>()
        });
        let counts = match &owner {
            Owner::Service(service) => {
                self.redirects.of_service(service).is_some_and(|p| p.name == policy.name)
            }
            _ => true,
        };
        let frontends = led.filter(|_| counts).map(|(key, backends)| {
            let pods = backends.iter().map(|backend| (self.pod_with(policy, backend.addr.into()), *backend));
            (key, pods.collect())
        });
        RedirectView { policy, frontends: frontends.collect() }
    }

    fn pod_with<'a>(&'a self, policy: &'a Redirect, ip: IpAddr) -> Option<&'a ObjectName> {
        let mut pods = self.redirects.selected(policy);
        pods.find(|pod| pod.addresses.iter().any(|address| address.to_canonical() == ip)).map(|pod| &pod.name)
    }
}
