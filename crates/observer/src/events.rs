//! Events of the agent, in a ring of their own: a flood of flows must not wash them away.

use crate::{Shared, now};
use flow::{AgentEvent, AgentNews, Cursor, Ring};
use futures::Stream;
use hubble_pb::observer::{GetAgentEventsRequest, GetAgentEventsResponse};
use hubble_pb::wkt::Timestamp;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tonic::Status;

/// Events kept.
const CAPACITY: usize = 1023;

/// The last events of the agent.
#[derive(Debug)]
pub(crate) struct Events(Mutex<Ring<AgentEvent>>);

impl Default for Events {
    fn default() -> Self {
        Self(Mutex::new(Ring::new(CAPACITY)))
    }
}

impl Events {
    pub(crate) fn push(&self, what: AgentNews) {
        self.lock().push(AgentEvent { time: now(), what });
    }

    fn lock(&self) -> MutexGuard<'_, Ring<AgentEvent>> {
        // Every step of the ring leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader.
struct Reader {
    shared: Arc<Shared>,
    ready: VecDeque<AgentEvent>,
    cursor: Option<Cursor>,
    until: u64,
}

/// What the request asks for: what is there, then, if asked, what comes.
pub(crate) fn stream(
    shared: Arc<Shared>,
    request: &GetAgentEventsRequest,
) -> Result<impl Stream<Item = Result<GetAgentEventsResponse, Status>> + Send + use<>, Status> {
    if request.first && request.follow {
        return Err(Status::invalid_argument("first and follow cannot be combined: leave one out"));
    }
    let time = |time: &Option<Timestamp>, otherwise| time.as_ref().map_or(otherwise, Timestamp::unix_nanos);
    let (since, until) = (time(&request.since, 0), time(&request.until, u64::MAX));
    let from_now_on = request.follow && request.number == 0 && since == 0;
    let (mut ready, end): (VecDeque<_>, _) = {
        let ring = shared.events.lock();
        let wanted = ring.iter().filter(|event| (since..=until).contains(&event.time) && !from_now_on);
        (wanted.cloned().collect(), ring.end())
    };
    if let Some(number) = usize::try_from(request.number).ok().filter(|number| *number > 0) {
        match request.first {
            true => ready.truncate(number),
            false => drop(ready.drain(..ready.len().saturating_sub(number))),
        }
    }
    let reader = Reader { shared, ready, cursor: request.follow.then_some(end), until };
    Ok(futures::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        let response = GetAgentEventsResponse {
            time: Some(Timestamp::from_unix_nanos(event.time)),
            node_name: reader.shared.config.node_name.clone(),
            agent_event: Some(event.into()),
        };
        Some((Ok(response), reader))
    }))
}

impl Reader {
    async fn next(&mut self) -> Option<AgentEvent> {
        let shared = self.shared.clone();
        if let Some(event) = self.ready.pop_front() {
            return Some(event);
        }
        let cursor = self.cursor.as_mut()?;
        loop {
            // Asked to be woken before looking, so that nothing written in between is slept through.
            let written = shared.events_written.notified();
            // What was overwritten is gone; the interface has no word for it.
            let (_, event) = {
                let ring = shared.events.lock();
                let (lost, event) = ring.next(cursor);
                (lost, event.cloned())
            };
            match event {
                Some(event) => return (event.time <= self.until).then_some(event),
                None => tokio::select! {
                    () = written => {}
                    () = shared.closing.cancelled() => return None,
                },
            }
        }
    }
}
