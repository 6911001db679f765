//! Commands in containers, as `kubectl exec` runs them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::clients::Clients;
use crate::error::ApiError;

/// What a command in a container has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; 0 is success.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Which container.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of the container; `None`: the first one.
    pub name: Option<&'a str>,
}

impl Clients {
    /// Runs a command in a container and waits for its end, at most for `limit`.
    ///
    /// # Errors
    /// [`ApiError`], when it cannot be started or does not end in time. A command that fails is no error but a [`Ran`].
    pub async fn exec(
        &self,
        container: Container<'_>,
        argv: &[&str],
        limit: Duration,
    ) -> Result<Ran, ApiError> {
        let failed = |source| ApiError {
            verb: "run a command in",
            kind: "Pod".to_owned(),
            name: format!("{}/{}", container.namespace, container.pod),
            source: Box::new(source),
        };
        match timeout(limit, self.run(container, argv)).await {
            Ok(ran) => ran.map_err(failed),
            Err(_) => {
                let silence = std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("`{}` has not ended after {} s", argv.join(" "), limit.as_secs()),
                );
                Err(failed(kube::Error::Service(silence.into())))
            }
        }
    }

    async fn run(&self, container: Container<'_>, argv: &[&str]) -> Result<Ran, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client(), container.namespace);
        let mut params = AttachParams::default().stdin(false).stdout(true).stderr(true);
        params.container = container.name.map(str::to_owned);
        let mut process = pods.exec(container.pod, argv.iter().copied(), &params).await?;
        let (mut out, mut err) = (process.stdout(), process.stderr());
        let status = process.take_status();
        let mut ran = Ran::default();
        let read = async {
            tokio::try_join!(
                async {
                    match &mut out {
                        Some(out) => out.read_to_end(&mut ran.stdout).await,
                        None => Ok(0),
                    }
                },
                async {
                    match &mut err {
                        Some(err) => err.read_to_end(&mut ran.stderr).await,
                        None => Ok(0),
                    }
                },
            )
        };
        read.await.map_err(|error| kube::Error::Service(error.into()))?;
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        ran.code = code(status.as_ref());
        // The status says how it went; the connection's own end adds nothing.
        drop(process);
        Ok(ran)
    }
}

/// The exit code that a status tells; a status that tells none is a failure like any other.
fn code(status: Option<&Status>) -> i32 {
    let Some(status) = status else { return 1 };
    if status.status.as_deref() == Some("Success") {
        return 0;
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let told = causes.into_iter().flatten().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    told.and_then(|cause| cause.message.as_deref()?.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read_from_statuses() {
        let of = |text: &str| code(Some(&serde_json::from_str(text).expect("a status")));
        assert_eq!(of(r#"{"status":"Success"}"#), 0);
        let details = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}"#;
        assert_eq!(of(details), 42);
        assert_eq!(of(r#"{"status":"Failure","message":"no such file"}"#), 1);
        assert_eq!(code(None), 1, "the connection broke");
    }
}
