//! The way to the server.

use crate::cli::Server;
use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grpc::{Client, Identity, Trust};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// What requests go through.
pub(crate) type Connection = InterceptedService<Channel, Authorise>;

/// Says who asks, if the user gave a name.
#[derive(Clone, Debug)]
pub(crate) struct Authorise(Option<AsciiMetadataValue>);

impl Interceptor for Authorise {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// How an address is reached.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Unix(String),
    Plain(String),
    Tls(String),
}

/// Connects, or says why not.
pub(crate) async fn connect(server: &Server) -> anyhow::Result<Connection> {
    let address = &server.server;
    let way = way(server)?;
    let authorise = authorise(server, &way)?;
    let connecting = async {
        Ok(match way {
            Way::Unix(path) => endpoint(server, format!("unix://{path}"))?.connect().await?,
            Way::Plain(address) => endpoint(server, format!("http://{address}"))?.connect().await?,
            Way::Tls(address) => {
                let endpoint = endpoint(server, format!("https://{address}"))?;
                let name = match server.tls_server_name.as_str() {
                    "" => host(&address).to_owned(),
                    name => name.to_owned(),
                };
                client(server)?.connect(endpoint, address, name).await?
            }
        })
    };
    let channel: anyhow::Result<Channel> = tokio::time::timeout(server.timeout, connecting)
        .await
        .with_context(|| format!("no answer from {address} within {:?}", server.timeout))?;
    let channel = channel.with_context(|| {
        format!("cannot connect to {address}: is a Hubble server or relay there, and does it speak TLS? (see --server, --tls)")
    })?;
    Ok(InterceptedService::new(channel, authorise))
}

fn way(server: &Server) -> anyhow::Result<Way> {
    let address = &server.server;
    let tls = server.tls.is_set() || !server.tls_client_cert_file.is_empty();
    Ok(match address.split_once("://") {
        Some(("unix", path)) => Way::Unix(path.to_owned()),
        None if address.starts_with('/') => Way::Unix(address.clone()),
        Some(("tls" | "https", rest)) => Way::Tls(rest.to_owned()),
        Some(("tcp" | "http", rest)) if tls => Way::Tls(rest.to_owned()),
        Some(("tcp" | "http", rest)) => Way::Plain(rest.to_owned()),
        Some((scheme, _)) => {
            bail!("--server {address}: {scheme} is unknown; write unix://PATH, HOST:PORT or tls://HOST:PORT")
        }
        None if tls => Way::Tls(address.clone()),
        None => Way::Plain(address.clone()),
    })
}

fn endpoint(server: &Server, uri: String) -> anyhow::Result<Endpoint> {
    Endpoint::from_shared(uri).with_context(|| format!("--server {} is no address", server.server))
}

/// A password must not go over the wire in plain text.
fn authorise(server: &Server, way: &Way) -> anyhow::Result<Authorise> {
    let (name, password) = (&server.basic_auth_username, &server.basic_auth_password);
    if name.is_empty() && password.is_empty() {
        return Ok(Authorise(None));
    }
    ensure!(
        matches!(way, Way::Tls(_)),
        "--basic-auth-username needs TLS: use --server tls://HOST:PORT or --tls"
    );
    ensure!(!name.is_empty(), "--basic-auth-password needs --basic-auth-username");
    let value = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
    let mut value: AsciiMetadataValue = value.parse().context("--basic-auth-username cannot be sent")?;
    value.set_sensitive(true);
    Ok(Authorise(Some(value)))
}

fn client(server: &Server) -> anyhow::Result<Client> {
    let trust = if server.tls_allow_insecure.is_set() {
        Trust::Anybody
    } else if server.tls_ca_cert_files.is_empty() {
        Trust::System
    } else {
        Trust::Files(server.tls_ca_cert_files.clone())
    };
    let (certificate, key) = (&server.tls_client_cert_file, &server.tls_client_key_file);
    ensure!(
        certificate.is_empty() == key.is_empty(),
        "--tls-client-cert-file and --tls-client-key-file belong together: give both or none"
    );
    let identity =
        (!certificate.is_empty()).then(|| Identity { certificate: certificate.into(), key: key.into() });
    Ok(Client::new(trust, identity)?)
}

/// The host of `host:port`, without the brackets of IPv6.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn server(arguments: &[&str]) -> Server {
        Cli::try_parse_from(["hubble", "status"].iter().chain(arguments)).unwrap().server
    }

    #[test]
    fn addresses_say_how_they_are_reached() {
        for (arguments, expected) in [
            (&["--server", "unix:///a/b"][..], Way::Unix("/a/b".into())),
            (&["--server", "/a/b"], Way::Unix("/a/b".into())),
            (&["--server", "h:1"], Way::Plain("h:1".into())),
            (&["--server", "tls://h:1"], Way::Tls("h:1".into())),
            (&["--server", "h:1", "--tls"], Way::Tls("h:1".into())),
            (&["--server", "h:1", "--tls=false"], Way::Plain("h:1".into())),
            (&["--server=h:1", "--tls-client-cert-file=c"], Way::Tls("h:1".into())),
        ] {
            assert_eq!(way(&server(arguments)).unwrap(), expected, "{arguments:?}");
        }
        assert!(way(&server(&["--server", "ftp://h:1"])).is_err());
        assert_eq!((host("h:1"), host("[fd00::1]:1")), ("h", "fd00::1"));
    }

    #[test]
    fn passwords_need_tls() {
        let with = |address: &str| {
            let server = server(&["--server", address, "--basic-auth-username=u", "--basic-auth-password=p"]);
            authorise(&server, &way(&server).unwrap())
        };
        assert!(with("h:1").unwrap_err().to_string().contains("needs TLS"));
        assert_eq!(with("tls://h:1").unwrap().0.unwrap().to_str().unwrap(), "Basic dTpw");
        assert!(!format!("{:?}", with("tls://h:1").unwrap()).contains("dTpw"), "never in a log");
    }
}
