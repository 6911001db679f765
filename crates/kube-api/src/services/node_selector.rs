//! Label selectors in one line, as `kubectl -l` takes them.

use std::collections::BTreeMap;

/// Whether labels meet all requirements of `text`, separated by commas; `None` if it is no selector.
pub(super) fn matches(text: &str, labels: &BTreeMap<String, String>) -> Option<bool> {
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
