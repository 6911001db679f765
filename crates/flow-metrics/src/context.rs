//! Labels about the ends of a flow.

use crate::options::{OptionError, Options};
use flow::{Direction, End, Flow};
use std::borrow::Cow;

/// What an end is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Identity,
    Namespace,
    Pod,
    PodShort,
    PodName,
    Dns,
    Ip,
    ReservedIdentity,
    WorkloadName,
    App,
}

const CONTEXTS: [(&str, Context); 10] = [
    ("identity", Context::Identity),
    ("namespace", Context::Namespace),
    ("pod", Context::Pod),
    ("pod-short", Context::PodShort),
    ("pod-name", Context::PodName),
    ("dns", Context::Dns),
    ("ip", Context::Ip),
    ("reserved-identity", Context::ReservedIdentity),
    ("workload-name", Context::WorkloadName),
    ("app", Context::App),
];
const CONTEXT_NAMES: &str =
    "identity, namespace, pod, pod-short, pod-name, dns, ip, reserved-identity, workload-name, app";

/// What `labelsContext` knows, in the order of the labels.
const LABELS: [&str; 11] = [
    "source_ip",
    "source_pod",
    "source_namespace",
    "source_workload",
    "source_app",
    "destination_ip",
    "destination_pod",
    "destination_namespace",
    "destination_workload",
    "destination_app",
    "traffic_direction",
];
const LABEL_NAMES: &str = "source_ip, source_pod, source_namespace, source_workload, source_app, destination_ip, \
     destination_pod, destination_namespace, destination_workload, destination_app, traffic_direction";

/// Labels that tell of an application, the better first.
const APP_LABELS: [&str; 3] = ["k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app="];

/// Which contexts name an end: in general, and where the traffic goes out or comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Contexts {
    general: Vec<Context>,
    egress: Vec<Context>,
    ingress: Vec<Context>,
}

/// Labels about the ends of a flow, as one metric wants them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    wanted: Vec<&'static str>,
    source: Contexts,
    destination: Contexts,
}

impl Labels {
    /// Takes the options that are about labels; whether this was one.
    pub(crate) fn option(&mut self, option: &str, value: &str) -> Result<bool, OptionError> {
        let list = match option.to_ascii_lowercase().as_str() {
            "labelscontext" => {
                self.wanted = labels(option, value)?;
                return Ok(true);
            }
            "sourcecontext" => &mut self.source.general,
            "sourceegresscontext" => &mut self.source.egress,
            "sourceingresscontext" => &mut self.source.ingress,
            "destinationcontext" => &mut self.destination.general,
            "destinationegresscontext" => &mut self.destination.egress,
            "destinationingresscontext" => &mut self.destination.ingress,
            _ => return Ok(false),
        };
        *list = contexts(option, value)?;
        Ok(true)
    }

    /// The options of a metric, when those in `own` are its own.
    pub(crate) fn read(name: &'static str, options: &Options<'_>, own: &[&str]) -> Result<Self, OptionError> {
        let mut labels = Self::default();
        for (option, value) in &options.options {
            let is_own = own.iter().any(|own| own.eq_ignore_ascii_case(option));
            if !is_own && !labels.option(option, value)? {
                let own = own.iter().map(|own| format!(", {own}")).collect();
                return Err(OptionError::Option { name, option: (*option).to_owned(), own });
            }
        }
        Ok(labels)
    }

    /// Names of the labels.
    pub(crate) fn names(&self) -> Vec<String> {
        let source = self.source.is_there().then_some("source");
        let destination = self.destination.is_there().then_some("destination");
        self.wanted.iter().copied().chain(source).chain(destination).map(str::to_owned).collect()
    }

    /// Their values. An answer's ends are `swapped` where its question counts.
    pub(crate) fn values<'a>(&self, flow: &'a Flow, swapped: bool) -> Vec<Cow<'a, str>> {
        let mut ends = (Side::source(flow), Side::destination(flow));
        if swapped {
            ends = (ends.1, ends.0);
        }
        let (from, to) = ends;
        let mut values: Vec<_> = self.wanted.iter().map(|label| from_to(label, from, to, flow)).collect();
        let mut source = self.source.value(Side::source(flow), flow.direction);
        let mut destination = self.destination.value(Side::destination(flow), flow.direction);
        if swapped {
            std::mem::swap(&mut source, &mut destination);
        }
        values.extend(self.source.is_there().then_some(source));
        values.extend(self.destination.is_there().then_some(destination));
        values
    }
}

impl Contexts {
    fn is_there(&self) -> bool {
        !(self.general.is_empty() && self.egress.is_empty() && self.ingress.is_empty())
    }

    /// The first context that knows a name.
    fn value<'a>(&self, side: Side<'a>, direction: Direction) -> Cow<'a, str> {
        let list = match direction {
            Direction::Ingress if !self.ingress.is_empty() => &self.ingress,
            Direction::Egress if !self.egress.is_empty() => &self.egress,
            _ => &self.general,
        };
        list.iter().map(|context| context.name(side)).find(|name| !name.is_empty()).unwrap_or_default()
    }
}

/// An end, with its address.
#[derive(Clone, Copy)]
struct Side<'a> {
    end: &'a End,
    address: Option<std::net::IpAddr>,
}

impl<'a> Side<'a> {
    fn source(flow: &'a Flow) -> Self {
        Self { end: &flow.source, address: flow.ip.map(|ip| ip.source) }
    }

    fn destination(flow: &'a Flow) -> Self {
        Self { end: &flow.destination, address: flow.ip.map(|ip| ip.destination) }
    }

    fn namespace(self) -> &'a str {
        self.end.pod.as_deref().map_or("", |pod| &pod.namespace)
    }

    fn pod(self) -> &'a str {
        self.end.pod.as_deref().map_or("", |pod| &pod.name)
    }

    fn workload(self) -> &'a str {
        let workload = self.end.pod.as_deref().and_then(|pod| pod.workloads.first());
        workload.map_or("", |workload| &workload.name)
    }

    fn ip(self) -> Cow<'a, str> {
        self.address.map_or(Cow::Borrowed(""), |address| address.to_string().into())
    }

    fn app(self) -> Cow<'a, str> {
        let all: Vec<String> = self.end.labels.iter().map(ToString::to_string).collect();
        let named = |prefix: &&str| all.iter().find_map(|label| label.strip_prefix(*prefix));
        let app = APP_LABELS.iter().filter_map(named).find(|app| !app.is_empty());
        app.map_or(Cow::Borrowed(""), |app| app.to_owned().into())
    }

    fn reserved(self) -> Cow<'a, str> {
        let labels = self.end.labels.iter().map(ToString::to_string);
        let mut reserved: Vec<_> = labels.filter(|label| label.starts_with("reserved:")).collect();
        let api = reserved.iter().position(|label| label == "reserved:kube-apiserver").unwrap_or_default();
        if reserved.is_empty() { Cow::Borrowed("") } else { reserved.swap_remove(api).into() }
    }
}

fn in_namespace<'a>(namespace: &'a str, name: &'a str) -> Cow<'a, str> {
    if namespace.is_empty() { name.into() } else { format!("{namespace}/{name}").into() }
}

impl Context {
    fn name<'a>(self, side: Side<'a>) -> Cow<'a, str> {
        match self {
            Context::Identity => {
                side.end.labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into()
            }
            Context::Namespace => side.namespace().into(),
            Context::Pod => in_namespace(side.namespace(), side.pod()),
            Context::PodShort => in_namespace(side.namespace(), short(side.pod())),
            Context::PodName => side.pod().into(),
            Context::Dns => side.end.names.join(",").into(),
            Context::Ip => side.ip(),
            Context::ReservedIdentity => side.reserved(),
            Context::WorkloadName => side.workload().into(),
            Context::App => side.app(),
        }
    }
}

fn from_to<'a>(label: &str, source: Side<'a>, destination: Side<'a>, flow: &Flow) -> Cow<'a, str> {
    let (side, what) = match label.split_once('_') {
        Some(("source", what)) => (source, what),
        Some(("destination", what)) => (destination, what),
        _ => {
            return match flow.direction {
                Direction::Unknown => "unknown".into(),
                Direction::Ingress => "ingress".into(),
                Direction::Egress => "egress".into(),
            };
        }
    };
    match what {
        "ip" => side.ip(),
        "pod" => side.pod().into(),
        "namespace" => side.namespace().into(),
        "workload" => side.workload().into(),
        _ => side.app(),
    }
}

/// A pod's name without the one or two parts that its controller added.
fn short(name: &str) -> &str {
    let cut = |name: &str| {
        let (rest, part) = name.rsplit_once('-')?;
        let made = !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        (made && !rest.is_empty()).then_some(rest.len())
    };
    let Some(once) = cut(name) else { return name };
    &name[..cut(&name[..once]).unwrap_or(once)]
}

fn contexts(option: &str, text: &str) -> Result<Vec<Context>, OptionError> {
    let read = |value: &str| {
        let known = CONTEXTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
        known.map(|(_, context)| *context).ok_or_else(|| OptionError::Context {
            option: option.to_owned(),
            value: value.to_owned(),
            known: CONTEXT_NAMES,
        })
    };
    text.split('|').map(read).collect()
}

fn labels(option: &str, text: &str) -> Result<Vec<&'static str>, OptionError> {
    let wanted: Vec<_> = text.split(',').map(str::trim).collect();
    if let Some(unknown) = wanted.iter().find(|label| !LABELS.contains(label)) {
        let value = (*unknown).to_owned();
        return Err(OptionError::Context { option: option.to_owned(), value, known: LABEL_NAMES });
    }
    Ok(LABELS.into_iter().filter(|label| wanted.contains(label)).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn pods_without_what_controllers_added() {
        for (name, expected) in
            [("web-7c9f-abcde", "web"), ("db-0", "db"), ("a-b-c-d", "a-b"), ("web", "web"), ("-x", "-x")]
        {
            assert_eq!(super::short(name), expected);
        }
    }
}
