//! Nodes ask each other whether they are there: ICMP echo and HTTP, to each node's addresses in the underlay and to its
//! address among the pods (the router), over each family. The second way takes routes or the tunnel as pods' packets do.
//!
//! The node's own policies judge these packets as they do any others of `remote-node` (they do so in Cilium, too): a node
//! that is closed to TCP 4240 and ICMP echo is told of as not reachable.
//!
//! Deliberately absent: a pod of our own on each node that answers (Cilium has one); the router answers in its place.

mod answer;
mod icmp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_core::Node;
use api::GoDuration;
use api::health::{Connectivity, HealthStatus, NodeStatus, PathStatus, Paths, SelfStatus};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::clock;
use crate::controllers::Controllers;
use crate::owner::Handle;

pub(crate) use answer::answer;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two rounds, with one node; the logarithm of their number stretches it.
const INTERVAL: Duration = Duration::from_secs(10);
/// Probes under way at once.
const AT_ONCE: usize = 32;

/// The last round, and the way to ask for one.
#[derive(Clone)]
pub(crate) struct Probes {
    handle: Handle,
    port: u16,
    last: watch::Sender<Arc<HealthStatus>>,
    controllers: Controllers,
}

impl Probes {
    /// Probes on the port where the other agents answer.
    pub(crate) fn new(handle: Handle, port: u16, controllers: Controllers) -> Self {
        Self { handle, port, last: watch::Sender::default(), controllers }
    }

    /// The last round.
    pub(crate) fn last(&self) -> Arc<HealthStatus> {
        self.last.borrow().clone()
    }

    /// Makes rounds for ever.
    pub(crate) async fn run(self) {
        loop {
            let interval = match self.round().await {
                Some(round) => round.probe_interval.0,
                None => INTERVAL,
            };
            tokio::time::sleep(interval).await;
        }
    }

    /// Makes a round now; `None` when the agent is ending.
    pub(crate) async fn round(&self) -> Option<Arc<HealthStatus>> {
        let asked = self.handle.ask(|owner| {
            let settings = owner.state.settings();
            let others = owner.state.nodes().filter(|node| node.name != settings.node.name).cloned();
            let families = (settings.ipv4, settings.ipv6);
            let nodes: Vec<Node> = [settings.node.clone()].into_iter().chain(others).collect();
            (settings.cluster.to_string(), families, nodes)
        });
        let (cluster, (v4, v6), nodes) = asked.await.ok()?;
        let at_once = Semaphore::new(AT_ONCE);
        let wanted = |all: &[IpAddr]| -> Vec<IpAddr> {
            all.iter().copied().filter(|ip| if ip.is_ipv4() { v4 } else { v6 }).collect()
        };
        let mut asking = Vec::new();
        for node in &nodes {
            let name = format!("{cluster}/{}", node.name);
            asking.push(self.node(name, wanted(&node.underlay), wanted(&node.routers), &at_once));
        }
        let statuses = join_all(asking).await;
        let count = u32::try_from(statuses.len()).unwrap_or(u32::MAX);
        let round = HealthStatus {
            local: SelfStatus {
                name: format!("{cluster}/{}", nodes.first().map_or("", |own| own.name.as_str())),
            },
            nodes: statuses,
            timestamp: clock::rfc3339_seconds(),
            probe_interval: GoDuration(interval(count)),
        };
        let lost: Vec<&str> =
            round.nodes.iter().filter(|node| !node.is_reachable()).map(|node| node.name.as_str()).collect();
        let outcome =
            if lost.is_empty() { Ok(()) } else { Err(format!("not reachable: {}", lost.join(", "))) };
        self.tell(&outcome);
        let round = Arc::new(round);
        self.last.send_replace(Arc::clone(&round));
        Some(round)
    }

    /// The round itself went well, whatever it found; what changed is worth a line in the log.
    fn tell(&self, found: &Result<(), String>) {
        self.controllers.ran("cilium-health-probe", &Ok::<(), String>(()));
        let reachable = |round: &HealthStatus| round.nodes.iter().all(NodeStatus::is_reachable);
        match found {
            Err(lost) if reachable(&self.last.borrow()) => tracing::warn!(lost, "nodes do not answer"),
            Ok(()) if !reachable(&self.last.borrow()) => tracing::info!("all nodes answer again"),
            _ => {}
        }
    }

    async fn node(
        &self,
        name: String,
        underlay: Vec<IpAddr>,
        routers: Vec<IpAddr>,
        at_once: &Semaphore,
    ) -> NodeStatus {
        let (host, health_endpoint) =
            tokio::join!(self.paths(underlay, at_once), self.paths(routers, at_once));
        NodeStatus { name, host, health_endpoint }
    }

    async fn paths(&self, addresses: Vec<IpAddr>, at_once: &Semaphore) -> Paths {
        let mut trying = Vec::new();
        for ip in addresses {
            trying.push(self.path(ip, at_once));
        }
        let mut tried = join_all(trying).await.into_iter();
        Paths { primary_address: tried.next(), secondary_addresses: tried.collect() }
    }

    async fn path(&self, ip: IpAddr, at_once: &Semaphore) -> PathStatus {
        // The semaphore is never closed.
        let _permit = at_once.acquire().await;
        let (icmp, http) = tokio::join!(icmp::echo(ip, PATIENCE), hello(ip, self.port));
        PathStatus { ip: ip.to_string(), icmp: Some(told(icmp)), http: Some(told(http)) }
    }
}

/// `10 s · ln(1 + n)`: large clusters are not drowned in probes.
fn interval(nodes: u32) -> Duration {
    Duration::from_secs((INTERVAL.as_secs_f64() * f64::from(nodes).ln_1p()).ceil() as u64)
}

fn told(outcome: std::io::Result<Duration>) -> Connectivity {
    let last_probed = clock::rfc3339_seconds();
    match outcome {
        Ok(time) => Connectivity {
            latency: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            status: String::new(),
            last_probed,
        },
        Err(error) => Connectivity { latency: 0, status: error.to_string(), last_probed },
    }
}

/// Asks the agent at an address whether it is there.
async fn hello(ip: IpAddr, port: u16) -> std::io::Result<Duration> {
    let ask = async {
        let start = Instant::now();
        let mut stream = TcpStream::connect(SocketAddr::new(ip, port)).await?;
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n").await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        match &answer {
            b"HTTP/1.1 200" => Ok(start.elapsed()),
            other => Err(std::io::Error::other(format!("answered {}", String::from_utf8_lossy(other)))),
        }
    };
    timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_rarer_in_large_clusters() {
        assert_eq!([1, 3, 1000].map(|nodes| interval(nodes).as_secs()), [7, 14, 70]);
    }

    #[tokio::test]
    async fn an_agent_is_there_or_not() {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let ip: IpAddr = "127.0.0.1".parse().expect("an address");
        assert!(hello(ip, port).await.is_err(), "nobody listens yet");
        let task = tokio::spawn(answer(SocketAddr::new(ip, port), Controllers::default()));
        let mut heard = hello(ip, port).await;
        for _ in 0..50 {
            if heard.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            heard = hello(ip, port).await;
        }
        assert!(heard.is_ok(), "{heard:?}");
        let told = told(heard);
        assert!(told.status.is_empty() && told.latency > 0, "{told:?}");
        task.abort();
    }
}
