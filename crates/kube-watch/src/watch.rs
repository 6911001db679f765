//! The watch loop: list, confirm, follow, resume, and begin again when the server has forgotten where we were.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt, pin_mut};
use kube::core::WatchEvent;
use kube::core::params::{ListParams, WatchParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::backoff::Backoff;
use crate::change::{Change, Invalid, Key};
use crate::error::describe;
use crate::guard::Guarded;
use crate::health::{WatchHealth, Watched};
use crate::outlet::{Closed, Outlet};

/// Objects of a kind whose type is known when this is compiled.
pub trait Watchable: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static> Watchable for K {}

/// Which objects to watch; empty: all of the kind.
#[derive(Clone, Debug, Default)]
pub struct WatchSpec {
    /// Field selector, such as `spec.nodeName=node-1` or `metadata.namespace=kube-system`.
    pub fields: Option<String>,
    /// Label selector.
    pub labels: Option<String>,
}

impl WatchSpec {
    /// Only objects that a field selector selects.
    #[must_use]
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { fields: Some(selector.into()), ..Self::default() }
    }
}

/// Objects a page of a list.
const PAGE: u32 = 500;
/// How long the server may take to answer.
const REQUEST: Duration = Duration::from_secs(30);
/// Seconds after which the server ends a watch, as a way to spread watches over servers.
const WATCH_SECONDS: u32 = 285;
/// A watch that is silent for longer is dead: the server sends a bookmark about every minute.
const SILENCE: Duration = Duration::from_secs(150);
/// A list that has become empty is asked for again after this long.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// A watch that ends before this is not counted as a success.
const SHORT: Duration = Duration::from_secs(1);
/// After so many refusals of a watch in a row the list is asked for again: what we resume from may be bad.
const RELIST_AFTER: u32 = 5;

pub(crate) fn start<K, M, F>(
    client: Client,
    spec: WatchSpec,
    queue: mpsc::Sender<M>,
    message: F,
) -> (Watched, impl Future<Output = ()> + Send + use<K, M, F>)
where
    K: Watchable,
    M: Send + 'static,
    F: Fn(Vec<Change<K>>) -> M + Send + 'static,
{
    let (health, view) = watch::channel(WatchHealth::new(K::kind(&()).into_owned()));
    let closed = queue.clone();
    let watching = Watching {
        api: Api::all(client),
        spec,
        health,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
        outlet: Outlet::new(queue, message),
    };
    let run = async move {
        tokio::select! {
            () = closed.closed() => {}
            () = watching.run() => {}
        }
    };
    (Watched(view), run)
}

struct Watching<K, M, F> {
    api: Api<Guarded<K>>,
    spec: WatchSpec,
    health: watch::Sender<WatchHealth>,
    backoff: Backoff,
    outlet: Outlet<K, M, F>,
}

/// All objects, and the version from which to follow.
struct Listed<K> {
    objects: Vec<K>,
    invalid: Vec<Invalid>,
    version: String,
}

impl<K> Listed<K> {
    fn len(&self) -> usize {
        self.objects.len() + self.invalid.len()
    }
}

/// Why a watch ended.
enum End {
    /// The server ended it, as it does now and then.
    Over,
    /// The server does not know the version any more.
    Forgotten,
    /// Something failed; whether the server itself said so.
    Failed { error: String, answered: bool },
}

impl<K, M, F> Watching<K, M, F>
where
    K: Watchable,
    M: Send + 'static,
    F: Fn(Vec<Change<K>>) -> M + Send + 'static,
{
    async fn run(mut self) {
        loop {
            let listed = self.listed().await;
            let version = listed.version.clone();
            if self.reset(listed).await.is_err() || self.follow(version).await.is_err() {
                return;
            }
        }
    }

    /// A full list, however long it takes to get one.
    async fn listed(&mut self) -> Listed<K> {
        loop {
            match self.confirmed().await {
                Ok(listed) => return listed,
                Err(error) => self.failed("list", error).await,
            }
        }
    }

    /// A full list that is not empty, or one that is empty twice.
    ///
    /// A server that has lost its storage or its cache answers with an empty list, and everything would be deleted
    /// because of it.
    async fn confirmed(&mut self) -> Result<Listed<K>, String> {
        let first = self.list().await?;
        if first.len() > 0 {
            return Ok(first);
        }
        if self.health.borrow().objects > 0 {
            sleep(CONFIRM_AFTER).await;
        }
        let second = self.list().await?;
        if second.len() > 0 {
            self.health.send_modify(|health| {
                let (kind, objects) = (&health.kind, second.len());
                tracing::warn!(%kind, objects, "the API server sent an empty list and then a full one");
                health.refuted_empty_lists += 1;
            });
        }
        Ok(second)
    }

    /// All pages of a list; a list of which a page is missing is no list.
    async fn list(&mut self) -> Result<Listed<K>, String> {
        let mut listed = Listed { objects: Vec::new(), invalid: Vec::new(), version: String::new() };
        let mut params = ListParams {
            label_selector: self.spec.labels.clone(),
            field_selector: self.spec.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let page = match timeout(REQUEST, self.api.list(&params)).await {
                Ok(answer) => answer.map_err(|error| describe(&error))?,
                Err(_) => return Err(format!("no answer within {} s", REQUEST.as_secs())),
            };
            self.contact();
            for item in page.items {
                match item.into_result() {
                    Ok(object) => listed.objects.push(object),
                    Err(invalid) => listed.invalid.push(invalid),
                }
            }
            listed.version = page.metadata.resource_version.unwrap_or_default();
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                break;
            }
        }
        if listed.version.is_empty() {
            return Err("the list has no resource version".to_owned());
        }
        Ok(listed)
    }

    async fn reset(&mut self, listed: Listed<K>) -> Result<(), Closed> {
        self.backoff.reset();
        let (objects, invalid) = (listed.len(), listed.invalid.len());
        self.outlet.push(Change::Reset(listed.objects));
        listed.invalid.into_iter().for_each(|invalid| self.outlet.push(Change::Invalid(invalid)));
        self.outlet.flush().await?;
        // Said only now: who sees it finds the objects in the queue.
        self.health.send_modify(|health| {
            health.synced = true;
            health.resets += 1;
            health.objects = objects;
            health.applied += (objects - invalid) as u64;
            health.invalid += invalid as u64;
        });
        Ok(())
    }

    /// Follows the changes from a version on, until only a new list can help.
    async fn follow(&mut self, mut version: String) -> Result<(), Closed> {
        let mut refusals = 0;
        loop {
            let (started, before) = (Instant::now(), version.clone());
            let end = self.stream(&mut version).await?;
            if version != before {
                refusals = 0;
            }
            self.outlet.flush().await?;
            match end {
                End::Forgotten => {
                    tracing::debug!(version, "the API server has forgotten this version: listing again");
                    return Ok(());
                }
                End::Over if started.elapsed() >= SHORT => self.backoff.reset(),
                End::Over => sleep(self.backoff.next_wait()).await,
                End::Failed { error, answered } => {
                    // A server that is away, or only just back, refuses nobody's version.
                    refusals = if answered { refusals + 1 } else { 0 };
                    self.failed("watch", error).await;
                    if refusals >= RELIST_AFTER {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One watch request.
    async fn stream(&mut self, version: &mut String) -> Result<End, Closed> {
        let params = WatchParams {
            label_selector: self.spec.labels.clone(),
            field_selector: self.spec.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let stream = match timeout(REQUEST, self.api.watch(&params, version)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Ok(failure(&error)),
            Err(_) => return Ok(End::Failed { error: "no answer to the watch".to_owned(), answered: false }),
        };
        self.contact();
        pin_mut!(stream);
        loop {
            let event = match self.next(&mut stream).await? {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Ok(failure(&error)),
                None => return Ok(End::Over),
            };
            self.contact();
            let next = match event {
                WatchEvent::Error(status) => return Ok(failure(&kube::Error::Api(status))),
                WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
                WatchEvent::Added(object) => self.changed(object, Kind::Added),
                WatchEvent::Modified(object) => self.changed(object, Kind::Modified),
                WatchEvent::Deleted(object) => self.changed(object, Kind::Deleted),
            };
            match next {
                Some(next) => *version = next,
                None => return Ok(End::Forgotten),
            }
            self.backoff.reset();
        }
    }

    /// The next event; sends the batch when it is due, and gives up on a stream that is silent for too long.
    async fn next<S>(&mut self, stream: &mut S) -> Result<Option<S::Item>, Closed>
    where
        S: Stream<Item = kube::Result<WatchEvent<Guarded<K>>>> + Unpin,
    {
        if let Some(deadline) = self.outlet.deadline() {
            // A stream that always has something ready would win over its timeout for ever.
            if deadline > Instant::now()
                && let Ok(event) = timeout_at(deadline, stream.next()).await
            {
                return Ok(event);
            }
            self.outlet.flush().await?;
        }
        match timeout(SILENCE, stream.next()).await {
            Ok(event) => Ok(event),
            Err(_) => Ok(Some(Err(kube::Error::ReadEvents(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no event and no bookmark for {} s", SILENCE.as_secs()),
            ))))),
        }
    }

    /// Takes a change in; returns the version that it leads to.
    fn changed(&mut self, object: Guarded<K>, kind: Kind) -> Option<String> {
        let version = object.version();
        let key = Key::of(&object);
        let change = match (kind, object.into_result()) {
            (Kind::Deleted, _) => Change::Delete(key),
            (_, Ok(object)) => Change::Apply(object),
            (_, Err(invalid)) => Change::Invalid(invalid),
        };
        self.health.send_modify(|health| {
            match kind {
                Kind::Added => health.objects += 1,
                Kind::Deleted => health.objects = health.objects.saturating_sub(1),
                Kind::Modified => {}
            }
            match &change {
                Change::Invalid(_) => health.invalid += 1,
                Change::Delete(_) => health.deleted += 1,
                _ => health.applied += 1,
            }
        });
        self.outlet.push(change);
        version
    }

    fn contact(&mut self) {
        let recovered = self.health.borrow().failures > 0;
        self.health.send_modify(|health| {
            if recovered {
                tracing::info!(kind = %health.kind, failures = health.failures, "the API server answers again");
            }
            health.connected = true;
            health.failures = 0;
            health.last_contact = Some(std::time::Instant::now());
        });
    }

    /// Notes a failure and waits before the next try.
    async fn failed(&mut self, verb: &'static str, error: String) {
        let wait = self.backoff.next_wait();
        let failures = self.backoff.failures();
        self.health.send_modify(|health| {
            // One line at the start of an outage, and one now and then.
            if health.failures == 0 || failures.is_multiple_of(32) {
                tracing::warn!(kind = %health.kind, verb, failures, %error, "the API server does not answer; trying on");
            }
            health.connected = false;
            health.failures = failures;
            health.last_error = Some(format!("{verb}: {error}"));
        });
        sleep(wait).await;
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Added,
    Modified,
    Deleted,
}

/// What an error means for a watch.
fn failure(error: &kube::Error) -> End {
    match error {
        kube::Error::Api(status) if status.code == 410 || matches!(&*status.reason, "Expired" | "Gone") => {
            End::Forgotten
        }
        other => End::Failed {
            error: describe(other),
            answered: matches!(other, kube::Error::Api(_) | kube::Error::SerdeError(_)),
        },
    }
}

#[cfg(test)]
mod tests;
