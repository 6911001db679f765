//! Serving.

use futures::{Stream, StreamExt};
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::server::Connected;
use tonic::transport::{self, Server};
use tonic_health::server::HealthReporter;

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that could not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("the gRPC server stopped on a broken listener: restart it with a new one")]
    Transport {
        /// Why.
        #[source]
        source: transport::Error,
    },
    /// The interface cannot be described; a bug of the build.
    #[error("the interface cannot be described to clients")]
    Reflection {
        /// Why.
        #[source]
        source: Box<tonic_reflection::server::Error>,
    },
}

/// Health and reflection for the interface that `descriptors` (an encoded `FileDescriptorSet`) describes, and who is to
/// be told when health changes. The caller adds its services.
///
/// # Errors
/// The descriptors make no sense.
pub fn routes(descriptors: &'static [u8]) -> Result<(HealthReporter, RoutesBuilder), ServeError> {
    let failed = |source| ServeError::Reflection { source: Box::new(source) };
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(describe().build_v1().map_err(failed)?)
        .add_service(describe().build_v1alpha().map_err(failed)?);
    Ok((reporter, routes))
}

/// Serves connections until `stop` is done. A connection that cannot be accepted (out of file descriptors, reset by the
/// client) is left out and logged; the others go on.
///
/// # Errors
/// The connections broke off.
pub async fn serve<S, C>(
    routes: Routes,
    connections: S,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    S: Stream<Item = io::Result<C>> + Send,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let connections = connections.then(|connection| async {
        if let Err(error) = &connection {
            tracing::warn!(%error, "a connection to the gRPC server was not accepted");
            // Out of file descriptors, say: trying again at once would only burn the CPU.
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        connection
    });
    Server::builder()
        // Finds clients that are gone without a word, so that their streams do not stay for ever.
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, stop)
        .await
        .map_err(|source| ServeError::Transport { source })
}
