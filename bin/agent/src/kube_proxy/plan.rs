//! Which chains are kube-proxy's, and which of them somebody else uses.

use std::collections::{BTreeMap, BTreeSet};

use netlink::NfJump;

/// Chains of kube-proxy, of all its modes and versions. kubelet's are others: KUBE-FIREWALL, KUBE-KUBELET-CANARY,
/// KUBE-IPTABLES-HINT, KUBE-MARK-DROP; and so are those of host ports: KUBE-HOSTPORTS, KUBE-HP-….
const NAMES: [&str; 13] = [
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-LOAD-BALANCER",
    "KUBE-MARK-MASQ",
    "KUBE-NODE-PORT",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
    "KUBE-SOURCE-RANGES-FIREWALL",
];
/// Chains of one service or endpoint.
const PREFIXES: [&str; 6] = ["KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-"];
/// Chains of hooks: rules there that lead to kube-proxy's chains are its own.
const HOOKS: [&str; 5] = ["FORWARD", "INPUT", "OUTPUT", "POSTROUTING", "PREROUTING"];
/// Marks what the other chain then masquerades: whoever uses the first needs the second.
const MARK: &str = "KUBE-MARK-MASQ";
const MASQUERADE: &str = "KUBE-POSTROUTING";
/// Where this chain is, kubelet (before 1.28) keeps those two as well.
const OF_OLD_KUBELET: &str = "KUBE-MARK-DROP";

/// What is to be removed from a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Chains.
    pub(super) remove: BTreeSet<String>,
    /// Rules of other chains that lead to them.
    pub(super) leading: Vec<NfJump>,
    /// Chains of kube-proxy that stay, and who uses them.
    pub(super) kept: BTreeMap<String, String>,
}

/// Whether a table has anything of kube-proxy.
pub(super) fn is_concerned(chains: &BTreeSet<String>) -> bool {
    chains.iter().any(|chain| is_kube_proxys(chain))
}

fn is_kube_proxys(chain: &str) -> bool {
    NAMES.contains(&chain) || PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

impl Plan {
    /// What to do with a table that has these chains, which lead to each other.
    pub(super) fn new(chains: &BTreeSet<String>, jumps: &BTreeSet<NfJump>) -> Self {
        let mut plan = Plan::default();
        let theirs = |chain: &str| is_kube_proxys(chain);
        if chains.contains(OF_OLD_KUBELET) {
            plan.keep(MARK, "kubelet", chains, jumps);
            plan.keep(MASQUERADE, "kubelet", chains, jumps);
        }
        for NfJump { from, to } in jumps {
            if !theirs(from) && !HOOKS.contains(&from.as_str()) && theirs(to) {
                plan.keep(to, from, chains, jumps);
            }
        }
        if let Some(user) = plan.kept.get(MARK).cloned() {
            plan.keep(MASQUERADE, &user, chains, jumps);
        }
        plan.remove =
            chains.iter().filter(|chain| theirs(chain) && !plan.kept.contains_key(*chain)).cloned().collect();
        let leads = |jump: &&NfJump| !plan.remove.contains(&jump.from) && plan.remove.contains(&jump.to);
        plan.leading = jumps.iter().filter(leads).cloned().collect();
        plan
    }

    /// Keeps a chain, and all that it leads to.
    fn keep(&mut self, chain: &str, user: &str, chains: &BTreeSet<String>, jumps: &BTreeSet<NfJump>) {
        let mut waiting = vec![chain];
        while let Some(chain) = waiting.pop() {
            if !is_kube_proxys(chain) || !chains.contains(chain) || self.kept.contains_key(chain) {
                continue;
            }
            self.kept.insert(chain.to_owned(), user.to_owned());
            waiting.extend(jumps.iter().filter(|jump| jump.from == chain).map(|jump| jump.to.as_str()));
        }
    }
}

#[cfg(test)]
mod tests;
