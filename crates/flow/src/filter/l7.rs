//! What a filter says about messages of layer 7.

use super::fits;
use super::pattern::{PatternError, TextPattern};
use crate::model::{Flow, L7Record};
use std::str::FromStr;

/// About a message of layer 7. A flow without one fits nothing of this.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct L7Filter {
    /// Status codes of HTTP answers.
    pub statuses: Vec<StatusPattern>,
    /// HTTP methods, whatever their case.
    pub methods: Vec<String>,
    /// Paths of HTTP URLs.
    pub paths: Vec<TextPattern>,
    /// HTTP URLs.
    pub urls: Vec<TextPattern>,
    /// HTTP headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Names asked for in DNS, with their final dot.
    pub dns_queries: Vec<TextPattern>,
}

/// A status code (`404`), or the beginning of one (`5+`, `40+`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPattern {
    digits: String,
    prefix: bool,
}

impl L7Filter {
    /// Whether it asks for anything of HTTP.
    pub fn is_about_http(&self) -> bool {
        !(self.statuses.is_empty()
            && self.methods.is_empty()
            && self.paths.is_empty()
            && self.urls.is_empty()
            && self.headers.is_empty())
    }

    /// Whether the flow fits.
    pub(super) fn matches(&self, flow: &Flow) -> bool {
        let record = flow.l7.as_deref().map(|l7| &l7.record);
        let query = match record {
            Some(L7Record::Dns { query, .. }) => Some(query),
            _ => None,
        };
        fits(&self.dns_queries, |pattern| query.is_some_and(|query| pattern.matches(query)))
            && (!self.is_about_http() || self.http(record))
    }

    fn http(&self, record: Option<&L7Record>) -> bool {
        let Some(L7Record::Http { code, method, url, headers, .. }) = record else { return false };
        let path = || path(url).unwrap_or_default();
        fits(&self.statuses, |status| status.matches(*code))
            && fits(&self.methods, |wanted| !method.is_empty() && wanted.eq_ignore_ascii_case(method))
            && fits(&self.urls, |pattern| !url.is_empty() && pattern.matches(url))
            && (self.paths.is_empty() || {
                let path = path();
                !path.is_empty() && self.paths.iter().any(|pattern| pattern.matches(&path))
            })
            && fits(&self.headers, |wanted| headers.contains(wanted))
    }
}

impl StatusPattern {
    /// Whether a code fits; 0, the code of requests, never does.
    pub fn matches(&self, code: u32) -> bool {
        let text = format!("{code:03}");
        code != 0 && if self.prefix { text.starts_with(&self.digits) } else { text == self.digits }
    }
}

impl FromStr for StatusPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (digits, prefix) = match text.strip_suffix('+') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let length = if prefix { 1..=2 } else { 3..=3 };
        let good = digits.bytes().all(|b| b.is_ascii_digit())
            && length.contains(&digits.len())
            && matches!(digits.as_bytes().first(), Some(b'1'..=b'5'));
        if good {
            Ok(Self { digits: digits.to_owned(), prefix })
        } else {
            Err(PatternError::Status { text: text.to_owned() })
        }
    }
}

/// The path of a URL, decoded: what is between authority and query. `None` if the text is no URL of a request.
fn path(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None if url.starts_with('/') => url,
        None => return None,
    };
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            byte => byte,
        };
        bytes.push(byte);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_urls() {
        for (url, expected) in [
            ("http://shop/items?id=1", Some("/items")),
            ("http://shop", Some("")),
            ("/a%20b", Some("/a b")),
            ("/a%2", None),
            ("/a%zz", None),
            ("shop/items", None),
            ("", None),
        ] {
            assert_eq!(path(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn status_codes() {
        let fits = |pattern: &str, code| pattern.parse::<StatusPattern>().unwrap().matches(code);
        assert!(fits("404", 404) && fits("4+", 404) && fits("40+", 404));
        assert!(!fits("404", 403) && !fits("5+", 404) && !fits("1+", 0));
        for text in ["", "+", "4", "40", "4044", "600", "0+", "404+", "4x+"] {
            assert!(text.parse::<StatusPattern>().is_err(), "{text}");
        }
    }
}
