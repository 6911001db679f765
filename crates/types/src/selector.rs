use crate::{Label, Labels, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which sets of labels are meant, with Kubernetes' semantics: all requirements must hold, and none at all selects
/// everything. Equal selectors compare and hash equally, however they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    requirements: BTreeSet<Requirement>,
}

/// One condition on one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    key: Box<str>,
    source: Source,
    test: Test,
}

/// What must hold of a key's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    /// The key exists with one of these values.
    In(BTreeSet<Box<str>>),
    /// The key is absent, or has none of these values.
    NotIn(BTreeSet<Box<str>>),
    /// The key exists.
    Exists,
    /// The key is absent.
    DoesNotExist,
}

/// A text that is no selector.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// A key is empty, too long, or holds a character that no label key has.
    #[error(
        "selector key {key:?} is no label key: use letters, digits, '-', '_', '.', '/' (at most 317 bytes)"
    )]
    BadKey {
        /// What was given.
        key: String,
    },
    /// A value that no label can have.
    #[error(
        "selector value {value:?} of key {key:?} is no label value: at most 63 letters, digits, '-', '_', '.', beginning and ending with a letter or digit"
    )]
    BadValue {
        /// Its key.
        key: String,
        /// What was given.
        value: String,
    },
    /// `In` and `NotIn` need at least one value.
    #[error(
        "operator {operator} on key {key:?} has no values: give at least one, or use Exists or DoesNotExist"
    )]
    NoValues {
        /// Its key.
        key: String,
        /// `In` or `NotIn`.
        operator: &'static str,
    },
    /// `Exists` and `DoesNotExist` take none.
    #[error("operator {operator} on key {key:?} has values: remove them, or use In or NotIn")]
    NeedlessValues {
        /// Its key.
        key: String,
        /// `Exists` or `DoesNotExist`.
        operator: &'static str,
    },
    /// Something other than the four operators.
    #[error("operator {operator:?} on key {key:?} is unknown: use In, NotIn, Exists or DoesNotExist")]
    UnknownOperator {
        /// Its key.
        key: String,
        /// What was given.
        operator: String,
    },
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// From the two lists of a Kubernetes label selector: key → value, and (key, operator, values). A key may carry a
    /// source (`k8s:app`, `any:app`, `reserved:host`); one without is given `default_source`.
    pub fn new<'a, L, E, V>(labels: L, expressions: E, default_source: &Source) -> Result<Self, SelectorError>
    where
        L: IntoIterator<Item = (&'a str, &'a str)>,
        E: IntoIterator<Item = (&'a str, &'a str, V)>,
        V: IntoIterator<Item = &'a str>,
    {
        let mut selector = Self::everything();
        for (key, value) in labels {
            selector.requirements.insert(Requirement::new(key, "In", [value], default_source)?);
        }
        for (key, operator, values) in expressions {
            selector.requirements.insert(Requirement::new(key, operator, values, default_source)?);
        }
        Ok(selector)
    }

    /// Also requires `label` (source, key and value). The way to bake a namespace in; the value is taken as it is.
    pub fn and(mut self, label: &Label) -> Self {
        self.requirements.insert(Requirement {
            key: label.key().into(),
            source: label.source().clone(),
            test: Test::In([label.value().into()].into()),
        });
        self
    }

    /// Also requires that this key exists.
    pub fn and_exists(mut self, source: Source, key: &str) -> Self {
        self.requirements.insert(Requirement { key: key.into(), source, test: Test::Exists });
        self
    }

    /// Also requires what `other` requires.
    pub fn and_all(mut self, other: Selector) -> Self {
        self.requirements.extend(other.requirements);
        self
    }

    /// The requirements, sorted.
    pub fn requirements(&self) -> impl ExactSizeIterator<Item = &Requirement> {
        self.requirements.iter()
    }

    /// Whether every set of labels is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether `labels` are selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether some requirement can only be met by a label of exactly this source. A selector that merely says what
    /// must *not* be there, or asks `any:` source, needs none.
    pub fn requires_source(&self, source: &Source) -> bool {
        self.requirements.iter().any(|r| &r.source == source && matches!(r.test, Test::In(_) | Test::Exists))
    }

    /// `matchLabels` and the rest as they would be written in YAML, for tools that print selectors.
    pub fn match_labels(&self) -> BTreeMap<String, String> {
        self.requirements
            .iter()
            .filter_map(|r| match &r.test {
                Test::In(values) if values.len() == 1 => {
                    Some((r.source_key(), values.first().map(ToString::to_string).unwrap_or_default()))
                }
                _ => None,
            })
            .collect()
    }
}

impl Requirement {
    /// One checked condition. `key` may carry a source; without one it gets `default_source`.
    pub fn new<'a>(
        key: &str,
        operator: &str,
        values: impl IntoIterator<Item = &'a str>,
        default_source: &Source,
    ) -> Result<Self, SelectorError> {
        let (source, bare) = match key.split_once(':') {
            Some((source, bare)) => (Source::from(source), bare),
            None => (default_source.clone(), key),
        };
        // Prefixes are keys of `cidr:` labels and may be selected by them.
        let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        if bare.is_empty() || bare.len() > 317 || !bare.bytes().all(fit) {
            return Err(SelectorError::BadKey { key: key.to_owned() });
        }
        let values: BTreeSet<Box<str>> = values.into_iter().map(Box::from).collect();
        if let Some(value) = values.iter().find(|value| !is_label_value(value)) {
            return Err(SelectorError::BadValue { key: key.to_owned(), value: value.to_string() });
        }
        let test = match (operator, values.is_empty()) {
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            ("In", true) => return Err(SelectorError::NoValues { key: key.to_owned(), operator: "In" }),
            ("NotIn", true) => {
                return Err(SelectorError::NoValues { key: key.to_owned(), operator: "NotIn" });
            }
            ("Exists", false) => {
                return Err(SelectorError::NeedlessValues { key: key.to_owned(), operator: "Exists" });
            }
            ("DoesNotExist", false) => {
                return Err(SelectorError::NeedlessValues { key: key.to_owned(), operator: "DoesNotExist" });
            }
            _ => {
                return Err(SelectorError::UnknownOperator {
                    key: key.to_owned(),
                    operator: operator.to_owned(),
                });
            }
        };
        Ok(Self { key: bare.into(), source, test })
    }

    /// The key, without source.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The source; [`Source::Any`] takes every source.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What must hold.
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// `source:key`.
    pub fn source_key(&self) -> String {
        format!("{}:{}", self.source.as_str(), self.key)
    }

    /// Whether `labels` meet this requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        let mut found = labels
            .with_key(&self.key)
            .iter()
            .filter(|label| self.source == Source::Any || label.source() == &self.source);
        match &self.test {
            Test::In(values) => found.any(|label| values.contains(label.value())),
            Test::NotIn(values) => !found.any(|label| values.contains(label.value())),
            Test::Exists => found.next().is_some(),
            Test::DoesNotExist => found.next().is_none(),
        }
    }
}

/// Kubernetes' rule for label values; the empty one is a value.
fn is_label_value(value: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// As `kubectl -l` would take it, with sources.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("<all>");
        }
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, key) = (self.source.as_str(), &self.key);
        let list =
            |values: &BTreeSet<Box<str>>| values.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        match &self.test {
            Test::In(values) if values.len() == 1 => write!(f, "{source}:{key}={}", list(values)),
            Test::In(values) => write!(f, "{source}:{key} in ({})", list(values)),
            Test::NotIn(values) => write!(f, "{source}:{key} notin ({})", list(values)),
            Test::Exists => write!(f, "{source}:{key}"),
            Test::DoesNotExist => write!(f, "!{source}:{key}"),
        }
    }
}

#[cfg(test)]
mod tests;
