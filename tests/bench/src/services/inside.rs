//! What is done inside a machine of the lab, by this program run there: the API server is reached from nowhere else.

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube_watch::{ApiConfig, ApiError, Clients, Key};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{change, objects, store};

/// Requests under way at once.
const AT_ONCE: usize = 24;
/// How often a request is tried before it counts as failed, and the pause in between.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Create invented services, and slices with so many endpoints.
    Fill { services: Range<u32>, slices: Range<u32>, endpoints: u32 },
    /// Give slices that are there another number of endpoints.
    Resize { slices: Range<u32>, endpoints: u32 },
    /// Change a slice again and again.
    Change(change::Plan),
}

/// Does it.
pub(crate) fn run(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task).context("reading the task")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let clients = clients().await?;
        match task {
            Task::Fill { services, slices, endpoints } => fill(&clients, services, slices, endpoints).await,
            Task::Resize { slices, endpoints } => resize(&clients, slices, endpoints).await,
            Task::Change(plan) => change::run(&clients, &plan).await,
        }
    })
}

/// As the administrator, by the file that `lab exec` names.
async fn clients() -> Result<Clients> {
    let kubeconfig = std::env::var_os("KUBECONFIG").map(PathBuf::from);
    kubeconfig.as_ref().context("no KUBECONFIG: this runs by `lab exec`")?;
    let api = ApiConfig { kubeconfig, user_agent: Some("axoneme-bench".into()), ..ApiConfig::default() };
    Clients::new(&api).await.context("the API server's client")
}

async fn fill(clients: &Clients, services: Range<u32>, slices: Range<u32>, endpoints: u32) -> Result<()> {
    store::fill(services)?;
    let create = |number| async move {
        let slice: EndpointSlice = serde_json::from_value(objects::invented_slice(number, endpoints))?;
        persistent(|| clients.create_or_get(&slice)).await
    };
    all(slices.map(create)).await
}

async fn resize(clients: &Clients, slices: Range<u32>, endpoints: u32) -> Result<()> {
    let patch = |number| async move {
        let key = Key::new("default", objects::slice_name(&objects::invented_name(number)));
        let patch = json!({"endpoints": objects::invented_endpoints(number, endpoints)});
        persistent(|| clients.merge::<EndpointSlice>(&key, &patch)).await
    };
    all(slices.map(patch)).await
}

async fn all<F: Future<Output = Result<()>>>(requests: impl Iterator<Item = F>) -> Result<()> {
    stream::iter(requests).buffer_unordered(AT_ONCE).try_collect().await
}

/// A busy server may refuse for a moment.
async fn persistent<T, F: Future<Output = Result<T, ApiError>>>(request: impl Fn() -> F) -> Result<()> {
    for _ in 1..TRIES {
        if request().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    request().await.map(drop).context("writing an object")
}
