//! The connection to the API server.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::mpsc;

use crate::calls::Calls;
use crate::change::Change;
use crate::error::ConnectError;
use crate::health::Watched;
use crate::watch::{self, WatchSpec, Watchable};

/// Where the API server is and who we are. All empty: the pod's service account and environment.
#[derive(Clone, Debug, Default)]
pub struct ApiConfig {
    /// Address to use instead of the configured one: `https://host:port`, or `host:port`, which means https.
    /// With it an agent works without the service network (`k8sServiceHost`, `k8sServicePort`).
    pub server: Option<String>,
    /// A kubeconfig instead of the service account.
    pub kubeconfig: Option<PathBuf>,
    /// Which of the kubeconfig's contexts; `None`: its current one.
    pub context: Option<String>,
    /// Name of this program and version, as the server logs it.
    pub user_agent: Option<String>,
}

/// A client of the API server. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Clients {
    client: Client,
    calls: Calls,
}

impl Clients {
    /// Sets the client up. Nothing is sent yet, so this works while the server is away.
    ///
    /// # Errors
    /// [`ConnectError`], when the configuration cannot be used.
    pub async fn new(api: &ApiConfig) -> Result<Self, ConnectError> {
        let mut config = load(api).await?;
        if let Some(server) = &api.server {
            config.cluster_url = parse_address(server)?;
        }
        config.connect_timeout = Some(Duration::from_secs(5));
        // Watches are long and quiet; each request has its own limit instead.
        config.read_timeout = None;
        // Those who ask know best when to ask again.
        config.default_retry = false;
        if let Some(value) = api.user_agent.as_ref().and_then(|agent| agent.parse().ok()) {
            config.headers.push((http::header::USER_AGENT, value));
        }
        let address = config.cluster_url.to_string();
        let calls = Calls::default();
        let client = ClientBuilder::try_from(config)
            .map_err(|source| ConnectError::Client { address, source: Box::new(source) })?
            .with_layer(&calls)
            .build();
        Ok(Self { client, calls })
    }

    /// Uses a client that is there already.
    #[must_use]
    pub fn from_client(client: Client) -> Self {
        Self { client, calls: Calls::default() }
    }

    /// Has every answered request told of: its method, the answer's status (0: none came), and the time until the answer
    /// began. Not for clients that were there already.
    pub fn on_call(&self, tell: impl Fn(&str, u16, Duration) + Send + Sync + 'static) {
        self.calls.listen(Box::new(tell));
    }

    /// The client library's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Watches objects of a kind: sends batches of changes, each made into a message by `message`, to `queue`.
    ///
    /// Returns a view of the watch's state and the watch itself, which the caller runs and which ends when the queue's
    /// receiver is gone. A full queue slows the watch down; nothing is lost and nothing piles up.
    pub fn watch<K, M, F>(
        &self,
        spec: WatchSpec,
        queue: mpsc::Sender<M>,
        message: F,
    ) -> (Watched, impl Future<Output = ()> + Send + use<K, M, F>)
    where
        K: Watchable,
        M: Send + 'static,
        F: Fn(Vec<Change<K>>) -> M + Send + 'static,
    {
        watch::start(self.client(), spec, queue, message)
    }
}

async fn load(api: &ApiConfig) -> Result<Config, ConnectError> {
    let Some(path) = &api.kubeconfig else {
        return Config::incluster().map_err(|source| ConnectError::InCluster { source: Box::new(source) });
    };
    let failed = |source| ConnectError::Kubeconfig { path: path.clone(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions { context: api.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)
}

impl ApiConfig {
    /// What the kubeconfig calls the cluster, and the API server's URL; `None` without a kubeconfig.
    ///
    /// # Errors
    /// [`ConnectError`], when the kubeconfig cannot be read.
    pub fn cluster(&self) -> Result<Option<(String, Option<String>)>, ConnectError> {
        let Some(path) = &self.kubeconfig else { return Ok(None) };
        let kubeconfig = Kubeconfig::read_from(path)
            .map_err(|source| ConnectError::Kubeconfig { path: path.clone(), source: Box::new(source) })?;
        let wanted = self.context.as_ref().or(kubeconfig.current_context.as_ref());
        let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == wanted);
        let Some(context) = context.and_then(|context| context.context.as_ref()) else { return Ok(None) };
        let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
        let server = cluster.and_then(|cluster| cluster.cluster.as_ref()?.server.clone());
        Ok(Some((context.cluster.clone(), server)))
    }
}

fn parse_address(address: &str) -> Result<http::Uri, ConnectError> {
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    full.parse().map_err(|_| ConnectError::Address { address: address.to_owned() })
}
