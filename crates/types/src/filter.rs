use crate::label::key;
use crate::{Label, Labels, Source};
use regex::Regex;

/// Decides which labels make an identity. Labels that differ on every pod would make an identity of every pod. The default
/// keeps all.
#[derive(Clone, Debug, Default)]
pub struct LabelFilter {
    patterns: Vec<Pattern>,
    /// Some pattern of the user's includes: what nothing includes is left out.
    whitelist: bool,
}

#[derive(Clone, Debug)]
struct Pattern {
    source: Option<Source>,
    ignore: bool,
    regex: Regex,
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Nothing stands after the source.
    #[error("label filter {pattern:?} is empty: write [source:][!]regular-expression")]
    Empty {
        /// What was given.
        pattern: String,
    },
    /// The expression does not parse.
    #[error("label filter {pattern:?} is no regular expression")]
    Regex {
        /// What was given.
        pattern: String,
        /// Why.
        #[source]
        source: regex::Error,
    },
}

/// Everything about a pod that its identity may depend on.
#[derive(Clone, Debug, Default)]
pub struct PodLabels<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod's service account; empty if unknown.
    pub service_account: &'a str,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Labels of the pod.
    pub pod: Vec<(&'a str, &'a str)>,
    /// Labels of its namespace.
    pub namespace_labels: Vec<(&'a str, &'a str)>,
}

/// What is kept and left out unless the user says otherwise; same set as Cilium 1.19. `!` leaves out.
const DEFAULTS: &[&str] = &[
    "reserved:.*",
    r"io\.kubernetes\.pod\.namespace",
    r"io\.cilium\.k8s\.namespace\.labels",
    r"app\.kubernetes\.io",
    r"io\.cilium\.k8s\.policy\.cluster",
    r"!io\.kubernetes",
    r"!kubernetes\.io",
    r"!statefulset\.kubernetes\.io/pod-name",
    r"!apps\.kubernetes\.io/pod-index",
    r"!batch\.kubernetes\.io/job-completion-index",
    r"!batch\.kubernetes\.io/controller-uid",
    r"!.*beta\.kubernetes\.io",
    r"!k8s\.io",
    "!pod-template-generation",
    "!pod-template-hash",
    "!controller-revision-hash",
    "!controller-uid",
    "!annotation.*",
    "!etcd_node",
];

impl LabelFilter {
    /// The default, followed by the user's patterns (the `labels` option): `[source:][!]regex`, matched at the start of
    /// a key. With one pattern that includes, labels that nothing includes are left out.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, FilterError> {
        let mut filter = Self { patterns: Vec::new(), whitelist: false };
        for text in DEFAULTS {
            filter.patterns.push(Pattern::parse(text)?);
        }
        filter.extend(patterns)?;
        Ok(filter)
    }

    /// The user's patterns alone (the `node-labels` option); without any, all labels are kept.
    pub fn bare<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        filter.extend(patterns)?;
        Ok(filter)
    }

    fn extend<'a>(&mut self, patterns: impl IntoIterator<Item = &'a str>) -> Result<(), FilterError> {
        for text in patterns.into_iter().filter(|text| !text.is_empty()) {
            let pattern = Pattern::parse(text)?;
            self.whitelist |= !pattern.ignore;
            self.patterns.push(pattern);
        }
        Ok(())
    }

    /// Whether the label counts: the longest including match must be longer than the shortest excluding one.
    pub fn keeps(&self, label: &Label) -> bool {
        let (mut included, mut ignored) = (0, None::<usize>);
        for pattern in &self.patterns {
            match pattern.matched_len(label) {
                Some(len) if pattern.ignore => ignored = Some(ignored.map_or(len, |min| min.min(len))),
                Some(len) => included = included.max(len),
                None => {}
            }
        }
        match ignored {
            None => !self.whitelist || included > 0,
            Some(ignored) => included > ignored,
        }
    }

    /// The labels that make the pod's identity: its own as far as they are kept, and those derived from where it runs.
    ///
    /// Pod labels under the derived keys are dropped before anything else, so that a pod cannot pass for one of another
    /// namespace, service account or cluster (GHSA-pfhr-pccp-hwmh, CVE-2023-39347).
    pub fn identity_labels(&self, pod: &PodLabels<'_>) -> Labels {
        let own = pod.pod.iter().filter(|(key, _)| !is_derived(key)).map(|(k, v)| Label::k8s(k, v));
        let of_namespace = pod
            .namespace_labels
            .iter()
            .map(|(k, v)| Label::k8s(&format!("{}.{k}", key::NAMESPACE_LABELS), v));
        let derived = [
            (key::NAMESPACE, pod.namespace),
            (key::SERVICE_ACCOUNT, pod.service_account),
            (key::CLUSTER, pod.cluster),
        ];
        let derived = derived.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| Label::k8s(k, v));
        own.chain(of_namespace).chain(derived).filter(|label| self.keeps(label)).collect()
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, FilterError> {
        let (source, rest) = match text.split_once(':') {
            Some((source, rest)) => (Some(source).filter(|s| !s.is_empty()).map(Source::from), rest),
            None => (None, text),
        };
        let (ignore, expression) = match rest.strip_prefix('!') {
            Some(expression) => (true, expression),
            None => (false, rest),
        };
        if expression.is_empty() {
            return Err(FilterError::Empty { pattern: text.to_owned() });
        }
        let regex = Regex::new(expression)
            .map_err(|source| FilterError::Regex { pattern: text.to_owned(), source })?;
        Ok(Self { source, ignore, regex })
    }

    /// How many bytes of the key's start match.
    fn matched_len(&self, label: &Label) -> Option<usize> {
        if self.source.as_ref().is_some_and(|source| source != label.source()) {
            return None;
        }
        self.regex.find(label.key()).filter(|found| found.start() == 0).map(|found| found.end())
    }
}

/// Whether the key belongs to the agent. The whole prefix is reserved, so that no later spelling slips through.
fn is_derived(text: &str) -> bool {
    text == key::NAMESPACE
        || text == key::CLUSTER
        || text == key::SERVICE_ACCOUNT
        || text.starts_with(key::NAMESPACE_LABELS)
        || text.starts_with("io.cilium.k8s.policy.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(filter: &[&str], pod: &PodLabels<'_>) -> Vec<String> {
        let filter = LabelFilter::new(filter.iter().copied()).unwrap();
        filter.identity_labels(pod).iter().map(ToString::to_string).collect()
    }

    fn pod<'a>(own: &[(&'a str, &'a str)]) -> PodLabels<'a> {
        PodLabels {
            namespace: "shop",
            service_account: "web",
            cluster: "kubernetes",
            pod: own.to_vec(),
            namespace_labels: vec![("kubernetes.io/metadata.name", "shop")],
        }
    }

    const DERIVED: [&str; 4] = [
        "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop",
        "k8s:io.cilium.k8s.policy.cluster=kubernetes",
        "k8s:io.cilium.k8s.policy.serviceaccount=web",
        "k8s:io.kubernetes.pod.namespace=shop",
    ];

    #[test]
    fn labels_that_differ_by_pod_make_no_identity() {
        let own = pod(&[
            ("app", "web"),
            ("pod-template-hash", "5d4"),
            ("controller-revision-hash", "x"),
            ("statefulset.kubernetes.io/pod-name", "web-0"),
            ("apps.kubernetes.io/pod-index", "0"),
            ("batch.kubernetes.io/job-completion-index", "3"),
            ("failure-domain.beta.kubernetes.io/zone", "a"),
            ("io.kubernetes.container.name", "c"),
        ]);
        let mut expected = vec!["k8s:app=web"];
        expected.extend(DERIVED);
        assert_eq!(labels(&[], &own), expected);
        let named = pod(&[("app.kubernetes.io/name", "web")]);
        assert!(labels(&[], &named).contains(&"k8s:app.kubernetes.io/name=web".to_owned()));
    }

    #[test]
    fn a_pod_cannot_pass_for_another() {
        let forged = pod(&[
            ("io.kubernetes.pod.namespace", "kube-system"),
            ("io.cilium.k8s.namespace.labels.team", "admin"),
            ("io.cilium.k8s.namespace.labels", "admin"),
            ("io.cilium.k8s.policy.cluster", "other"),
            ("io.cilium.k8s.policy.serviceaccount", "root"),
        ]);
        assert_eq!(labels(&[], &forged), DERIVED);
        let mut nameless = forged;
        nameless.service_account = "";
        assert!(!labels(&[], &nameless).iter().any(|label| label.contains("serviceaccount")));
    }

    #[test]
    fn the_user_may_include_and_exclude() {
        let own = pod(&[("app", "web"), ("team", "a"), ("pod-template-hash", "x")]);
        let kept = |filter: &[&str]| labels(filter, &own).iter().any(|label| label == "k8s:team=a");
        assert!(kept(&[]) && !kept(&["!team"]) && !kept(&["k8s:app"]) && kept(&["k8s:!app"]));
        let whitelisted = labels(&["k8s:app"], &own);
        assert!(whitelisted.contains(&"k8s:app=web".to_owned()));
        assert!(whitelisted.contains(&"k8s:io.kubernetes.pod.namespace=shop".to_owned()));
    }

    #[test]
    fn bad_patterns_are_refused() {
        assert!(matches!(LabelFilter::new(["k8s:!"]), Err(FilterError::Empty { .. })));
        assert!(matches!(LabelFilter::new(["("]), Err(FilterError::Regex { .. })));
    }
}
