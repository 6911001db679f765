//! Filters of the wire as ours.

use super::from_pb::direction;
use crate::flow as pb;
use flow::filter::{EndFilter, L7Filter, SelectorTextError, parse_selector};
use flow::{EVENT_ACCESS_LOG, Filter, Filters, Interface, Verdict, Workload};
use std::error::Error;
use std::net::IpAddr;
use std::str::FromStr;
use types::{IpNet, Selector};

/// A filter that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A member of a list cannot be read.
    #[error("flow filter field {field}: {text:?} cannot be read")]
    Member {
        /// Which list.
        field: &'static str,
        /// The member.
        text: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A number that stands for nothing.
    #[error(
        "flow filter field {field}: {number} stands for nothing here: leave it out, or update the server"
    )]
    Number {
        /// Which list.
        field: &'static str,
        /// The number.
        number: i64,
    },
    /// Nothing could fit both fields.
    #[error(
        "flow filter field {field} asks for messages of layer 7, which event_type leaves out: add type l7 (129), or leave event_type out"
    )]
    NotOfLayer7 {
        /// The field about layer 7.
        field: &'static str,
    },
    /// A field that this server cannot follow. Ignoring it would show flows that nobody asked for.
    #[error("flow filter field {field} is not supported by this server: leave it out")]
    Unsupported {
        /// Which field.
        field: &'static str,
    },
}

/// The lists of a request as one set of filters.
pub fn filters(allow: Vec<pb::FlowFilter>, deny: Vec<pb::FlowFilter>) -> Result<Filters, FilterError> {
    let read = |list: Vec<pb::FlowFilter>| list.into_iter().map(Filter::try_from).collect::<Result<_, _>>();
    Ok(Filters { allow: read(allow)?, deny: read(deny)? })
}

impl TryFrom<pb::FlowFilter> for Filter {
    type Error = FilterError;

    fn try_from(filter: pb::FlowFilter) -> Result<Self, FilterError> {
        refuse_unsupported(&filter)?;
        let l7 = l7(&filter)?;
        let source = EndFilter {
            addresses: networks("source_ip", &filter.source_ip)?,
            pods: members("source_pod", &filter.source_pod)?,
            names: members("source_fqdn", &filter.source_fqdn)?,
            labels: selectors("source_label", &filter.source_label)?,
            services: members("source_service", &filter.source_service)?,
            workloads: workloads(filter.source_workload),
            clusters: members("source_cluster_name", &filter.source_cluster_name)?,
            ports: members("source_port", &filter.source_port)?,
            identities: filter.source_identity,
        };
        let destination = EndFilter {
            addresses: networks("destination_ip", &filter.destination_ip)?,
            pods: members("destination_pod", &filter.destination_pod)?,
            names: members("destination_fqdn", &filter.destination_fqdn)?,
            labels: selectors("destination_label", &filter.destination_label)?,
            services: members("destination_service", &filter.destination_service)?,
            workloads: workloads(filter.destination_workload),
            clusters: members("destination_cluster_name", &filter.destination_cluster_name)?,
            ports: members("destination_port", &filter.destination_port)?,
            identities: filter.destination_identity,
        };
        let event = |e: pb::EventTypeFilter| (e.r#type, e.match_sub_type.then_some(e.sub_type));
        let interface = |i: pb::NetworkInterface| Interface { index: i.index, name: i.name.into() };
        Ok(Self {
            source,
            destination,
            uuids: filter.uuid,
            source_xlated: networks("source_ip_xlated", &filter.source_ip_xlated)?,
            directions: filter.traffic_direction.into_iter().map(direction).collect(),
            verdicts: numbers("verdict", &filter.verdict, Verdict::from_number)?,
            drop_reasons: numbers("drop_reason_desc", &filter.drop_reason_desc, |n| u8::try_from(n).ok())?,
            interfaces: filter.interface.into_iter().map(interface).collect(),
            events: filter.event_type.into_iter().map(event).collect(),
            protocols: members("protocol", &filter.protocol)?,
            replies: filter.reply,
            tcp_flags: filter.tcp_flags.into_iter().map(Into::into).collect(),
            nodes: members("node_name", &filter.node_name)?,
            node_labels: selectors("node_labels", &filter.node_labels)?,
            ip_versions: numbers("ip_version", &filter.ip_version, ip_version)?,
            encrypted: filter.encrypted,
            l7,
            traces: filter.trace_id,
            ip_traces: filter.ip_trace_id,
        })
    }
}

/// CEL would be a second language with a parser and an evaluator of its own, at the mercy of whoever may ask for flows.
fn refuse_unsupported(filter: &pb::FlowFilter) -> Result<(), FilterError> {
    match &filter.experimental {
        Some(experimental) if !experimental.cel_expression.is_empty() => {
            Err(FilterError::Unsupported { field: "experimental.cel_expression" })
        }
        _ => Ok(()),
    }
}

fn l7(filter: &pb::FlowFilter) -> Result<L7Filter, FilterError> {
    let events = &filter.event_type;
    let possible = events.is_empty() || events.iter().any(|event| event.r#type == EVENT_ACCESS_LOG);
    let lists = [
        ("http_status_code", filter.http_status_code.is_empty()),
        ("http_method", filter.http_method.is_empty()),
        ("http_path", filter.http_path.is_empty()),
        ("http_url", filter.http_url.is_empty()),
        ("http_header", filter.http_header.is_empty()),
    ];
    if let Some((field, _)) = lists.iter().find(|(_, empty)| !empty && !possible) {
        return Err(FilterError::NotOfLayer7 { field });
    }
    Ok(L7Filter {
        statuses: members("http_status_code", &filter.http_status_code)?,
        methods: filter.http_method.clone(),
        paths: members("http_path", &filter.http_path)?,
        urls: members("http_url", &filter.http_url)?,
        headers: filter.http_header.iter().map(|h| (h.key.clone(), h.value.clone())).collect(),
        dns_queries: members("dns_query", &filter.dns_query)?,
    })
}

fn member_error<E: Error + Send + Sync + 'static>(field: &'static str, text: &str, source: E) -> FilterError {
    FilterError::Member { field, text: text.to_owned(), source: Box::new(source) }
}

fn members<T>(field: &'static str, texts: &[String]) -> Result<Vec<T>, FilterError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    texts.iter().map(|text| text.parse().map_err(|source| member_error(field, text, source))).collect()
}

/// Addresses and CIDRs; an address is the CIDR of itself.
fn networks(field: &'static str, texts: &[String]) -> Result<Vec<IpNet>, FilterError> {
    let read = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) if text.contains('/') => {
            text.parse::<IpNet>().map(|net| net.trunc()).map_err(|source| member_error(field, text, source))
        }
        Err(source) => Err(member_error(field, text, source)),
    };
    texts.iter().map(read).collect()
}

fn selectors(field: &'static str, texts: &[String]) -> Result<Vec<Selector>, FilterError> {
    let read = |text: &String| {
        parse_selector(text).map_err(|source: SelectorTextError| member_error(field, text, source))
    };
    texts.iter().map(read).collect()
}

fn workloads(list: Vec<pb::Workload>) -> Vec<Workload> {
    list.into_iter().map(|w| Workload { name: w.name, kind: w.kind }).collect()
}

fn numbers<T>(
    field: &'static str,
    list: &[i32],
    read: impl Fn(i32) -> Option<T>,
) -> Result<Vec<T>, FilterError> {
    list.iter()
        .map(|number| read(*number).ok_or(FilterError::Number { field, number: i64::from(*number) }))
        .collect()
}

fn ip_version(number: i32) -> Option<u8> {
    match pb::IpVersion::try_from(number) {
        Ok(pb::IpVersion::IpNotUsed) => Some(0),
        Ok(pb::IpVersion::IPv4) => Some(4),
        Ok(pb::IpVersion::IPv6) => Some(6),
        Err(_) => None,
    }
}
