//! Reading whole lists as they are, for tools that look at a cluster once.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::clients::Clients;
use crate::error::ApiError;

/// How long one page may take.
const REQUEST: Duration = Duration::from_secs(30);
/// Objects a page.
const PAGE: usize = 500;

impl Clients {
    /// The object at a path such as `/api/v1/namespaces/kube-system/configmaps/cilium-config`.
    ///
    /// # Errors
    /// [`ApiError`]; `is_not_found` when there is none.
    pub async fn read(&self, path: &str) -> Result<Value, ApiError> {
        let failed = |source| ApiError {
            verb: "read",
            kind: path.to_owned(),
            name: String::new(),
            source: Box::new(source),
        };
        let request =
            http::Request::get(path).body(Vec::new()).map_err(|e| failed(kube::Error::HttpError(e)))?;
        match timeout(REQUEST, self.client().request(request)).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => {
                let silence = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Err(failed(kube::Error::Service(silence.into())))
            }
        }
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
