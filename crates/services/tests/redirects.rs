//! Local redirect policies: what they lead where, and what they may not have.

mod common;

use axoneme_services::Settings;
use common::{Harness, check, check_with};

/// A service with one backend elsewhere, and what follows from it alone.
const DNS: &str = "
    service kube-system/dns 10.96.0.10
      port dns 53/UDP
      port dns-tcp 53/TCP
      port metrics 9153/TCP
    slice kube-system/dns-1 of=dns
      port dns 1053/UDP
      port dns-tcp 1053/TCP
      port metrics 9153/TCP
      endpoint 10.0.1.1 on=there";
const ALONE: &str = "
    10.96.0.10:53/UDP ClusterIP #1 in=10.0.1.1:1053
    10.96.0.10:53/TCP ClusterIP #2 in=10.0.1.1:1053
    10.96.0.10:9153/TCP ClusterIP #3 in=10.0.1.1:9153
    10.96.0.10 other ports closed
    member #1 10.0.1.1:1053/UDP active
    member #2 10.0.1.1:1053/TCP active
    member #3 10.0.1.1:9153/TCP active";
/// The cache of this node.
const CACHE: &str = "local kube-system/cache 10.0.0.9 app=cache ports=53/UDP,53/TCP,8080/TCP";
const POLICY: &str = "
    redirect kube-system/p service=dns select=app=cache
      to dns 53/UDP
      to dns-tcp 53/TCP";
/// A policy that names an address, and what it comes to.
const ADDRESS: &str = "
    redirect kube-system/a address=169.254.20.10 select=app=cache
      from - 80/TCP
      to - 8080/TCP";
const ADDRESS_LED: &str = "
    169.254.20.10:80/TCP LocalRedirect #1 in=10.0.0.9:8080
    member #1 10.0.0.9:8080/TCP active";

/// The problems that the cluster's operator is told of after `script`.
fn problems(change: impl Fn(&mut Settings), script: &str) -> Vec<String> {
    let mut settings = Settings::new("here");
    change(&mut settings);
    let mut harness = Harness::new(settings);
    harness.run(script);
    harness.balancer.problems().iter().map(ToString::to_string).collect()
}

/// Nothing comes of a policy that names `ip`, besides `rest`, and the text says why.
fn refused(script: &str, ip: &str, why: &str, rest: &str) {
    let policy = format!(
        "{script}\n {CACHE}\n redirect kube-system/a address={ip} select=app=cache\n from - 80/TCP\n to - 8080/TCP"
    );
    check(&policy, rest);
    let text = format!(
        "local redirect policy kube-system/a redirects nothing: spec.redirectFrontend.addressMatcher.ip: {ip} {why}"
    );
    assert_eq!(problems(|_| {}, &policy), [text]);
}

#[test]
fn a_service_is_led_to_the_pods_of_the_node() {
    check(
        &format!("{DNS}\n{CACHE}\n{POLICY}"),
        "10.96.0.10:53/UDP ClusterIP-> #1 in=10.0.0.9:53
         10.96.0.10:53/TCP ClusterIP-> #2 in=10.0.0.9:53
         10.96.0.10:9153/TCP ClusterIP #3 in=10.0.1.1:9153
         10.96.0.10 other ports closed
         member #1 10.0.0.9:53/UDP active
         member #1 10.0.1.1:1053/UDP draining
         member #2 10.0.0.9:53/TCP active
         member #2 10.0.1.1:1053/TCP draining
         member #3 10.0.1.1:9153/TCP active",
    );
}

/// In whatever order they come.
#[test]
fn a_service_is_led_whenever_the_policy_comes() {
    let led = "10.96.0.10:53/UDP ClusterIP-> #1 in=10.0.0.9:53
         10.96.0.10:53/TCP ClusterIP-> #2 in=10.0.0.9:53
         10.96.0.10:9153/TCP ClusterIP #3 in=10.0.1.1:9153
         10.96.0.10 other ports closed
         member #1 10.0.0.9:53/UDP active
         member #1 10.0.1.1:1053/UDP draining
         member #2 10.0.0.9:53/TCP active
         member #2 10.0.1.1:1053/TCP draining
         member #3 10.0.1.1:9153/TCP active";
    check(&format!("{POLICY}\nsettle\n{CACHE}\nsettle\n{DNS}"), led);
    check(&format!("{DNS}\nsettle\n{POLICY}\nsettle\n{CACHE}"), led);
}

#[test]
fn a_service_has_its_own_backends_while_no_pod_of_the_node_is_ready() {
    for gone in [
        "remove local kube-system/cache",
        "local kube-system/cache 10.0.0.9 app=cache ports=53/UDP,53/TCP unready",
        "local kube-system/cache 10.0.0.9 app=other ports=53/UDP,53/TCP",
        "local kube-system/cache 10.0.0.9 app=cache ports=54/UDP,54/TCP",
        "local kube-system/cache fd00::9 app=cache ports=53/UDP,53/TCP",
        "remove redirect kube-system/p",
    ] {
        check(&format!("{DNS}\n{CACHE}\n{POLICY}\nsettle\n{gone}"), ALONE);
    }
}

#[test]
fn ports_are_found_by_number_and_by_name() {
    check(
        &format!(
            "{DNS}\n{CACHE}
             redirect kube-system/p service=dns select=app=cache
               from - 9153/TCP
               to - 8080/TCP"
        ),
        "10.96.0.10:53/UDP ClusterIP #1 in=10.0.1.1:1053
         10.96.0.10:53/TCP ClusterIP #2 in=10.0.1.1:1053
         10.96.0.10:9153/TCP ClusterIP-> #3 in=10.0.0.9:8080
         10.96.0.10 other ports closed
         member #1 10.0.1.1:1053/UDP active
         member #2 10.0.1.1:1053/TCP active
         member #3 10.0.0.9:8080/TCP active
         member #3 10.0.1.1:9153/TCP draining",
    );
    check(
        &format!(
            "{CACHE}
             redirect kube-system/a address=169.254.20.10 select=app=cache
               from dns 53/UDP
               from web 80/TCP
               from lost 81/TCP
               to web 8080/TCP
               to dns 53/UDP"
        ),
        "169.254.20.10:53/UDP LocalRedirect #1 in=10.0.0.9:53
         169.254.20.10:80/TCP LocalRedirect #2 in=10.0.0.9:8080
         member #1 10.0.0.9:53/UDP active
         member #2 10.0.0.9:8080/TCP active",
    );
}

/// Ports without an entry, and clients outside, are somebody else's: no row closes them.
#[test]
fn an_address_is_led_to_the_pods_of_the_node() {
    check(&format!("{CACHE}\n{ADDRESS}"), ADDRESS_LED);
}

#[test]
fn an_address_is_left_alone_while_no_pod_of_the_node_is_ready() {
    for gone in [
        "remove local kube-system/cache",
        "local kube-system/cache 10.0.0.9 app=cache ports=8080/TCP unready",
    ] {
        check(&format!("{CACHE}\n{ADDRESS}\nsettle\n{gone}"), "");
    }
}

#[test]
fn other_addresses_of_a_service_stay_with_it() {
    check(
        &format!(
            "service kube-system/dns 10.96.0.10 kind=LoadBalancer lb=192.0.2.1 affinity=600
               port - 53/UDP node=30053
             slice kube-system/dns-1 of=dns
               port - 1053/UDP
               endpoint 10.0.1.1
             {CACHE}
             redirect kube-system/p service=dns select=app=cache
               to - 53/UDP"
        ),
        "10.96.0.10:53/UDP ClusterIP-> #1 in=10.0.0.9:53
         10.96.0.10 other ports closed
         192.0.2.1:53/UDP LoadBalancer #1 in=10.0.1.1:1053 out=10.0.1.1:1053 affinity=600
         192.0.2.1 other ports closed
         0.0.0.0:30053/UDP NodePort #1 in=10.0.1.1:1053 out=10.0.1.1:1053 affinity=600
         member #1 10.0.0.9:53/UDP active
         member #1 10.0.1.1:1053/UDP active",
    );
}

/// Clients outside are no pods of this node.
#[test]
fn clients_outside_are_not_led() {
    check_with(
        |settings| settings.external_cluster_ip = true,
        &format!(
            "{DNS}\n{CACHE}\nredirect kube-system/p service=dns select=app=cache\nfrom - 9153/TCP\nto - 8080/TCP"
        ),
        "10.96.0.10:53/UDP ClusterIP #1 in=10.0.1.1:1053 out=10.0.1.1:1053
         10.96.0.10:53/TCP ClusterIP #2 in=10.0.1.1:1053 out=10.0.1.1:1053
         10.96.0.10:9153/TCP ClusterIP-> #3 in=10.0.0.9:8080 out=10.0.1.1:9153
         10.96.0.10 other ports closed
         member #1 10.0.1.1:1053/UDP active
         member #2 10.0.1.1:1053/TCP active
         member #3 10.0.0.9:8080/TCP active
         member #3 10.0.1.1:9153/TCP active",
    );
}

/// `skipRedirectFromBackend`: also a pod that is not ready yet asks the service itself.
#[test]
fn backends_are_spared() {
    let policy = "redirect kube-system/p service=dns select=app=cache spares\nfrom - 53/UDP\nto - 53/UDP";
    let booting = "local kube-system/booting 10.0.0.10 app=cache unready";
    let host = "local kube-system/host 192.168.0.1 app=cache unready host";
    check(
        &format!("{DNS}\n{CACHE}\n{booting}\n{host}\n{policy}\n{ADDRESS}"),
        "10.96.0.10:53/UDP ClusterIP-> #1 in=10.0.0.9:53 spared=10.0.1.1:1053 spares
         10.96.0.10:53/TCP ClusterIP #2 in=10.0.1.1:1053
         10.96.0.10:9153/TCP ClusterIP #3 in=10.0.1.1:9153
         10.96.0.10 other ports closed
         169.254.20.10:80/TCP LocalRedirect #4 in=10.0.0.9:8080
         member #1 0.0.0.0:0/UDP spared
         member #1 10.0.0.9:0/UDP spared
         member #1 10.0.0.9:53/UDP active
         member #1 10.0.0.10:0/UDP spared
         member #1 10.0.1.1:1053/UDP active
         member #2 10.0.1.1:1053/TCP active
         member #3 10.0.1.1:9153/TCP active
         member #4 10.0.0.9:8080/TCP active",
    );
    check(
        &format!(
            "{CACHE}\nredirect kube-system/a address=169.254.20.10 select=app=cache spares\nfrom - 80/TCP\nto - 8080/TCP"
        ),
        "169.254.20.10:80/TCP LocalRedirect #1 in=10.0.0.9:8080 spares
         member #1 10.0.0.9:0/TCP spared
         member #1 10.0.0.9:8080/TCP active",
    );
}

#[test]
fn hijack_of_a_cluster_ip_is_refused() {
    let why = "is an address of service kube-system/dns, which no policy may take by its address; use serviceMatcher in a policy of that service's namespace";
    refused(DNS, "10.96.0.10", why, ALONE);
    // By the other spelling, and of a service that this node does not serve.
    refused(
        "service shop/web 10.96.0.20 nodes=nowhere\nport - 80/TCP",
        "10.96.0.20",
        &why.replace("kube-system/dns", "shop/web"),
        "",
    );
}

/// A policy that came first gives way, and has its address again when the service goes: it broke nothing.
#[test]
fn hijack_of_a_cluster_ip_before_its_service_ends_with_the_service() {
    let service = "service shop/web 169.254.20.10\nport - 80/TCP\nslice shop/web-1 of=web\nport - 80/TCP\nendpoint 10.0.1.1";
    check(
        &format!("{CACHE}\n{ADDRESS}\nsettle\n{service}"),
        "169.254.20.10:80/TCP ClusterIP #2 in=10.0.1.1:80
         169.254.20.10 other ports closed
         member #2 10.0.1.1:80/TCP active",
    );
    check(
        &format!("{CACHE}\n{service}\n{ADDRESS}\nsettle\nremove redirect kube-system/a"),
        "169.254.20.10:80/TCP ClusterIP #1 in=10.0.1.1:80
         169.254.20.10 other ports closed
         member #1 10.0.1.1:80/TCP active",
    );
    check(
        &format!(
            "{CACHE}\n{ADDRESS}\n{service}\nsettle\nremove service shop/web\nsettle\nremove slice shop/web-1"
        ),
        "169.254.20.10:80/TCP LocalRedirect #2 in=10.0.0.9:8080
         member #2 10.0.0.9:8080/TCP active",
    );
}

/// Another port of the same address is as little free.
#[test]
fn hijack_of_a_load_balancer_address_is_refused() {
    refused(
        "service shop/web 10.96.0.20 kind=LoadBalancer proxy-lb=192.0.2.1\nport - 443/TCP",
        "192.0.2.1",
        "is an address of service shop/web, which no policy may take by its address; use serviceMatcher in a policy of that service's namespace",
        "10.96.0.20:443/TCP ClusterIP #1 in=refuse\n10.96.0.20 other ports closed",
    );
}

#[test]
fn hijack_of_the_api_server_is_refused() {
    refused(
        "slice default/kubernetes of=kubernetes\nport https 6443/TCP\nendpoint 172.16.0.1",
        "172.16.0.1",
        "is an address of the API server, which no policy may take",
        "",
    );
}

#[test]
fn hijack_of_a_node_is_refused() {
    refused(
        "nodes 192.168.0.1,192.168.0.2",
        "192.168.0.2",
        "is an address of a node, which no policy may take",
        "",
    );
}

#[test]
fn hijack_of_a_pod_is_refused() {
    let why = "lies among the addresses of pods (10.0.1.0/24), which no policy may take";
    refused("cidrs 10.0.0.0/24,10.0.1.0/24", "10.0.1.77", why, "");
}

#[test]
fn hijack_of_everything_is_refused() {
    let why = "is no address that can be redirected; name one outside of nodes, pods and services";
    for ip in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"] {
        refused("", ip, why, "");
    }
}

/// What is refused is looked at again when its reason goes, and what was not when one comes.
#[test]
fn refusals_follow_the_nodes() {
    check(&format!("nodes 169.254.20.10\n{CACHE}\n{ADDRESS}\nsettle\nnodes 192.168.0.1"), ADDRESS_LED);
    check(&format!("{CACHE}\n{ADDRESS}\nsettle\nnodes 169.254.20.10"), "");
    check(&format!("{CACHE}\n{ADDRESS}\nsettle\ncidrs 169.254.0.0/16"), "");
    let api = "slice default/kubernetes of=kubernetes\nport https 6443/TCP\nendpoint 169.254.20.10";
    check(&format!("{CACHE}\n{ADDRESS}\nsettle\n{api}"), "");
}

#[test]
fn addresses_that_the_cluster_does_not_allow_are_refused() {
    let allow = |net: &'static str| {
        move |settings: &mut Settings| settings.redirect_cidrs = vec![net.parse().unwrap()]
    };
    check_with(allow("169.254.20.0/24"), &format!("{CACHE}\n{ADDRESS}"), ADDRESS_LED);
    check_with(allow("169.254.169.254/32"), &format!("{CACHE}\n{ADDRESS}"), "");
    let text = problems(allow("169.254.169.254/32"), &format!("{CACHE}\n{ADDRESS}")).join("\n");
    assert!(text.contains("169.254.20.10 is outside of the addresses"), "{text}");
    // The list is about addresses alone.
    let service = "redirect kube-system/p service=dns select=app=cache\nfrom - 9153/TCP\nto - 8080/TCP";
    assert_eq!(problems(allow("169.254.169.254/32"), &format!("{DNS}\n{CACHE}\n{service}")), [""; 0]);
}

/// Neither the service nor the pods of a policy are those of another namespace, whatever they are called.
#[test]
fn a_policy_does_not_reach_out_of_its_namespace() {
    let policy = POLICY.replace("kube-system/p", "tenant/p");
    check(
        &format!("{DNS}\n{CACHE}\n{policy}\nlocal tenant/evil 10.0.0.66 app=cache ports=53/UDP,53/TCP"),
        ALONE,
    );
    check(&format!("{DNS}\nlocal tenant/evil 10.0.0.66 app=cache ports=53/UDP,53/TCP\n{POLICY}"), ALONE);
    check(&format!("{ADDRESS}\nlocal tenant/evil 10.0.0.66 app=cache ports=8080/TCP"), "");
    // Nor by a name that begins alike.
    check(&format!("{ADDRESS}\nlocal kube-system-2/evil 10.0.0.66 app=cache ports=8080/TCP"), "");
}

#[test]
fn of_two_policies_the_older_counts() {
    let second =
        "redirect kube-system/q service=dns select=app=cache created=5\nfrom - 9153/TCP\nto - 8080/TCP";
    let script = format!("{DNS}\n{CACHE}\n{second}\n{}", POLICY.replace("select", "created=9 select"));
    check(
        &script,
        "10.96.0.10:53/UDP ClusterIP #1 in=10.0.1.1:1053
         10.96.0.10:53/TCP ClusterIP #2 in=10.0.1.1:1053
         10.96.0.10:9153/TCP ClusterIP-> #3 in=10.0.0.9:8080
         10.96.0.10 other ports closed
         member #1 10.0.1.1:1053/UDP active
         member #2 10.0.1.1:1053/TCP active
         member #3 10.0.0.9:8080/TCP active
         member #3 10.0.1.1:9153/TCP draining",
    );
    assert_eq!(
        problems(|_| {}, &script),
        [
            "local redirect policy kube-system/p redirects nothing: kube-system/q, which is older, redirects service kube-system/dns; delete one of them"
        ]
    );
    let other = ADDRESS.replace("/a", "/b").replace("select", "created=9 select");
    let script = format!("{CACHE}\n{other}\n{ADDRESS}");
    check(&script, &format!("{ADDRESS_LED}\nmember #2 10.0.0.9:8080/TCP active"));
    let text = problems(|_| {}, &script).join("\n");
    assert!(
        text.starts_with("local redirect policy kube-system/b is not served at 169.254.20.10:80/TCP"),
        "{text}"
    );
}

/// A new agent over the same kernel writes nothing that is there.
#[test]
fn a_restart_changes_nothing() {
    let script = format!("{DNS}\n{CACHE}\n{POLICY}\n{ADDRESS}");
    let mut harness = Harness::new(Settings::new("here"));
    harness.run(&script);
    let before = harness.kernel.writes;
    harness.restart(Settings::new("here"));
    harness.run(&script);
    assert_eq!(harness.kernel.writes, before);
}

#[test]
fn views_show_where_it_leads() {
    let mut harness = Harness::new(Settings::new("here"));
    harness.run(&format!("{DNS}\n{CACHE}\n{POLICY}\n{ADDRESS}"));
    let lines: Vec<String> = harness
        .balancer
        .services()
        .iter()
        .map(|view| {
            let backends: Vec<String> =
                view.backends.iter().map(|b| format!("{}:{}/{}", b.address, b.port, b.internal)).collect();
            format!("{}:{} {} {} {}", view.address, view.port, view.kind, view.owner, backends.join(","))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "10.96.0.10:53 LocalRedirect service kube-system/dns 10.0.0.9:53/true",
            "10.96.0.10:53 LocalRedirect service kube-system/dns 10.0.0.9:53/true",
            "10.96.0.10:9153 ClusterIP service kube-system/dns 10.0.1.1:9153/true",
            "169.254.20.10:80 LocalRedirect local redirect policy kube-system/a 10.0.0.9:8080/true",
        ]
    );
    let policies = harness.balancer.redirects();
    let shown: Vec<String> = policies
        .iter()
        .map(|view| {
            let frontends = view.frontends.iter().map(|(key, backends)| {
                let pods = backends.iter().filter_map(|(pod, _)| pod.map(ToString::to_string));
                format!("{}:{} {}", key.addr, u16::from_be(key.port), pods.collect::<Vec<_>>().join(","))
            });
            format!("{}: {}", view.policy.name, frontends.collect::<Vec<_>>().join("; "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "kube-system/a: 169.254.20.10:80 kube-system/cache",
            "kube-system/p: 10.96.0.10:53 kube-system/cache; 10.96.0.10:53 kube-system/cache",
        ]
    );
}
