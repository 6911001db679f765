//! What nobody else must see: masked wherever it may stand.

use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;

/// What stands in its place.
const MASK: &str = "<masked>";

/// Names of fields and variables whose values are secrets.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_', '.'], "");
    [
        "password",
        "passwd",
        "secretkey",
        "accesskey",
        "apikey",
        "privatekey",
        "token",
        "credential",
        "presharedkey",
    ]
    .iter()
    .any(|word| name.ends_with(word))
}

/// Masks values in an object: of fields and variables with telling names, and annotations that repeat a whole object.
pub(super) fn object(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A variable of a container: name and value side by side.
            let telling = fields.get("name").and_then(Value::as_str).is_some_and(is_secret);
            for (name, value) in fields.iter_mut() {
                let masked = is_secret(name) || (telling && name == "value");
                match value {
                    Value::String(text) if masked => MASK.clone_into(text),
                    Value::String(text) if name == "kubectl.kubernetes.io/last-applied-configuration" => {
                        MASK.clone_into(text);
                    }
                    other => object(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(object),
        _ => {}
    }
}

/// Patterns of secrets in texts; what is kept of a match is its first group.
static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
        r"(?i)(bearer\s+)[A-Za-z0-9._~+/-]{8,}=*",
        r"(?i)(basic\s+)[A-Za-z0-9+/]{8,}=*",
        // A JSON web token, wherever it stands.
        r"()eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*",
        r#"(?i)((?:password|passwd|secret[-_]?key|access[-_]?key|api[-_]?key|token|credential)s?["']?\s*[=:]\s*["']?)[^\s"',}]+"#,
        // Users in URLs.
        r"(://[^/\s:@]+:)[^/\s@]+@",
    ]
    .iter()
    .filter_map(|pattern| Regex::new(pattern).ok())
    .collect()
});

/// Masks what looks like a secret in a text.
pub(super) fn text(text: &str) -> String {
    PATTERNS.iter().fold(text.to_owned(), |text, pattern| {
        pattern.replace_all(&text, format!("${{1}}{MASK}")).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Canaries that must not come through.
    #[test]
    fn no_canary_comes_through() {
        assert_eq!(PATTERNS.len(), 6, "every pattern is a regular expression");
        let texts = [
            "-----BEGIN RSA PRIVATE KEY-----\nCANARY\nCANARY\n-----END RSA PRIVATE KEY-----\nafter",
            "-----BEGIN PRIVATE KEY-----\nCANARY cut off",
            "Authorization: Bearer CANARY-0123456789",
            "authorization: Basic Q0FOQVJZCANARY==",
            "got eyJhbGciOiJSUzI1NiJ9.eyJDANARYQ.CANARY here",
            "--etcd-password=CANARY --other=1",
            "{\"token\": \"CANARY\", \"x\": 1}",
            "dial https://user:CANARY@example.org/x",
            "AWS_SECRET_ACCESS_KEY: CANARY",
        ];
        for one in texts {
            let masked = text(one);
            assert!(!masked.contains("CANARY") && masked.contains(MASK), "{masked}");
        }
        assert!(text(texts[0]).ends_with("after"));
        let plain = "policy allows tokenizer on port 80: https://example.org:443/x@y";
        assert_eq!(text(plain), plain);
    }

    #[test]
    fn objects_keep_their_shape() {
        let mut pod = json!({
            "metadata": { "name": "x", "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{CANARY}" } },
            "spec": { "automountServiceAccountToken": true, "containers": [{ "env": [
                { "name": "DB_PASSWORD", "value": "CANARY" }, { "name": "MODE", "value": "fast" } ] }] },
            "data": { "api-key": "CANARY" },
        });
        object(&mut pod);
        assert!(!pod.to_string().contains("CANARY"), "{pod}");
        assert_eq!(pod.pointer("/spec/containers/0/env/1/value"), Some(&json!("fast")));
        assert_eq!(pod.pointer("/spec/automountServiceAccountToken"), Some(&json!(true)));
    }
}
