//! From what the kernel knows to what people know.

use crate::lookups::{Endpoint, Lookups};
use crate::model::*;
use crate::raw::{RawFlow, RawKind};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use types::{Labels, NumericIdentity};

/// Gives a flow its names. `wall_offset` is what to add to the kernel's monotonic clock to get ns since the Unix epoch.
/// Cannot fail: what nobody knows stays unknown.
pub fn enrich(mut raw: RawFlow, lookups: &(impl Lookups + ?Sized), wall_offset: u64) -> Flow {
    find_own(&mut raw, lookups);
    let event = &raw.event;
    let node_name = lookups.node_name();
    let time = event.time.wrapping_add(wall_offset);
    let ports = raw.packet.l4.as_ref().and_then(L4::ports);
    // A socket's own address, where nobody knows whose it is.
    let nobody = |address: &IpAddr| matches!(raw.kind, RawKind::Socket { .. }) && address.is_unspecified();
    let address = |address: IpAddr| Some(address).filter(|address| !nobody(address));
    let source = End::found(
        lookups,
        event.source_endpoint,
        event.source_identity,
        raw.packet.ip.and_then(|ip| address(ip.source)),
        ports.map(|(source, _)| source),
    );
    let destination = End::found(
        lookups,
        event.destination_endpoint,
        event.destination_identity,
        raw.packet.ip.and_then(|ip| address(ip.destination)),
        ports.map(|(_, destination)| destination),
    );
    let mut flow = Flow {
        time,
        uuid: uuid(&raw, time, &node_name),
        emitter: lookups.emitter(),
        ethernet: raw.packet.ethernet,
        ip: raw.packet.ip,
        l4: raw.packet.l4,
        tunnel: raw.packet.tunnel,
        source,
        destination,
        node_name,
        node_labels: lookups.node_labels(),
        direction: direction(&raw),
        interface: interface(lookups, event.ifindex),
        ..Flow::default()
    };
    judge(&mut flow, &raw, lookups);
    flow
}

/// At a socket only the other end's address is seen; whose the socket is tells its namespace.
fn find_own(raw: &mut RawFlow, lookups: &(impl Lookups + ?Sized)) {
    let (RawKind::Socket { point, namespace, .. }, Some(ip)) = (raw.kind, &mut raw.packet.ip) else { return };
    if let Some(own) = lookups.address_in(namespace, ip.source.is_ipv6()) {
        *(if point.reverse() { &mut ip.destination } else { &mut ip.source }) = own;
    }
}

/// Verdict, event type, and whose policy it was (datapath.md §11).
fn judge(flow: &mut Flow, raw: &RawFlow, lookups: &(impl Lookups + ?Sized)) {
    match raw.kind {
        RawKind::Drop { reason, .. } => {
            flow.event_type = EVENT_DROP;
            flow.event_subtype = i32::from(reason);
            flow.verdict = Verdict::Dropped;
            flow.drop_reason = reason;
            if raw.event.cookie != 0 {
                flow.policy_log = lookups.policy_log(raw.event.cookie);
                blame(flow, lookups.policies(raw.event.cookie), true);
            }
        }
        RawKind::Trace { point, reason } => {
            flow.event_type = EVENT_TRACE;
            flow.event_subtype = point.subtype();
            flow.verdict = Verdict::Forwarded;
            flow.point = Some(point);
            flow.reason = reason;
            flow.is_reply = reason.map(|reason| reason == Reason::Reply);
        }
        RawKind::Verdict { denied, audited, .. } => {
            flow.event_type = EVENT_POLICY_VERDICT;
            flow.policy_match = u32::from(raw.event.matched);
            flow.verdict = match (audited, denied) {
                (true, _) => Verdict::Audit,
                (false, Some(_)) => Verdict::Dropped,
                (false, None) => Verdict::Forwarded,
            };
            if flow.verdict == Verdict::Dropped {
                flow.drop_reason = denied.unwrap_or_default();
            } else {
                // An allowing verdict is about the first packet of a connection.
                flow.is_reply = Some(false);
            }
            flow.policy_log = lookups.policy_log(raw.event.cookie);
            blame(flow, lookups.policies(raw.event.cookie), audited || denied.is_some());
        }
        RawKind::Socket { point, cookie, cgroup, .. } => {
            flow.kind = FlowKind::Sock;
            flow.event_type = EVENT_TRACE_SOCK;
            flow.event_subtype = point.number();
            flow.verdict = point.verdict();
            let rare =
                Rare { socket_point: point.number(), socket_cookie: cookie, cgroup, ..Rare::default() };
            flow.rare = Some(Arc::new(rare));
        }
    }
}

/// Files the policies under the direction they decided. Audit counts as denied: these policies would have.
fn blame(flow: &mut Flow, policies: Option<Policies>, denied: bool) {
    let Some(policies) = policies else { return };
    match (flow.direction, denied) {
        (Direction::Egress, false) => flow.egress_allowed_by = policies,
        (Direction::Egress, true) => flow.egress_denied_by = policies,
        (Direction::Ingress, false) => flow.ingress_allowed_by = policies,
        (Direction::Ingress, true) => flow.ingress_denied_by = policies,
        (Direction::Unknown, _) => {}
    }
}

/// Verdicts and drops say which way they looked; a trace is seen from the endpoint next to its point, and replies turn
/// the direction of their connection around.
fn direction(raw: &RawFlow) -> Direction {
    let event = &raw.event;
    match raw.kind {
        RawKind::Verdict { egress: true, .. } => Direction::Egress,
        RawKind::Verdict { egress: false, .. } => Direction::Ingress,
        RawKind::Drop { egress: true, .. } if event.source_endpoint != 0 => Direction::Egress,
        RawKind::Drop { egress: false, .. } if event.destination_endpoint != 0 => Direction::Ingress,
        RawKind::Drop { .. } | RawKind::Socket { .. } => Direction::Unknown,
        RawKind::Trace { point, reason } => {
            let at_receiver = point == Point::ToEndpoint;
            let endpoint = if at_receiver { event.destination_endpoint } else { event.source_endpoint };
            match reason {
                None => Direction::Unknown,
                Some(_) if endpoint == 0 => Direction::Unknown,
                Some(reason) if at_receiver == (reason == Reason::Reply) => Direction::Egress,
                Some(_) => Direction::Ingress,
            }
        }
    }
}

impl End {
    /// What is known of one end: by its number on this node, else by its address; the event's identity counts more than
    /// any other, because it is the one that was enforced.
    fn found(
        lookups: &(impl Lookups + ?Sized),
        id: u16,
        identity: u32,
        address: Option<IpAddr>,
        port: Option<u16>,
    ) -> Self {
        let endpoint = match id {
            0 => address.and_then(|address| lookups.endpoint_at(address)),
            id => lookups.endpoint(id),
        };
        let known = endpoint.as_deref();
        let identity =
            [Some(identity), known.map(|e| e.identity), address.and_then(|a| lookups.identity_at(a))]
                .into_iter()
                .flatten()
                .find(|identity| *identity != 0)
                .unwrap_or_default();
        Self {
            endpoint: if id != 0 { u32::from(id) } else { known.map_or(0, |e| u32::from(e.id)) },
            identity,
            labels: labels(lookups, identity, known),
            pod: known.and_then(|e| e.pod.clone()),
            names: address.and_then(|address| lookups.names(address)).unwrap_or_default(),
            service: address.and_then(|address| lookups.service(address, port.unwrap_or_default())),
        }
    }
}

fn labels(lookups: &(impl Lookups + ?Sized), identity: u32, endpoint: Option<&Endpoint>) -> Labels {
    match endpoint {
        Some(endpoint) if endpoint.identity == identity => endpoint.labels.clone(),
        _ => lookups
            .labels(identity)
            .or_else(|| NumericIdentity(identity).reserved().map(|reserved| reserved.labels()))
            .unwrap_or_else(Labels::none),
    }
}

fn interface(lookups: &(impl Lookups + ?Sized), index: u32) -> Option<Interface> {
    (index != 0).then(|| Interface { index, name: lookups.interface(index).unwrap_or_default() })
}

/// A name for the event of the form of RFC 9562 version 8, made of what the event is: no random is needed, and the same
/// event has the same name wherever it is decoded.
fn uuid(raw: &RawFlow, time: u64, node: &Arc<str>) -> String {
    let mut hasher = DefaultHasher::new();
    (time, node, raw.event).hash(&mut hasher);
    if let Some(ip) = raw.packet.ip {
        (ip.source, ip.destination).hash(&mut hasher);
    }
    raw.packet.l4.and_then(|l4| l4.ports()).hash(&mut hasher);
    let hash = hasher.finish();
    // 64 bits tell a node's events apart; the other half only fills the form, differently for each.
    let bits =
        (u128::from(hash) << 64) | u128::from(hash.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let bits = (bits & !(0xf_u128 << 76)) | (0x8_u128 << 76);
    let bits = (bits & !(0x3_u128 << 62)) | (0x2_u128 << 62);
    let mut text = String::with_capacity(36);
    for (index, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
        }
    }
    text
}

#[cfg(test)]
mod tests;
