//! From what was seen to what is to be written.

use std::collections::BTreeSet;

use abi::tables::{POD_ANY_SOURCE, POD_AUDIT, POD_BLOCKS};
use abi::{Addr, PodFacts};
use types::NumericIdentity;

use super::State;
use crate::endpoint::Phase;
use crate::model::PodKey;
use crate::objects::EndpointObject;
use crate::routes;
use crate::untracked::{NoTrack, Untracked};
use crate::update::{Effect, PodRow, Update, drain};

impl State {
    /// What follows from all that was taken in since the last call. Nothing, apart from effects, before every kind of
    /// object was listed once ([`State::missing`]): then what the kernel holds stays.
    pub fn settle(&mut self, now: u64) -> Update {
        let mut update = Update::default();
        if self.missing().is_empty() {
            self.follow(&mut update, now);
            update.settled = true;
        }
        update.effects = std::mem::take(&mut self.saves).into_iter().map(Effect::Save).collect();
        update.effects.append(&mut self.effects);
        update.problems = std::mem::take(&mut self.problems);
        update.revision = self.revision;
        update
    }

    fn follow(&mut self, update: &mut Update, now: u64) {
        self.refresh_identities();
        self.refresh_subjects();
        self.expire_cidrs(now);
        update.policies = self.policy_writes();
        let touched = std::mem::take(&mut self.dirty_endpoints);
        for id in &touched {
            self.refresh_rows(*id);
        }
        self.refresh_host_row();
        if std::mem::take(&mut self.dirty_routes) {
            let foreign = self.endpoints.values().flat_map(|endpoint| endpoint.spec.foreign_addresses());
            self.routes.replace(routes::wanted(&self.settings, self.nodes.iter(), foreign));
        }
        update.untracked = self.refresh_untracked();
        update.blocks = self.ipcache.drain_blocks();
        let (hosts, prefixes) = self.ipcache.tables_mut();
        update.hosts = drain(hosts);
        update.prefixes = drain(prefixes);
        update.pods = drain(&mut self.pod_rows);
        update.local = drain(&mut self.local_rows);
        update.routes = drain(&mut self.routes);
        self.finish(update, &touched);
        update.endpoints = drain(&mut self.objects);
        update.conditions = drain(&mut self.conditions);
    }

    /// What is not to be tracked, if that is news.
    fn refresh_untracked(&mut self) -> Option<Untracked> {
        if !std::mem::take(&mut self.dirty_untracked) {
            return None;
        }
        let mut all = Untracked::default();
        for pod in self.pods.iter().filter(|pod| !pod.finished && pod.no_track != NoTrack::default()) {
            let endpoints = self.endpoints.values().filter(|endpoint| endpoint.spec.pod == pod.key);
            all.add(&pod.no_track, endpoints.flat_map(|endpoint| endpoint.spec.addresses()));
        }
        let news = self.untracked.as_ref() != Some(&all);
        let told = self.untracked.iter().flat_map(|before| &before.refused).collect::<BTreeSet<_>>();
        self.problems.extend(all.refused.iter().filter(|one| !told.contains(one)).cloned());
        self.untracked = Some(all);
        self.untracked.clone().filter(|_| news)
    }

    /// Gives the update its revision, and the touched endpoints their phase.
    fn finish(&mut self, update: &Update, touched: &BTreeSet<u16>) {
        let policy = self.engine.revision();
        let waiting = self.awaiting.last_key_value().map_or(self.realized_policy, |(_, policy)| *policy);
        if update.has_rows() || policy > waiting || !self.settled_once || !touched.is_empty() {
            self.revision += 1;
            self.awaiting.insert(self.revision, policy);
        }
        self.settled_once = true;
        for id in touched {
            let revision = self.revision;
            let Some(endpoint) = self.endpoints.get_mut(id) else { continue };
            if endpoint.is_complete() {
                endpoint.wanted = revision;
                if endpoint.awaited.is_none() {
                    endpoint.phase = Phase::Regenerating;
                }
            }
            let pod = endpoint.spec.pod.clone();
            self.refresh_object(&pod);
        }
    }

    fn refresh_rows(&mut self, id: u16) {
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        let Some(attachment) = endpoint.attachment.as_ref().filter(|_| endpoint.is_complete()) else {
            return;
        };
        let Some(table_id) = self.engine.table_of(u64::from(id)) else { return };
        let Some(table) = self.engine.table(table_id) else { return };
        let spec = &endpoint.spec;
        let facts = PodFacts {
            identity: endpoint.identity,
            policy: 0,
            deny_cookie_ingress: table.deny_cookie_ingress,
            deny_cookie_egress: table.deny_cookie_egress,
            v4: spec.v4.map_or(Addr::UNSPECIFIED, Addr::from),
            v6: spec.v6.map_or(Addr::UNSPECIFIED, |v6| std::net::IpAddr::V6(v6).into()),
            mac: attachment.mac,
            host_mac: attachment.host_mac,
            endpoint: spec.id,
            flags: if self.audits(endpoint) { POD_AUDIT } else { 0 }
                | if table.blocks { POD_BLOCKS } else { 0 }
                | if self.may_forge(endpoint) { POD_ANY_SOURCE } else { 0 },
        };
        let ifindex = attachment.host_ifindex;
        // A link that was made anew has another index.
        let stale: Vec<u32> = self
            .pod_rows
            .rows()
            .iter()
            .filter(|(i, row)| **i != ifindex && row.facts.endpoint == id)
            .map(|(i, _)| *i)
            .collect();
        let addresses: Vec<Addr> = spec.addresses().map(Addr::from).collect();
        for old in stale {
            self.pod_rows.remove(&old);
        }
        self.pod_rows.set(ifindex, PodRow { table: table_id, facts });
        for address in addresses {
            self.local_rows.set(address, ifindex);
        }
    }

    /// Brings the CiliumEndpoint object of a pod up to date: that of its newest complete endpoint.
    pub(super) fn refresh_object(&mut self, pod: &PodKey) {
        let of_pod = self.endpoints.values().filter(|e| e.spec.pod == *pod && e.is_complete());
        let newest = of_pod.max_by_key(|e| e.sequence).filter(|e| !e.spec.pod.name.is_empty());
        let object = newest.map(|endpoint| {
            let spec = &endpoint.spec;
            let table = self.engine.table_of(u64::from(spec.id)).and_then(|id| self.engine.table(id));
            let known = self.pods.get(pod);
            EndpointObject {
                pod: pod.clone(),
                pod_uid: known.map_or_else(|| spec.pod_uid.clone(), |p| p.uid.clone()),
                id: spec.id,
                attachment: format!("{}:{}", spec.container_id, spec.ifname),
                container_id: spec.container_id.clone(),
                identity: endpoint.identity,
                labels: endpoint.labels.iter().map(ToString::to_string).collect(),
                v4: spec.v4,
                v6: spec.v6,
                node: self.settings.node.primary(),
                // Its rows are written before its object, whatever the order they are asked for.
                phase: Phase::Ready,
                named_ports: known.map(|p| p.named_ports.clone()).unwrap_or_default(),
                service_account: endpoint.service_account.clone(),
                enforced_ingress: table.as_ref().is_some_and(|t| t.enforced_ingress),
                enforced_egress: table.as_ref().is_some_and(|t| t.enforced_egress),
            }
        });
        self.objects.put(pod.clone(), object);
    }

    /// Everything up to `revision` is in the kernel. Returns the endpoints that are ready now and were not.
    pub fn realized(&mut self, revision: u64) -> Vec<u16> {
        let later = self.awaiting.split_off(&(revision + 1));
        if let Some((_, policy)) = std::mem::replace(&mut self.awaiting, later).last_key_value() {
            self.realized_policy = *policy;
        }
        let mut ready = Vec::new();
        for endpoint in self.endpoints.values_mut() {
            if endpoint.phase == Phase::Regenerating && endpoint.wanted <= revision {
                endpoint.phase = Phase::Ready;
                ready.push(endpoint.spec.id);
            }
        }
        ready
    }

    /// The number that was to be created for `labels` is taken by other labels: asks for the next one.
    pub fn identity_refused(&mut self, labels: &types::Labels) {
        if let Some(number) = self.cluster.refused(labels) {
            self.effects.push(Effect::CreateIdentity { number, labels: labels.clone() });
        }
    }

    /// The labels of an identity, whatever its kind.
    pub fn labels_of(&self, identity: abi::Identity) -> Option<types::Labels> {
        if let Some(reserved) = NumericIdentity(identity).reserved() {
            return Some(reserved.labels());
        }
        if abi::identity::is_local_scope(identity) {
            return self.cidrs.prefix(identity).map(|prefix| self.cidr_labels(prefix));
        }
        self.cluster.labels(identity).cloned()
    }
}
