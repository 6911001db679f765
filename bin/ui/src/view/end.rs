//! Ends of flows as the map shows them.

use flow::End;
use std::net::IpAddr;
use types::{Label, NumericIdentity, Source, key};
use whatif::Workload;

/// What is one node of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grouping {
    /// All pods of a namespace.
    Namespace,
    /// All pods of a Deployment, a StatefulSet, …
    #[default]
    Workload,
    /// All pods with the same labels.
    Identity,
}

/// A node of the map.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Node {
    /// What it is called in messages.
    pub(crate) id: String,
    /// `Deployment`, `Pod`, …; `Namespace`, `Identity`; for others `Entity`, `Name`, `Prefix`, `Others`.
    pub(crate) kind: String,
    /// Its namespace, empty for what has none.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Labels, or numbers of identities.
    pub(crate) note: String,
}

/// What everything is called that the map has no room for.
pub(crate) const OTHERS: &str = "others";

impl Node {
    fn new(kind: &str, namespace: &str, name: &str, note: String) -> Self {
        let id = format!("{kind}/{namespace}/{name}");
        Self { id, kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned(), note }
    }

    /// Stands for those that there is no room for.
    pub(crate) fn others() -> Self {
        Self { id: OTHERS.to_owned(), ..Self::new("Others", "", "others", "no room for them".to_owned()) }
    }

    /// The node that an end belongs to.
    pub(crate) fn of(end: &End, address: Option<IpAddr>, grouping: Grouping) -> Self {
        match (grouping, &end.pod) {
            (Grouping::Namespace, Some(pod)) => Self::new("Namespace", "", &pod.namespace, String::new()),
            (Grouping::Workload, Some(pod)) => {
                let workload = Workload::of_flow(pod);
                Self::new(&workload.kind, &workload.namespace, &workload.name, short_labels(end))
            }
            (Grouping::Identity, Some(pod)) if end.identity != 0 => {
                let name = short_labels(end);
                let name = if name.is_empty() { end.identity.to_string() } else { name };
                let mut node = Self::new("Identity", &pod.namespace, &name, end.identity.to_string());
                // Two identities may look alike in short.
                node.id = format!("Identity/{}", end.identity);
                node
            }
            (Grouping::Identity, Some(pod)) => Self::new("Pod", &pod.namespace, &pod.name, String::new()),
            (_, None) => Self::elsewhere(end, address),
        }
    }

    /// What is no pod.
    fn elsewhere(end: &End, address: Option<IpAddr>) -> Self {
        let number = NumericIdentity(end.identity);
        let reserved = number.reserved().map(|reserved| reserved.name);
        let outside = reserved.is_none_or(|name| name.starts_with("world"));
        match (end.names.first(), end.labels.prefixes().max_by_key(types::IpNet::prefix_len), reserved) {
            (Some(name), ..) if outside => Self::new("Name", "", name.trim_end_matches('.'), String::new()),
            (_, Some(net), _) if outside && net.prefix_len() > 0 => {
                Self::new("Prefix", "", &net.to_string(), String::new())
            }
            (.., Some(name)) if name.starts_with("world") => Self::new("Entity", "", "world", String::new()),
            (.., Some(name)) => Self::new("Entity", "", name, String::new()),
            // An identity of the cluster without a pod: seen from afar, its labels are known at most.
            (.., None) => match (end.labels.namespace(), short_labels(end), address) {
                (Some(namespace), labels, _) if !labels.is_empty() => {
                    Self::new("Identity", namespace, &labels, end.identity.to_string())
                }
                (.., Some(address)) => Self::new("Address", "", &address.to_string(), String::new()),
                (.., None) => Self::new("Entity", "", "unknown", String::new()),
            },
        }
    }
}

/// The labels that people gave, without their source: `app=web, tier=front`.
pub(crate) fn short_labels(end: &End) -> String {
    let own = |label: &&Label| *label.source() == Source::K8s && is_own(label.key());
    let texts: Vec<String> = end.labels.iter().filter(own).take(4).map(pair).collect();
    texts.join(", ")
}

/// Whether somebody gave this label to a pod: others say where it runs.
pub(crate) fn is_own(name: &str) -> bool {
    name != key::NAMESPACE && !name.starts_with("io.cilium.k8s.")
}

fn pair(label: &Label) -> String {
    match label.value() {
        "" => label.key().to_owned(),
        value => format!("{}={value}", label.key()),
    }
}
