//! The agent's unix socket: HTTP/1.1 and JSON, for the plugin and the tools. Types and paths are those of `crates/api`.

mod bpf;
mod cni;
mod devices;
mod endpoints;
mod explain;
mod kube_proxy;
mod lb;
mod monitor;
mod policy;
mod proxy_replacement;
mod services;
mod status;
mod trace;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use api::{ErrorBody, paths};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router, http::StatusCode};
use kube_watch::Watched;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::controllers::Controllers;
use crate::names::Fixed;
use crate::outbox::Outboxes;
use crate::owner::Handle;
use crate::probes::Probes;
use crate::tasks::events::Monitors;

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct Context {
    /// The way to the owner.
    pub handle: Handle,
    /// The way to what answers for services.
    pub services: crate::services::Handle,
    /// What this node has of what services need; `None`: kube-proxy serves them.
    pub support: Option<Arc<loader::ServiceSupport>>,
    /// What kube-proxy has left; `None`: it is not looked for.
    pub kube_proxy: Option<Arc<crate::kube_proxy::Found>>,
    /// The configuration.
    pub config: Arc<Config>,
    /// What does not change about this node.
    pub fixed: Fixed,
    /// Whether pods can be served.
    pub ready: watch::Receiver<bool>,
    /// Sweeps of the tables of flows.
    pub sweeps: watch::Receiver<crate::metrics::Sweeps>,
    /// How the watches do.
    pub watches: Arc<Vec<Watched>>,
    /// What waits to be written.
    pub outboxes: Outboxes,
    /// The event stream.
    pub monitors: Monitors,
    /// Jobs that are done again and again.
    pub controllers: Controllers,
    /// Whether the other nodes are there; `None`: they are not asked.
    pub probes: Option<Probes>,
    /// Flows; `None`: they are not served.
    pub observer: Option<observer::Observer>,
    /// What the API server says about its version, once it did.
    pub version: Arc<OnceLock<serde_json::Value>>,
}

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    body: ErrorBody,
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { message: message.into(), ..ErrorBody::default() } }
    }

    fn about(mut self, object: impl Into<String>) -> Self {
        self.body.object = Some(object.into());
        self
    }

    fn cure(mut self, cure: impl Into<String>) -> Self {
        self.body.cure = Some(cure.into());
        self
    }

    fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} is not known on this node"))
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

type Answer<T> = Result<Json<T>, Refused>;

/// All routes.
pub(crate) fn router(context: Context) -> Router {
    Router::new()
        .route(paths::HEALTH, get(status::health))
        .route(paths::STATUS, get(status::status))
        .route(paths::CLUSTER_HEALTH, get(status::cluster_health))
        .route(paths::CLUSTER_HEALTH_PROBE, post(status::probe_cluster))
        .route(paths::VERSION, get(status::version))
        .route(paths::CNI_ALLOCATE, post(cni::allocate))
        .route(paths::CNI_ATTACH, post(cni::attach))
        .route(paths::CNI_CHECK, post(cni::check))
        .route(paths::CNI_RELEASE, delete(cni::release))
        .route(paths::ENDPOINTS, get(endpoints::list))
        .route(paths::ENDPOINT, get(endpoints::one))
        .route(paths::IDENTITIES, get(endpoints::identities))
        .route(paths::IDENTITY_ENDPOINTS, get(endpoints::identities_in_use))
        .route(paths::IDENTITY, get(endpoints::identity))
        .route(paths::POLICY, get(policy::get))
        .route(paths::POLICY_SELECTORS, get(policy::selectors))
        .route(paths::POLICY_TRACE, post(trace::answer))
        .route(paths::POLICY_EXPLAIN, post(explain::answer))
        .route(paths::IPS, get(endpoints::ips))
        .route(paths::NODES, get(endpoints::nodes))
        .route(paths::KUBE_PROXY, get(kube_proxy::list).delete(kube_proxy::clean))
        .route(paths::SERVICES, get(services::list))
        .route(paths::SERVICE, get(services::one))
        .route(paths::LRP, get(services::redirects))
        .route(paths::BPF_IPCACHE, get(bpf::ipcache))
        .route(paths::BPF_CT, get(bpf::connections))
        .route(paths::BPF_POLICIES, get(bpf::policies))
        .route(paths::BPF_POLICY, get(bpf::policy))
        .route(paths::BPF_METRICS, get(bpf::metrics))
        .route(paths::BPF_ENDPOINTS, get(bpf::endpoints))
        .route(paths::BPF_IPMASQ, get(bpf::ipmasq))
        .route(paths::BPF_LB, get(lb::tables))
        .route(paths::BPF_MAGLEV, get(lb::maglev))
        .route(paths::BPF_MAGLEV_TABLE, get(lb::maglev_table))
        .route(paths::BPF_NAT, get(lb::nat))
        .route(paths::BPF_SOCKETS, get(lb::sockets))
        .route(paths::MONITOR, get(monitor::stream))
        .with_state(context)
}

/// Takes the socket's path over. The lock on the state folder makes sure that no other agent listens there.
///
/// # Errors
/// The path cannot be used.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let using = || format!("cannot listen on {} (--socket-path)", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(using)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(using),
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(using)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(using)?;
    Ok(listener)
}

/// A label set as the API writes it.
fn texts(labels: &types::Labels) -> Vec<String> {
    labels.iter().map(ToString::to_string).collect()
}
