//! Endpoints, identities, addresses and nodes.

use std::collections::BTreeMap;

use abi::tables::{EGRESS, INGRESS, POLICY_DENY};
use agent_core::{Phase, Source};
use api::endpoint::{
    AddressPair, Endpoint, EndpointStatus, ExternalIdentifiers, Health, Labels, NamedPort, Networking,
    Policy, RealizedPolicy, Spec,
};
use api::identity::{Identity, IdentityUse};
use api::node::{IpEntry, IpMetadata, Node, NodeAddress, NodeAddresses};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::{Answer, Context, Refused, texts};
use crate::owner::Owner;

/// All endpoints.
pub(super) async fn list(State(context): State<Context>) -> Answer<Vec<Endpoint>> {
    let all = context.handle.ask(|owner| {
        let endpoints = owner.state.endpoints().values();
        endpoints.map(|endpoint| model(owner, endpoint)).chain(host(owner)).collect()
    });
    Ok(Json(all.await?))
}

/// One endpoint, by number or by a typed reference.
pub(super) async fn one(State(context): State<Context>, Path(id): Path<String>) -> Answer<Endpoint> {
    let found = context.handle.ask(move |owner| {
        if let Some(host) = host(owner).filter(|host| names_host(&id, host.id)) {
            return Ok(host);
        }
        let endpoint = find(owner, &id)?.ok_or_else(|| Refused::not_found(format_args!("endpoint {id}")))?;
        Ok::<_, Refused>(model(owner, endpoint))
    });
    found.await?.map(Json)
}

/// The endpoint that a reference names.
pub(super) fn find<'a>(
    owner: &'a Owner,
    reference: &str,
) -> Result<Option<&'a agent_core::Endpoint>, Refused> {
    let state = &owner.state;
    let by = |test: &dyn Fn(&agent_core::Endpoint) -> bool| state.endpoints().values().find(|e| test(e));
    let (kind, value) = reference.split_once(':').unwrap_or(("cilium-local", reference));
    Ok(match kind {
        "cilium-local" => match value.parse() {
            Ok(id) => state.endpoint(id),
            Err(_) => {
                let text = format!("{reference:?} names no endpoint");
                return Err(Refused::new(StatusCode::BAD_REQUEST, text).cure(
                    "give a number, or pod-name:NAMESPACE:POD, container-id:ID, ipv4:ADDRESS, ipv6:ADDRESS",
                ));
            }
        },
        "container-id" => by(&|e| e.spec.container_id == value),
        "cni-attachment-id" => by(&|e| format!("{}:{}", e.spec.container_id, e.spec.ifname) == value),
        "pod-name" | "k8s-pod-name" | "cep-name" => by(&|e| {
            value == format!("{}:{}", e.spec.pod.namespace, e.spec.pod.name)
                || value == e.spec.pod.to_string()
        }),
        "ipv4" | "ipv6" => value.parse().ok().and_then(|address| state.by_address(address)),
        _ => {
            let text = format!("{kind:?} is no way to name an endpoint");
            return Err(Refused::new(StatusCode::BAD_REQUEST, text));
        }
    })
}

/// Whether a reference names the node itself.
fn names_host(reference: &str, id: u16) -> bool {
    reference.strip_prefix("cilium-local:").unwrap_or(reference) == id.to_string()
        || reference == "reserved:host"
}

/// The node itself, where it has a policy of its own.
fn host(owner: &Owner) -> Option<Endpoint> {
    let (id, table) = (owner.state.host_endpoint()?, owner.state.host_table()?);
    let audit = owner.state.host_subject().is_some_and(|subject| subject.audit);
    let realized = realized(owner, abi::identity::HOST, &table, audit);
    let option = if audit { "Enabled" } else { "Disabled" };
    let device = &owner.kernel.devices().host;
    let labels = owner.state.host_labels();
    Some(Endpoint {
        id,
        spec: Spec { options: [("PolicyAuditMode".to_owned(), option.to_owned())].into(), ..Spec::default() },
        status: EndpointStatus {
            state: Phase::Ready.name().to_owned(),
            identity: Some(identity_model(abi::identity::HOST, &labels)),
            networking: Networking {
                addressing: vec![AddressPair::default()],
                interface_index: device.index,
                interface_name: device.name.clone(),
                ..Networking::default()
            },
            policy: Policy { realized: realized.clone(), spec: realized },
            labels: Labels { security_relevant: texts(&labels), ..Labels::default() },
            health: Health {
                bpf: "OK".to_owned(),
                policy: "OK".to_owned(),
                connected: true,
                overall_health: "OK".to_owned(),
            },
            ..EndpointStatus::default()
        },
    })
}

fn model(owner: &Owner, endpoint: &agent_core::Endpoint) -> Endpoint {
    let spec = &endpoint.spec;
    let attachment = endpoint.attachment.as_ref();
    let mac = |mac: [u8; 6]| api::Mac(mac).to_string();
    let known = endpoint.identity != abi::identity::UNKNOWN;
    let realized = policy(owner, endpoint);
    let good = if endpoint.phase == Phase::Ready { "OK" } else { "Bootstrap" };
    let protocol = |p: u8| match p {
        17 => "UDP",
        132 => "SCTP",
        _ => "TCP",
    };
    let ports = owner.state.pod(&spec.pod).map(|p| p.named_ports.as_slice()).unwrap_or_default();
    let audit = if owner.state.audits(endpoint) { "Enabled" } else { "Disabled" };
    Endpoint {
        id: spec.id,
        spec: Spec { options: [("PolicyAuditMode".to_owned(), audit.to_owned())].into(), ..Spec::default() },
        status: EndpointStatus {
            state: endpoint.phase.name().to_owned(),
            identity: known.then(|| identity_model(endpoint.identity, &endpoint.labels)),
            networking: Networking {
                addressing: vec![AddressPair {
                    ipv4: spec.v4.map(|a| a.to_string()).unwrap_or_default(),
                    ipv6: spec.v6.map(|a| a.to_string()).unwrap_or_default(),
                }],
                container_interface_name: spec.ifname.clone(),
                host_mac: attachment.map(|a| mac(a.host_mac)).unwrap_or_default(),
                interface_index: attachment.map_or(0, |a| a.host_ifindex),
                interface_name: spec.host_ifname.clone(),
                mac: attachment.map(|a| mac(a.mac)).unwrap_or_default(),
            },
            policy: Policy { realized: realized.clone(), spec: realized },
            external_identifiers: ExternalIdentifiers {
                cni_attachment_id: format!("{}:{}", spec.container_id, spec.ifname),
                container_id: spec.container_id.clone(),
                k8s_namespace: spec.pod.namespace.clone(),
                k8s_pod_name: spec.pod.name.clone(),
                pod_name: spec.pod.to_string(),
            },
            labels: Labels { security_relevant: texts(&endpoint.labels), ..Labels::default() },
            named_ports: ports
                .iter()
                .map(|p| NamedPort {
                    name: p.name.clone(),
                    port: p.port,
                    protocol: protocol(p.protocol).to_owned(),
                })
                .collect(),
            health: Health {
                bpf: good.to_owned(),
                policy: good.to_owned(),
                connected: attachment.is_some(),
                overall_health: good.to_owned(),
            },
            log: Vec::new(),
        },
    }
}

/// What the endpoint's table says, by identity.
fn policy(owner: &Owner, endpoint: &agent_core::Endpoint) -> RealizedPolicy {
    let Some((_, table)) = owner.state.policy_of(endpoint.spec.id) else { return RealizedPolicy::default() };
    realized(owner, endpoint.identity, &table, owner.state.audits(endpoint))
}

fn realized(owner: &Owner, identity: u32, table: &policy::PolicyTable, audited: bool) -> RealizedPolicy {
    let named = |direction: u8, deny: bool| -> Vec<u32> {
        let of_direction = table.entries.iter().filter(|(key, _)| key.direction.number() == direction);
        let mut numbers: Vec<u32> = of_direction
            .filter(|(_, entry)| (entry.flags & POLICY_DENY != 0) == deny)
            .map(|(key, _)| key.identity.get())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let audit = if audited || owner.state.settings().audit { "audit-" } else { "" };
    let enabled = match (table.enforced_ingress, table.enforced_egress) {
        (false, false) => "none".to_owned(),
        (true, false) => format!("{audit}ingress"),
        (false, true) => format!("{audit}egress"),
        (true, true) => format!("{audit}both"),
    };
    RealizedPolicy {
        id: identity,
        allowed_ingress_identities: named(INGRESS, false),
        allowed_egress_identities: named(EGRESS, false),
        denied_ingress_identities: named(INGRESS, true),
        denied_egress_identities: named(EGRESS, true),
        policy_enabled: enabled,
        policy_revision: owner.state.realized_policy_revision(),
        ..RealizedPolicy::default()
    }
}

fn identity_model(number: u32, labels: &types::Labels) -> Identity {
    Identity { id: number, labels: texts(labels), labels_sha256: labels.sha256() }
}

/// All identities.
pub(super) async fn identities(State(context): State<Context>) -> Answer<Vec<Identity>> {
    let all = context.handle.ask(|owner| {
        owner.state.identities().iter().map(|(number, labels)| identity_model(*number, labels)).collect()
    });
    Ok(Json(all.await?))
}

/// One identity.
pub(super) async fn identity(State(context): State<Context>, Path(id): Path<u32>) -> Answer<Identity> {
    let labels = context.handle.ask(move |owner| owner.state.labels_of(id)).await?;
    let labels = labels.ok_or_else(|| Refused::not_found(format_args!("identity {id}")))?;
    Ok(Json(identity_model(id, &labels)))
}

/// Identities that pods of this node have.
pub(super) async fn identities_in_use(State(context): State<Context>) -> Answer<Vec<IdentityUse>> {
    let uses = context.handle.ask(|owner| {
        let uses = owner.state.identities_in_use().into_iter();
        uses.map(|(number, ref_count)| {
            let labels = owner.state.labels_of(number).unwrap_or_default();
            IdentityUse { identity: identity_model(number, &labels), ref_count }
        })
        .collect()
    });
    Ok(Json(uses.await?))
}

/// Addresses and prefixes with their identities.
pub(super) async fn ips(State(context): State<Context>) -> Answer<Vec<IpEntry>> {
    Ok(Json(context.handle.ask(|owner| ip_entries(owner)).await?))
}

fn ip_entries(owner: &Owner) -> Vec<IpEntry> {
    let cache = owner.state.ipcache();
    let node = |node: abi::Addr| if node.is_unspecified() { String::new() } else { node.to_string() };
    let mut entries: BTreeMap<String, IpEntry> = BTreeMap::new();
    for (address, entry) in cache.hosts().rows() {
        let ip = std::net::IpAddr::from(*address);
        let (source, pod) = match cache.winner(ip).map(|(source, _)| source) {
            Some(Source::OwnNode) => ("agent-local", None),
            Some(Source::OwnPod) => ("agent-local", owner.state.by_address(ip).map(|e| e.spec.pod.clone())),
            Some(Source::Pod) => ("custom-resource", owner.state.remote_pod(ip).cloned()),
            Some(Source::Node) => ("custom-resource", None),
            Some(Source::ApiServer) => ("k8s", None),
            Some(Source::Cidr) | None => ("generated", None),
        };
        let cidr = format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        let (namespace, name) = pod.map(|p| (p.namespace, p.name)).unwrap_or_default();
        let metadata = IpMetadata { source: source.to_owned(), namespace, name };
        let host_ip = node(entry.node);
        entries.insert(
            cidr.clone(),
            IpEntry { cidr, identity: entry.identity, host_ip, encrypt_key: 0, metadata },
        );
    }
    for (key, entry) in cache.prefixes().rows() {
        let Some(prefix) = agent_core::key_prefix(key) else { continue };
        let cidr = prefix.to_string();
        let metadata = IpMetadata { source: "generated".to_owned(), ..IpMetadata::default() };
        let host_ip = node(entry.node);
        entries.insert(
            cidr.clone(),
            IpEntry { cidr, identity: entry.identity, host_ip, encrypt_key: 0, metadata },
        );
    }
    entries.into_values().collect()
}

/// Nodes of the cluster.
pub(super) async fn nodes(State(context): State<Context>) -> Answer<Vec<Node>> {
    Ok(Json(context.handle.ask(|owner| node_models(owner)).await?))
}

/// Nodes as `status` and `node list` print them.
pub(super) fn node_models(owner: &Owner) -> Vec<Node> {
    let settings = owner.state.settings();
    let model = |node: &agent_core::Node| {
        let family = |v4: bool, enabled: bool| {
            let ip = node.underlay.iter().find(|a| a.is_ipv4() == v4)?;
            let range = node.pod_cidrs.iter().find(|c| c.addr().is_ipv4() == v4);
            let alloc_range = range.map(ToString::to_string).unwrap_or_default();
            enabled.then(|| NodeAddress { enabled: true, ip: ip.to_string(), alloc_range })
        };
        Node {
            name: format!("{}/{}", settings.cluster, node.name),
            primary_address: NodeAddresses {
                ipv4: family(true, settings.ipv4),
                ipv6: family(false, settings.ipv6),
            },
            source: if node.name == settings.node.name { "local" } else { "custom-resource" }.to_owned(),
        }
    };
    let others = owner.state.nodes().filter(|n| n.name != settings.node.name);
    [&settings.node].into_iter().chain(others).map(model).collect()
}
