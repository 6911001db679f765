//! What annotations say of a Service.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use services::{Algorithm, ExposedTypes, Forwarding, NodeRule, Service};

use super::complaints::Complaints;
use super::range;

const ALGORITHM: &str = "service.cilium.io/lb-algorithm";
const DELEGATION: &str = "service.cilium.io/proxy-delegation";
const FORWARDING: &str = "service.cilium.io/forwarding-mode";
const NODE: &str = "service.cilium.io/node";
const NODE_SELECTOR: &str = "service.cilium.io/node-selector";
const RANGES_POLICY: &str = "service.cilium.io/src-ranges-policy";
const TYPE: &str = "service.cilium.io/type";
/// What there was before `spec.loadBalancerSourceRanges`, which wins.
const OLD_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Reads all of them into `service`.
pub(super) fn apply(
    meta: &ObjectMeta,
    spec: &ServiceSpec,
    service: &mut Service,
    complaints: &mut Complaints,
) {
    let none = BTreeMap::new();
    let annotations = meta.annotations.as_ref().unwrap_or(&none);
    let mut reader = Reader { annotations, complaints };
    service.algorithm = reader.algorithm();
    service.forwarding = reader.forwarding();
    service.exposed_types = reader.exposed_types();
    service.source_ranges_deny = reader.ranges_policy();
    reader.delegation();
    service.nodes = reader.nodes();
    service.source_ranges = reader.source_ranges(spec, service.source_ranges_deny);
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    complaints: &'a mut Complaints,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// One of a few words, in letters of any case.
    fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)], cure: &str) -> Option<T> {
        let text = self.get(name)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        if found.is_none() {
            self.complain(name, text, &format!("does not count: write {cure}"));
        }
        found.map(|(_, value)| *value)
    }

    fn complain(&mut self, name: &str, value: &str, problem: &str) {
        self.complaints.add(format_args!("annotation {name}"), value, problem);
    }

    fn algorithm(&mut self) -> Option<Algorithm> {
        let words = [("random", Algorithm::Random), ("maglev", Algorithm::Maglev)];
        self.word(ALGORITHM, &words, "random or maglev")
    }

    fn forwarding(&mut self) -> Option<Forwarding> {
        self.word(FORWARDING, &[("snat", Forwarding::Snat), ("dsr", Forwarding::Dsr)], "snat or dsr")
    }

    fn exposed_types(&mut self) -> Option<ExposedTypes> {
        let none = ExposedTypes { cluster_ip: false, node_port: false, load_balancer: false };
        let words = [
            ("ClusterIP", ExposedTypes { cluster_ip: true, ..none }),
            ("NodePort", ExposedTypes { node_port: true, ..none }),
            ("LoadBalancer", ExposedTypes { load_balancer: true, ..none }),
        ];
        self.word(TYPE, &words, "one of ClusterIP, NodePort, LoadBalancer")
    }

    fn ranges_policy(&mut self) -> bool {
        self.word(RANGES_POLICY, &[("allow", false), ("deny", true)], "allow or deny").unwrap_or_default()
    }

    /// Leaving connections to a proxy of the node's own.
    fn delegation(&mut self) {
        if self.word(DELEGATION, &[("none", false), ("delegate-if-local", true)], "none").unwrap_or_default()
        {
            let problem = "is not in this version, and nodes answer for the service themselves: write none";
            self.complain(DELEGATION, "delegate-if-local", problem);
        }
    }

    /// The nodes that serve it. The selector wins.
    fn nodes(&mut self) -> NodeRule {
        if let Some(text) = self.get(NODE_SELECTOR) {
            let read = NodeRule::selector(text);
            if read.is_none() {
                let problem = "is no selector, and all nodes serve: write one such as \"disk=ssd, zone in (a, b), !old\"";
                self.complain(NODE_SELECTOR, text, problem);
            }
            return read.unwrap_or_default();
        }
        self.get(NODE).map_or(NodeRule::Everywhere, |value| NodeRule::Label(value.into()))
    }

    /// A list of those who may come in and of which nothing can be read lets nobody in.
    fn source_ranges(&mut self, spec: &ServiceSpec, deny: bool) -> Vec<IpNet> {
        let listed = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
        let listed = listed.iter().enumerate().map(|(i, text)| {
            let field = format!("spec.loadBalancerSourceRanges[{i}]");
            (field, text.trim())
        });
        let mut texts: Vec<_> = listed.filter(|(_, text)| !text.is_empty()).collect();
        if texts.is_empty() {
            let old = self.get(OLD_RANGES).unwrap_or_default().split(',').map(str::trim);
            let old = old.filter(|text| !text.is_empty());
            texts = old.map(|text| (format!("annotation {OLD_RANGES}"), text)).collect();
        }
        let mut ranges = Vec::new();
        for (field, text) in &texts {
            match range(text) {
                Some(range) => ranges.push(range),
                None => self.complaints.add(
                    field,
                    text,
                    "is no range of addresses and does not count: write one such as 192.0.2.0/24",
                ),
            }
        }
        if ranges.is_empty() && !texts.is_empty() && !deny {
            ranges = nobody();
        }
        ranges
    }
}

/// Ranges from which no packet comes.
fn nobody() -> Vec<IpNet> {
    [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)].map(IpNet::from).into()
}
