//! The metrics, and which flows count in them.

use crate::context::Labels;
use crate::options::{OptionError, Options};
use crate::series::{Family, Kind};
use flow::{
    Direction, EVENT_ACCESS_LOG, EVENT_CAPTURE, EVENT_DROP, EVENT_POLICY_VERDICT, EVENT_TRACE,
    EVENT_TRACE_SOCK, Flow, L4, L7Kind, L7Record, TcpFlags, Verdict,
};
use std::borrow::Cow;

const KNOWN: &str =
    "dns, drop, flow, flows-to-world, http, httpV2, icmp, kafka, policy, port-distribution, tcp";
/// Identity of the host itself.
const HOST: u32 = 1;
/// What the world is called, on nodes with two address families by its family.
const WORLD: [&str; 3] = ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"];
/// Number of the reason "policy denied".
const POLICY_DENIED: u8 = 133;

/// One metric of the list: what it counts, its labels, and what was counted.
#[derive(Debug)]
pub(crate) struct Handler {
    what: What,
    labels: Labels,
    families: Vec<Family>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Dns { query: bool, ignore_aaaa: bool },
    Drop,
    Flow,
    FlowsToWorld { any_drop: bool, port: bool, syn_only: bool },
    Http { second: bool, exemplars: bool },
    Icmp,
    Kafka,
    Policy,
    PortDistribution,
    Tcp,
}

impl What {
    fn read(options: &Options<'_>) -> Option<Self> {
        Some(match options.name {
            "dns" => What::Dns { query: options.has("query"), ignore_aaaa: options.has("ignoreAAAA") },
            "drop" => What::Drop,
            "flow" => What::Flow,
            "flows-to-world" => What::FlowsToWorld {
                any_drop: options.has("any-drop"),
                port: options.has("port"),
                syn_only: options.has("syn-only"),
            },
            "http" => What::Http { second: false, exemplars: options.has("exemplars") },
            "httpV2" => What::Http { second: true, exemplars: options.has("exemplars") },
            "icmp" => What::Icmp,
            "kafka" => What::Kafka,
            "policy" => What::Policy,
            "port-distribution" => What::PortDistribution,
            "tcp" => What::Tcp,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            What::Dns { .. } => "dns",
            What::Drop => "drop",
            What::Flow => "flow",
            What::FlowsToWorld { .. } => "flows-to-world",
            // Both make the same metrics, so they cannot stand beside each other.
            What::Http { .. } => "http",
            What::Icmp => "icmp",
            What::Kafka => "kafka",
            What::Policy => "policy",
            What::PortDistribution => "port-distribution",
            What::Tcp => "tcp",
        }
    }

    /// Options that no other metric has.
    const fn own(self) -> &'static [&'static str] {
        match self {
            What::Dns { .. } => &["query", "ignoreAAAA"],
            What::FlowsToWorld { .. } => &["any-drop", "port", "syn-only"],
            What::Http { .. } => &["exemplars"],
            _ => &[],
        }
    }

    /// Its metrics: name, help, kind, labels before and behind those about the ends.
    fn families(self, labels: &Labels) -> Vec<Family> {
        let family = |name, help, kind, before: &[&str], behind: &[&str]| {
            let mut all: Vec<String> = before.iter().map(|label| (*label).to_owned()).collect();
            all.extend(labels.names());
            all.extend(behind.iter().map(|label| (*label).to_owned()));
            Family::new(name, help, kind, all)
        };
        let counter =
            |name, help, before: &[&str], behind: &[&str]| family(name, help, Kind::Counter, before, behind);
        match self {
            What::Dns { query, .. } => {
                let with_query = |labels: &[&'static str]| {
                    labels.iter().copied().chain(query.then_some("query")).collect::<Vec<_>>()
                };
                let answers = with_query(&["rcode", "qtypes", "ips_returned"]);
                vec![
                    counter("dns_queries_total", "Number of DNS queries observed", &[], &answers),
                    counter("dns_responses_total", "Number of DNS responses observed", &[], &answers),
                    counter(
                        "dns_response_types_total",
                        "Number of DNS responses observed by type of record",
                        &[],
                        &with_query(&["type", "qtypes"]),
                    ),
                ]
            }
            What::Drop => vec![counter("drop_total", "Number of drops", &[], &["reason", "protocol"])],
            What::Flow => vec![counter(
                "flows_processed_total",
                "Total number of flows processed",
                &["protocol", "type", "subtype", "verdict"],
                &[],
            )],
            What::FlowsToWorld { port, .. } => {
                let before: &[&str] =
                    if port { &["protocol", "verdict", "port"] } else { &["protocol", "verdict"] };
                vec![counter("flows_to_world_total", "Total number of flows to reserved:world", before, &[])]
            }
            What::Http { second, .. } => {
                let requests: &[&str] = match second {
                    true => &["method", "protocol", "status", "reporter"],
                    false => &["method", "protocol", "reporter"],
                };
                let mut all = vec![
                    counter("http_requests_total", "Count of HTTP requests", &[], requests),
                    family(
                        "http_request_duration_seconds",
                        "Duration of HTTP requests in seconds",
                        Kind::Histogram,
                        &[],
                        &["method", "reporter"],
                    ),
                ];
                if !second {
                    let labels = ["method", "protocol", "status", "reporter"];
                    all.push(counter("http_responses_total", "Count of HTTP responses", &[], &labels));
                }
                all
            }
            What::Icmp => vec![counter("icmp_total", "Number of ICMP messages", &["family", "type"], &[])],
            What::Kafka => vec![
                counter(
                    "kafka_requests_total",
                    "Count of Kafka requests",
                    &[],
                    &["topic", "api_key", "error_code", "reporter"],
                ),
                family(
                    "kafka_request_duration_seconds",
                    "Duration of Kafka requests in seconds",
                    Kind::Histogram,
                    &[],
                    &["topic", "api_key", "reporter"],
                ),
            ],
            What::Policy => vec![counter(
                "policy_verdicts_total",
                "Total number of Cilium network policy verdicts",
                &["direction", "match", "action"],
                &[],
            )],
            What::PortDistribution => vec![counter(
                "port_distribution_total",
                "Numbers of packets distributed by destination port",
                &["protocol", "port"],
                &[],
            )],
            What::Tcp => {
                vec![counter("tcp_flags_total", "TCP flag occurrences", &["flag", "family"], &[])]
            }
        }
    }
}

impl Handler {
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::read(text);
        let unknown = || OptionError::Name { name: options.name.to_owned(), known: KNOWN };
        let what = What::read(&options).ok_or_else(unknown)?;
        let labels = Labels::read(what.name(), &options, what.own())?;
        Ok(Self { families: what.families(&labels), what, labels })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.what.name()
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.iter()
    }

    pub(crate) fn families_mut(&mut self) -> impl Iterator<Item = &mut Family> {
        self.families.iter_mut()
    }

    pub(crate) fn observe(&mut self, flow: &Flow, now: u64) {
        match self.what {
            What::Dns { query, ignore_aaaa } => self.dns(flow, query, ignore_aaaa, now),
            What::Drop if flow.verdict == Verdict::Dropped => {
                self.count(0, flow, false, &[], &[reason(flow), protocol(flow)], now);
            }
            What::Drop => {}
            What::Flow => {
                let (kind, sub) = event(flow);
                self.count(0, flow, false, &[protocol(flow), kind, &sub, flow.verdict.text()], &[], now);
            }
            What::FlowsToWorld { any_drop, port, syn_only } => {
                self.count_to_world(flow, any_drop, port, syn_only, now);
            }
            What::Http { second, exemplars } => self.http(flow, second, exemplars, now),
            What::Icmp => {
                let family = match flow.l4 {
                    Some(L4::Icmp4 { .. }) => "IPv4",
                    Some(L4::Icmp6 { .. }) => "IPv6",
                    _ => return,
                };
                let text = flow.l4.as_ref().map(flow::summary::l4).unwrap_or_default();
                let kind = text.split_once(' ').map_or("", |(_, kind)| kind);
                self.count(0, flow, false, &[family, kind], &[], now);
            }
            What::Kafka => self.kafka(flow, now),
            What::Policy => self.policy(flow, now),
            What::PortDistribution => {
                let counts = matches!(flow.verdict, Verdict::Forwarded | Verdict::Redirected);
                if counts && flow.is_reply == Some(false) && flow.l4.is_some() {
                    let port = flow.l4.as_ref().and_then(L4::ports).map_or(0, |(_, port)| port);
                    self.count(0, flow, false, &[l4_name(flow), &port.to_string()], &[], now);
                }
            }
            What::Tcp => self.tcp(flow, now),
        }
    }

    fn count(
        &mut self,
        family: usize,
        flow: &Flow,
        swapped: bool,
        before: &[&str],
        behind: &[&str],
        now: u64,
    ) {
        self.count_in(family, flow, swapped, before, behind, None, now);
    }

    #[expect(clippy::too_many_arguments, reason = "all that a count is made of, called from this file only")]
    fn count_in(
        &mut self,
        family: usize,
        flow: &Flow,
        swapped: bool,
        before: &[&str],
        behind: &[&str],
        trace: Option<&str>,
        now: u64,
    ) {
        let about = self.labels.values(flow, swapped);
        let values = joined(before, &about, behind);
        if let Some(family) = self.families.get_mut(family) {
            family.add(&values, 1, trace, now);
        }
    }

    fn measure(
        &mut self,
        flow: &Flow,
        swapped: bool,
        behind: &[&str],
        latency: u64,
        trace: Option<&str>,
        now: u64,
    ) {
        let about = self.labels.values(flow, swapped);
        let values = joined(&[], &about, behind);
        if let Some(family) = self.families.get_mut(1) {
            family.measure(&values, latency as f64 / 1e9, trace, now);
        }
    }

    fn dns(&mut self, flow: &Flow, with_query: bool, ignore_aaaa: bool, now: u64) {
        let Some(L7Record::Dns { query, ips, rcode, qtypes, rrtypes, .. }) =
            flow.l7.as_deref().map(|l7| &l7.record)
        else {
            return;
        };
        if ignore_aaaa && matches!(qtypes.as_slice(), [only] if only == "AAAA") {
            return;
        }
        let (types, number) = (qtypes.join(","), ips.len().to_string());
        let name = with_query.then_some(query.as_str());
        let labels = |code: &'static str| {
            [code, types.as_str(), number.as_str()].into_iter().chain(name).collect::<Vec<&str>>()
        };
        if flow.verdict == Verdict::Dropped {
            return self.count(0, flow, false, &[], &labels("Policy denied"), now);
        }
        if flow.is_reply != Some(true) {
            return self.count(0, flow, false, &[], &labels(""), now);
        }
        self.count(1, flow, false, &[], &labels(dns_code(*rcode)), now);
        for kind in rrtypes {
            let labels: Vec<&str> = [kind.as_str(), types.as_str()].into_iter().chain(name).collect();
            self.count(2, flow, false, &[], &labels, now);
        }
    }

    fn count_to_world(&mut self, flow: &Flow, any_drop: bool, with_port: bool, syn_only: bool, now: u64) {
        let Some(l4) = &flow.l4 else { return };
        let to_world =
            flow.destination.labels.iter().any(|label| WORLD.contains(&label.to_string().as_str()));
        let dropped = flow.verdict == Verdict::Dropped;
        let reply = flow.is_reply == Some(true);
        let of_policy = flow.drop_reason == POLICY_DENIED;
        // A translation at a socket is not yet a packet.
        if !to_world
            || flow.event_type == EVENT_TRACE_SOCK
            || (dropped && !any_drop && !of_policy)
            || (!dropped && reply)
        {
            return;
        }
        let syn = matches!(l4, L4::Tcp { flags: Some(flags), .. } if flags.contains(TcpFlags(2)));
        if syn_only && (!syn || reply) {
            return;
        }
        let port = l4.ports().map(|(_, port)| port.to_string()).unwrap_or_default();
        let mut labels = vec![protocol(flow), flow.verdict.text()];
        labels.extend(with_port.then_some(port.as_str()));
        self.count(0, flow, false, &labels, &[], now);
    }

    fn http(&mut self, flow: &Flow, second: bool, exemplars: bool, now: u64) {
        let Some(l7) = flow.l7.as_deref() else { return };
        let L7Record::Http { code, method, protocol, .. } = &l7.record else { return };
        let rare = flow.rare.as_deref().filter(|rare| exemplars && !rare.trace_id.is_empty());
        let (trace, reporter) = (rare.map(|rare| rare.trace_id.as_str()), reporter(flow));
        let status = code.to_string();
        let answered = [method.as_str(), protocol, &status, reporter];
        match (l7.kind, second) {
            (L7Kind::Response, _) => {
                // The second version counts requests by their answers, whose ends are the other way around.
                let family = if second { 0 } else { 2 };
                self.count_in(family, flow, second, &[], &answered, trace, now);
                self.measure(flow, second, &[method, reporter], l7.latency, trace, now);
            }
            (L7Kind::Request, false) => {
                self.count_in(0, flow, false, &[], &[method, protocol, reporter], trace, now);
            }
            _ => {}
        }
    }

    fn kafka(&mut self, flow: &Flow, now: u64) {
        let Some(l7) = flow.l7.as_deref().filter(|l7| l7.kind == L7Kind::Request) else { return };
        let L7Record::Kafka { error_code, api_key, topic, .. } = &l7.record else { return };
        let (code, reporter) = (error_code.to_string(), reporter(flow));
        self.count(0, flow, false, &[], &[topic, api_key, &code, reporter], now);
        self.measure(flow, false, &[topic, api_key, reporter], l7.latency, None, now);
    }

    fn policy(&mut self, flow: &Flow, now: u64) {
        let matched = match flow.event_type {
            // The host may always reach the pods of its node.
            EVENT_POLICY_VERDICT if flow.source.identity == HOST => return,
            EVENT_POLICY_VERDICT => flow::format::match_text(flow.policy_match).to_lowercase(),
            EVENT_ACCESS_LOG => format!("l7/{}", l7_name(flow).unwrap_or_default().to_lowercase()),
            _ => return,
        };
        let direction = match flow.direction {
            Direction::Unknown => "traffic_direction_unknown",
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        self.count(0, flow, false, &[direction, &matched, &flow.verdict.text().to_lowercase()], &[], now);
    }

    fn tcp(&mut self, flow: &Flow, now: u64) {
        let counts = matches!(flow.verdict, Verdict::Forwarded | Verdict::Redirected);
        let (Some(L4::Tcp { flags: Some(flags), .. }), Some(ip), true) = (flow.l4, flow.ip, counts) else {
            return;
        };
        let family = if ip.source.is_ipv4() { "IPv4" } else { "IPv6" };
        let has = |bit| flags.contains(TcpFlags(bit));
        let syn = if has(0x10) { "SYN-ACK" } else { "SYN" };
        for (there, name) in [(has(1), "FIN"), (has(2), syn), (has(4), "RST")] {
            if there {
                self.count(0, flow, false, &[name, family], &[], now);
            }
        }
    }
}

fn joined<'a>(before: &[&'a str], about: &'a [Cow<'_, str>], behind: &[&'a str]) -> Vec<&'a str> {
    before.iter().copied().chain(about.iter().map(AsRef::as_ref)).chain(behind.iter().copied()).collect()
}

fn reporter(flow: &Flow) -> &'static str {
    match flow.direction {
        Direction::Unknown => "unknown",
        Direction::Ingress => "server",
        Direction::Egress => "client",
    }
}

fn reason(flow: &Flow) -> &'static str {
    abi::DropReason::from_code(flow.drop_reason).map_or("DROP_REASON_UNKNOWN", |reason| reason.api_name())
}

fn l7_name(flow: &Flow) -> Option<&'static str> {
    match &flow.l7.as_deref()?.record {
        L7Record::Dns { .. } => Some("DNS"),
        L7Record::Http { .. } => Some("HTTP"),
        L7Record::Kafka { .. } => Some("Kafka"),
        L7Record::Other => None,
    }
}

fn l4_name(flow: &Flow) -> &'static str {
    match flow.l4 {
        Some(L4::Tcp { .. }) => "TCP",
        Some(L4::Udp { .. }) => "UDP",
        Some(L4::Sctp { .. }) => "SCTP",
        Some(L4::Icmp4 { .. }) => "ICMPv4",
        Some(L4::Icmp6 { .. }) => "ICMPv6",
        Some(L4::Vrrp { .. }) => "VRRP",
        Some(L4::Igmp { .. }) => "IGMP",
        None => "Unknown L4",
    }
}

/// The name of the highest layer that is known.
fn protocol(flow: &Flow) -> &'static str {
    match flow.event_type {
        EVENT_ACCESS_LOG => l7_name(flow).unwrap_or("Unknown L7"),
        EVENT_DROP | EVENT_TRACE | EVENT_POLICY_VERDICT | EVENT_CAPTURE => l4_name(flow),
        _ => "Unknown flow",
    }
}

fn event(flow: &Flow) -> (&'static str, Cow<'static, str>) {
    match flow.event_type {
        EVENT_ACCESS_LOG => ("L7", l7_name(flow).unwrap_or_default().into()),
        EVENT_DROP => ("Drop", "".into()),
        EVENT_CAPTURE => ("Capture", "".into()),
        EVENT_TRACE => {
            let point = flow::Point::from_subtype(flow.event_subtype);
            ("Trace", point.map_or("", |point| point.text()).into())
        }
        EVENT_POLICY_VERDICT => ("PolicyVerdict", "".into()),
        other => ("Unknown", other.to_string().into()),
    }
}

fn dns_code(code: u32) -> &'static str {
    const NAMES: [&str; 11] = [
        "No Error",
        "Format Error",
        "Server Failure",
        "Non-Existent Domain",
        "Not Implemented",
        "Query Refused",
        "Name Exists when it should not",
        "RR Set Exists when it should not",
        "RR Set that should exist does not",
        "Not Authorized",
        "Name not contained in zone",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied().unwrap_or_default()
}
