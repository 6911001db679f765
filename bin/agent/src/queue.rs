//! The way to a task that owns some state: a bounded queue of what was learned and of questions.

use anyhow::{Result, anyhow};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait; watches slow down when it is full.
const QUEUE: usize = 256;

/// A question or an order, run by the owner between two settlements. It may not wait.
pub(crate) type Job<O> = Box<dyn FnOnce(&mut O) + Send>;

/// What an owner `O` is told.
pub(crate) enum Message<O, I> {
    /// Something was learned.
    Learned(Vec<I>),
    /// Somebody asks.
    Job(Job<O>),
}

/// The way to an owner `O` that learns `I`.
pub(crate) struct Handle<O, I> {
    queue: mpsc::Sender<Message<O, I>>,
}

impl<O, I> Clone for Handle<O, I> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

/// A way, and its end.
pub(crate) fn new<O, I>() -> (Handle<O, I>, mpsc::Receiver<Message<O, I>>) {
    let (queue, messages) = mpsc::channel(QUEUE);
    (Handle { queue }, messages)
}

impl<O: 'static, I: 'static> Handle<O, I> {
    /// Runs `job` in the owner and waits for its answer.
    ///
    /// # Errors
    /// The agent is stopping.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut O) -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let run: Job<O> = Box::new(move |owner| {
            // Who asked may have gone in the meantime.
            let _ = sender.send(job(owner));
        });
        self.queue.send(Message::Job(run)).await.map_err(|_| anyhow!("the agent is stopping"))?;
        receiver.await.map_err(|_| anyhow!("the agent is stopping"))
    }

    /// The queue itself, for watches.
    pub(crate) fn queue(&self) -> mpsc::Sender<Message<O, I>> {
        self.queue.clone()
    }
}
