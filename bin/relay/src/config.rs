//! Options: flags win over the configuration file, that over defaults. Names are those of Cilium's relay.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use grpc::Identity;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Hands out the flows of all nodes, ordered by time.
#[derive(Debug, Parser)]
#[command(name = "hubble-relay", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve
    Serve(Box<Options>),
    /// Show the version
    Version,
}

/// Options as they are written, on the command line and in the file.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Options {
    /// File with these options as YAML
    #[arg(long, default_value = "/etc/hubble-relay/config.yaml")]
    #[serde(skip)]
    config: PathBuf,
    /// Log more
    #[arg(long)]
    debug: bool,
    /// Name of the cluster [default: default]
    #[arg(long)]
    cluster_name: Option<String>,
    /// Where to learn of nodes: unix://PATH or HOST:PORT [default: unix:///var/run/cilium/hubble.sock]
    #[arg(long)]
    peer_service: Option<String>,
    /// Address to serve on, such as :4245 [default: :4245]
    #[arg(long)]
    listen_address: Option<String>,
    /// Address to serve health on, such as :4222 [default: :4222]
    #[arg(long)]
    health_listen_address: Option<String>,
    /// Address to serve metrics on, such as :9966 [default: none]
    #[arg(long)]
    metrics_listen_address: Option<String>,
    /// How long to wait for a connection, seconds or such as 5s [default: 5s]
    #[arg(long)]
    dial_timeout: Option<String>,
    /// Flows that wait at most to be put in order [default: 100]
    #[arg(long)]
    sort_buffer_len_max: Option<usize>,
    /// How long a flow waits at most to be put in order [default: 1s]
    #[arg(long)]
    sort_buffer_drain_timeout: Option<String>,
    /// Speak plain text with nodes
    #[arg(long)]
    disable_client_tls: bool,
    /// Certificate to show to nodes, a PEM file
    #[arg(long)]
    tls_hubble_client_cert_file: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long)]
    tls_hubble_client_key_file: Option<PathBuf>,
    /// Certificates of the authorities of nodes, PEM files
    #[arg(long, value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    tls_hubble_server_ca_files: Vec<PathBuf>,
    /// Serve in plain text
    #[arg(long)]
    disable_server_tls: bool,
    /// Certificate to show to clients, a PEM file
    #[arg(long)]
    tls_relay_server_cert_file: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long)]
    tls_relay_server_key_file: Option<PathBuf>,
    /// Certificates of the authorities of clients, PEM files; without any, anybody may ask
    #[arg(long, value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    tls_relay_client_ca_files: Vec<PathBuf>,
}

/// What holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) debug: bool,
    pub(crate) cluster: String,
    pub(crate) peer_service: String,
    pub(crate) listen: SocketAddr,
    pub(crate) health: SocketAddr,
    /// Where to serve metrics, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) dial_timeout: Duration,
    pub(crate) window: relay::Window,
    /// How to speak with nodes; `None`: in plain text.
    pub(crate) nodes: Option<NodeTls>,
    /// How to serve; `None`: in plain text.
    pub(crate) server: Option<(Identity, Vec<PathBuf>)>,
}

/// Certificates for nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeTls {
    pub(crate) identity: Option<Identity>,
    pub(crate) authorities: Vec<PathBuf>,
}

impl Options {
    /// Reads the file and checks everything.
    pub(crate) fn config(self) -> anyhow::Result<Config> {
        let path = self.config.clone();
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => serde_yaml_ng::from_str::<Option<Options>>(&text)
                .with_context(|| format!("{} cannot be read as options", path.display()))?
                .unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Options::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        self.over(file).check()
    }

    /// These options, and where they say nothing those of the file.
    fn over(self, file: Options) -> Options {
        let either = |own: Vec<PathBuf>, other| if own.is_empty() { other } else { own };
        Options {
            config: self.config,
            debug: self.debug || file.debug,
            cluster_name: self.cluster_name.or(file.cluster_name),
            peer_service: self.peer_service.or(file.peer_service),
            listen_address: self.listen_address.or(file.listen_address),
            health_listen_address: self.health_listen_address.or(file.health_listen_address),
            metrics_listen_address: self.metrics_listen_address.or(file.metrics_listen_address),
            dial_timeout: self.dial_timeout.or(file.dial_timeout),
            sort_buffer_len_max: self.sort_buffer_len_max.or(file.sort_buffer_len_max),
            sort_buffer_drain_timeout: self.sort_buffer_drain_timeout.or(file.sort_buffer_drain_timeout),
            disable_client_tls: self.disable_client_tls || file.disable_client_tls,
            tls_hubble_client_cert_file: self
                .tls_hubble_client_cert_file
                .or(file.tls_hubble_client_cert_file),
            tls_hubble_client_key_file: self.tls_hubble_client_key_file.or(file.tls_hubble_client_key_file),
            tls_hubble_server_ca_files: either(
                self.tls_hubble_server_ca_files,
                file.tls_hubble_server_ca_files,
            ),
            disable_server_tls: self.disable_server_tls || file.disable_server_tls,
            tls_relay_server_cert_file: self.tls_relay_server_cert_file.or(file.tls_relay_server_cert_file),
            tls_relay_server_key_file: self.tls_relay_server_key_file.or(file.tls_relay_server_key_file),
            tls_relay_client_ca_files: either(self.tls_relay_client_ca_files, file.tls_relay_client_ca_files),
        }
    }

    fn check(self) -> anyhow::Result<Config> {
        let items = self.sort_buffer_len_max.unwrap_or(100);
        if items == 0 {
            bail!("--sort-buffer-len-max=0 leaves no room for a single flow: use 1 or more");
        }
        let time = duration("sort-buffer-drain-timeout", self.sort_buffer_drain_timeout.as_deref(), 1)?;
        let pair = |what: &str, certificate: Option<PathBuf>, key: Option<PathBuf>| match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Identity { certificate, key })),
            (None, None) => Ok(None),
            _ => bail!("--tls-{what}-cert-file and --tls-{what}-key-file belong together: give both or none"),
        };
        let client =
            pair("hubble-client", self.tls_hubble_client_cert_file, self.tls_hubble_client_key_file)?;
        let server = pair("relay-server", self.tls_relay_server_cert_file, self.tls_relay_server_key_file)?;
        let nodes = match self.disable_client_tls {
            true => None,
            false if self.tls_hubble_server_ca_files.is_empty() => bail!(
                "--tls-hubble-server-ca-files is missing: name the authority of the nodes' certificates, or set \
                 --disable-client-tls=true if nodes serve in plain text"
            ),
            false => Some(NodeTls { identity: client, authorities: self.tls_hubble_server_ca_files }),
        };
        let server = match (self.disable_server_tls, server) {
            (true, _) => None,
            (false, Some(identity)) => Some((identity, self.tls_relay_client_ca_files)),
            (false, None) => bail!(
                "--tls-relay-server-cert-file and --tls-relay-server-key-file are missing: give them, or set \
                 --disable-server-tls=true to serve in plain text"
            ),
        };
        Ok(Config {
            debug: self.debug,
            cluster: self.cluster_name.unwrap_or_else(|| "default".to_owned()),
            peer_service: self
                .peer_service
                .unwrap_or_else(|| "unix:///var/run/cilium/hubble.sock".to_owned()),
            listen: address("listen-address", self.listen_address.as_deref().unwrap_or(":4245"))?,
            health: address(
                "health-listen-address",
                self.health_listen_address.as_deref().unwrap_or(":4222"),
            )?,
            metrics: match self.metrics_listen_address.as_deref().filter(|text| !text.is_empty()) {
                Some(text) => Some(address("metrics-listen-address", text)?),
                None => None,
            },
            dial_timeout: duration("dial-timeout", self.dial_timeout.as_deref(), 5)?,
            window: relay::Window { items, time },
            nodes,
            server,
        })
    }
}

/// A list, also if it is written as one text with spaces.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        List(Vec<PathBuf>),
    }
    Ok(match Option::<Form>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Form::List(list)) => list,
        Some(Form::Text(text)) => {
            text.split([',', ' ']).filter(|s| !s.is_empty()).map(PathBuf::from).collect()
        }
    })
}

/// `:4245` means every address.
fn address(name: &str, text: &str) -> anyhow::Result<SocketAddr> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().with_context(|| format!("--{name}={text} is no address and port"))
}

/// `5s`, `300ms`, `1m`; a number alone counts seconds.
fn duration(name: &str, text: Option<&str>, seconds: u64) -> anyhow::Result<Duration> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Duration::from_secs(seconds)) };
    let (digits, factor) = match text {
        t if t.ends_with("ms") => (&t[..t.len() - 2], 0.001),
        t if t.ends_with('s') => (&t[..t.len() - 1], 1.0),
        t if t.ends_with('m') => (&t[..t.len() - 1], 60.0),
        t => (t, 1.0),
    };
    let number = digits.parse::<f64>().ok();
    let read = number.and_then(|number| Duration::try_from_secs_f64(number * factor).ok());
    read.with_context(|| format!("--{name}={text} is no duration: write one like 300ms, 5s or 1m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(file: &str, arguments: &[&str]) -> anyhow::Result<Config> {
        let cli = Cli::try_parse_from(["hubble-relay", "serve"].iter().chain(arguments))?;
        let Command::Serve(options) = cli.command else { bail!("serve was asked for") };
        let file = serde_yaml_ng::from_str::<Option<Options>>(file)?.unwrap_or_default();
        options.over(file).check()
    }

    const FILE: &str = "cluster-name: east\npeer-service: hubble-peer.kube-system.svc.cluster.local.:443\n\
        listen-address: :4245\nmetrics-listen-address: :9966\ngops: true\ndial-timeout:\nsort-buffer-len-max:\nsort-buffer-drain-timeout:\n\
        tls-hubble-client-cert-file: /t/client.crt\ntls-hubble-client-key-file: /t/client.key\n\
        tls-hubble-server-ca-files: /t/ca.crt\ndisable-server-tls: true\n";

    #[test]
    fn the_chart_s_file_is_read() {
        let config = config(FILE, &["--sort-buffer-drain-timeout", "300ms"]).unwrap();
        assert_eq!(
            (config.cluster.as_str(), config.listen.port(), config.health.port()),
            ("east", 4245, 4222)
        );
        assert_eq!(config.metrics.map(|address| address.port()), Some(9966));
        assert_eq!(config.window, relay::Window { items: 100, time: Duration::from_millis(300) });
        let nodes = config.nodes.unwrap();
        assert_eq!(nodes.authorities, [PathBuf::from("/t/ca.crt")]);
        assert_eq!(nodes.identity.unwrap().key, PathBuf::from("/t/client.key"));
        assert_eq!(config.server, None);
    }

    #[test]
    fn nothing_goes_in_plain_text_unless_somebody_says_so() {
        let error = |file: &str, arguments: &[&str]| config(file, arguments).unwrap_err().to_string();
        assert!(error("", &[]).contains("--tls-hubble-server-ca-files is missing"));
        assert!(error("", &["--disable-client-tls"]).contains("--tls-relay-server-cert-file"));
        assert!(error(FILE, &["--tls-relay-server-key-file=/k"]).contains("belong together"));
        assert!(error(FILE, &["--listen-address=here"]).contains("--listen-address=here"));
        assert!(error(FILE, &["--dial-timeout=soon"]).contains("--dial-timeout=soon"));
        assert!(error(FILE, &["--sort-buffer-len-max=0"]).contains("use 1 or more"));
        let plain = config("", &["--disable-client-tls", "--disable-server-tls"]).unwrap();
        assert_eq!(plain.metrics, None);
    }
}
