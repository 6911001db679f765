//! Rules and selectors.

use api::policy::{Label, Policy, Selector};
use axum::Json;
use axum::extract::State;

use super::{Answer, Context};

/// All policies in force.
pub(super) async fn get(State(context): State<Context>) -> Answer<Policy> {
    let policy = context.handle.ask(|owner| {
        let objects: Vec<serde_json::Value> = owner
            .state
            .policies()
            .filter(|(_, object)| object.refused.is_none())
            .map(|(kind, object)| {
                let spec: serde_json::Value = serde_json::from_str(&object.text).unwrap_or_default();
                serde_json::json!({
                    "kind": kind.name(),
                    "namespace": object.origin.namespace,
                    "name": object.origin.name,
                    "uid": object.origin.uid,
                    "spec": spec,
                })
            })
            .collect();
        let text = serde_json::to_string_pretty(&objects).unwrap_or_default();
        Policy { policy: text, revision: owner.state.engine().revision() }
    });
    Ok(Json(policy.await?))
}

/// Every peer that rules name, with the identities it selects.
pub(super) async fn selectors(State(context): State<Context>) -> Answer<Vec<Selector>> {
    let selectors = context.handle.ask(|owner| {
        let all = owner.state.engine().selectors();
        all.map(|(peer, users, identities)| Selector {
            selector: peer.to_string(),
            identities: identities.iter().map(|i| i.get()).collect(),
            users: u32::try_from(users).unwrap_or(u32::MAX),
            labels: Vec::<Label>::new(),
        })
        .collect()
    });
    Ok(Json(selectors.await?))
}
