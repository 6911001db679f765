//! Which nodes serve a service, by their labels; selectors are in one line, as `kubectl -l` takes them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The label of a node that [`NodeRule::Label`] is about.
const NODE: &str = "service.cilium.io/node";

/// Which nodes serve a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeRule {
    /// All of them.
    #[default]
    Everywhere,
    /// Annotation `service.cilium.io/node`: those with a label of that name and this value.
    Label(Arc<str>),
    /// Annotation `service.cilium.io/node-selector`, which can be read.
    Selector(Arc<str>),
}

impl NodeRule {
    /// A rule from the text of a selector; `None` if it is none.
    pub fn selector(text: &str) -> Option<Self> {
        matches(text, &BTreeMap::new()).map(|_| Self::Selector(text.into()))
    }

    /// Whether a node with these labels serves.
    pub fn admits(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Label(value) => labels.get(NODE).is_some_and(|label| **label == **value),
            // Whether it can be read does not depend on the labels.
            Self::Selector(text) => matches(text, labels).unwrap_or(true),
        }
    }
}

/// Whether labels meet all requirements of `text`, separated by commas; `None` if it is no selector.
fn matches(text: &str, labels: &BTreeMap<String, String>) -> Option<bool> {
    if text.trim().is_empty() {
        return Some(true);
    }
    let mut all = true;
    for one in requirements(text) {
        all &= requirement(one.trim(), labels)?;
    }
    Some(all)
}

/// Commas in parentheses separate values.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split(move |c| {
        inside = c == '(' || (inside && c != ')');
        c == ',' && !inside
    })
}

fn requirement(text: &str, labels: &BTreeMap<String, String>) -> Option<bool> {
    let get = |text: &str| key(text).map(|key| labels.get(key).map(String::as_str));
    if let Some(text) = text.strip_prefix('!') {
        return Some(get(text)?.is_none());
    }
    if let Some((head, tail)) = text.split_once('(') {
        let values: Vec<&str> = tail.strip_suffix(')')?.split(',').map(value).collect::<Option<_>>()?;
        let (name, operator) = head.trim_end().split_once(char::is_whitespace)?;
        let is_one = get(name)?.is_some_and(|found| values.contains(&found));
        return match operator.trim_start() {
            "in" => Some(is_one),
            "notin" => Some(!is_one),
            _ => None,
        };
    }
    if let Some((name, other)) = text.split_once("!=") {
        return Some(get(name)? != Some(value(other)?));
    }
    if let Some((name, same)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(get(name)? == Some(value(same)?));
    }
    if let Some(at) = text.find(['<', '>']) {
        let limit: i64 = text[at + 1..].trim().parse().ok()?;
        let found = get(&text[..at])?.and_then(|found| found.parse::<i64>().ok());
        return Some(
            found
                .is_some_and(|found| if text.as_bytes()[at] == b'<' { found < limit } else { found > limit }),
        );
    }
    Some(get(text)?.is_some())
}

fn key(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text.chars().all(|c| is_inner(c) || c == '/')).then_some(text)
}

fn value(text: &str) -> Option<&str> {
    let text = text.trim();
    text.chars().all(is_inner).then_some(text)
}

fn is_inner(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_in_one_line() {
        let labels = BTreeMap::from(
            [("a", "1"), ("b", "x"), ("e", ""), ("example.org/c", "y.z")]
                .map(|(k, v): (&str, &str)| (k.to_owned(), v.to_owned())),
        );
        for (text, expected) in [
            ("", Some(true)),
            ("a", Some(true)),
            ("z", Some(false)),
            ("!z", Some(true)),
            ("! a", Some(false)),
            ("a=1", Some(true)),
            ("a == 1", Some(true)),
            ("a=2", Some(false)),
            ("a!=2", Some(true)),
            ("z!=2", Some(true)),
            ("a!=1", Some(false)),
            ("e=", Some(true)),
            ("b in (x, y)", Some(true)),
            ("b in(y)", Some(false)),
            ("b notin (x,y)", Some(false)),
            ("z notin (x)", Some(true)),
            ("z in (x)", Some(false)),
            ("a>0,a<2", Some(true)),
            ("a>1", Some(false)),
            ("b>1", Some(false)),
            ("a=1,b in (x,y),!z,example.org/c=y.z", Some(true)),
            ("a=1,b=y", Some(false)),
            ("a=1,", None),
            ("=1", None),
            ("a b", None),
            ("a=b c", None),
            ("a in (x", None),
            ("a in x)", None),
            ("a of (x)", None),
            ("a>x", None),
            ("z>x", None),
            ("a(b)", None),
            ("!", None),
            ("ä", None),
            ("a<ü", None),
        ] {
            assert_eq!(matches(text, &labels), expected, "{text:?}");
        }
    }
}
