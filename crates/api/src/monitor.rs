//! `cilium-dbg monitor`: the stream of events.

use crate::paths::{MONITOR, escape};
use crate::policy::PolicyRef;

model! {
    /// One event of the datapath.
    pub struct Event in "camelCase" {
        /// `drop`, `trace`, `policy-verdict` or `trace-sock`; `lost` tells how many events found no room.
        #[serde(rename = "type")]
        pub kind: String,
        /// When, RFC 3339 with nanoseconds.
        pub time: String,
        /// The packet in one line: `10.0.0.1:4000 -> 10.0.0.2:80 tcp SYN`.
        pub summary: String,
        /// Length of the packet, bytes.
        pub bytes: u32,
        /// Identity of the sender.
        pub source_identity: u32,
        /// Identity of the receiver.
        pub destination_identity: u32,
        /// Labels of the sender.
        pub source_labels: Vec<String>,
        /// Labels of the receiver.
        pub destination_labels: Vec<String>,
        /// Source endpoint on this node; 0 = none.
        pub source_endpoint: u16,
        /// Destination endpoint on this node; 0 = none.
        pub destination_endpoint: u16,
        /// Interface the program ran on.
        pub interface: String,
        /// Index of that interface.
        pub ifindex: u32,
        /// Drop: text of the reason. Verdict: text of the reason if denied.
        pub reason: String,
        /// Trace: `to-endpoint`, `from-network`, … Translation at a socket: `pre-xlate-fwd`, `post-xlate-fwd`, …
        pub point: String,
        /// Trace: `new`, `established`, `reply`, `related`, `unknown`.
        pub state: String,
        /// Verdict: `ingress` or `egress`.
        pub direction: String,
        /// Verdict: `allow`, `deny` or `audit`.
        pub action: String,
        /// Verdict: `L3-L4`, `L3-Only`, `L4-Only`, `all`, `none`, …
        pub matched: String,
        /// Verdict and policy drop: rule cookie.
        pub cookie: u32,
        /// Verdict and policy drop: the policies behind it.
        pub policies: Vec<PolicyRef>,
        /// Translation at a socket: control group of the process, in the unified hierarchy.
        pub cgroup_id: u64,
        /// Translation at a socket: the kernel's number for the socket.
        pub socket_cookie: u64,
        /// Lost: how many.
        pub lost: u64,
    }
}

/// Which events to send. Empty lists mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Kinds, as in [`Event::kind`].
    pub kinds: Vec<String>,
    /// Sender's endpoint.
    pub from: Vec<u16>,
    /// Receiver's endpoint.
    pub to: Vec<u16>,
    /// Either end's endpoint.
    pub related_to: Vec<u16>,
}

impl Query {
    /// Path and query: `/v1/monitor?type=drop,trace&from=5&to=6&related-to=7`.
    pub fn path(&self) -> String {
        let numbers = |ids: &[u16]| ids.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let kinds = self.kinds.iter().map(|k| escape(k)).collect::<Vec<_>>().join(",");
        let pairs = [
            ("type", kinds),
            ("from", numbers(&self.from)),
            ("to", numbers(&self.to)),
            ("related-to", numbers(&self.related_to)),
        ];
        let query: Vec<String> =
            pairs.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={v}")).collect();
        if query.is_empty() { MONITOR.to_owned() } else { format!("{MONITOR}?{}", query.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_paths() {
        assert_eq!(Query::default().path(), "/v1/monitor");
        let query =
            Query { kinds: vec!["drop".into(), "trace".into()], related_to: vec![7], ..Query::default() };
        assert_eq!(query.path(), "/v1/monitor?type=drop,trace&related-to=7");
    }
}
