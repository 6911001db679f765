//! A shop and its neighbours, and who speaks with whom.

use flow::{
    Direction, EVENT_DROP, EVENT_TRACE, End, Flow, Ip, L4, Pod, Point, Policy, TcpFlags, Verdict, Workload,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use types::Labels;

/// A Deployment with one pod.
pub(crate) struct Service {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
}

const fn service(namespace: &'static str, name: &'static str) -> Service {
    Service { namespace, name }
}

pub(crate) const SERVICES: [Service; 13] = [
    service("shop", "loadgen"),
    service("shop", "frontend"),
    service("shop", "catalog"),
    service("shop", "cart"),
    service("shop", "checkout"),
    service("shop", "payment"),
    service("shop", "redis"),
    service("shop", "recommend"),
    service("monitoring", "prometheus"),
    service("kube-system", "coredns"),
    service("guest", "scanner"),
    service("batch", "report"),
    service("batch", "mailer"),
];

/// Who, whom, port (53 is UDP), how often, and what becomes of it.
const TALK: [(&str, &str, u16, u32, Verdict); 22] = [
    ("loadgen", "frontend", 8080, 30, Verdict::Forwarded),
    ("frontend", "catalog", 8080, 20, Verdict::Forwarded),
    ("frontend", "cart", 8080, 14, Verdict::Forwarded),
    ("frontend", "checkout", 8080, 6, Verdict::Forwarded),
    ("frontend", "recommend", 9000, 8, Verdict::Forwarded),
    ("recommend", "catalog", 8080, 6, Verdict::Forwarded),
    ("cart", "redis", 6379, 18, Verdict::Forwarded),
    ("checkout", "cart", 8080, 4, Verdict::Forwarded),
    ("checkout", "payment", 9090, 5, Verdict::Forwarded),
    ("payment", "api.bank.example", 443, 3, Verdict::Forwarded),
    ("mailer", "smtp.mail.example", 587, 1, Verdict::Forwarded),
    ("report", "catalog", 8080, 2, Verdict::Audit),
    ("scanner", "redis", 6379, 2, Verdict::Dropped),
    ("scanner", "payment", 22, 1, Verdict::Dropped),
    ("frontend", "coredns", 53, 4, Verdict::Forwarded),
    ("payment", "coredns", 53, 2, Verdict::Forwarded),
    ("cart", "coredns", 53, 2, Verdict::Forwarded),
    ("prometheus", "frontend", 9102, 1, Verdict::Forwarded),
    ("prometheus", "catalog", 9102, 1, Verdict::Forwarded),
    ("prometheus", "redis", 9102, 1, Verdict::Dropped),
    ("host", "frontend", 8080, 1, Verdict::Forwarded),
    ("coredns", "kube-apiserver", 6443, 1, Verdict::Forwarded),
];

impl Service {
    pub(crate) fn pod(&self) -> String {
        format!("{}-5d4f8c7b9-x2x7k", self.name)
    }
}

/// Makes flows.
pub(crate) struct Scene {
    nodes: usize,
    talk: Vec<(Side, Side, u16, Verdict)>,
    hostile: bool,
    count: usize,
}

type Side = (End, IpAddr);

impl Scene {
    pub(crate) fn new(nodes: usize, workloads: usize, hostile: bool) -> Self {
        let mut talk = Vec::new();
        for (from, to, port, often, verdict) in TALK {
            talk.extend((0..often).map(|_| (side(from), side(to), port, verdict)));
        }
        for number in 0..workloads {
            let from = pod(200 + number, "load", &format!("client-{}", number / 2));
            let to = pod(2000 + number, "load", &format!("server-{number}"));
            talk.extend(
                (0..3).map(|_| (from.clone(), to.clone(), 8000 + (number % 7) as u16, Verdict::Forwarded)),
            );
        }
        // Mixed, and the same each time.
        let length = talk.len();
        let mixed = (0..length).map(|n| talk[n * 89 % length].clone()).collect();
        Self { nodes, talk: if length.is_multiple_of(89) { talk } else { mixed }, hostile, count: 0 }
    }

    /// The next flows.
    pub(crate) fn flows(&mut self, number: usize, now: u64) -> Vec<Flow> {
        (0..number).map(|_| self.next(now)).collect()
    }

    fn next(&mut self, now: u64) -> Flow {
        self.count += 1;
        if self.hostile && self.count.is_multiple_of(20) {
            return hostile(self.count / 20, now);
        }
        let (from, to, port, verdict) = &self.talk[self.count / 2 % self.talk.len()];
        let reply = self.count % 2 == 1 && *verdict == Verdict::Forwarded;
        let mut flow = flow(from, to, *port, *verdict, reply, now);
        flow.node_name = format!("default/n{}", self.count % self.nodes + 1).into();
        flow
    }

    /// Somebody new tries something new.
    pub(crate) fn intruder(&self, now: u64) -> Flow {
        let mut flow = flow(&pod(99, "guest", "intruder"), &side("cart"), 8080, Verdict::Dropped, false, now);
        flow.node_name = "default/n1".into();
        flow
    }
}

fn side(name: &str) -> Side {
    let reserved =
        |id, label: &str| End { identity: id, labels: labels(&[label.to_owned()]), ..End::default() };
    match name {
        "host" => (reserved(1, "reserved:host"), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
        "kube-apiserver" => {
            (reserved(7, "reserved:kube-apiserver"), IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2)))
        }
        name => match SERVICES.iter().position(|service| service.name == name) {
            Some(number) => pod(number, SERVICES[number].namespace, name),
            None => {
                let end = End { names: Arc::new([name.to_owned()]), ..reserved(2, "reserved:world") };
                (end, IpAddr::V4(Ipv4Addr::new(192, 0, 2, name.len() as u8)))
            }
        },
    }
}

fn labels(texts: &[String]) -> Labels {
    Labels::parse(texts.iter().map(String::as_str)).unwrap_or_else(|_| Labels::none())
}

fn pod(number: usize, namespace: &str, name: &str) -> Side {
    let workload = Workload { name: name.to_owned(), kind: "Deployment".to_owned() };
    let pod = Pod {
        cluster: "default".to_owned(),
        namespace: namespace.to_owned(),
        name: format!("{name}-5d4f8c7b9-x2x7k"),
        workloads: vec![workload],
    };
    let labels = labels(&[
        format!("k8s:app={name}"),
        format!("k8s:io.kubernetes.pod.namespace={namespace}"),
        "k8s:io.cilium.k8s.policy.cluster=default".to_owned(),
        format!("k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name={namespace}"),
    ]);
    let end = End {
        endpoint: number as u32 + 1,
        identity: 20_000 + number as u32,
        labels,
        pod: Some(Arc::new(pod)),
        ..End::default()
    };
    (end, IpAddr::V4(Ipv4Addr::new(10, 0, 1 + (number / 200) as u8, (number % 200) as u8 + 1)))
}

fn flow(from: &Side, to: &Side, port: u16, verdict: Verdict, reply: bool, now: u64) -> Flow {
    let client = 30_000 + (now / 1_000_000 % 20_000) as u16;
    let ((source, destination), (here, there)) =
        if reply { ((to, from), (port, client)) } else { ((from, to), (client, port)) };
    let l4 = match port {
        53 => L4::Udp { source: here, destination: there },
        _ => {
            let flags = TcpFlags(match (verdict, reply) {
                (Verdict::Dropped, _) => 0x02,
                (_, true) => 0x10,
                _ => 0x18,
            });
            L4::Tcp { source: here, destination: there, flags: Some(flags) }
        }
    };
    let dropped = verdict == Verdict::Dropped;
    let policy = |kind: &str, namespace: &str, name: &str| {
        Arc::from([Policy {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Policy::default()
        }])
    };
    let server = to.0.pod.as_ref().map_or("", |pod| pod.workloads[0].name.as_str());
    let because: flow::Policies = match server {
        "redis" | "payment" => policy("CiliumNetworkPolicy", "shop", server),
        "frontend" => policy("NetworkPolicy", "shop", server),
        "coredns" => policy("CiliumClusterwideNetworkPolicy", "", "dns"),
        "catalog" if verdict == Verdict::Audit => policy("CiliumNetworkPolicy", "shop", "catalog-audit"),
        "cart" if dropped => policy("CiliumNetworkPolicy", "shop", "cart"),
        _ => Arc::default(),
    };
    let denied = dropped || verdict == Verdict::Audit;
    Flow {
        time: now,
        uuid: format!("{now:016x}"),
        verdict,
        drop_reason: if dropped { 133 } else { 0 },
        ip: Some(Ip { source: source.1, destination: destination.1, source_xlated: None, encrypted: false }),
        l4: Some(l4),
        source: source.0.clone(),
        destination: destination.0.clone(),
        event_type: if dropped { EVENT_DROP } else { EVENT_TRACE },
        event_subtype: if dropped { 133 } else { 0 },
        direction: if server.is_empty() { Direction::Egress } else { Direction::Ingress },
        point: (!dropped).then_some(Point::ToEndpoint),
        is_reply: Some(reply),
        ingress_denied_by: if denied { because.clone() } else { Arc::default() },
        ingress_allowed_by: if denied { Arc::default() } else { because },
        ..Flow::default()
    }
}

/// Names that no API server would take, but that a page must bear.
fn hostile(number: usize, now: u64) -> Flow {
    let names = [
        "<img src=x onerror=window.pwned=1>".to_owned(),
        "\u{1b}[31mred\u{1b}[0m\r\n\tline".to_owned(),
        "\u{202e}gnp.exe\u{200b}\u{2066}".to_owned(),
        "'\"><script>window.pwned=1</script>".to_owned(),
        "__proto__".to_owned(),
        "constructor".to_owned(),
        "javascript:window.pwned=1//".to_owned(),
        "x".repeat(64 << 10),
        "{{window.pwned=1}}${window.pwned=1}".to_owned(),
    ];
    let name = &names[number % names.len()];
    let mut from = pod(150 + number % names.len(), name, name);
    from.0.labels = labels(&[format!("k8s:{name}={name}"), format!("k8s:long={}", "l".repeat(64 << 10))]);
    let mut flow = flow(&from, &side("cart"), 8080, Verdict::Dropped, false, now);
    flow.ingress_denied_by =
        Arc::new([Policy { name: name.clone(), namespace: name.clone(), ..Policy::default() }]);
    flow.node_name = name.as_str().into();
    flow
}
