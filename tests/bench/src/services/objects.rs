//! Services and EndpointSlices as they are written to the API server. Nothing here touches the system.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The port of every service.
pub(super) const PORT: u16 = 80;
/// Label of the invented ones.
const LABEL: &str = "bench";
/// The first cluster IP of invented ones; the lab's range is 10.96.0.0/16.
const CLUSTER_IP: u32 = 0x0a60_4000;
/// So many addresses before it belong to the real ones: the API server's choice might be one that is to be an invented one's.
const REAL: u32 = 0x2000;
/// The first address of invented endpoints. Nobody has them; they lie in the native-routing range.
const INVENTED: u32 = 0x0a80_0000;
/// Addresses set aside for the endpoints of a service.
const STRIDE: u32 = 16;

/// Name of an invented service.
pub(super) fn invented_name(number: u32) -> String {
    format!("invented-{number}")
}

/// A service that nobody asks for and the claim of its address, as the API server would store them: key and object each.
/// `created` (RFC 3339) should be now: old claims whose service the API server has not seen yet are removed.
pub(super) fn stored_service(number: u32, created: &str) -> [(String, Value); 2] {
    let name = invented_name(number);
    let ip = Ipv4Addr::from(CLUSTER_IP + number).to_string();
    let mut service = service(&name, &json!({LABEL: "invented"}), &json!({}));
    service["metadata"]["uid"] = format!("00000000-0000-4000-8000-{number:012}").into();
    service["metadata"]["creationTimestamp"] = created.into();
    service["spec"] = json!({
        "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"port": PORT, "targetPort": PORT, "protocol": "TCP"}],
    });
    service["status"] = json!({"loadBalancer": {}});
    let claim = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": ip, "uid": format!("00000000-0000-4000-9000-{number:012}"), "creationTimestamp": created,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"group": "", "resource": "services", "namespace": "default", "name": name}},
    });
    [
        (format!("/registry/services/specs/default/{name}"), service),
        (format!("/registry/ipaddresses/{ip}"), claim),
    ]
}

/// Its slice, with endpoints of its own that nobody answers at.
pub(super) fn invented_slice(number: u32, endpoints: u32) -> Value {
    slice(&invented_name(number), &invented_endpoints(number, endpoints), 8080)
}

/// The endpoints of an invented service, as a slice has them.
pub(super) fn invented_endpoints(number: u32, endpoints: u32) -> Vec<Value> {
    let address = |k| Ipv4Addr::from(INVENTED + number * STRIDE + k);
    (0..endpoints.min(STRIDE)).map(|k| endpoint(address(k))).collect()
}

/// A service with one endpoint that answers.
pub(super) fn real(name: &str, to: Ipv4Addr, port: u16) -> [Value; 2] {
    let mut service = service(name, &json!({}), &json!({}));
    service["spec"]["clusterIP"] = real_ip(name);
    [service, slice(name, &[endpoint(to)], port)]
}

/// An address that follows from the name. Should two ever be alike, the API server refuses the second.
fn real_ip(name: &str) -> Value {
    let hash = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    Ipv4Addr::from(CLUSTER_IP - REAL + hash % REAL).to_string().into()
}

/// The same with a port of every node; `forwarding` is the annotation's value.
pub(super) fn node_port(name: &str, node_port: u16, forwarding: &str, to: Ipv4Addr, port: u16) -> [Value; 2] {
    let mut service = service(name, &json!({}), &json!({"service.cilium.io/forwarding-mode": forwarding}));
    service["spec"]["type"] = "NodePort".into();
    service["spec"]["clusterIP"] = real_ip(name);
    service["spec"]["ports"][0]["nodePort"] = node_port.into();
    [service, slice(name, &[endpoint(to)], port)]
}

/// Objects as one.
pub(super) fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Name of a service's slice.
pub(super) fn slice_name(service: &str) -> String {
    format!("{service}-bench")
}

fn service(name: &str, labels: &Value, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": labels, "annotations": annotations},
        "spec": {"ports": [{"port": PORT, "protocol": "TCP"}]},
    })
}

fn slice(service: &str, endpoints: &[Value], port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(service),
            "namespace": "default",
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "axoneme-bench",
            },
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    })
}

fn endpoint(address: Ipv4Addr) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn invented_endpoints_are_all_different() {
        let all: BTreeSet<String> = (0..30_000)
            .flat_map(|number| invented_endpoints(number, 10))
            .map(|endpoint| endpoint["addresses"][0].to_string())
            .collect();
        assert_eq!(all.len(), 300_000);
        assert!(all.iter().all(|address| address.starts_with("\"10.")), "inside the native-routing range");
    }

    #[test]
    fn objects_are_what_kubernetes_reads() {
        use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice, networking::v1::IPAddress};
        let [(key, stored), (_, claim)] = stored_service(29_999, "2026-01-01T00:00:00Z");
        assert_eq!(key, "/registry/services/specs/default/invented-29999");
        let stored: Service = serde_json::from_value(stored).expect("a Service");
        let claim: IPAddress = serde_json::from_value(claim).expect("an IPAddress");
        assert_eq!(stored.spec.and_then(|spec| spec.cluster_ip), claim.metadata.name);
        assert_eq!(claim.metadata.name.as_deref(), Some("10.96.181.47"));
        let [service, slice] = node_port("a", 30_080, "dsr", Ipv4Addr::LOCALHOST, 81);
        let service: Service = serde_json::from_value(service).expect("a Service");
        let slice: EndpointSlice = serde_json::from_value(slice).expect("an EndpointSlice");
        let port = service.spec.and_then(|spec| spec.ports).and_then(|ports| ports[0].node_port);
        assert_eq!(port, Some(30_080));
        assert_eq!(slice.endpoints.len(), 1);
        let ips: BTreeSet<String> = (0..8).map(|n| real_ip(&format!("real-{n}")).to_string()).collect();
        assert!(ips.len() == 8 && ips.iter().all(|ip| ip.starts_with("\"10.96.")), "{ips:?}");
    }
}
