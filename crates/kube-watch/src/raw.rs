//! Objects of any kind by their paths, for tools that make and remove what they were told to.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::clients::Clients;
use crate::error::ApiError;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);

impl Clients {
    /// Creates or changes the object at a path such as `/api/v1/namespaces/shop`, by server-side apply as `manager`;
    /// what others own and `object` says otherwise is taken over.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn apply_at(&self, path: &str, manager: &str, object: &Value) -> Result<Value, ApiError> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.send("apply", http::Method::PATCH, &path, Some(("application/apply-patch+yaml", object))).await
    }

    /// Changes some fields of the object at a path (a JSON merge patch: null removes a field).
    ///
    /// # Errors
    /// [`ApiError`]; `is_not_found` when there is none.
    pub async fn merge_at(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        self.send("patch", http::Method::PATCH, path, Some(("application/merge-patch+json", patch))).await
    }

    /// Removes the object at a path, and what belongs to it in the background.
    ///
    /// # Errors
    /// [`ApiError`]; `is_not_found` when there is none.
    pub async fn delete_at(&self, path: &str) -> Result<Value, ApiError> {
        self.send("delete", http::Method::DELETE, path, None).await
    }

    /// The text at a path, such as a container's log.
    ///
    /// # Errors
    /// [`ApiError`]; `is_not_found` when there is none.
    pub async fn read_text(&self, path: &str) -> Result<String, ApiError> {
        let answer = match http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError) {
            Ok(request) => in_time(self.client().request_text(request)).await,
            Err(error) => Err(error),
        };
        answer.map_err(failed("read", path))
    }

    /// One request, with a body of a media type or without one.
    pub(crate) async fn send(
        &self,
        verb: &'static str,
        method: http::Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, ApiError> {
        let mut request = http::Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if let Some((kind, value)) = body {
            request = request.header(http::header::CONTENT_TYPE, kind);
            bytes = serde_json::to_vec(value).map_err(|e| failed(verb, path)(kube::Error::SerdeError(e)))?;
        }
        let answer = match request.body(bytes).map_err(kube::Error::HttpError) {
            Ok(request) => in_time(self.client().request(request)).await,
            Err(error) => Err(error),
        };
        answer.map_err(failed(verb, path))
    }
}

/// What the server says within [`REQUEST`].
async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(REQUEST, request).await.unwrap_or_else(|_| {
        let silence = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Err(kube::Error::Service(silence.into()))
    })
}

/// Says of an error what was tried, and where; the query says nothing to whom the error is for.
fn failed(verb: &'static str, path: &str) -> impl FnOnce(kube::Error) -> ApiError {
    let kind = path.split('?').next().unwrap_or_default().to_owned();
    move |source| ApiError { verb, kind, name: String::new(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use crate::mock::{Answer, Server, status};
    use serde_json::json;

    #[tokio::test]
    async fn objects_are_reached_by_their_paths() {
        let (clients, server) = Server::new(|number, _| match number {
            0 | 1 => Answer::Json(200, json!({ "kind": "Namespace" })),
            _ => Answer::Json(404, status(404, "NotFound")),
        });
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
        clients.apply_at("/api/v1/namespaces/shop", "test", &object).await.expect("applied");
        clients.merge_at("/api/v1/namespaces/shop", &json!({ "a": 1 })).await.expect("patched");
        let error = clients.delete_at("/api/v1/namespaces/shop").await.expect_err("none");
        assert!(error.is_not_found(), "{}", error.describe());
        let seen = server.seen();
        assert_eq!(
            seen.iter().map(|one| (one.method.as_str(), one.uri.as_str())).collect::<Vec<_>>(),
            [
                ("PATCH", "/api/v1/namespaces/shop?fieldManager=test&force=true"),
                ("PATCH", "/api/v1/namespaces/shop"),
                ("DELETE", "/api/v1/namespaces/shop"),
            ]
        );
        assert_eq!(seen[0].body, object);
    }
}
