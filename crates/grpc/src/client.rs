//! The end that connects.

use crate::ALPN;
use crate::files::{CertError, Identity, Watched, authorities};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Error};

/// Whom a client believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Authorities with certificates in these files.
    Files(Vec<PathBuf>),
    /// The authorities that this machine trusts.
    System,
    /// Anybody. What is sent can be read by whoever stands between.
    Anybody,
}

/// Certificates of a client.
#[derive(Debug)]
pub struct Client {
    trust: Trust,
    identity: Option<Identity>,
    config: Watched<Arc<ClientConfig>>,
}

impl Client {
    /// Reads the files.
    ///
    /// # Errors
    /// The files cannot be read or used; the text names the file.
    pub fn new(trust: Trust, identity: Option<Identity>) -> Result<Self, CertError> {
        let mut paths = Vec::new();
        if let Trust::Files(files) = &trust {
            paths.extend(files.iter().cloned());
        }
        if let Some(identity) = &identity {
            paths.extend([identity.certificate.clone(), identity.key.clone()]);
        }
        let config = Watched::new(paths, || config(&trust, identity.as_ref()))?;
        Ok(Self { trust, identity, config })
    }

    /// Connects gRPC to `address` (`host:port`), whose certificate must be for `server_name`.
    ///
    /// # Errors
    /// Nobody answers there, or it is not who it should be.
    pub async fn connect(
        &self,
        endpoint: Endpoint,
        address: String,
        server_name: String,
    ) -> Result<Channel, Error> {
        let config = self.config.current(|| config(&self.trust, self.identity.as_ref()));
        let connector = tower::service_fn(move |_: http::Uri| {
            let (address, server_name, config) = (address.clone(), server_name.clone(), config.clone());
            async move {
                let name = ServerName::try_from(server_name)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Ok::<_, io::Error>(TokioIo::new(TlsConnector::from(config).connect(name, socket).await?))
            }
        });
        endpoint.connect_with_connector(connector).await
    }
}

fn config(trust: &Trust, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, CertError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| CertError::Rejected { source })?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Files(files) => verifier(authorities(files)?, provider)?,
        Trust::System => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(CertError::NoAuthority);
            }
            verifier(roots, provider)?
        }
        Trust::Anybody => Arc::new(NoVerifier(provider)),
    };
    // "Dangerous" is the name of the only door for a verifier of one's own; the two from above are webpki's.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity.load()?;
            builder.with_client_auth_cert(chain, key).map_err(|source| CertError::Rejected { source })?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn verifier(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, CertError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|source| CertError::Verifier { source })
}

/// Believes anybody, as the user has asked for; signatures are still checked, so that the other end has the key of the
/// certificate that it shows.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
