//! The listeners.

use crate::Observer;
use futures::{Stream, StreamExt};
use hubble_pb::observer::observer_server::ObserverServer;
use hubble_pb::peer::peer_server::PeerServer;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::server::Connected;
use tonic::transport::{self, Server};

/// The name under which Hubble's clients ask for the server's health.
const HEALTH_NAME: &str = "hubble.server.Observer";

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The server could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("Hubble's server stopped on a broken listener: restart it with a new one")]
    Transport {
        /// Why.
        #[source]
        source: transport::Error,
    },
}

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

    /// Serves on connections that the caller accepts, for example over TLS, until `stop` is done. A connection that
    /// cannot be accepted (out of file descriptors, reset by the client) is left out and logged; the others go on.
    pub async fn serve<S, C>(
        &self,
        connections: S,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError>
    where
        S: Stream<Item = io::Result<C>> + Send,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let connections = connections.then(|connection| async {
            if let Err(error) = &connection {
                tracing::warn!(%error, "a connection to Hubble's server was not accepted");
                // Out of file descriptors, say: trying again at once would only burn the CPU.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            connection
        });
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status(HEALTH_NAME, tonic_health::ServingStatus::Serving).await;
        reporter.set_serving::<ObserverServer<Observer>>().await;
        let stop = async {
            stop.await;
            self.shared.closing.cancel();
        };
        Server::builder()
            .add_service(health)
            .add_service(ObserverServer::new(self.clone()))
            .add_service(PeerServer::new(self.clone()))
            .serve_with_incoming_shutdown(connections, stop)
            .await
            .map_err(|source| ServeError::Transport { source })
    }
}
