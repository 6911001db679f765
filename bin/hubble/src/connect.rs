//! The way to the server.

use crate::cli::Server;
use anyhow::{Context, bail};
use tonic::transport::{Channel, Endpoint};

/// Connects, or says why not.
pub(crate) async fn connect(server: &Server) -> anyhow::Result<Channel> {
    let address = &server.server;
    let uri = match address.split_once("://") {
        Some(("unix", _)) => address.clone(),
        Some(("tcp" | "http", rest)) => format!("http://{rest}"),
        Some(("tls" | "https", _)) => {
            bail!(
                "--server {address}: this client speaks no TLS yet; use the server's unix socket on its node"
            )
        }
        Some((scheme, _)) => bail!("--server {address}: {scheme} is unknown; write unix://PATH or HOST:PORT"),
        None if address.starts_with('/') => format!("unix://{address}"),
        None => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(uri).with_context(|| format!("--server {address} is no address"))?;
    tokio::time::timeout(server.timeout, endpoint.connect())
        .await
        .with_context(|| format!("no answer from {address} within {:?}", server.timeout))?
        .with_context(|| {
            format!("cannot connect to {address}: is the agent running, and is this its node? (see --server)")
        })
}
