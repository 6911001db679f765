//! Whose a socket is: its network namespace has a number in the kernel, which nobody tells but a socket in it. So each pod's is
//! looked into once, when the first event comes from one that is not known.

use std::collections::{BTreeSet, HashMap};

use netlink::{NetNs, netns_cookie};

use crate::owner::Handle;

/// Network namespaces of this node, by the kernel's numbers.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    host: u64,
    /// Paths of pods' namespaces.
    pods: HashMap<u64, String>,
    looked_into: BTreeSet<String>,
}

impl Namespaces {
    /// Knows the node's own alone.
    pub(crate) fn new() -> Self {
        // A kernel without such numbers (before 5.14) sends 0 for none: no namespace has that one.
        let host = netns_cookie().unwrap_or_default();
        Self { host, pods: HashMap::new(), looked_into: BTreeSet::new() }
    }

    /// Whether it is the node's own.
    pub(crate) const fn is_host(&self, number: u64) -> bool {
        number != 0 && number == self.host
    }

    /// Path of a pod's namespace.
    pub(crate) fn path(&self, number: u64) -> Option<&str> {
        self.pods.get(&number).map(String::as_str)
    }

    /// Whether one of these is unknown.
    pub(crate) fn lack(&self, mut numbers: impl Iterator<Item = u64>) -> bool {
        numbers.any(|number| !self.is_host(number) && !self.pods.contains_key(&number))
    }

    /// Looks into pods' namespaces that are new, and forgets those that are gone.
    ///
    /// # Errors
    /// The agent is stopping.
    pub(crate) async fn learn(&mut self, pods: &Handle) -> anyhow::Result<()> {
        let paths = pods.ask(|owner| -> BTreeSet<String> {
            let paths = owner.state.endpoints().values().map(|endpoint| &endpoint.spec.netns);
            paths.filter(|path| !path.is_empty()).cloned().collect()
        });
        let paths = paths.await?;
        self.pods.retain(|_, path| paths.contains(path));
        self.looked_into.retain(|path| paths.contains(path));
        let new: Vec<String> = paths.difference(&self.looked_into).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        for (path, number) in tokio::task::spawn_blocking(move || look_into(new)).await? {
            self.looked_into.insert(path.clone());
            self.pods.insert(number, path);
        }
        Ok(())
    }
}

/// What may be looked into: a pod may go at any time.
fn look_into(paths: Vec<String>) -> Vec<(String, u64)> {
    let number =
        |path: &String| NetNs::open(path).and_then(|namespace| namespace.run(netns_cookie)).ok()?.ok();
    paths.into_iter().filter_map(|path| number(&path).map(|number| (path, number))).collect()
}
