//! Options. The names of environment variables are those that Cilium's page has.

use anyhow::{Context, bail, ensure};
use clap::Parser;
use grpc::Identity;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Shows the flows of a cluster in a browser
#[derive(Clone, Debug, Parser)]
#[command(name = "hubble-ui", version)]
pub(crate) struct Options {
    /// Log more
    #[arg(long)]
    debug: bool,
    /// Address to serve on, such as :8081
    #[arg(long, env = "EVENTS_SERVER_ADDR", default_value = ":8081")]
    listen_address: String,
    /// The relay (or an agent): HOST:PORT or unix://PATH
    #[arg(long, env = "FLOWS_API_ADDR", default_value = "hubble-relay:80")]
    relay: String,
    /// Speak TLS with the relay
    #[arg(long, env = "TLS_TO_RELAY_ENABLED", num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    tls: Flag,
    /// Name that the relay's certificate must have
    #[arg(long, env = "TLS_RELAY_SERVER_NAME", default_value = "ui.hubble-relay.cilium.io")]
    tls_server_name: String,
    /// Certificates of the relay's authorities, PEM files
    #[arg(long, env = "TLS_RELAY_CA_CERT_FILES", value_delimiter = ',')]
    tls_ca_files: Vec<PathBuf>,
    /// Certificate to show to the relay, a PEM file
    #[arg(long, env = "TLS_RELAY_CLIENT_CERT_FILE")]
    tls_client_cert_file: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, env = "TLS_RELAY_CLIENT_KEY_FILE")]
    tls_client_key_file: Option<PathBuf>,
    /// Path below which the page is served, such as /hubble/
    #[arg(long, env = "BASE_URL", default_value = "/")]
    base_url: String,
    /// Serve the page's files from this folder instead of those in the program
    #[arg(long)]
    assets: Option<PathBuf>,
    /// A kubeconfig instead of the pod's service account
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Ask no API server: no policies are shown or tried
    #[arg(long)]
    no_cluster: bool,
}

/// An environment variable may be there and empty.
#[derive(Clone, Copy, Debug)]
struct Flag(bool);

impl std::str::FromStr for Flag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" => Ok(Self(true)),
            "false" | "0" | "" => Ok(Self(false)),
            other => Err(format!("{other:?} is neither true nor false")),
        }
    }
}

/// What holds.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) debug: bool,
    pub(crate) listen: SocketAddr,
    pub(crate) relay: String,
    /// How to speak with the relay; `None`: in plain text.
    pub(crate) tls: Option<Tls>,
    /// Begins and ends with a slash.
    pub(crate) base: String,
    pub(crate) assets: Option<PathBuf>,
    /// The API server, if there is one to be asked.
    pub(crate) cluster: Option<Option<PathBuf>>,
}

/// Certificates for the relay.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) server_name: String,
    pub(crate) authorities: Vec<PathBuf>,
    pub(crate) identity: Option<Identity>,
}

impl Options {
    /// Checks everything.
    pub(crate) fn config(self) -> anyhow::Result<Config> {
        let full = match self.listen_address.strip_prefix(':') {
            Some(port) => format!("[::]:{port}"),
            None => self.listen_address.clone(),
        };
        let listen = full
            .parse()
            .with_context(|| format!("--listen-address={} is no address and port", self.listen_address))?;
        let identity = match (self.tls_client_cert_file, self.tls_client_key_file) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            _ => bail!("--tls-client-cert-file and --tls-client-key-file belong together: give both or none"),
        };
        let tls = match self.tls.0 {
            false => None,
            true if self.tls_ca_files.is_empty() => {
                bail!("--tls needs --tls-ca-files: name the authority of the relay's certificate")
            }
            true => Some(Tls { server_name: self.tls_server_name, authorities: self.tls_ca_files, identity }),
        };
        let inner = self.base_url.trim_matches('/');
        ensure!(
            inner.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b))
                && !inner.contains(".."),
            "--base-url={} is no path: use letters, digits, - . _ ~ and slashes",
            self.base_url
        );
        let base = if inner.is_empty() { "/".to_owned() } else { format!("/{inner}/") };
        Ok(Config {
            debug: self.debug,
            listen,
            relay: self.relay,
            tls,
            base,
            assets: self.assets,
            cluster: (!self.no_cluster).then_some(self.kubeconfig),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> anyhow::Result<Config> {
        Options::try_parse_from(["hubble-ui"].iter().chain(arguments))?.config()
    }

    #[test]
    fn paths_and_addresses() {
        let config = |arguments: &[&str]| config(arguments).expect("good options");
        assert_eq!(config(&[]).listen.to_string(), "[::]:8081");
        assert_eq!(config(&["--base-url", "hubble"]).base, "/hubble/");
        assert_eq!(config(&["--base-url=/"]).base, "/");
        assert!(config(&["--no-cluster"]).cluster.is_none());
        let tls = config(&["--tls", "--tls-ca-files=/a,/b"]).tls.expect("TLS");
        assert_eq!(tls.authorities.len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let error = |arguments: &[&str]| config(arguments).expect_err("bad options").to_string();
        assert!(error(&["--tls"]).contains("--tls-ca-files"));
        assert!(error(&["--listen-address=here"]).contains("--listen-address=here"));
        assert!(error(&["--base-url=/a b"]).contains("--base-url"));
        assert!(error(&["--base-url=/../x"]).contains("--base-url"));
        assert!(error(&["--tls-client-key-file=/k"]).contains("belong together"));
        assert!(error(&["--tls=perhaps"]).contains("neither true nor false"));
    }
}
