//! The kernel's events: from the ring to flows with names, for whoever listens. Nothing is decoded when nobody does.

use std::sync::Arc;
use std::time::Duration;

use api::monitor::Event;
use api::policy::PolicyRef;
use flow::{Direction, Flow, Policies, RawFlow, RawKind, Verdict};
use loader::{EventReader, Object};
use tokio::sync::{broadcast, mpsc};

use crate::clock;
use crate::names::{Fixed, Names};
use crate::owner::Handle;
use crate::services::{self, Services};
use crate::tasks::namespaces::Namespaces;

/// Records that may wait between the ring's thread and the runtime.
const QUEUE: usize = 16_384;
/// Records that are decoded and named in one go.
const BATCH: usize = 4096;
/// Events that a slow monitor may be behind.
const MONITOR_BACKLOG: usize = 4096;

/// Takes flows as they come, for example into the observer's ring.
pub(crate) type Sink = Box<dyn FnMut(Vec<Flow>, u64) + Send>;

/// The listeners of `cilium-dbg monitor`.
#[derive(Clone, Debug)]
pub(crate) struct Monitors {
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Monitors {
    fn default() -> Self {
        Self { sender: broadcast::channel(MONITOR_BACKLOG).0 }
    }
}

impl Monitors {
    /// A new listener. It is told when it was too slow.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    fn is_heard(&self) -> bool {
        self.sender.receiver_count() > 0
    }
}

/// What the event task works with.
pub(crate) struct Events {
    /// Where the maps are pinned.
    pub bpf_root: std::path::PathBuf,
    /// The ring and the level.
    pub object: Arc<Object>,
    /// The way to the names.
    pub handle: Handle,
    /// What does not change about this node.
    pub fixed: Fixed,
    /// The way to the names of services.
    pub services: services::Handle,
    /// Listeners of the monitor.
    pub monitors: Monitors,
    /// The observer, if flows are wanted at all times.
    pub sink: Option<Sink>,
    /// Every packet is an event.
    pub every_packet: bool,
}

impl Events {
    /// Runs for ever.
    ///
    /// # Errors
    /// The ring cannot be read.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let (sender, mut records) = mpsc::channel::<Box<[u8]>>(QUEUE);
        let lost = loader::PerCpu::open(&loader::globals(&self.bpf_root).join(abi::maps::LOST))?;
        let reader =
            EventReader::start(&self.object.maps.events, lost, move |r| sender.try_send(r.into()).is_ok())?;
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        let mut batch = Vec::with_capacity(BATCH);
        let mut namespaces = Arc::new(Namespaces::new());
        let mut known_lost = reader.stats().map_or(0, |s| s.lost_in_kernel);
        loop {
            tokio::select! {
                count = records.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let records = std::mem::take(&mut batch);
                    if self.sink.is_some() || self.monitors.is_heard() {
                        self.name(records, 0, &mut namespaces).await?;
                    }
                }
                _ = tick.tick() => {
                    self.set_level();
                    let stats = reader.stats()?;
                    let now = stats.lost_in_kernel + stats.lost_in_queue;
                    let fresh = now.saturating_sub(known_lost);
                    known_lost = now;
                    if fresh > 0 {
                        self.name(Vec::new(), fresh, &mut namespaces).await?;
                    }
                }
            }
        }
    }

    /// The kernel reports nothing while nobody listens.
    fn set_level(&self) {
        let heard = self.sink.is_some() || self.monitors.is_heard();
        let level = match (heard, self.every_packet) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        let monitor = &self.object.maps.monitor;
        if monitor.get().ok() != Some(level)
            && let Err(error) = monitor.set(level)
        {
            tracing::warn!(error = %crate::text(&error), "the level of events cannot be set");
        }
    }

    /// Gives records their names, all by the same state, and hands them on.
    async fn name(
        &mut self,
        records: Vec<Box<[u8]>>,
        lost: u64,
        namespaces: &mut Arc<Namespaces>,
    ) -> anyhow::Result<()> {
        if namespaces.lack(records.iter().filter_map(|record| flow::namespace(record))) {
            Arc::make_mut(namespaces).learn(&self.handle).await?;
        }
        let (fixed, namespaces) = (self.fixed.clone(), Arc::clone(namespaces));
        let monitored = self.monitors.is_heard();
        let offset = clock::wall_offset();
        let (flows, events) = self
            .handle
            .ask(move |owner| {
                let (state, devices) = (&owner.state, owner.kernel.devices());
                let names = Names { state, devices, fixed: &fixed, namespaces: &namespaces };
                let names = flow::Cached::new(&names);
                let mut flows = Vec::with_capacity(records.len());
                let mut events = Vec::new();
                for record in records {
                    let raw = match flow::decode(&record) {
                        Ok(raw) => raw,
                        Err(error) => {
                            tracing::warn!(error = %error, "an event cannot be decoded");
                            continue;
                        }
                    };
                    let told = monitored.then(|| raw.clone());
                    let flow = flow::enrich(raw, &names, offset);
                    events.extend(told.map(|raw| Arc::new(event(&raw, &flow))));
                    flows.push(flow);
                }
                (flows, events)
            })
            .await?;
        if lost > 0 && monitored {
            // A listener that has just left is no loss.
            let _ = self.monitors.sender.send(Arc::new(Event {
                kind: "lost".to_owned(),
                lost,
                ..Event::default()
            }));
        }
        for event in events {
            let _ = self.monitors.sender.send(event);
        }
        if let Some(sink) = &mut self.sink {
            let flows = self.services.ask(move |services| name_services(services, flows)).await?;
            sink(flows, lost);
        }
        Ok(())
    }
}

/// Names the services among the ends of flows, which another task knows. An end that is a pod is no service.
fn name_services(services: &mut Services, mut flows: Vec<Flow>) -> Vec<Flow> {
    for flow in &mut flows {
        let (Some(ip), ports) = (flow.ip, flow.l4.as_ref().and_then(flow::L4::ports).unwrap_or_default())
        else {
            continue;
        };
        let ends = [(&mut flow.source, ip.source, ports.0), (&mut flow.destination, ip.destination, ports.1)];
        for (end, address, port) in ends.into_iter().filter(|(end, ..)| end.pod.is_none()) {
            if let Some(name) = services.balancer.name_of(address, port) {
                let (name, namespace) = (name.name.to_string(), name.namespace.to_string());
                end.service = Some(Arc::new(flow::Service { name, namespace }));
            }
        }
    }
    flows
}

/// A flow as the monitor prints it.
fn event(raw: &RawFlow, flow: &Flow) -> Event {
    let mut event = Event {
        time: clock::rfc3339(flow.time),
        summary: summary(flow),
        bytes: raw.event.length,
        source_identity: flow.source.identity,
        destination_identity: flow.destination.identity,
        source_labels: flow.source.labels.iter().map(ToString::to_string).collect(),
        destination_labels: flow.destination.labels.iter().map(ToString::to_string).collect(),
        source_endpoint: raw.event.source_endpoint,
        destination_endpoint: raw.event.destination_endpoint,
        interface: flow.interface.as_ref().map(|i| i.name.to_string()).unwrap_or_default(),
        ifindex: raw.event.ifindex,
        cookie: raw.event.cookie,
        ..Event::default()
    };
    match raw.kind {
        RawKind::Drop { reason, .. } => {
            event.kind = "drop".to_owned();
            event.reason = flow::format::drop_text(i32::from(reason));
            event.policies = policies(flow);
        }
        RawKind::Trace { point, reason } => {
            event.kind = "trace".to_owned();
            event.point = point.text().to_owned();
            event.state = reason.map_or("unknown", |r| r.text()).to_owned();
        }
        RawKind::Verdict { denied, .. } => {
            event.kind = "policy-verdict".to_owned();
            event.reason = denied.map(|r| flow::format::drop_text(i32::from(r))).unwrap_or_default();
            event.direction =
                if flow.direction == Direction::Egress { "egress" } else { "ingress" }.to_owned();
            event.action = match flow.verdict {
                Verdict::Audit => "audit",
                Verdict::Dropped => "deny",
                _ => "allow",
            }
            .to_owned();
            event.matched = flow::format::match_text(flow.policy_match).into_owned();
            event.policies = policies(flow);
        }
        RawKind::Socket { point, cookie, cgroup, .. } => {
            event.kind = "trace-sock".to_owned();
            event.point = point.text().to_owned();
            (event.cgroup_id, event.socket_cookie) = (cgroup, cookie);
        }
    }
    event
}

/// `10.0.0.1:4000 -> 10.0.0.2:80 TCP Flags: SYN`.
fn summary(flow: &Flow) -> String {
    let Some(ip) = flow.ip else { return flow.summary() };
    let end = |address: std::net::IpAddr, port: Option<u16>| match port {
        Some(port) if port != 0 => std::net::SocketAddr::new(address, port).to_string(),
        // At a socket its own port is not known.
        _ => address.to_string(),
    };
    let ports = flow.l4.as_ref().and_then(flow::L4::ports);
    format!(
        "{} -> {} {}",
        end(ip.source, ports.map(|(source, _)| source)),
        end(ip.destination, ports.map(|(_, destination)| destination)),
        flow.summary()
    )
}

fn policies(flow: &Flow) -> Vec<PolicyRef> {
    let all: [&Policies; 4] =
        [&flow.egress_allowed_by, &flow.ingress_allowed_by, &flow.egress_denied_by, &flow.ingress_denied_by];
    let reference = |p: &flow::Policy| PolicyRef {
        kind: p.kind.clone(),
        namespace: p.namespace.clone(),
        name: p.name.clone(),
    };
    all.into_iter().flat_map(|p| p.iter()).map(reference).collect()
}
