//! Actions → requests.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, NodeCondition, ObjectReference, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube_api::node::NodeSpec;
use kube_api::{CiliumEndpoint, CiliumIdentity, CiliumNode};
use kube_watch::{ApiError, Clients, Key};
use serde_json::json;

use crate::plan::{Action, CILIUM_IS_UP, HEARTBEAT_ANNOTATION};
use crate::world::Version;

/// Under this name the operator owns fields.
pub(crate) const MANAGER: &str = "cilium-operator";

/// Does what an action says. To delete what is gone already is no error.
///
/// # Errors
/// [`ApiError`]; a conflict when the object changed since the action was decided.
pub(crate) async fn perform(clients: &Clients, action: &Action, now: Timestamp) -> Result<(), ApiError> {
    let cluster = |name: &str| Key::new("", name);
    match action {
        Action::AssignCidrs { node, version, cidrs } => {
            let patch = json!({ "metadata": at(version), "spec": { "ipam": { "podCIDRs": cidrs } } });
            clients.merge::<CiliumNode>(&cluster(node), &patch).await.map(drop)
        }
        Action::ReportAddressError { node, error } => report(clients, node, error, now).await,
        Action::MarkIdentity { name, version, mark } => {
            let patch = json!({ "metadata": annotated(version, &json!(mark)) });
            clients.merge::<CiliumIdentity>(&cluster(name), &patch).await.map(drop)
        }
        Action::UnmarkIdentity { name, version } => {
            let patch = json!({ "metadata": annotated(version, &json!(null)) });
            clients.merge::<CiliumIdentity>(&cluster(name), &patch).await.map(drop)
        }
        Action::DeleteIdentity { name, version } => {
            delete::<CiliumIdentity>(clients, &cluster(name), version).await
        }
        Action::DeleteEndpoint { key, version } => delete::<CiliumEndpoint>(clients, key, version).await,
        Action::DeleteCiliumNode { name, version } => {
            delete::<CiliumNode>(clients, &cluster(name), version).await
        }
        Action::RemoveTaint { node, version, taints } | Action::AddTaint { node, version, taints } => {
            set_taints(clients, &cluster(node), version, taints).await
        }
        Action::NetworkIsUp { node } => clients.set_node_condition(node, &network_is_up(now)).await,
        Action::RestartPod { key, uid } => clients.delete::<Pod>(key, Some(uid), None).await,
    }
}

/// The condition of a write: the object is still in this state.
fn at(version: &Version) -> serde_json::Value {
    json!({ "uid": version.uid, "resourceVersion": version.version })
}

fn annotated(version: &Version, mark: &serde_json::Value) -> serde_json::Value {
    let mut metadata = at(version);
    metadata["annotations"] = json!({ HEARTBEAT_ANNOTATION: mark });
    metadata
}

async fn delete<K: kube_watch::write::Object>(
    clients: &Clients,
    key: &Key,
    version: &Version,
) -> Result<(), ApiError> {
    clients.delete::<K>(key, Some(&version.uid), Some(&version.version)).await
}

/// The list is written whole, so only over the version that it was made from.
async fn set_taints(
    clients: &Clients,
    key: &Key,
    version: &Version,
    taints: &[Taint],
) -> Result<(), ApiError> {
    let patch = json!({ "metadata": at(version), "spec": { "taints": taints } });
    clients.merge::<Node>(key, &patch).await.map(drop)
}

/// Writes a node's address problem to its status and, if there is one, as an event, which `kubectl describe node` shows.
async fn report(clients: &Clients, node: &str, error: &str, now: Timestamp) -> Result<(), ApiError> {
    let mut object = CiliumNode::new(node, NodeSpec::default());
    object.status.ipam.operator_status.error = error.to_owned();
    clients.apply_status(MANAGER, &object).await?;
    if !error.is_empty() {
        clients.create(&address_event(node, error, now)).await?;
    }
    Ok(())
}

fn address_event(node: &str, error: &str, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{node}.{:x}", now.as_nanosecond())),
            namespace: Some("default".to_owned()),
            ..ObjectMeta::default()
        },
        // As kubelet refers to its node: by name, also in the field for the UID.
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            uid: Some(node.to_owned()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some("PodCIDRAllocationFailed".to_owned()),
        // The server's limit.
        message: Some(error.chars().take(1024).collect()),
        source: Some(EventSource { component: Some(MANAGER.to_owned()), ..EventSource::default() }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

fn network_is_up(now: Timestamp) -> NodeCondition {
    NodeCondition {
        type_: "NetworkUnavailable".to_owned(),
        status: "False".to_owned(),
        reason: Some(CILIUM_IS_UP.to_owned()),
        message: Some("Cilium is running on this node".to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}
