//! `observer.Observer` of the relay.

use crate::merge::Window;
use crate::{Pool, answer, flows};
use futures::Stream;
use futures::stream::BoxStream;
use grpc::ServeError;
use hubble_pb::observer as pb;
use pb::observer_server::{Observer, ObserverServer};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

/// How often the relay looks whether it has nodes to ask.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// What the relay says of itself, and how far it reads ahead.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in news about nodes.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How far it reads ahead to put flows in order.
    pub window: Window,
}

/// The relay. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct Relay {
    shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    /// Ends all streams.
    pub(crate) closing: CancellationToken,
}

impl Relay {
    /// A relay in front of the nodes of a pool.
    pub fn new(config: Config, pool: Pool) -> Self {
        Self { shared: Arc::new(Shared { config, pool, closing: CancellationToken::new() }) }
    }

    /// Serves connections until `stop` is done. Ends all streams of this relay then.
    ///
    /// # Errors
    /// The connections broke off.
    pub async fn serve<S, C>(
        &self,
        connections: S,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError>
    where
        S: Stream<Item = io::Result<C>> + Send,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let (reporter, mut routes) = grpc::routes(hubble_pb::DESCRIPTORS)?;
        routes.add_service(ObserverServer::new(self.clone()));
        let health = async {
            loop {
                let ready = self.shared.pool.is_ready();
                let status = match ready {
                    true => tonic_health::ServingStatus::Serving,
                    false => tonic_health::ServingStatus::NotServing,
                };
                reporter.set_service_status(hubble_pb::HEALTH_NAME, status).await;
                tokio::time::sleep(HEALTH_INTERVAL).await;
            }
        };
        let stop = async {
            stop.await;
            self.shared.closing.cancel();
        };
        tokio::select! {
            served = grpc::serve(routes.routes(), connections, stop) => served,
            () = health => Ok(()),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl Observer for Relay {
    type GetFlowsStream = Streamed<pb::GetFlowsResponse>;
    type GetAgentEventsStream = Streamed<pb::GetAgentEventsResponse>;
    type GetDebugEventsStream = Streamed<pb::GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<pb::GetFlowsRequest>) -> Answer<Self::GetFlowsStream> {
        let request = request.into_inner();
        if request.first && request.follow {
            return Err(Status::invalid_argument("first and follow cannot be combined: leave one out"));
        }
        Ok(Response::new(Box::pin(flows::stream(self.shared.clone(), request))))
    }

    async fn get_agent_events(
        &self,
        _: Request<pb::GetAgentEventsRequest>,
    ) -> Answer<Self::GetAgentEventsStream> {
        Err(Status::unimplemented("a relay has no agent events: ask the server of a node"))
    }

    async fn get_debug_events(
        &self,
        _: Request<pb::GetDebugEventsRequest>,
    ) -> Answer<Self::GetDebugEventsStream> {
        Err(Status::unimplemented("a relay has no debug events: ask the server of a node"))
    }

    async fn get_nodes(&self, _: Request<pb::GetNodesRequest>) -> Answer<pb::GetNodesResponse> {
        Ok(Response::new(answer::nodes(&self.shared).await))
    }

    async fn get_namespaces(
        &self,
        _: Request<pb::GetNamespacesRequest>,
    ) -> Answer<pb::GetNamespacesResponse> {
        Ok(Response::new(answer::namespaces(&self.shared).await))
    }

    async fn server_status(&self, _: Request<pb::ServerStatusRequest>) -> Answer<pb::ServerStatusResponse> {
        Ok(Response::new(answer::status(&self.shared).await))
    }
}
