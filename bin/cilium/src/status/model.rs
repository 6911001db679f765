//! What an installation is like; as JSON the keys are those of Cilium's command.

use api::status::Status;
use serde::Serialize;
use std::collections::BTreeMap;

/// Counts by name and kind.
type Counts = BTreeMap<String, BTreeMap<String, usize>>;

/// An installation.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Installation {
    /// Containers by part and image.
    pub(crate) image_count: Counts,
    /// Pods by part and phase.
    pub(crate) phase_count: Counts,
    /// Deployments and DaemonSets.
    pub(crate) pod_state: BTreeMap<String, PodState>,
    /// The cluster's pods.
    pub(crate) pods_count: PodsCount,
    /// What each agent says, by pod.
    pub(crate) cilium_status: BTreeMap<String, Status>,
    /// Endpoints of each agent; the text does not tell them.
    pub(crate) cilium_endpoints: BTreeMap<String, Vec<api::endpoint::Endpoint>>,
    /// What is wrong: part → pod → list.
    pub(crate) errors: BTreeMap<String, BTreeMap<String, Faults>>,
    /// What could not be asked.
    pub(crate) collection_errors: Vec<String>,
    /// Version of the chart.
    pub(crate) helm_chart_version: String,
    /// Settings that agents and ConfigMap disagree about.
    pub(crate) config_errors: Vec<String>,
}

/// A Deployment or a DaemonSet.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PodState {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) desired: u64,
    pub(crate) ready: u64,
    pub(crate) available: u64,
    pub(crate) unavailable: u64,
    /// It is not part of this installation.
    pub(crate) disabled: bool,
}

/// The cluster's pods that have a network of their own.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PodsCount {
    pub(crate) all: usize,
    pub(crate) by_cilium: usize,
}

/// What is wrong with one pod, or with a part as a whole.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Faults {
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) disabled: bool,
}

impl Installation {
    /// Something that does not work.
    pub(crate) fn error(&mut self, part: &str, pod: &str, text: impl Into<String>) {
        self.faults(part, pod).errors.push(text.into());
    }

    /// Something that works, but not as it should.
    pub(crate) fn warning(&mut self, part: &str, pod: &str, text: impl Into<String>) {
        self.faults(part, pod).warnings.push(text.into());
    }

    fn faults(&mut self, part: &str, pod: &str) -> &mut Faults {
        self.errors.entry(part.to_owned()).or_default().entry(pod.to_owned()).or_default()
    }

    /// Numbers of errors and of warnings of a part.
    pub(crate) fn count(&self, part: &str) -> (usize, usize) {
        let faults = self.errors.get(part).into_iter().flat_map(BTreeMap::values);
        faults.fold((0, 0), |sum, one| (sum.0 + one.errors.len(), sum.1 + one.warnings.len()))
    }

    /// What is wrong, in one line; `None`: nothing is. `lenient`: warnings do not count.
    pub(crate) fn wrong(&self, lenient: bool) -> Option<String> {
        let of_pods = self.errors.values().flatten().flat_map(|(pod, faults)| {
            let warnings = faults.warnings.iter().filter(move |_| !lenient);
            faults.errors.iter().chain(warnings).map(move |text| format!("{pod}: {text}"))
        });
        let all: Vec<String> = of_pods.chain(self.collection_errors.iter().cloned()).collect();
        (!all.is_empty()).then(|| crate::output::some(&all, 3))
    }
}
