//! Which endpoints a client is led to.

mod common;

use common::{check, check_with};

/// What a service of kind LoadBalancer shows of the endpoints: (cluster IP inside, load balancer inside and outside).
fn expect(options: &str, endpoints: &str, cluster_ip: &str, inside: &str, outside: &str, members: &str) {
    expect_with(|_| {}, options, endpoints, cluster_ip, inside, outside, members);
}

fn expect_with(
    change: impl Fn(&mut axoneme_services::Settings),
    options: &str,
    endpoints: &str,
    cluster_ip: &str,
    inside: &str,
    outside: &str,
    members: &str,
) {
    let ports = |list: &str| {
        let mut all: Vec<String> = list.split(',').map(|ip| ip.to_owned()).collect();
        all.iter_mut()
            .filter(|ip| ip.starts_with(char::is_numeric))
            .for_each(|ip| *ip = format!("10.0.0.{ip}:8080"));
        all.join(",")
    };
    let script = format!(
        "service default/web 10.96.0.1 kind=LoadBalancer lb=192.0.2.1 {options}
           port http 80/TCP
         slice default/web-1 of=web
           port http 8080/TCP
           {endpoints}"
    );
    let expected = format!(
        "10.96.0.1:80/TCP ClusterIP #1 in={}
         10.96.0.1 other ports closed
         192.0.2.1:80/TCP LoadBalancer #1 in={} out={}
         192.0.2.1 other ports closed
         {}",
        ports(cluster_ip),
        ports(inside),
        ports(outside),
        members
            .split_whitespace()
            .map(|member| {
                let (ip, state) = member.split_once('=').expect("ip=state");
                format!("member #1 10.0.0.{ip}:8080/TCP {state}\n")
            })
            .collect::<String>()
    );
    check_with(change, &script, &expected);
}

const BOTH: &str = "endpoint 10.0.0.1 on=here
                    endpoint 10.0.0.2 on=there";

#[test]
fn local_policies() {
    let active = "1=active 2=active";
    expect("", BOTH, "1,2", "1,2", "1,2", active);
    expect("etp=Local", BOTH, "1,2", "1,2", "1", active);
    expect("itp=Local", BOTH, "1", "1,2", "1,2", active);
    expect("etp=Local itp=Local", BOTH, "1", "1,2", "1", active);
}

/// Some endpoint, but none here: drop, as another node could serve. No endpoint at all: refuse.
#[test]
fn local_policies_without_local_endpoints() {
    let remote = "endpoint 10.0.0.2 on=there";
    expect("etp=Local", remote, "2", "2", "drop", "2=active");
    expect("itp=Local", remote, "drop", "2", "2", "2=active");
    expect("etp=Local itp=Local", remote, "drop", "2", "drop", "2=active");
    let unready = "endpoint 10.0.0.2 on=there unready";
    expect("etp=Local itp=Local", unready, "refuse", "refuse", "refuse", "2=draining");
    expect("etp=Local itp=Local", "", "refuse", "refuse", "refuse", "");
}

/// KEP-1669: terminating endpoints that still serve step in if nobody is ready, for local policies among local ones.
#[test]
fn terminating_endpoints() {
    let ready_there = "endpoint 10.0.0.1 on=here leaving
                       endpoint 10.0.0.2 on=there
                       endpoint 10.0.0.3 on=here gone
                       endpoint 10.0.0.4 on=here unready";
    expect("", ready_there, "2", "2", "2", "1=draining 2=active 3=draining 4=draining");
    expect("etp=Local", ready_there, "2", "2", "1", "1=active 2=active 3=draining 4=draining");
    expect("itp=Local", ready_there, "1", "2", "2", "1=active 2=active 3=draining 4=draining");
    let none_ready = "endpoint 10.0.0.1 on=here leaving
                      endpoint 10.0.0.2 on=there leaving
                      endpoint 10.0.0.3 on=here gone";
    expect("", none_ready, "1,2", "1,2", "1,2", "1=active 2=active 3=draining");
    expect("etp=Local", none_ready, "1,2", "1,2", "1", "1=active 2=active 3=draining");
    let ready_here = "endpoint 10.0.0.1 on=here leaving
                      endpoint 10.0.0.2 on=here";
    expect("etp=Local itp=Local", ready_here, "2", "2", "2", "1=draining 2=active");
    let leaving_there = "endpoint 10.0.0.2 on=there leaving";
    expect("etp=Local itp=Local", leaving_there, "drop", "2", "drop", "2=active");
    let gone = "endpoint 10.0.0.1 on=here gone";
    expect("", gone, "refuse", "refuse", "refuse", "1=draining");
}

/// `publishNotReadyAddresses`: slices say ready, also of those that are terminating.
#[test]
fn not_ready_but_published() {
    expect("", "endpoint 10.0.0.1 leaving-ready", "1", "1", "1", "1=active");
}

#[test]
fn zone_hints() {
    let in_a = |settings: &mut axoneme_services::Settings| {
        settings.topology = true;
        settings.zone = Some("a".into());
    };
    let hinted = "endpoint 10.0.0.1 on=here for-zones=a
                  endpoint 10.0.0.2 on=there for-zones=a,b
                  endpoint 10.0.0.3 on=here for-zones=b
                  endpoint 10.0.0.4 on=there leaving";
    let members = "1=active 2=active 3=draining 4=draining";
    expect_with(in_a, "", hinted, "1,2", "1,2", "1,2", members);
    // Not for policies that are local anyway.
    expect_with(in_a, "etp=Local", hinted, "1,2", "1,2", "1,3", "1=active 2=active 3=active 4=draining");
    expect_with(in_a, "itp=Local", hinted, "1,3", "1,2", "1,2", "1=active 2=active 3=active 4=draining");
    let all = "1=active 2=active 3=active 4=draining";
    expect("", hinted, "1,2,3", "1,2,3", "1,2,3", all);
    let in_c = |settings: &mut axoneme_services::Settings| {
        settings.topology = true;
        settings.zone = Some("c".into());
    };
    expect_with(in_c, "", hinted, "1,2,3", "1,2,3", "1,2,3", all);
    expect_with(|settings| settings.topology = true, "", hinted, "1,2,3", "1,2,3", "1,2,3", all);
    // One ready endpoint without a hint: the hints are being made.
    let partly = hinted.replace(" for-zones=b", "");
    expect_with(in_a, "", &partly, "1,2,3", "1,2,3", "1,2,3", all);
    // Hints say nothing about those that step in.
    let leaving = "endpoint 10.0.0.1 for-zones=a leaving
                   endpoint 10.0.0.2 for-zones=b leaving";
    expect_with(in_a, "", leaving, "1,2", "1,2", "1,2", "1=active 2=active");
}

#[test]
fn node_hints_come_before_zone_hints() {
    let in_a = |settings: &mut axoneme_services::Settings| {
        settings.topology = true;
        settings.zone = Some("a".into());
    };
    let here = "endpoint 10.0.0.1 for-zones=a for-nodes=here
                endpoint 10.0.0.2 for-zones=a for-nodes=there
                endpoint 10.0.0.3 for-zones=b for-nodes=there";
    expect_with(in_a, "", here, "1", "1", "1", "1=active 2=draining 3=draining");
    let elsewhere = here.replace("for-nodes=here", "for-nodes=elsewhere");
    expect_with(in_a, "", &elsewhere, "1,2", "1,2", "1,2", "1=active 2=active 3=draining");
    let partly = here.replace(" for-nodes=here", "");
    expect_with(in_a, "", &partly, "1,2", "1,2", "1,2", "1=active 2=active 3=draining");
}

#[test]
fn the_zone_may_change() {
    let script = |zone: &str| {
        format!(
            "zone a
             service default/web 10.96.0.1
               port - 80/TCP
             slice default/web-1 of=web
               port - 8080/TCP
               endpoint 10.0.0.1 for-zones=a
               endpoint 10.0.0.2 for-zones=b
             settle
             zone {zone}"
        )
    };
    let rows = |backends: &str, one: &str, two: &str| {
        format!(
            "10.96.0.1:80/TCP ClusterIP #1 in={backends}
             10.96.0.1 other ports closed
             member #1 10.0.0.1:8080/TCP {one}
             member #1 10.0.0.2:8080/TCP {two}"
        )
    };
    let topology = |settings: &mut axoneme_services::Settings| settings.topology = true;
    check_with(topology, &script("a"), &rows("10.0.0.1:8080", "active", "draining"));
    check_with(topology, &script("b"), &rows("10.0.0.2:8080", "draining", "active"));
    check_with(topology, &script("-"), &rows("10.0.0.1:8080,10.0.0.2:8080", "active", "active"));
}

/// While the controller moves an endpoint from slice to slice, two have it.
#[test]
fn an_endpoint_in_two_slices() {
    check(
        "service default/web 10.96.0.1 itp=Local
           port - 80/TCP
         slice default/web-1 of=web
           port - 8080/TCP
           endpoint 10.0.0.1 on=here unready
           endpoint 10.0.0.2 leaving
         slice default/web-2 of=web
           port - 8080/TCP
           endpoint 10.0.0.1 on=here
           endpoint 10.0.0.2 on=here gone",
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080
         10.96.0.1 other ports closed
         member #1 10.0.0.1:8080/TCP active
         member #1 10.0.0.2:8080/TCP draining",
    );
}

#[test]
fn all_addresses_of_an_endpoint_count() {
    check(
        "service default/web 10.96.0.1
           port - 80/TCP
         slice default/web-1 of=web
           port - 8080/TCP
           endpoint 10.0.0.2,10.0.0.1",
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080,10.0.0.2:8080
         10.96.0.1 other ports closed
         member #1 10.0.0.1:8080/TCP active
         member #1 10.0.0.2:8080/TCP active",
    );
}

#[test]
fn the_labels_of_the_node_may_change() {
    let script = |labels: &str| {
        format!(
            "labels disk=ssd,service.cilium.io/node=a
             service default/web 10.96.0.1 nodes=disk=ssd
               port - 80/TCP
             service default/all 10.96.0.2
               port - 80/TCP
             settle
             labels {labels}"
        )
    };
    let all = "10.96.0.2:80/TCP ClusterIP #1 in=refuse\n10.96.0.2 other ports closed";
    check(
        &script("disk=ssd"),
        &format!("{all}\n10.96.0.1:80/TCP ClusterIP #2 in=refuse\n10.96.0.1 other ports closed"),
    );
    check(&script("disk=hdd"), all);
    check(&script("-"), all);
}
