//! This node as an endpoint: its row, and the policies that rule it, which are tried before they stay.
//!
//! A change of what policies say of this node is a **trial**: the tables are written, and whoever holds this state has a while
//! to find out whether the node still reaches the API server ([`State::host_trial`]). If so, what is in force becomes the
//! good version ([`State::host_confirm`]); if not, the good version comes back ([`State::host_roll_back`]), and the policies
//! that differ from it are refused, each until it gets another generation. What is good and what is refused outlives the
//! agent in a [`Journal`].

use std::collections::{BTreeMap, BTreeSet};

use abi::tables::{POD_AUDIT, POD_BLOCKS};
use abi::{PodFacts, identity};
use policy::{Rule, Subject, SubjectInfo};
use types::{Label, Labels, PolicyKind, PolicyOrigin, Source as LabelSource};

use super::{PolicyObject, State};
use crate::objects::Condition;
use crate::update::PodRow;

/// The node's number as a subject of policy, beyond those of endpoints.
pub(super) const SUBJECT: u64 = 1 << 16;

/// What a policy says of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostVersion {
    /// The object's generation.
    pub generation: i64,
    /// Its specification as JSON.
    pub text: String,
    rules: Vec<Rule>,
}

/// A policy in a [`Journal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Generation and specification with which the node was seen to reach the API server.
    pub good: Option<(i64, String)>,
    /// The generation that was taken back, and why.
    pub refused: Option<(i64, String)>,
    /// The generation on trial.
    pub tried: Option<i64>,
}

/// What has to outlive the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// The policies that rule this node.
    pub policies: Vec<Kept>,
    /// A trial is under way.
    pub trying: bool,
}

impl Journal {
    /// Refuses what was on trial: the node could not be seen to reach the API server before the agent ended.
    pub fn refuse_tried(&mut self, why: &str) {
        for kept in &mut self.policies {
            let Some(generation) = kept.tried.take() else { continue };
            let until = in_force(kept.good.as_ref().map(|(generation, _)| *generation));
            kept.refused =
                Some((generation, format!("generation {generation} {why}; until it is changed, {until}")));
        }
        self.trying = false;
    }
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    number: u64,
    /// What is tried is in the kernel with this revision; `None`: not settled yet.
    revision: Option<u64>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Host {
    labels: BTreeMap<String, String>,
    audit: bool,
    /// The row does not say what the tables say.
    pub(super) dirty: bool,
    known: bool,
    /// What the objects say of this node.
    wanted: BTreeMap<PolicyOrigin, HostVersion>,
    good: BTreeMap<PolicyOrigin, HostVersion>,
    refused: BTreeMap<PolicyOrigin, (i64, String)>,
    /// Policies that are gone, without which the node did not reach the API server.
    ghosts: BTreeSet<PolicyOrigin>,
    trial: Option<Trial>,
    trials: u64,
    /// The journal was not taken since it changed.
    unwritten: bool,
}

impl Host {
    /// What is to be in force of a policy.
    fn effective(&self, origin: &PolicyOrigin) -> Option<&HostVersion> {
        match self.wanted.get(origin) {
            Some(wanted) if !self.is_refused(origin, wanted) => Some(wanted),
            Some(_) => self.good.get(origin),
            None => self.good.get(origin).filter(|_| self.ghosts.contains(origin)),
        }
    }

    fn is_refused(&self, origin: &PolicyOrigin, version: &HostVersion) -> bool {
        self.refused.get(origin).is_some_and(|(generation, _)| *generation == version.generation)
    }

    /// Whether what is in force differs from what is known to be good.
    fn differs(&self) -> bool {
        self.origins().any(|origin| {
            self.effective(&origin).map(|v| &v.rules) != self.good.get(&origin).map(|v| &v.rules)
        })
    }

    fn origins(&self) -> impl Iterator<Item = PolicyOrigin> + use<> {
        let all: BTreeSet<PolicyOrigin> = self.wanted.keys().chain(self.good.keys()).cloned().collect();
        all.into_iter()
    }
}

/// What holds in place of a version that was refused.
fn in_force(good: Option<i64>) -> String {
    match good {
        Some(generation) => format!("generation {generation} is in force on this node"),
        None => "it does not rule this node".to_owned(),
    }
}

/// The rules that speak of this node.
fn about(rules: &[Rule], labels: &Labels) -> Vec<Rule> {
    let ours = |rule: &&Rule| matches!(&rule.subject, Subject::Nodes(selector) if selector.matches(labels));
    rules.iter().filter(ours).cloned().collect()
}

impl State {
    /// Labels of the node as an endpoint.
    pub fn host_labels(&self) -> Labels {
        let labels = self.host.labels.iter().map(|(key, value)| Label::new(LabelSource::K8s, key, value));
        [Label::reserved("host")].into_iter().chain(labels).collect()
    }

    /// The number of the node among the endpoints; `None` if it is none.
    pub fn host_endpoint(&self) -> Option<u16> {
        let free = |id: &u16| !self.endpoints.contains_key(id);
        (self.settings.host_firewall != 0).then(|| (1..=u16::MAX).rev().find(free)).flatten()
    }

    /// The node's policy table.
    pub fn host_table(&self) -> Option<std::sync::Arc<policy::PolicyTable>> {
        self.engine.table(self.engine.table_of(SUBJECT)?)
    }

    /// The node as a subject of policy.
    pub fn host_subject(&self) -> Option<&SubjectInfo> {
        self.engine.subject(SUBJECT)
    }

    /// Switches the node's own audit on or off.
    pub fn set_host_audit(&mut self, audit: bool) {
        self.host.audit = audit;
        self.refresh_host_subject();
    }

    pub(super) fn set_node_labels(&mut self, labels: BTreeMap<String, String>, now: u64) {
        if self.settings.host_firewall == 0 || (self.host.known && self.host.labels == labels) {
            return;
        }
        self.host.labels = labels;
        self.host.known = true;
        self.refresh_host_subject();
        // Other policies may speak of this node now.
        let objects: Vec<PolicyObject> = self
            .policies
            .get(&PolicyKind::Ccnp)
            .into_iter()
            .flat_map(|store| store.iter())
            .cloned()
            .collect();
        for object in objects.iter().filter(|object| object.refused.is_none()) {
            self.apply_guarded(object, now);
        }
    }

    fn refresh_host_subject(&mut self) {
        let info =
            SubjectInfo { labels: self.host_labels(), audit: self.host.audit, ..SubjectInfo::default() };
        let update = self.engine.set_subject(SUBJECT, Some(info));
        self.take(update, 0);
        self.host.dirty = true;
    }

    /// Applies a policy that may speak of this node.
    pub(super) fn apply_guarded(&mut self, object: &PolicyObject, now: u64) {
        let origin = &object.origin;
        let rules = about(&object.rules, &self.host_labels());
        let version = HostVersion { generation: object.generation, text: object.text.clone(), rules };
        let before = self.host.wanted.get(origin).cloned();
        let news = match version.rules.is_empty() {
            true => self.host.wanted.remove(origin).is_some(),
            false => {
                self.host.wanted.insert(origin.clone(), version.clone());
                before.as_ref() != Some(&version)
            }
        };
        if self.host.refused.get(origin).is_some_and(|(generation, _)| *generation != object.generation) {
            self.host.refused.remove(origin);
        }
        self.put_rules(object, now);
        self.tell_refusal(origin);
        if news {
            self.host_changed(now);
        }
    }

    /// What of an object's rules is in force: of those about this node, the version that is not refused.
    fn put_rules(&mut self, object: &PolicyObject, now: u64) {
        let origin = &object.origin;
        let refused = self.host.wanted.get(origin).is_some_and(|wanted| self.host.is_refused(origin, wanted));
        let mut rules = object.rules.clone();
        if refused {
            rules.retain(|rule| !matches!(rule.subject, Subject::Nodes(_)));
            rules.extend(self.host.effective(origin).iter().flat_map(|version| version.rules.clone()));
        }
        self.enforce(origin.clone(), rules, now);
    }

    pub(super) fn forget_host_rules(&mut self, origin: &PolicyOrigin, now: u64) {
        self.host.refused.remove(origin);
        if self.host.wanted.remove(origin).is_some() {
            self.host_changed(now);
        }
    }

    /// What policies say of this node has changed: if it is not what is known to be good, it is on trial.
    fn host_changed(&mut self, now: u64) {
        for ghost in std::mem::take(&mut self.host.ghosts) {
            if !self.host.wanted.contains_key(&ghost) {
                self.lift(&ghost, now);
            }
        }
        self.host.trial = None;
        self.host.unwritten = true;
        if self.host.differs() {
            self.host.trials += 1;
            self.host.trial = Some(Trial { number: self.host.trials, revision: None });
        }
    }

    /// The trial under way, by its number, once what is tried is in the kernel.
    pub fn host_trial(&self) -> Option<u64> {
        let trial = self.host.trial?;
        let written =
            self.awaiting.first_key_value().is_none_or(|(waiting, _)| Some(*waiting) > trial.revision);
        (trial.revision.is_some() && written).then_some(trial.number)
    }

    /// The node reaches the API server under what is tried: that is the good version from now on. Nothing happens if it was
    /// another trial.
    pub fn host_confirm(&mut self, trial: u64) {
        if self.host.trial.is_none_or(|now| now.number != trial) {
            return;
        }
        self.host.trial = None;
        self.host.unwritten = true;
        let in_force =
            self.host.origins().filter_map(|o| Some((o.clone(), self.host.effective(&o)?.clone())));
        self.host.good = in_force.collect();
    }

    /// The node was cut off by what is tried: the good version comes back. `why` is told in the conditions of the policies.
    /// Gives those policies.
    pub fn host_roll_back(&mut self, trial: u64, why: &str, now: u64) -> Vec<PolicyOrigin> {
        if self.host.trial.is_none_or(|now| now.number != trial) {
            return Vec::new();
        }
        self.host.trial = None;
        self.host.unwritten = true;
        let mut blamed = Vec::new();
        for origin in self.host.origins() {
            let good = self.host.good.get(&origin);
            match self.host.wanted.get(&origin) {
                Some(wanted) if good.map(|v| &v.rules) != Some(&wanted.rules) => {
                    let until = in_force(good.map(|version| version.generation));
                    let why = format!("generation {} {why}; until it is changed, {until}", wanted.generation);
                    self.host.refused.insert(origin.clone(), (wanted.generation, why));
                    blamed.push(origin);
                }
                None => {
                    self.problems
                        .push(format!("{origin} is gone, but {why}: it stays in force on this node"));
                    self.host.ghosts.insert(origin);
                }
                Some(_) => {}
            }
        }
        let store = self.policies.get(&PolicyKind::Ccnp);
        let objects: Vec<PolicyObject> = store.into_iter().flat_map(|s| s.iter()).cloned().collect();
        for object in objects.iter().filter(|object| blamed.contains(&object.origin)) {
            self.put_rules(object, now);
            self.tell_refusal(&object.origin);
        }
        for ghost in self.host.ghosts.clone() {
            let rules = self.host.good.get(&ghost).map(|version| version.rules.clone()).unwrap_or_default();
            self.enforce(ghost, rules, now);
        }
        blamed
    }

    fn tell_refusal(&mut self, origin: &PolicyOrigin) {
        let Some(condition) = self.conditions.get(origin) else { return };
        let rolled_back = self.host.refused.get(origin).map(|(_, why)| why.clone());
        let condition = Condition { rolled_back, ..condition.clone() };
        self.conditions.set(origin.clone(), condition);
    }

    /// What has to outlive this state, if that has changed since it was taken last.
    pub fn take_host_journal(&mut self) -> Option<Journal> {
        if !std::mem::take(&mut self.host.unwritten) {
            return None;
        }
        let host = &self.host;
        let kept = |origin: PolicyOrigin| {
            let good = host.good.get(&origin);
            let tried = host.wanted.get(&origin).filter(|w| !host.is_refused(&origin, w));
            Kept {
                good: good.map(|v| (v.generation, v.text.clone())),
                refused: host.refused.get(&origin).cloned(),
                tried: tried.filter(|w| good.map(|g| &g.rules) != Some(&w.rules)).map(|w| w.generation),
                name: origin.name,
                uid: origin.uid,
            }
        };
        Some(Journal { policies: host.origins().map(kept).collect(), trying: host.trial.is_some() })
    }

    /// Takes back what an earlier state kept, before anything else is taken in. `labels` are this node's.
    pub fn restore_host(&mut self, journal: Journal, labels: BTreeMap<String, String>) {
        self.set_node_labels(labels, 0);
        for kept in journal.policies {
            let (name, uid) = (kept.name, kept.uid);
            let origin = PolicyOrigin { kind: PolicyKind::Ccnp, namespace: String::new(), name, uid };
            if let Some((generation, text)) = kept.good {
                let rules = crate::kube::kept_rules(&text).unwrap_or_default();
                let rules = about(&rules, &self.host_labels());
                self.host.good.insert(origin.clone(), HostVersion { generation, text, rules });
            }
            if let Some(refused) = kept.refused {
                self.host.refused.insert(origin, refused);
            }
        }
    }

    /// Brings the node's row in line with its table, and a trial with the revision that carries it.
    pub(super) fn refresh_host_row(&mut self) {
        let ifindex = self.settings.host_firewall;
        if ifindex == 0 {
            return;
        }
        if let Some(trial) = &mut self.host.trial
            && trial.revision.is_none()
        {
            // The revision that this settlement gets, if it has rows; else what is tried is there already.
            trial.revision = Some(self.revision + 1);
        }
        if !std::mem::take(&mut self.host.dirty) {
            return;
        }
        let Some(id) = self.engine.table_of(SUBJECT) else { return };
        let (Some(table), Some(endpoint)) = (self.engine.table(id), self.host_endpoint()) else { return };
        let facts = PodFacts {
            identity: identity::HOST,
            deny_cookie_ingress: table.deny_cookie_ingress,
            deny_cookie_egress: table.deny_cookie_egress,
            endpoint,
            flags: if self.host.audit { POD_AUDIT } else { 0 } | if table.blocks { POD_BLOCKS } else { 0 },
            ..PodFacts::default()
        };
        self.pod_rows.set(ifindex, PodRow { table: id, facts });
    }
}

#[cfg(test)]
mod tests;
