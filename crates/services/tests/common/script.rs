//! Scripts: objects in, rows out.
//!
//! ```text
//! service default/web 10.96.0.1 kind=LoadBalancer lb=192.0.2.1 etp=Local
//!   port http 80/TCP node=30080
//! slice default/web-1 of=web
//!   port http 8080/TCP
//!   endpoint 10.0.0.1 on=here zone=a leaving
//! pod default/p 10.0.0.9
//!   hostport 8080/TCP to=80 at=192.168.0.1
//! redirect default/p service=web select=app=proxy spares
//!   from http 80/TCP
//!   to http 8080/TCP
//! redirect default/q address=169.254.169.254 select=app=proxy
//! local default/proxy 10.0.0.8 app=proxy ports=8080/TCP,53/UDP unready host
//! remove service default/web
//! ```
//! This node is called `here`. The clock moves two seconds with each settle, which a script asks for by `settle`.

use std::net::IpAddr;

use axoneme_services::*;

use super::{Kernel, SECOND};

/// A balancer and its kernel.
pub struct Harness {
    pub balancer: Balancer,
    pub kernel: Kernel,
    pub now: u64,
}

/// Runs `script` under the defaults and compares all rows.
pub fn check(script: &str, expected: &str) {
    check_with(|_| {}, script, expected);
}

/// Runs `script` under changed settings and compares all rows.
pub fn check_with(change: impl Fn(&mut Settings), script: &str, expected: &str) {
    let mut settings = Settings::new("here");
    change(&mut settings);
    let mut harness = Harness::new(settings);
    harness.run(script);
    harness.expect(expected);
}

impl Harness {
    pub fn new(settings: Settings) -> Self {
        Self { balancer: Balancer::new(settings), kernel: Kernel::default(), now: 0 }
    }

    /// The kernel as it is, under an agent that knows nothing yet.
    pub fn clone_kernel(&self) -> Self {
        Self { kernel: self.kernel.clone(), now: self.now, ..Self::new(Settings::new("here")) }
    }

    /// A new agent over the same kernel.
    pub fn restart(&mut self, settings: Settings) {
        let kernel = self.kernel.clone();
        let backend = |slot| kernel.backends.get(&slot).copied();
        let maglev = |slot| kernel.maglev.get(&slot).cloned();
        self.balancer = Balancer::adopt(settings, &kernel.found(&backend, &maglev));
    }

    /// Runs a script; what is left at its end is settled too.
    pub fn run(&mut self, script: &str) {
        let mut open = Open::Nothing;
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            open = self.line(&words, open);
        }
        self.close(open);
        self.settle();
    }

    /// Settles, writes, says so, and lets two seconds pass.
    pub fn settle(&mut self) -> Update {
        let update = self.balancer.settle(self.now);
        self.kernel.apply(&update, self.now);
        self.kernel.assert_equals(&self.balancer.tables());
        self.balancer.realized(update.revision, self.now);
        self.now += 2 * SECOND;
        update
    }

    pub fn expect(&self, expected: &str) {
        let mut lines: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        assert_eq!(self.kernel.text(), lines.join("\n"), "\nleft: the kernel, right: expected");
    }

    fn line(&mut self, words: &[&str], open: Open) -> Open {
        match (words, open) {
            (["port", name, port, rest @ ..], Open::Service(mut service)) => {
                let (port, protocol) = port_and_protocol(port);
                let node_port = option(rest, "node").map_or(0, |port| port.parse().unwrap());
                service.ports.push(ServicePort { name: port_name(name), protocol, port, node_port });
                return Open::Service(service);
            }
            (["port", name, port], Open::Slice(mut slice)) => {
                let (port, protocol) = port_and_protocol(port);
                slice.ports.push(SlicePort { name: port_name(name), protocol, port });
                return Open::Slice(slice);
            }
            (["endpoint", addresses, rest @ ..], Open::Slice(mut slice)) => {
                slice.endpoints.push(endpoint(addresses, rest));
                return Open::Slice(slice);
            }
            (["hostport", port, rest @ ..], Open::Pod(mut pod)) => {
                let (host_port, protocol) = port_and_protocol(port);
                let host_ip = option(rest, "at").map(|ip| ip.parse().unwrap());
                let pod_port = option(rest, "to").unwrap().parse().unwrap();
                pod.ports.push(HostPort { host_ip, host_port, protocol, pod_port });
                return Open::Pod(pod);
            }
            (["from", name, port], Open::Redirect(mut policy)) => {
                let (RedirectFrom::Address { ports, .. } | RedirectFrom::Service { ports, .. }) =
                    &mut policy.from;
                ports.push(redirect_port(name, port));
                return Open::Redirect(policy);
            }
            (["to", name, port], Open::Redirect(mut policy)) => {
                policy.to_ports.push(redirect_port(name, port));
                return Open::Redirect(policy);
            }
            (_, open) => self.close(open),
        }
        match words {
            ["service", name, addresses, rest @ ..] => return Open::Service(service(name, addresses, rest)),
            ["slice", name, rest @ ..] => {
                let service = option(rest, "of").unwrap().into();
                return Open::Slice(Slice { name: object(name), service, ..Slice::default() });
            }
            ["pod", name, addresses, rest @ ..] => {
                let created = option(rest, "created").map_or(0, |at| at.parse().unwrap());
                return Open::Pod(PodPorts {
                    name: object(name),
                    created,
                    addresses: ips(addresses),
                    ports: vec![],
                });
            }
            ["redirect", name, from, rest @ ..] => return Open::Redirect(redirect(name, from, rest)),
            ["local", name, addresses, rest @ ..] => {
                self.balancer.set_local_pod(local_pod(name, addresses, rest))
            }
            ["remove", "redirect", name] => self.balancer.remove_redirect(&object(name)),
            ["remove", "local", name] => self.balancer.remove_local_pod(&object(name)),
            ["cidrs", nets] => self.balancer.set_pod_cidrs(nets.split(',').map(|net| net.parse().unwrap())),
            ["labels", pairs] => {
                let pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
                let labels = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
                self.balancer.set_node_labels(labels.collect());
            }
            ["remove", "service", name] => self.balancer.remove_service(&object(name)),
            ["remove", "slice", name] => self.balancer.remove_slice(&object(name)),
            ["remove", "pod", name] => self.balancer.remove_pod_ports(&object(name)),
            ["zone", "-"] => self.balancer.set_zone(None),
            ["zone", zone] => self.balancer.set_zone(Some((*zone).into())),
            ["nodes", addresses] => self.balancer.set_node_addresses(ips(addresses)),
            ["settle"] => {
                self.settle();
            }
            _ => panic!("what is {words:?}?"),
        }
        Open::Nothing
    }

    fn close(&mut self, open: Open) {
        match open {
            Open::Nothing => {}
            Open::Service(service) => self.balancer.set_service(service),
            Open::Slice(slice) => self.balancer.set_slice(slice),
            Open::Pod(pod) => self.balancer.set_pod_ports(pod),
            Open::Redirect(policy) => self.balancer.set_redirect(policy),
        }
    }
}

enum Open {
    Nothing,
    Service(Service),
    Slice(Slice),
    Pod(PodPorts),
    Redirect(Redirect),
}

fn redirect(name: &str, from: &str, words: &[&str]) -> Redirect {
    let ports = Vec::new();
    let from = match from.split_once('=').unwrap() {
        ("address", ip) => RedirectFrom::Address { ip: ip.parse().unwrap(), ports },
        ("service", name) => RedirectFrom::Service { name: name.into(), ports },
        other => panic!("what is {other:?}?"),
    };
    let labels = words.iter().filter_map(|word| word.strip_prefix("select=")?.split_once('='));
    let none: [(&str, &str, [&str; 0]); 0] = [];
    Redirect {
        name: object(name),
        created: option(words, "created").map_or(0, |at| at.parse().unwrap()),
        uid: "".into(),
        from,
        selector: types::Selector::new(labels, none, &types::Source::K8s).unwrap(),
        to_ports: Vec::new(),
        spares_backends: words.contains(&"spares"),
    }
}

fn redirect_port(name: &str, port: &str) -> RedirectPort {
    let (port, protocol) = port_and_protocol(port);
    RedirectPort { name: port_name(name), port, protocol }
}

fn local_pod(name: &str, addresses: &str, words: &[&str]) -> LocalPod {
    let ports = option(words, "ports").unwrap_or_default().split(',').filter(|port| !port.is_empty());
    let labels = words.iter().filter_map(|word| word.split_once('=')).filter(|(key, _)| *key != "ports");
    LocalPod {
        name: object(name),
        labels: labels.map(|(key, value)| types::Label::k8s(key, value)).collect(),
        addresses: ips(addresses),
        ready: !words.contains(&"unready"),
        host_network: words.contains(&"host"),
        ports: ports.map(port_and_protocol).collect(),
    }
}

fn service(name: &str, addresses: &str, words: &[&str]) -> Service {
    let mut service = Service { name: object(name), cluster_ips: ips(addresses), ..Service::default() };
    let policy = |value: &str| if value == "Local" { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("kind", "NodePort") => service.kind = ServiceKind::NodePort,
            ("kind", "LoadBalancer") => service.kind = ServiceKind::LoadBalancer,
            ("kind", "ExternalName") => service.kind = ServiceKind::ExternalName,
            ("ext", value) => service.external_ips = ips(value),
            ("lb", value) => {
                let vip = |ip| LoadBalancerIp { ip, mode: IpMode::Vip };
                service.load_balancer_ips.extend(ips(value).into_iter().map(vip));
            }
            ("proxy-lb", value) => {
                let proxy = |ip| LoadBalancerIp { ip, mode: IpMode::Proxy };
                service.load_balancer_ips.extend(ips(value).into_iter().map(proxy));
            }
            ("etp", value) => service.external_traffic_policy = policy(value),
            ("itp", value) => service.internal_traffic_policy = policy(value),
            ("affinity", value) => service.session_affinity = Some(value.parse().unwrap()),
            ("ranges", value) => {
                service.source_ranges = value.split(',').map(|net| net.parse().unwrap()).collect()
            }
            ("deny", "") => service.source_ranges_deny = true,
            ("health", value) => service.health_check_node_port = value.parse().unwrap(),
            ("algorithm", "maglev") => service.algorithm = Some(Algorithm::Maglev),
            ("algorithm", "random") => service.algorithm = Some(Algorithm::Random),
            ("forwarding", "dsr") => service.forwarding = Some(Forwarding::Dsr),
            ("forwarding", "snat") => service.forwarding = Some(Forwarding::Snat),
            ("expose", value) => {
                service.exposed_types = Some(ExposedTypes {
                    cluster_ip: value.contains("ClusterIP"),
                    node_port: value.contains("NodePort"),
                    load_balancer: value.contains("LoadBalancer"),
                });
            }
            ("not-here", "") => service.nodes = NodeRule::Label("other".into()),
            ("nodes", value) => service.nodes = NodeRule::selector(value).unwrap(),
            ("proxied", "") => service.proxied_by_other = true,
            ("created", value) => service.created = value.parse().unwrap(),
            other => panic!("what is {other:?}?"),
        }
    }
    service
}

fn endpoint(addresses: &str, words: &[&str]) -> Endpoint {
    let mut endpoint =
        Endpoint { addresses: ips(addresses), ready: true, serving: true, ..Endpoint::default() };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("on", value) => endpoint.node = Some(value.into()),
            ("zone", value) => endpoint.zone = Some(value.into()),
            ("for-zones", value) => endpoint.zone_hints = value.split(',').map(Into::into).collect(),
            ("for-nodes", value) => endpoint.node_hints = value.split(',').map(Into::into).collect(),
            ("leaving", "") => (endpoint.ready, endpoint.terminating) = (false, true),
            ("leaving-ready", "") => endpoint.terminating = true,
            ("gone", "") => (endpoint.ready, endpoint.serving, endpoint.terminating) = (false, false, true),
            ("unready", "") => (endpoint.ready, endpoint.serving) = (false, false),
            other => panic!("what is {other:?}?"),
        }
    }
    endpoint
}

/// `namespace/name`.
pub fn object(name: &str) -> ObjectName {
    let (namespace, name) = name.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

fn ips(text: &str) -> Vec<IpAddr> {
    text.split(',').filter(|ip| *ip != "-").map(|ip| ip.parse().unwrap()).collect()
}

fn port_name(name: &str) -> std::sync::Arc<str> {
    if name == "-" { "".into() } else { name.into() }
}

fn port_and_protocol(text: &str) -> (u16, Protocol) {
    let (port, protocol) = text.split_once('/').unwrap();
    let protocol = match protocol {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => panic!("no protocol {other}"),
    };
    (port.parse().unwrap(), protocol)
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}
