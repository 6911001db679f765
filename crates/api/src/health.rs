//! What nodes find when they probe each other; the keys are those of Cilium's health daemon.

use crate::GoDuration;

model! {
    /// The last round of probes.
    pub struct HealthStatus in "camelCase" {
        /// This node.
        pub local: SelfStatus,
        /// All nodes, this one too.
        pub nodes: Vec<NodeStatus>,
        /// When the round ended, RFC 3339; empty: there was none yet.
        pub timestamp: String,
        /// How long until the next round.
        pub probe_interval: GoDuration,
    }

    /// This node.
    pub struct SelfStatus in "kebab-case" {
        /// `cluster/node`.
        pub name: String,
    }

    /// A node.
    pub struct NodeStatus in "kebab-case" {
        /// `cluster/node`.
        pub name: String,
        /// Its addresses in the underlay.
        pub host: Paths,
        /// Its address among the pods.
        pub health_endpoint: Paths,
    }

    /// Ways to one end.
    pub struct Paths in "kebab-case" {
        /// The first family's.
        pub primary_address: Option<PathStatus>,
        /// The other's.
        pub secondary_addresses: Vec<PathStatus>,
    }

    /// A way to an address.
    pub struct PathStatus in "kebab-case" {
        /// The address.
        pub ip: String,
        /// ICMP echo.
        pub icmp: Option<Connectivity>,
        /// HTTP to the agent there.
        pub http: Option<Connectivity>,
    }

    /// What came of one probe.
    pub struct Connectivity in "camelCase" {
        /// There and back, nanoseconds.
        pub latency: u64,
        /// Empty: answered. Otherwise what came instead.
        pub status: String,
        /// RFC 3339.
        pub last_probed: String,
    }
}

impl PathStatus {
    /// Every probe of this way was answered.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let mut probes = [&self.icmp, &self.http].into_iter().flatten().peekable();
        probes.peek().is_some() && probes.all(|probe| probe.status.is_empty())
    }
}

impl Paths {
    /// All ways.
    pub fn all(&self) -> impl Iterator<Item = &PathStatus> {
        self.primary_address.iter().chain(&self.secondary_addresses)
    }

    /// How many ways are healthy, and how many there are.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.all().filter(|path| path.is_healthy()).count(), self.all().count())
    }
}

impl NodeStatus {
    /// Every way to the node and to its pods' network is healthy.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        let ((host, hosts), (endpoint, endpoints)) = (self.host.count(), self.health_endpoint.count());
        hosts > 0 && host == hosts && endpoint == endpoints
    }
}
