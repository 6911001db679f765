//! Several streams as one, ordered by time.

use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;
use tokio::time::Instant;

/// How far ahead the merge of what is happening now may read, in items and in time: what comes later is told late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Items that wait at most.
    pub items: usize,
    /// How long an item waits for older ones of streams that have nothing to tell.
    pub time: Duration,
}

/// What counts more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Order: streams of the past end by themselves, so a slow one is waited for, five windows long.
    Past,
    /// Liveness: a stream of the present may be silent for ever, so the others wait no longer than the window.
    Present,
}

/// How many windows a stream of the past may stay silent.
const PATIENCE: u32 = 5;

/// Something to merge: it has a time, ns since the Unix epoch.
pub(crate) trait Timed: Send + 'static {
    /// When it happened.
    fn time(&self) -> u64;
}

/// What a merge tells.
#[derive(Debug, PartialEq)]
pub(crate) enum Told<K, T> {
    /// The next item of all streams.
    Item(T),
    /// This stream has ended.
    Ended(K),
}

/// An item that waits: ordered by time, then by arrival.
struct Waiting<T> {
    time: u64,
    number: u64,
    arrived: Instant,
    stream: u64,
    item: T,
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<T> Eq for Waiting<T> {}
impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

type Step<T> = (u64, Option<T>, BoxStream<'static, T>);

/// One of the streams.
struct Source<K> {
    name: K,
    /// Its items that wait.
    waiting: usize,
    /// It was waited for in vain.
    lagging: bool,
}

/// Streams that are merged. Each is ordered by itself.
pub(crate) struct Merge<K, T> {
    window: Window,
    mode: Mode,
    heap: BinaryHeap<Reverse<Waiting<T>>>,
    sources: BTreeMap<u64, Source<K>>,
    steps: FuturesUnordered<BoxFuture<'static, Step<T>>>,
    /// Streams whose next item is not asked for at the moment.
    resting: Vec<(u64, BoxStream<'static, T>)>,
    next_stream: u64,
    next_number: u64,
    /// When the last item came.
    progress: Instant,
}

impl<K: Clone + PartialEq, T: Timed> Merge<K, T> {
    /// No streams yet.
    pub(crate) fn new(window: Window, mode: Mode) -> Self {
        Self {
            window,
            mode,
            heap: BinaryHeap::new(),
            sources: BTreeMap::new(),
            steps: FuturesUnordered::new(),
            resting: Vec::new(),
            next_stream: 0,
            next_number: 0,
            progress: Instant::now(),
        }
    }

    /// Adds a stream.
    pub(crate) fn add(&mut self, name: K, stream: BoxStream<'static, T>) {
        let number = self.next_stream;
        self.next_stream += 1;
        self.sources.insert(number, Source { name, waiting: 0, lagging: false });
        self.resting.push((number, stream));
        self.progress = Instant::now();
    }

    /// Forgets a stream; what of it waits is still told.
    pub(crate) fn remove(&mut self, name: &K) {
        self.sources.retain(|_, source| source.name != *name);
        self.resting.retain(|(number, _)| self.sources.contains_key(number));
    }

    /// Whether a stream of this name is merged.
    pub(crate) fn has(&self, name: &K) -> bool {
        self.sources.values().any(|source| source.name == *name)
    }

    /// The next item, or the end of a stream. `None` when nothing waits and no stream is left. Can be dropped and called
    /// again at any point.
    pub(crate) async fn next(&mut self) -> Option<Told<K, T>> {
        loop {
            if self.is_due() || self.sources.is_empty() {
                return self.pop();
            }
            // Whoever has nothing in the window first; the others only read ahead.
            self.ask(|source| source.waiting == 0);
            let step = match self.steps.next().now_or_never() {
                Some(step) => step,
                None => {
                    if self.mode == Mode::Present {
                        self.ask(|_| true);
                    }
                    let deadline = self.deadline();
                    tokio::select! {
                        step = self.steps.next() => step,
                        () = sleep_until(deadline) => match self.mode {
                            Mode::Present => return self.pop(),
                            Mode::Past => {
                                let silent = self.sources.values_mut().filter(|source| source.waiting == 0);
                                silent.for_each(|source| source.lagging = true);
                                continue;
                            }
                        },
                    }
                }
            };
            if let Some((number, item, stream)) = step
                && let Some(ended) = self.take(number, item, stream)
            {
                return Some(Told::Ended(ended));
            }
        }
    }

    fn ask(&mut self, which: impl Fn(&Source<K>) -> bool) {
        for (number, stream) in std::mem::take(&mut self.resting) {
            if self.sources.get(&number).is_some_and(&which) {
                let step = stream.into_future().map(move |(item, stream)| (number, item, stream));
                self.steps.push(step.boxed());
            } else {
                self.resting.push((number, stream));
            }
        }
    }

    /// Takes what a stream gave; the name of one that has ended.
    fn take(&mut self, number: u64, item: Option<T>, stream: BoxStream<'static, T>) -> Option<K> {
        let source = self.sources.get_mut(&number)?;
        let Some(item) = item else { return self.sources.remove(&number).map(|source| source.name) };
        source.waiting += 1;
        source.lagging = false;
        self.progress = Instant::now();
        let (time, arrived) = (item.time(), self.progress);
        self.heap.push(Reverse(Waiting { time, number: self.next_number, arrived, stream: number, item }));
        self.next_number += 1;
        self.resting.push((number, stream));
        None
    }

    /// Whether the oldest item is known to be the oldest, or older ones are not waited for any more.
    fn is_due(&self) -> bool {
        let mut silent = self.sources.values().filter(|source| source.waiting == 0).peekable();
        if self.heap.is_empty() {
            return false;
        }
        match self.mode {
            _ if silent.peek().is_none() => true,
            Mode::Present => self.heap.len() >= self.window.items,
            Mode::Past => silent.all(|source| source.lagging),
        }
    }

    /// Until when the streams that have told nothing are waited for; `None` if nobody waits for them.
    fn deadline(&self) -> Option<Instant> {
        // Only who would be next counts: whoever is behind waits for older ones that did come.
        let Reverse(first) = self.heap.peek()?;
        Some(match self.mode {
            Mode::Present => first.arrived + self.window.time,
            Mode::Past => self.progress + self.window.time * PATIENCE,
        })
    }

    fn pop(&mut self) -> Option<Told<K, T>> {
        let Reverse(waiting) = self.heap.pop()?;
        if let Some(source) = self.sources.get_mut(&waiting.stream) {
            source.waiting -= 1;
        }
        Some(Told::Item(waiting.item))
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    impl Timed for u64 {
        fn time(&self) -> u64 {
            *self
        }
    }

    const WINDOW: Window = Window { items: 10, time: Duration::from_millis(100) };

    async fn all(merge: &mut Merge<&'static str, u64>) -> Vec<u64> {
        let mut items = Vec::new();
        while let Some(told) = merge.next().await {
            if let Told::Item(item) = told {
                items.push(item);
            }
        }
        items
    }

    #[tokio::test]
    async fn what_is_there_comes_in_order() {
        let mut merge = Merge::new(WINDOW, Mode::Past);
        merge.add("a", stream::iter((0..1000).map(|n| n * 3)).boxed());
        merge.add("b", stream::iter((0..1000).map(|n| n * 5)).boxed());
        merge.add("c", stream::iter([]).boxed());
        let items = all(&mut merge).await;
        assert_eq!(items.len(), 2000);
        assert!(items.is_sorted());
    }

    #[tokio::test]
    async fn a_silent_stream_holds_the_others_up_for_the_window_only() {
        let mut merge = Merge::new(WINDOW, Mode::Present);
        merge.add("silent", stream::pending().boxed());
        merge.add("busy", stream::iter([1, 2, 3]).chain(stream::pending()).boxed());
        let begun = Instant::now();
        for expected in 1..=3 {
            assert_eq!(merge.next().await, Some(Told::Item(expected)));
        }
        assert!(begun.elapsed() >= WINDOW.time && begun.elapsed() < WINDOW.time * 30);
        assert!(tokio::time::timeout(WINDOW.time * 3, merge.next()).await.is_err());
    }

    #[tokio::test]
    async fn a_flood_does_not_wait_and_takes_no_more_than_the_window() {
        let mut merge = Merge::new(Window { time: Duration::from_secs(60), ..WINDOW }, Mode::Present);
        merge.add("silent", stream::pending().boxed());
        merge.add("busy", stream::iter(0..10_000).chain(stream::pending()).boxed());
        let begun = Instant::now();
        for expected in 0..9_000 {
            assert_eq!(merge.next().await, Some(Told::Item(expected)));
            assert!(merge.heap.len() <= WINDOW.items);
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn the_past_waits_for_a_slow_stream_but_not_for_a_dead_one() {
        let mut merge = Merge::new(WINDOW, Mode::Past);
        let slow = stream::once(async {
            tokio::time::sleep(WINDOW.time * 2).await;
            5
        });
        merge.add("quick", stream::iter(0..100).boxed());
        merge.add("slow", slow.boxed());
        let items = all(&mut merge).await;
        assert!(items.is_sorted() && items.len() == 101, "{items:?}");
        merge.add("dead", stream::pending().boxed());
        merge.add("quick", stream::iter(0..100).boxed());
        let begun = Instant::now();
        for expected in 0..100 {
            assert_eq!(merge.next().await, Some(Told::Item(expected)));
        }
        assert!(begun.elapsed() < WINDOW.time * PATIENCE * 20, "it is waited for once");
    }

    #[tokio::test]
    async fn streams_come_and_go() {
        let mut merge = Merge::new(WINDOW, Mode::Present);
        merge.add("a", stream::iter([1]).boxed());
        assert_eq!(merge.next().await, Some(Told::Item(1)));
        assert_eq!(merge.next().await, Some(Told::Ended("a")));
        assert!(!merge.has(&"a"));
        merge.add("b", stream::pending().boxed());
        merge.add("c", stream::iter([7]).boxed());
        assert!(merge.has(&"b"));
        merge.remove(&"b");
        assert_eq!(all(&mut merge).await, [7]);
    }
}
