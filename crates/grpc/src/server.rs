//! The end that listens.

use crate::files::{CertError, Identity, Watched, authorities};
use crate::{ALPN, Connection};
use futures::{Stream, StreamExt};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::TcpListenerStream;

/// A client must say who it is within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Clients that may be at it at the same time; more wait.
const HANDSHAKES: usize = 128;

/// Certificates of a server.
#[derive(Debug)]
pub struct Server {
    identity: Identity,
    /// Files of authorities that clients' certificates must come from; none: clients need no certificate.
    clients: Vec<PathBuf>,
    config: Watched<Arc<ServerConfig>>,
}

impl Server {
    /// Reads the files. With `clients`, only clients with a certificate of one of these authorities are let in.
    ///
    /// # Errors
    /// The files cannot be read or used; the text names the file.
    pub fn new(identity: Identity, clients: Vec<PathBuf>) -> Result<Self, CertError> {
        let mut paths = vec![identity.certificate.clone(), identity.key.clone()];
        paths.extend(clients.iter().cloned());
        let config = Watched::new(paths, || config(&identity, &clients))?;
        Ok(Self { identity, clients, config })
    }

    /// Connections whose handshake succeeded. What fails before is left out: the log has it on level debug.
    pub fn accept(
        self: Arc<Self>,
        listener: TcpListener,
    ) -> impl Stream<Item = io::Result<Connection<TlsStream<tokio::net::TcpStream>>>> + Send {
        let handshake = move |socket: io::Result<tokio::net::TcpStream>| {
            let config = self.config.current(|| config(&self.identity, &self.clients));
            async move {
                let socket = match socket {
                    Ok(socket) => socket,
                    Err(error) => return Some(Err(error)),
                };
                match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(socket)).await {
                    Ok(Ok(stream)) => Some(Ok(Connection(stream))),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a TLS handshake failed");
                        None
                    }
                    Err(_) => {
                        tracing::debug!("a TLS handshake took too long");
                        None
                    }
                }
            }
        };
        TcpListenerStream::new(listener)
            .map(handshake)
            .buffer_unordered(HANDSHAKES)
            .filter_map(std::future::ready)
    }
}

fn config(identity: &Identity, clients: &[PathBuf]) -> Result<Arc<ServerConfig>, CertError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| CertError::Rejected { source })?;
    let builder = if clients.is_empty() {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::new(authorities(clients)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|source| CertError::Verifier { source })?;
        builder.with_client_cert_verifier(verifier)
    };
    let (chain, key) = identity.load()?;
    let mut config = builder.with_single_cert(chain, key).map_err(|source| CertError::Rejected { source })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}
