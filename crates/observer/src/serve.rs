//! The listeners.

use crate::Observer;
use futures::Stream;
use grpc::ServeError;
use hubble_pb::observer::observer_server::ObserverServer;
use hubble_pb::peer::peer_server::PeerServer;
use std::future::Future;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::server::Connected;

impl Observer {
    /// Serves on a unix socket until `stop` is done. Ends all streams of this observer then.
    pub async fn serve_unix(
        &self,
        listener: UnixListener,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        self.serve(UnixListenerStream::new(listener), stop).await
    }

    /// Serves on a TCP socket, in plain text, until `stop` is done. Ends all streams of this observer then.
    pub async fn serve_tcp(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        self.serve(TcpListenerStream::new(listener), stop).await
    }

    /// Serves on connections that the caller accepts, for example over TLS, until `stop` is done. Ends all streams of this
    /// observer then.
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
        reporter.set_service_status(hubble_pb::HEALTH_NAME, tonic_health::ServingStatus::Serving).await;
        reporter.set_serving::<ObserverServer<Observer>>().await;
        routes.add_service(ObserverServer::new(self.clone())).add_service(PeerServer::new(self.clone()));
        let stop = async {
            stop.await;
            self.shared.closing.cancel();
        };
        grpc::serve(routes.routes(), connections, stop).await
    }
}
