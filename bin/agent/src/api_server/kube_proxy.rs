//! What kube-proxy has left on this node.

use api::kube_proxy::Leftovers;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::{Answer, Context, Refused};
use crate::kube_proxy;

/// What there is.
pub(super) async fn list(State(_): State<Context>) -> Answer<Leftovers> {
    Ok(Json(kube_proxy::look().await?))
}

/// Removes it, and tells what it was.
pub(super) async fn clean(State(context): State<Context>) -> Answer<Leftovers> {
    let Some(found) = &context.kube_proxy else {
        let refusal = Refused::new(
            StatusCode::CONFLICT,
            "kube-proxy's rules are in use on this node: it serves the services",
        );
        return Err(refusal
            .cure("set kubeProxyReplacement=true (--kube-proxy-replacement=true) and end kube-proxy first"));
    };
    let removed = kube_proxy::clean(found).await?;
    let phrases = kube_proxy::phrases(&removed).join("; ");
    tracing::info!(removed = phrases, "removed what kube-proxy had left, as asked on the socket");
    Ok(Json(removed))
}
