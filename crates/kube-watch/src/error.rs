//! What can go wrong with the API server.

use std::path::PathBuf;

use kube::core::Status;

/// The client could not be set up. The API server need not be there for that.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not in a pod, or the pod has no service account.
    #[error(
        "find the API server from inside a pod: mount the service account's token, or give a kubeconfig \
         (--k8s-kubeconfig-path)"
    )]
    InCluster {
        /// What is missing.
        #[source]
        source: Box<kube::config::InClusterError>,
    },
    /// The kubeconfig cannot be used.
    #[error("read the kubeconfig {}", path.display())]
    Kubeconfig {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The address given for the API server is none.
    #[error("use {address:?} as the API server's address: write https://HOST:PORT or HOST:PORT")]
    Address {
        /// What was given.
        address: String,
    },
    /// TLS or authentication data cannot be used.
    #[error("set up the connection to {address}")]
    Client {
        /// The API server.
        address: String,
        /// What the client library said.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {kind} {name}")]
pub struct ApiError {
    /// What was tried: `list`, `create`, `patch`, ...
    pub verb: &'static str,
    /// Kind of object.
    pub kind: String,
    /// Which object, or nothing for a list.
    pub name: String,
    /// What came back.
    #[source]
    pub source: Box<kube::Error>,
}

impl ApiError {
    /// The server's answer, if it answered.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self.source.as_ref() {
            kube::Error::Api(status) => Some(status),
            _ => None,
        }
    }

    /// There is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// There is already such an object.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409 && status.reason == "AlreadyExists")
    }

    /// Somebody else was first: read again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409 && status.reason != "AlreadyExists")
    }

    /// Our role does not allow this; trying again does not help.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|status| status.code == 403)
    }

    /// The whole story in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{self}: {}", describe(&self.source))
    }
}

/// A client error in one line: the server's own words where it answered.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("{} ({})", status.reason, status.code)
        }
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        // The text of these repeats their cause.
        other => std::iter::successors(Some(other as &dyn std::error::Error), |error| error.source())
            .last()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}
