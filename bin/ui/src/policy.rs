//! Policies: what is in force, what one would change, and one made from a flow. Nothing is applied here.

mod edit;
mod propose;

use crate::http::{Refusal, Shared};
use crate::hub::Seen;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use propose::Side;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use whatif::{Cluster, Documents, Inventory, KnownPolicy, Severity, lint};

/// Flows of each node that a policy is tried on.
const REPLAYED: u64 = 1000;
/// Policies that are listed.
const LISTED: usize = 2000;

type Answer = Result<Json<Value>, Refusal>;

fn unavailable(why: impl ToString) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
}

/// A flow that the page was told of.
pub(crate) fn find(shared: &Shared, id: u64) -> Result<Arc<Seen>, Refusal> {
    let gone = || {
        let why = "this flow is no longer kept: choose a later one, or filter so that fewer flows are listed";
        Refusal(StatusCode::NOT_FOUND, why.to_owned())
    };
    shared.site.hub.find(id).ok_or_else(gone)
}

#[derive(Debug, Deserialize)]
pub(crate) struct Proposal {
    side: Option<Side>,
}

/// A policy that would let a flow pass.
pub(crate) async fn propose(
    State(shared): State<Shared>,
    Path(id): Path<u64>,
    Query(wanted): Query<Proposal>,
) -> Answer {
    let seen = find(&shared, id)?;
    let proposed =
        propose::of(&seen.flow, wanted.side).map_err(|why| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    Ok(Json(json!(proposed)))
}

/// The policies in force, and a picture of each that is asked for.
pub(crate) async fn list(State(shared): State<Shared>) -> Answer {
    let cluster = shared.site.cluster.read().await.map_err(unavailable)?;
    let listed: Vec<Value> = cluster.policies.iter().take(LISTED).map(known).collect();
    Ok(Json(json!({
        "policies": listed,
        "more": cluster.policies.len().saturating_sub(LISTED),
        "problems": cluster.inventory.problems,
        "pods": cluster.inventory.pods.len(),
    })))
}

fn known(policy: &KnownPolicy) -> Value {
    let KnownPolicy { kind, namespace, name, object } = policy;
    let yaml = serde_yaml_ng::to_string(object).unwrap_or_default();
    json!({ "kind": kind, "namespace": namespace, "name": name, "yaml": yaml })
}

#[derive(Debug, Deserialize)]
pub(crate) struct Edit {
    yaml: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(flatten)]
    change: edit::Change,
}

/// A candidate's text after a change in its picture.
pub(crate) async fn change(State(shared): State<Shared>, Json(asked): Json<Edit>) -> Answer {
    let cluster = shared.site.cluster.read().await.map_err(unavailable)?;
    let changed =
        blocking(&shared, move || edit::edit(&asked.yaml, &asked.namespace, &asked.change, &cluster));
    let yaml = changed.await?.map_err(|why| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    Ok(Json(json!({ "yaml": yaml })))
}

/// Computes beside the flows, few at a time.
async fn blocking<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let permit = shared.tries.clone().acquire_owned().await.map_err(unavailable)?;
    let done = tokio::task::spawn_blocking(move || {
        let _held = permit;
        work()
    });
    done.await.map_err(|error| {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("trying the policy ended early: {error}"))
    })
}

/// A candidate, and what to say of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Attempt {
    yaml: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    /// Also send the last flows through it, and compare.
    #[serde(default)]
    replay: bool,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// What a candidate would allow (the picture), and with `replay` what it would change.
pub(crate) async fn attempt(State(shared): State<Shared>, Json(asked): Json<Attempt>) -> Answer {
    let cluster = shared.site.cluster.read().await.map_err(unavailable)?;
    let flows = match asked.replay {
        false => Ok(Vec::new()),
        true => shared.site.relay.last(REPLAYED, Vec::new()).await.map_err(|error| format!("{error:#}")),
    };
    blocking(&shared, move || answer(&cluster, &asked, flows)).await.map(Json)
}

fn answer(cluster: &Cluster, asked: &Attempt, flows: Result<Vec<flow::Flow>, String>) -> Value {
    let documents = Documents::read(&asked.yaml);
    let findings = lint(&documents, &asked.namespace, Some(&cluster.inventory));
    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    let candidate = Inventory::read(&documents.objects, &cluster.name, &asked.namespace);
    if refused || candidate.policies.is_empty() {
        return json!({ "findings": findings, "refused": true });
    }
    let after = cluster.inventory.with(&candidate.policies);
    let (mode, name) = (cluster.mode, cluster.name.as_str());
    let reach = whatif::reach(&after, mode, name, |origin| candidate.policies.contains_key(origin));
    let mut told = json!({ "findings": findings, "refused": false, "reach": reach });
    if asked.replay {
        told["diff"] = json!(whatif::diff(&cluster.inventory, &after, mode, name));
        match flows {
            Ok(flows) => {
                told["replay"] = json!(whatif::replay(&cluster.inventory, &after, mode, name, &flows))
            }
            Err(why) => told["replay_error"] = json!(why),
        }
    }
    told
}
