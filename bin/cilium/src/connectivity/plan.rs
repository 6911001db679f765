//! What is to be tried: tests with their policies, scenarios, and the single actions in them. No IO.

mod catalog;

use anyhow::{Context, Result};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A pod.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) node: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// What the cluster and its test pods are like.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) namespace: &'a str,
    pub(super) places: &'a BTreeMap<String, Place>,
    /// Cluster addresses and node port.
    pub(super) services: &'a BTreeMap<String, (Vec<IpAddr>, Option<u16>)>,
    pub(super) node_addresses: &'a BTreeMap<String, Vec<IpAddr>>,
    /// `cilium-config`.
    pub(super) settings: &'a BTreeMap<String, String>,
    /// The cluster has a DNS server.
    pub(super) dns: bool,
    pub(super) external: &'a [IpAddr],
    pub(super) external_port: u16,
}

/// What one action does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Connect and ask over TCP; `true`: a handshake is answer enough.
    Tcp(SocketAddr, bool),
    /// Ask over UDP.
    Udp(SocketAddr),
    /// ICMP echo.
    Ping(IpAddr),
    /// Look a name up, and connect to what it leads to.
    Name(String, u16),
    /// Drops of the pod's packets are among the flows of its node.
    Drops,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(super) struct Action {
    /// `ipv4`, `ipv6-8080`, …
    pub(super) name: String,
    /// Pod that tries.
    pub(super) from: String,
    /// Who is asked, in words.
    pub(super) to: String,
    pub(super) what: What,
    /// Whether it should succeed.
    pub(super) allowed: bool,
}

/// A way, over each family.
#[derive(Clone, Debug, Default)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) actions: Vec<Action>,
    /// Why it is not tried.
    pub(super) skip: Option<String>,
}

/// Scenarios under the same policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Test {
    pub(super) name: &'static str,
    /// Objects that are there while it runs.
    pub(super) policies: Vec<Value>,
    pub(super) scenarios: Vec<Scenario>,
    /// Why it does not run.
    pub(super) skip: Option<String>,
}

/// All tests of a run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) tests: Vec<Test>,
}

/// Which tests are wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    yes: Vec<Regex>,
    no: Vec<Regex>,
}

impl Wanted {
    /// Reads expressions; with `!` in front those that must not match.
    pub(super) fn new(texts: &[String]) -> Result<Self> {
        let mut wanted = Self::default();
        for text in texts {
            let (list, text) = match text.strip_prefix('!') {
                Some(text) => (&mut wanted.no, text),
                None => (&mut wanted.yes, text.as_str()),
            };
            list.push(Regex::new(text).with_context(|| format!("--test={text} is no regular expression"))?);
        }
        Ok(wanted)
    }

    fn has(&self, name: &str) -> bool {
        let any = |list: &[Regex]| list.iter().any(|one| one.is_match(name));
        (self.yes.is_empty() || any(&self.yes)) && !any(&self.no)
    }
}

impl Plan {
    /// The tests that fit a cluster and are wanted.
    pub(super) fn new(facts: &Facts<'_>, wanted: &Wanted) -> Self {
        let tests = catalog::all(facts).into_iter().map(|mut test| {
            let name = test.name;
            if !wanted.has(name) {
                test.scenarios.retain(|scenario| wanted.has(&format!("{name}/{}", scenario.name)));
                if test.scenarios.is_empty() {
                    test.skip = Some("not asked for".to_owned());
                }
            } else if test.skip.is_none() && test.scenarios.iter().all(|one| one.skip.is_some()) {
                test.skip = test.scenarios.first().and_then(|one| one.skip.clone());
            }
            test
        });
        Self { tests: tests.collect() }
    }

    /// How many tests run.
    pub(super) fn running(&self) -> usize {
        self.tests.iter().filter(|test| test.skip.is_none()).count()
    }
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    catalog::NAMES.iter().copied()
}

#[cfg(test)]
pub(super) mod tests;
