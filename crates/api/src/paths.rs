//! Where the socket is and what can be asked on it. All answers are JSON.

/// The agent's socket.
pub const SOCKET: &str = "/var/run/cilium/cilium.sock";
/// Names another socket; read by the tools only.
pub const SOCKET_ENV: &str = "CILIUM_SOCK";

/// GET: 200 with [`crate::status::Health`] once the agent can serve pods, 503 with an [`crate::ErrorBody`] before.
pub const HEALTH: &str = "/v1/healthz";
/// GET → [`crate::status::Status`].
pub const STATUS: &str = "/v1/status";
/// GET → [`crate::health::HealthStatus`]: the last round of probes between nodes.
pub const CLUSTER_HEALTH: &str = "/v1/cluster-health";
/// POST → [`crate::health::HealthStatus`], after a round that is made for this question.
pub const CLUSTER_HEALTH_PROBE: &str = "/v1/cluster-health/probe";
/// GET → [`crate::status::Version`].
pub const VERSION: &str = "/v1/version";

/// POST [`crate::cni::AllocateRequest`] → [`crate::cni::AllocateResponse`].
pub const CNI_ALLOCATE: &str = "/v1/cni/allocate";
/// POST [`crate::cni::AttachRequest`] → [`crate::cni::AttachResponse`], when the pod's policy is in the kernel.
pub const CNI_ATTACH: &str = "/v1/cni/attach";
/// POST [`crate::cni::CheckRequest`] → [`crate::cni::CheckResponse`].
pub const CNI_CHECK: &str = "/v1/cni/check";
/// DELETE, see [`cni_release`]; the pattern as an axum route.
pub const CNI_RELEASE: &str = "/v1/cni/{container_id}/{ifname}";

/// GET → `Vec<`[`crate::endpoint::Endpoint`]`>`.
pub const ENDPOINTS: &str = "/v1/endpoint";
/// GET → one [`crate::endpoint::Endpoint`]; the pattern as an axum route, `id` as in [`endpoint`].
pub const ENDPOINT: &str = "/v1/endpoint/{id}";
/// GET → `Vec<`[`crate::identity::Identity`]`>`.
pub const IDENTITIES: &str = "/v1/identity";
/// GET → one [`crate::identity::Identity`].
pub const IDENTITY: &str = "/v1/identity/{id}";
/// GET → `Vec<`[`crate::identity::IdentityUse`]`>`: identities of this node's endpoints and how many have each.
pub const IDENTITY_ENDPOINTS: &str = "/v1/identity/endpoints";
/// GET → [`crate::policy::Policy`].
pub const POLICY: &str = "/v1/policy";
/// GET → `Vec<`[`crate::policy::Selector`]`>`.
pub const POLICY_SELECTORS: &str = "/v1/policy/selectors";
/// POST [`crate::policy::TraceRequest`] → [`crate::policy::Trace`].
pub const POLICY_TRACE: &str = "/v1/policy/trace";
/// POST a flow as JSON, as `hubble observe -o json` prints it → [`crate::policy::Explanation`].
pub const POLICY_EXPLAIN: &str = "/v1/policy/explain";
/// GET → `Vec<`[`crate::node::IpEntry`]`>`.
pub const IPS: &str = "/v1/ip";
/// GET → `Vec<`[`crate::node::Node`]`>`.
pub const NODES: &str = "/v1/node";

/// GET → `Vec<`[`crate::service::Service`]`>`, sorted by number; none if kube-proxy serves the services.
pub const SERVICES: &str = "/v1/service";
/// GET → one [`crate::service::Service`].
pub const SERVICE: &str = "/v1/service/{id}";
/// GET → `Vec<`[`crate::lrp::LocalRedirectPolicy`]`>`.
pub const LRP: &str = "/v1/lrp";

/// GET → `Vec<`[`crate::bpf::IpcacheEntry`]`>`.
pub const BPF_IPCACHE: &str = "/v1/bpf/ipcache";
/// GET → `Vec<`[`crate::bpf::CtEntry`]`>`.
pub const BPF_CT: &str = "/v1/bpf/ct";
/// GET → `Vec<`[`crate::bpf::PolicyTable`]`>`, one an endpoint.
pub const BPF_POLICIES: &str = "/v1/bpf/policy";
/// GET → one [`crate::bpf::PolicyTable`].
pub const BPF_POLICY: &str = "/v1/bpf/policy/{id}";
/// GET → `Vec<`[`crate::bpf::Metric`]`>`.
pub const BPF_METRICS: &str = "/v1/bpf/metrics";
/// GET → `Vec<`[`crate::bpf::LocalEndpoint`]`>`.
pub const BPF_ENDPOINTS: &str = "/v1/bpf/endpoint";
/// GET → `Vec<String>`, the prefixes that are never masqueraded.
pub const BPF_IPMASQ: &str = "/v1/bpf/ipmasq";
/// GET → [`crate::kube_proxy::Leftovers`], what kube-proxy has left; DELETE removes it, and tells what it was.
pub const KUBE_PROXY: &str = "/v1/kube-proxy";
/// GET → [`crate::lb::Tables`].
pub const BPF_LB: &str = "/v1/bpf/lb";
/// GET → `Vec<`[`crate::lb::Maglev`]`>`.
pub const BPF_MAGLEV: &str = "/v1/bpf/maglev";
/// GET → `Vec<u16>`, the rows of one table.
pub const BPF_MAGLEV_TABLE: &str = "/v1/bpf/maglev/{table}";
/// GET → `Vec<`[`crate::lb::NatEntry`]`>`.
pub const BPF_NAT: &str = "/v1/bpf/nat";
/// GET → `Vec<`[`crate::lb::SocketEntry`]`>`.
pub const BPF_SOCKETS: &str = "/v1/bpf/socknat";
/// GET, query as [`crate::monitor::Query`] → a stream without end of [`crate::monitor::Event`], one a line.
pub const MONITOR: &str = "/v1/monitor";

/// DELETE this to release an attachment. Released or never known: 200 with [`crate::cni::ReleaseResponse`].
pub fn cni_release(container_id: &str, ifname: &str) -> String {
    format!("/v1/cni/{}/{}", escape(container_id), escape(ifname))
}

/// GET this for one endpoint. `id` is a number or a typed reference: `container-id:…`, `pod-name:ns:pod`, `ipv4:…`,
/// `ipv6:…`, `cni-attachment-id:container:ifname`.
pub fn endpoint(id: &str) -> String {
    format!("{ENDPOINTS}/{}", escape(id))
}

/// GET this for one identity.
pub fn identity(id: u32) -> String {
    format!("{IDENTITIES}/{id}")
}

/// GET this for the policy table of one endpoint.
pub fn bpf_policy(endpoint: u16) -> String {
    format!("{BPF_POLICIES}/{endpoint}")
}

/// GET this for one frontend.
pub fn service(id: u32) -> String {
    format!("{SERVICES}/{id}")
}

/// GET this for the rows of one Maglev table.
pub fn bpf_maglev(table: u32) -> String {
    format!("{BPF_MAGLEV}/{table}")
}

/// Percent-encodes what may not stand in one segment of a path or one value of a query (RFC 3986 §2.3).
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            other => write!(out, "%{other:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_escaped() {
        assert_eq!(cni_release("abc-1", "eth0"), "/v1/cni/abc-1/eth0");
        assert_eq!(cni_release("../x", "a b"), "/v1/cni/..%2Fx/a%20b");
        assert_eq!(endpoint("pod-name:a:b"), "/v1/endpoint/pod-name%3Aa%3Ab");
    }
}
