//! What is to be written to the API server: the newest wish for each object, until it is granted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_core::{Condition, EndpointObject, PodKey};
use tokio::sync::Notify;
use types::{Labels, PolicyOrigin};

/// Wishes by object. Bounded by the number of objects, since a newer wish takes the place of the older one.
#[derive(Debug)]
pub(crate) struct Outbox<K, V> {
    inner: Arc<Inner<K, V>>,
}

#[derive(Debug)]
struct Inner<K, V> {
    wishes: Mutex<BTreeMap<K, Option<V>>>,
    news: Notify,
}

impl<K, V> Clone for Outbox<K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V> Default for Outbox<K, V> {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { wishes: Mutex::default(), news: Notify::new() }) }
    }
}

impl<K: Ord + Clone, V> Outbox<K, V> {
    /// Adds wishes.
    pub(crate) fn put(&self, wishes: Vec<(K, Option<V>)>) {
        if wishes.is_empty() {
            return;
        }
        self.lock(|held| held.extend(wishes));
        self.inner.news.notify_one();
    }

    /// Puts a wish back that was not granted, unless there is a newer one.
    pub(crate) fn put_back(&self, key: K, wish: Option<V>) {
        self.lock(|held| {
            held.entry(key).or_insert(wish);
        });
    }

    /// Takes all wishes, and waits until there is one.
    pub(crate) async fn take(&self) -> BTreeMap<K, Option<V>> {
        loop {
            let news = self.inner.news.notified();
            let wishes = self.lock(std::mem::take);
            if !wishes.is_empty() {
                return wishes;
            }
            news.await;
        }
    }

    /// How many wishes wait.
    pub(crate) fn len(&self) -> usize {
        self.lock(|held| held.len())
    }

    fn lock<T>(&self, act: impl FnOnce(&mut BTreeMap<K, Option<V>>) -> T) -> T {
        // No holder can leave the map half changed.
        act(&mut self.inner.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Grants wishes for ever: each batch at once, and after a failure again, later and later.
pub(crate) async fn deliver<K, V, F, G>(outbox: Outbox<K, V>, grant: F)
where
    K: Ord + Clone,
    V: Clone,
    F: Fn(K, Option<V>) -> G,
    G: Future<Output = Result<(), kube_watch::ApiError>>,
{
    const FIRST: Duration = Duration::from_millis(200);
    let mut wait = FIRST;
    loop {
        let wishes = outbox.take().await;
        let mut failed = false;
        for (key, wish) in wishes {
            if let Err(error) = grant(key.clone(), wish.clone()).await {
                tracing::warn!(error = error.describe(), "not written to the API server; trying again");
                outbox.put_back(key, wish);
                failed = true;
            }
        }
        if failed {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(30));
        } else {
            wait = FIRST;
        }
    }
}

/// All outboxes of the agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outboxes {
    /// CiliumEndpoint objects.
    pub endpoints: Outbox<PodKey, EndpointObject>,
    /// Conditions of policies.
    pub conditions: Outbox<PolicyOrigin, Condition>,
    /// Identities to create: labels and the number to try.
    pub identities: Outbox<Labels, u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_wish_counts() {
        let outbox = Outbox::default();
        outbox.put(vec![(1, Some("a")), (2, None)]);
        let taken = outbox.take().await;
        assert_eq!(taken, BTreeMap::from([(1, Some("a")), (2, None)]));
        outbox.put(vec![(1, Some("b"))]);
        outbox.put_back(1, Some("a"));
        outbox.put_back(2, None);
        assert_eq!(outbox.take().await, BTreeMap::from([(1, Some("b")), (2, None)]));
    }

    #[tokio::test]
    async fn taking_waits_for_a_wish() {
        let outbox: Outbox<u32, u32> = Outbox::default();
        let taker = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.take().await }
        });
        tokio::task::yield_now().await;
        outbox.put(vec![(7, None)]);
        let taken =
            tokio::time::timeout(Duration::from_secs(5), taker).await.expect("in time").expect("no panic");
        assert_eq!(taken.len(), 1);
    }
}
