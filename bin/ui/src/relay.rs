//! The way to the relay.

use crate::clip::clip;
use crate::config::{Config, Tls};
use crate::hub::{Health, Hub, KEPT};
use flow::Flow;
use futures::StreamExt;
use grpc::{Client, Trust};
use hubble_pb::flow::FlowFilter;
use hubble_pb::observer::get_flows_response::ResponseTypes;
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::{GetFlowsRequest, GetFlowsResponse};
use hubble_pb::relay::{NodeState, NodeStatusEvent};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// How long a connection may take, and how long to wait before the next try.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(2);
/// How long flows keep coming when nobody looks any more: pages are loaded again more often than not.
const LINGER: Duration = Duration::from_secs(20);
/// Answers that are taken together. Each waits for no other.
const TOGETHER: usize = 512;
/// A message may be as long as labels are.
const LARGEST: usize = 64 << 20;

/// Where flows come from.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    address: String,
    tls: Option<Tls>,
}

impl Relay {
    pub(crate) fn new(config: &Config) -> Self {
        Self { address: config.relay.clone(), tls: config.tls.clone() }
    }

    async fn connect(&self) -> anyhow::Result<ObserverClient<Channel>> {
        let address = self.address.as_str();
        let bare = address.rsplit_once("://").map_or(address, |(_, rest)| rest).to_owned();
        let channel = match &self.tls {
            _ if address.starts_with("unix://") => endpoint(address.to_owned())?.connect().await?,
            None => endpoint(format!("http://{bare}"))?.connect().await?,
            Some(tls) => {
                let client = Client::new(Trust::Files(tls.authorities.clone()), tls.identity.clone())?;
                let endpoint = endpoint(format!("https://{bare}"))?;
                client.connect(endpoint, bare, tls.server_name.clone()).await?
            }
        };
        Ok(ObserverClient::new(channel).max_decoding_message_size(LARGEST))
    }

    async fn client(&self) -> anyhow::Result<ObserverClient<Channel>> {
        let connected = tokio::time::timeout(PATIENCE, self.connect()).await;
        let connected = connected.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
        connected.map_err(|error| error.context(format!("cannot reach the relay at {}", self.address)))
    }

    /// The last flows that nodes keep, `number` of each, that fit one of `filters`.
    pub(crate) async fn last(&self, number: u64, filters: Vec<FlowFilter>) -> anyhow::Result<Vec<Flow>> {
        let request = GetFlowsRequest { number, whitelist: filters, ..GetFlowsRequest::default() };
        let mut stream = self.client().await?.get_flows(request).await?.into_inner();
        let mut flows = Vec::new();
        while let Some(answer) = stream.message().await? {
            if let Some(ResponseTypes::Flow(mut flow)) = answer.response_types {
                clip(&mut flow);
                flows.extend(Flow::try_from(flow).ok());
            }
        }
        Ok(flows)
    }

    /// Passes flows on while somebody looks, until it is told to stop.
    pub(crate) async fn keep(self, hub: Hub, stop: CancellationToken) {
        let mut lookers = hub.lookers();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                seen = lookers.wait_for(|lookers| *lookers > 0) => if seen.is_err() { return },
            }
            let mut leaving = lookers.clone();
            let left = async {
                loop {
                    if leaving.wait_for(|lookers| *lookers == 0).await.is_err() {
                        return;
                    }
                    let back = leaving.wait_for(|lookers| *lookers > 0);
                    if tokio::time::timeout(LINGER, back).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = left => hub.set_health(|health| *health = Health::default()),
                () = self.follow_on(&hub) => {}
            }
        }
    }

    /// What a stream that breaks says of itself is about frames and sockets; the rest is in the log.
    fn broken(&self, status: &tonic::Status) -> anyhow::Error {
        tracing::debug!(%status, "a stream that broke");
        match status.code() {
            Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable => {
                anyhow::anyhow!("the relay at {} broke the stream off", self.address)
            }
            _ => anyhow::anyhow!("the relay at {} refuses: {}", self.address, status.message()),
        }
    }

    async fn follow_on(&self, hub: &Hub) {
        let mut told = String::new();
        loop {
            let trouble = match self.follow(hub).await {
                Ok(()) => format!("the relay at {} ended the stream", self.address),
                Err(error) => format!("{error:#}"),
            };
            if trouble != told {
                tracing::warn!(trouble, "no flows");
                told.clone_from(&trouble);
            }
            hub.set_health(|health| *health = Health { trouble: Some(trouble), ..Health::default() });
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(&self, hub: &Hub) -> anyhow::Result<()> {
        let request = GetFlowsRequest { number: KEPT as u64 / 4, follow: true, ..GetFlowsRequest::default() };
        let stream = self.client().await?.get_flows(request).await?.into_inner();
        hub.clear();
        hub.set_health(|health| *health = Health { connected: true, ..Health::default() });
        let mut nodes = Nodes::default();
        let mut stream = stream.ready_chunks(TOGETHER);
        while let Some(answers) = stream.next().await {
            let mut flows = Vec::with_capacity(answers.len());
            for answer in answers {
                let GetFlowsResponse { response_types, .. } =
                    answer.map_err(|status| self.broken(&status))?;
                match response_types {
                    Some(ResponseTypes::Flow(mut flow)) => {
                        clip(&mut flow);
                        match Flow::try_from(flow) {
                            Ok(flow) => flows.push(flow),
                            Err(error) => tracing::debug!(%error, "a flow that makes no sense"),
                        }
                    }
                    Some(ResponseTypes::LostEvents(lost)) => {
                        hub.set_health(|health| health.lost += lost.num_events_lost);
                    }
                    Some(ResponseTypes::NodeStatus(event)) => {
                        nodes.apply(event);
                        hub.set_health(|health| nodes.tell(health));
                    }
                    None => {}
                }
            }
            if !flows.is_empty() {
                hub.push(flows);
            }
        }
        Ok(())
    }
}

/// Which nodes' flows come.
#[derive(Debug, Default)]
struct Nodes {
    here: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl Nodes {
    fn apply(&mut self, event: NodeStatusEvent) {
        let state = event.state_change();
        for name in event.node_names {
            match state {
                NodeState::NodeConnected => {
                    self.missing.remove(&name);
                    self.here.insert(name);
                }
                NodeState::NodeUnavailable | NodeState::NodeError => {
                    self.here.remove(&name);
                    self.missing.insert(name);
                }
                NodeState::NodeGone => {
                    self.here.remove(&name);
                    self.missing.remove(&name);
                }
                NodeState::UnknownNodeState => {}
            }
        }
    }

    fn tell(&self, health: &mut Health) {
        health.nodes = u32::try_from(self.here.len()).unwrap_or(u32::MAX);
        health.missing = self.missing.iter().take(20).cloned().collect();
    }
}

fn endpoint(uri: String) -> anyhow::Result<Endpoint> {
    // Finds a relay that is gone without a word.
    Ok(Endpoint::from_shared(uri)?
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true))
}
