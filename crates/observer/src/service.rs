//! `observer.Observer`.

use crate::follow::Reader;
use crate::query::Query;
use crate::{Observer, now};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use hubble_pb::observer as pb;
use hubble_pb::relay::NodeState;
use hubble_pb::wkt::UInt32Value;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = BoxStream<'static, Result<T, Status>>;

impl Observer {
    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[tonic::async_trait]
impl pb::observer_server::Observer for Observer {
    type GetFlowsStream = Streamed<pb::GetFlowsResponse>;
    type GetAgentEventsStream = Streamed<pb::GetAgentEventsResponse>;
    type GetDebugEventsStream = Streamed<pb::GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<pb::GetFlowsRequest>) -> Answer<Self::GetFlowsStream> {
        let query = Query::read(request.into_inner())?;
        tracing::debug!(?query, "flows asked for");
        Ok(Response::new(Box::pin(Reader::new(self.shared.clone(), query).await.stream())))
    }

    async fn get_agent_events(
        &self,
        request: Request<pb::GetAgentEventsRequest>,
    ) -> Answer<Self::GetAgentEventsStream> {
        let stream = crate::events::stream(self.shared.clone(), &request.into_inner())?;
        Ok(Response::new(Box::pin(stream)))
    }

    /// The datapath has no debug events, so there are none to tell: the stream ends, or stays open for who follows.
    async fn get_debug_events(
        &self,
        request: Request<pb::GetDebugEventsRequest>,
    ) -> Answer<Self::GetDebugEventsStream> {
        let (follow, shared) = (request.into_inner().follow, self.shared.clone());
        let ended = async move {
            if follow {
                shared.closing.cancelled().await;
            }
            None
        };
        Ok(Response::new(Box::pin(ended.into_stream().filter_map(std::future::ready))))
    }

    async fn get_nodes(&self, _: Request<pb::GetNodesRequest>) -> Answer<pb::GetNodesResponse> {
        let config = &self.shared.config;
        let figures = self.shared.store.figures(now());
        let own = self.shared.peers.borrow().iter().find(|peer| peer.name == config.node_name).cloned();
        let tls = own.as_ref().map(|peer| pb::Tls {
            enabled: peer.tls_server_name.is_some(),
            server_name: peer.tls_server_name.clone().unwrap_or_default(),
        });
        let node = pb::Node {
            name: config.node_name.clone(),
            version: config.version.clone(),
            address: own.map(|peer| peer.address).unwrap_or_default(),
            state: NodeState::NodeConnected.into(),
            tls,
            uptime_ns: self.uptime_ns(),
            num_flows: figures.held,
            max_flows: figures.capacity,
            seen_flows: figures.seen,
        };
        Ok(Response::new(pb::GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<pb::GetNamespacesRequest>,
    ) -> Answer<pb::GetNamespacesResponse> {
        let namespace = |(cluster, namespace)| pb::Namespace { cluster, namespace };
        let namespaces = self.shared.store.namespaces(now()).into_iter().map(namespace).collect();
        Ok(Response::new(pb::GetNamespacesResponse { namespaces }))
    }

    async fn server_status(&self, _: Request<pb::ServerStatusRequest>) -> Answer<pb::ServerStatusResponse> {
        let figures = self.shared.store.figures(now());
        Ok(Response::new(pb::ServerStatusResponse {
            num_flows: figures.held,
            max_flows: figures.capacity,
            seen_flows: figures.seen,
            uptime_ns: self.uptime_ns(),
            num_connected_nodes: Some(UInt32Value { value: 1 }),
            num_unavailable_nodes: Some(UInt32Value { value: 0 }),
            unavailable_nodes: Vec::new(),
            version: self.shared.config.version.clone(),
            flows_rate: figures.rate,
        }))
    }
}
