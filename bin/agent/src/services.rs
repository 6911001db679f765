//! Services of this node: one task owns the balancer and its tables in the kernel.
//!
//! It stands beside the owner of pods and policies: neither waits for the other, since a service change touches no policy
//! and no pod, and connections ask the two generations apart.

mod health;
mod listing;
mod redirects;
mod sockets;
mod tables;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use loader::{CgroupLinks, Object};
use services::{Balancer, LocalPod, PodPorts, Redirect, Service, Slice};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Balancing, SocketLb};
use crate::queue::{self, Message};
use tables::ServiceTables;

pub(crate) use health::serve as serve_health;
pub(crate) use listing::{LineIds, list};
pub(crate) use redirects::list as redirects;
pub(crate) use sockets::run as close_sockets;
pub(crate) use watches::all as watches;

/// Messages that one settlement takes in at most.
const BATCH: usize = 1024;

/// Something that was learned of one kind of objects.
#[derive(Clone, Debug)]
pub(crate) enum Change<T> {
    /// New, or different.
    Apply(T),
    /// Gone.
    Delete(services::ObjectName),
    /// All there are.
    Reset(Vec<T>),
}

/// What the balancer learns.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Services.
    Services(Change<Service>),
    /// EndpointSlices.
    Slices(Change<Slice>),
    /// Pods of this node with host ports.
    Pods(Change<PodPorts>),
    /// Nodes of the cluster.
    Nodes(Change<agent_core::Node>),
    /// Labels of this node.
    NodeLabels(BTreeMap<String, String>),
    /// Local redirect policies.
    Redirects(Change<Redirect>),
    /// Pods of this node to which those may lead.
    LocalPods(Change<LocalPod>),
}

/// The way to the task.
pub(crate) type Handle = queue::Handle<Services, Input>;

/// The task's end of the way.
type Messages = mpsc::Receiver<Message<Services, Input>>;

/// The balancer, its tables in the kernel, and what has been listed.
pub(crate) struct Services {
    /// What should be.
    pub balancer: Balancer,
    /// Numbers by which people know frontends.
    pub line_ids: LineIds,
    tables: ServiceTables,
    object: Arc<Object>,
    links: CgroupLinks,
    config: Arc<Balancing>,
    /// All nodes.
    nodes: BTreeMap<String, agent_core::Node>,
    /// Services, slices, pods, nodes, this node, policies, pods for those.
    listed: [bool; 7],
    primed: bool,
    ready: watch::Sender<bool>,
    /// Where backends go that are taken from UDP services.
    removed: mpsc::UnboundedSender<BTreeSet<(IpAddr, u16)>>,
    /// Problems that were told of.
    told: Vec<String>,
}

impl Services {
    /// Takes over what the kernel holds from the last run. Nothing changes yet.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub(crate) fn adopt(
        object: Arc<Object>,
        links: CgroupLinks,
        config: Arc<Balancing>,
        ready: watch::Sender<bool>,
        removed: mpsc::UnboundedSender<BTreeSet<(IpAddr, u16)>>,
    ) -> Result<(Self, Handle, Messages)> {
        let (tables, balancer) = ServiceTables::adopt(&object, &config.settings)
            .context("cannot read the services of the last run")?;
        let (handle, messages) = queue::new();
        let redirects = !config.redirects;
        let listed = [false, false, false, false, false, redirects, redirects];
        let told = Vec::new();
        let services = Self {
            balancer,
            line_ids: LineIds::default(),
            tables,
            object,
            links,
            config,
            nodes: BTreeMap::new(),
            listed,
            primed: false,
            ready,
            removed,
            told,
        };
        Ok((services, handle, messages))
    }

    /// Runs until `stop`. What the kernel holds then stays.
    pub(crate) async fn run(mut self, mut messages: Messages, stop: CancellationToken) {
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                message = messages.recv() => match message {
                    Some(message) => Some(message),
                    None => return,
                },
                () = tokio::time::sleep(self.wait()) => None,
            };
            if let Some(message) = message {
                self.take(message);
                for _ in 1..BATCH {
                    let Ok(message) = messages.try_recv() else { break };
                    self.take(message);
                }
            }
            self.settle();
        }
    }

    /// How long there is nothing to do.
    fn wait(&self) -> Duration {
        let now = crate::owner::now();
        let slots = self.balancer.due().map(Duration::from_nanos);
        let due = [self.tables.next_run(), slots].into_iter().flatten().min();
        due.map_or(Duration::from_secs(1), |at| at.saturating_sub(now))
            .clamp(Duration::from_millis(1), Duration::from_secs(1))
    }

    /// What was written to which table, since the start.
    pub(crate) fn written(&self) -> BTreeMap<&'static str, reconcile::Report> {
        self.tables.written.clone()
    }

    /// Addresses of services in the kernel.
    pub(crate) fn frontends(&self) -> usize {
        self.tables.frontends().len()
    }

    fn take(&mut self, message: Message<Self, Input>) {
        match message {
            Message::Learned(inputs) => inputs.into_iter().for_each(|input| self.learn(input)),
            Message::Job(job) => job(self),
        }
    }

    fn learn(&mut self, input: Input) {
        let balancer = &mut self.balancer;
        let [services, slices, pods, nodes, node, redirects, local_pods] = &mut self.listed;
        match input {
            Input::Services(Change::Apply(service)) => balancer.set_service(service),
            Input::Services(Change::Delete(name)) => balancer.remove_service(&name),
            Input::Services(Change::Reset(all)) => {
                *services = true;
                balancer.reset_services(all);
            }
            Input::Slices(Change::Apply(slice)) => balancer.set_slice(slice),
            Input::Slices(Change::Delete(name)) => balancer.remove_slice(&name),
            Input::Slices(Change::Reset(all)) => {
                *slices = true;
                balancer.reset_slices(all);
            }
            Input::Pods(Change::Apply(pod)) => balancer.set_pod_ports(pod),
            Input::Pods(Change::Delete(name)) => balancer.remove_pod_ports(&name),
            Input::Pods(Change::Reset(all)) => {
                *pods = true;
                balancer.reset_pod_ports(all);
            }
            Input::Nodes(change) => {
                match change {
                    Change::Apply(node) => drop(self.nodes.insert(node.name.clone(), node)),
                    Change::Delete(name) => drop(self.nodes.remove(&*name.name)),
                    Change::Reset(all) => {
                        *nodes = true;
                        self.nodes = all.into_iter().map(|node| (node.name.clone(), node)).collect();
                    }
                }
                balancer.set_node_addresses(self.nodes.values().flat_map(addresses));
                balancer.set_pod_cidrs(self.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied()));
            }
            Input::NodeLabels(labels) => {
                *node = true;
                balancer.set_zone(kube_api::services::zone(&labels));
                balancer.set_node_labels(labels);
            }
            Input::Redirects(Change::Apply(policy)) => balancer.set_redirect(policy),
            Input::Redirects(Change::Delete(name)) => balancer.remove_redirect(&name),
            Input::Redirects(Change::Reset(all)) => {
                *redirects = true;
                balancer.reset_redirects(all);
            }
            Input::LocalPods(Change::Apply(pod)) => balancer.set_local_pod(pod),
            Input::LocalPods(Change::Delete(name)) => balancer.remove_local_pod(&name),
            Input::LocalPods(Change::Reset(all)) => {
                *local_pods = true;
                balancer.reset_local_pods(all);
            }
        }
    }

    fn settle(&mut self) {
        if !self.listed.iter().all(|listed| *listed) {
            return;
        }
        let update = self.balancer.settle(loader::monotonic_ns());
        let revision = update.revision;
        let removed = sockets::removed(&update);
        if self.tables.apply(update, &self.object.maps, crate::owner::now())
            && let Err(error) = self.object.maps.services_epoch.bump()
        {
            tracing::error!(%error, "the generation of services cannot be raised: datagrams keep backends that are gone");
        }
        if !removed.is_empty() && self.config.socket != SocketLb::Off {
            // Its other end is gone only when the agent stops.
            let _ = self.removed.send(removed);
        }
        if self.tables.is_written() {
            self.balancer.realized(revision, loader::monotonic_ns());
        }
        self.complain();
        if !self.primed {
            self.primed = true;
            self.start_programs();
        }
    }

    /// Tells of each problem once.
    fn complain(&mut self) {
        let mut problems: Vec<String> = self.balancer.problems().iter().map(ToString::to_string).collect();
        problems.extend(self.tables.failures());
        for problem in problems.iter().filter(|problem| !self.told.contains(problem)) {
            tracing::warn!(problem, "a service is not as it should be");
        }
        self.told = problems;
    }

    /// The tables are complete: now sockets may be translated.
    fn start_programs(&mut self) {
        let done = match self.config.socket {
            SocketLb::Off => self.links.remove(),
            SocketLb::Host | SocketLb::All => self.links.ensure(&self.object, &self.config.cgroup_root),
        };
        if let Err(error) = done {
            tracing::error!(
                error = crate::text(&error),
                cgroup = %self.config.cgroup_root.display(),
                "sockets are not translated: services answer pods packet by packet, and not the node itself; \
                 check --cgroup-root (a cgroup v2 hierarchy)"
            );
        }
        tracing::info!(frontends = self.tables.frontends().len(), "the services are in the kernel");
        self.ready.send_replace(true);
    }
}

/// All addresses under which a node is known.
fn addresses(node: &agent_core::Node) -> impl Iterator<Item = IpAddr> {
    node.underlay.iter().chain(&node.routers).copied()
}
