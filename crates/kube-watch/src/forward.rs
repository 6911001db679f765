//! Ports of pods, as `kubectl port-forward` reaches them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::time::timeout;

use crate::clients::Clients;
use crate::error::ApiError;

/// How long what is under way may take to arrive once both ends have closed.
const REST: Duration = Duration::from_secs(5);

impl Clients {
    /// Leads a connection to a port of a pod, through the API server and the pod's kubelet, until its ends close it.
    ///
    /// # Errors
    /// [`ApiError`], when the pod cannot be reached, nothing listens there, or the connection breaks.
    pub async fn forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        mut connection: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), ApiError> {
        let failed = |source| ApiError {
            verb: "reach a port of",
            kind: "Pod".to_owned(),
            name: format!("{namespace}/{pod}"),
            source: Box::new(source),
        };
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let mut forwarder = pods.portforward(pod, &[port]).await.map_err(failed)?;
        let (Some(mut there), Some(trouble)) = (forwarder.take_stream(port), forwarder.take_error(port))
        else {
            // Each is there once.
            return Ok(());
        };
        let done = tokio::select! {
            biased;
            Some(why) = trouble => Err(std::io::Error::other(why.trim().to_owned())),
            copied = copy_bidirectional(&mut connection, &mut there) => copied.map(drop),
        };
        drop(there);
        if done.is_ok() {
            // What the two had to say is said: how the way between them is taken down matters no more.
            let _ = timeout(REST, forwarder.join()).await;
        } else {
            forwarder.abort();
        }
        done.map_err(|error| failed(kube::Error::Service(error.into())))
    }
}
