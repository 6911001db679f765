//! Reading whole lists as they are, for tools that look at a cluster once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::clients::Clients;
use crate::error::ApiError;

/// Objects a page.
const PAGE: usize = 500;

impl Clients {
    /// The object at a path such as `/api/v1/namespaces/kube-system/configmaps/cilium-config`.
    ///
    /// # Errors
    /// [`ApiError`]; `is_not_found` when there is none.
    pub async fn read(&self, path: &str) -> Result<Value, ApiError> {
        self.send("read", http::Method::GET, path, None).await
    }

    /// All objects below a path such as `/api/v1/pods`, each with its `kind` and `apiVersion`. None of them is looked
    /// into, so that a strange one spoils nothing.
    ///
    /// # Errors
    /// [`ApiError`]; `is_not_found` when the server does not have the kind.
    pub async fn read_all(&self, path: &str) -> Result<Vec<Value>, ApiError> {
        let mut objects = Vec::new();
        let mut page = format!("{path}?limit={PAGE}");
        loop {
            let mut list = self.read(&page).await?;
            let kind = list.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
            let tags = [("kind", kind.map(Value::from)), ("apiVersion", list.get("apiVersion").cloned())];
            let items = list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            for mut item in items.unwrap_or_default() {
                for (name, tag) in &tags {
                    if let (Some(fields), Some(tag)) = (item.as_object_mut(), tag) {
                        fields.insert((*name).to_owned(), tag.clone());
                    }
                }
                objects.push(item);
            }
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                None | Some("") => return Ok(objects),
                Some(token) => page = format!("{path}?limit={PAGE}&continue={}", escape(token)),
            }
        }
    }
}

/// Everything that policy is made of; clusters may lack the last kinds.
const POLICY_WORLD: [&str; 10] = [
    "/api/v1/namespaces",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/nodes",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/cilium.io/v2/ciliumcidrgroups",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/cilium.io/v2/ciliumnetworkpolicies",
    "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
];
const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/cilium-config";

impl Clients {
    /// Namespaces, pods and policies as they are, and the data of the ConfigMap `cilium-config` (empty if there is none).
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn policy_world(&self) -> Result<(Vec<Value>, BTreeMap<String, String>), ApiError> {
        let mut objects = Vec::new();
        for list in POLICY_WORLD {
            match self.read_all(list).await {
                Ok(found) => objects.extend(found),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let config = match self.read(CONFIG).await {
            Ok(config) => config,
            Err(error) if error.is_not_found() => Value::Null,
            Err(error) => return Err(error),
        };
        let data = config.get("data").and_then(Value::as_object).into_iter().flatten();
        let settings = data.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        Ok((objects, settings.collect()))
    }
}

/// RFC 3986 §2.3.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            other => write!(out, "%{other:02X}").unwrap_or_default(),
        }
        out
    })
}

#[cfg(test)]
mod tests;
