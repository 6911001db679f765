//! Keeps in the kernel what pods ask of its connection tracking: a table of nf_tables of our own, written anew whenever
//! that changes, and put back when somebody takes it.

use std::time::Duration;

use agent_core::Untracked;
use anyhow::{Context, Result};
use netlink::Netfilter;

/// How often the table is looked for, and how long a refusal is left alone.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is wanted, and how far it is written.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    wanted: Option<Untracked>,
    written: bool,
    /// When something is to be done next, time since boot.
    next: Duration,
    failure: Option<String>,
}

impl Tracking {
    /// This is wanted from now on.
    pub(crate) fn want(&mut self, wanted: Untracked) {
        self.wanted = Some(wanted);
        self.written = false;
        self.next = Duration::ZERO;
    }

    /// Does what is due; says whether there may be something else to tell of.
    pub(crate) fn look(&mut self, now: Duration) -> bool {
        let Some(wanted) = self.wanted.as_ref().filter(|_| now >= self.next) else { return false };
        self.next = now + INTERVAL;
        let rules = rules(wanted);
        if self.written && rules.is_empty() {
            return false;
        }
        let done = put(&rules, self.written);
        self.written = done.is_ok();
        let failure = done.err().map(|error| {
            format!("{error:#}; the connections of pods with the annotation no-track-port or no-track-host-ports are tracked")
        });
        if let Some(failure) = failure.as_ref().filter(|text| self.failure.as_ref() != Some(text)) {
            tracing::error!(error = failure, "what pods ask of connection tracking is not in the kernel");
        }
        self.failure = failure;
        true
    }

    /// What is wrong.
    pub(crate) fn trouble(&self) -> Option<String> {
        let refused = self.wanted.iter().flat_map(|wanted| &wanted.refused);
        let all: Vec<&str> = refused.chain(&self.failure).map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

fn rules(wanted: &Untracked) -> netlink::Untracked {
    netlink::Untracked { addresses: wanted.pods.clone(), ports: wanted.node.clone() }
}

/// Writes the table, unless it is known to be written and still there.
fn put(rules: &netlink::Untracked, written: bool) -> Result<()> {
    let mut netfilter = Netfilter::open().context("cannot ask for the packet filters")?;
    if written {
        if netfilter.leaves_untracked(rules)? {
            return Ok(());
        }
        tracing::warn!("somebody removed the table cilium_untracked; put back");
    }
    Ok(netfilter.leave_untracked(rules)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_ask_in_vain_is_told_until_they_do_no_more() {
        let mut tracking = Tracking::default();
        assert!(!tracking.look(Duration::from_secs(1)), "nothing is wanted before pods were listed");
        let refused = ["Pod a/b: x".to_owned(), "Pod a/c: y".to_owned()].into();
        tracking.want(Untracked { refused, ..Untracked::default() });
        assert_eq!(tracking.trouble().as_deref(), Some("Pod a/b: x; Pod a/c: y"));
        tracking.want(Untracked::default());
        assert_eq!(tracking.trouble(), None);
    }
}
