//! Flows into files, one JSON object a line, as `hubble observe -o json` prints them.
//!
//! An exporter is a reader of the ring like any client: a slow disk holds up nobody, and what it misses is a line too.

mod file;

use crate::Observer;
use crate::follow::Reader;
use crate::query::Query;
use file::Rotated;
use flow::Filters;
use futures::StreamExt;
use hubble_pb::Mask;
use hubble_pb::observer::GetFlowsResponse;
use std::io;
use std::path::PathBuf;

/// Lines that are written in one go.
const BATCH: usize = 256;

/// What to write, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The file, or `stdout`.
    pub path: PathBuf,
    /// Which flows.
    pub filters: Filters,
    /// Which fields of them; `None`: all.
    pub mask: Option<Mask>,
    /// A file of this size is put aside, bytes.
    pub largest: u64,
    /// Files that are kept aside.
    pub backups: usize,
    /// When to stop, ns since the Unix epoch.
    pub end: Option<u64>,
}

impl Observer {
    /// Writes flows as they come, until `export.end` or until the server closes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn export(&self, export: Export) -> io::Result<()> {
        let Export { path, filters, mask, largest, backups, end } = export;
        let mut file = Rotated::open(path, largest, backups)?;
        let until = end.unwrap_or(u64::MAX);
        let query = Query { filters, mask, follow: true, until, ..Query::default() };
        let mut flows =
            std::pin::pin!(Reader::new(self.shared.clone(), query).await.stream().ready_chunks(BATCH));
        let ended = async {
            match end {
                None => std::future::pending().await,
                Some(end) => {
                    let left = end.saturating_sub(crate::now());
                    tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
                }
            }
        };
        let mut ended = std::pin::pin!(ended);
        loop {
            let batch = tokio::select! {
                batch = flows.next() => batch,
                () = &mut ended => return Ok(()),
            };
            let Some(batch) = batch else { return Ok(()) };
            let text = lines(batch.into_iter().filter_map(Result::ok))?;
            // A disk may be slow; the thread that serves everything else must not wait for it.
            file = tokio::task::spawn_blocking(move || file.write(&text).map(|()| file))
                .await
                .map_err(io::Error::other)??;
        }
    }
}

fn lines(responses: impl Iterator<Item = GetFlowsResponse>) -> io::Result<Vec<Vec<u8>>> {
    let line = |response: GetFlowsResponse| {
        let mut line = serde_json::to_vec(&hubble_pb::Line(&response)).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(line)
    };
    responses.map(line).collect()
}

#[cfg(test)]
mod tests;
