//! `service list`, with Cilium's JSON keys.

model! {
    /// A frontend and the backends behind it.
    pub struct Service in "kebab-case" {
        /// What is wanted.
        pub spec: ServiceSpec,
        /// What is there.
        pub status: ServiceStatus,
    }

    /// What is there.
    pub struct ServiceStatus in "kebab-case" {
        /// The frontend as the agent has worked it out.
        pub realized: ServiceSpec,
    }

    /// A frontend and the backends behind it.
    pub struct ServiceSpec in "kebab-case" {
        /// Number of this frontend on this node.
        pub id: u32,
        /// Where clients connect to.
        pub frontend_address: FrontendAddress,
        /// Where they may be led.
        pub backend_addresses: Vec<BackendAddress>,
        /// Whose it is, and what kind.
        pub flags: ServiceFlags,
    }

    /// Where clients connect to.
    pub struct FrontendAddress in "kebab-case" {
        /// Its address.
        pub ip: String,
        /// Its port.
        pub port: u16,
        /// `TCP`, `UDP`, `SCTP`.
        pub protocol: String,
        /// `external`: for all clients, or, if the same address is there once more, for those outside; `internal`: for
        /// clients inside.
        pub scope: String,
    }

    /// A backend.
    pub struct BackendAddress in "kebab-case" {
        /// Its address.
        pub ip: String,
        /// Its port.
        pub port: u16,
        /// `TCP`, `UDP`, `SCTP`.
        pub protocol: String,
        /// `active`, `terminating`, `terminating-not-serving`, `quarantined`, `maintenance`.
        pub state: String,
        /// Its share, all others' being the same.
        pub weight: u16,
        /// Its zone.
        pub zone: String,
        /// Its node.
        #[serde(rename = "nodeName")]
        pub node_name: String,
        /// Whether it goes before those of other clusters.
        pub preferred: bool,
    }

    /// Whose a frontend is, and what kind.
    pub struct ServiceFlags in "camelCase" {
        /// `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalIPs`, `HostPort`, `LocalRedirect`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Name of the service; of the pod for a `HostPort`.
        pub name: String,
        /// Its namespace.
        pub namespace: String,
        /// Its cluster, if it is another one.
        pub cluster: String,
        /// `Cluster` or `Local`, for clients outside.
        pub ext_traffic_policy: String,
        /// `Cluster` or `Local`, for clients inside.
        pub int_traffic_policy: String,
        /// As for clients outside.
        pub traffic_policy: String,
        /// Port on which load balancers ask for this node's endpoints; 0 = none.
        pub health_check_node_port: u16,
    }
}
