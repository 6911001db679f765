//! A client whose server is a list of answers, given one by one; with it, a test says what the API server does.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, future};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::clients::Clients;

/// What the server does with one request.
pub(crate) enum Answer {
    /// Status and JSON body.
    Json(u16, Value),
    /// A stream of lines, which the test goes on feeding.
    Stream(mpsc::UnboundedReceiver<String>),
    /// No server there.
    Refused,
    /// Nothing, ever.
    Silence,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) body: Value,
}

/// The server's side: what it was asked, and what it says.
#[derive(Clone, Default)]
pub(crate) struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// A client and its server. `answer` is asked with each request and its number from 0.
    pub(crate) fn new(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> (Clients, Self) {
        let server = Self::default();
        let seen = server.seen.clone();
        let answer = Arc::new(answer);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (seen, answer) = (seen.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await?.to_bytes();
                let one = Seen {
                    method: parts.method.to_string(),
                    uri: parts.uri.to_string(),
                    body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                };
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(one.clone());
                    seen.len() - 1
                };
                respond(answer(number, &one)).await
            }
        });
        (Clients::from_client(Client::new(service, "default")), server)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

type Frames = StreamBody<BoxStream<'static, Result<Frame<Bytes>, tower::BoxError>>>;

async fn respond(answer: Answer) -> Result<Response<Frames>, tower::BoxError> {
    let (code, lines) = match answer {
        Answer::Json(code, value) => (code, stream::iter([value.to_string()]).boxed()),
        Answer::Stream(lines) => (200, lines.map(|line| line + "\n").boxed()),
        Answer::Refused => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()),
        Answer::Silence => future::pending().await,
    };
    let frames = lines.map(|line| Ok(Frame::data(Bytes::from(line)))).boxed();
    Ok(Response::builder().status(code).body(StreamBody::new(frames))?)
}

/// A list of nodes of these names, at a version.
pub(crate) fn nodes(version: &str, names: &[&str]) -> Answer {
    let items: Vec<_> = names.iter().map(|name| node(name, version)).collect();
    Answer::Json(200, json!({ "metadata": { "resourceVersion": version }, "items": items }))
}

/// A node.
pub(crate) fn node(name: &str, version: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "resourceVersion": version } })
}

/// A line of a watch.
pub(crate) fn event(kind: &str, object: &Value) -> String {
    // In the server's order: the type comes first.
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

/// A failure as the server says it.
pub(crate) fn status(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": format!("said by the test: {reason}"),
    })
}
