//! A message as our flow: what a client does with what it gets.
//!
//! Servers may be newer than we are and may leave out fields (masks): what is absent or unknown stays so, and only what
//! is plainly wrong is an error.

use crate::flow as pb;
use flow::{
    Direction, End, Ethernet, Flow, FlowKind, Interface, Ip, L4, L7, L7Kind, L7Record, Pod, Point, Policy,
    Rare, Reason, Service, TcpFlags, Tunnel, TunnelProtocol, Verdict, Workload,
};
use std::net::{AddrParseError, IpAddr};
use std::sync::Arc;
use types::Labels;

/// A message that cannot be a flow.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// An address is none.
    #[error(
        "flow field {field} holds {text:?}, which is no IP address: server and client may differ in version"
    )]
    Address {
        /// Which field.
        field: &'static str,
        /// What it holds.
        text: String,
        /// Why.
        #[source]
        source: AddrParseError,
    },
    /// A MAC address is none.
    #[error(
        "flow field {field} holds {text:?}, which is no MAC address: server and client may differ in version"
    )]
    Mac {
        /// Which field.
        field: &'static str,
        /// What it holds.
        text: String,
    },
    /// A number is too large for what it counts.
    #[error("flow field {field} holds {number}, which is too large: server and client may differ in version")]
    Number {
        /// Which field.
        field: &'static str,
        /// What it holds.
        number: u32,
    },
}

impl TryFrom<pb::Flow> for Flow {
    type Error = FlowError;

    #[expect(deprecated, reason = "the only place of the summary")]
    fn try_from(flow: pb::Flow) -> Result<Self, FlowError> {
        let (event_type, event_subtype) =
            flow.event_type.map_or((0, 0), |event| (event.r#type, event.sub_type));
        let rare = rare(&flow);
        let mut source: End = flow.source.unwrap_or_default().into();
        source.names = flow.source_names.into();
        source.service = flow.source_service.map(service);
        let mut destination: End = flow.destination.unwrap_or_default().into();
        destination.names = flow.destination_names.into();
        destination.service = flow.destination_service.map(service);
        let reason = if flow.drop_reason_desc != 0 { flow.drop_reason_desc } else { flow.drop_reason as i32 };
        let emitter = |e: pb::Emitter| Arc::new(flow::Emitter { name: e.name, version: e.version });
        Ok(Self {
            time: flow.time.map_or(0, |time| time.unix_nanos()),
            uuid: flow.uuid,
            emitter: flow.emitter.map(emitter),
            verdict: Verdict::from_number(flow.verdict).unwrap_or_default(),
            drop_reason: u8::try_from(reason).unwrap_or_default(),
            ethernet: flow.ethernet.map(ethernet).transpose()?,
            ip: flow.ip.map(ip).transpose()?.flatten(),
            l4: flow.l4.and_then(|l4| l4.protocol).map(l4).transpose()?,
            tunnel: flow.tunnel.map(tunnel).transpose()?.flatten(),
            l7: flow.l7.map(|l7| Arc::new(l7.into())),
            source,
            destination,
            kind: kind(flow.r#type),
            node_name: flow.node_name.into(),
            node_labels: flow.node_labels.into(),
            event_type,
            event_subtype,
            direction: direction(flow.traffic_direction),
            policy_match: flow.policy_match_type,
            point: Point::from_number(flow.trace_observation_point),
            reason: Reason::from_number(flow.trace_reason),
            is_reply: flow.is_reply.map(|is| is.value),
            interface: flow.interface.map(|i| Interface { index: i.index, name: i.name.into() }),
            proxy_port: narrow("proxy_port", flow.proxy_port)?,
            egress_allowed_by: policies(flow.egress_allowed_by),
            ingress_allowed_by: policies(flow.ingress_allowed_by),
            egress_denied_by: policies(flow.egress_denied_by),
            ingress_denied_by: policies(flow.ingress_denied_by),
            policy_log: flow.policy_log.into(),
            given_summary: (!flow.summary.is_empty()).then_some(flow.summary),
            rare,
        })
    }
}

fn rare(flow: &pb::Flow) -> Option<Arc<Rare>> {
    let trace_id = flow.trace_context.as_ref().and_then(|context| context.parent.as_ref());
    let rare = Rare {
        trace_id: trace_id.map(|parent| parent.trace_id.clone()).unwrap_or_default(),
        ip_trace_id: flow.ip_trace_id.as_ref().map_or(0, |id| id.trace_id),
        ip_option: flow.ip_trace_id.as_ref().map_or(0, |id| id.ip_option_type),
        socket_point: flow.sock_xlate_point,
        socket_cookie: flow.socket_cookie,
        cgroup: flow.cgroup_id,
        capture_point: flow.debug_capture_point,
        auth: flow.auth_type,
    };
    (rare != Rare::default()).then(|| Arc::new(rare))
}

fn narrow<T: TryFrom<u32>>(field: &'static str, number: u32) -> Result<T, FlowError> {
    T::try_from(number).map_err(|_| FlowError::Number { field, number })
}

fn address(field: &'static str, text: &str) -> Result<IpAddr, FlowError> {
    text.parse().map_err(|source| FlowError::Address { field, text: text.to_owned(), source })
}

/// `None` where a mask left an end out.
fn ip(ip: pb::Ip) -> Result<Option<Ip>, FlowError> {
    if ip.source.is_empty() || ip.destination.is_empty() {
        return Ok(None);
    }
    let xlated = Some(ip.source_xlated.as_str()).filter(|text| !text.is_empty());
    Ok(Some(Ip {
        source: address("IP.source", &ip.source)?,
        destination: address("IP.destination", &ip.destination)?,
        source_xlated: xlated.map(|text| address("IP.source_xlated", text)).transpose()?,
        encrypted: ip.encrypted,
    }))
}

fn mac(field: &'static str, text: &str) -> Result<[u8; 6], FlowError> {
    let bad = || FlowError::Mac { field, text: text.to_owned() };
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
    }
    if parts.next().is_some() { Err(bad()) } else { Ok(mac) }
}

fn ethernet(ethernet: pb::Ethernet) -> Result<Ethernet, FlowError> {
    Ok(Ethernet {
        source: mac("ethernet.source", &ethernet.source)?,
        destination: mac("ethernet.destination", &ethernet.destination)?,
    })
}

fn l4(protocol: pb::layer4::Protocol) -> Result<L4, FlowError> {
    use pb::layer4::Protocol;
    let ports = |source: u32, destination: u32| {
        Ok((narrow("l4.source_port", source)?, narrow("l4.destination_port", destination)?))
    };
    let icmp = |kind: u32, code: u32| Ok((narrow("l4.type", kind)?, narrow("l4.code", code)?));
    Ok(match protocol {
        Protocol::Tcp(tcp) => {
            let (source, destination) = ports(tcp.source_port, tcp.destination_port)?;
            L4::Tcp { source, destination, flags: tcp.flags.map(Into::into) }
        }
        Protocol::Udp(udp) => {
            let (source, destination) = ports(udp.source_port, udp.destination_port)?;
            L4::Udp { source, destination }
        }
        Protocol::Sctp(sctp) => {
            let (source, destination) = ports(sctp.source_port, sctp.destination_port)?;
            L4::Sctp { source, destination }
        }
        Protocol::IcmPv4(message) => {
            let (kind, code) = icmp(message.r#type, message.code)?;
            L4::Icmp4 { kind, code }
        }
        Protocol::IcmPv6(message) => {
            let (kind, code) = icmp(message.r#type, message.code)?;
            L4::Icmp6 { kind, code }
        }
        Protocol::Vrrp(vrrp) => L4::Vrrp {
            kind: narrow("l4.VRRP.type", vrrp.r#type)?,
            id: narrow("l4.VRRP.vrid", vrrp.vrid)?,
            priority: narrow("l4.VRRP.priority", vrrp.priority)?,
        },
        Protocol::Igmp(igmp) => L4::Igmp {
            kind: narrow("l4.IGMP.type", igmp.r#type)?,
            group: address("l4.IGMP.group_address", &igmp.group_address)?,
        },
    })
}

impl From<pb::TcpFlags> for TcpFlags {
    fn from(flags: pb::TcpFlags) -> Self {
        let bits = [
            (flags.fin, 0x01),
            (flags.syn, 0x02),
            (flags.rst, 0x04),
            (flags.psh, 0x08),
            (flags.ack, 0x10),
            (flags.urg, 0x20),
            (flags.ece, 0x40),
            (flags.cwr, 0x80),
            (flags.ns, 0x100),
        ];
        Self(bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum())
    }
}

fn tunnel(tunnel: pb::Tunnel) -> Result<Option<Tunnel>, FlowError> {
    let protocol = match pb::tunnel::Protocol::try_from(tunnel.protocol) {
        Ok(pb::tunnel::Protocol::Vxlan) => TunnelProtocol::Vxlan,
        Ok(pb::tunnel::Protocol::Geneve) => TunnelProtocol::Geneve,
        _ => return Ok(None),
    };
    let ip = tunnel.ip.map(ip).transpose()?.flatten();
    let l4 = tunnel.l4.and_then(|l4| l4.protocol).map(l4).transpose()?;
    Ok(ip.zip(l4).map(|(ip, l4)| Tunnel { protocol, ip, l4, vni: tunnel.vni }))
}

fn kind(number: i32) -> FlowKind {
    match pb::FlowType::try_from(number) {
        Ok(pb::FlowType::L3L4) => FlowKind::L3L4,
        Ok(pb::FlowType::L7) => FlowKind::L7,
        Ok(pb::FlowType::Sock) => FlowKind::Sock,
        _ => FlowKind::Unknown,
    }
}

pub(super) fn direction(number: i32) -> Direction {
    match pb::TrafficDirection::try_from(number) {
        Ok(pb::TrafficDirection::Ingress) => Direction::Ingress,
        Ok(pb::TrafficDirection::Egress) => Direction::Egress,
        _ => Direction::Unknown,
    }
}

fn service(service: pb::Service) -> Arc<Service> {
    Arc::new(Service { name: service.name, namespace: service.namespace })
}

fn policies(list: Vec<pb::Policy>) -> Arc<[Policy]> {
    let policy = |p: pb::Policy| Policy {
        kind: p.kind,
        namespace: p.namespace,
        name: p.name,
        labels: p.labels,
        revision: p.revision,
    };
    list.into_iter().map(policy).collect()
}

impl From<pb::Endpoint> for End {
    fn from(end: pb::Endpoint) -> Self {
        let pod = Pod {
            cluster: end.cluster_name,
            namespace: end.namespace,
            name: end.pod_name,
            workloads: end.workloads.into_iter().map(|w| Workload { name: w.name, kind: w.kind }).collect(),
        };
        Self {
            endpoint: end.id,
            identity: end.identity,
            labels: end.labels.iter().filter_map(|label| label.parse().ok()).collect::<Labels>(),
            pod: (pod != Pod::default()).then(|| Arc::new(pod)),
            ..Self::default()
        }
    }
}

impl From<pb::Layer7> for L7 {
    fn from(l7: pb::Layer7) -> Self {
        let kind = match pb::L7FlowType::try_from(l7.r#type) {
            Ok(pb::L7FlowType::Request) => L7Kind::Request,
            Ok(pb::L7FlowType::Response) => L7Kind::Response,
            Ok(pb::L7FlowType::Sample) => L7Kind::Sample,
            _ => L7Kind::Unknown,
        };
        Self { kind, latency: l7.latency_ns, record: l7.record.map_or(L7Record::Other, record) }
    }
}

#[expect(deprecated, reason = "Kafka rules are in use")]
fn record(record: pb::layer7::Record) -> L7Record {
    use pb::layer7::Record;
    match record {
        Record::Http(http) => L7Record::Http {
            code: http.code,
            method: http.method,
            url: http.url,
            protocol: http.protocol,
            headers: http.headers.into_iter().map(|header| (header.key, header.value)).collect(),
        },
        Record::Dns(dns) => L7Record::Dns {
            query: dns.query,
            ips: dns.ips,
            ttl: dns.ttl,
            cnames: dns.cnames,
            observed_by: dns.observation_source,
            rcode: dns.rcode,
            qtypes: dns.qtypes,
            rrtypes: dns.rrtypes,
        },
        Record::Kafka(kafka) => L7Record::Kafka {
            error_code: kafka.error_code,
            api_version: kafka.api_version,
            api_key: kafka.api_key,
            correlation_id: kafka.correlation_id,
            topic: kafka.topic,
        },
    }
}
