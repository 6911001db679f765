//! Label selectors as text: `a=b,c!=d,e in (x,y),f notin (z),g,!h`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// A selector: all of its terms must hold. Without terms it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    /// The label is there with one of these values.
    In(String, BTreeSet<String>),
    /// The label is missing, or has none of these values.
    NotIn(String, BTreeSet<String>),
    /// The label is there.
    Exists(String),
    /// The label is missing.
    Missing(String),
}

/// A selector that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadSelector {
    term: String,
}

impl std::fmt::Display for BadSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} is no term of a label selector: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key",
            self.term
        )
    }
}

impl std::error::Error for BadSelector {}

impl Selector {
    /// Whether the selector selects an object with these labels.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Term::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Term::Exists(key) => labels.contains_key(key),
            Term::Missing(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let terms = split(text)
            .into_iter()
            .map(|part| term(part).ok_or_else(|| BadSelector { term: part.to_owned() }));
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }
}

/// Cuts at commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth <= 0
    })
    .map(str::trim)
    .collect()
}

fn term(text: &str) -> Option<Term> {
    if let Some((key, values)) = text.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        let values = values.split(',').map(|value| word(value).map(str::to_owned)).collect::<Option<_>>()?;
        let (key, operator) = key.trim().rsplit_once(char::is_whitespace)?;
        let key = label(key)?.to_owned();
        return match operator {
            "in" => Some(Term::In(key, values)),
            "notin" => Some(Term::NotIn(key, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(Term::NotIn(label(key)?.to_owned(), [word(value)?.to_owned()].into()));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Term::In(label(key)?.to_owned(), [word(value)?.to_owned()].into()));
    }
    match text.strip_prefix('!') {
        Some(key) => Some(Term::Missing(label(key)?.to_owned())),
        None => Some(Term::Exists(label(text)?.to_owned())),
    }
}

fn label(text: &str) -> Option<&str> {
    word(text).filter(|key| !key.is_empty())
}

/// A key or value without anything that would belong to the selector's own language.
fn word(text: &str) -> Option<&str> {
    let text = text.trim();
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        selector.parse::<Selector>().unwrap().matches(&labels)
    }

    #[test]
    fn all_terms_must_hold() {
        let dns = [("k8s-app", "kube-dns"), ("tier", "a")];
        for (selector, expected) in [
            ("k8s-app=kube-dns", true),
            ("k8s-app==kube-dns", true),
            ("k8s-app=other", false),
            ("k8s-app=kube-dns,tier=b", false),
            ("k8s-app in (coredns, kube-dns),tier", true),
            ("k8s-app notin (coredns,kube-dns)", false),
            ("missing notin (x)", true),
            ("tier!=b", true),
            ("missing!=b", true),
            ("!missing", true),
            ("!tier", false),
            ("missing", false),
            ("", true),
            (" ", true),
        ] {
            assert_eq!(selects(selector, &dns), expected, "{selector:?}");
        }
        assert!(selects("app=", &[("app", "")]));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["=x", "a=b,", "a b", "a in", "a in (b", "a inside (b)", "!", "a=b=c", "in (a)", "a=b c"]
        {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
    }
}
