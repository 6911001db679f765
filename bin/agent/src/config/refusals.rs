//! Sentences about options that contradict each other: those of the chart, so that whoever refuses says the same.

use anyhow::{Error, anyhow};

/// The chart's file: a line each, `key: "sentence"`.
const SENTENCES: &str = include_str!("../../../../charts/cilium/files/refusals.yaml");

/// The sentence of a key, with what stands in braces filled in.
pub(super) fn refusal(key: &str, fields: &[(&str, &str)]) -> Error {
    let found = SENTENCES.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    let mut text = found.unwrap_or(key).trim_matches('"').to_owned();
    for (name, value) in fields {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    anyhow!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_is_found_whole() {
        let keys = SENTENCES.lines().filter(|line| !line.starts_with('#'));
        let keys: Vec<&str> = keys.filter_map(|line| line.split_once(": ")).map(|(key, _)| key).collect();
        let alone = ["families", "native-cidr", "direct-routes", "ip-masq-agent", "load-balancer-mode"];
        assert_eq!(keys, [&alone[..], &["chain-config", "chain-routing", "chain-ipam"]].concat());
        let fields = [("family", "4"), ("ipam", "cluster-pool"), ("mode", "dsr"), ("routing", "tunnel")];
        for key in keys {
            let text = refusal(key, &fields).to_string();
            assert!(
                text.len() > 80 && text.ends_with('.') && !text.contains(['{', '}', '"']),
                "{key}: {text}"
            );
        }
    }
}
