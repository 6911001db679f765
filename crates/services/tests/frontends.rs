//! Which addresses a service is known by, and what their rows say.

mod common;

use axoneme_services::{Algorithm, ForwardingMode, NoBackend};
use common::{check, check_with};

/// Three endpoints, one of them here.
const WEB: &str = "
    slice default/web-1 of=web
      port http 8080/TCP
      endpoint 10.0.0.1 on=here
      endpoint 10.0.1.1 on=there
    slice default/web-2 of=web
      port http 8081/TCP
      endpoint 10.0.2.1 on=elsewhere";

/// Their members.
const MEMBERS: &str = "
    member #1 10.0.0.1:8080/TCP active
    member #1 10.0.1.1:8080/TCP active
    member #1 10.0.2.1:8081/TCP active";

fn web(service: &str) -> String {
    format!("service default/web {service}\n port http 80/TCP node=30080\n{WEB}")
}

#[test]
fn cluster_ip() {
    check(
        &web("10.96.0.1"),
        &format!(
            "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081
             10.96.0.1 other ports closed {MEMBERS}"
        ),
    );
}

#[test]
fn cluster_ip_for_clients_outside() {
    check_with(
        |settings| settings.external_cluster_ip = true,
        &web("10.96.0.1 itp=Local"),
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080 out=10.0.0.1:8080
         10.96.0.1 other ports closed
         member #1 10.0.0.1:8080/TCP active
         member #1 10.0.1.1:8080/TCP draining
         member #1 10.0.2.1:8081/TCP draining",
    );
}

#[test]
fn beside_kube_proxy_there_are_cluster_ips_alone() {
    let all = "10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081";
    let service = web("10.96.0.1 kind=LoadBalancer lb=192.0.2.1 ext=198.51.100.1");
    check_with(
        |settings| settings.only_cluster_ips = true,
        &format!("{service}\n pod default/p 10.0.0.9\n hostport 8080/TCP to=80"),
        &format!(
            "10.96.0.1:80/TCP ClusterIP #1 in={all}
             10.96.0.1 other ports closed {MEMBERS}"
        ),
    );
}

#[test]
fn node_port() {
    let all = "10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081";
    check(
        &web("10.96.0.1 kind=NodePort"),
        &format!(
            "10.96.0.1:80/TCP ClusterIP #1 in={all}
             10.96.0.1 other ports closed
             0.0.0.0:30080/TCP NodePort #1 in={all} out={all} {MEMBERS}"
        ),
    );
}

#[test]
fn load_balancer_has_all_of_them() {
    let all = "10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081";
    check(
        &web("10.96.0.1 kind=LoadBalancer lb=192.0.2.1 proxy-lb=192.0.2.2 ext=198.51.100.1 affinity=10800"),
        &format!(
            "10.96.0.1:80/TCP ClusterIP #1 in={all} affinity=10800
             10.96.0.1 other ports closed
             192.0.2.1:80/TCP LoadBalancer #1 in={all} out={all} affinity=10800
             192.0.2.1 other ports closed
             198.51.100.1:80/TCP ExternalIPs #1 in={all} out={all} affinity=10800
             198.51.100.1 other ports closed
             0.0.0.0:30080/TCP NodePort #1 in={all} out={all} affinity=10800 {MEMBERS}"
        ),
    );
}

#[test]
fn load_balancer_without_node_port() {
    check(
        "service default/web 10.96.0.1 kind=LoadBalancer lb=192.0.2.1
           port - 80/TCP
         slice default/web-1 of=web
           port - 8080/TCP
           endpoint 10.0.0.1",
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080
         10.96.0.1 other ports closed
         192.0.2.1:80/TCP LoadBalancer #1 in=10.0.0.1:8080 out=10.0.0.1:8080
         192.0.2.1 other ports closed
         member #1 10.0.0.1:8080/TCP active",
    );
}

#[test]
fn nothing_for_these() {
    for service in [
        "-",
        "- kind=LoadBalancer lb=192.0.2.1 ext=198.51.100.1",
        "10.96.0.1 kind=ExternalName",
        "10.96.0.1 kind=NodePort proxied",
        "10.96.0.1 kind=NodePort not-here",
    ] {
        check(&web(service), "");
    }
}

#[test]
fn exposed_types() {
    let all = "10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081";
    let lb = "kind=LoadBalancer lb=192.0.2.1";
    check(
        &web(&format!("10.96.0.1 {lb} expose=LoadBalancer")),
        &format!(
            "192.0.2.1:80/TCP LoadBalancer #1 in={all} out={all}
             192.0.2.1 other ports closed {MEMBERS}"
        ),
    );
    check(
        &web(&format!("10.96.0.1 {lb} expose=NodePort")),
        &format!("0.0.0.0:30080/TCP NodePort #1 in={all} out={all} {MEMBERS}"),
    );
    check(
        &web(&format!("10.96.0.1 {lb} expose=ClusterIP")),
        &format!("10.96.0.1:80/TCP ClusterIP #1 in={all}\n10.96.0.1 other ports closed {MEMBERS}"),
    );
    check(&web("10.96.0.1 kind=NodePort expose=LoadBalancer"), "");
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    check(
        "service kube-system/dns 10.96.0.10
           port dns 53/UDP
           port dns-tcp 53/TCP
           port metrics 9153/TCP
           port lost 1/TCP
         slice kube-system/dns-1 of=dns
           port dns 1053/UDP
           port dns-tcp 2053/TCP
           port metrics 9153/UDP
           endpoint 10.0.0.1
         slice default/dns-1 of=dns
           port dns 53/UDP
           endpoint 10.0.0.66",
        "10.96.0.10:53/UDP ClusterIP #1 in=10.0.0.1:1053
         10.96.0.10:53/TCP ClusterIP #2 in=10.0.0.1:2053
         10.96.0.10:9153/TCP ClusterIP #3 in=refuse
         10.96.0.10:1/TCP ClusterIP #4 in=refuse
         10.96.0.10 other ports closed
         member #1 10.0.0.1:1053/UDP active
         member #2 10.0.0.1:2053/TCP active",
    );
}

#[test]
fn families_stay_apart() {
    let slices = "
        slice default/web-4 of=web
          port - 8080/TCP
          endpoint 10.0.0.1
        slice default/web-6 of=web
          port - 8080/TCP
          endpoint fd00::1";
    let dual = format!(
        "service default/web 10.96.0.1,fd96::1 kind=LoadBalancer lb=192.0.2.1,2001:db8::1
           port - 80/TCP node=30080 {slices}"
    );
    check(
        &dual,
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080
         10.96.0.1 other ports closed
         192.0.2.1:80/TCP LoadBalancer #1 in=10.0.0.1:8080 out=10.0.0.1:8080
         192.0.2.1 other ports closed
         0.0.0.0:30080/TCP NodePort #1 in=10.0.0.1:8080 out=10.0.0.1:8080
         [fd96::1]:80/TCP ClusterIP #1 in=[fd00::1]:8080
         fd96::1 other ports closed
         [2001:db8::1]:80/TCP LoadBalancer #1 in=[fd00::1]:8080 out=[fd00::1]:8080
         2001:db8::1 other ports closed
         [::]:30080/TCP NodePort #1 in=[fd00::1]:8080 out=[fd00::1]:8080
         member #1 10.0.0.1:8080/TCP active
         member #1 [fd00::1]:8080/TCP active",
    );
    // A service of one family does not speak the other, whatever addresses it is given.
    let single = format!(
        "service default/web fd96::1 kind=LoadBalancer lb=192.0.2.1
           port - 80/TCP node=30080 {slices}"
    );
    let expected = "
        [fd96::1]:80/TCP ClusterIP #1 in=[fd00::1]:8080
        fd96::1 other ports closed
        [::]:30080/TCP NodePort #1 in=[fd00::1]:8080 out=[fd00::1]:8080
        member #1 [fd00::1]:8080/TCP active";
    check(&single, expected);
    check_with(|settings| settings.v4 = false, &dual.replace(",2001:db8::1", ""), expected);
}

/// An IPv4 address in IPv6 clothes is an IPv4 address, in the kernel's tables too.
#[test]
fn mapped_addresses_are_ipv4() {
    check(
        "service default/web ::ffff:10.96.0.1
           port - 80/TCP
         slice default/web-1 of=web
           port - 8080/TCP
           endpoint ::ffff:10.0.0.1",
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080
         10.96.0.1 other ports closed
         member #1 10.0.0.1:8080/TCP active",
    );
}

#[test]
fn addresses_that_nobody_may_claim() {
    check(
        "service default/web 10.96.0.1 kind=LoadBalancer lb=0.0.0.0,127.0.0.1,255.255.255.255 ext=224.0.0.1
           port - 80/TCP
           port zero 0/TCP
         slice default/web-1 of=web
           port - 8080/TCP
           port zero 8081/TCP
           endpoint 127.0.0.1
           endpoint 0.0.0.0
           endpoint 169.254.169.254
           endpoint 224.0.0.1
           endpoint 10.0.0.1
         slice default/web-2 of=web
           port - 0/TCP
           endpoint 10.0.0.2",
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080
         10.96.0.1 other ports closed
         member #1 10.0.0.1:8080/TCP active",
    );
}

#[test]
fn source_ranges() {
    let all = "10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081";
    let service =
        "10.96.0.1 kind=LoadBalancer lb=192.0.2.1 ranges=203.0.113.7/24,2001:db8::/32,203.0.113.0/24";
    let ranges = "range #1 203.0.113.0/24\nrange #1 2001:db8::/32";
    check(
        &web(service),
        &format!(
            "10.96.0.1:80/TCP ClusterIP #1 in={all}
             10.96.0.1 other ports closed
             192.0.2.1:80/TCP LoadBalancer #1 in={all} out={all} ranges
             192.0.2.1 other ports closed
             0.0.0.0:30080/TCP NodePort #1 in={all} out={all}
             {ranges} {MEMBERS}"
        ),
    );
    check_with(
        |settings| settings.source_ranges_all_types = true,
        &web(&format!("{service} deny")),
        &format!(
            "10.96.0.1:80/TCP ClusterIP #1 in={all} ranges deny
             10.96.0.1 other ports closed
             192.0.2.1:80/TCP LoadBalancer #1 in={all} out={all} ranges deny
             192.0.2.1 other ports closed
             0.0.0.0:30080/TCP NodePort #1 in={all} out={all} ranges deny
             {ranges} {MEMBERS}"
        ),
    );
}

/// Nobody asks for ranges of a service that has no frontend under them.
#[test]
fn source_ranges_without_a_frontend() {
    let all = "10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081";
    check(
        &web("10.96.0.1 kind=LoadBalancer ranges=203.0.113.0/24 expose=NodePort"),
        &format!("0.0.0.0:30080/TCP NodePort #1 in={all} out={all} {MEMBERS}"),
    );
}

#[test]
fn forwarding() {
    let script = |annotation: &str| {
        format!(
            "service default/web 10.96.0.1 kind=NodePort expose=NodePort {annotation}
               port t 80/TCP node=30080
               port u 80/UDP node=30080"
        )
    };
    let expected = |tcp: &str, udp: &str| {
        format!(
            "0.0.0.0:30080/TCP NodePort #1 in=refuse out=refuse {tcp}
             0.0.0.0:30080/UDP NodePort #2 in=refuse out=refuse {udp}"
        )
    };
    for (mode, annotation, tcp, udp) in [
        (ForwardingMode::Snat, "", "", ""),
        (ForwardingMode::Dsr, "", "dsr", "dsr"),
        (ForwardingMode::Hybrid, "", "dsr", ""),
        (ForwardingMode::Hybrid, "forwarding=dsr", "dsr", "dsr"),
        (ForwardingMode::Dsr, "forwarding=snat", "", ""),
        (ForwardingMode::Snat, "forwarding=dsr", "dsr", "dsr"),
    ] {
        let expected: String =
            expected(tcp, udp).lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        check_with(|settings| settings.forwarding = mode, &script(annotation), &expected);
    }
}

#[test]
fn algorithm() {
    let all = "10.0.0.1:8080,10.0.1.1:8080,10.0.2.1:8081";
    let maglev = format!(
        "10.96.0.1:80/TCP ClusterIP #1 in={all}
         10.96.0.1 other ports closed
         0.0.0.0:30080/TCP NodePort #1 in={all} out=maglev:{all} {MEMBERS}"
    );
    let random = maglev.replace("maglev:", "");
    let set = |algorithm| move |settings: &mut axoneme_services::Settings| settings.algorithm = algorithm;
    check_with(set(Algorithm::Maglev), &web("10.96.0.1 kind=NodePort"), &maglev);
    check_with(set(Algorithm::Maglev), &web("10.96.0.1 kind=NodePort algorithm=random"), &random);
    check_with(set(Algorithm::Random), &web("10.96.0.1 kind=NodePort algorithm=maglev"), &maglev);
    // Among one there is nothing to choose.
    check(
        "service default/web 10.96.0.1 kind=NodePort expose=NodePort algorithm=maglev
           port - 80/TCP node=30080
         slice default/web-1 of=web
           port - 8080/TCP
           endpoint 10.0.0.1",
        "0.0.0.0:30080/TCP NodePort #1 in=10.0.0.1:8080 out=10.0.0.1:8080
         member #1 10.0.0.1:8080/TCP active",
    );
}

#[test]
fn no_backend_is_refused_or_dropped() {
    let script = "service default/web 10.96.0.1 kind=NodePort
                    port - 80/TCP node=30080";
    let expected = "10.96.0.1:80/TCP ClusterIP #1 in=refuse
                    10.96.0.1 other ports closed
                    0.0.0.0:30080/TCP NodePort #1 in=refuse out=refuse";
    check(script, expected);
    check_with(|settings| settings.no_backend = NoBackend::Drop, script, &expected.replace("refuse", "drop"));
}

/// Node IPAM and `externalIPs` may name addresses of nodes: their other ports are the node's.
#[test]
fn ports_of_nodes_are_not_closed() {
    let service = "
        service default/web 10.96.0.1 kind=LoadBalancer lb=192.168.0.1,192.168.0.2 expose=LoadBalancer
          port - 80/TCP";
    let rows = "
        192.168.0.1:80/TCP LoadBalancer #1 in=refuse out=refuse
        192.168.0.2:80/TCP LoadBalancer #1 in=refuse out=refuse";
    check(&format!("nodes 192.168.0.1,192.168.0.2 {service}"), rows);
    check(
        &format!("nodes 192.168.0.1 {service}\nsettle\nnodes 192.168.0.2"),
        &format!("{rows}\n192.168.0.1 other ports closed"),
    );
}

#[test]
fn host_ports() {
    check(
        "pod default/p 10.0.0.9,fd00::9
           hostport 8080/TCP to=80
           hostport 53/UDP to=1053 at=192.168.0.1
           hostport 9000/TCP to=90 at=127.0.0.1
           hostport 9001/TCP to=91 at=0.0.0.0
           hostport 0/TCP to=92",
        "0.0.0.0:8080/TCP HostPort #1 in=10.0.0.9:80 out=10.0.0.9:80
         [::]:8080/TCP HostPort #1 in=[fd00::9]:80 out=[fd00::9]:80
         192.168.0.1:53/UDP HostPort #2 in=10.0.0.9:1053 out=10.0.0.9:1053
         127.0.0.1:9000/TCP HostPort #3 in=10.0.0.9:90
         0.0.0.0:9001/TCP HostPort #4 in=10.0.0.9:91 out=10.0.0.9:91
         member #1 10.0.0.9:80/TCP active
         member #1 [fd00::9]:80/TCP active
         member #2 10.0.0.9:1053/UDP active
         member #3 10.0.0.9:90/TCP active
         member #4 10.0.0.9:91/TCP active",
    );
}

/// The API server refuses ports like these; the first has the frontend, and nothing is left of the other.
#[test]
fn two_ports_with_one_number() {
    check(
        "service default/web 10.96.0.1 kind=NodePort expose=NodePort
           port a 80/TCP node=30080
           port b 81/TCP node=30080
         slice default/web-1 of=web
           port a 8080/TCP
           port b 8081/TCP
           endpoint 10.0.0.1
         pod default/p 10.0.0.9
           hostport 8080/TCP to=80
           hostport 8080/TCP to=81
           hostport 8080/TCP to=82 at=0.0.0.0",
        "0.0.0.0:30080/TCP NodePort #1 in=10.0.0.1:8080 out=10.0.0.1:8080
         0.0.0.0:8080/TCP HostPort #2 in=10.0.0.9:80 out=10.0.0.9:80
         member #1 10.0.0.1:8080/TCP active
         member #2 10.0.0.9:80/TCP active",
    );
}
