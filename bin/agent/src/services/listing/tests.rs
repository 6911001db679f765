use super::*;
use services::{Endpoint, ObjectName, ServiceKind, ServicePort, Settings, Slice, SlicePort};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn service(name: &str, kind: ServiceKind, address: &str, node_port: u16) -> services::Service {
    let port = ServicePort { protocol: Protocol::Tcp, port: 80, node_port, ..ServicePort::default() };
    services::Service {
        name: ObjectName::new("default", name),
        kind,
        cluster_ips: vec![ip(address)],
        ports: vec![port],
        ..services::Service::default()
    }
}

fn slice(service: &str, endpoints: Vec<Endpoint>) -> Slice {
    let port = SlicePort { protocol: Protocol::Tcp, port: 8080, ..SlicePort::default() };
    Slice {
        name: ObjectName::new("default", &format!("{service}-1")),
        service: service.into(),
        ports: vec![port],
        endpoints,
    }
}

fn endpoint(address: &str, node: &str) -> Endpoint {
    Endpoint {
        addresses: vec![ip(address)],
        ready: true,
        serving: true,
        node: Some(node.into()),
        ..Endpoint::default()
    }
}

fn leaving(address: &str, node: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..endpoint(address, node) }
}

/// A service with a node port, one for local endpoints alone, one without endpoints.
fn balancer() -> Balancer {
    let mut balancer = Balancer::new(Settings::new("n1"));
    balancer.set_service(service("a", ServiceKind::NodePort, "10.96.0.9", 32_000));
    balancer.set_slice(slice("a", vec![endpoint("10.0.1.1", "n1"), endpoint("10.0.2.1", "n2")]));
    balancer.settle(0);
    let local = services::Service {
        external_traffic_policy: TrafficPolicy::Local,
        health_check_node_port: 31_999,
        ..service("b", ServiceKind::NodePort, "10.96.0.2", 32_001)
    };
    balancer.set_service(local);
    let not_ready = Endpoint { ready: false, serving: false, ..endpoint("10.0.1.4", "n1") };
    let endpoints = vec![
        endpoint("10.0.1.2", "n1"),
        endpoint("10.0.2.2", "n2"),
        leaving("10.0.1.3", "n1"),
        leaving("10.0.2.3", "n2"),
        not_ready,
    ];
    balancer.set_slice(slice("b", endpoints));
    balancer.settle(1);
    balancer.set_service(service("c", ServiceKind::ClusterIp, "fd00:96::1", 0));
    balancer.settle(2);
    balancer
}

/// Number, frontend, kind, backends.
fn lines(list: &[Service]) -> Vec<String> {
    let line = |service: &Service| {
        let ServiceSpec { id, frontend_address: f, backend_addresses, flags } = &service.status.realized;
        let backends: Vec<String> =
            backend_addresses.iter().map(|b| format!("{}:{} {}", b.ip, b.port, b.state)).collect();
        let scope = if f.scope == "internal" { "/i" } else { "" };
        format!("{id} {} {}/{}{scope} {} [{}]", f.ip, f.port, f.protocol, flags.kind, backends.join(", "))
    };
    list.iter().map(line).collect()
}

#[test]
fn each_address_has_its_line() {
    let own = [ip("172.18.0.2"), ip("fc00::2")];
    let list = list(&balancer(), &mut LineIds::default(), "n1", &own);
    let expected = [
        "1 10.96.0.9 80/TCP ClusterIP [10.0.1.1:8080 active, 10.0.2.1:8080 active]",
        "2 172.18.0.2 32000/TCP NodePort [10.0.1.1:8080 active, 10.0.2.1:8080 active]",
        "3 0.0.0.0 32000/TCP NodePort [10.0.1.1:8080 active, 10.0.2.1:8080 active]",
        "4 10.96.0.2 80/TCP ClusterIP [10.0.1.2:8080 active, 10.0.1.3:8080 terminating, 10.0.2.2:8080 active, \
         10.0.2.3:8080 terminating]",
        "5 172.18.0.2 32001/TCP NodePort [10.0.1.2:8080 active, 10.0.1.3:8080 terminating]",
        "6 172.18.0.2 32001/TCP/i NodePort [10.0.1.2:8080 active, 10.0.1.3:8080 terminating, \
         10.0.2.2:8080 active, 10.0.2.3:8080 terminating]",
        "7 0.0.0.0 32001/TCP NodePort [10.0.1.2:8080 active, 10.0.1.3:8080 terminating]",
        "8 0.0.0.0 32001/TCP/i NodePort [10.0.1.2:8080 active, 10.0.1.3:8080 terminating, 10.0.2.2:8080 active, \
         10.0.2.3:8080 terminating]",
        "9 fd00:96::1 80/TCP ClusterIP []",
    ];
    assert_eq!(lines(&list), expected);
    let flags = &list[4].spec.flags;
    assert_eq!((flags.name.as_str(), flags.namespace.as_str()), ("b", "default"));
    assert_eq!((flags.ext_traffic_policy.as_str(), flags.int_traffic_policy.as_str()), ("Local", "Cluster"));
    assert_eq!(flags.health_check_node_port, 31_999);
    assert_eq!(list[0].spec.backend_addresses[1].node_name, "n2");
}

#[test]
fn numbers_stay_and_are_not_given_again() {
    let (mut balancer, mut ids) = (balancer(), LineIds::default());
    let numbers = |balancer: &Balancer, ids: &mut LineIds| -> Vec<u32> {
        list(balancer, ids, "n1", &[]).iter().map(|service| service.spec.id).collect()
    };
    assert_eq!(numbers(&balancer, &mut ids), [1, 2, 3, 4, 5, 6]);
    balancer.remove_service(&ObjectName::new("default", "a"));
    balancer.set_service(service("d", ServiceKind::ClusterIp, "10.96.0.1", 0));
    balancer.settle(3);
    assert_eq!(numbers(&balancer, &mut ids), [3, 4, 5, 6, 7]);
    assert_eq!(lines(&list(&balancer, &mut ids, "n1", &[]))[4], "7 10.96.0.1 80/TCP ClusterIP []");
}
