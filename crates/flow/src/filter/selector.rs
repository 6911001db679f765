//! Label selectors as texts: `app=web,tier!=db,env in (a, b),!old,k8s:role`.

use types::{Selector, SelectorError, Source};

/// A text that is no label selector.
#[derive(Debug, thiserror::Error)]
pub enum SelectorTextError {
    /// It cannot be read.
    #[error(
        "label selector {text:?} cannot be read at {rest:?}: write KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A,B) or KEY notin (A,B), joined by commas"
    )]
    Syntax {
        /// What was given.
        text: String,
        /// Where reading stopped.
        rest: String,
    },
    /// It can be read, but no label can be like that.
    #[error("label selector {text:?} selects what no label can be")]
    Meaning {
        /// What was given.
        text: String,
        /// Why.
        #[source]
        source: SelectorError,
    },
}

/// One requirement: key, operator, values.
type Term<'a> = (&'a str, &'static str, Vec<&'a str>);

/// Reads a selector in the syntax of `kubectl -l`. Keys may carry a source (`k8s:app`, `reserved:host`); without one any
/// source fits.
pub fn parse_selector(text: &str) -> Result<Selector, SelectorTextError> {
    let mut terms: Vec<Term<'_>> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let syntax = || SelectorTextError::Syntax { text: text.to_owned(), rest: rest.to_owned() };
        let (found, after) = term(rest).ok_or_else(syntax)?;
        terms.push(found);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(more) if !more.trim().is_empty() => rest = more.trim_start(),
            None if rest.is_empty() => {}
            _ => return Err(SelectorTextError::Syntax { text: text.to_owned(), rest: rest.to_owned() }),
        }
    }
    let none: [(&str, &str); 0] = [];
    Selector::new(none, terms, &Source::Any)
        .map_err(|source| SelectorTextError::Meaning { text: text.to_owned(), source })
}

fn term(text: &str) -> Option<(Term<'_>, &str)> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = word(rest)?;
        return Some(((key, "DoesNotExist", vec![]), rest));
    }
    let (key, rest) = word(text)?;
    let after = rest.trim_start();
    if let Some(rest) = after.strip_prefix("!=") {
        let (value, rest) = value(rest);
        return Some(((key, "NotIn", vec![value]), rest));
    }
    if let Some(rest) = after.strip_prefix("==").or_else(|| after.strip_prefix('=')) {
        let (value, rest) = value(rest);
        return Some(((key, "In", vec![value]), rest));
    }
    for (name, operator) in [("notin", "NotIn"), ("in", "In")] {
        if let Some(list) = after.strip_prefix(name).map(str::trim_start).and_then(|l| l.strip_prefix('(')) {
            let (list, rest) = list.split_once(')')?;
            return Some(((key, operator, list.split(',').map(str::trim).collect()), rest));
        }
    }
    Some(((key, "Exists", vec![]), rest))
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '!' | '(' | ')'))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A value may be empty: `app=` asks for an empty one.
fn value(text: &str) -> (&str, &str) {
    word(text).unwrap_or(("", text))
}
