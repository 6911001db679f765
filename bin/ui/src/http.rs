//! What can be asked for, below the base path: `api/v1/…`, `healthz`, and the page's files.

use crate::assets::Assets;
use crate::cluster::Reader;
use crate::guard::guard;
use crate::hub::Hub;
use crate::policy;
use crate::relay::Relay;
use crate::stream::{self, Wish};
use crate::view::{Filter, Grouping};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use hubble_pb::flow as pb;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Browsers that can look at once.
const LOOKERS: usize = 64;
/// Policies that can be tried at once: it takes a processor each.
const TRIES: usize = 2;
/// Bytes of a request.
const BODY: usize = 256 << 10;

/// What answers are made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) hub: Hub,
    pub(crate) relay: Relay,
    pub(crate) cluster: Reader,
    pub(crate) assets: Arc<Assets>,
}

/// Site and limits.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) site: Site,
    lookers: Arc<Semaphore>,
    pub(crate) tries: Arc<Semaphore>,
}

/// An answer that is none: status, and why.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

pub(crate) fn routes(site: Site, base: &str) -> Router {
    let limits = [LOOKERS, TRIES].map(|count| Arc::new(Semaphore::new(count)));
    let [lookers, tries] = limits;
    let inner = Router::new()
        .route("/api/v1/stream", get(look))
        .route("/api/v1/flows/{id}", get(one_flow))
        .route("/api/v1/flows/{id}/policy", get(policy::propose))
        .route("/api/v1/policies", get(policy::list))
        .route("/api/v1/policies/try", post(policy::attempt))
        .route("/api/v1/policies/edit", post(policy::change))
        .route("/healthz", get(|| async { "ok" }))
        .route("/", get(page))
        .route("/{*path}", get(asset))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(Shared { site, lookers, tries });
    let all = match base.trim_end_matches('/') {
        "" => inner,
        // The kubelet asks without the base, and a base without its slash is a way of writing it.
        base => {
            let to = format!("{base}/");
            Router::new()
                .route("/healthz", get(|| async { "ok" }))
                .route(base, get(move || async move { Redirect::permanent(&to) }))
                .nest(&format!("{base}/"), inner)
        }
    };
    all.layer(middleware::from_fn(guard))
}

#[derive(Debug, Deserialize)]
struct Look {
    #[serde(default)]
    filter: String,
    #[serde(default)]
    by: Grouping,
}

async fn look(State(shared): State<Shared>, Query(look): Query<Look>) -> Result<Response, Refusal> {
    let filter = Filter::parse(&look.filter).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why))?;
    let permit = shared.lookers.clone().try_acquire_owned().map_err(|_| {
        Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{LOOKERS} others are looking already: try again later"),
        )
    })?;
    let events = stream::events(&shared.site.hub, Wish { filter, grouping: look.by });
    let events = futures::StreamExt::map(events, move |event| {
        let _held = &permit;
        event
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

async fn one_flow(State(shared): State<Shared>, Path(id): Path<u64>) -> Result<Response, Refusal> {
    let seen = policy::find(&shared, id)?;
    let options = flow::format::Options { node_name: true, policy_names: true, ..Default::default() };
    let line = flow::format::compact(&seen.flow, &options);
    let flow: pb::Flow = seen.flow.clone().into();
    Ok(Json(json!({ "line": line, "flow": flow })).into_response())
}

async fn page(state: State<Shared>) -> Response {
    asset(state, Path(String::new())).await
}

async fn asset(State(shared): State<Shared>, Path(path): Path<String>) -> Response {
    let Some(asset) = shared.site.assets.get(&path) else {
        return Refusal(StatusCode::NOT_FOUND, "there is nothing here".to_owned()).into_response();
    };
    let cache = if asset.lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.media)),
        (CACHE_CONTROL, HeaderValue::from_static(cache)),
    ];
    (headers, asset.bytes.clone().into_owned()).into_response()
}
