//! The one task that owns the control state and the kernel's tables.
//!
//! It takes messages from a bounded queue, many at once, settles what follows, writes it, and tells those who wait.
//! Everybody else asks through a [`Handle`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agent_core::{Change, Effect, Input, Phase, State};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::host_firewall::JournalFile;
use crate::kernel::Kernel;
use crate::metrics::Counts;
use crate::news::News;
use crate::outbox::Outboxes;
use crate::queue;
use crate::restore::{EndpointFiles, Stored};
use crate::startup::Orphan;
use crate::untracked::Tracking;

/// Messages that one settlement takes in at most.
const BATCH: usize = 1024;

/// What the owner is told.
pub(crate) type Message = queue::Message<Owner, Input>;
/// The way to the owner.
pub(crate) type Handle = queue::Handle<Owner, Input>;

/// Why an endpoint that somebody waited for did not become ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    /// It was removed.
    #[error("endpoint {id} was removed while its policy was being written")]
    Removed {
        /// Its number.
        id: u16,
    },
}

/// The owner's state.
pub(crate) struct Owner {
    /// The control state.
    pub state: State,
    /// The kernel's tables.
    pub kernel: Kernel,
    /// Endpoints on disk.
    pub files: EndpointFiles,
    /// The node's own policy on disk.
    journal: JournalFile,
    outboxes: Outboxes,
    news: News,
    counts: Counts,
    /// Since when there are changes that are not in the kernel yet, and of these policies.
    changing: Option<Instant>,
    changing_policy: Option<Instant>,
    waiting: BTreeMap<u16, Vec<oneshot::Sender<Result<(), NotReady>>>>,
    tracking: Tracking,
    /// Pods that only the kernel knows, until the pods are listed.
    pub orphans: Vec<Orphan>,
    /// What is wrong with the node's own configuration and what helps, by what is concerned; the status tells.
    pub complaints: BTreeMap<&'static str, String>,
    primed: bool,
    /// When the first complete state was in the kernel, since the start.
    ready: tokio::sync::watch::Sender<bool>,
}

/// Time since boot, as the reconcilers count it.
pub(crate) fn now() -> Duration {
    Duration::from_nanos(loader::monotonic_ns())
}

impl Owner {
    /// An owner and the way to it.
    #[expect(clippy::too_many_arguments, reason = "all that it is made of, called from one place")]
    pub(crate) fn new(
        state: State,
        kernel: Kernel,
        files: EndpointFiles,
        outboxes: Outboxes,
        news: News,
        counts: Counts,
        orphans: Vec<Orphan>,
        ready: tokio::sync::watch::Sender<bool>,
    ) -> (Self, Handle, mpsc::Receiver<Message>) {
        let (handle, messages) = queue::new();
        let waiting = BTreeMap::new();
        let journal = files.journal();
        let owner = Self {
            state,
            kernel,
            files,
            journal,
            outboxes,
            news,
            counts,
            changing: None,
            changing_policy: None,
            waiting,
            tracking: Tracking::default(),
            orphans,
            complaints: BTreeMap::new(),
            primed: false,
            ready,
        };
        (owner, handle, messages)
    }

    /// Runs until `stop`. What the kernel holds then stays.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>, stop: CancellationToken) {
        loop {
            let wait = self.kernel.next_run().map_or(Duration::from_secs(1), |at| at.saturating_sub(now()));
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                message = messages.recv() => match message {
                    Some(message) => Some(message),
                    None => return,
                },
                () = tokio::time::sleep(wait.clamp(Duration::from_millis(1), Duration::from_secs(1))) => None,
            };
            match message {
                Some(message) => {
                    self.take(message);
                    for _ in 1..BATCH {
                        let Ok(message) = messages.try_recv() else { break };
                        self.take(message);
                    }
                    self.settle();
                }
                None => {
                    self.kernel.run(now());
                    self.settle();
                }
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Learned(inputs) => {
                let at = loader::monotonic_ns();
                for input in inputs {
                    self.count(&input);
                    self.news.learned(&self.state, &input);
                    self.state.apply(input, at);
                }
            }
            Message::Job(job) => job(self),
        }
    }

    fn count(&mut self, input: &Input) {
        let Input::Policies(_, change) = input else { return };
        self.changing_policy.get_or_insert_with(Instant::now);
        let objects = match change {
            Change::Apply(object) => std::slice::from_ref(object),
            Change::Reset(objects) => objects.as_slice(),
            Change::Delete(_) => return self.counts.policies(1, 0),
        };
        let refused = objects.iter().filter(|object| object.refused.is_some()).count();
        self.counts.policies(objects.len() - refused, refused);
    }

    /// Lets follow what follows, and writes it.
    fn settle(&mut self) {
        if !self.orphans.is_empty() && self.state.missing().is_empty() {
            for orphan in std::mem::take(&mut self.orphans) {
                orphan.adopt(&mut self.state);
            }
        }
        let mut update = self.state.settle(loader::monotonic_ns());
        for problem in std::mem::take(&mut update.problems) {
            tracing::error!(problem, "the desired state cannot be reached");
        }
        // Before the tables are: what is on trial has to be known as such, whatever becomes of this agent.
        if let Some(journal) = self.state.take_host_journal()
            && let Err(error) = self.journal.write(&journal)
        {
            tracing::error!(
                error = format!("{error:#}"),
                "the journal of the node's own policy is not up to date; a restart may try a policy again"
            );
        }
        if let Some(untracked) = update.untracked.take() {
            self.tracking.want(untracked);
        }
        if self.tracking.look(now()) {
            self.complain("no-track", self.tracking.trouble());
        }
        let effects = std::mem::take(&mut update.effects);
        let settled = update.settled;
        self.outboxes.endpoints.put(std::mem::take(&mut update.endpoints));
        self.outboxes.conditions.put(std::mem::take(&mut update.conditions));
        if update.has_rows() {
            self.changing.get_or_insert_with(Instant::now);
        }
        if settled && (update.has_rows() || !self.primed || update.revision > self.kernel.revision()) {
            self.kernel.apply(update, &self.state, now());
        }
        self.carry_out(effects);
        if settled {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if !self.primed {
            self.primed = true;
            self.start_programs();
        }
        let ready = self.state.realized(self.kernel.realized());
        self.counts.regenerated(ready.len(), self.changing);
        if self.kernel.realized() >= self.kernel.revision() {
            self.changing = None;
            if let Some(since) = self.changing_policy.take() {
                self.counts.policy_holds(since.elapsed());
            }
        } else {
            let behind = |e: &&agent_core::Endpoint| e.phase == Phase::Regenerating;
            self.counts.not_written(self.state.endpoints().values().filter(behind).count());
        }
        for id in ready {
            self.news.ready(&self.state, id);
            for waiter in self.waiting.remove(&id).unwrap_or_default() {
                // A plugin that gave up does not listen any more.
                let _ = waiter.send(Ok(()));
            }
        }
    }

    /// The first complete state is written: now the programs of this version may take over.
    fn start_programs(&mut self) {
        let pods: Vec<(u16, u32)> = self
            .state
            .endpoints()
            .values()
            .filter_map(|e| Some((e.spec.id, e.attachment.as_ref()?.host_ifindex)))
            .collect();
        for (id, ifindex) in pods {
            if let Err(error) = self.kernel.attach_pod(id, ifindex) {
                tracing::error!(
                    endpoint = id,
                    error = format!("{error:#}"),
                    "a restored pod has no program of this version"
                );
            }
        }
        if let Err(error) = self.kernel.attach_node() {
            tracing::error!(error = format!("{error:#}"), "the node's programs cannot be attached");
            return;
        }
        self.kernel.sweep_links(&self.state);
        tracing::info!(endpoints = self.state.endpoints().len(), "the first complete state is in the kernel");
        self.ready.send_replace(true);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Save(id) => self.news.saved(&self.state, id),
                Effect::Forget(id) => self.news.forgotten(id),
                Effect::CreateIdentity { .. } => {}
            }
            let result = match effect {
                Effect::Save(id) => match self.state.endpoint(id) {
                    Some(endpoint) => self.files.write(&Stored::of(endpoint)),
                    None => Ok(()),
                },
                Effect::Forget(id) => {
                    self.kernel.detach_pod(id);
                    for waiter in self.waiting.remove(&id).unwrap_or_default() {
                        let _ = waiter.send(Err(NotReady::Removed { id }));
                    }
                    self.files.remove(id)
                }
                Effect::CreateIdentity { number, labels } => {
                    self.outboxes.identities.put(vec![(labels, Some(number))]);
                    Ok(())
                }
            };
            if let Err(error) = result {
                tracing::error!(
                    error = format!("{error:#}"),
                    "an endpoint's file is not up to date; a restart may not find the pod"
                );
            }
        }
    }

    /// Something about `part` is wrong, or not any more.
    pub(crate) fn complain(&mut self, part: &'static str, trouble: Option<String>) {
        match trouble {
            Some(trouble) => drop(self.complaints.insert(part, trouble)),
            None => drop(self.complaints.remove(part)),
        }
    }

    /// Waits for an endpoint's tables: the answer comes through the receiver, at once if they are written already.
    pub(crate) fn when_ready(&mut self, id: u16) -> oneshot::Receiver<Result<(), NotReady>> {
        let (sender, receiver) = oneshot::channel();
        match self.state.endpoint(id).map(|e| e.phase) {
            None => drop(sender.send(Err(NotReady::Removed { id }))),
            Some(Phase::Ready) => drop(sender.send(Ok(()))),
            Some(_) => self.waiting.entry(id).or_default().push(sender),
        }
        receiver
    }
}
