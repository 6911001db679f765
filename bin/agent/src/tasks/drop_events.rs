//! Drops of pods' packets as Events, where those look who do not know of Hubble: `kubectl describe pod`.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::Result;
use flow::{Direction, End, Flow, L4, Verdict};
use hubble_pb::flow::DropReason;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube_watch::Clients;
use tokio::sync::mpsc;

use crate::node::MANAGER;

/// Events that may wait for the API server; more are left out.
const QUEUE: usize = 64;
/// Pairs that are remembered; while there are more, new ones make no Event.
const PAIRS: usize = 4096;
/// Events of one node in a minute at most, whatever its pods do.
const A_MINUTE: u32 = 60;
/// What an Event's message may have, by the API server's rules.
const LONGEST: usize = 1024;

/// Which drops become Events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// How long the same drop makes no second one.
    pub interval: Duration,
    /// Numbers of the reasons.
    pub reasons: BTreeSet<u8>,
}

impl Wanted {
    /// The reason's number by the flow API's name, in any case.
    pub(crate) fn reason(name: &str) -> Option<u8> {
        let reason = DropReason::from_str_name(&name.to_ascii_uppercase())?;
        u8::try_from(i32::from(reason)).ok().filter(|number| *number != 0)
    }
}

/// A pod, its peer, and why: what makes one Event an interval.
type Pair = (String, String, u8);

/// Looks at flows. Never waits.
pub(crate) struct Watcher {
    wanted: Wanted,
    queue: mpsc::Sender<Event>,
    told: HashMap<Pair, Instant>,
    minute: (Instant, u32),
}

/// A watcher, and where its Events come out.
pub(crate) fn watcher(wanted: Wanted) -> (Watcher, mpsc::Receiver<Event>) {
    let (queue, events) = mpsc::channel(QUEUE);
    let watcher = Watcher { wanted, queue, told: HashMap::new(), minute: (Instant::now(), 0) };
    (watcher, events)
}

/// Writes Events for ever. One that cannot be written is left out: the next drop makes another.
pub(crate) async fn write(clients: Clients, mut events: mpsc::Receiver<Event>) -> Result<()> {
    while let Some(event) = events.recv().await {
        if let Err(error) = clients.create(&event).await {
            tracing::warn!(error = error.describe(), "a drop cannot be told of as an Event");
        }
    }
    std::future::pending().await
}

impl Watcher {
    /// Looks at flows.
    pub(crate) fn look(&mut self, flows: &[Flow], now: Instant) {
        for flow in flows.iter().filter(|flow| flow.verdict == Verdict::Dropped) {
            if let Some(event) = self.event(flow, now) {
                // A queue that is full is an API server that is slow; flows do not wait for it.
                let _ = self.queue.try_send(event);
            }
        }
    }

    fn event(&mut self, flow: &Flow, now: Instant) -> Option<Event> {
        if !self.wanted.reasons.contains(&flow.drop_reason) {
            return None;
        }
        let ip = flow.ip?;
        // The pod on this node whose policy it was.
        let (own, other, address) = match flow.direction {
            Direction::Ingress => (&flow.destination, &flow.source, ip.source),
            Direction::Egress => (&flow.source, &flow.destination, ip.destination),
            Direction::Unknown => return None,
        };
        let pod = own.pod.as_ref().filter(|_| own.endpoint != 0)?;
        let peer = name(other, address);
        let pair = (format!("{}/{}", pod.namespace, pod.name), peer.clone(), flow.drop_reason);
        let interval = self.wanted.interval;
        if self.told.get(&pair).is_some_and(|last| now.saturating_duration_since(*last) < interval) {
            return None;
        }
        if now.saturating_duration_since(self.minute.0) > Duration::from_secs(60) {
            self.minute = (now, 0);
            self.told.retain(|_, last| now.saturating_duration_since(*last) < interval);
        }
        if self.minute.1 >= A_MINUTE || self.told.len() >= PAIRS {
            return None;
        }
        self.minute.1 += 1;
        self.told.insert(pair, now);
        Some(written(flow, pod, &peer))
    }
}

/// `shop/web (10.0.0.1)`, or what is known of it.
fn name(end: &End, address: std::net::IpAddr) -> String {
    match (&end.pod, end.names.first()) {
        (Some(pod), _) => format!("{}/{} ({address})", pod.namespace, pod.name),
        (None, Some(name)) => format!("{name} ({address})"),
        (None, None) => address.to_string(),
    }
}

fn written(flow: &Flow, pod: &flow::Pod, peer: &str) -> Event {
    let reason = DropReason::try_from(i32::from(flow.drop_reason)).unwrap_or_default();
    let reason = reason.as_str_name().to_lowercase();
    let protocol = match flow.l4 {
        Some(L4::Tcp { destination, .. }) => format!(" TCP/{destination}"),
        Some(L4::Udp { destination, .. }) => format!(" UDP/{destination}"),
        Some(L4::Sctp { destination, .. }) => format!(" SCTP/{destination}"),
        Some(L4::Icmp4 { .. }) => " ICMPv4".to_owned(),
        Some(L4::Icmp6 { .. }) => " ICMPv6".to_owned(),
        _ => String::new(),
    };
    let message = match flow.direction {
        Direction::Ingress => format!("Incoming packet dropped ({reason}) from {peer}{protocol}"),
        _ => format!("Outgoing packet dropped ({reason}) to {peer}{protocol}"),
    };
    let now = Timestamp::now();
    // Names of objects have 253 letters at most.
    let short: String = pod.name.chars().take(200).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{short}.{:x}", flow.time)),
            namespace: Some(pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some("PacketDrop".to_owned()),
        message: Some(flow::format::clean(&message).chars().take(LONGEST).collect()),
        source: Some(EventSource { component: Some(MANAGER.to_owned()), ..EventSource::default() }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn end(name: &str, endpoint: u32) -> End {
        let pod = flow::Pod { namespace: "shop".into(), name: name.into(), ..flow::Pod::default() };
        End { endpoint, pod: Some(Arc::new(pod)), ..End::default() }
    }

    fn dropped(direction: Direction) -> Flow {
        Flow {
            time: 255,
            verdict: Verdict::Dropped,
            drop_reason: 133,
            direction,
            ip: Some(flow::Ip {
                source: "10.0.0.1".parse().expect("an address"),
                destination: "10.0.0.2".parse().expect("an address"),
                source_xlated: None,
                encrypted: false,
            }),
            l4: Some(L4::Tcp { source: 40_000, destination: 80, flags: None }),
            source: end("web", 7),
            destination: end("db\u{1b}[2J", 8),
            ..Flow::default()
        }
    }

    fn wanted() -> Wanted {
        let reasons = [Wanted::reason("policy_denied").expect("it is known")].into();
        Wanted { interval: Duration::from_secs(120), reasons }
    }

    #[test]
    fn a_drop_is_told_of_once_an_interval_at_the_pod_whose_policy_it_was() {
        let (mut watcher, mut events) = watcher(wanted());
        let start = Instant::now();
        let both = [dropped(Direction::Egress), dropped(Direction::Ingress)];
        watcher.look(&both, start);
        watcher.look(&both, start + Duration::from_secs(119));
        let told: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        let texts: Vec<_> = told.iter().filter_map(|e| e.message.as_deref()).collect();
        assert_eq!(
            texts,
            [
                "Outgoing packet dropped (policy_denied) to shop/db^[[2J (10.0.0.2) TCP/80",
                "Incoming packet dropped (policy_denied) from shop/web (10.0.0.1) TCP/80"
            ]
        );
        assert_eq!(told[0].involved_object.name.as_deref(), Some("web"));
        assert_eq!(told[0].metadata.name.as_deref(), Some("web.ff"));
        watcher.look(&both, start + Duration::from_secs(121));
        assert!(events.try_recv().is_ok() && events.try_recv().is_ok() && events.try_recv().is_err());
    }

    #[test]
    fn others_are_left_out_and_a_storm_is_bounded() {
        let (mut watcher, mut events) = watcher(wanted());
        let now = Instant::now();
        watcher.look(&[Flow { drop_reason: 181, ..dropped(Direction::Egress) }], now);
        watcher.look(&[Flow { verdict: Verdict::Audit, ..dropped(Direction::Egress) }], now);
        watcher.look(&[Flow { source: end("elsewhere", 0), ..dropped(Direction::Egress) }], now);
        assert!(events.try_recv().is_err());
        for n in 0..10_000 {
            watcher.look(&[Flow { source: end(&format!("p{n}"), 7), ..dropped(Direction::Egress) }], now);
        }
        assert_eq!(std::iter::from_fn(|| events.try_recv().ok()).count(), A_MINUTE as usize);
        assert!(watcher.told.len() <= PAIRS);
        assert_eq!(Wanted::reason("no_such_reason"), None);
    }
}
