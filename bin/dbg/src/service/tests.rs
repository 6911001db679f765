use super::*;
use serde_json::{Value, json};

/// The cluster of seed 001, its system services left out.
fn services() -> Vec<Service> {
    let backend = |ip: &str, port: u16, state: &str| json!({ "ip": ip, "port": port, "protocol": "TCP", "state": state, "weight": 100, "nodeName": "worker" });
    let pods = json!([backend("10.0.2.6", 80, "active"), backend("10.0.1.145", 80, "active")]);
    let service = |id: u32, ip: &str, port: u16, scope: &str, kind: &str, backends: &Value| {
        let spec = json!({
            "id": id,
            "frontend-address": { "ip": ip, "port": port, "protocol": "TCP", "scope": scope },
            "backend-addresses": backends,
            "flags": { "type": kind, "name": "serversvc", "namespace": "default" },
        });
        json!({ "spec": spec, "status": { "realized": spec } })
    };
    let api = json!([backend("172.18.0.3", 6443, "active")]);
    let leaving = json!([backend("fd00::6", 80, "terminating")]);
    serde_json::from_value(json!([
        service(2, "10.96.0.1", 443, "external", "ClusterIP", &api),
        service(8, "10.96.195.193", 80, "external", "ClusterIP", &pods),
        service(9, "172.18.0.2", 32_000, "external", "NodePort", &pods),
        service(10, "0.0.0.0", 32_000, "external", "NodePort", &pods),
        service(11, "::", 32_000, "external", "NodePort", &json!([])),
        service(12, "::", 32_000, "internal", "NodePort", &leaving),
    ]))
    .expect("services")
}

fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn the_list() {
    let expected = "\
ID   Frontend               Service Type   Backend
2    10.96.0.1:443/TCP      ClusterIP      1 => 172.18.0.3:6443/TCP (active)
8    10.96.195.193:80/TCP   ClusterIP      1 => 10.0.2.6:80/TCP (active)
                                           2 => 10.0.1.145:80/TCP (active)
9    172.18.0.2:32000/TCP   NodePort       1 => 10.0.2.6:80/TCP (active)
                                           2 => 10.0.1.145:80/TCP (active)
10   0.0.0.0:32000/TCP      NodePort       1 => 10.0.2.6:80/TCP (active)
                                           2 => 10.0.1.145:80/TCP (active)
11   [::]:32000/TCP         NodePort
12   [::]:32000/TCP/i       NodePort       1 => [fd00::6]:80/TCP (terminating)
";
    assert_eq!(trimmed(&list(&services(), false)), expected);
    assert_eq!(trimmed(&list(&[], false)), "ID   Frontend   Service Type   Backend\n");
}

#[test]
fn other_clusters() {
    let mut services = services();
    services[0].spec.flags.cluster = "west".to_owned();
    services[0].status.realized.backend_addresses[0].preferred = true;
    let text = list(&services[..1], true);
    assert!(text.contains("ClusterIP (Remote)   1 => 172.18.0.3:6443/TCP (active) (preferred)"), "{text}");
    assert!(!list(&services[..1], false).contains("preferred"));
}

#[test]
fn the_json() {
    let services = serde_json::to_value(services()).expect("JSON");
    assert_eq!(services.pointer("/0/spec/flags/type"), Some(&json!("ClusterIP")));
    let realized = "/1/status/realized";
    let at = |path: &str| services.pointer(&format!("{realized}/{path}"));
    assert_eq!(at("id"), Some(&json!(8)));
    let frontend = json!({ "ip": "10.96.195.193", "port": 80, "protocol": "TCP", "scope": "external" });
    assert_eq!(at("frontend-address"), Some(&frontend));
    assert_eq!(at("backend-addresses/1/nodeName"), Some(&json!("worker")));
    assert_eq!(at("backend-addresses/1/weight"), Some(&json!(100)));
    assert_eq!(at("flags/namespace"), Some(&json!("default")));
}
