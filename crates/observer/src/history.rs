//! Flows on disk, so that a question about two hours ago has an answer although the ring has forgotten them.
//!
//! Flows are kept by column in blocks (`block`), blocks in files (`files`) of which the oldest goes when there is no more
//! room. What is written is whole or, after a kill in the middle of it, left out. Deliberately absent: an index of anything
//! but time.

mod block;
mod files;
mod past;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use hubble_pb::flow::Flow;
use hubble_pb::observer::get_flows_response::ResponseTypes;

use crate::Observer;
use crate::follow::Reader;
use crate::query::Query;
use files::{Files, Place};
pub(crate) use past::Past;

/// Flows of a block.
const BLOCK: usize = 4096;
/// How long flows wait for others before they are written.
const WAIT: Duration = Duration::from_secs(1);

/// A history. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: Files,
    /// Not written yet.
    pending: Vec<Flow>,
}

/// A part of a history: flows of about one time.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// On disk.
    Written(Place),
    /// Not yet.
    Pending(Vec<Flow>),
}

impl History {
    /// Takes up the history in `folder`, of at most `largest` bytes; makes the folder if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: PathBuf, largest: u64) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(State { files: Files::open(folder, largest)?, pending: Vec::new() }))))
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.lock().files.size()
    }

    /// Adds flows; writes when there are enough of them.
    fn add(&self, flows: impl IntoIterator<Item = Flow>) -> io::Result<()> {
        let mut state = self.lock();
        state.pending.extend(flows);
        if state.pending.len() >= BLOCK { state.write() } else { Ok(()) }
    }

    /// Writes what waits.
    fn flush(&self) -> io::Result<()> {
        self.lock().write()
    }

    /// What there may be between two times, oldest first.
    fn parts(&self, since: u64, until: u64) -> Vec<Part> {
        let state = self.lock();
        let written = state.files.between(since, until).map(Part::Written);
        let pending = (!state.pending.is_empty()).then(|| Part::Pending(state.pending.clone()));
        written.chain(pending).collect()
    }

    /// The flows of a part. One that has gone since, or that is damaged, has none.
    fn read(&self, part: Part) -> Vec<Flow> {
        match part {
            Part::Pending(flows) => flows,
            Part::Written(place) => match files::read(&place) {
                Ok(bytes) => block::decode(&bytes).unwrap_or_else(|| {
                    tracing::warn!(file = %place.path.display(), "a part of the history of flows is damaged and left out");
                    Vec::new()
                }),
                Err(error) => {
                    tracing::debug!(file = %place.path.display(), %error, "a part of the history of flows is gone");
                    Vec::new()
                }
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst flows that are written twice.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self) -> io::Result<()> {
        for flows in std::mem::take(&mut self.pending).chunks(BLOCK) {
            let times = flows.iter().filter_map(|flow| flow.time).map(|time| time.unix_nanos());
            let (first, last) = times.fold((u64::MAX, 0), |(a, b), time| (a.min(time), b.max(time)));
            self.files.append(&block::encode(flows), first, last)?;
        }
        Ok(())
    }
}

impl Observer {
    /// Has questions about the past answered from `history`, too. Only the first one counts.
    pub fn set_history(&self, history: History) {
        // A second one would be a mistake of the caller that hurts nobody.
        let _ = self.shared.history.set(history);
    }

    /// Writes flows to the history as they come, until the server closes. Like any reader, this holds up nobody: what a
    /// slow disk makes it miss is missing.
    ///
    /// # Errors
    /// The disk is full, or the like. Flows of up to a second are lost then.
    pub async fn keep_history(&self) -> io::Result<()> {
        let Some(history) = self.shared.history.get().cloned() else { return Ok(()) };
        let query = Query { follow: true, until: u64::MAX, ..Query::default() };
        let reader = Reader::new(self.shared.clone(), query).await;
        let mut flows = std::pin::pin!(reader.stream().ready_chunks(BLOCK));
        let mut tick = tokio::time::interval(WAIT);
        loop {
            let batch = tokio::select! {
                batch = flows.next() => match batch {
                    Some(batch) => Some(batch),
                    None => return history.flush(),
                },
                _ = tick.tick() => None,
            };
            let history = history.clone();
            let work = move || match batch {
                None => history.flush(),
                Some(batch) => {
                    history.add(batch.into_iter().filter_map(|answer| match answer.ok()?.response_types? {
                        ResponseTypes::Flow(flow) => Some(flow),
                        _ => None,
                    }))
                }
            };
            // A disk may be slow; the thread that serves everything else must not wait for it.
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
        }
    }
}

#[cfg(test)]
mod tests;
