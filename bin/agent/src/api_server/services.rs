//! Services of this node.

use std::net::IpAddr;

use api::lrp::LocalRedirectPolicy;
use api::service::Service;
use axum::Json;
use axum::extract::{Path, State};

use super::{Answer, Context, Refused, devices};

/// Every frontend with its backends.
pub(super) async fn list(State(context): State<Context>) -> Answer<Vec<Service>> {
    lines(&context).await.map(Json)
}

/// One frontend.
pub(super) async fn one(State(context): State<Context>, Path(id): Path<u32>) -> Answer<Service> {
    let found = lines(&context).await?.into_iter().find(|service| service.spec.id == id);
    found.map(Json).ok_or_else(|| Refused::not_found(format_args!("a service frontend {id}")))
}

/// Every local redirect policy, and where it leads.
pub(super) async fn redirects(State(context): State<Context>) -> Answer<Vec<LocalRedirectPolicy>> {
    Ok(Json(context.services.ask(|services| crate::services::redirects(&services.balancer)).await?))
}

async fn lines(context: &Context) -> Result<Vec<Service>, Refused> {
    let devices = devices::native(&context.handle).await?;
    let own: Vec<IpAddr> = devices.into_iter().flat_map(|device| device.addresses).collect();
    let node = context.config.node_name.clone();
    let list = context
        .services
        .ask(move |services| crate::services::list(&services.balancer, &mut services.line_ids, &node, &own));
    Ok(list.await?)
}
