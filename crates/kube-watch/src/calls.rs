//! Requests to the API server, counted on their way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tower::{Layer, Service};

/// What is told of an answered request: method, status (0: none came), time until the answer began.
type Tell = Box<dyn Fn(&str, u16, Duration) + Send + Sync>;

/// Where answered requests are told of. Cheap to clone; until somebody listens nobody is told.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Option<Tell>>>);

impl Calls {
    pub(crate) fn listen(&self, tell: Tell) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    }

    fn tell(&self, method: &str, status: u16, took: Duration) {
        if let Some(tell) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            tell(method, status, took);
        }
    }
}

impl<S> Layer<S> for Calls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, calls: self.clone() }
    }
}

/// A service whose calls are told of.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    calls: Calls,
}

impl<S, Body, Answer> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Answer>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (method, calls, start) = (request.method().clone(), self.calls.clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            calls.tell(method.as_str(), status, start.elapsed());
            answer
        })
    }
}
