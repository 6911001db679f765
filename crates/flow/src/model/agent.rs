//! What happens in an agent, apart from packets.

/// Something that happened in an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentEvent {
    /// When, ns since the Unix epoch.
    pub time: u64,
    /// What.
    pub what: AgentNews,
}

/// What happened in an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentNews {
    /// It started, at this time, ns since the Unix epoch.
    Started(u64),
    /// A policy came or changed, or went if `deleted`.
    Policy {
        /// It went.
        deleted: bool,
        /// Labels of its rules, or what names it.
        labels: Vec<String>,
        /// Revision of the policy repository from which on that holds.
        revision: u64,
        /// Its rules.
        rules: usize,
    },
    /// An endpoint's tables are as they should be, or could not be written.
    Regenerated {
        /// The endpoint.
        id: u16,
        /// Labels of its identity.
        labels: Vec<String>,
        /// Why it failed.
        error: Option<String>,
    },
    /// An endpoint came, or went if `deleted`.
    Endpoint {
        /// It went.
        deleted: bool,
        /// The endpoint.
        id: u16,
        /// Namespace of its pod.
        namespace: String,
        /// Name of its pod.
        pod: String,
        /// Labels of its identity.
        labels: Vec<String>,
    },
}
