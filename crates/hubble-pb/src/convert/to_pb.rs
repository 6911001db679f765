//! Our flow as a message.

use crate::{flow as pb, wkt};
use flow::format::mac;
use flow::{
    Direction, End, Flow, FlowKind, Ip, L4, L7, L7Kind, L7Record, Policy, TcpFlags, Tunnel, TunnelProtocol,
};
use std::sync::Arc;

impl From<Flow> for pb::Flow {
    #[expect(deprecated, reason = "clients of old read drop_reason, reply and Summary")]
    fn from(flow: Flow) -> Self {
        let summary = flow.summary();
        let rare = flow.rare.as_deref().cloned().unwrap_or_default();
        Self {
            time: Some(wkt::Timestamp::from_unix_nanos(flow.time)),
            uuid: flow.uuid,
            emitter: flow.emitter.map(|e| pb::Emitter { name: e.name.clone(), version: e.version.clone() }),
            verdict: flow.verdict.number(),
            drop_reason: u32::from(flow.drop_reason),
            drop_reason_desc: drop_reason(flow.drop_reason),
            ethernet: flow
                .ethernet
                .map(|e| pb::Ethernet { source: mac(e.source), destination: mac(e.destination) }),
            ip: flow.ip.map(Into::into),
            l4: flow.l4.map(Into::into),
            tunnel: flow.tunnel.map(Into::into),
            r#type: kind(flow.kind).into(),
            node_name: flow.node_name.to_string(),
            node_labels: flow.node_labels.to_vec(),
            source_names: flow.source.names.to_vec(),
            destination_names: flow.destination.names.to_vec(),
            source_service: service(&flow.source),
            destination_service: service(&flow.destination),
            source: Some(flow.source.into()),
            destination: Some(flow.destination.into()),
            l7: flow.l7.map(|l7| l7.as_ref().clone().into()),
            reply: flow.is_reply == Some(true),
            is_reply: flow.is_reply.map(|value| wkt::BoolValue { value }),
            event_type: Some(pb::CiliumEventType { r#type: flow.event_type, sub_type: flow.event_subtype }),
            traffic_direction: direction(flow.direction).into(),
            policy_match_type: flow.policy_match,
            trace_observation_point: flow.point.map_or(0, flow::Point::number),
            trace_reason: flow.reason.map_or(0, flow::Reason::number),
            interface: flow
                .interface
                .map(|i| pb::NetworkInterface { index: i.index, name: i.name.to_string() }),
            proxy_port: u32::from(flow.proxy_port),
            summary,
            egress_allowed_by: policies(&flow.egress_allowed_by),
            ingress_allowed_by: policies(&flow.ingress_allowed_by),
            egress_denied_by: policies(&flow.egress_denied_by),
            ingress_denied_by: policies(&flow.ingress_denied_by),
            policy_log: flow.policy_log.to_vec(),
            auth_type: rare.auth,
            ip_trace_id: (rare.ip_trace_id != 0)
                .then_some(pb::IpTraceId { trace_id: rare.ip_trace_id, ip_option_type: rare.ip_option }),
            trace_context: (!rare.trace_id.is_empty())
                .then_some(pb::TraceContext { parent: Some(pb::TraceParent { trace_id: rare.trace_id }) }),
            debug_capture_point: rare.capture_point,
            sock_xlate_point: rare.socket_point,
            socket_cookie: rare.socket_cookie,
            cgroup_id: rare.cgroup,
            ..Self::default()
        }
    }
}

/// The number if the flow API has a name for it; others would be a number in JSON, which Go's clients refuse.
fn drop_reason(reason: u8) -> i32 {
    pb::DropReason::try_from(i32::from(reason)).map_or(0, i32::from)
}

fn kind(kind: FlowKind) -> pb::FlowType {
    match kind {
        FlowKind::Unknown => pb::FlowType::UnknownType,
        FlowKind::L3L4 => pb::FlowType::L3L4,
        FlowKind::L7 => pb::FlowType::L7,
        FlowKind::Sock => pb::FlowType::Sock,
    }
}

pub(super) fn direction(direction: Direction) -> pb::TrafficDirection {
    match direction {
        Direction::Unknown => pb::TrafficDirection::Unknown,
        Direction::Ingress => pb::TrafficDirection::Ingress,
        Direction::Egress => pb::TrafficDirection::Egress,
    }
}

fn service(end: &End) -> Option<pb::Service> {
    let service = end.service.as_deref()?;
    Some(pb::Service { name: service.name.clone(), namespace: service.namespace.clone() })
}

fn policies(list: &Arc<[Policy]>) -> Vec<pb::Policy> {
    let policy = |policy: &Policy| pb::Policy {
        name: policy.name.clone(),
        namespace: policy.namespace.clone(),
        labels: policy.labels.clone(),
        revision: policy.revision,
        kind: policy.kind.clone(),
    };
    list.iter().map(policy).collect()
}

impl From<End> for pb::Endpoint {
    fn from(end: End) -> Self {
        let pod = end.pod.as_deref().cloned().unwrap_or_default();
        let workload = |w: flow::Workload| pb::Workload { name: w.name, kind: w.kind };
        Self {
            id: end.endpoint,
            identity: end.identity,
            cluster_name: pod.cluster,
            namespace: pod.namespace,
            labels: end.labels.iter().map(ToString::to_string).collect(),
            pod_name: pod.name,
            workloads: pod.workloads.into_iter().map(workload).collect(),
        }
    }
}

impl From<Ip> for pb::Ip {
    fn from(ip: Ip) -> Self {
        let version = if ip.source.is_ipv4() { pb::IpVersion::IPv4 } else { pb::IpVersion::IPv6 };
        Self {
            source: ip.source.to_string(),
            source_xlated: ip.source_xlated.map(|ip| ip.to_string()).unwrap_or_default(),
            destination: ip.destination.to_string(),
            ip_version: version.into(),
            encrypted: ip.encrypted,
        }
    }
}

impl From<L4> for pb::Layer4 {
    fn from(l4: L4) -> Self {
        use pb::layer4::Protocol;
        let protocol = match l4 {
            L4::Tcp { source, destination, flags } => Protocol::Tcp(pb::Tcp {
                source_port: source.into(),
                destination_port: destination.into(),
                flags: flags.map(Into::into),
            }),
            L4::Udp { source, destination } => {
                Protocol::Udp(pb::Udp { source_port: source.into(), destination_port: destination.into() })
            }
            L4::Sctp { source, destination } => {
                Protocol::Sctp(pb::Sctp { source_port: source.into(), destination_port: destination.into() })
            }
            L4::Icmp4 { kind, code } => {
                Protocol::IcmPv4(pb::IcmPv4 { r#type: kind.into(), code: code.into() })
            }
            L4::Icmp6 { kind, code } => {
                Protocol::IcmPv6(pb::IcmPv6 { r#type: kind.into(), code: code.into() })
            }
            L4::Vrrp { kind, id, priority } => {
                Protocol::Vrrp(pb::Vrrp { r#type: kind.into(), vrid: id.into(), priority: priority.into() })
            }
            L4::Igmp { kind, group } => {
                Protocol::Igmp(pb::Igmp { r#type: kind.into(), group_address: group.to_string() })
            }
        };
        Self { protocol: Some(protocol) }
    }
}

impl From<TcpFlags> for pb::TcpFlags {
    fn from(flags: TcpFlags) -> Self {
        let set = |bit: u16| flags.0 & bit != 0;
        Self {
            fin: set(0x01),
            syn: set(0x02),
            rst: set(0x04),
            psh: set(0x08),
            ack: set(0x10),
            urg: set(0x20),
            ece: set(0x40),
            cwr: set(0x80),
            ns: set(0x100),
        }
    }
}

impl From<Tunnel> for pb::Tunnel {
    fn from(tunnel: Tunnel) -> Self {
        let protocol = match tunnel.protocol {
            TunnelProtocol::Vxlan => pb::tunnel::Protocol::Vxlan,
            TunnelProtocol::Geneve => pb::tunnel::Protocol::Geneve,
        };
        Self {
            protocol: protocol.into(),
            ip: Some(tunnel.ip.into()),
            l4: Some(tunnel.l4.into()),
            vni: tunnel.vni,
        }
    }
}

impl From<L7> for pb::Layer7 {
    fn from(l7: L7) -> Self {
        let kind = match l7.kind {
            L7Kind::Unknown => pb::L7FlowType::UnknownL7Type,
            L7Kind::Request => pb::L7FlowType::Request,
            L7Kind::Response => pb::L7FlowType::Response,
            L7Kind::Sample => pb::L7FlowType::Sample,
        };
        Self { r#type: kind.into(), latency_ns: l7.latency, record: record(l7.record) }
    }
}

#[expect(deprecated, reason = "Kafka rules are in use")]
fn record(record: L7Record) -> Option<pb::layer7::Record> {
    use pb::layer7::Record;
    Some(match record {
        L7Record::Other => return None,
        L7Record::Http { code, method, url, protocol, headers } => {
            let header = |(key, value)| pb::HttpHeader { key, value };
            let headers = headers.into_iter().map(header).collect();
            Record::Http(pb::Http { code, method, url, protocol, headers })
        }
        L7Record::Dns { query, ips, ttl, cnames, observed_by, rcode, qtypes, rrtypes } => {
            Record::Dns(pb::Dns {
                query,
                ips,
                ttl,
                cnames,
                observation_source: observed_by,
                rcode,
                qtypes,
                rrtypes,
            })
        }
        L7Record::Kafka { error_code, api_version, api_key, correlation_id, topic } => {
            Record::Kafka(pb::Kafka { error_code, api_version, api_key, correlation_id, topic })
        }
    })
}
