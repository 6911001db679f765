//! What flows must not say: secrets in messages of layer 7.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Flow, L7Record};

/// What stands in place of a secret.
pub const REDACTED: &str = "HUBBLE_REDACTED";

/// What is taken out of every flow before anybody sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    /// Queries and fragments of URLs go.
    pub url_query: bool,
    /// Passwords in URLs are hidden.
    pub user_info: bool,
    /// Names of Kafka's APIs are hidden.
    pub kafka_api_key: bool,
    /// Whose values of headers are hidden.
    pub headers: Headers,
}

/// Headers whose values are hidden; names in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Headers {
    /// None.
    #[default]
    Keep,
    /// All but these.
    AllBut(BTreeSet<String>),
    /// These.
    These(BTreeSet<String>),
}

impl Headers {
    fn hides(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match self {
            Headers::Keep => false,
            Headers::AllBut(kept) => !kept.contains(&name),
            Headers::These(hidden) => hidden.contains(&name),
        }
    }
}

impl Redaction {
    /// Takes it out. A summary that somebody else has made of such a message goes, too: it may quote it.
    pub fn apply(&self, flow: &mut Flow) {
        let Some(l7) = &mut flow.l7 else { return };
        match &mut Arc::make_mut(l7).record {
            L7Record::Http { url, headers, .. } => {
                *url = self.url(url);
                for (name, value) in headers {
                    if self.headers.hides(name) {
                        REDACTED.clone_into(value);
                    }
                }
            }
            L7Record::Kafka { api_key, .. } if self.kafka_api_key => REDACTED.clone_into(api_key),
            L7Record::Kafka { .. } | L7Record::Dns { .. } | L7Record::Other => {}
        }
        flow.given_summary = None;
    }

    fn url(&self, url: &str) -> String {
        let end = if self.url_query { url.find(['?', '#']) } else { None };
        let kept = &url[..end.unwrap_or(url.len())];
        // The authority lies between `//` and the next `/`, `?` or `#`; what is before its last `@` names the user.
        let authority = kept.find("//").map(|at| at + 2).filter(|_| self.user_info);
        let Some(start) = authority else { return kept.to_owned() };
        let stop = kept[start..].find(['/', '?', '#']).map_or(kept.len(), |at| start + at);
        let Some(at) = kept[start..stop].rfind('@').map(|at| start + at) else { return kept.to_owned() };
        match kept[start..at].split_once(':') {
            Some((user, _)) => format!("{}{user}:{REDACTED}{}", &kept[..start], &kept[at..]),
            None => kept.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{L7, L7Kind};

    fn http(url: &str) -> Flow {
        let record = L7Record::Http {
            code: 0,
            method: "GET".into(),
            url: url.into(),
            protocol: "HTTP/1.1".into(),
            headers: vec![("Authorization".into(), "secret".into()), ("Accept".into(), "*/*".into())],
        };
        let l7 = L7 { kind: L7Kind::Request, latency: 0, record };
        Flow { l7: Some(Arc::new(l7)), given_summary: Some("secret".into()), ..Flow::default() }
    }

    fn after(redaction: &Redaction, url: &str) -> (String, Vec<String>) {
        let mut flow = http(url);
        redaction.apply(&mut flow);
        assert_eq!(flow.given_summary, None);
        let Some(L7Record::Http { url, headers, .. }) = flow.l7.map(|l7| l7.record.clone()) else {
            panic!("it was HTTP")
        };
        (url, headers.into_iter().map(|(_, value)| value).collect())
    }

    #[test]
    fn secrets_of_urls_go() {
        let both = Redaction { url_query: true, user_info: true, ..Redaction::default() };
        for (url, left) in [
            ("http://u:p@h:80/a/b?token=1#x", "http://u:HUBBLE_REDACTED@h:80/a/b"),
            ("http://u:p:q@r@h/", "http://u:HUBBLE_REDACTED@h/"),
            ("http://u@h/@:a", "http://u@h/@:a"),
            ("http://h?u:p@h", "http://h"),
            ("/a?b", "/a"),
            ("", ""),
            ("http://u:p@", "http://u:HUBBLE_REDACTED@"),
            ("//é:ü@ö", "//é:HUBBLE_REDACTED@ö"),
        ] {
            assert_eq!(after(&both, url).0, left, "{url}");
        }
        let query = Redaction { url_query: true, ..Redaction::default() };
        assert_eq!(after(&query, "http://u:p@h/?a").0, "http://u:p@h/");
        let user = Redaction { user_info: true, ..Redaction::default() };
        assert_eq!(after(&user, "http://u:p@h/?a=b@c").0, "http://u:HUBBLE_REDACTED@h/?a=b@c");
    }

    #[test]
    fn values_of_headers_go_as_listed() {
        let list = |name: &str| BTreeSet::from([name.to_owned()]);
        for (headers, left) in [
            (Headers::Keep, ["secret", "*/*"]),
            (Headers::These(list("authorization")), [REDACTED, "*/*"]),
            (Headers::AllBut(list("accept")), [REDACTED, "*/*"]),
            (Headers::AllBut(BTreeSet::new()), [REDACTED, REDACTED]),
        ] {
            let redaction = Redaction { headers, ..Redaction::default() };
            assert_eq!(after(&redaction, "/").1, left, "{redaction:?}");
        }
    }

    #[test]
    fn others_that_share_the_record_keep_it() {
        let flow = http("http://h/?a");
        let mut copy = flow.clone();
        Redaction { url_query: true, ..Redaction::default() }.apply(&mut copy);
        assert_ne!(flow.l7, copy.l7);
    }
}
