//! What the command line, load balancers and flows ask.

mod common;

use std::net::IpAddr;

use axoneme_services::{Health, ObjectName, Settings};
use common::Harness;

const WEB: &str = "
    service default/web 10.96.0.1 kind=LoadBalancer lb=192.0.2.1 etp=Local health=32100
      port http 80/TCP node=30080
    slice default/web-1 of=web
      port http 8080/TCP
      endpoint 10.0.0.1 on=here zone=a
      endpoint 10.0.0.2 on=there zone=b
      endpoint 10.0.0.3 on=here leaving
      endpoint 10.0.0.4 on=here gone
      endpoint 10.0.0.5 on=here unready
    pod default/p 10.0.0.9
      hostport 8080/TCP to=80";

fn harness(script: &str) -> Harness {
    let mut harness = Harness::new(Settings::new("here"));
    harness.run(script);
    harness
}

/// As `cilium-dbg service list` prints it, with who may be led where.
fn list(harness: &Harness) -> Vec<String> {
    let mut lines = Vec::new();
    for view in harness.balancer.services() {
        let of = &view.owner;
        lines.push(format!(
            "{} {}:{}/{} {} {of}",
            view.number, view.address, view.port, view.protocol, view.kind
        ));
        lines.extend(view.backends.iter().map(|backend| {
            let side = |led, text| if led { text } else { "" };
            let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
            let (node, zone) = (text(&backend.node), text(&backend.zone));
            format!(
                "  {}:{} ({}) {node} {zone}{}{}",
                backend.address,
                backend.port,
                backend.state,
                side(backend.internal, " in"),
                side(backend.external, " out")
            )
        }));
    }
    lines
}

#[test]
fn service_list() {
    let others = [
        "  10.0.0.3:8080 (terminating) here -",
        "  10.0.0.4:8080 (terminating-not-serving) here -",
        "  10.0.0.5:8080 (not-ready) here -",
    ];
    let inside = ["  10.0.0.1:8080 (active) here a in", "  10.0.0.2:8080 (active) there b in"];
    let both = ["  10.0.0.1:8080 (active) here a in out", "  10.0.0.2:8080 (active) there b in"];
    let expected = [
        &["1 10.96.0.1:80/TCP ClusterIP service default/web"][..],
        &inside,
        &others,
        &["1 0.0.0.0:30080/TCP NodePort service default/web"],
        &both,
        &others,
        &["1 192.0.2.1:80/TCP LoadBalancer service default/web"],
        &both,
        &others,
        &["2 0.0.0.0:8080/TCP HostPort pod default/p", "  10.0.0.9:80 (active) here - in out"],
    ];
    assert_eq!(list(&harness(WEB)), expected.concat());
}

/// Who does not have a frontend does not show it.
#[test]
fn contested_frontends_are_shown_once() {
    let both = format!(
        "{WEB}\nservice default/young 10.96.0.2 lb=192.0.2.1 kind=LoadBalancer created=9\n port x 80/TCP"
    );
    let shown = list(&harness(&both));
    let of_young: Vec<&String> = shown.iter().filter(|line| line.ends_with("default/young")).collect();
    assert_eq!(of_young, ["3 10.96.0.2:80/TCP ClusterIP service default/young"]);
}

#[test]
fn health_of_local_endpoints() {
    let mut harness = harness(WEB);
    let health = |harness: &Harness| harness.balancer.health().cloned().collect::<Vec<_>>();
    let web = |local_endpoints| Health {
        port: 32_100,
        service: ObjectName::new("default", "web"),
        local_endpoints,
    };
    assert_eq!(health(&harness), [web(1)]);
    harness.run("slice default/web-1 of=web\n port http 8080/TCP\n endpoint 10.0.0.2 on=there");
    assert_eq!(health(&harness), [web(0)]);
    harness.run(
        "slice default/web-1 of=web
           port http 8080/TCP
           endpoint 10.0.0.1 on=here
           endpoint 10.0.0.2 on=here
         slice default/web-2 of=web
           port http 8080/TCP
           endpoint fd00::1 on=here
           endpoint fd00::2 on=here",
    );
    assert_eq!(health(&harness), [web(2)], "pods of two families count once");
    harness.run("remove slice default/web-2");
    for other in ["etp=Cluster", "kind=NodePort", "not-here", "health=0"] {
        harness.run(&WEB.replace("health=32100", &format!("health=32100 {other}")));
        assert_eq!(health(&harness), [], "{other}");
    }
    harness.run(WEB);
    assert_eq!(health(&harness), [web(1)]);
    harness.run("remove service default/web");
    assert_eq!(health(&harness), []);
}

#[test]
fn names_of_frontends() {
    let mut harness = harness(WEB);
    let name = |harness: &Harness, ip: &str, port| {
        let ip: IpAddr = ip.parse().unwrap();
        harness.balancer.name_of(ip, port).map(|name| name.to_string())
    };
    let web = Some("default/web".to_owned());
    assert_eq!(name(&harness, "10.96.0.1", 80), web);
    assert_eq!(name(&harness, "192.0.2.1", 80), web);
    assert_eq!(name(&harness, "::ffff:192.0.2.1", 80), web);
    assert_eq!(name(&harness, "192.0.2.1", 81), None);
    assert_eq!(name(&harness, "192.0.2.1", 0), None);
    assert_eq!(name(&harness, "192.168.0.1", 30080), None, "whose address that is, nobody has said");
    harness.run("nodes 192.168.0.1");
    assert_eq!(name(&harness, "192.168.0.1", 30080), web);
    assert_eq!(name(&harness, "192.168.0.1", 8080), None, "a pod's, and no service's");
    assert_eq!(name(&harness, "192.168.0.1", 80), None);
}
