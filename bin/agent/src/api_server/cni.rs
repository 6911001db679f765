//! The calls of the network plugin.

use std::time::Duration;

use agent_core::{Attachment, Phase, PodKey};
use api::cni::{
    AllocateRequest, AllocateResponse, AttachRequest, AttachResponse, CheckRequest, CheckResponse,
    ReleaseResponse,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ipam::Family;

use super::{Answer, Context, Refused};
use crate::owner::Owner;

/// How long a plugin waits for its pod's policy; the runtime itself gives up later.
const PATIENCE: Duration = Duration::from_secs(30);

fn ready(context: &Context) -> Result<(), Refused> {
    if *context.ready.borrow() {
        return Ok(());
    }
    Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is starting")
        .cure("the runtime will try again; if this stays, see the log of cilium-agent"))
}

/// Addresses and a number for a new pod.
pub(super) async fn allocate(
    State(context): State<Context>,
    Json(request): Json<AllocateRequest>,
) -> Answer<AllocateResponse> {
    ready(&context)?;
    let pod = PodKey::new(&request.namespace, &request.pod_name);
    let name = pod.to_string();
    let made = context
        .handle
        .ask(move |owner| {
            let AllocateRequest { container_id, ifname, netns, pod_uid, foreign, .. } = &request;
            let foreign = foreign.as_ref().map(|link| agent_core::ForeignLink {
                host_ifname: link.host_ifname.clone(),
                v4: link.ipv4,
                v6: link.ipv6,
            });
            let spec = owner.state.create(container_id, ifname, netns, pod, pod_uid, foreign)?;
            Ok::<_, agent_core::CreateError>(response(owner, &spec))
        })
        .await?;
    made.map(Json).map_err(|error| {
        let status = match error {
            agent_core::CreateError::NoFamily { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            agent_core::CreateError::Taken { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INSUFFICIENT_STORAGE,
        };
        Refused::new(status, crate::text(&error)).about(format!("pod {name}"))
    })
}

fn response(owner: &Owner, spec: &agent_core::EndpointSpec) -> AllocateResponse {
    let devices = owner.kernel.devices();
    let router = |family| owner.state.router(family);
    AllocateResponse {
        endpoint_id: spec.id,
        ipv4: spec.v4,
        ipv6: spec.v6,
        gateway_ipv4: router(Family::V4).and_then(|ip| match ip {
            std::net::IpAddr::V4(v4) => Some(v4),
            std::net::IpAddr::V6(_) => None,
        }),
        gateway_ipv6: router(Family::V6).and_then(|ip| match ip {
            std::net::IpAddr::V6(v6) => Some(v6),
            std::net::IpAddr::V4(_) => None,
        }),
        mtu: devices.mtu,
        route_mtu: if devices.pod_route_mtu() < devices.mtu { devices.pod_route_mtu() } else { 0 },
        host_ifname: spec.host_ifname.clone(),
        mac: None,
        host_mac: None,
    }
}

/// The devices are there: program, tables, and an answer when both are in force.
pub(super) async fn attach(
    State(context): State<Context>,
    Json(request): Json<AttachRequest>,
) -> Answer<AttachResponse> {
    ready(&context)?;
    let id = request.endpoint_id;
    let waiting = context
        .handle
        .ask(move |owner| {
            let known = owner.state.endpoint(id).filter(|e| e.spec.container_id == request.container_id);
            if known.is_none() {
                return Err(Refused::not_found(format_args!(
                    "endpoint {id} of container {}",
                    request.container_id
                )));
            }
            owner.kernel.attach_pod(id, request.host_ifindex)?;
            let attachment = Attachment {
                host_ifindex: request.host_ifindex,
                host_mac: request.host_mac.0,
                mac: request.mac.0,
            };
            owner.state.attach(id, attachment);
            Ok(owner.when_ready(id))
        })
        .await??;
    let outcome = tokio::time::timeout(PATIENCE, waiting).await;
    let (phase, pod, answer) = context
        .handle
        .ask(move |owner| {
            let endpoint = owner.state.endpoint(id);
            let answer = endpoint.map(|e| AttachResponse {
                identity: e.identity,
                policy_revision: owner.state.realized_policy_revision(),
            });
            (endpoint.map(|e| e.phase), endpoint.map(|e| e.spec.pod.to_string()).unwrap_or_default(), answer)
        })
        .await?;
    match (outcome, answer) {
        (Ok(Ok(Ok(()))), Some(answer)) => Ok(Json(answer)),
        (Ok(Ok(Err(gone))), _) => {
            Err(Refused::new(StatusCode::GONE, gone.to_string()).about(format!("pod {pod}")))
        }
        (Err(_), Some(_)) => Err(late(phase).about(format!("pod {pod}"))),
        _ => {
            Err(Refused::new(StatusCode::GONE, format!("endpoint {id} was removed"))
                .about(format!("pod {pod}")))
        }
    }
}

fn late(phase: Option<Phase>) -> Refused {
    let seconds = PATIENCE.as_secs();
    match phase {
        Some(Phase::WaitingForIdentity) => Refused::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("its labels have no identity after {seconds} s"),
        )
        .cure("is the API server reachable from this node, and may the agent create CiliumIdentity objects?"),
        _ => Refused::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("its policy is not in the kernel after {seconds} s"),
        )
        .cure("see the log of cilium-agent for what the kernel refuses"),
    }
}

/// Whether an attachment is known and in order.
pub(super) async fn check(
    State(context): State<Context>,
    Json(request): Json<CheckRequest>,
) -> Answer<CheckResponse> {
    let checked = context
        .handle
        .ask(move |owner| {
            let Some(endpoint) = owner.state.find(&request.container_id, &request.ifname) else {
                return Err(Refused::not_found(format_args!(
                    "{} of container {}",
                    request.ifname, request.container_id
                )));
            };
            let wrong = |message: String| {
                Err(Refused::new(StatusCode::CONFLICT, message).about(endpoint.spec.pod.to_string()))
            };
            let Some(attachment) = &endpoint.attachment else {
                return wrong("the pod was never attached".to_owned());
            };
            match owner.kernel.object().maps.pods.get(&attachment.host_ifindex) {
                Ok(Some(row)) if row.endpoint == endpoint.spec.id => {}
                Ok(_) => return wrong("the kernel does not know the pod".to_owned()),
                Err(error) => return wrong(crate::text(&error)),
            }
            Ok(CheckResponse {
                endpoint_id: endpoint.spec.id,
                ipv4: endpoint.spec.v4,
                ipv6: endpoint.spec.v6,
                host_ifindex: attachment.host_ifindex,
            })
        })
        .await?;
    checked.map(Json)
}

/// A pod is gone.
pub(super) async fn release(
    State(context): State<Context>,
    Path((container_id, ifname)): Path<(String, String)>,
) -> Answer<ReleaseResponse> {
    let released =
        context.handle.ask(move |owner| owner.state.remove(&container_id, &ifname).is_some()).await?;
    Ok(Json(ReleaseResponse { released }))
}
