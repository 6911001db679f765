//! The user's values: what they say about the few that this command would decide.

use crate::cli::ReleaseArgs;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs;

/// Files and pairs, in the order in which they win.
#[derive(Debug, Default)]
pub(super) struct Values {
    files: Vec<Value>,
    /// Keys with their values, as `--set` has them.
    pairs: Vec<(String, String)>,
}

impl Values {
    /// Reads the files and the pairs that were given.
    pub(super) fn read(args: &ReleaseArgs) -> Result<Self> {
        let mut files = Vec::new();
        for path in &args.values {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let value: Value =
                serde_yaml_ng::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))?;
            files.push(value);
        }
        Ok(Self { files, pairs: args.set.iter().flat_map(|text| pairs(text)).collect() })
    }

    /// What the user says about a value such as `cluster.name`.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        let pair = self.pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let pointer = format!("/{}", key.replace('.', "/"));
        let in_file = || self.files.iter().rev().find_map(|file| file.pointer(&pointer)).map(plain);
        pair.or_else(in_file)
    }

    /// All values as YAML: what was decided, and the user's above it.
    pub(super) fn over(&self, decided: &Value) -> Result<String> {
        let mut all = decided.clone();
        for file in &self.files {
            merge(&mut all, file);
        }
        for (key, value) in &self.pairs {
            set(&mut all, key, typed(value));
        }
        serde_yaml_ng::to_string(&all).context("cannot write the values as YAML")
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `true`, `7` and `null` are no texts, as for helm.
pub(super) fn typed(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        _ => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
    }
}

/// Splits `a=b,c={d,e}` at commas outside of braces; `\,` is a comma.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let (mut depth, mut escaped) = (0_u32, false);
    for character in text.chars() {
        let last = parts.len() - 1;
        match character {
            _ if escaped => {
                parts[last].push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            ',' if depth == 0 => parts.push(String::new()),
            other => {
                depth = match other {
                    '{' | '[' => depth + 1,
                    '}' | ']' => depth.saturating_sub(1),
                    _ => depth,
                };
                parts[last].push(other);
            }
        }
    }
    parts.iter().filter_map(|part| part.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Puts a value at `a.b.c`.
pub(super) fn set(values: &mut Value, key: &str, value: Value) {
    let mut place = values;
    for part in key.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}

fn merge(below: &mut Value, above: &Value) {
    match above {
        Value::Object(fields) if below.is_object() => {
            for (name, value) in fields {
                merge(&mut below[name.as_str()], value);
            }
        }
        other => *below = other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_user_says_is_found_and_wins() {
        let files =
            vec![json!({ "cluster": { "name": "file", "id": 3 } }), json!({ "ipam": { "mode": "x" } })];
        let set = ["devices={eth0,eth1},cluster.name=pair", "k8sServicePort=6443"];
        let values = Values { files, pairs: set.iter().flat_map(|text| pairs(text)).collect() };
        assert_eq!(values.get("cluster.name").as_deref(), Some("pair"));
        assert_eq!(values.get("cluster.id").as_deref(), Some("3"));
        assert_eq!(values.get("devices").as_deref(), Some("{eth0,eth1}"));
        assert_eq!(values.get("ipam.operator"), None);
        let decided = json!({ "cluster": { "name": "seen" }, "kubeProxyReplacement": "true" });
        assert_eq!(
            values.over(&decided).expect("YAML"),
            "cluster:\n  id: 3\n  name: pair\ndevices: '{eth0,eth1}'\nipam:\n  mode: x\nk8sServicePort: 6443\nkubeProxyReplacement: 'true'\n"
        );
    }
}
