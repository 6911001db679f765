//! The cluster, as far as policy cares: read when somebody asks, and kept for a moment.

use kube_watch::{ApiConfig, Clients};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use whatif::Cluster;

/// How long an answer of the API server is good for: people press keys faster than clusters change.
const GOOD: Duration = Duration::from_secs(2);
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way to the API server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader(Arc<Inner>);

struct Inner {
    config: Option<ApiConfig>,
    last: Mutex<Option<(Instant, Arc<Cluster>)>>,
}

impl Reader {
    /// `None`: there is no API server to be asked.
    pub(crate) fn new(cluster: Option<Option<PathBuf>>) -> Self {
        let config = cluster.map(|kubeconfig| ApiConfig {
            kubeconfig,
            user_agent: Some(concat!("hubble-ui/", env!("CARGO_PKG_VERSION")).to_owned()),
            ..ApiConfig::default()
        });
        Self(Arc::new(Inner { config, last: Mutex::default() }))
    }

    /// The cluster as it is, or was two seconds ago. One reads, the others wait.
    ///
    /// # Errors
    /// There is no API server, or it does not answer, or not us.
    pub(crate) async fn read(&self) -> Result<Arc<Cluster>, String> {
        let Some(config) = &self.0.config else {
            return Err(
                "no API server is asked here (--no-cluster), so nothing is known of policies".to_owned()
            );
        };
        let mut last = self.0.last.lock().await;
        if let Some((when, cluster)) = &*last
            && when.elapsed() < GOOD
        {
            return Ok(cluster.clone());
        }
        let reading = async {
            let clients = Clients::new(config).await.map_err(|error| chain(&error))?;
            clients.policy_world().await.map_err(|error| error.describe().to_string())
        };
        let (objects, settings) = tokio::time::timeout(PATIENCE, reading)
            .await
            .map_err(|_| format!("the API server did not answer within {PATIENCE:?}"))??;
        let cluster = Arc::new(Cluster::of(objects, &settings));
        *last = Some((Instant::now(), cluster.clone()));
        Ok(cluster)
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
