//! The event ring: a thread of its own that copies records out as they come and hands them on. It parses nothing.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use aya::maps::{MapData, RingBuf};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use crate::{
    array::PerCpu,
    map::{Map, MapError},
};

/// Why events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The map is no ring buffer, or cannot be mapped.
    #[error("the event ring cannot be mapped into memory")]
    Ring {
        /// Why.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// The handle to the ring could not be duplicated, or the counter of losses not be read.
    #[error("the event ring's maps are not usable")]
    Map {
        /// Why.
        #[from]
        source: MapError,
    },
    /// The thread could not be started.
    #[error("the event reader cannot be started")]
    Start {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What comes out of a reader's queue: records as they lay in the ring.
pub type Records = mpsc::Receiver<Box<[u8]>>;

/// Counts of one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventStats {
    /// Records handed on.
    pub delivered: u64,
    /// Records that the kernel found no room for in the ring (by all readers, since the map was made).
    pub lost_in_kernel: u64,
    /// Records that the receiver was too slow to take.
    pub lost_in_queue: u64,
}

#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// The thread that reads the ring; stops when dropped.
#[derive(Debug)]
pub struct EventReader {
    counts: Arc<Counts>,
    lost: PerCpu<u64>,
    stop: Arc<OwnedFd>,
    thread: Option<thread::JoinHandle<()>>,
}

impl EventReader {
    /// Reads `ring` and gives each record to `sink`, which says whether it could take it. `sink` must not block: while it does, the
    /// ring fills up. `lost` counts what found no room in the ring.
    ///
    /// # Errors
    /// When `ring` is no ring buffer or the thread cannot be started.
    pub fn start(
        ring: &Map,
        lost: PerCpu<u64>,
        sink: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self, EventError> {
        let start = |source| EventError::Start { source };
        let mapped = |source| EventError::Ring { source: Box::new(source) };
        let fd = ring.as_fd().try_clone_to_owned().map_err(start)?;
        let data = MapData::from_fd(fd).map_err(mapped)?;
        let ring = RingBuf::try_from(aya::maps::Map::RingBuf(data)).map_err(mapped)?;
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(|e| start(e.into()))?;
        let (stop, counts) = (Arc::new(stop), Arc::new(Counts::default()));
        let thread = {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            let name = thread::Builder::new().name("event-ring".to_owned());
            name.spawn(move || read(ring, &stop, &counts, sink)).map_err(start)?
        };
        Ok(EventReader { counts, lost, stop, thread: Some(thread) })
    }

    /// As [`EventReader::start`], into a queue of at most `capacity` records; what finds it full is counted and dropped.
    ///
    /// # Errors
    /// As [`EventReader::start`].
    pub fn start_queue(
        ring: &Map,
        lost: PerCpu<u64>,
        capacity: usize,
    ) -> Result<(Self, Records), EventError> {
        let (sender, receiver) = mpsc::sync_channel(capacity);
        let reader = Self::start(ring, lost, move |record| sender.try_send(record.into()).is_ok())?;
        Ok((reader, receiver))
    }

    /// The counts so far.
    ///
    /// # Errors
    /// When the kernel's counter cannot be read.
    pub fn stats(&self) -> Result<EventStats, MapError> {
        Ok(EventStats {
            delivered: self.counts.delivered.load(Ordering::Relaxed),
            lost_in_kernel: self.lost.sum(0)?,
            lost_in_queue: self.counts.dropped.load(Ordering::Relaxed),
        })
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        // Writing 1 to an eventfd at 0 cannot fail.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How often the reader looks by itself: the programs do not wake it for single events (a wakeup costs microseconds on the
/// packet's path), only when much has piled up.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

fn read(mut ring: RingBuf<MapData>, stop: &OwnedFd, counts: &Counts, mut sink: impl FnMut(&[u8]) -> bool) {
    loop {
        while let Some(record) = ring.next() {
            let counter = if sink(&record) { &counts.delivered } else { &counts.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let mut fds = [PollFd::new(&ring, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&LOOK)) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "event ring cannot be waited for; no more events are read");
                return;
            }
        }
        if !fds[1].revents().is_empty() {
            return;
        }
    }
}
