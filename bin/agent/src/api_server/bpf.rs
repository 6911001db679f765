//! The kernel's tables, read from the kernel and not from what the agent believes.

use abi::flow::{DENIED, HIGH_CLOSED, LOW_CLOSED, LOW_STARTED, MASQUERADE, RESET};
use abi::tables::{IPCACHE_TUNNEL, POLICY_AUDITED, POLICY_DENY, POLICY_UNENFORCED};
use abi::{Addr, DropReason, Flow, FlowKey, PolicyEntry};
use api::bpf::{CtEntry, IpcacheEntry, LocalEndpoint, Metric, PolicyTable};
use api::policy::PolicyRef;
use axum::Json;
use axum::extract::{Path, State};
use loader::{MapError, PolicyTrieKey};

use super::{Answer, Context, Refused, texts};
use crate::owner::Owner;

fn kernel(error: MapError) -> Refused {
    Refused::from(anyhow::Error::from(error))
}

/// Addresses and prefixes.
pub(super) async fn ipcache(State(context): State<Context>) -> Answer<Vec<IpcacheEntry>> {
    let entries = context.handle.ask(|owner| {
        let maps = &owner.kernel.object().maps;
        let hosts = maps.hosts.dump().map_err(kernel)?.into_iter().map(|(address, entry)| {
            let length = if address.is_v4() { 32 } else { 128 };
            (address, length, entry)
        });
        let prefixes = maps.prefixes.dump().map_err(kernel)?.into_iter().map(|(key, entry)| {
            let length = if key.addr.is_v4() { key.len.saturating_sub(96) } else { key.len };
            (key.addr, length, entry)
        });
        let mut rows: Vec<_> = hosts.chain(prefixes).collect();
        rows.sort_by_key(|(address, length, _)| (std::net::IpAddr::from(*address), *length));
        let model = |(address, length, entry): (Addr, u32, abi::IpcacheEntry)| IpcacheEntry {
            prefix: format!("{address}/{length}"),
            identity: entry.identity,
            encrypt_key: 0,
            tunnel_endpoint: if entry.node.is_unspecified() { String::new() } else { entry.node.to_string() },
            flags: if entry.flags & IPCACHE_TUNNEL != 0 { vec!["hastunnel".to_owned()] } else { Vec::new() },
        };
        Ok::<_, Refused>(rows.into_iter().map(model).collect())
    });
    entries.await?.map(Json)
}

/// Destinations towards which pods keep their own address.
pub(super) async fn ipmasq(State(context): State<Context>) -> Answer<Vec<String>> {
    let object = context.handle.ask(|owner| owner.kernel.object().clone()).await?;
    let rows = object.maps.no_masquerade.dump().map_err(kernel)?;
    let mut prefixes: Vec<_> = rows.iter().filter_map(|(key, _)| agent_core::key_prefix(key)).collect();
    prefixes.sort_unstable();
    Ok(Json(prefixes.iter().map(ToString::to_string).collect()))
}

/// Tracked connections.
pub(super) async fn connections(State(context): State<Context>) -> Answer<Vec<CtEntry>> {
    // A full table is read outside the owner, who has pods to serve.
    let object = context.handle.ask(|owner| owner.kernel.object().clone()).await?;
    let answered = object.maps.flows.dump().map_err(kernel)?.into_iter().map(|row| (row, false));
    let half_open = object.maps.half_open.dump().map_err(kernel)?.into_iter().map(|row| (row, true));
    Ok(Json(answered.chain(half_open).map(|((key, flow), half)| connection(&key, &flow, half)).collect()))
}

fn connection(key: &FlowKey, flow: &Flow, half_open: bool) -> CtEntry {
    let start = usize::from(flow.flags & LOW_STARTED == 0);
    let answer = 1 - start;
    let end = |side: usize| {
        std::net::SocketAddr::new(key.addr[side].into(), u16::from_be(key.port[side])).to_string()
    };
    let closed = |side: usize| flow.flags & if side == 0 { LOW_CLOSED } else { HIGH_CLOSED } != 0;
    let mut flag_names = Vec::new();
    for (set, name) in [
        (!half_open, "SeenNonSyn"),
        (closed(answer) || flow.flags & RESET != 0, "RxClosing"),
        (closed(start) || flow.flags & RESET != 0, "TxClosing"),
        (flow.flags & MASQUERADE != 0, "Masquerade"),
        (flow.flags & DENIED != 0, "Denied"),
    ] {
        if set {
            flag_names.push(name.to_owned());
        }
    }
    CtEntry {
        protocol: key.protocol,
        // A flow that a pod of this node started is seen as going out, as Cilium's tables do.
        direction: if flow.end[start].endpoint != 0 { "OUT" } else { "IN" }.to_owned(),
        source: end(start),
        destination: end(answer),
        expires: flow.expires / 1_000_000_000,
        packets: flow.packets[0] + flow.packets[1],
        bytes: flow.bytes[0] + flow.bytes[1],
        rx_flags_seen: flow.tcp[answer],
        last_rx_report: flow.reported[answer],
        tx_flags_seen: flow.tcp[start],
        last_tx_report: flow.reported[start],
        flags: flow.flags,
        flag_names,
        source_identity: flow.identity[start],
        half_open,
        ..CtEntry::default()
    }
}

/// The tables of all endpoints, the node itself among them where it has a policy.
pub(super) async fn policies(State(context): State<Context>) -> Answer<Vec<PolicyTable>> {
    let tables = context.handle.ask(|owner| {
        let ids: Vec<u16> =
            owner.state.endpoints().keys().copied().chain(owner.state.host_endpoint()).collect();
        ids.into_iter().filter_map(|id| table(owner, id).transpose()).collect::<Result<Vec<_>, Refused>>()
    });
    tables.await?.map(Json)
}

/// The table of one endpoint.
pub(super) async fn policy(State(context): State<Context>, Path(id): Path<u16>) -> Answer<PolicyTable> {
    let found = context.handle.ask(move |owner| table(owner, id)).await??;
    found.map(Json).ok_or_else(|| Refused::not_found(format_args!("a policy table of endpoint {id}")))
}

fn table(owner: &Owner, id: u16) -> Result<Option<PolicyTable>, Refused> {
    let Some(slot) = owner.state.policy_of(id).and_then(|(table, _)| owner.kernel.slot(table)) else {
        return Ok(None);
    };
    let content = owner.kernel.read_table(slot).map_err(kernel)?;
    let mut rows: Vec<(PolicyTrieKey, PolicyEntry)> = content.into_iter().collect();
    rows.sort_by_key(|(key, _)| {
        (key.key.direction, key.key.identity, key.key.protocol, u16::from_be(key.key.port))
    });
    let entries = rows.iter().map(|(key, entry)| row(owner, key, entry)).collect();
    Ok(Some(PolicyTable { endpoint: id, slot, entries }))
}

fn row(owner: &Owner, key: &PolicyTrieKey, entry: &PolicyEntry) -> api::bpf::PolicyEntry {
    let port = u16::from_be(key.key.port);
    let span = u16::MAX.checked_shr(u32::from(entry.bits.saturating_sub(8))).unwrap_or(0);
    let direction = if key.key.direction == abi::tables::EGRESS { "Egress" } else { "Ingress" };
    let labels = owner.state.labels_of(key.key.identity).map(|l| texts(&l)).unwrap_or_default();
    api::bpf::PolicyEntry {
        deny: entry.flags & POLICY_DENY != 0,
        unenforced: entry.flags & POLICY_UNENFORCED != 0,
        audited: entry.flags & POLICY_AUDITED != 0,
        direction: direction.to_owned(),
        identity: key.key.identity,
        labels,
        protocol: key.key.protocol,
        port,
        port_end: if entry.bits > 8 { port | span } else { port },
        proxy_port: u16::from_be(entry.proxy_port),
        precedence: entry.precedence,
        prefix: entry.bits,
        bytes: 0,
        packets: 0,
        cookie: entry.cookie,
        policies: references(owner, entry.cookie),
    }
}

/// The policies behind a rule cookie.
pub(super) fn references(owner: &Owner, cookie: u32) -> Vec<PolicyRef> {
    let mut references: Vec<PolicyRef> = Vec::new();
    for rule in owner.state.engine().cookie(cookie).unwrap_or_default() {
        let origin = &rule.origin;
        let reference = PolicyRef {
            kind: origin.kind.name().to_owned(),
            namespace: origin.namespace.clone(),
            name: origin.name.clone(),
        };
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    references
}

/// Packets and bytes by reason.
pub(super) async fn metrics(State(context): State<Context>) -> Answer<Vec<Metric>> {
    let object = context.handle.ask(|owner| owner.kernel.object().clone()).await?;
    let mut rows = Vec::new();
    for code in 0..=u8::MAX {
        for (bit, direction) in [(0, "INGRESS"), (1, "EGRESS")] {
            let counter = object.maps.metrics.sum(u32::from(code) * 2 + bit).map_err(kernel)?;
            if counter.packets > 0 {
                let reason = match code {
                    0 => "Success",
                    code => DropReason::from_code(code).map_or("Unknown", DropReason::text),
                };
                rows.push(Metric {
                    code,
                    reason: reason.to_owned(),
                    direction: direction.to_owned(),
                    packets: counter.packets,
                    bytes: counter.bytes,
                    ..Metric::default()
                });
            }
        }
    }
    Ok(Json(rows))
}

/// Pods of this node, as the programs know them.
pub(super) async fn endpoints(State(context): State<Context>) -> Answer<Vec<LocalEndpoint>> {
    let object = context.handle.ask(|owner| owner.kernel.object().clone()).await?;
    let mut rows = object.maps.pods.dump().map_err(kernel)?;
    rows.sort_by_key(|(_, pod)| pod.endpoint);
    let model = |(ifindex, pod): (u32, abi::PodFacts)| LocalEndpoint {
        addresses: [pod.v4, pod.v6].iter().filter(|a| !a.is_unspecified()).map(ToString::to_string).collect(),
        endpoint: pod.endpoint,
        identity: pod.identity,
        ifindex,
        mac: api::Mac(pod.mac).to_string(),
        host_mac: api::Mac(pod.host_mac).to_string(),
        policy_slot: pod.policy,
    };
    Ok(Json(rows.into_iter().map(model).collect()))
}
