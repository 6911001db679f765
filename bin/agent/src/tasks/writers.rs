//! What the agent writes to the API server.

use agent_core::{Change, ClusterIdentity, Condition, EndpointObject, Input, PodKey};
use futures::future::BoxFuture;
use kube_api::endpoint::{
    EndpointHealth, EndpointIdentity, EndpointNetworking, EndpointPolicy, EndpointPolicyDirection,
    EndpointStatus, ExternalIdentifiers, NamedPort,
};
use kube_api::node::AddressPair;
use kube_api::{
    CiliumClusterwideNetworkPolicy, CiliumEndpoint, CiliumIdentity, CiliumNetworkPolicy,
    ClusterNetworkPolicy, Conditioned, PolicyCondition,
};
use kube_watch::write::{Created, Object};
use kube_watch::{ApiError, Clients, Key};
use types::{Labels, PolicyKind, PolicyOrigin};

use crate::node::MANAGER;
use crate::outbox::{Outboxes, deliver};
use crate::owner::Handle;

/// The writers to run. `node` is this node's underlay address, by which it knows its own endpoint objects; `name` its name.
pub(crate) fn all(
    clients: &Clients,
    outboxes: &Outboxes,
    handle: &Handle,
    node: String,
    name: &str,
    objects: bool,
) -> Vec<BoxFuture<'static, ()>> {
    let endpoints = {
        let clients = clients.clone();
        deliver(outboxes.endpoints.clone(), move |pod: PodKey, wish: Option<EndpointObject>| {
            let (clients, node) = (clients.clone(), node.clone());
            async move {
                match (objects, wish) {
                    (false, _) => Ok(()),
                    (true, Some(object)) => clients.apply(MANAGER, &endpoint(&object)).await.map(drop),
                    (true, None) => remove(&clients, &pod, &node).await,
                }
            }
        })
    };
    let conditions = {
        let (clients, name) = (clients.clone(), name.to_owned());
        deliver(outboxes.conditions.clone(), move |origin: PolicyOrigin, wish: Option<Condition>| {
            let (clients, name) = (clients.clone(), name.clone());
            async move {
                match wish {
                    Some(condition) => set_condition(&clients, &name, &origin, &condition).await,
                    None => Ok(()),
                }
            }
        })
    };
    let identities = {
        let (clients, handle) = (clients.clone(), handle.clone());
        deliver(outboxes.identities.clone(), move |labels: Labels, number: Option<u32>| {
            let (clients, handle) = (clients.clone(), handle.clone());
            async move {
                match number {
                    Some(number) => create_identity(&clients, &handle, &labels, number).await,
                    None => Ok(()),
                }
            }
        })
    };
    vec![Box::pin(endpoints), Box::pin(conditions), Box::pin(identities)]
}

/// Creates an identity, or finds out who was first.
async fn create_identity(
    clients: &Clients,
    handle: &Handle,
    labels: &Labels,
    number: u32,
) -> Result<(), ApiError> {
    let wanted = CiliumIdentity::new(number, labels.security_labels());
    let (Created::New(found) | Created::Exists(found)) = clients.create_identity(&wanted).await?;
    let labels = labels.clone();
    // The watch will say the same a little later; a pod waits for this.
    let told = handle.ask(move |owner| {
        if found.security_labels == labels.security_labels() {
            let identity = ClusterIdentity { number, labels: found.security_labels };
            owner.state.apply(Input::Identities(Change::Apply(identity)), loader::monotonic_ns());
        } else {
            tracing::info!(number, "an identity number is taken by other labels; trying the next");
            owner.state.identity_refused(&labels);
        }
    });
    // An owner that is gone needs no answer.
    let _ = told.await;
    Ok(())
}

/// Removes the endpoint object of a pod, if it is this node's: a pod of the same name may live elsewhere by now.
async fn remove(clients: &Clients, pod: &PodKey, node: &str) -> Result<(), ApiError> {
    let key = Key::new(&pod.namespace, &pod.name);
    let object: CiliumEndpoint = match clients.get(&key).await {
        Ok(object) => object,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    if object.status.networking.as_ref().is_some_and(|n| n.node != node) {
        return Ok(());
    }
    match clients.delete::<CiliumEndpoint>(&key, object.metadata.uid.as_deref(), None).await {
        Err(error) if error.is_conflict() => Ok(()),
        result => result,
    }
}

async fn set_condition(
    clients: &Clients,
    node: &str,
    origin: &PolicyOrigin,
    condition: &Condition,
) -> Result<(), ApiError> {
    match origin.kind {
        PolicyKind::Cnp => set_valid::<CiliumNetworkPolicy>(clients, node, origin, condition).await,
        PolicyKind::Ccnp => {
            set_valid::<CiliumClusterwideNetworkPolicy>(clients, node, origin, condition).await
        }
        PolicyKind::Cluster => set_valid::<ClusterNetworkPolicy>(clients, node, origin, condition).await,
        // Files have no status, nor has NetworkPolicy.
        _ => Ok(()),
    }
}

/// Says that a policy was rolled back on this node, or, where this node had said so, that it no longer is. Whether anything
/// was written.
async fn set_rolled_back<P: Object + Conditioned>(
    clients: &Clients,
    policy: &P,
    node: &str,
    condition: &Condition,
) -> Result<bool, ApiError> {
    let prefix = format!("node {node}: ");
    let told = |c: &PolicyCondition| c.status == "False" && c.message.starts_with(&prefix);
    let said = policy.conditions().iter().any(|c| c.kind == PolicyCondition::HOST_FIREWALL && told(c));
    let (status, reason, message) = match &condition.rolled_back {
        Some(why) => ("False", "RolledBack", format!("{prefix}{why}")),
        None if said => ("True", "Applied", format!("{prefix}this version is in force, or on trial")),
        None => return Ok(false),
    };
    let condition = PolicyCondition {
        kind: PolicyCondition::HOST_FIREWALL.to_owned(),
        status: status.to_owned(),
        last_transition_time: Some(crate::clock::rfc3339_seconds()),
        reason: reason.to_owned(),
        message,
    };
    clients.set_policy_condition(policy, condition).await
}

async fn set_valid<P: Object + Conditioned>(
    clients: &Clients,
    node: &str,
    origin: &PolicyOrigin,
    condition: &Condition,
) -> Result<(), ApiError> {
    let key = Key::new(&origin.namespace, &origin.name);
    let mut policy: P = match clients.get(&key).await {
        Ok(policy) => policy,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    if policy.meta().uid.as_deref() != Some(origin.uid.as_str()) {
        return Ok(());
    }
    let (status, message) = match &condition.refused {
        None => ("True", "Policy validation succeeded"),
        Some(reason) => ("False", reason.as_str()),
    };
    // Cilium's kinds have none; conditions of Kubernetes' own must have one.
    let reason = match (origin.kind, &condition.refused) {
        (PolicyKind::Cluster, None) => "Accepted",
        (PolicyKind::Cluster, Some(_)) => "Refused",
        _ => "",
    };
    if set_rolled_back(clients, &policy, node, condition).await? {
        policy = clients.get(&key).await?;
    }
    let condition = PolicyCondition {
        kind: PolicyCondition::VALID.to_owned(),
        status: status.to_owned(),
        last_transition_time: Some(crate::clock::rfc3339_seconds()),
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    clients.set_policy_condition(&policy, condition).await.map(drop)
}

/// The object of an endpoint.
fn endpoint(object: &EndpointObject) -> CiliumEndpoint {
    let protocol = |number: u8| match number {
        17 => "UDP",
        132 => "SCTP",
        _ => "TCP",
    };
    let direction = |enforcing: bool| {
        let state = if enforcing { "enforcing" } else { "disabled" };
        Some(EndpointPolicyDirection { enforcing, state: state.to_owned() })
    };
    let text = |address: Option<std::net::IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    let status = EndpointStatus {
        id: i64::from(object.id),
        external_identifiers: Some(ExternalIdentifiers {
            cni_attachment_id: object.attachment.clone(),
            container_id: object.container_id.clone(),
            k8s_namespace: object.pod.namespace.clone(),
            k8s_pod_name: object.pod.name.clone(),
            pod_name: object.pod.to_string(),
            ..ExternalIdentifiers::default()
        }),
        health: Some(EndpointHealth {
            bpf: "OK".to_owned(),
            connected: true,
            overall_health: "OK".to_owned(),
            policy: "OK".to_owned(),
        }),
        identity: Some(EndpointIdentity { id: i64::from(object.identity), labels: object.labels.clone() }),
        networking: Some(EndpointNetworking {
            addressing: vec![AddressPair {
                ipv4: text(object.v4.map(Into::into)),
                ipv6: text(object.v6.map(Into::into)),
            }],
            node: text(object.node),
        }),
        policy: Some(EndpointPolicy {
            ingress: direction(object.enforced_ingress),
            egress: direction(object.enforced_egress),
        }),
        state: object.phase.name().to_owned(),
        named_ports: object
            .named_ports
            .iter()
            .map(|p| NamedPort {
                name: p.name.clone(),
                port: p.port,
                protocol: protocol(p.protocol).to_owned(),
            })
            .collect(),
        service_account: object.service_account.clone(),
        ..EndpointStatus::default()
    };
    CiliumEndpoint::new(&object.pod.namespace, &object.pod.name, &object.pod_uid, status)
}
