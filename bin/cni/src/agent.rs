//! The agent, seen from the plugin: it may be starting, restarting or away.

use crate::failure::{Code, Failure};
use api::delete_queue::{self, Release};
use api::{Client, ClientError, cni, endpoint::Endpoint, paths, status::Health};
use serde::{Serialize, de::DeserializeOwned};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// How long an ADD waits for an agent that is away; runtimes try again after that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the agent may be silent in one call. Policy of a new pod is in the kernel in milliseconds; a node that
/// starts a hundred pods while the API server is slow is another matter.
const SILENCE: Duration = Duration::from_secs(60);
/// The same where the answer is known at once.
const SHORT_SILENCE: Duration = Duration::from_secs(5);

/// The agent of this node.
pub(crate) struct Agent {
    client: Client,
    queue: PathBuf,
}

impl Agent {
    /// On the usual socket, or where `CILIUM_SOCK` says; the queue of releases is next to it.
    pub(crate) fn from_env() -> Self {
        let socket =
            env::var_os(paths::SOCKET_ENV).map_or_else(|| PathBuf::from(paths::SOCKET), PathBuf::from);
        let queue = match socket.parent() {
            Some(folder) => folder.join("deleteQueue"),
            None => PathBuf::from(delete_queue::DIRECTORY),
        };
        Agent { client: Client::new(socket).with_timeout(SILENCE), queue }
    }

    pub(crate) fn allocate(&self, request: &cni::AllocateRequest) -> Result<cni::AllocateResponse, Failure> {
        self.patiently(paths::CNI_ALLOCATE, request)
    }

    pub(crate) fn attach(&self, request: &cni::AttachRequest) -> Result<cni::AttachResponse, Failure> {
        self.patiently(paths::CNI_ATTACH, request)
    }

    pub(crate) fn check(&self, request: &cni::CheckRequest) -> Result<cni::CheckResponse, Failure> {
        self.client.post(paths::CNI_CHECK, request).map_err(failure)
    }

    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, Failure> {
        self.client.get(paths::ENDPOINTS).map_err(failure)
    }

    /// STATUS.
    pub(crate) fn status(&self) -> Result<(), Failure> {
        let client = self.client.clone().with_timeout(SHORT_SILENCE);
        match client.get::<Health>(paths::HEALTH) {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(Failure::new(Code::NotAvailable, "the agent of this node cannot serve pods")
                    .because(&error))
            }
        }
    }

    /// Releases an attachment. If the agent is away it will find a file when it is back; only when that fails, too, the
    /// runtime has to come again.
    pub(crate) fn release(&self, container_id: &str, ifname: &str) -> Result<(), Failure> {
        let client = self.client.clone().with_timeout(SHORT_SILENCE);
        let path = paths::cni_release(container_id, ifname);
        let tell = || match client.delete::<cni::ReleaseResponse>(&path) {
            Ok(_) => true,
            Err(error) => error.status() == Some(404),
        };
        if tell() {
            return Ok(());
        }
        let release = Release { container_id: container_id.to_owned(), ifname: ifname.to_owned() };
        match delete_queue::push(&self.queue, &release) {
            Ok(file) => {
                // The agent may have come back and emptied the queue just before the file was there.
                if tell() {
                    // Left over it does no harm: what is released already is released again.
                    let _ = fs::remove_file(file);
                }
                Ok(())
            }
            Err(error) => Err(Failure::new(
                Code::TryAgainLater,
                "the agent is away and the release of the pod's addresses cannot be noted for later",
            )
            .because(&error)),
        }
    }

    /// Tries again while the agent is away. Calls may be repeated: the agent knows an attachment by its container.
    fn patiently<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.client.post(path, body) {
                Err(error) if error.is_unavailable() && Instant::now() < deadline => thread::sleep(PAUSE),
                result => return result.map_err(failure),
            }
        }
    }
}

fn failure(error: ClientError) -> Failure {
    match &error {
        _ if error.is_unavailable() => {
            Failure::new(Code::TryAgainLater, "the agent of this node is not available").because(&error)
        }
        ClientError::Refused { status: 404, .. } => {
            Failure::new(Code::UnknownContainer, "the agent of this node does not know the container")
                .because(&error)
        }
        ClientError::Refused { .. } => Failure::new(Code::Refused, format!("the agent refused: {error}")),
        _ => Failure::new(Code::Io, "the talk with the agent of this node failed").because(&error),
    }
}
