//! Filters on the command line: flags that may come many times, in an order that counts because of `--not`.

use crate::request::event_type;
use anyhow::{Context, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use flow::{TcpFlags, Verdict};
use hubble_pb::flow::{
    DropReason, EventTypeFilter, FlowFilter, HttpHeader, IpVersion, NetworkInterface, TrafficDirection,
    Workload,
};
use types::NumericIdentity;

/// A flag.
struct Flag {
    name: &'static str,
    short: Option<char>,
    value: &'static str,
    help: &'static str,
}

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value, help }
}

const fn short(short: char, name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short: Some(short), value, help }
}

/// The value of flags that need none.
const YES: &str = "true";

/// All filters. Those without the name of a value need none.
const FLAGS: &[Flag] = &[
    flag("not", "", "Turn the next filter around"),
    short('A', "all-namespaces", "", "Pods of all namespaces"),
    flag("from-all-namespaces", "", "From pods of all namespaces"),
    flag("to-all-namespaces", "", "To pods of all namespaces"),
    short('n', "namespace", "NAME", "From or to this namespace"),
    flag("from-namespace", "NAME", "From this namespace"),
    flag("to-namespace", "NAME", "To this namespace"),
    flag(
        "pod",
        "[NAMESPACE/]NAME",
        "From or to pods whose name begins like this (namespace default if none is given)",
    ),
    flag("from-pod", "[NAMESPACE/]NAME", "From such pods"),
    flag("to-pod", "[NAMESPACE/]NAME", "To such pods"),
    flag("service", "[NAMESPACE/]NAME", "From or to services whose name begins like this"),
    flag("from-service", "[NAMESPACE/]NAME", "From such services"),
    flag("to-service", "[NAMESPACE/]NAME", "To such services"),
    flag("workload", "[KIND/]NAME", "From or to pods of this workload, such as deployment/web"),
    flag("from-workload", "[KIND/]NAME", "From pods of this workload"),
    flag("to-workload", "[KIND/]NAME", "To pods of this workload"),
    flag("ip", "ADDRESS|CIDR", "From or to this address"),
    flag("from-ip", "ADDRESS|CIDR", "From this address"),
    flag("to-ip", "ADDRESS|CIDR", "To this address"),
    flag("snat-ip", "ADDRESS|CIDR", "Translated from this source address"),
    flag("port", "PORT[-LAST]", "From or to this port"),
    flag("from-port", "PORT[-LAST]", "From this port"),
    flag("to-port", "PORT[-LAST]", "To this port"),
    flag("fqdn", "NAME", "From or to this DNS name; * stands for any run of characters"),
    flag("from-fqdn", "NAME", "From this DNS name"),
    flag("to-fqdn", "NAME", "To this DNS name"),
    short('l', "label", "SELECTOR", "From or to endpoints with these labels, such as app=web,tier!=db"),
    flag("from-label", "SELECTOR", "From endpoints with these labels"),
    flag("to-label", "SELECTOR", "To endpoints with these labels"),
    flag("identity", "ID|NAME", "From or to this security identity, by number or name (host, world, ...)"),
    flag("from-identity", "ID|NAME", "From this security identity"),
    flag("to-identity", "ID|NAME", "To this security identity"),
    flag("cluster", "NAME", "From or to pods of this cluster"),
    flag("from-cluster", "NAME", "From pods of this cluster"),
    flag("to-cluster", "NAME", "To pods of this cluster"),
    flag("protocol", "NAME", "tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp, igmp, http, dns or kafka"),
    flag("http-status", "CODE", "HTTP answers with this status, such as 404, or 5+ for all from 500 to 599"),
    flag("http-method", "METHOD", "HTTP with this method"),
    flag("http-path", "REGEX", "HTTP with a path that fits, such as /page/\\d+"),
    flag("http-url", "REGEX", "HTTP with a URL that fits"),
    flag("http-header", "NAME:VALUE", "HTTP with this header"),
    flag("trace-id", "ID", "Of this distributed trace"),
    flag("ip-trace-id", "NUMBER", "Packets with this trace number in an IP option"),
    flag("cel-expression", "CEL", "Flows for which this expression about _flow is true"),
    flag("tcp-flags", "FLAGS", "TCP segments with all of these flags, such as syn,ack"),
    flag("ip-version", "VERSION", "v4, v6 or none"),
    short('4', "ipv4", "", "IPv4 only"),
    short('6', "ipv6", "", "IPv6 only"),
    flag("encrypted", "", "Encrypted flows only"),
    flag("unencrypted", "", "Unencrypted flows only"),
    flag("verdict", "VERDICT", "FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED"),
    flag("drop-reason-desc", "REASON", "Dropped for this reason, such as POLICY_DENIED"),
    short(
        't',
        "type",
        "TYPE[:SUBTYPE]",
        "drop, trace[:to-endpoint, :from-network, ...], policy-verdict, l7, capture, trace-sock, or numbers",
    ),
    flag("traffic-direction", "DIRECTION", "ingress or egress"),
    flag("interface", "NAME", "Seen on this network device"),
    flag("node-name", "[CLUSTER/]NAME", "Seen by this node; * stands for any run of characters"),
    flag("node-label", "SELECTOR", "Seen by nodes with these labels"),
    flag("uuid", "UUID", "The one flow of this name"),
];

/// Flags of which only one of each group can be used, because each says who the same end is.
const CONFLICTS: &[&[&str]] = &[
    &[
        "from-fqdn",
        "from-ip",
        "ip",
        "fqdn",
        "from-namespace",
        "namespace",
        "from-all-namespaces",
        "all-namespaces",
    ],
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-pod", "pod"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-namespace", "namespace", "to-all-namespaces", "all-namespaces"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-pod", "pod"],
    &["to-pod", "namespace", "all-namespaces"],
    &["from-pod", "namespace", "all-namespaces"],
    &["to-service", "namespace", "all-namespaces"],
    &["from-service", "namespace", "all-namespaces"],
    &["label", "from-label"],
    &["label", "to-label"],
    &["service", "from-service"],
    &["service", "to-service"],
    &["port", "to-port"],
    &["port", "from-port"],
    &["identity", "to-identity"],
    &["identity", "from-identity"],
    &["workload", "to-workload"],
    &["workload", "from-workload"],
    &["cluster", "to-cluster"],
    &["cluster", "from-cluster"],
    &["encrypted", "unencrypted"],
];

/// Filter flags as they came: name and value, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Occurrences(pub(crate) Vec<(&'static str, String)>);

impl Args for Occurrences {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command.next_help_heading("Filters"), |command, flag| {
            let arg = Arg::new(flag.name).long(flag.name).help(flag.help).action(ArgAction::Append);
            let arg = if let Some(short) = flag.short { arg.short(short) } else { arg };
            command.arg(if flag.value.is_empty() {
                arg.num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value(YES)
                    .value_parser([YES])
                    .hide_possible_values(true)
                    .value_name("true")
            } else {
                arg.value_name(flag.value)
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Occurrences {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut found: Vec<(usize, &'static str, String)> = Vec::new();
        for flag in FLAGS {
            let values = matches.get_many::<String>(flag.name).into_iter().flatten();
            let places = matches.indices_of(flag.name).into_iter().flatten();
            found.extend(places.zip(values).map(|(place, value)| (place, flag.name, value.clone())));
        }
        found.sort_by_key(|(place, ..)| *place);
        Ok(Self(found.into_iter().map(|(_, name, value)| (name, value)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Occurrences {
    /// The filters for the server: what to show, and what not to.
    pub(crate) fn filters(&self) -> anyhow::Result<(Vec<FlowFilter>, Vec<FlowFilter>)> {
        let (mut allow, mut deny) = (Tracker::default(), Tracker::default());
        let mut not = false;
        for (name, value) in &self.0 {
            if *name == "not" {
                ensure!(!not, "--not --not: write the filter that it turns around behind it");
                not = true;
                continue;
            }
            let tracker = if not { &mut deny } else { &mut allow };
            tracker.add(name, value).with_context(|| format!("--{name} {value}"))?;
            not = false;
        }
        ensure!(!not, "--not: write the filter that it turns around behind it");
        Ok((allow.finish(), deny.finish()))
    }
}

/// Collects filters. A flag about either end needs two: one for the source, or else one for the destination.
#[derive(Default)]
struct Tracker {
    left: FlowFilter,
    right: FlowFilter,
    /// Namespaces of either end, of the source, and of the destination.
    namespaces: [Vec<String>; 3],
    used: Vec<&'static str>,
}

/// Which end a flag is about.
#[derive(Clone, Copy)]
enum Ends {
    Either,
    Source,
    Destination,
}

impl Tracker {
    fn add(&mut self, name: &'static str, value: &str) -> anyhow::Result<()> {
        for group in CONFLICTS.iter().filter(|group| group.contains(&name)) {
            if let Some(other) = self.used.iter().find(|used| **used != name && group.contains(used)) {
                bail!("cannot be combined with --{other}");
            }
        }
        self.used.push(name);
        let (ends, kind) = match name.split_once('-') {
            Some(("from", kind)) => (Ends::Source, kind),
            Some(("to", kind)) => (Ends::Destination, kind),
            _ => (Ends::Either, name),
        };
        match kind {
            "namespace" => self.namespaces[ends as usize].push(value.to_owned()),
            "all-namespaces" => self.namespaces[ends as usize].push(String::new()),
            "pod" => self.text(ends, value, |f| &mut f.source_pod, |f| &mut f.destination_pod),
            "service" => self.text(ends, value, |f| &mut f.source_service, |f| &mut f.destination_service),
            "ip" => self.text(ends, value, |f| &mut f.source_ip, |f| &mut f.destination_ip),
            "port" => self.text(ends, value, |f| &mut f.source_port, |f| &mut f.destination_port),
            "fqdn" => self.text(ends, value, |f| &mut f.source_fqdn, |f| &mut f.destination_fqdn),
            "label" => self.text(ends, value, |f| &mut f.source_label, |f| &mut f.destination_label),
            "cluster" => {
                self.text(ends, value, |f| &mut f.source_cluster_name, |f| &mut f.destination_cluster_name);
            }
            "workload" => {
                let (kind, name) = value.split_once('/').unwrap_or(("", value));
                let workload = Workload { name: name.to_owned(), kind: capitalised(kind) };
                self.ends(ends, workload, |f| &mut f.source_workload, |f| &mut f.destination_workload);
            }
            "identity" => {
                let identity: NumericIdentity =
                    value.parse().context("write a number, or a name such as host or world")?;
                self.ends(ends, identity.get(), |f| &mut f.source_identity, |f| &mut f.destination_identity);
            }
            _ => {
                for filter in [&mut self.left, &mut self.right] {
                    about_flow(filter, name, value)?;
                }
            }
        }
        Ok(())
    }

    fn text(
        &mut self,
        ends: Ends,
        value: &str,
        source: impl Fn(&mut FlowFilter) -> &mut Vec<String>,
        destination: impl Fn(&mut FlowFilter) -> &mut Vec<String>,
    ) {
        self.ends(ends, value.to_owned(), source, destination);
    }

    fn ends<T: Clone>(
        &mut self,
        ends: Ends,
        value: T,
        source: impl Fn(&mut FlowFilter) -> &mut Vec<T>,
        destination: impl Fn(&mut FlowFilter) -> &mut Vec<T>,
    ) {
        match ends {
            Ends::Either => {
                source(&mut self.left).push(value.clone());
                destination(&mut self.right).push(value);
            }
            Ends::Source => {
                source(&mut self.left).push(value.clone());
                source(&mut self.right).push(value);
            }
            Ends::Destination => {
                destination(&mut self.left).push(value.clone());
                destination(&mut self.right).push(value);
            }
        }
    }

    fn finish(mut self) -> Vec<FlowFilter> {
        if self.used.is_empty() {
            return Vec::new();
        }
        let [either, source, destination] = self.namespaces;
        for filter in [&mut self.left, &mut self.right] {
            within(&source, &mut filter.source_pod, &mut filter.source_service);
            within(&destination, &mut filter.destination_pod, &mut filter.destination_service);
        }
        within(&either, &mut self.left.source_pod, &mut self.left.source_service);
        within(&either, &mut self.right.destination_pod, &mut self.right.destination_service);
        if self.left == self.right { vec![self.left] } else { vec![self.left, self.right] }
    }
}

/// Puts pods and services that name no namespace into these; without any, all pods of these namespaces are meant.
fn within(namespaces: &[String], pods: &mut Vec<String>, services: &mut Vec<String>) {
    if namespaces.is_empty() {
        return;
    }
    if pods.is_empty() && services.is_empty() {
        pods.push(String::new());
    }
    for list in [pods, services] {
        let spread = |name: &String| match name.contains('/') {
            true => vec![name.clone()],
            false => namespaces.iter().map(|namespace| format!("{namespace}/{name}")).collect(),
        };
        *list = list.iter().flat_map(spread).collect();
    }
}

/// Filters about the flow as a whole.
fn about_flow(filter: &mut FlowFilter, name: &str, value: &str) -> anyhow::Result<()> {
    match name {
        "snat-ip" => filter.source_ip_xlated.push(value.to_owned()),
        "protocol" => filter.protocol.push(value.to_lowercase()),
        "node-name" => filter.node_name.push(value.to_owned()),
        "node-label" => filter.node_labels.push(value.to_owned()),
        "uuid" => filter.uuid.push(value.to_owned()),
        "http-status" => filter.http_status_code.push(value.to_owned()),
        "http-method" => filter.http_method.push(value.to_owned()),
        "http-path" => filter.http_path.push(value.to_owned()),
        "http-url" => filter.http_url.push(value.to_owned()),
        "http-header" => {
            let (key, value) = value.split_once(':').context("write NAME:VALUE")?;
            filter.http_header.push(HttpHeader { key: key.to_owned(), value: value.to_owned() });
        }
        "trace-id" => filter.trace_id.push(value.to_owned()),
        "ip-trace-id" => {
            let id: u64 = value.parse().context("write a number greater than 0")?;
            ensure!(id > 0, "write a number greater than 0");
            filter.ip_trace_id.push(id);
        }
        "cel-expression" => {
            filter.experimental.get_or_insert_default().cel_expression.push(value.to_owned());
        }
        "encrypted" => filter.encrypted.push(true),
        "unencrypted" => filter.encrypted.push(false),
        "ipv4" => filter.ip_version.push(IpVersion::IPv4.into()),
        "ipv6" => filter.ip_version.push(IpVersion::IPv6.into()),
        "ip-version" => filter.ip_version.push(ip_version(value)?.into()),
        "interface" => filter.interface.push(NetworkInterface { index: 0, name: value.to_owned() }),
        "tcp-flags" => {
            let mut flags = TcpFlags::default();
            for name in value.split(',') {
                flags.0 |= TcpFlags::by_name(name).with_context(|| format!("{name:?} is no TCP flag"))?.0;
            }
            filter.tcp_flags.push(flags.into());
        }
        "verdict" => {
            let wanted = value.to_uppercase();
            let verdict = Verdict::ALL.iter().find(|verdict| verdict.text() == wanted);
            filter.verdict.push(verdict.context("is no verdict, see --help")?.number());
        }
        "drop-reason-desc" => {
            let reason = DropReason::from_str_name(&value.to_uppercase());
            filter
                .drop_reason_desc
                .push(reason.context("is no drop reason; write one like POLICY_DENIED")?.into());
        }
        "traffic-direction" => filter.traffic_direction.push(match value.to_lowercase().as_str() {
            "ingress" => TrafficDirection::Ingress.into(),
            "egress" => TrafficDirection::Egress.into(),
            _ => bail!("write ingress or egress"),
        }),
        "type" => {
            let (r#type, sub_type) = event_type(value)?;
            let match_sub_type = sub_type.is_some();
            let sub_type = sub_type.unwrap_or_default();
            filter.event_type.push(EventTypeFilter { r#type, match_sub_type, sub_type });
        }
        _ => bail!("is not known"),
    }
    Ok(())
}

fn ip_version(text: &str) -> anyhow::Result<IpVersion> {
    Ok(match text.to_lowercase().as_str() {
        "4" | "v4" | "ip4" | "ipv4" => IpVersion::IPv4,
        "6" | "v6" | "ip6" | "ipv6" => IpVersion::IPv6,
        "none" => IpVersion::IpNotUsed,
        _ => bail!("write v4, v6 or none"),
    })
}

/// Kinds are written like `Deployment`; people write `deployment`.
fn capitalised(kind: &str) -> String {
    const KINDS: [&str; 9] = [
        "Deployment",
        "DaemonSet",
        "StatefulSet",
        "ReplicaSet",
        "ReplicationController",
        "Job",
        "CronJob",
        "Pod",
        "DeploymentConfig",
    ];
    KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind)).map_or(kind, |known| known).to_owned()
}

#[cfg(test)]
mod tests;
