//! Flows as text, as `hubble observe` prints them.
//!
//! Whatever comes from outside (names, labels, summaries) passes [`clean`] before colours are added, so that no name
//! can write to the terminal behind the reader's back (CVE-2025-48056).

mod time;

use crate::model::*;
use std::borrow::Cow;
use std::fmt::Write;
use types::NumericIdentity;

pub use time::{TimeFormat, date, from_date};

/// What to print, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Also the node that saw the flow.
    pub node_name: bool,
    /// Also the policies behind a verdict.
    pub policy_names: bool,
    /// Names instead of addresses, where there are any.
    pub translate: bool,
    /// Colours, for a terminal.
    pub colours: bool,
    /// How to write times.
    pub time: TimeFormat,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_name: false,
            policy_names: false,
            translate: true,
            colours: false,
            time: TimeFormat::StampMilli,
        }
    }
}

/// One flow in one line:
/// `Jan  2 15:04:05.000 [node]: SOURCE (ID:n) -> DESTINATION (ID:n) TYPE VERDICT (SUMMARY)`.
pub fn compact(flow: &Flow, options: &Options) -> String {
    let (source, destination) = hosts(flow, options);
    let paint = Paint(options.colours);
    let end =
        |host: &str, identity| format!("{} {}", paint.cyan(host), paint.magenta(&self::identity(identity)));
    let source = end(&source, flow.source.identity);
    let destination = end(&destination, flow.destination.identity);
    let (left, arrow, right) = match flow.is_reply {
        None => (source, "<>", destination),
        Some(false) => (source, "->", destination),
        Some(true) => (destination, "<-", source),
    };
    let node = if options.node_name { format!(" [{}]", clean(&flow.node_name)) } else { String::new() };
    format!(
        "{}{node}: {left} {arrow} {right} {} {} ({})",
        options.time.write(flow.time),
        clean(&type_text(flow)),
        verdict(flow, options),
        summary(flow, &paint),
    )
}

/// One flow as lines of `KEY: value`. Records are to be parted by [`DICT_SEPARATOR`].
pub fn dict(flow: &Flow, options: &Options) -> String {
    let (source, destination) = hosts(flow, options);
    let paint = Paint(options.colours);
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:>11}: {value}");
    };
    line("TIMESTAMP", &options.time.write(flow.time));
    if options.node_name {
        line("NODE", &clean(&flow.node_name));
    }
    line("SOURCE", &paint.cyan(&source));
    line("DESTINATION", &paint.cyan(&destination));
    line("TYPE", &clean(&type_text(flow)));
    line("VERDICT", &verdict(flow, options));
    line("SUMMARY", &summary(flow, &paint));
    text
}

/// Parts the records of [`dict`].
pub const DICT_SEPARATOR: &str = "------------";

/// The heads of the columns of [`columns`].
pub fn heads(options: &Options) -> Vec<&'static str> {
    let mut heads = vec!["TIMESTAMP", "NODE", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"];
    if !options.node_name {
        heads.remove(1);
    }
    heads
}

/// One flow as cells of a table. Never coloured, which would break the columns.
pub fn columns(flow: &Flow, options: &Options) -> Vec<String> {
    let options = Options { colours: false, ..*options };
    let (source, destination) = hosts(flow, &options);
    let mut cells = vec![options.time.write(flow.time)];
    if options.node_name {
        cells.push(clean(&flow.node_name).into_owned());
    }
    cells.extend([
        source,
        destination,
        clean(&type_text(flow)).into_owned(),
        verdict(flow, &options),
        summary(flow, &Paint(false)),
    ]);
    cells
}

/// Lost events in one line. `time` is when it was told, ns since the Unix epoch.
pub fn lost_compact(lost: &LostEvents, time: u64, options: &Options) -> String {
    format!(
        "{} EVENTS LOST: {} CPU({}) {}{}",
        options.time.write(time),
        lost.source.text(),
        lost.cpu.unwrap_or_default(),
        lost.count,
        lost_span(lost, options)
    )
}

/// Lost events as lines of `KEY: value`.
pub fn lost_dict(lost: &LostEvents, time: u64, node: &str, options: &Options) -> String {
    let mut text = String::new();
    for (key, value) in ["TIMESTAMP", "NODE", "SOURCE", "TYPE", "VERDICT", "SUMMARY"].iter().zip([
        options.time.write(time),
        node_or_dash(node),
        lost.source.text().to_owned(),
        "EVENTS LOST".to_owned(),
        "-".to_owned(),
        lost_summary(lost, options),
    ]) {
        if *key != "NODE" || options.node_name {
            let _ = writeln!(text, "{key:>11}: {value}");
        }
    }
    text
}

/// Lost events as cells of a table.
pub fn lost_columns(lost: &LostEvents, time: u64, node: &str, options: &Options) -> Vec<String> {
    let mut cells = vec![options.time.write(time)];
    if options.node_name {
        cells.push(node_or_dash(node));
    }
    let dash = || "-".to_owned();
    let source = lost.source.text().to_owned();
    cells.extend([source, dash(), "EVENTS LOST".to_owned(), dash(), lost_summary(lost, options)]);
    cells
}

fn lost_summary(lost: &LostEvents, options: &Options) -> String {
    format!("CPU({}) - {}{}", lost.cpu.unwrap_or_default(), lost.count, lost_span(lost, options))
}

fn lost_span(lost: &LostEvents, options: &Options) -> String {
    match (lost.first, lost.last) {
        (0, _) | (_, 0) => String::new(),
        (first, last) => {
            format!(" (first: {}, last: {})", options.time.write(first), options.time.write(last))
        }
    }
}

fn node_or_dash(node: &str) -> String {
    if node.is_empty() { "-".to_owned() } else { clean(node).into_owned() }
}

/// What the event behind a flow is: `to-endpoint`, `Policy denied`, `policy-verdict:L3-L4 INGRESS`, `http-request`.
pub fn type_text(flow: &Flow) -> String {
    if let Some(l7) = &flow.l7 {
        return l7_type(l7);
    }
    match flow.event_type {
        EVENT_TRACE => match Point::from_subtype(flow.event_subtype) {
            Some(point) => point.text().to_owned(),
            None => flow.event_subtype.to_string(),
        },
        EVENT_DROP => drop_text(flow.event_subtype),
        EVENT_POLICY_VERDICT => format!(
            "policy-verdict:{} {}",
            match_text(flow.policy_match),
            match flow.direction {
                Direction::Unknown => "TRAFFIC_DIRECTION_UNKNOWN",
                Direction::Ingress => "INGRESS",
                Direction::Egress => "EGRESS",
            }
        ),
        EVENT_CAPTURE => named(&CAPTURES, flow.rare.as_ref().map_or(0, |rare| rare.capture_point)),
        EVENT_TRACE_SOCK => match flow.rare.as_ref().map_or(0, |rare| rare.socket_point) {
            0 => "SOCK_XLATE_POINT_UNKNOWN".to_owned(),
            number => {
                SocketPoint::from_number(number).map_or_else(|| number.to_string(), |p| p.text().to_owned())
            }
        },
        _ => "UNKNOWN".to_owned(),
    }
}

/// Where captures are taken, by number.
const CAPTURES: [&str; 12] = [
    "DBG_CAPTURE_POINT_UNKNOWN",
    "",
    "",
    "",
    "DBG_CAPTURE_DELIVERY",
    "DBG_CAPTURE_FROM_LB",
    "DBG_CAPTURE_AFTER_V46",
    "DBG_CAPTURE_AFTER_V64",
    "DBG_CAPTURE_PROXY_PRE",
    "DBG_CAPTURE_PROXY_POST",
    "DBG_CAPTURE_SNAT_PRE",
    "DBG_CAPTURE_SNAT_POST",
];

/// How peers had to prove who they are, by number.
const AUTHS: [&str; 3] = ["DISABLED", "SPIRE", "TEST_ALWAYS_FAIL"];

fn named(names: &[&str], number: i32) -> String {
    let name =
        usize::try_from(number).ok().and_then(|index| names.get(index)).filter(|name| !name.is_empty());
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// The summary, and what few flows have beside it.
fn summary(flow: &Flow, paint: &Paint) -> String {
    let summary = flow.summary();
    let summary = clean(&summary);
    let Some(rare) = &flow.rare else { return summary.into_owned() };
    let mut text = String::new();
    if rare.ip_trace_id != 0 {
        let _ = write!(text, "IP Trace ID: {}; ", rare.ip_trace_id);
    }
    text.push_str(&summary);
    if rare.auth != 0 {
        let name = named(&AUTHS, rare.auth);
        let name = if rare.auth == 2 { paint.red(&name) } else { paint.green(&name) };
        let _ = write!(text, "; Auth: {name}");
    }
    text
}

fn l7_type(l7: &L7) -> String {
    let kind = match l7.kind {
        L7Kind::Unknown => "unknown_l7_type",
        L7Kind::Request => "request",
        L7Kind::Response => "response",
        L7Kind::Sample => "sample",
    };
    match &l7.record {
        L7Record::Other => format!("l7-{kind}"),
        L7Record::Http { .. } => format!("http-{kind}"),
        L7Record::Dns { observed_by, .. } => format!("dns-{kind} {observed_by}"),
        L7Record::Kafka { .. } => format!("kafka-{kind}"),
    }
}

/// The text of a drop reason, or its number if this version does not know it.
pub fn drop_text(reason: i32) -> String {
    match u8::try_from(reason).ok().and_then(abi::DropReason::from_code) {
        Some(reason) => reason.text().to_owned(),
        None => reason.to_string(),
    }
}

/// How a policy entry matched, by name.
pub fn match_text(number: u32) -> Cow<'static, str> {
    const NAMES: [&str; 7] = ["none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"];
    match usize::try_from(number).ok().and_then(|index| NAMES.get(index)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(number.to_string()),
    }
}

/// The verdict. In policy verdicts it is what policy said: ALLOWED, DENIED, AUDITED.
fn verdict(flow: &Flow, options: &Options) -> String {
    let paint = Paint(options.colours);
    let policy = flow.event_type == EVENT_POLICY_VERDICT && flow.l7.is_none();
    let by = |egress: &Policies, ingress: &Policies| match flow.direction {
        _ if !options.policy_names => String::new(),
        Direction::Egress => policy_names(egress),
        Direction::Ingress => policy_names(ingress),
        Direction::Unknown => String::new(),
    };
    let denied = || by(&flow.egress_denied_by, &flow.ingress_denied_by);
    match flow.verdict {
        Verdict::Forwarded | Verdict::Redirected if policy => {
            let by = by(&flow.egress_allowed_by, &flow.ingress_allowed_by);
            paint.green(&format!("ALLOWED{by}"))
        }
        Verdict::Dropped | Verdict::Error if policy => paint.red(&format!("DENIED{}", denied())),
        Verdict::Audit if policy => paint.yellow(&format!("AUDITED{}", denied())),
        Verdict::Forwarded | Verdict::Redirected => paint.green(flow.verdict.text()),
        Verdict::Dropped | Verdict::Error => paint.red(flow.verdict.text()),
        Verdict::Audit | Verdict::Traced | Verdict::Translated => paint.yellow(flow.verdict.text()),
        Verdict::Unknown => flow.verdict.text().to_owned(),
    }
}

/// ` BY name (kind), name (kind)`; empty if there is none.
fn policy_names(policies: &[Policy]) -> String {
    let named = policies.iter().filter(|policy| !policy.kind.is_empty() && !policy.name.is_empty());
    let names: Vec<_> = named.map(|p| format!("{} ({})", clean(&p.name), clean(&p.kind))).collect();
    if names.is_empty() { String::new() } else { format!(" BY {}", names.join(", ")) }
}

/// Both ends by name: pod, service, DNS names or address, and port. Without IP, the MAC addresses.
fn hosts(flow: &Flow, options: &Options) -> (String, String) {
    let Some(ip) = flow.ip else {
        return flow.ethernet.map_or_else(Default::default, |e| (mac(e.source), mac(e.destination)));
    };
    let ports = flow.l4.as_ref().and_then(L4::ports);
    (
        host(&flow.source, &ip.source.to_string(), ports.map(|p| p.0), options),
        host(&flow.destination, &ip.destination.to_string(), ports.map(|p| p.1), options),
    )
}

fn host(end: &End, address: &str, port: Option<u16>, options: &Options) -> String {
    let named = |namespace: &str, name: &str| match (namespace, name) {
        (_, "") => None,
        ("", name) => Some(clean(name).into_owned()),
        (namespace, name) => Some(format!("{}/{}", clean(namespace), clean(name))),
    };
    let name = if options.translate {
        let pod = end.pod.as_deref().and_then(|pod| named(&pod.namespace, &pod.name));
        let service = || end.service.as_deref().and_then(|service| named(&service.namespace, &service.name));
        let names = || (!end.names.is_empty()).then(|| clean(&end.names.join(",")).into_owned());
        pod.or_else(service).or_else(names)
    } else {
        None
    };
    let host = name.unwrap_or_else(|| address.to_owned());
    let port = port.filter(|port| *port != 0).map(|port| Paint(options.colours).yellow(&port.to_string()));
    match port {
        None => host,
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
    }
}

/// `(host)` for the fixed identities, `(ID:n)` for all others.
fn identity(number: u32) -> String {
    match NumericIdentity(number).reserved() {
        Some(reserved) => format!("({})", reserved.name),
        None if number == 0 => "(unknown)".to_owned(),
        None => format!("(ID:{number})"),
    }
}

/// A MAC address as tools write it.
pub fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The text without anything that steers a terminal or turns the reading direction: such characters become visible.
pub fn clean(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\u{1b}' => out.push_str("^["),
            c if steers(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Colours, or none.
struct Paint(bool);

impl Paint {
    fn with(&self, colour: u8, text: &str) -> String {
        if self.0 { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
    fn red(&self, text: &str) -> String {
        self.with(31, text)
    }
    fn green(&self, text: &str) -> String {
        self.with(32, text)
    }
    fn yellow(&self, text: &str) -> String {
        self.with(33, text)
    }
    fn magenta(&self, text: &str) -> String {
        self.with(35, text)
    }
    fn cyan(&self, text: &str) -> String {
        self.with(36, text)
    }
}

#[cfg(test)]
mod tests;
